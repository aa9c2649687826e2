"""The tour: it runs, its report needs nothing else and shows every loss, its verdicts follow from the numbers, and the numbers repeat."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import losskit
from losskit import tour
from losskit.cli import main
from losskit.tour import imbalance_run, regression, regression_run
from losskit.tour.chapter import Effort, listed
from losskit.tour.compare import calibration_error, difference, rank_correlation, student

LITTLE = Effort(seeds=3, steps=8, elements=1 << 12, rounds=1)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """A small tour."""
    steps = []
    made = tour.conduct(tmp_path_factory.mktemp("tour") / "deep" / "report", effort=LITTLE, advance=steps.append)
    assert len(steps) == tour.work()
    return made


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


def test_report_needs_nothing_else(outcome):
    text = outcome.page.read_text(encoding="utf-8")
    page = Page(text)
    assert page.loads == [] and page.open == []
    assert not re.search(r"https?:|@import|url\((?!#)", text)
    assert "<svg" in text and text.count("<script>") == 1


def test_report_has_every_regression_loss_and_both_languages(outcome):
    text = outcome.page.read_text(encoding="utf-8").replace("<wbr>", "")
    for loss in losskit.LOSSES.values():
        if loss.task == "regression":
            assert f"<code>{loss.name}" in text
    assert len(re.findall('<t?span lang="en">', text)) == len(re.findall('<t?span lang="zh">', text)) > 80
    assert not re.search(r"#[0-9a-f]{6}", text[text.index("</style>") :]), "a colour that does not follow light and dark"


def test_every_chapter_has_a_verdict(outcome):
    text = outcome.page.read_text(encoding="utf-8")
    for chapter in outcome.chapters:
        assert len(chapter.verdict) >= 4
        for sentence in chapter.verdict:
            assert sentence.en.endswith(".") and sentence.zh.endswith("。")
            assert not re.search(r"\bnan\b|\binf points\b", sentence.en)
        assert chapter.title.en in text and chapter.title.zh in text
    assert "plain PyTorch" in outcome.speed.line.en and outcome.speed.engine == "cpu"


def test_same_seed_same_numbers(outcome):
    again = regression.build(0, LITTLE, lambda done: None)
    assert again == outcome.chapters[0], "numbers, words or pictures differ"
    other = regression_run.load(1, 2, True)
    assert not np.array_equal(other.test_y, regression_run.load(0, 2, True).test_y)


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
    dirty, clean = regression_run.load(0, 3, True), regression_run.load(0, 3, False)
    assert np.array_equal(dirty.test_y, clean.test_y) and np.array_equal(dirty.x, clean.x)
    share = float(dirty.wrong.float().mean())
    assert abs(share - regression_run.SHARE) < 0.003
    points = [d.target * d.unit + d.middle for d in (dirty, clean)]
    assert np.allclose(points[0][dirty.wrong], 10 * points[1][dirty.wrong], rtol=1e-4)
    assert np.allclose(points[0][~dirty.wrong], points[1][~dirty.wrong], rtol=1e-4)


def test_rare_class_is_as_rare_in_the_test():
    data = imbalance_run.load(0, 2)
    assert float(data.target.mean()) == pytest.approx(0.05)
    assert np.average(data.truth[0], weights=data.weight) == pytest.approx(0.05)


def test_verdict_follows_the_numbers():
    """Other findings, other words: L1 made the worst and MSE the best."""
    found = regression_run.run(0, LITTLE, lambda done: None)
    noise = np.array([0.1, -0.1, 0.05])

    def result(level):
        return regression_run.Result(level + noise, level + noise, found.dirty["l1_loss"].predicted)

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
    assert listed(["a"]) == "a" and listed(["a", "b", "c"]) == "a, b and c"
