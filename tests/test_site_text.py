"""How the site sets what texts write in the characters of a keyboard, and how the Chinese pages are searched."""

import re
import sys
from pathlib import Path

import pytest

import losskit

pytest_plugins = ("touching",)  # a browser

sys.path.insert(0, str(Path(__file__).parent.parent / "docs" / "_ext"))

import pages  # noqa: E402
import searching  # noqa: E402
import typography  # noqa: E402


def test_a_percent_sign_stays_with_its_number():
    assert typography.together("15 % of 3 %, 4%", "en") == "15\u00a0% of 3\u00a0%, 4%"
    assert typography.together("15 % 的目标", "zh_CN") == "15% 的目标"


def test_chinese_has_its_own_quotation_marks_and_no_space_behind_wide_punctuation():
    assert typography.together('“通过”不算。 见 “猫” 和 "Edge cases"：  "mean"', "zh_CN") == '“通过”不算。见“猫”和“Edge cases”："mean"'
    assert typography.together('Seen. See "Edge cases"', "en") == 'Seen. See "Edge cases"'


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('task="binary" or "mean"', ['literal task="binary"', " or ", 'literal "mean"']),
        ('"not offered", x="a b"', ['"not offered", x="a b"']),
        ("W^T, 2^-128, 3^(1 / n)", ["W", "superscript T", ", 2", "superscript −128", ", 3", "superscript 1 / n"]),
        ("p_y, sum_j, ||x||_p", ["p", "subscript y", ", sum", "subscript j", ", ||x||", "subscript p"]),
        ("z_loss, sample_weight, d_pos", ["z_loss, sample_weight, d", "subscript pos"]),
        ("a >= b -> 1,024 x 16 -- c", ["a ", "≥", " b ", "→", " 1,024", "\u00a0×\u00a0", "16 -- c"]),
        ("in [0, inf), (N, C, d1) of f(a, b) (DPO, SimPO)", ["in ", "inline [0, inf)", ", ", "inline (N, C, d1)", " of f(a, b) (DPO, SimPO)"]),
        ("1e-8, -inf, x - 1, D = 4,096.", ["inline 1e-8", ", ", "inline -inf", ", x - 1, ", "inline D = 4,096", "."]),
        ("32 MB", ["32", "\u00a0MB"]),
        ("p_ij, z_j = 1", ["p", "subscript ij", ", ", "inline zj = 1"]),
    ],
)
def test_what_a_keyboard_writes_is_set_as_on_paper(text, parts):
    made = [(f"{node.tagname} " if node.tagname != "#text" else "") + node.astext() for node in typography.parts(text)]
    assert made == parts


def test_a_table_of_a_docstring_keeps_its_empty_cells():
    table = pages.WRITER.table("| a | b | c |\n|---|---|---|\n| x | | y |")
    assert [line.split(" | ") for line in table.splitlines()][2] == ["| x", "", "y |"]


def test_a_family_s_table_has_three_cells_for_each_loss():
    """Bars of absolute values and divergences are no borders of cells."""
    lines = pages.index("regression", losskit.LOSSES.values()).splitlines()
    rows = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("| [`")]
    assert len(rows) == len(losskit.LOSSES)
    for row in rows:
        assert len(row) == 5 and row[3].strip().endswith("."), row


SEARCHED = ["交叉熵", "focal 损失", "l1_loss的梯度", "熵", "IoU"]


def test_chinese_is_searched_by_pairs_of_characters(browser):
    """The index and the reader's query are cut alike."""
    page = browser.new_page()
    for text in SEARCHED:
        assert page.evaluate(f"(query) => {{ {searching.SearchPairs.js_splitter_code}; return splitQuery(query); }}", text) == searching.SearchPairs({}).split(
            text
        )
    page.close()
    assert searching.SearchPairs({}).split("交叉熵 loss") == ["交叉", "叉熵", "loss"]
