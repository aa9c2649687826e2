"""The tour: it runs, its report needs nothing else and shows every loss, its verdicts follow from the numbers, and the numbers repeat."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from accessible import faults

import losskit
from losskit import tour
from losskit.cli import main
from losskit.tour.chapter import Effort
from losskit.tour.chapters import digits, imbalance, regression, segmentation
from losskit.tour.compare import calibration_error, difference, rank_correlation, student
from losskit.tour.train import one_thread

pytest_plugins = ("touching",)  # a browser
LITTLE = Effort(seeds=3, steps=8, elements=1 << 12, rounds=1)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A small tour."""
    steps = []
    made = tour.conduct(tmp_path_factory.mktemp("tour") / "deep" / "report", effort=LITTLE, advance=steps.append)
    assert len(steps) == tour.work()
    return made


@pytest.fixture(scope="module")
def segmented():
    """What a small tour finds in pictures."""
    with one_thread():
        return segmentation.experiment.run(0, LITTLE, lambda done: None)


class Page(HTMLParser):
    """What a page loads, and whether its tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.open, self.loads, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.loads += [v for k, v in given.items() if k in ("src", "href", "xlink:href", "srcset", "action", "data") and not v.startswith(("#", "data:"))]
        if tag not in ("meta", "br", "wbr", "link", "img", "input", "hr"):
            self.open.append(tag)
        assert tag not in ("link", "iframe", "object", "embed")

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.thorough
def test_report_needs_nothing_else(outcome):
    text = outcome.page.read_text(encoding="utf-8")
    page = Page(text)
    assert [address for address in page.loads if "docs/_build/site" not in address] == [] and page.open == []
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert "<svg" in text and text.count("<script>") == 1


@pytest.mark.thorough
def test_every_picture_is_told_and_captioned(outcome):
    """Each has words in both languages for those who do not see it; each figure and table has a caption; the contents lead somewhere."""
    text = outcome.page.read_text(encoding="utf-8")
    pictures = re.findall(r"<svg[^>]*>|</svg>|<img[^>]*>", text)
    depth, outer = 0, []
    for tag in pictures:
        if depth == 0 and not tag.startswith("</"):
            outer.append(tag)
        depth += 0 if tag.startswith("<img") else -1 if tag.startswith("</") else 1
    assert depth == 0 and len(outer) > 100
    for tag in outer:
        said = [re.search(rf'{name}="([^"]+)"', tag) for name in ("aria-label", "data-zh")]
        assert all(said) and 'role="img"' in tag, tag
        assert re.search("[a-z]{3}", said[0][1]) and not re.search(r"\bnan\b", said[0][1]), tag
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    assert len(figures) == text.count("<figure") and all(
        re.search(r'<figcaption[^>]*><b><span lang="en">(Figure|Table) \d\.\d+</span>', figure) for figure in figures
    )
    assert text.count("<table") == text.count('class="scroll" tabindex="0"')
    ids = re.findall(r' id="([^"]+)"', re.sub("<svg.*?</svg>", "", text, flags=re.DOTALL))
    assert len(ids) == len(set(ids)) and set(re.findall('<a href="#([^"]+)"', text)) <= set(ids)
    assert all(f'<li><a href="#{chapter.key}">' in text for chapter in outcome.chapters)


@pytest.mark.thorough
def test_the_report_is_for_everyone(outcome, browser):
    """In both languages and themes, on a phone and on a desk: contrast, names, focus, headings, width; names in pictures stay within them."""
    page = browser.new_page()
    found = []
    for language, lang in (("en", "en"), ("zh", "zh-CN")):
        page.goto(f"{outcome.page.as_uri()}?lang={language}")
        page.keyboard.press("Tab")  # focus is shown to those who use keys
        found += [f"{language}: {fault}" for fault in faults(page, lang)]
        found += [f"{language}: {text}" for text in page.evaluate(OUTSIDE)]
    page.close()
    assert found == []


# words that a picture cuts off
OUTSIDE = """
() => [...document.querySelectorAll("svg[role=img] text")].filter((e) => e.checkVisibility() && e.textContent.trim()).filter((e) => {
  const [word, picture] = [e.getBoundingClientRect(), e.ownerSVGElement.getBoundingClientRect()];
  return word.width && (word.left < picture.left - 2 || word.right > picture.right + 2 || word.top < picture.top - 2 || word.bottom > picture.bottom + 2);
}).map((e) => e.textContent)
"""


@pytest.mark.thorough
def test_report_has_every_regression_loss_and_both_languages(outcome):
    text = outcome.page.read_text(encoding="utf-8").replace("<wbr>", "")
    for loss in losskit.LOSSES.values():
        if loss.task == "regression" and loss.pattern == "elementwise" and not loss.ranges:
            assert f"<code>{loss.name}" in text
    assert len(re.findall('<t?span lang="en">', text)) == len(re.findall('<t?span lang="zh">', text)) > 80
    assert not re.search(r"#[0-9a-f]{6}", text[text.index("</style>") :]), "a colour that does not follow light and dark"


@pytest.mark.thorough
def test_every_chapter_has_a_verdict(outcome):
    text = outcome.page.read_text(encoding="utf-8")
    for chapter in outcome.chapters:
        assert len(chapter.verdict) >= 4
        for sentence in chapter.verdict:
            assert sentence.en.endswith(".") and sentence.zh.endswith("。")
            assert not re.search(r"\bnan\b|\binf points\b", sentence.en)
        assert chapter.title.en in text and chapter.title.zh in text
    assert "plain PyTorch" in outcome.speed.line.en and outcome.speed.engine == "cpu"


@pytest.mark.thorough
def test_same_seed_same_numbers(outcome):
    again = regression.build(0, LITTLE, lambda done: None)
    assert again == outcome.chapters[0], "numbers, words or pictures differ"
    with one_thread():
        assert digits.build(0, LITTLE, lambda done: None) == outcome.chapters[2]
    other = regression.experiment.load(1, 2, True)
    assert not np.array_equal(other.test_y, regression.experiment.load(0, 2, True).test_y)


@pytest.mark.thorough
def test_the_terminal_gets_the_summary(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(tour, "QUICK", LITTLE)
    with pytest.raises(SystemExit) as end:
        main(["tour", "--quick", "--no-open", "--lang", "zh", "--output", str(tmp_path)])
    out = capsys.readouterr().out
    assert not end.value.code
    assert str(tmp_path / "index.html") in out and "mse_loss" in out and "结论" not in out and "含错误标签的回归" in out
    assert (tmp_path / "index.html").stat().st_size > 100_000


def test_wrong_targets_are_in_training_only():
    dirty, clean = regression.experiment.load(0, 3, True), regression.experiment.load(0, 3, False)
    assert np.array_equal(dirty.test_y, clean.test_y) and np.array_equal(dirty.x, clean.x)
    share = float(dirty.wrong.float().mean())
    assert abs(share - regression.experiment.SHARE) < 0.003
    points = [d.target * d.unit + d.middle for d in (dirty, clean)]
    assert np.allclose(points[0][dirty.wrong], 10 * points[1][dirty.wrong], rtol=1e-4)
    assert np.allclose(points[0][~dirty.wrong], points[1][~dirty.wrong], rtol=1e-4)


def test_wrong_labels_are_in_training_only():
    dirty, clean = digits.experiment.load(0, 3, True), digits.experiment.load(0, 3, False)
    assert torch.equal(dirty.truth, clean.truth) and torch.equal(dirty.x, clean.x) and torch.equal(dirty.test_x, clean.test_x)
    differs = torch.zeros_like(dirty.label, dtype=torch.bool).scatter_(0, dirty.wrong, True)
    assert torch.equal(dirty.label != clean.label, differs) and float(differs.double().mean()) == pytest.approx(digits.experiment.SHARE)
    for held_out, images, seen in zip(dirty.test.T, dirty.test_x.transpose(0, 1), dirty.x.transpose(0, 1), strict=True):
        assert len(set(held_out)) == len(images) == 1797 - len(seen)


def test_networks_share_nothing():
    networks, data = digits.experiment.Networks(3, 0), digits.experiment.load(0, 3, True)
    x = data.x[:5].clone().requires_grad_()
    (slope,) = torch.autograd.grad(networks(x)[:, 1].sum(), x)
    assert slope[:, 1].abs().sum() > 0 and slope[:, [0, 2]].abs().sum() == 0
    assert digits.experiment.points(300)[-1] == 300 and digits.experiment.points(300) == sorted(set(digits.experiment.points(300)))


def test_pulls_are_the_gradient():
    """Cross-entropy pulls with 1 - p, generalized cross-entropy with p^q (1 - p), whatever the number of classes."""
    for entry, factor in ((digits.experiment.ENTRIES[0], lambda p: 1.0), (digits.experiment.ENTRIES[4], lambda p: p**0.7)):
        for classes in (4, 10):
            line = digits.experiment.curve(entry, classes)
            p = np.array(line.x)
            assert np.allclose(-np.array(line.slope), factor(p) * (1.0 - p))


def test_worked_example_agrees_with_losskit():
    refusal, steps, pulls = (block for block in digits.example.by_hand() if block.kind in ("session", "table"))
    assert "sums to 1.1" in refusal.text and ">>> losskit.cross_entropy" in refusal.text
    by_hand, compared = None, 0
    for row in steps.rows:
        name, numbers = row[0].text.en, [cell.text for cell in row[1:]]
        if name.startswith("losskit"):
            assert [n for n in numbers if n] == [n for n, said in zip(by_hand, numbers, strict=True) if said], name
            compared += 1
        elif not name.startswith(("logits", "exp", "softmax")):
            by_hand = numbers
    assert compared == 7
    p, value = 0.1, {row[0].text: float(row[4].text) for row in pulls.rows}
    assert value["generalized_cross_entropy(q=0.7)"] == pytest.approx((1 - p**0.7) / 0.7, abs=6e-5) and value[
        "symmetric_cross_entropy(alpha=0.1)"
    ] == pytest.approx(-0.1 * np.log(p) + 4 * (1 - p), abs=6e-5)
    assert value["focal_loss(gamma=2)"] == pytest.approx(-((1 - p) ** 2) * np.log(p), abs=6e-5) and value["poly_loss(epsilon=1)"] == pytest.approx(
        1 - p - np.log(p), abs=6e-5
    )


@pytest.mark.thorough
def test_digits_verdict_follows_the_numbers():
    """Other findings, other words: plain cross-entropy made the best with wrong labels, and nothing forgotten."""
    with one_thread():
        found = digits.experiment.run(0, LITTLE, lambda done: None)
    noise = np.array([0.002, -0.001, -0.001])
    right = np.eye(10)[found.data.truth.numpy()]

    def result(name, level):
        course = np.linspace(0.5, level, len(found.dirty[name].course))[:, None] + noise
        return found.dirty[name]._replace(accuracy=level + noise, probability=right, course=course)

    names = [e.name for e in digits.experiment.ENTRIES]
    level = {n: 0.9 for n in names} | {"cross_entropy": 0.99, "generalized_cross_entropy(q=0.7)": 0.5}
    made_up = found._replace(
        order=sorted(digits.experiment.ENTRIES, key=lambda e: -level[e.name]),
        dirty={n: result(n, level[n]) for n in names},
        clean={n: result(n, 0.95) for n in names},
    )
    verdict = " ".join(sentence.en for sentence in digits.tell(made_up, LITTLE).verdict)
    assert (
        verdict.startswith("With 30% wrong labels cross_entropy reads the most test digits right: 99.0")
        and "generalized_cross_entropy(q=0.7) (-49.0)" in verdict
    )
    assert "No loss loses more than a point" in verdict and "no difference is beyond the noise" in verdict and "Not every network" not in verdict


@pytest.mark.thorough
def test_pictures_repeat_whatever_the_threads(outcome, segmented):
    assert segmentation.tell(segmented, LITTLE) == outcome.chapters[3], "numbers, words or pictures differ"


def test_no_crop_sees_a_held_out_pixel():
    """Every pixel is held out once, and then no training crop has it."""
    coins, galaxies = segmentation.data.pictures(0)
    for picture in (coins, galaxies):
        columns = np.broadcast_to(np.arange(picture.mask.shape[1]), picture.mask.shape)
        bands = [segmentation.data.tiles(picture, columns, band) for band in range(segmentation.data.BANDS)]
        assert np.array_equal(segmentation.data.joined(picture, bands), columns)
        for band, held_out in enumerate(bands):
            seen, _ = segmentation.data.batches(picture._replace(image=columns), band, size=4, count=60, seed=0)
            assert not set(seen.unique().tolist()) & set(held_out.unique().tolist())
            assert len(seen.unique()) > 0.9 * (columns.shape[1] - picture.band)


def test_masks_come_from_the_pictures():
    coins, galaxies = segmentation.data.pictures(0)
    another = segmentation.data.galaxies(1)
    assert segmentation.experiment.objects(coins, coins.mask) == (24, 24, 0) and coins.mask.dtype == galaxies.mask.dtype == bool
    assert np.array_equal(galaxies.mask, another.mask) and not np.array_equal(galaxies.image, another.image)
    nothing = np.zeros_like(coins.mask)
    assert segmentation.experiment.objects(coins, nothing) == (24, 0, 0) and segmentation.experiment.objects(coins, ~coins.mask).found == 0
    x, t = segmentation.data.batches(galaxies._replace(image=galaxies.mask * 1.0), 2, size=2, count=4, seed=0)
    assert torch.equal(x, t), "image and mask are turned differently"


def test_overlap_scores_by_hand():
    coins, _ = segmentation.data.pictures(0)
    half = coins.mask & (np.arange(coins.mask.shape[0]) % 2 == 0)[:, None]
    bands = [segmentation.data.tiles(coins, half, band) for band in range(segmentation.data.BANDS)]
    result = segmentation.experiment.scores(coins, bands)
    assert np.array_equal(result.found, half) and result.false.sum() == 0
    width = coins.band
    for band, dice in enumerate(result.dice):
        a, b = (whole[:, band * width : (band + 1) * width].sum() for whole in (coins.mask, half))
        assert dice == pytest.approx(2 * b / (a + b)) and result.iou[band] == pytest.approx(b / a)


def test_pulls_of_one_pixel():
    """Cross-entropy's are the same everywhere; Dice's follow its formula in a tile of its own."""
    cross, dice = (segmentation.experiment.pull(entry, 73) for entry in segmentation.experiment.ENTRIES[:2])
    items = segmentation.experiment.BATCH * segmentation.experiment.TILE**2
    assert np.allclose(cross.false, 0.9 / items) and np.allclose(cross.missed[1:], 0.9 / items)
    n = 100
    hit = 0.9 * (n - 1) + 0.1
    found = hit + 0.9 + 0.01 * (segmentation.experiment.TILE**2 - n - 1)
    score, whole = (2 * hit + 1) / (found + n + 1), found + n + 1
    assert dice.false[4] == pytest.approx(score / whole * 0.09 / 4) and dice.missed[4] == pytest.approx((2 - score) / whole * 0.09 / 4)


def test_overlapping_masks_agree_with_losskit():
    (steps,) = (block for block in segmentation.example.by_hand() if block.kind == "table")
    by_hand, compared = None, 0
    for row in steps.rows:
        numbers = [cell.text for cell in row[1:]]
        if row[0].text.en.startswith("losskit"):
            assert numbers == by_hand, row[0].text.en
            compared += 1
        by_hand = numbers
    assert compared == 5 and steps.rows[3][1].text == "0.5333"
    assert segmentation.example.soft_labels() == pytest.approx((0.8, 1.0))


@pytest.mark.thorough
def test_segmentation_verdict_follows_the_numbers(segmented):
    """Other findings, other words: Tversky made perfect and everything else made to find nothing."""
    results = {}
    for picture in segmented.pictures:
        nothing, everything = (
            segmentation.experiment.scores(picture, [segmentation.data.tiles(picture, mask, band) for band in range(segmentation.data.BANDS)])
            for mask in (np.zeros_like(picture.mask), picture.mask)
        )
        results[picture.key] = {e.name: everything if e.loss == "tversky_loss" else nothing for e in segmentation.experiment.ENTRIES}
    verdict = " ".join(sentence.en for sentence in segmentation.tell(segmented._replace(results=results), LITTLE).verdict)
    assert verdict.startswith("Coins: tversky_loss(alpha=0.3, beta=0.7) overlaps best on held-out tiles, Dice 1.000 and IoU 1.000")
    assert (
        "Clearly behind the best, by their Dice: binary_cross_entropy_with_logits (-1.000)" in verdict
        and "no loss finds more, and none invents fewer" in verdict
    )
    assert "from 0.000 to 0.000 on the galaxies (within the noise)" in verdict and "The gradient fits" not in verdict


def test_rare_class_is_as_rare_in_the_test():
    data = imbalance.experiment.load(0, 2)
    assert float(data.target.mean()) == pytest.approx(0.05)
    assert np.average(data.truth[0], weights=data.weight) == pytest.approx(0.05)


def test_verdict_follows_the_numbers():
    """Other findings, other words: L1 made the worst and MSE the best."""
    found = regression.experiment.run(0, LITTLE, lambda done: None)
    noise = np.array([0.1, -0.1, 0.05])

    def result(level):
        return regression.experiment.Result(level + noise, level + noise, found.dirty["l1_loss"].predicted)

    names = [e.name for e in found.order]
    level = {n: 50.0 for n in names} | {"mse_loss": 30.0, "l1_loss": 90.0}
    made_up = found._replace(
        order=sorted(found.order, key=lambda e: level[e.name]),
        dirty={n: result(level[n] + 3 * noise[::-1]) for n in names},
        clean={n: result(40.0) for n in names},
    )
    verdict = " ".join(sentence.en for sentence in regression.tell(made_up, LITTLE).verdict)
    assert verdict.startswith("With wrong targets mse_loss has the smallest test error")
    assert "l1_loss learned less than nothing" in verdict and "does not order the losses" in verdict and "no difference is beyond the noise" in verdict


def test_a_difference_within_the_noise_is_not_clear():
    draw = np.random.default_rng(0)
    base = draw.normal(50.0, 3.0, 20)
    same = difference(base + draw.normal(0.0, 1.0, 20), base, train=300, test=100, matters=0.1)
    apart = difference(base + draw.normal(2.0, 1.0, 20), base, train=300, test=100, matters=0.1)
    tiny = difference(base + 0.01, base, train=300, test=100, matters=0.1)
    assert (same.clear, apart.clear, tiny.clear) == (False, True, False)
    assert student(0.05, 19) == pytest.approx(2.093, abs=2e-3) and student(0.01, 10) == pytest.approx(3.169, rel=0.01)


def test_scores_by_hand():
    even = np.ones(4)
    assert calibration_error(np.array([0.25, 0.25, 0.25, 0.25]), np.array([1.0, 0.0, 0.0, 0.0]), even) == 0.0
    assert calibration_error(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 0.0, 0.0, 0.0]), even) == pytest.approx(0.25)
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 90.0])) == pytest.approx(1.0)
