"""IoU, GIoU and DIoU losses of boxes in space: against the textbook, the plane, and the promises of all losses of boxes; broken on purpose, too."""

import functools
import math
import os
from importlib import import_module

import mpmath
import numpy as np
import pytest
import torch
from breaking import module_of, rebuilt

import losskit
from losskit import LOSSES
from losskit.engines.axes import written_out
from losskit.testing.boxes import combinations, ordinary

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")  # read when Triton is imported

CASES = [("iou_loss", {"mode": mode}, formula) for mode, formula in (("linear", "linear"), ("square", "square"), ("log", "logarithm"))]
CASES += [("giou_loss", {}, "formula"), ("diou_loss", {}, "formula")]
IDS = ["linear", "square", "log", "giou", "diou"]
every_case = pytest.mark.parametrize(("name", "settings", "formula"), CASES, ids=IDS)
AXES = (0, 1, 2)


def raised(across, along):
    """Boxes in space from boxes in the plane and, for the third axis, the first axis of others."""
    place = torch.stack((across[..., 0], across[..., 1], along[..., 0]), -1)
    return torch.cat((place, torch.stack((across[..., 2], across[..., 3], along[..., 2]), -1)), -1)


def some(n, seed=0, dtype=torch.float32):
    """As `ordinary`."""
    (a, b), (c, d) = ordinary(n, seed, dtype), ordinary(n, seed + 50, dtype)
    return raised(a, c), raised(b, d)


def every_way():
    """As `combinations`: in space the third axis takes its ways in other orders."""
    a, b = (box.repeat(4, 1) for box in combinations([0.0, 1.0, 1.5, 4.0], [0.0, 0.01, 3.0, 4.0]))
    c, d = (torch.cat(boxes) for boxes in zip(*(combinations([0.0, 0.5, 2.0, 3.0], [0.0, 1.0], seed) for seed in range(1, 5)), strict=True))
    return raised(a, c), raised(b, d)


def exact(name, settings, a, b):
    """Value and gradient of a pair, to many digits; at a kink half the sum of the derivatives of both sides."""
    mp = mpmath.mp.clone()
    mp.dps = 60
    here, step = [mp.mpf(v) for v in (*a, *b)], mp.mpf(10) ** -20

    def book(numbers):
        return LOSSES[name].textbook(mp, numbers[:6], numbers[6:], **settings)

    def moved(i, by):
        return book([v + by * (k == i) for k, v in enumerate(here)])

    return book(here), [(moved(i, step) - moved(i, -step)) / (2 * step) for i in range(12)]


@pytest.fixture
def operations():
    """The formula in float64, with no loops to compile."""
    with losskit.use_engine("torch"):
        yield


def call(name, settings, a, b, **options):
    return getattr(losskit, name)(a, b, **settings, **options)


def gradients(value, *leaves, incoming=None):
    return torch.autograd.grad(value, leaves, torch.ones_like(value) if incoming is None else incoming)


def leaves(*tensors):
    return [x.detach().clone().requires_grad_() for x in tensors]


@functools.cache
def exact_pairs(case):
    """Of 24 pairs, for every engine that is asked."""
    a, b = some(24)
    name, settings, _ = CASES[case]
    return [exact(name, settings, p, q) for p, q in zip(a.tolist(), b.tolist(), strict=True)]


@pytest.mark.parametrize("engine", ["cpu", "torch", "triton"])
@every_case
def test_values_and_gradients_are_the_textbooks(name, settings, formula, engine):
    if engine == "triton":
        pytest.importorskip("triton", reason="Triton")
    device = "cuda" if engine == "triton" and torch.cuda.is_available() else "cpu"
    a, b = some(24)
    pairs = exact_pairs(CASES.index((name, settings, formula)))
    incoming = torch.linspace(-2, 3, 24)
    for dtype, allowed in ((torch.float64, 1e-13), (torch.float32, 2e-6)):
        if dtype is torch.float64 and engine != "torch" and name != "giou_loss":
            continue  # a loop for each; beside the formula they are the same
        x, t = leaves(a.to(device, dtype), b.to(device, dtype))
        with losskit.use_engine(engine), np.errstate(all="ignore"):  # Triton's interpreter is NumPy
            each = call(name, settings, x, t, reduction="none")
            by = torch.cat(gradients(each, x, t, incoming=incoming.to(device, dtype)), -1)
        for i, (value, slopes) in enumerate(pairs):
            assert abs(each[i].item() - value) <= allowed * value
            largest = max(abs(s) for s in slopes)
            for got, wanted in zip(by[i].tolist(), slopes, strict=True):
                assert abs(got - wanted * incoming[i].item()) <= 2 * allowed * largest * abs(incoming[i].item())


@every_case
@pytest.mark.usefixtures("operations")
def test_slabs_of_one_thickness_are_boxes_in_the_plane(name, settings, formula):
    a, b = ordinary(300, dtype=torch.float64)
    slab = torch.tensor([[0.0, 0.0, 3.0, 0.0]]).double().expand(300, 4)
    flat, solid = leaves(a, b), leaves(raised(a, slab), raised(b, slab))
    if name == "diou_loss":  # the diagonal has a third axis, the rest has none
        iou = 1 - losskit.iou_loss(*solid, reduction="none") - (1 - losskit.iou_loss(*flat, reduction="none"))
        assert iou.abs().max() < 1e-12
        plane = losskit.diou_loss(*flat, reduction="none") - losskit.iou_loss(*flat, reduction="none")
        extent = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).square().sum(-1)
        wanted = plane * extent / (extent + 9)
        torch.testing.assert_close(losskit.diou_loss(*solid, reduction="none") - losskit.iou_loss(*solid, reduction="none"), wanted, rtol=1e-9, atol=1e-12)
        return
    found, wanted = call(name, settings, *solid, reduction="none"), call(name, settings, *flat, reduction="none")
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
    incoming = torch.rand(300, dtype=torch.float64)
    for got, expected in zip(gradients(found, *solid, incoming=incoming), gradients(wanted, *flat, incoming=incoming), strict=True):
        torch.testing.assert_close(got[:, [0, 1, 3, 4]], expected, rtol=1e-10, atol=1e-12)


@every_case
@pytest.mark.usefixtures("operations")
def test_no_axis_is_special(name, settings, formula):
    a, b = some(100, seed=3, dtype=torch.float64)
    turn = [2, 0, 1, 5, 3, 4]
    x, t = leaves(a, b)
    y, u = leaves(a[:, turn], b[:, turn])
    value, turned = call(name, settings, x, t, reduction="none"), call(name, settings, y, u, reduction="none")
    torch.testing.assert_close(value, turned, rtol=1e-12, atol=0)
    for got, wanted in zip(gradients(turned, y, u), gradients(value, x, t), strict=True):
        torch.testing.assert_close(got, wanted[:, turn], rtol=1e-10, atol=1e-13)


@pytest.mark.sparse(2)
@every_case
def test_every_way_to_lie_has_a_value_a_gradient_and_a_way_back(name, settings, formula):
    a, b = every_way()
    for scale in (1.0, 1e-6, 1e6, 1e18):
        x, t = leaves(a * scale, b * scale)
        value = call(name, settings, x, t, reduction="none")
        by_x, by_t = gradients(value, x, t)
        assert value.isfinite().all() and by_x.isfinite().all() and by_t.isfinite().all() and (value >= 0).all()
        assert (call(name, settings, in_order_in_space(a) * scale, b * scale, reduction="none") <= value + 1e-6).all()
        wrong = (a[:, :3] > a[:, 3:]) & (b[:, :3] != b[:, 3:])
        assert wrong.any() and (by_x[:, :3] > by_x[:, 3:])[wrong].all()  # descent moves the first corner down and the second up
        same = in_order_in_space(b) * scale
        x, t = leaves(same, same)
        value = call(name, settings, x, t, reduction="none")
        assert not value.any() and not any(g.any() for g in gradients(value, x, t))
    assert (same[:, 0] == same[:, 3]).any() and (same[:, 0] < same[:, 3]).any()


def in_order_in_space(box):
    return torch.cat((torch.minimum(box[:, :3], box[:, 3:]), torch.maximum(box[:, :3], box[:, 3:])), -1)


@pytest.mark.sparse(2)
@pytest.mark.parametrize("form", ["xywh", "cxcywh"])
def test_formats(form):
    a, b = some(50, dtype=torch.float64)
    size = a[:, 3:] - a[:, :3], b[:, 3:] - b[:, :3]
    places = (a[:, :3], b[:, :3]) if form == "xywh" else (a[:, :3] + size[0] / 2, b[:, :3] + size[1] / 2)
    x, t = leaves(*(torch.cat(pair, -1) for pair in zip(places, size, strict=True)))
    half = 0.0 if form == "xywh" else 0.5
    incoming = torch.rand(50, dtype=torch.float64)
    with losskit.use_engine("torch"):
        wanted = losskit.giou_loss(*(torch.cat((z[:, :3] - half * z[:, 3:], z[:, :3] + (1 - half) * z[:, 3:]), -1) for z in (x, t)), reduction="none")
    by = gradients(wanted, x, t, incoming=incoming)
    for engine in ("cpu", "torch") if form == "cxcywh" else ("torch",):  # a loop for each
        with losskit.use_engine(engine):
            found = losskit.giou_loss(x, t, box_format=form, reduction="none")
            torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12)
            for got, expected in zip(gradients(found, x, t, incoming=incoming), by, strict=True):
                torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_the_contract_holds(engine):
    a, b = some(40, seed=2)
    mask = torch.arange(40) % 3 > 0
    weight = torch.rand(40)
    a[~mask], b[~mask] = math.nan, math.inf
    with losskit.use_engine(engine):
        for extra, kept in (({}, {}), ({"sample_weight": weight}, {"sample_weight": weight[mask]})):
            x, t = leaves(a, b)
            y, u = leaves(a[mask], b[mask])
            value, wanted = losskit.giou_loss(x, t, mask=mask, **extra), losskit.giou_loss(y, u, **kept)
            torch.testing.assert_close(value, wanted, rtol=1e-6, atol=0)
            for got, expected in zip(gradients(value, x, t, incoming=torch.tensor(-2.0)), gradients(wanted, y, u), strict=True):
                torch.testing.assert_close(got[mask], -2 * expected, rtol=1e-6, atol=1e-9)
                assert not got[~mask].any()
        x, t = leaves(torch.empty(0, 6), torch.empty(0, 6))
        value = losskit.giou_loss(x, t)
        assert value == 0 and all(g.shape == (0, 6) for g in gradients(value, x, t))
        p, q = (box[mask].bfloat16() for box in (a, b))
        assert torch.equal(losskit.giou_loss(p, q, reduction="none"), losskit.giou_loss(p.float(), q.float(), reduction="none"))
    if engine == "cpu":
        return  # derivatives of derivatives, and of many at once, are PyTorch operations in any engine
    p, q = some(3, seed=4, dtype=torch.float64)
    assert torch.autograd.gradcheck(losskit.diou_loss, leaves(p, q)) and torch.autograd.gradgradcheck(losskit.diou_loss, leaves(p, q))
    torch.testing.assert_close(torch.func.vmap(losskit.giou_loss)(p, q), losskit.giou_loss(p, q, reduction="none"))


def test_what_is_wrong_is_said():
    box = torch.zeros(5, 6)
    with pytest.raises(ValueError, match=r"input has five numbers per box, shape \(5, 5\): boxes with an angle need box_format='cxcywha'"):
        losskit.giou_loss(box[:, :5], box[:, :5])
    with pytest.raises(ValueError, match=r"shape \(..., 4\), got shape \(5, 6\). Boxes in space have iou_loss, giou_loss and diou_loss"):
        losskit.ciou_loss(box, box)
    with pytest.raises(ValueError, match=r"mask has shape \(5, 6\), but takes one value per box, shape \(5,\): try mask\[..., 0\]"):
        losskit.iou_loss(box, box, mask=box == 0)
    assert losskit.degenerate_boxes(torch.tensor([[0.0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 0]])) == 1
    assert losskit.iou(box, box).tolist() == [1.0] * 5 and losskit.GIoULoss()(box, box) == 0


ORDINARY = [x + t for x, t in zip(*(boxes.tolist() for boxes in some(6)), strict=True)]
ORDINARY += [[0.0, 0, 0, 1, 2, 1, 5, 3, 0.5, 6, 7, 2], [0.0, 1, 5, 1, 2, 6, 0.5, 0, 1, 3, 4, 2]]  # apart along two axes, along the third
A, B = every_way()
WAYS = [(p, q) for p, q in zip(A.tolist(), B.tolist(), strict=True) if all(p[i] <= p[i + 3] for i in AXES)][:60]
WAYS += [([0.0, 0, 0, 1, 1, 0], [0.0, 0, 0, 1, 1, 0]), ([0.0, 0, 0, 1, 1, 0], [3.0, 0, 0, 4, 1, 0])]  # flat: identical, apart
BROKEN = (  # of a loss and a file, what is replaced
    ("iou_loss", "geometry", "maximum(o, 0.0) * s, (high - low) * s", "o * s, (high - low) * s"),
    ("iou_loss", "geometry", "nested(later(p, a * s), i)", "nested(later(p, a * s), p)"),
    ("iou_loss", "geometry", "later(q, b * s)", "later(p, b * s)"),
    ("iou_loss", "geometry", "total(g) + total(t) == 0.0", "total(t) == 0.0"),
    ("iou_loss", "geometry", "where(none, where(same, 0.0, 1.0)", "where(none, where(same, 1.0, 1.0)"),
    ("giou_loss", "losses/detection/giou", "a[k] * (both + mine)", "a[k] * mine"),
    ("giou_loss", "losses/detection/giou", "b[k] * (both + theirs)", "b[k] * (both + mine)"),
    ("giou_loss", "losses/detection/giou", "empty * (i[k] + (a[k] + b[k]))", "empty * (a[k] + b[k])"),
    ("giou_loss", "losses/detection/giou", "g[k] * (both + (mine + theirs) + empty)", "g[k] * (both + (mine + theirs))"),
    ("giou_loss", "losses/detection/giou", "i[k] * both,", "both,"),
    ("diou_loss", "losses/detection/diou", "inverse_of(total(d * d))", "inverse_of(d[0] * d[0] + d[1] * d[1] + d[2])"),
    ("diou_loss", "losses/detection/diou", "-share * d * double", "share * d * double"),
    ("iou_loss", "geometry", "by_area = -by_iou * iou * inverse", "by_area = by_iou * iou * inverse"),
    ("iou_loss", "geometry", "others(product, i, first=by_i)", "later(i, i * by_i)"),
    ("iou_loss", "geometry", "others(product, q, first=by_area)", "others(product, p, first=by_area)"),
    ("giou_loss", "geometry", "others(nested, (b + g) * s, p)", "others(total, (b + g) * s)"),
    ("giou_loss", "geometry", "others(product, q, first=-across)", "others(product, q, first=across)"),
    ("giou_loss", "geometry", "others(nested, (a + g) * s, q), others(product, q)", "others(nested, (a + g) * s, q), others(product, p)"),
    ("iou_loss", "geometry", "value + total(penalty)", "value + penalty[0] + penalty[1]"),
    ("iou_loss", "losses/detection/iou", "lost * (1.0 + iou), -2.0 * iou", "lost * (1.0 + iou), -iou"),
    ("iou_loss", "losses/detection/iou", "-log_of(iou, lost), -slope", "log_of(iou, lost), -slope"),
)  # fmt: skip


@functools.cache
def exact_ordinary(name, mode):
    return [exact(name, {"mode": mode} if mode else {}, p[:6], p[6:]) for p in ORDINARY]


@functools.cache
def exact_ways(name, mode):
    """The textbook's values of the ways to lie."""
    with mpmath.workdps(30):
        return [
            LOSSES[name].textbook(mpmath.mp, [mpmath.mpf(v) for v in p], [mpmath.mpf(v) for v in in_order_of(q)], **({"mode": mode} if mode else {}))
            for p, q in WAYS
        ]


def complaints(loss, module):
    """What is wrong with the formulas in the module of a loss."""
    told = set()
    for name, settings, formula in CASES:
        if name != loss:
            continue
        wanted, ways = (known(name, settings.get("mode")) for known in (exact_ordinary, exact_ways))
        formula = written_out(getattr(module, formula), 3)
        for p, (value, slopes) in zip(ORDINARY, wanted, strict=True):
            found, *by = formula(*p)
            told |= {"value"} if abs(found - value) > 1e-12 * value else set()
            told |= {"gradient"} if any(abs(s - e) > 1e-9 for s, e in zip(by, slopes, strict=True)) else set()
        for (p, q), value in zip(WAYS, ways, strict=True):
            told |= {"value of a degenerate pair"} if abs(formula(*p, *q)[0] - value) > 1e-9 * (1 + value) else set()
        turned = [0.0, 0.0, 2.0, 1.0, 1.0, 1.0]
        told |= (
            {"disorder is free"}
            if not formula(*turned, 0.0, 0.0, 0.0, 1.0, 1.0, 3.0)[0] > formula(0.0, 0.0, 1.5, 1.0, 1.0, 1.5, 0.0, 0.0, 0.0, 1.0, 1.0, 3.0)[0]
            else set()
        )
    return told


def in_order_of(box):
    return [min(box[i], box[i + 3]) for i in AXES] + [max(box[i], box[i + 3]) for i in AXES]


@pytest.mark.parametrize("loss", ["iou_loss", "giou_loss", "diou_loss"])
def test_the_formulas_as_they_are_give_no_cause_for_complaint(loss):
    assert not complaints(loss, import_module(module_of(loss)))


@pytest.mark.parametrize(("loss", "file", "old", "new"), BROKEN, ids=[old for _, _, old, _ in BROKEN])
def test_a_broken_formula_is_noticed(loss, file, old, new):
    module = module_of(loss)
    assert complaints(loss, rebuilt(file, module, old, new)[module])
