"""Losses of boxes on whatever may come: finite everywhere, 0 for identical boxes, never kinder to corners out of order, and they lead back from there.

LOSSKIT_BOX_PAIRS=1000000 pytest tests/test_boxes_total.py -k fuzz: the fuzzing below with as many pairs of boxes as that for each loss.
"""

import math
import os
from itertools import product

import numpy as np
import pytest
import torch
from cases import Case
from claims import claim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import losskit
from losskit import LOSSES
from losskit.testing import BoxSubject
from losskit.testing.box_laws import outcome, require_total
from losskit.testing.boxes import combinations, in_order, ordinary

CASES = [Case(loss, arguments) for loss in LOSSES.of("boxes").values() for arguments in loss.arguments]
UNBOUNDED = ("mpdiou_loss",)  # the square of a distance in pixels is beyond float32 from 1e19 on
PAIRS = int(os.environ.get("LOSSKIT_BOX_PAIRS", "5000"))
ENDS = 5  # numbers per axis: 5^4 pairs per example
MARKS = (0.0, 1.0, 0.5, 2.0, 1e-6, 1e6, 1e6 + 0.0625, 1e-20, 1e-30, 1e-37, 1e-38, 1e-45, 1e12, 1e18, 1e30)


def stored(number):
    """As float32, within 1e30."""
    return float(np.float32(max(-1e30, min(1e30, number))))


NUMBERS = st.one_of(st.sampled_from([*MARKS, *(-mark for mark in MARKS)]), st.floats(-100, 100, width=32), st.floats(-1e30, 1e30))
NEIGHBOURS = st.sampled_from((1 - 2.0**-23, 1 + 2.0**-23, 1 + 2.0**-21, 1.001, 0.5, 2.0, -1.0))


@st.composite
def ends(draw):
    """A few numbers on one axis: marks, anything, and neighbours of what is there."""
    numbers = [stored(draw(NUMBERS))]
    while len(numbers) < ENDS:
        numbers.append(stored(draw(NUMBERS) if draw(st.booleans()) else numbers[-1] * draw(NEIGHBOURS)))
    return numbers


def first(wrong, *shown):
    """The first pair that is wrong."""
    i = int(wrong.nonzero()[0, 0])
    return [x[i].tolist() for x in shown]


def exact_middles(a):
    """Whether the middles of corners out of order are numbers of float32: what is computed from others depends on their rounding."""
    middle = a.double()[:, :2] + a.double()[:, 2:]
    return ((a[:, :2] <= a[:, 2:]) | ((middle / 2).float().double() == middle / 2)).all(1)


@pytest.mark.sparse(2)
@pytest.mark.parametrize("case", CASES, ids=str)
@claim("iou_loss", "Every finite input has a finite value")
def test_fuzz(case):
    @settings(max_examples=max(PAIRS // ENDS**4, 1), deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(xs=ends(), ys=ends(), seed=st.integers(0, 1000))
    def run(xs, ys, seed):
        a, b = combinations(xs, ys, seed)
        total_on(case, a, b)

    run()


def direction_unsure(centres, extent):
    """How much of SIoU hangs on the direction between two centres, which is known to the rounding of the sides: of a needle's, to nothing."""
    shares = (centres / extent).square().sum(1).nan_to_num(0.0)
    return shares * (2.0**-22 * extent.amax(1) / centres.norm(dim=1)).nan_to_num(1.0).clamp(max=1.0)


def near_the_least(corners):
    """Whether a side is about the least that counts, or shorter: what lies between such sides and their centres is known to the rounding of the corners, which is as long."""
    sides = torch.stack((corners[:, 2:4] - corners[:, :2], corners[:, 6:] - corners[:, 4:6]), 1)
    least = 2.0**-30 * sides.amax((1, 2))[:, None, None]
    return ((sides > 0) & (sides < 2.0 * least)).any((1, 2))


def total_on(case, a, b):
    def found(engine, a, b, look=outcome):
        with losskit.use_engine(engine):
            return look(BoxSubject(case.loss.function, case.loss, case.settings, a.dtype, engine), a, b)

    results = {engine: found(engine, a, b, outcome if case.loss.name in UNBOUNDED else require_total) for engine in ("cpu", "torch")}
    for engine, (value, by_a, by_b) in results.items():
        assert (value >= 0).all(), (engine, *first(~(value >= 0), a, b, value))
        same = ((a == b) & (in_order(a) == a)).all(1)
        still = (value == 0) & (by_a == 0).all(1) & (by_b == 0).all(1)
        assert still[same].all(), (engine, *first(same & ~still, a, b, value, by_a, by_b))
    p, q = in_order(a).double(), in_order(b).double()
    extent = torch.maximum(p, q)[:, 2:] - torch.minimum(p, q)[:, :2]
    turned = a[:, :2] > a[:, 2:]
    middle = (p[:, :2] + p[:, 2:]) / 2
    inner = torch.where(turned, torch.maximum(middle, q[:, 2:]) - torch.minimum(middle, q[:, :2]), extent)
    lengths = torch.cat((extent, inner, q[:, 2:] - q[:, :2]), 1)
    large = ((lengths == 0) | (lengths > 2e-37)).all(1)  # a smaller length counts as none
    value, ordered = results["torch"].value, found("torch", in_order(a), b).value
    kind = (value < ordered * (1 - 1e-5)) & large & exact_middles(a)
    assert not kind.any(), first(kind, a, b, value, ordered)
    exact = found("torch", a.double(), b.double()).value
    both = (torch.minimum(p, q)[:, 2:] - torch.maximum(p, q)[:, :2]).clamp(min=0).prod(1)
    hardly = (both > 0) & (both < 4e-18 * ((p[:, 2:] - p[:, :2]).prod(1) + (q[:, 2:] - q[:, :2]).prod(1)))  # about where an overlap counts as none
    sure = exact_middles(a) & large & ~hardly & exact.float().isfinite()
    if case.loss.name == "inner_iou_loss":  # it scales the differences of ends, of which those below float32's normal numbers lose digits then
        between = (p - q).abs()
        sure &= ((between == 0) | (between > 2e-38)).all(1)
    if case.loss.name == "probiou_loss":
        between = torch.cat((p - q, p[:, 2:] - p[:, :2], ((p - q)[:, :2] + (p - q)[:, 2:]) / 2), 1).abs()
        sure &= ((between == 0) | (between > 2e-37)).all(1) & ~near_the_least(torch.cat((p, q), 1))
    unsure = direction_unsure((p - q).unflatten(1, (2, 2)).mean(1), inner) if case.loss.name == "siou_loss" else 0.0
    if case.loss.name == "probiou_loss":  # it adds up squares, and those of 1e-18 are hardly numbers of float32
        unsure = 1e-18 if case.settings["mode"] == "l1" else 1e-36
    for engine, (value, _, _) in results.items():
        off = (value - exact).abs() > 2 * case.loss.tolerance * exact + unsure + 1e-30
        assert not (off & sure).any(), (engine, *first(off & sure, a, b, value, exact))


def out_of_order(n, seed=0):
    """Boxes with the corners of one axis or of both swapped, anywhere near targets of sizes 0.5 ... 2.5."""
    draw = torch.Generator().manual_seed(seed)
    place, aim = (4 * torch.rand(n, 2, generator=draw) - 2 for _ in range(2))
    size, wanted = 0.2 + 3 * torch.rand(n, 2, generator=draw), 0.5 + 2 * torch.rand(n, 2, generator=draw)
    swapped = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])[torch.arange(n) % 3]
    return torch.cat((place - size * swapped / 2, place + size * swapped / 2), -1), torch.cat((aim - wanted / 2, aim + wanted / 2), -1)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["giou_loss", "diou_loss", "ciou_loss"])
def test_descent_leads_back_into_order_and_onto_the_target(name):
    a, b = out_of_order(90)
    assert losskit.degenerate_boxes(a) == 90
    a.requires_grad_()
    b.requires_grad_()  # the pass that gives both gradients is compiled already
    steps = 1500
    optimizer = torch.optim.Adam([a], lr=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        LOSSES[name].function(a, b, reduction="sum").backward()
        optimizer.step()
        schedule.step()
    assert losskit.degenerate_boxes(a) == 0
    assert losskit.iou(a, b).min() > 0.99


def test_a_point_in_order_costs_no_price():
    point, b = torch.tensor([[1.0, 1.0, 1.0, 1.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    assert losskit.iou(point, b) == 0 and losskit.diou(point, b) == 0
    nearly = torch.tensor([[1.25, 1.0, 0.75, 1.0]])
    torch.testing.assert_close(losskit.iou(nearly, b), torch.tensor([-0.5 / 2.5]))


def test_boxes_in_order_stay_within_their_bounds():
    a, b = ordinary(3000)
    a[:200, 2:] = a[:200, :2]
    a[100:300, 2] = a[100:300, 0]
    b[200:400] += 1e4
    for name, high in (("iou_loss", 1.0), ("giou_loss", 2.0), ("diou_loss", 2.0), ("ciou_loss", 2.5)):
        value = LOSSES[name].function(a, b, reduction="none")
        assert (value >= 0).all() and (value <= high).all()


def test_pairs_reach_every_way_two_boxes_can_lie():
    a, b = combinations([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0, 3.0])
    assert len(a) == 256
    x = {tuple(pair) for pair in torch.stack((a[:, 0], a[:, 2], b[:, 0], b[:, 2]), 1).tolist()}
    assert x == set(product([0.0, 1.0, 2.0, 3.0], repeat=4))


@pytest.mark.parametrize(
    ("box_format", "boxes", "count"),
    [
        ("xyxy", [[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0], [0.0, math.nan, 1.0, 1.0]], 3),
        ("xywh", [[5.0, 5.0, 1.0, 1.0], [5.0, 5.0, -1.0, 1.0], [5.0, 5.0, 1.0, 0.0]], 2),
        ("cxcywh", [[5.0, 5.0, 1e-30, 1.0], [5.0, 5.0, 0.0, 0.0]], 1),
        (
            "cxcywha",
            [[5.0, 5.0, 1.0, 1.0, -9.0], [5.0, 5.0, 0.0, 1.0, 0.0], [5.0, 5.0, 1.0, -1.0, 0.0], [5.0, 5.0, 1.0, 1.0, math.nan], [math.nan, 5.0, 1.0, 1.0, 0.0]],
            4,
        ),
    ],
)
def test_degenerate_boxes_are_counted(box_format, boxes, count):
    x = torch.tensor(boxes, requires_grad=True)
    found = losskit.degenerate_boxes(x, box_format=box_format)
    assert found.dim() == 0 and found.dtype is torch.int64 and not found.requires_grad and found == count
    assert losskit.degenerate_boxes(torch.tensor([[0, 0, 3, 3], [2, 2, 2, 2]])) == 1
    assert losskit.degenerate_boxes(torch.empty(0, 4)) == 0
