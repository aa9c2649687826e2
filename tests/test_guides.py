"""The guides: their lines of code run, their pictures exist, are shown, and have Chinese words."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_site_examples import blocks
from torch import distributed

import losskit
from losskit import LOSSES
from losskit.tour.chapter import FULL
from losskit.tour.chapters import imbalance, products, regression
from losskit.tour.train import one_thread

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
pictures = pytest.importorskip("pictures", reason="matplotlib")
import mentions  # noqa: E402

GUIDES = sorted((DOCS / "guides").glob("*.md"))


def test_every_line_of_code_in_the_text_runs(capsys):
    """The page that says which loss to take says how to write it, in the names of the session beside it."""
    page = DOCS / "guides" / "choosing.md"
    names: dict[str, object] = {}
    for session in blocks(page, "pycon"):
        code = "\n".join(line[4:] for line in session.splitlines() if line.startswith((">>> ", "... ")))
        with losskit.use_engine("torch"):  # what is written is no matter of the engine
            exec(code, names)
    lines = re.findall(r"`(losskit\.\w+\([^`]*\))`", page.read_text(encoding="utf-8"))
    assert len(lines) > 30
    with losskit.use_engine("torch"):
        for line in lines:
            assert eval(line, names).isfinite().all(), line


def test_every_loss_is_named_in_a_guide():
    """A reader finds it where there is a choice to be made, beside what it is chosen over."""
    named = mentions.links([page.read_text(encoding="utf-8") for page in GUIDES])
    assert [name for name in LOSSES if not named[name]] == []


SCRIPTS = [
    (page.stem, *found)
    for page in GUIDES
    for found in re.findall(r"```python\n((?:(?!```).)*)```\n\n```console\n\$ torchrun (.*?) \w+\.py\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.mark.thorough
@pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="gloo")
@pytest.mark.parametrize(("page", "script", "options", "printed"), SCRIPTS, ids=[page for page, *_ in SCRIPTS])
def test_scripts_of_several_ranks_print_what_stands_there(page, script, options, printed, tmp_path):
    """Run by torchrun, as the page says."""
    path = tmp_path / "ranks.py"
    path.write_text(script, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", *options.split(), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == printed


def test_several_ranks_are_shown():
    """Were a script written so that the pattern above misses it, nothing would run it."""
    assert len(SCRIPTS) == sum(page.read_text(encoding="utf-8").count("torchrun --") for page in GUIDES) > 0


def test_pictures_are_those_of_the_pages():
    """Every picture drawn is shown, in both themes with the same words, and no page shows another."""
    shown: dict[str, dict[str, str]] = {}
    for page in GUIDES:
        for name, theme, alt in re.findall(r"\{image\} figures/([\w-]+)-(light|dark)\.svg\n:alt: (.+)\n", page.read_text(encoding="utf-8")):
            shown.setdefault(name, {})[theme] = alt
    assert set(shown) == set(pictures.PICTURES)
    for name, alts in shown.items():
        assert set(alts) == {"light", "dark"}, name
        assert alts["light"] == alts["dark"], name


@pytest.mark.thorough  # as `make docs` does
@pytest.mark.parametrize("name", pictures.PICTURES)
def test_pictures_have_chinese_words(name):
    """Each word in it is translated: `chinese` raises where one is missing."""
    with losskit.use_engine("torch"):  # a line is the same on every engine
        english = pictures.drawn(name)
    assert english.startswith("<?xml")
    assert pictures.chinese(english).count("<text") == english.count("<text")


def test_a_word_without_chinese_is_told():
    with pytest.raises(ValueError, match=r"no Chinese for 'unheard of': add it to WORDS"):
        pictures.chinese("<svg><text>unheard of</text></svg>")


def rows(page: str, first: str) -> dict[str, list[float]]:
    """The numbers of the table whose head begins with a word, by the first cell."""
    table = re.search(rf"^\| {first} \|.*\n((?:\|.*\n)+)", (DOCS / "guides" / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert table
    lines = [[cell.strip().strip("`") for cell in line.strip().strip("|").split("|")] for line in table[1].splitlines()[1:]]
    return {line[0].replace("`", ""): [float(cell.split(" ")[0]) for cell in line[1:]] for line in lines}


@pytest.mark.thorough
def test_the_numbers_on_rare_classes_are_those_of_the_tour():
    """What the page quotes is computed again, all of it."""
    names = {
        "cross-entropy": "binary_cross_entropy_with_logits",
        "cross-entropy, pos_weight=19": "binary_cross_entropy_with_logits(pos_weight=[19])",
        "focal, gamma=2": "focal_loss(gamma=2)",
        "focal, gamma=5": "focal_loss(gamma=5)",
        "focal, gamma=2, alpha=0.25": "focal_loss(gamma=2, alpha=0.25)",
    }
    with one_thread():
        scores = imbalance.experiment.run(0, FULL, lambda done: None).scores
    quoted = rows("imbalance.md", "loss")
    assert set(quoted) == set(names)
    for name, (recall, precision, ap, ece) in quoted.items():
        mean = {measure: float(np.mean(values)) for measure, values in scores[names[name]].items()}
        assert [100 * mean["recall"], mean["precision"], mean["ap"], mean["ece"]] == [
            pytest.approx(recall, abs=1.0),
            pytest.approx(precision, abs=0.01),
            pytest.approx(ap, abs=0.006),
            pytest.approx(ece, abs=0.003),
        ], name


@pytest.mark.thorough
def test_the_numbers_on_wrong_targets_are_those_of_the_tour():
    """The same for regression."""
    with one_thread():
        found = regression.experiment.run(0, FULL, lambda done: None)
    names = {e.name.replace("(scale=1)", ""): e.name for e in found.order}
    for name, (pull, dirty, clean) in rows("outliers.md", "loss").items():
        measured = [100 * found.pulls[names[name]], float(np.mean(found.dirty[names[name]].mae)), float(np.mean(found.clean[names[name]].mae))]
        assert measured == [pytest.approx(pull, abs=0.1), pytest.approx(dirty, abs=0.3, rel=0.01), pytest.approx(clean, abs=0.3)], name


@pytest.mark.thorough
def test_the_numbers_on_whole_scores_are_those_of_the_tour():
    """The same for products. Another PyTorch has other docstrings."""
    with one_thread():
        found = products.language.run(products.data.prose(0), 0, FULL, lambda way: None)
    quoted = list(rows("large-vocabularies.md", "way").values())
    for (loss, memory), side in zip(quoted, (found.whole, found.never), strict=True):
        assert [side.test[-1], side.peak / 1e6] == [pytest.approx(loss, abs=0.1), pytest.approx(memory, rel=0.05)]
    assert found.apart < 2e-5 and len(found.prose.words) == pytest.approx(2_600, rel=0.05)
