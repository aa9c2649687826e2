"""Losses of boxes against rational arithmetic on integer boxes, their formulas against difference quotients, and identities."""

import random
from fractions import Fraction
from importlib import import_module
from itertools import product

import box_numbers
import pytest
import torch
from cases import Case
from claims import claim

import losskit
from losskit import LOSSES
from losskit.engines.axes import written_out
from losskit.testing.boxes import HELD, ordinary, textbook

CASES = [Case(loss, settings) for loss in LOSSES.of("boxes").values() for settings in loss.arguments]
ENGINES = ("cpu", "torch")
RATIONAL = [case for case in CASES if case.loss.name in ("iou_loss", "giou_loss", "diou_loss") and case.settings.get("mode") != "log"]


@pytest.fixture(autouse=True)
def plain():
    """These are about mathematics: where no engine is named, no kernel is compiled."""
    with losskit.use_engine("torch"):
        yield


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
        a, b = torch.tensor(pairs, dtype=dtype).split(4, 1)
        with losskit.use_engine(engine):
            value = case.loss.function(a, b, reduction="none", **case.settings)
        for found, wanted, pair in zip(value.tolist(), exact, pairs, strict=True):
            assert abs(Fraction(found) - wanted) <= allowed * wanted, (pair, found, float(wanted))


@pytest.mark.parametrize("law", box_numbers.LAWS)
@pytest.mark.parametrize("loss", box_numbers.FORMULAS)
def test_formulas_on_numbers(loss, law):
    box_numbers.require(law, loss, import_module(LOSSES[loss].function.__module__))


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
    formula, params = seen[0]
    return written_out(formula, 2), params


@pytest.mark.sparse(2)
@pytest.mark.parametrize("turned", [False, True], ids=["in order", "out of order"])
@pytest.mark.parametrize("case", [case for case in CASES if case.settings.get("alpha_gradient", case.loss.name not in HELD)], ids=str)
def test_derivatives_are_those_of_the_value(case, turned):
    """Of losses that hold a part constant in the gradient, the oracle knows."""
    formula, params = formula_of(case)
    draw = random.Random(5)
    for _ in range(400):
        p = [draw.uniform(0, 3) for _ in range(8)]
        p[4:] = [min(p[4], p[6]), min(p[5], p[7]), max(p[4], p[6]), max(p[5], p[7])]
        if not turned:
            p[:4] = [min(p[0], p[2]), min(p[1], p[3]), max(p[0], p[2]), max(p[1], p[3])]
        _, *slopes = formula(*p, *params)
        for i, slope in enumerate(slopes):
            if case.loss.name in ("ciou_loss", "probiou_loss") and i < 4 and p[i % 2] > p[i % 2 + 2]:
                continue  # the value keeps angle and size, the gradient leaves them out
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


@claim("giou_loss", "A box inside the other")
def test_a_box_inside_the_other_has_no_empty_share():
    inside, outside = torch.tensor([[1.0, 2.0, 3.0, 3.0]]), torch.tensor([[0.0, 0.0, 4.0, 5.0]])
    assert losskit.giou(inside, outside).item() == losskit.iou(inside, outside).item() == pytest.approx(0.1)


def test_boxes_with_one_centre_differ_by_iou_alone_and_of_one_shape_by_diou():
    a, b = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[1.0, -1.0, 3.0, 3.0]])
    assert torch.equal(losskit.diou(a, b), losskit.iou(a, b))
    wider = torch.tensor([[0.0, 1.0, 8.0, 5.0]])
    torch.testing.assert_close(losskit.ciou(a, wider), losskit.diou(a, wider))


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


@claim("ciou_loss", "The paper prints dv/dw")
def test_the_direction_printed_in_the_paper_leads_uphill():
    """A box too wide: the derivative of v by the width is positive, (8 / pi^2) (a - a*) h / (w^2 + h^2); the paper's has the other sign."""
    a, b = torch.tensor([[0.0, 0.0, 4.0, 1.0]], dtype=torch.float64), torch.tensor([[1.5, 0.0, 2.5, 1.0]], dtype=torch.float64)
    a.requires_grad_()
    assert torch.autograd.grad(loss_of("ciou_loss", a, b).sum() - loss_of("diou_loss", a, b).sum(), a)[0][0, 2] > 0
