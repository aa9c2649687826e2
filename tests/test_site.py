"""The site builds without a warning; its links, pictures and numbers are right; the printed formulas compute what the losses compute."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from accessible import SCRIPT, faults

import losskit
from losskit import LOSSES

pytest_plugins = ("touching",)  # a browser

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SITE = DOCS / "_build" / "site"
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS)]

import build  # noqa: E402

import formulas  # noqa: E402
import mentions  # noqa: E402
import pages  # noqa: E402
import translation  # noqa: E402
import worked  # noqa: E402


@pytest.mark.parametrize("name", LOSSES)
def test_the_printed_formula_computes_the_loss(name):
    """`worked` raises where the text with numbers put in does not come to what the loss returns."""
    with losskit.use_engine("torch"):  # a formula is the same on every engine, which the laws say
        made = worked.worked(LOSSES[name])
    assert made.given and made.lines
    assert (worked.followed(LOSSES[name]) is None) == (name in worked.WRITTEN), "only what cannot be followed is written out"


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


def built(*how):
    done = subprocess.run([sys.executable, str(DOCS / "build.py"), *how], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "WARNING" not in done.stderr, done.stderr[-4000:]


@pytest.mark.thorough
def test_every_page_is_read_and_translated(tmp_path):
    """Without drawing the curves and writing the site. A table within a directive has no source for Sphinx, and is not given to translators."""
    built("--check", "--into", str(tmp_path))
    nested = [
        page.stem
        for page in (tmp_path / "source").rglob("*.md")
        for block in mentions.FENCE.finditer(page.read_text(encoding="utf-8"))
        if re.search(r"^\|[-|]+\|$", block[0], re.MULTILINE)
    ]
    assert nested == []


@pytest.fixture(scope="module")
def site():
    """The site, built as `make docs` builds it."""
    built()
    return {path: Page(path.read_text(encoding="utf-8")) for path in SITE.rglob("*.html") if "_static" not in path.parts}


@pytest.mark.thorough
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
            if goal == SITE / "touch" / "index.html":
                place = ""  # a state of the page, which tests/test_touch.py opens
            if not goal.exists() or (place and goal in site and place not in site[goal].ids):
                broken.append(f"{path.relative_to(SITE)}: {link}")
        for picture in page.pictures:
            assert picture.get("alt") is not None, f"{path}: {picture}"
            assert (path.parent / str(picture["src"])).exists(), f"{path}: {picture}"
    assert not broken, broken[:20]
    assert sum(f.stat().st_size for f in SITE.rglob("*") if f.is_file()) < 40_000_000


@pytest.mark.thorough
def test_pages_of_losses_lead_to_the_guides_that_name_them(site):
    """Each guide that links to a loss is linked from its page, to a place in it, in every language."""
    guides = sorted((DOCS / "guides").glob("*.md"))
    linked = {(name, guide.stem) for guide in guides for name in re.findall(r"\(#losskit\.(\w+)\)", guide.read_text(encoding="utf-8")) if name in LOSSES}
    assert len(linked) > 60
    for language in build.LANGUAGES:
        for name, guide in linked:
            page = site[SITE / language / pages.family(LOSSES[name]) / f"{name}.html"]
            assert any(link.startswith(f"../guides/{guide}.html#guide-") for link in page.links), f"{name} does not lead to {guide} ({language})"


def test_what_a_guide_names():
    text = "(guide-x)=\n# X\n\nBefore: `losskit.giou`.\n\n## One: the `first`\n\n[`l1_loss`](#losskit.l1_loss) and iou, `biweight_loss`.\n\n```python\n## no heading\nHuberLoss()\n```\n\n## Two\n"
    assert mentions.labels(text) == ["guide-x-one-the-first", "guide-x-two"]
    assert mentions.labelled(text).count("(guide-x-one-the-first)=\n## One") == 1
    made = mentions.links([text])
    assert {name: lines for name, lines in made.items() if lines} == {
        "giou_loss": ["- [](#guide-x)"],
        "huber_loss": ["- [](#guide-x) › [](#guide-x-one-the-first)"],
        "l1_loss": ["- [](#guide-x) › [](#guide-x-one-the-first)"],
    }


# a page of each kind
KINDS = {
    "en": ("index", "classification/focal_loss", "guides/imbalance", "switching/torch", "reference/benchmarks", "search"),
    "zh": ("index", "detection/ciou_loss", "reference/glossary", "reference/helpers", "search"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("language", build.LANGUAGES)
def test_pages_are_for_everyone(site, browser, language):
    """In both themes, on a phone and on a desk: contrast, alt texts, names, focus, headings, language, width; a link to the other language; no English of the theme's."""
    page = browser.new_page()
    found = []
    for kind in KINDS[language]:
        page.goto((SITE / language / f"{kind}.html").as_uri())
        page.keyboard.press("Tab")  # focus is shown to those who use keys
        found += [f"{kind}: {fault}" for fault in faults(page, {"en": "en", "zh": "zh-CN"}[language])]
        other = page.locator("a.other-language")
        assert other.get_attribute("href").endswith(f"../{ {'en': 'zh', 'zh': 'en'}[language] }/{kind}.html")
        if language == "zh":
            english = page.evaluate("document.body.innerText").split("\n")
            found += [f"{kind}: {line}" for line in english if re.match("(Next|Previous|On this page|Made with|Copyright|Search)\\b", line)]
    page.close()
    assert found == []


@pytest.mark.thorough
def test_each_picture_is_seen_on_its_ground(site, browser):
    """Words in drawings, which are files of their own: one of each program that draws, in both themes."""
    page = browser.new_page()
    for name in ("focal_loss-value", "believed", "losses", "house"):
        for theme, ground in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(19, 20, 22)")):
            found = [path for path in SITE.glob(f"en/_images/{name}-{theme}*.svg")]
            assert len(found) == 1, found
            page.goto(found[0].as_uri())
            assert page.evaluate(SCRIPT, {"contrast": True, "canvas": ground}) == []
    page.close()


CUT_OFF = """
() => {
  const all = document.documentElement.getBoundingClientRect();
  const out = (r) => r.left < all.left - 0.5 || r.right > all.right + 0.5 || r.top < all.top - 0.5 || r.bottom > all.bottom + 0.5;
  return [...document.querySelectorAll("text")].filter((e) => e.textContent.trim() && out(e.getBoundingClientRect())).map((e) => e.textContent);
}
"""


@pytest.mark.thorough
def test_no_picture_cuts_off_its_words(site, browser):
    """As the reader's browser sets them, which is not what the drawing was measured with."""
    page = browser.new_page(viewport={"width": 900, "height": 600})
    pictures = [path for language in build.LANGUAGES for path in sorted(SITE.glob(f"{language}/_images/*-light*.svg"))]
    assert len(pictures) > 4 * len(LOSSES)
    found = {}
    for path in pictures:
        page.goto(path.as_uri())
        if words := page.evaluate(CUT_OFF):
            found[path.name] = words
    page.close()
    assert found == {}


TABLE = """<!doctype html><html lang="en"><title>x</title><body><article><table><thead><tr><th>share</th></tr></thead><tbody>
<tr><td>≤ 1.4x</td></tr><tr><td><p>at 20x_as_fast</p></td></tr><tr><td>8.3\u00a0%</td></tr><tr><td>78.8 %</td></tr><tr><td>0.3%</td></tr><tr><td>-2</td></tr><tr><td>1 M</td></tr><tr><td>word</td></tr></tbody></table>
<p><code class="literal"><span class="pre">UncertaintyWeight()</span> <span class="pre">1e-8</span> <span class="pre">losskit.multilabel_soft_margin_loss(scores,</span></code></p>
<dl><dt><code>k1</code>, <code>k2</code> <code>float</code></dt><dt><code>mask</code>, <code>chunk</code></dt></dl></article><script src="site.js"></script></body></html>"""


def test_tables_are_sorted_by_their_numbers_and_long_names_broken(browser, tmp_path):
    (tmp_path / "site.js").write_text((DOCS / "_static" / "site.js").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "table.html").write_text(TABLE, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "table.html").as_uri())
    page.click("th button")
    assert page.locator("td").all_inner_texts() == ["-2", "0.3%", "≤ 1.4x", "8.3\u00a0%", "at 20x_as_fast", "78.8 %", "1 M", "word"]
    assert page.locator("td.short").count() == 8
    assert page.locator("td wbr").count() == 2
    assert page.locator("code wbr").count() == 5  # behind the module, three words, the bracket; not between two brackets
    assert page.locator("code.types").all_inner_texts() == ["float"]
    assert page.locator("code .held").all_inner_texts() == ["UncertaintyWeight()", "1e-8"]
    page.close()


# a loss by its name, its module's name, or a part of it; words of the text
SEARCHED = [
    ("en", "giou_loss", "giou_loss"),
    ("en", "giou", "giou_loss"),
    ("en", "GIoULoss", "giou_loss"),
    ("en", "smooth l1", "smooth_l1_loss"),
    ("en", "benchmark", "Benchmark"),
    ("zh", "交叉熵", "交叉熵"),
    ("zh", "Dice 损失", "dice_loss"),
    ("zh", "大词表", "大词表"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("language", "query", "found"), SEARCHED)
def test_search_finds_first_what_was_meant(site, browser, language, query, found):
    page = browser.new_page()
    said = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((SITE / language / "search.html").as_uri() + f"?q={query}")
    page.wait_for_selector("#search-results li a")
    assert found in page.locator("#search-results li a").first.inner_text() and page.input_value("article input[name=q]") == query
    page.close()
    assert said == []


BAD = """<!doctype html><html lang="de"><title>x</title><meta name="viewport" content="width=device-width"><body><h1>One</h1><h3>Three</h3><h1>Two</h1>
<p style="color: #999">faint</p><p style="opacity: 0.4">pale</p><img src="data:,"><button></button><a href="#" style="outline: none">unseen</a><div style="width: 3000px">wide</div>"""


def test_faults_of_a_page_are_found(browser, tmp_path):
    (tmp_path / "bad.html").write_text(BAD, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "bad.html").as_uri())
    found = "\n".join(faults(page, "en", widths=(390,)))
    page.close()
    for fault in (
        "> faint",
        "> pale",
        "no alt",
        "no name: <button",
        "focus is not seen: <a",
        "2 h1",
        "h3 after h1",
        'lang="de"',
        "no main",
        "wider than 390: 30",
    ):
        assert fault in found, f"{fault}: {found}"


@pytest.mark.thorough
def test_a_page_says_what_stands_in_the_docstring(site):
    """What is typed and printed, each argument, and the formula's source are on the loss's page."""
    for loss in LOSSES.values():
        text = re.sub(r"<[^>]+>", "", (SITE / "en" / pages.family(loss) / f"{loss.name}.html").read_text(encoding="utf-8"))
        for name in loss.settings:
            assert name in text, f"{loss.name}: {name}"
        assert "def formula" in text or "def " in text
        for heading in (
            "When to use it",
            "Arguments",
            "What it returns",
            "By hand",
            "Example",
            "Edge cases",
            "How exact it is",
            "How fast it is",
            "Reference",
            "View the formula",
        ):
            assert heading in text, f"{loss.name}: {heading}"


def strings(path: Path) -> Iterator[str]:
    """The strings of a module or of a file of texts; what is filled in stands as x."""
    if path.suffix == ".toml":
        waiting = list(tomllib.loads(path.read_text(encoding="utf-8")).values())
        while waiting:
            part = waiting.pop()
            if isinstance(part, str):
                yield part
            elif isinstance(part, (list, dict)):
                waiting += part.values() if isinstance(part, dict) else part
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{x}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_chinese_in_the_package_has_wide_parentheses():
    """In pictures, reports, and what the command line prints, as in the site's translations."""
    package = Path(losskit.__file__).parent
    found = [
        f"{path.name}: {line.strip()}"
        for path in [*package.rglob("*.py"), *package.rglob("*.toml")]
        if re.search(f"[{translation.CHINESE}]", path.read_text(encoding="utf-8"))
        for text in strings(path)
        if re.search(f"[{translation.CHINESE}]", text) and translation.widened(text) != text
        for line, wide in zip(text.splitlines(), translation.widened(text).splitlines(), strict=True)
        if line != wide
    ]
    assert found == []


@pytest.mark.parametrize(
    ("english", "chinese", "fault"),
    [
        ("The mean of `x`.", "`x` 的均值。", ""),
        ("The mean of `x`.", "`y` 的均值。", "code, formula or link differs: `x`"),
        ("A sentence that nobody has translated.", "A sentence that nobody has translated.", "not in Chinese"),
        ("Scores, or logits.", "得分,或 logits。", "punctuation: '分,'"),
        ("Scores (logits) of all.", "得分(logits)，全部。", "parentheses: write 得分（logits），全部。"),
        ("**Store** (`store.py`): on disk.", "**存储**(`store.py`)：在磁盘上。", "parentheses: write **存储**（`store.py`）：在磁盘上。"),
        ('"smp" (segments) or "torch".', '"smp"(segments)或 "torch"。', 'parentheses: write "smp"（segments）或 "torch"。'),
        ("4x torch", "4x torch", ""),
        ("`a` < 1 (usual), b > 1.", "`a` < 1(通常)，b > 1。", "parentheses: write `a` < 1（通常），b > 1。"),
        ("Autograd (`fused.py`) of a pass.", "扫描的 autograd(`fused.py`)。", "parentheses: write 扫描的 autograd（`fused.py`）。"),
        ("The interval (0, 1) and exp(distance).", "区间 (0, 1) 与 exp(距离)。", ""),
    ],
)
def test_faults_of_a_translation(english, chinese, fault):
    assert "; ".join(translation.faults(english, chinese)) == fault
