"""The glossary decides words: each once, in order, and what is written in Chinese keeps to it."""

import re
from pathlib import Path

import pytest
from babel.messages import pofile

from losskit.contract.registry import LOSSES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "glossary.md"
ROWS = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
# words that others use for the same, which a reader would take for something else
RIVALS = {
    "稳健": "鲁棒",
    "掩码": "遮罩|蒙版|掩膜",
    "归约": "规约|约简",
    "离群值": "异常值|野值",
    "权重": "权值",
    "召回率": "查全率",
    "精确率": "查准率",
    "误报": "假阳性|假正例",
    "漏报": "假阴性|假负例",
    "类别不均衡": "类别?不平衡",
    "上游梯度": "传入梯度|外部梯度",
    "软标签": "柔性标签",
    "交叉熵": "交叉墒",
    "体素": "立体像素",
}


def chinese() -> dict[str, str]:
    texts = {"README.zh-CN.md": (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("docs/locale/**/*.po")}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in ROOT.glob("src/losskit/**/*.py")}
    return texts | {name: loss.chinese for name, loss in LOSSES.items()}


def test_a_term_is_entered_once_in_order_with_one_translation_and_a_sentence():
    terms = [row[0] for row in ROWS]
    assert len(ROWS) > 60
    assert terms == sorted(set(terms), key=str.lower)
    translations = [row[1] for row in ROWS]
    assert len(set(translations)) == len(translations), "two terms must not look alike in Chinese"
    for term, translation, meaning in ROWS:
        assert translation == term or re.search(r"[\u4e00-\u9fff]", translation), term
        assert meaning[0].isupper() and meaning.endswith(".") and ". " not in meaning.removesuffix("."), term


def test_the_same_english_is_the_same_chinese_on_every_page():
    found: dict[str, set[str]] = {}
    for path in ROOT.glob("docs/locale/**/*.po"):
        with path.open("rb") as file:
            messages = list(pofile.read_po(file, locale="zh_CN"))
        for message in messages:
            if message.id and message.string:
                found.setdefault(message.id, set()).add(message.string)
    assert len(found) > 3000
    twice = {english: several for english, several in found.items() if len(several) > 1}
    assert twice.keys() == {"Reference"}, twice  # of a loss: who wrote of it; of the site: what is looked up


@pytest.mark.parametrize("term", RIVALS)
def test_chinese_texts_use_the_glossary_s_word(term):
    assert term in {row[1] for row in ROWS} | {"权重"}
    found = {name: match[0] for name, text in chinese().items() for match in [re.search(RIVALS[term], text)] if match}
    assert not found
