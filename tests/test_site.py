"""The site builds without a warning; its links, pictures and numbers are right; the printed formulas compute what the losses compute."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import losskit
from losskit import LOSSES

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SITE = DOCS / "_build" / "site"
sys.path.insert(0, str(DOCS / "_ext"))

import formulas  # noqa: E402
import pages  # noqa: E402
import translation  # noqa: E402
import worked  # noqa: E402

# formulas that are not followed by hand, and why
WITHOUT = {
    "js_divergence": "two divergences from a mixture",
    "distribution_focal_loss": "two classes beside a position",
    "inner_iou_loss": "its formula is in words",
    "siou_loss": "sums over the axes",
    "ssim_loss": "sums over windows",
    "l1_ssim_loss": "sums over windows",
    "boundary_loss": "a distance to a boundary",
    "triplet_margin_loss": "distances of vectors",
    "batch_hard_triplet_loss": "distances of vectors",
    "cosine_embedding_loss": "an angle of vectors",
    "dice_ce_loss": "two losses in one",
    "dice_focal_loss": "two losses in one",
    "lovasz_loss": "errors in order",
    "multi_margin_loss": "a sum over the other classes",
    "multilabel_soft_margin_loss": "labels of all classes",
    "margin_ranking_loss": "a score beside another",
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_printed_formula_computes_the_loss(name):
    """`worked` raises where the text with numbers put in does not come to what the loss returns."""
    with losskit.use_engine("torch"):  # a formula is the same on every engine, which the laws say
        made = worked.worked(LOSSES[name])
    assert (made is None) == (name in WITHOUT), f"{name}: {made}"


@pytest.mark.parametrize("name", LOSSES)
def test_every_formula_is_typeset(name):
    clauses = [c for line in formulas.lines(LOSSES[name].formula) for c in line]
    assert any(c.math for c in clauses) or name in ("inner_iou_loss",), clauses


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("a / b c", r"\frac{a}{b}\, c"),
        ("-(x - t)^2 / (2 beta)", r"-\frac{\left(x -t\right)^{2}}{2\, \beta}"),
        ("|x - t| / |t|", r"\frac{\left\vert x -t\right\vert}{\left\vert t\right\vert}"),
        ("log p_y + w*", r"\log p_{y} + w^*"),
        ("sum_j t_j log p_j", r"\sum_{j} t_{j}\, \log p_{j}"),
    ],
)
def test_formulas_are_read_as_people_write_them(text, latex):
    assert formulas.latex(formulas.read(text)) == latex


@pytest.mark.parametrize("text", ["C the smallest box", "x +", "(x", "log(x)^", "t = -1 or 1"])
def test_prose_is_no_formula(text):
    with pytest.raises(formulas.Unreadable):
        formulas.read(text)


class Page(HTMLParser):
    """Links, pictures and ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "id" in found:
            self.ids.add(found["id"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "img":
            self.pictures.append(found)


@pytest.fixture(scope="module")
def site():
    """The site, built as `make docs` builds it."""
    done = subprocess.run([sys.executable, str(DOCS / "build.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "WARNING" not in done.stderr, done.stderr[-4000:]
    return {path: Page(path.read_text(encoding="utf-8")) for path in SITE.rglob("*.html") if "_static" not in path.parts}


def test_the_site_is_whole(site):
    """Every loss has its page in every language; links and pictures lead somewhere, pictures say what they show; sizes are bounded."""
    for language in (folder.name for folder in SITE.iterdir() if folder.is_dir() and folder.name != "touch"):
        for loss in LOSSES.values():
            assert SITE / language / pages.family(loss) / f"{loss.name}.html" in site
    broken = []
    for path, page in site.items():
        assert path.stat().st_size < 1_000_000, path
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            where, _, place = link.partition("#")
            goal = (path.parent / where).resolve() if where else path
            goal = goal / "index.html" if goal.is_dir() else goal
            if not goal.exists() or (place and goal in site and place not in site[goal].ids):
                broken.append(f"{path.relative_to(SITE)}: {link}")
        for picture in page.pictures:
            assert picture.get("alt") is not None, f"{path}: {picture}"
            assert (path.parent / str(picture["src"])).exists(), f"{path}: {picture}"
    assert not broken, broken[:20]
    assert sum(f.stat().st_size for f in SITE.rglob("*") if f.is_file()) < 40_000_000


def test_a_page_says_what_stands_in_the_docstring(site):
    """What is typed and printed, each argument, and the formula's source are on the loss's page."""
    for loss in LOSSES.values():
        text = re.sub(r"<[^>]+>", "", (SITE / "en" / pages.family(loss) / f"{loss.name}.html").read_text(encoding="utf-8"))
        for name in loss.settings:
            assert name in text, f"{loss.name}: {name}"
        assert "def formula" in text or "def " in text
        for heading in ("When to use it", "Arguments", "What it returns", "Example", "Edge cases", "Reference", "View the formula"):
            assert heading in text, f"{loss.name}: {heading}"


@pytest.mark.parametrize(
    ("english", "chinese", "fault"),
    [
        ("The mean of `x`.", "`x` 的均值。", ""),
        ("The mean of `x`.", "`y` 的均值。", "code, formula or link differs: `x`"),
        ("A sentence that nobody has translated.", "A sentence that nobody has translated.", "not in Chinese"),
        ("Scores, or logits.", "得分,或 logits。", "punctuation: '分,'"),
        ("Scores (logits) of all.", "得分(logits)，全部。", "parentheses: write 得分（logits），全部。"),
        ("**Store** (`store.py`): on disk.", "**存储**(`store.py`)：在磁盘上。", "parentheses: write **存储**（`store.py`）：在磁盘上。"),
        ("The interval (0, 1) and exp(distance).", "区间 (0, 1) 与 exp(距离)。", ""),
    ],
)
def test_faults_of_a_translation(english, chinese, fault):
    assert "; ".join(translation.faults(english, chinese)) == fault
