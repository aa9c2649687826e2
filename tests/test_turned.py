"""Losses of turned boxes, box_format="cxcywha", against polygons cut with 50 digits, where it is hard, and against their own symmetries."""

import math
from importlib import import_module
from itertools import product

import pytest
import torch
import turned_boxes as textbook
from cases import thorough, thorough_rows
from claims import claim
from mpmath import mp, mpf

import losskit
from losskit import LOSSES as LOSSKIT

LOSSES = {
    "iou": (losskit.iou_loss, {}, textbook.iou_loss),
    "square": (losskit.iou_loss, {"mode": "square"}, lambda a, b: textbook.iou_loss(a, b, "square")),
    "log": (losskit.iou_loss, {"mode": "log"}, lambda a, b: textbook.iou_loss(a, b, "log")),
    "giou": (losskit.giou_loss, {}, textbook.giou_loss),
    "diou": (losskit.diou_loss, {}, textbook.diou_loss),
    "l1": (losskit.probiou_loss, {}, lambda a, b: LOSSKIT["probiou_loss"].textbook(mp, a, b, "l1")),
    "l2": (losskit.probiou_loss, {"mode": "l2"}, lambda a, b: LOSSKIT["probiou_loss"].textbook(mp, a, b, "l2")),
}
ENGINES = ("torch", "cpu", "triton")
SHOWN = [
    *((name, "torch") for name in LOSSES),
    ("iou", "cpu"),
    ("diou", "cpu"),
    ("l1", "cpu"),
    ("giou", "triton"),
    ("l2", "triton"),
]  # each loss, and each engine
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:.*should not be instantiated")  # NumPy's in Triton's interpreter; the compiler's
PAIRED = ("iou", "giou", "diou")
every_loss = pytest.mark.parametrize("name", LOSSES)
every_engine = pytest.mark.parametrize("engine", ENGINES)
every_way = pytest.mark.parametrize(("name", "engine"), [*SHOWN, *thorough_rows(way for way in product(LOSSES, ENGINES) if way not in SHOWN)])


def ordinary(n, seed=0, dtype=torch.float64):
    """Boxes that overlap, at any angle."""
    draw = torch.Generator().manual_seed(seed)
    spread = torch.tensor([2.0, 2.0, 2.0, 2.0, 8.0], dtype=torch.float64)
    start = torch.tensor([-1.0, -1.0, 0.5, 0.5, -4.0], dtype=torch.float64)
    a, b = (torch.rand(n, 5, generator=draw, dtype=torch.float64) * spread + start for _ in "ab")
    return a.to(dtype), b.to(dtype)


def hard(dtype=torch.float64):
    """Shared edges, touching corners, one inside the other, a cross, long thin boxes, angles a hair apart; sizes."""
    pairs = [
        ((0, 0, 2, 1, 0), (0, 0.25, 2, 0.5, 0)), ((0, 0, 2, 1, 0.5), (0.3, 0.1, 5, 4, -0.4)), ((0, 0, 6, 0.5, 0.7), (0, 0, 6, 0.5, 0.7 + math.pi / 2)),
        ((1, 1, 1, 1, math.pi / 4), (2.4, 1, 1, 1, math.pi / 4)), ((0, 0, 100, 0.01, 0.3), (1, 0.2, 100, 0.02, 0.301)), ((0, 0, 1, 2, 1.0), (0, 0, 2, 1, 1.0 + math.pi / 2)),
        *(((0.1, 0, 2, 1, 0.4 + d), (0, 0, 2, 1, 0.4)) for d in (1e-3, -1e-5, 1e-7, 1e-9)), *(((0, 0, 2, 1, 0.4 + d), (0, 0, 2, 1, 0.4)) for d in (1e-3, -1e-5, 1e-7, 1e-9)),
        ((0, 0, 1, 1, 300.0), (0.1, 0, 1, 1, -250.0)), ((5, 5, 1, 1, 0.2), (0, 0, 1, 2, 1.2)),
    ]  # fmt: skip
    a, b = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    return a.to(dtype), b.to(dtype)


def outcome(name, a, b, engine, **how):
    """Losses, and gradients of both with an incoming one that differs from box to box."""
    loss, settings, _ = LOSSES[name]
    x, t = a.clone().requires_grad_(), b.clone().requires_grad_()
    with losskit.use_engine(engine):
        value = loss(x, t, **settings, box_format="cxcywha", reduction="none", **how)
        incoming = torch.linspace(-2.0, 3.0, len(a), dtype=value.dtype)
        return (value.detach(), *torch.autograd.grad((value * incoming).sum(), (x, t)), incoming)


def exact(name, a, b):
    book = LOSSES[name][2]
    rows = [[mpf(v) for v in row] for row in torch.cat((a, b), -1).double().tolist()]
    values = torch.tensor([float(book(row[:5], row[5:])) for row in rows], dtype=torch.float64)
    return values, torch.tensor([[float(g) for g in textbook.slopes(book, row[:5], row[5:])] for row in rows], dtype=torch.float64)


@claim("iou_loss", "Turned boxes: the area that both share is exact")
@claim("giou_loss", "Turned boxes: C is the smallest box")
@claim("diou_loss", "Turned boxes: the enclosing box is the smallest")
@every_way
def test_value_and_all_ten_derivatives(name, engine):
    a, b = ordinary(40, dtype=torch.float32)
    values, slopes = exact(name, a, b)
    for dtype, near in ((torch.float32, 1e-6), (torch.float64, 4e-15)):
        value, by_a, by_b, incoming = outcome(name, a.to(dtype), b.to(dtype), engine)
        wide = 1.0 + values.abs() + slopes.abs().amax(1) if name in ("log", "l2") else torch.ones(len(a))  # neither is bounded
        assert ((value - values).abs() / wide).max() < near
        error = (torch.cat((by_a, by_b), -1) / incoming[:, None] - slopes).abs().amax(1)
        assert (error / wide**2).max() < near


@claim("iou_loss", "Edges that coincide, corners that touch")
@every_way
def test_where_it_is_hard(name, engine):
    """The value has all its digits, whatever edges do; sizes from 1e-6 to 1e6 change nothing."""
    a, b = hard()
    book = LOSSES[name][2]
    values = torch.tensor([float(book([*map(mpf, x)], [*map(mpf, t)])) for x, t in zip(a.tolist(), b.tolist(), strict=True)], dtype=torch.float64)
    steep = (
        values.exp() + values if name == "log" else 1.0 + values if name == "l2" else torch.ones(len(a))
    )  # a logarithm is as steep as its boxes overlap little
    for size in (1.0, 1e-6, 1e6):
        scale = torch.tensor([size, size, size, size, 1.0], dtype=torch.float64)
        value, by_a, by_b, _ = outcome(name, a * scale, b * scale, engine)
        assert ((value - values).abs() / steep).max() < 2e-15
        assert by_a.isfinite().all() and by_b.isfinite().all()
    few = torch.float32
    rounded = torch.tensor(
        [float(book([*map(mpf, x)], [*map(mpf, t)])) for x, t in zip(a.to(few).tolist(), b.to(few).tolist(), strict=True)], dtype=torch.float64
    )
    value, by_a, by_b, _ = outcome(name, a.to(few), b.to(few), engine)
    error = (value - rounded).abs() / steep
    assert error.max() < 4e-5  # the long thin boxes: their overlap is a millionth of what their corners are rounded to
    assert error[torch.arange(len(a)) != 4].max() < 2e-6
    assert by_a.isfinite().all() and by_b.isfinite().all()


@claim("iou_loss", "A width or height below 0 counts as 0")
@claim("giou_loss", "So turning both boxes together changes nothing")
@every_way
def test_at_equal_angles_of_0_it_is_the_loss_of_aligned_boxes(name, engine):
    loss, settings, _ = LOSSES[name]
    a, b = ordinary(30)
    a[:, 4] = b[:, 4] = 0.0
    a[:3, 2] *= -1.0  # out of order
    value, by_a, by_b, incoming = outcome(name, a, b, engine)
    x, t = a[:, :4].clone().requires_grad_(), b[:, :4].clone().requires_grad_()
    with losskit.use_engine(engine):
        wanted = loss(x, t, **settings, box_format="cxcywh", reduction="none")
        slopes = torch.autograd.grad((wanted * incoming).sum(), (x, t))
    torch.testing.assert_close(value, wanted.detach(), rtol=0, atol=1e-14)
    for found, one in zip((by_a, by_b), slopes, strict=True):
        torch.testing.assert_close(found[:, :4], one, rtol=1e-12, atol=1e-13)


@claim("iou_loss", "Any number of turns is the same box")
@claim("giou_loss", "So turning both boxes together changes nothing")
@every_loss
def test_symmetries(name):
    """Both boxes turned and moved together, half turns; of IoU also a quarter with the sides exchanged, and which is which."""
    a, b = ordinary(30, 1)
    value = outcome(name, a, b, "torch")[0]
    turn = 0.7
    c, s = math.cos(turn), math.sin(turn)
    move = torch.tensor([[c, s], [-s, c]], dtype=torch.float64)
    together = [torch.cat((z[:, :2] @ move + 5.0, z[:, 2:4], z[:, 4:] + turn), -1) for z in (a, b)]
    half = a + torch.tensor([0.0, 0.0, 0.0, 0.0, math.pi], dtype=torch.float64)
    others = [together, (half, b), (a, b - torch.tensor([0.0, 0.0, 0.0, 0.0, 5 * math.pi], dtype=torch.float64))]
    if name in ("iou", "square", "log"):
        quarter = torch.stack((a[:, 0], a[:, 1], a[:, 3], a[:, 2], a[:, 4] + math.pi / 2), -1)
        others += [(quarter, b), (b, a)]
    for x, t in others:
        torch.testing.assert_close(outcome(name, x, t, "torch")[0], value, rtol=1e-12, atol=1e-13)


@every_way
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("degrees", [False, True])
def test_identical_boxes_cost_nothing(name, engine, dtype, degrees):
    """Exactly, and have no gradient, at any size, also without area."""
    a, _ = ordinary(20, 2, dtype)
    a = torch.cat((a, a * 1e-12, a * 1e12, torch.cat((a[:, :2], torch.zeros_like(a[:, 2:4]), a[:, 4:]), -1)))
    value, by_a, by_b, _ = outcome(name, a, a, engine, degrees=degrees)
    assert value.abs().max() == 0.0 and by_a.abs().max() == 0.0 and by_b.abs().max() == 0.0


@claim("iou_loss", "Where edges coincide without the boxes being the same")
@every_engine
def test_where_edges_coincide_the_derivative_lies_between_those_of_both_sides(engine):
    a, b = hard()
    by_width = outcome("iou", a[:1], b[:1], engine)[1][0, 2] / -2.0  # what comes in is -2
    step = torch.tensor([[0.0, 0.0, 1e-7, 0.0, 0.0]], dtype=torch.float64)
    here, wider, narrower = (outcome("iou", x, b[:1], engine)[0] for x in (a[:1], a[:1] + step, a[:1] - step))
    sides = (wider - here) / 1e-7, (here - narrower) / 1e-7
    assert max(sides) - min(sides) > 0.1 and min(sides) - 1e-6 <= by_width <= max(sides) + 1e-6


@every_engine
def test_boxes_apart_and_boxes_without_area(engine):
    a = torch.tensor([[9.0, 0, 1, 1, 0.3], [0, 0, 0, 0, 0.1], [0, 0, 1, 0, 0.2], [0.0, 0, 1, 1, 0]])
    b = torch.tensor([[0.0, 0, 1, 1, 1.3], [1, 1, 0, 0, 0.4], [0, 0, 1, 1, 0.7], [0, 0, 0, 0, 0]])
    value, by_a, by_b, _ = outcome("iou", a, b, engine)
    assert value.tolist() == [1.0, 1.0, 1.0, 1.0]
    assert by_a[:2].abs().max() == 0.0 and by_b[:2].abs().max() == 0.0
    assert all(torch.cat(outcome(name, a, b, engine)[1:3]).isfinite().all() for name in LOSSES)
    assert outcome("giou", a[:1], b[:1], engine)[1][0, 0] != 0.0  # it pulls


@every_engine
def test_a_number_that_is_none_shows_in_its_box_alone(engine):
    a, b = ordinary(5, 3)
    a[1, 4] = math.nan
    b[3, 2] = math.nan
    for name in LOSSES:
        value, by_a, by_b, _ = outcome(name, a, b, engine)
        for found in (value.isnan(), by_a.isnan().any(1), by_b.isnan().any(1)):
            assert found.tolist() == [False, True, False, True, False]


@every_engine
def test_degrees(engine):
    a, b = ordinary(20, 4)
    to_degrees = torch.tensor([1.0, 1.0, 1.0, 1.0, 180.0 / math.pi], dtype=torch.float64)
    value, by_a, by_b, _ = outcome("giou", a, b, engine)
    found, found_a, found_b, _ = outcome("giou", a * to_degrees, b * to_degrees, engine, degrees=True)
    for one, other in ((found, value), (found_a * to_degrees, by_a), (found_b * to_degrees, by_b)):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@every_loss
def test_masks_weights_half_precision_and_reductions(name):
    loss, settings, _ = LOSSES[name]
    a, b = ordinary(12, 5, torch.float32)
    how = dict(**settings, box_format="cxcywha")
    mask, weight = torch.arange(12) % 3 != 0, torch.linspace(0.5, 2.0, 12)
    broken = torch.where(mask[:, None], a, math.nan)
    each = loss(a, b, **how, reduction="none")
    for engine in [engine for one, engine in SHOWN if one == name]:
        with losskit.use_engine(engine):
            x = broken.clone().requires_grad_()
            value = loss(x, b, **how, mask=mask, sample_weight=weight)
            value.backward()
            torch.testing.assert_close(value, (each * weight)[mask].sum() / weight[mask].sum())
            assert x.grad is not None and (x.grad[~mask] == 0).all() and x.grad.isfinite().all()
            low = loss(a.bfloat16(), b.bfloat16(), **how)
            torch.testing.assert_close(low.float(), loss(a.bfloat16().float(), b.bfloat16().float(), **how), rtol=1e-2, atol=1e-2)
            assert loss(a[:0], b[:0], **how) == 0
            assert loss(a[0], b[0], **how, reduction="none").shape == ()
            assert loss(a.view(3, 4, 5), b.view(3, 4, 5), **how, reduction="none").shape == (3, 4)


@pytest.mark.parametrize("name", ["iou", *thorough(["square", "log", "giou", "diou"])])
def test_second_derivatives(name):
    loss, settings, _ = LOSSES[name]
    a, b = ordinary(4, 6)
    assert torch.autograd.gradcheck(lambda x, t: loss(x, t, **settings, box_format="cxcywha"), (a.requires_grad_(), b.requires_grad_()), fast_mode=True)
    assert torch.autograd.gradgradcheck(lambda x, t: loss(x, t, **settings, box_format="cxcywha"), (a, b), atol=1e-4, fast_mode=True)


@pytest.mark.thorough
@every_loss
def test_in_one_graph(name):
    loss, settings, _ = LOSSES[name]
    a, b = ordinary(50, 7)
    compiled = torch.compile(lambda x, t: loss(x, t, **settings, box_format="cxcywha"), fullgraph=True, backend="aot_eager")
    x, y = a.clone().requires_grad_(), a.clone().requires_grad_()
    compiled(x, b).backward()
    loss(y, b, **settings, box_format="cxcywha").backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_a_module_and_a_configuration():
    a, b = ordinary(6, 8)
    module = losskit.GIoULoss(box_format="cxcywha", degrees=True)
    again = losskit.from_config(module.to_config())
    assert repr(again) == repr(module) and again(a, b) == module(a, b) == losskit.giou_loss(a, b, box_format="cxcywha", degrees=True)


@pytest.mark.parametrize(
    ("kind", "engine"), [*(way for way in SHOWN if way[0] in PAIRED), *thorough_rows(way for way in product(PAIRED, ENGINES) if way not in SHOWN)]
)
def test_all_pairs(kind, engine):
    """The matrix, its gradients, and the best of each row are those of the loss of each pair."""
    a, b = ordinary(7, 10)[0], ordinary(5, 11)[0]
    loss = {"iou": losskit.iou_loss, "giou": losskit.giou_loss, "diou": losskit.diou_loss}[kind]
    found = []
    for pairwise in (True, False):
        x, t = a.clone().requires_grad_(), b.clone().requires_grad_()
        with losskit.use_engine(engine):
            many, theirs = x[:, None].expand(7, 5, 5), t.expand(7, 5, 5)
            value = losskit.pairwise_iou(x, t, kind, "cxcywha") if pairwise else 1.0 - loss(many, theirs, box_format="cxcywha", reduction="none")
            found.append((value.detach(), *torch.autograd.grad((value * torch.linspace(-1, 1, 35).view(7, 5)).sum(), (x, t))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    with losskit.use_engine(engine):
        match = losskit.best_match(a.requires_grad_(), b, kind, "cxcywha")
        assert torch.equal(match.index, found[0][0].argmax(1))
        torch.testing.assert_close(match.value.detach(), found[0][0].amax(1))
        assert torch.autograd.grad(match.value.sum(), a)[0].any()
        batch = losskit.pairwise_iou(a.detach().expand(2, 7, 5), b.expand(2, 5, 5), kind, "cxcywha")
        assert batch.shape == (2, 7, 5)
        torch.testing.assert_close(batch[1], found[0][0])
        nobody = losskit.best_match(a.detach(), b[:0], kind, "cxcywha")
        assert (nobody.index == -1).all() and (nobody.value == -math.inf).all()
        assert losskit.pairwise_iou(a.detach()[:0], b, kind, "cxcywha").shape == (0, 5)


def test_gradients_of_pairs_in_half_precision_are_rounded_once():
    """A box has as many shares of its gradient as there are others."""
    a, b = (z.bfloat16() for z in (ordinary(3, 14)[0], ordinary(400, 15)[0]))
    found = []
    for x in (a.clone().requires_grad_(), a.float().requires_grad_()):
        with losskit.use_engine("torch"):
            losskit.pairwise_iou(x, b.to(x.dtype), "giou", "cxcywha").sum().backward()
        found.append(x.grad)
    assert torch.equal(found[0], found[1].bfloat16())


def test_pairs_are_refused_by_name():
    a = torch.zeros(3, 5)
    with pytest.raises(ValueError, match="kind='ciou' is of aligned boxes, and box_format='cxcywha' of turned ones: give kind='iou', 'giou' or 'diou'"):
        losskit.pairwise_iou(a, a, "ciou", "cxcywha")
    with pytest.raises(ValueError, match=r"a must hold boxes along its last axis, shape \(N, 5\) or \(B, N, 5\), got shape \(3, 4\)"):
        losskit.best_match(a[:, :4], a, "iou", "cxcywha")


def test_all_pairs_in_blocks(monkeypatch):
    a, b = ordinary(40, 12)[0], ordinary(9, 13)[0]
    whole = losskit.best_match(a, b, "giou", "cxcywha")
    monkeypatch.setattr("losskit.pairwise.PAIRS", 50)
    assert all(torch.equal(one, other) for one, other in zip(losskit.best_match(a, b, "giou", "cxcywha"), whole, strict=True))


ROW = torch.zeros(3, 5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            dict(input=ROW, target=ROW, box_format="cxcywhr"),
            "box_format must be one of .*'cxcywha'; got 'cxcywhr': 'cxcywha' has centre, width, height and angle, clockwise",
        ),
        (dict(input=ROW, target=ROW), r"input has five numbers per box, shape \(3, 5\): boxes with an angle need box_format='cxcywha'"),
        (
            dict(input=ROW[:, :4], target=ROW[:, :4], box_format="cxcywha"),
            r"input must hold boxes with an angle along the last axis, shape \(..., 5\), got shape \(3, 4\)",
        ),
        (dict(input=ROW[:, :4], target=ROW[:, :4], degrees=True), "degrees=True is of boxes with an angle, and box_format='xyxy' has none"),
        (dict(input=ROW, target=ROW[:, :4], box_format="cxcywha"), r"target has shape \(3, 4\) but input has shape \(3, 5\)"),
    ],
)
def test_bad_input(given, message):
    for loss in (losskit.iou_loss, losskit.giou_loss, losskit.diou_loss):
        with pytest.raises(ValueError, match=message):
            loss(**given)


def test_other_losses_say_which_take_an_angle():
    with pytest.raises(ValueError, match="got 'cxcywha': boxes with an angle have iou_loss, giou_loss, diou_loss, probiou_loss and pairwise_iou"):
        losskit.ciou_loss(ROW, ROW, box_format="cxcywha")
    with pytest.raises(ValueError, match="got 'cxcywha': boxes with an angle have"):
        losskit.matching_cost(torch.zeros(1, 3, 2), ROW[None], torch.tensor([0]), ROW[:1], [1], box_format="cxcywha")
    with pytest.raises(TypeError, match="degrees must be True or False"):
        losskit.iou_loss(ROW, ROW, box_format="cxcywha", degrees=1)


@pytest.mark.parametrize(
    ("words", "broken"),
    [
        ("by_x, by_y = wy * along_w", "by_x, by_y = -wy * along_w"),
        ("-(w * w * (at_s * in_s", "-(h * w * (at_s * in_s"),
        ("g_b = g_x * dy - g_y * dx - g_a", "g_b = -g_a"),
        ("by_left + by_right, by_bottom", "by_left - by_right, by_bottom"),
        ("rises, bottom, top), where(rises, top, bottom)", "rises, bottom, top), where(rises, bottom, top)"),
        ("turn_x > 0.0, -turn_y, turn_y", "turn_x > 0.0, turn_y, -turn_y"),
    ],
)
def test_a_formula_broken_on_purpose_is_noticed(words, broken):
    from inspect import getsource

    module = import_module("losskit.turned")
    source = getsource(module)
    assert source.count(words) == 1
    scope = dict(vars(module))
    exec(compile(source.replace(words, broken), "<broken>", "exec"), scope)
    a, b = ordinary(10, 9)
    rows = [[*x, *t] for x, t in zip(a.tolist(), b.tolist(), strict=True)]
    _, slopes = exact("giou", a, b)
    found = []
    for row in rows:
        _, lost = scope["measured"](*row, 1.0)
        empty = scope["outside"](*row, 1.0)
        found.append(scope["closed"](*row, 1.0, lost + empty, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0)[1:])
    assert (torch.tensor(found, dtype=torch.float64) - slopes).abs().max() > 1e-3
