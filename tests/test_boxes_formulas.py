"""Losses of boxes against exact arithmetic: rational numbers on integer boxes, mpmath elsewhere, difference quotients, and identities."""

import random
from fractions import Fraction
from itertools import product

import pytest
import torch
from cases import Case

import losskit
from losskit import LOSSES
from losskit.testing.boxes import exact_pair, in_order, ordinary, textbook

CASES = [Case(loss, settings) for loss in LOSSES.of("boxes").values() for settings in loss.arguments]
ENGINES = ("cpu", "torch")
RATIONAL = [case for case in CASES if case.loss.name in ("iou_loss", "giou_loss", "diou_loss") and case.settings.get("mode") != "log"]
UNITS = ("mpdiou_loss", "nwd_loss")  # these measure in pixels: no invariance of scale


def outcome(case, a, b, engine, incoming=None):
    """Values and both gradients."""
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    with losskit.use_engine(engine):
        value = case.loss.function(a, b, reduction="none", **case.settings)
        return value.detach(), *torch.autograd.grad(value, (a, b), torch.ones_like(value) if incoming is None else incoming)


def integer_boxes():
    """Every pair of boxes whose ends are 0 ... 3 along x; along y any two of 0 ... 7."""
    draw = random.Random(3)
    spans = [(p, q) for p, q in product(range(4), repeat=2) if p <= q]
    pairs = [(0, 0, 10, 10, 0, 0, 10, 10), (0, 0, 7, 3, 5, 1, 11, 9), (3, 3, 3, 3, 3, 3, 3, 3), (2, 0, 2, 5, 2, 0, 2, 5)]
    for x, t in product(spans, spans):
        y, u = (sorted(draw.choices(range(8), k=2)) for _ in range(2))
        pairs.append((x[0], y[0], x[1], y[1], t[0], u[0], t[1], u[1]))
    return pairs


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", RATIONAL, ids=str)
def test_integer_boxes_in_rational_arithmetic(case, engine):
    pairs = integer_boxes()
    book = textbook(case.loss, case.settings)
    exact = [book(None, [Fraction(v) for v in p[:4]], [Fraction(v) for v in p[4:]]) for p in pairs]
    assert 0 in exact and len(set(exact)) > 10
    for dtype, allowed in ((torch.float32, 5e-7), (torch.float64, 1e-15))[: 1 if engine == "cpu" else 2]:
        boxes = torch.tensor(pairs, dtype=dtype)
        value, _, _ = outcome(case, boxes[:, :4], boxes[:, 4:], engine)
        for found, wanted, pair in zip(value.tolist(), exact, pairs, strict=True):
            assert abs(Fraction(found) - wanted) <= allowed * wanted, (pair, found, float(wanted))


def pairs_of_all_sizes():
    """Ordinary pairs; the same near (1e6, -2e5), 1e-6 and 1e6 times as large, and far apart."""
    a, b = ordinary(9, seed=1)
    far = torch.tensor([1e6, -2e5, 1e6, -2e5])
    found = [(a, b), ((a * 256).round() / 256 + far, (b * 256).round() / 256 + far), (a * 1e-6, b * 1e-6), (a * 1e6, b * 1e6), (a, b + 1e4)]
    a, b = torch.cat([p for p, _ in found]), torch.cat([q for _, q in found])
    overlap = torch.minimum(a, b)[:, 2:] - torch.maximum(a, b)[:, :2]
    clear = (overlap != 0).all(1)  # of boxes that touch, the gradient is that of an overlap
    return a[clear], b[clear]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_oracle(case):
    a, b = pairs_of_all_sizes()
    exact = [exact_pair(case.loss, case.settings, x, t) for x, t in zip(a.tolist(), b.tolist(), strict=True)]
    size = torch.cat([box[:, 2:] - box[:, :2] for box in (a, b)], -1).amin(-1).double()
    runs = [("torch", torch.float32), ("torch", torch.float64), ("cpu", torch.float32)]
    if case.loss.name in ("giou_loss", "ciou_loss"):  # what formulas call in float64 is the C library's
        runs.append(("cpu", torch.float64))
    for engine, dtype in runs:
        value, by_a, by_b = outcome(case, a.to(dtype), b.to(dtype), engine)
        loose = 1.0 if dtype is torch.float32 else 2.0**-26
        for i, wanted in enumerate(exact):
            least = 3e-7 * loose if case.loss.name == "inner_iou_loss" else 1e-37  # it computes with ends that are rounded
            assert abs(value[i].item() - wanted.value) <= case.loss.tolerance * loose * wanted.value + least, (engine, a[i], b[i], value[i], wanted.value)
            for found, slopes in ((by_a, wanted.grad_input), (by_b, wanted.grad_target)):
                room = 5 * case.loss.tolerance * loose * (max(map(abs, slopes)) + 1 / size[i].item())
                assert all(abs(f - s) <= room for f, s in zip(found[i].tolist(), slopes, strict=True)), (engine, dtype, a[i], b[i], found[i], slopes)


def formula_of(case):
    """The formula that a call hands to the engine, and its parameters."""
    seen = []
    module = __import__(case.loss.function.__module__, fromlist=["boxes"])
    original = module.boxes
    module.boxes = lambda formula, input, target, params=(), **_: seen.append((formula, params)) or original(formula, input, target, params, **_)
    try:
        case.loss.function(torch.zeros(1, 4), torch.ones(1, 4), **case.settings)
    finally:
        module.boxes = original
    return seen[0]


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "out of order"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_derivatives_are_those_of_the_value(case, turned):
    if not case.settings.get("alpha_gradient", True) or case.loss.name in ("focal_eiou_loss", "wiou_loss"):
        pytest.skip("holds a part constant: see the oracle")
    formula, params = formula_of(case)
    draw = random.Random(5)
    for _ in range(400):
        p = [draw.uniform(0, 3) for _ in range(8)]
        p[4:] = [min(p[4], p[6]), min(p[5], p[7]), max(p[4], p[6]), max(p[5], p[7])]
        if not turned:
            p[:4] = [min(p[0], p[2]), min(p[1], p[3]), max(p[0], p[2]), max(p[1], p[3])]
        _, *slopes = formula(*p, *params)
        for i, slope in enumerate(slopes):
            if case.loss.name == "ciou_loss" and i < 4 and p[i % 2] > p[i % 2 + 2]:
                continue  # the value keeps the angle, the gradient leaves it out
            low, high = list(p), list(p)
            low[i] -= 1e-6
            high[i] += 1e-6
            found = (formula(*high, *params)[0] - formula(*low, *params)[0]) / 2e-6
            assert abs(found - slope) < 2e-6 * (1 + abs(slope)) ** 2, (p, i, found, slope)


def loss_of(name, a, b, **settings):
    return LOSSES[name].function(a, b, reduction="none", **settings)


def test_one_never_lies_below_the_other():
    a, b = ordinary(3000, seed=2, dtype=torch.float64)
    iou, giou, diou, ciou = (loss_of(name, a, b) for name in ("iou_loss", "giou_loss", "diou_loss", "ciou_loss"))
    assert (giou >= iou).all() and (diou >= iou).all() and (ciou >= diou).all() and (giou < 2).all() and (diou < 2).all() and (ciou < 2.5).all()
    assert (giou > iou).any() and (ciou > diou).any()


def test_diou_is_iou_and_the_distance_of_the_centres_in_diagonals():
    a, b = ordinary(300, dtype=torch.float64)
    distance = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(-1)
    diagonal = (torch.maximum(a, b)[:, 2:] - torch.minimum(a, b)[:, :2]).square().sum(-1)
    torch.testing.assert_close(losskit.diou(a, b), losskit.iou(a, b) - distance / diagonal)


def test_a_box_inside_the_other_has_no_empty_share():
    inside, outside = torch.tensor([[1.0, 2.0, 3.0, 3.0]]), torch.tensor([[0.0, 0.0, 4.0, 5.0]])
    assert losskit.giou(inside, outside).item() == losskit.iou(inside, outside).item() == pytest.approx(0.1)


def test_boxes_with_one_centre_differ_by_iou_alone_and_of_one_shape_by_diou():
    a, b = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[1.0, -1.0, 3.0, 3.0]])
    assert torch.equal(losskit.diou(a, b), losskit.iou(a, b))
    wider = torch.tensor([[0.0, 1.0, 8.0, 5.0]])
    torch.testing.assert_close(losskit.ciou(a, wider), losskit.diou(a, wider))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_translation_and_scale_change_nothing(case):
    a, b = ((box * 64).round() / 64 for box in ordinary(200, seed=4))
    value, by_a, by_b = outcome(case, a, b, "torch")
    moved = torch.tensor([512.0, -256.0, 512.0, -256.0])
    for shifted, grad_a, grad_b in [outcome(case, a + moved, b + moved, "torch")]:
        assert torch.equal(value, shifted) and torch.equal(by_a, grad_a) and torch.equal(by_b, grad_b)
    if case.loss.name not in UNITS:
        for scale in (2.0**-20, 2.0**30):
            found, grad_a, grad_b = outcome(case, a * scale, b * scale, "torch")
            assert torch.equal(value, found) and torch.equal(by_a, grad_a * scale) and torch.equal(by_b, grad_b * scale)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_boxes_are_alike_to_it(case):
    a, b = ordinary(300, seed=6, dtype=torch.float64)
    value, by_a, by_b = outcome(case, a, b, "torch")
    swapped, by_b_swapped, by_a_swapped = outcome(case, b, a, "torch")
    torch.testing.assert_close(swapped, value)
    torch.testing.assert_close(by_a_swapped, by_a)
    torch.testing.assert_close(by_b_swapped, by_b)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mirrored_picture_has_the_mirrored_gradient(case):
    a, b = ordinary(300, seed=7, dtype=torch.float64)
    value, by_a, by_b = outcome(case, a, b, "torch")
    mirror = torch.tensor([2, 1, 0, 3])
    sign = torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    found, grad_a, grad_b = outcome(case, (a * sign)[:, mirror], (b * sign)[:, mirror], "torch")
    torch.testing.assert_close(found, value)
    torch.testing.assert_close(grad_a, (by_a * sign)[:, mirror])
    torch.testing.assert_close(grad_b, (by_b * sign)[:, mirror])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_turning_the_picture_turns_the_gradient(case):
    a, b = ordinary(300, seed=8, dtype=torch.float64)
    value, by_a, by_b = outcome(case, a, b, "torch")
    turn = torch.tensor([1, 0, 3, 2])
    found, grad_a, grad_b = outcome(case, a[:, turn], b[:, turn], "torch")
    torch.testing.assert_close(found, value)
    torch.testing.assert_close(grad_a, by_a[:, turn])
    torch.testing.assert_close(grad_b, by_b[:, turn])


def test_moving_both_boxes_alike_has_no_gradient():
    for case in CASES:
        a, b = ordinary(60, seed=9, dtype=torch.float64)
        _, by_a, by_b = outcome(case, a, b, "torch")
        both = (by_a + by_b)[:, :2] + (by_a + by_b)[:, 2:]
        assert both.abs().max() < 1e-11, case


def test_the_two_gradients_of_ciou():
    """d(alpha v) = alpha dv with alpha constant, else (2 alpha - alpha^2) dv + alpha^2 dIoU."""
    a, b = ordinary(200, seed=10, dtype=torch.float64)
    a.requires_grad_()
    iou, diou, ciou = losskit.iou(a, b), losskit.diou(a, b), losskit.ciou(a, b)
    angle = [torch.atan((x[:, 2] - x[:, 0]) / (x[:, 3] - x[:, 1])) for x in (a, b)]
    v = 4 / torch.pi**2 * (angle[0] - angle[1]) ** 2
    alpha = (v / (1 - iou + v)).detach()
    torch.testing.assert_close(ciou, diou - alpha * v)

    def slope(value):
        return torch.autograd.grad(value.sum(), a, retain_graph=True)[0]

    dv = slope(v)
    held, whole = (slope(loss_of("ciou_loss", a, b, alpha_gradient=full)) for full in (False, True))
    torch.testing.assert_close(held, -slope(diou) + alpha[:, None] * dv)
    torch.testing.assert_close(whole, -slope(diou) + (2 * alpha - alpha**2)[:, None] * dv + (alpha**2)[:, None] * slope(iou))
    assert (held - whole).abs().max() > 1e-3


def test_the_direction_printed_in_the_paper_leads_uphill():
    """A box too wide: the derivative of v by the width is positive, (8 / pi^2) (a - a*) h / (w^2 + h^2); the paper's has the other sign."""
    a, b = torch.tensor([[0.0, 0.0, 4.0, 1.0]], dtype=torch.float64), torch.tensor([[1.5, 0.0, 2.5, 1.0]], dtype=torch.float64)
    _, by_a, _ = outcome(Case(LOSSES["ciou_loss"], {}), a, b, "torch")
    _, by_diou, _ = outcome(Case(LOSSES["diou_loss"], {}), a, b, "torch")
    assert (by_a - by_diou)[0, 2] > 0


def test_small_boxes_keep_their_digits():
    """A shift by a thousandth: 1 - IoU to the last digits, where a difference would lose four, and no epsilon at 1e-6."""
    a = torch.tensor([[0.0, 0.0, 1.0, 1.0]]) * torch.tensor([[1.0], [1e-6], [1e6]])
    b = a + a[:, 2:3] * torch.tensor([2.0**-12, 0.0, 2.0**-12, 0.0])
    exact = [exact_pair(LOSSES["iou_loss"], {}, x, t, slopes=False).value for x, t in zip(a.tolist(), b.tolist(), strict=True)]
    for engine in ENGINES:
        for name in ("iou_loss", "giou_loss"):
            value, _, _ = outcome(Case(LOSSES[name], {}), a, b, engine)
            assert all(abs(v - e) < 3e-7 * e for v, e in zip(value.tolist(), exact, strict=True))


def test_corners_out_of_order_are_read_as_the_box_they_span_in_targets():
    a, b = ordinary(50)
    for case in CASES:
        crossed = b[:, [2, 1, 0, 3]]
        for got, wanted in zip(outcome(case, a, crossed, "torch")[:2], outcome(case, a, b, "torch")[:2], strict=True):
            assert torch.equal(got, wanted), case
        assert torch.equal(in_order(crossed), b)
