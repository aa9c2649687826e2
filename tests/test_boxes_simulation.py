"""The DIoU paper's simulation: it is the paper's set-up, its steps are plain gradient descent, and what it says follows from the numbers."""

import re

import numpy as np
import pytest
import torch

import losskit
from losskit.cli import main
from losskit.contract.boxes import boxes as contract
from losskit.tour.chapters import boxes
from losskit.tour.chapters.boxes.claims import claims, direction
from losskit.tour.chapters.boxes.experiment import CASES, COMPARED, PAPER, PUBLISHED, STEPS
from losskit.tour.chapters.boxes.published import published_giou
from losskit.tour.report import html

POINTS = 12


@pytest.fixture(scope="module")
def found():
    told, ticks = [], []
    made = boxes.experiment.run(POINTS, 0, COMPARED, told.append, lambda: ticks.append(1))
    assert len(told) == len(COMPARED) + 1 and len(ticks) == boxes.experiment.ticks(POINTS)
    return made


def corners(x):
    return torch.cat((x[..., :2] - x[..., 2:] / 2, x[..., :2] + x[..., 2:] / 2), -1)


def overlap(x, t, cut=True):
    """Overlap, union and enclosing box, as books write them."""
    a, b = corners(x), corners(t)
    sides = torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])
    both = (sides.clamp(min=0) if cut else sides).prod(-1)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).prod(-1)
    union = x[:, 2:].prod(-1) + t[:, 2:].prod(-1) - both
    return both, union, hull, (sides > 0).all(-1)


def iou(x, t):
    both, union, _, _ = overlap(x, t)
    return both / union


def giou(x, t, cut=True):
    both, union, hull, meets = overlap(x, t, cut)
    return torch.where(meets, both / union, 0.0) - (hull - union) / hull


def test_the_problem_is_the_papers():
    given = boxes.experiment.problem(2000, 3)
    assert CASES == 343 and given.start.shape == given.target.shape == (2000, 343, 4) and boxes.experiment.POINTS * CASES == 1_715_000
    sizes = given.start[..., 2] * given.start[..., 3]
    assert sorted({round(float(s), 4) for s in sizes[0]}) == [0.5, 0.67, 0.75, 1.0, 1.33, 1.5, 2.0]
    assert torch.allclose(given.target[..., 2:].prod(-1), torch.tensor(1.0)) and (given.target[..., :2] == 10).all()
    for x in (given.start, given.target):
        assert sorted({round(float(r), 3) for r in x[0, :, 2] / x[0, :, 3]}) == [0.25, 0.333, 0.5, 1.0, 2.0, 3.0, 4.0]
    pairs = {tuple(round(float(v), 4) for v in (*a[2:], *b[2:])) for a, b in zip(given.start[0], given.target[0], strict=True)}
    assert len(pairs) == CASES, "a case twice"
    radius = np.hypot(*given.offset.T)
    assert (given.start[:, :1, :2] == given.start[..., :2]).all() and radius.max() <= 3.0
    assert np.mean(radius < 1.5) == pytest.approx(0.25, abs=0.03), "not uniform in the disc"
    assert not torch.equal(boxes.experiment.problem(5, 0).start, boxes.experiment.problem(5, 1).start)
    rates = [boxes.experiment.rate(k, 200) for k in range(200)]
    assert rates == [0.1] * 160 + [0.01] * 20 + [0.001] * 20


@pytest.mark.parametrize(("name", "score"), [("iou_loss", iou), ("giou_loss", giou), (PUBLISHED, lambda x, t: giou(x, t, cut=False))])
def test_steps_are_plain_gradient_descent(name, score):
    """In float64, by autograd of the book's formula, twenty steps are the same."""
    given = boxes.experiment.problem(8, 1)
    x, t = given.start.reshape(-1, 4).clone(), given.target.reshape(-1, 4)
    by_book, target = x.double().requires_grad_(), t.double()
    for _ in range(20):
        (slope,) = torch.autograd.grad((-score(by_book, target) * (2 - iou(by_book, target)).detach()).sum(), by_book)
        with torch.no_grad():
            by_book -= 0.1 * slope
    boxes.experiment.descend(boxes.experiment.loss_of(name), x, t, 25)  # of which the first 20 are at the rate 0.1
    stepped = x.clone()
    x = given.start.reshape(-1, 4).clone()
    seen = {}
    boxes.experiment.descend(boxes.experiment.loss_of(name), x, t, 25, lambda done: seen.setdefault(done, x.detach().clone()))
    assert torch.equal(x, stepped) and sorted(seen) == list(range(26)) and not x.requires_grad
    apart = (seen[20] - by_book.detach().float()).abs().max(-1).values
    assert float(apart.quantile(0.9)) < 1e-4 and float(apart.quantile(0.99)) < 1e-3, "beyond rounding"  # which grows where edges nearly meet


def test_the_published_giou_is_giou_but_for_the_cut():
    torch.manual_seed(0)
    x, t = torch.rand(400, 4, dtype=torch.float64), torch.rand(400, 4, dtype=torch.float64)
    x[:, :2] *= 3
    options = dict(box_format="cxcywh", mask=None, sample_weight=None, normalizer=None, reduction="none")
    moving = x.clone().requires_grad_()
    given = torch.linspace(0.5, 2.0, 400, dtype=torch.float64)
    with losskit.use_engine("torch"):
        value = contract(published_giou, moving, t, **options)
        (slope,) = torch.autograd.grad(value, moving, given)
        defined = losskit.giou_loss(x, t, box_format="cxcywh", reduction="none")
    book = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(1 - giou(book, t, cut=False), book, given)
    assert torch.allclose(value, 1 - giou(x, t, cut=False)) and torch.allclose(slope, expected)
    meets = overlap(x, t)[3]
    same = torch.isclose(value, defined)
    assert 0 < meets.sum() < 400 and same[meets].all() and same[~meets].double().mean() < 0.05


@pytest.mark.thorough
def test_a_course_is_all_its_boxes(found, monkeypatch):
    course = found.courses["giou_loss"]
    assert course.error.shape == (STEPS + 1,) and course.final.shape == course.iou.shape == (POINTS,)
    assert course.error[0] == pytest.approx(found.start.mean(), rel=1e-6) and course.error[-1] == pytest.approx(course.final.mean(), rel=1e-5)
    for other in found.courses.values():
        assert np.isfinite(other.error).all() and (other.iou <= 1).all() and 0 <= other.arrived <= 1
    monkeypatch.setattr(boxes.experiment, "CHUNK", 5)
    again = boxes.experiment.course("giou_loss", boxes.experiment.problem(POINTS, 0))
    assert np.array_equal(again.final, course.final) and np.allclose(again.error, course.error, rtol=1e-6) and np.allclose(again.area, course.area, rtol=1e-6)


@pytest.mark.thorough
def test_what_comes_out(found):
    """Of the claims, those about the published code's GIoU only there; and a box apart does not move under IoU."""
    held = {c.name.en: (c.held, c.held_published) for c in claims(found)}
    assert held["IoU moves only what overlaps"] == held["the larger basin of GIoU"] == held["DIoU before IoU"] == held["CIoU before DIoU"] == (True, True)
    assert held["the cross of GIoU"] == held["DIoU before GIoU"] == held["DIoU on the axes"] == (False, True)
    assert found.courses["iou_loss"].moved == 0.0 < found.courses["giou_loss"].moved
    given = boxes.experiment.problem(POINTS, 0)
    meets = iou(given.start.reshape(-1, 4).double(), given.target.reshape(-1, 4).double()) > 0
    assert 0.5 < found.apart == pytest.approx(1 - meets.double().mean().item(), abs=2e-4)
    assert [c.published is None for c in claims(found)].count(True) == 3


@pytest.mark.thorough
def test_words_follow_the_numbers(found):
    """Other findings, other words: GIoU stalls like the published one, IoU moves what is apart, and smooth L1 is the worst."""
    courses = dict(found.courses)
    courses["giou_loss"] = courses[PUBLISHED]
    courses["iou_loss"] = courses["iou_loss"]._replace(moved=1.0)
    courses["smooth_l1_loss"] = courses["smooth_l1_loss"]._replace(error=courses["iou_loss"].error + 1.0)
    made_up = found._replace(courses=courses)
    held = {c.name.en: c.held for c in claims(made_up)}
    assert held["the cross of GIoU"] and held["DIoU before GIoU"] and held["DIoU on the axes"] and not held["IoU moves only what overlaps"]
    verdict = " ".join(s.en for s in boxes.tell(made_up).verdict)
    assert "Not with the losses as defined: IoU moves only what overlaps." in verdict and "hardly matters" in verdict and "Smooth L1, whose own" in verdict
    swapped = found._replace(courses=courses | {"ciou_loss": found.courses["diou_loss"], "diou_loss": found.courses["ciou_loss"]})
    assert not {c.name.en: c.held for c in claims(swapped)}["CIoU before DIoU"]
    never = found._replace(courses=courses | {"diou_loss": courses["iou_loss"]})
    assert "Steps until a tenth of the error is left: never, against never" in " ".join(c.measured.en for c in claims(never))


@pytest.mark.thorough
def test_the_chapter_is_whole(found):
    chapter = boxes.tell(found)
    page = html((chapter,), None, 0)
    assert len(re.findall('<t?span lang="en">', page)) == len(re.findall('<t?span lang="zh">', page)) > 60
    assert not re.search(r"https?:|@import|url\((?!#)|\bnan\b", page) and not re.search(r"#[0-9a-f]{6}", page[page.index("</style>") :])
    for sentence in chapter.verdict:
        assert sentence.en.endswith(".") and sentence.zh.endswith("。")
    assert boxes.tell(found) == chapter, "numbers, words or pictures differ"
    hand = next(b for b in chapter.blocks if b.kind == "table" and "By hand" in b.headings[0].en)
    entries = {row[0].text.en: [cell.text for cell in row[1:]] for row in hand.rows if not isinstance(row[0].text, str)}
    assert entries["GIoU: 1 - 0 + (C - U) / C"] == [v.split(",")[0] for v in entries["losskit says, and the slope by x"]]
    assert entries["as published, and the slope by x"][0] == "1.0000, 0.0000"


def test_maps_and_profiles_by_hand():
    offset = boxes.experiment.problem(500, 0).offset
    grid = boxes.figures.spread_over(offset, offset[:, 0] + 10.0 * offset[:, 1], 15)
    assert np.isnan(grid[0, 0]) and (np.isnan(grid).mean() == pytest.approx(1 - np.pi / 4, abs=0.05))
    assert np.allclose(grid[[1, 7, 13], 7], [24.0, 0.0, -24.0], atol=2.5) and np.allclose(grid[7, 2] - grid[7, 12], -4.0, atol=1.5), "x to the right, y upwards"
    middles, means = boxes.figures.binned(np.array([0.1, 0.2, 2.5]), np.array([1.0, 3.0, 7.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    assert middles.tolist() == [0.5, 2.5] and means.tolist() == [2.0, 7.0]
    assert direction(np.array([[1.0, 0.0], [0.0, -2.0], [1.0, 1.0], [-1.0, 1.0]])).tolist() == pytest.approx([0.0, 0.0, 45.0, 45.0])
    assert [boxes.figures.shade(v, 4.0) for v in (-1.0, 0.0, 1.0, 4.0, 9.0)] == [0, 0, 12, 24, 24]


def test_every_newer_loss_can_be_simulated():
    given = boxes.experiment.problem(1, 0)
    for name in boxes.experiment.newer():
        with losskit.use_engine("torch"):  # a few steps are no reason to compile a loop
            course = boxes.experiment.course(name, given, steps=20)
        assert np.isfinite(course.error).all(), name
    styles = boxes.figures.strokes([*COMPARED, *(f"x{k}_loss" for k in range(12))])
    assert len({(s["color"], s["linestyle"]) for s in styles.values()}) == len(styles)


@pytest.mark.thorough
def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(boxes.experiment, "PATIENCE", 2)
    with pytest.raises(SystemExit) as end:
        main(["simulate-boxes", "--points", "3", "--output", str(tmp_path), "--lang", "zh"])
    out = capsys.readouterr().out
    assert not end.value.code and "不成立" in out and str(tmp_path / "boxes.html") in out
    assert all(boxes.experiment.title(name) in out for name in PAPER) and "…" not in out and "nan" not in out
    assert (tmp_path / "boxes.html").stat().st_size > 50_000
    for words, told in ((("--points", "0"), "--points"), (("--output", "/dev/null/x"), "/dev/null/x")):
        with pytest.raises(SystemExit) as end:
            main(["simulate-boxes", *words])
        err = capsys.readouterr().err
        assert end.value.code == 2 and err.startswith("losskit: ") and err.count("\n") == 1 and told in err
