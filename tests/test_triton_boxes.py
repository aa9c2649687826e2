"""The boxes pattern of the Triton engine against the torch engine in float64; where it runs, as `on_triton.py` says."""

import math
from functools import partial

import mpmath
import numpy as np
import pytest
import torch
from cases import Case, thorough_rows
from held import held
from on_triton import DEVICE, surroundings, tl, triton  # noqa: F401

import losskit
from losskit.contract.boxes import boxes as boxes_loss
from losskit.contract.registry import LOSSES
from losskit.engines.axes import written_out
from losskit.engines.call import Boxes
from losskit.engines.torch import boxes as plain
from losskit.engines.triton import boxes as engine
from losskit.engines.triton.math import NAMES
from losskit.losses.detection import ciou
from losskit.testing.boxes import combinations, in_order, ordinary

CASES = [Case(loss, settings) for loss in LOSSES.of("boxes").values() for settings in loss.arguments]
INF, NAN = math.inf, math.nan
TOLERANCE = {torch.float32: 4e-6, torch.float64: 1e-14}
CIOU = Boxes(written_out(ciou.formula, 2), (1.0,))
SINGLE = [case for case in CASES if case.settings in ({"mode": "log"}, {"alpha_gradient": True}) or case.loss.name == "giou_loss"]


def plain_formula(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1, weight):
    u = ax0 - bx1
    return (
        weight * (u * u + ay1 * by0 + ax1 * bx0 - ay0 * by1),
        2.0 * weight * u,
        -weight * by1,
        weight * bx0,
        weight * by0,
        weight * ax1,
        weight * ay1,
        -2.0 * weight * u,
        -weight * ay0,
    )


PLAIN = Boxes(plain_formula, (0.75,))  # what does not depend on the formula is tested with a short one: the interpreter takes its time


def plain_loss(input, target, *, box_format="xyxy", mask=None, sample_weight=None, normalizer=None, reduction="mean"):
    options = dict(box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return boxes_loss(plain_formula, input, target, (0.75,), **options)


def loss_of(case):
    return partial(case.loss.function, **case.settings)


def drawn(function, *args, **options):
    """Boxes, drawn on the CPU whatever the device."""
    with torch.device("cpu"):
        pair = function(*args, **options)
    return tuple(x.to(DEVICE) for x in pair)


def everything(dtype):
    """Ordinary pairs, identical ones, and every way in which two boxes can lie: touching, flat, points, far apart, out of order."""
    assert type(engine.boxwise).__name__ == ("InterpretedFunction" if DEVICE == "cpu" else "JITFunction")
    ordinary_a, ordinary_b = drawn(ordinary, 60, seed=1)
    a, b = drawn(combinations, (0.0, 1.0, 2.5, 1e4), (-1.0, 0.0, 0.25, 2.0))
    same = in_order(b)[::4]
    assert (same[:, 0] == same[:, 2]).any() and (a[:, 2] < a[:, 0]).any() and (b[:, 2] < b[:, 0]).any()
    return torch.cat((ordinary_a, same, a)).to(dtype), torch.cat((ordinary_b, same, b)).to(dtype)


def incoming_of(shape, dtype=torch.float64):
    """Something uneven, 0 included, with uneven strides."""
    grid = torch.linspace(-1, 2, 2 * math.prod(shape), dtype=dtype).reshape(*shape, 2)[..., 1].clone()
    return torch.where(torch.arange(grid.numel()).reshape(shape) % 11 == 3, 0.0, grid)


def outcome(name, loss, a, b, incoming=None, **options):
    """Value and gradients by one engine."""
    a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
    with losskit.use_engine(name):
        value = loss(a, b, **options)
    value.backward(torch.ones_like(value) if incoming is None else incoming.to(value.dtype))
    return value.detach(), a.grad, b.grad


def close(got, exact, tolerance, room=0.0):
    """Values relative to themselves, gradients to the largest of their box and `room`; NaN where NaN is expected."""
    for what, g, e in zip(("value", "input", "target"), got, exact, strict=True):
        size = e.abs() if what == "value" else e.abs().amax(-1, keepdim=True) + room
        wrong = ~(((g.double() - e).abs() <= tolerance * size) | (g.isnan() & e.isnan()))
        assert not wrong.any(), (what, wrong.nonzero()[:3], g[wrong][:3], e[wrong][:3])


def agree(loss, a, b, incoming=None, tolerance=None, **options):
    """The Triton engine gives what the torch engine gives in float64. A gradient is a difference of terms, which are as large as the inverse of a length."""
    got = outcome("triton", loss, a, b, incoming, **options)
    wide = {k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in options.items()}
    exact = outcome("torch", loss, a.double(), b.double(), incoming, **wide)
    real = torch.float64 if a.dtype is torch.float64 else torch.float32
    assert got[0].dtype is real and got[1].dtype is a.dtype and got[2].dtype is b.dtype
    lengths = torch.cat([(x[..., 2:] - x[..., :2]).abs() for x in (plain.corners(v.double(), options.get("box_format", "xyxy")) for v in (a, b))], -1)
    room = torch.where(lengths > 0, lengths, 1.0).amin(-1, keepdim=True).reciprocal()
    close(got, exact, tolerance or TOLERANCE[real], 10 * room)
    return got


@pytest.mark.parametrize(("case", "dtype"), [*((case, torch.float32) for case in SINGLE), *thorough_rows((case, torch.float64) for case in CASES)], ids=str)
def test_agrees_with_the_torch_engine(case, dtype, monkeypatch):
    monkeypatch.setattr(engine, "BLOCK", 512)
    a, b = everything(dtype)
    assert len(a) <= 512
    found = agree(loss_of(case), a, b, incoming_of(a.shape[:-1]), reduction="none")
    same = (a == b).all(1) & (a[:, 2:] >= a[:, :2]).all(1)
    assert same.sum() >= 64 and not any(x[same].any() for x in found)


@pytest.mark.parametrize("form", ["xyxy", "xywh", "cxcywh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_formats(form, dtype):
    a, b = everything(dtype)
    agree(plain_loss, a[:124], b[:124], incoming_of((124,)), 1e-4 if dtype is torch.float32 else None, reduction="none", box_format=form)
    if dtype is torch.float64:
        agree(loss_of(SINGLE[-1]), a, b, torch.tensor(0.5), box_format=form)


def test_more_blocks_than_one():
    a, b = drawn(ordinary, 3 * engine.BLOCK + 5, seed=2)
    for reduction in ("sum", "mean"):
        agree(plain_loss, a.double(), b.double(), torch.tensor(3.0), 1e-13, reduction=reduction)
    agree(plain_loss, a.double(), b.double(), incoming_of((len(a),)), 1e-13, reduction="none")


WEIGHTS = {
    "mask": lambda: {"mask": torch.arange(60).reshape(3, 20) % 3 > 0},
    "weight": lambda: {"sample_weight": torch.linspace(0, 2, 60).reshape(3, 20)},
    "weight per row": lambda: {"sample_weight": torch.tensor([2.0, 0.0, 1.0])[:, None]},
    "both": lambda: {"mask": torch.arange(60).reshape(3, 20) % 3 > 0, "sample_weight": torch.tensor([2.0, 0.0, 1.0])[:, None].expand(3, 20)},
    "nothing counts": lambda: {"mask": torch.zeros(3, 20, dtype=torch.bool)},
    "normalizer": lambda: {"normalizer": torch.tensor(7.0)},
    "normalizer of 0": lambda: {"normalizer": torch.tensor(0.0)},
}


# a normalizer is for the mean
@pytest.mark.parametrize(("weights", "reduction"), [(w, r) for w in WEIGHTS for r in ("none", "mean", "sum") if "normalizer" not in w or r == "mean"])
def test_weights(weights, reduction):
    a, b = (boxes.reshape(3, 20, 4).double() for boxes in drawn(ordinary, 60))
    incoming = incoming_of((3, 20)) if reduction == "none" else torch.tensor(-0.5)
    agree(plain_loss, a, b, incoming, 1e-13, reduction=reduction, box_format="cxcywh", **WEIGHTS[weights]())


@pytest.mark.parametrize("loss", [plain_loss, loss_of(SINGLE[-1])])
def test_absent_boxes_add_nothing_whatever_they_are(loss):
    keep = torch.arange(12) % 4 < 2
    a, b = (x.double() for x in drawn(ordinary, 12))
    a[~keep], b[~keep] = torch.tensor([NAN, INF, -INF, 1e38, NAN, 0.0]).double()[:, None], torch.tensor([0.0, -INF, INF, -1e38, NAN, NAN]).double()[:, None]
    for form in ("xyxy", "xywh", "cxcywh"):
        found = outcome("triton", loss, a, b, incoming_of((12,)), reduction="none", box_format=form, mask=keep)
        assert not any(x[~keep].any() for x in found)  # NaN is not 0
        found = outcome("triton", loss, a, b, sample_weight=2.0 * keep, box_format=form)
        kept = outcome("torch", loss, a[keep], b[keep], box_format=form)
        assert not found[1][~keep].any() and not found[2][~keep].any()
        close((found[0], found[1][keep], found[2][keep]), kept, 1e-13, 1)


@pytest.mark.parametrize("left", [0, 1, 200])
def test_programs_take_blocks_in_turn(left, monkeypatch):
    """Two programs; what is left over is the turn of the first, or of the second."""
    monkeypatch.setattr(engine, "PROGRAMS", 2)
    for blocks in (4, 5):
        a, b = (boxes.double() for boxes in drawn(ordinary, blocks * engine.BLOCK + left))
        agree(plain_loss, a, b, torch.tensor(-2.5), 1e-12, reduction="sum")
        agree(plain_loss, a, b, incoming_of((len(a),)), 1e-12, reduction="none", box_format="cxcywh")


def test_an_incoming_gradient_of_0_leaves_nothing():
    keep = torch.arange(12) % 4 < 2
    a, b = drawn(ordinary, 12)
    a[~keep] = NAN
    found = engine.run(CIOU, (a, b), incoming=torch.where(keep, 1.5, 0.0), wants=(True, True))
    assert not found.gradients[0][~keep].any() and not found.gradients[1][~keep].any() and found.gradients[0].isfinite().all() and found.gradients[0].any()


@pytest.mark.parametrize("case", SINGLE, ids=str)
def test_nan_shows_in_its_pair_only(case):
    a, b = drawn(ordinary, 16)
    both = torch.cat((a, b), -1)
    both[torch.arange(8), torch.arange(8)] = NAN  # each of the eight numbers once
    a, b = both[:, :4], both[:, 4:]
    value, by_a, by_b = outcome("triton", loss_of(case), a, b, reduction="none")
    bad = torch.arange(16) < 8
    assert value.isnan().equal(bad) and by_a.isnan().any(1).equal(bad) and by_b.isnan().any(1).equal(bad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    a, b = everything(dtype)
    for loss in (plain_loss, loss_of(SINGLE[-1])):
        got = outcome("triton", loss, a[:60], b[:60], incoming_of((60,), torch.float32), reduction="none")
        wide = outcome("triton", loss, a[:60].float(), b[:60].float(), incoming_of((60,), torch.float32), reduction="none")
        assert got[0].equal(wide[0]) and got[0].dtype is torch.float32
        for g, w in zip(got[1:], wide[1:], strict=True):  # the interpreter truncates to bfloat16
            torch.testing.assert_close(g, w.to(dtype), rtol=torch.finfo(dtype).eps, atol=6e-8)


def test_half_precision_gradients_do_not_underflow_under_loss_scaling():
    a, b = (boxes.half().expand(4 * engine.BLOCK, 4) for boxes in drawn(ordinary, 1, seed=3))
    a, b = a * 2**-9, b * 2**-9
    exact = outcome("torch", plain_loss, a.double(), b.double(), torch.tensor(2.0**16))[1]
    assert exact.abs().max() * 2**-16 < 2.0**-14  # without the factor, below float16's normal range
    found = outcome("triton", plain_loss, a, b, torch.tensor(2.0**16))[1]
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=0)


def test_input_and_target_of_different_dtypes():
    for x_dtype, t_dtype in ((torch.bfloat16, torch.float32), (torch.float32, torch.float64), (torch.float64, torch.float16)):
        a, b = drawn(ordinary, 12)
        a, b = a.to(x_dtype), b.to(t_dtype)
        real = torch.float64 if x_dtype is torch.float64 else torch.float32
        found = engine.run(PLAIN, (a, b), each=True, wants=(True, True))
        wide = engine.run(PLAIN, (a.to(real), b.to(real)), each=True, wants=(True, True))
        assert found.value.equal(wide.value)
        for g, w, dtype in ((found.gradients[0], wide.gradients[0], x_dtype), (found.gradients[1], wide.gradients[1], t_dtype)):
            torch.testing.assert_close(g, w.to(dtype), rtol=torch.finfo(dtype).eps, atol=0)


LAYOUTS = {
    "more dimensions": lambda a: a.reshape(2, 3, 2, 4),
    "transposed": lambda a: a.reshape(4, 3, 4).transpose(0, 1),
    "coordinates first": lambda a: a.T.contiguous().T,
    "with gaps": lambda a: torch.stack((a, a + 100), -1)[..., 0],
    "expanded": lambda a: a[:1].expand(12, 4),
    "offset": lambda a: a[1:],
    "one box": lambda a: a[0],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name):
    a, b = (LAYOUTS[name](boxes) for boxes in drawn(ordinary, 12))
    before = a.clone()
    incoming = incoming_of(a.shape[:-1]) if a.dim() > 1 else torch.tensor(-2.5)
    agree(plain_loss, a, b, incoming, 1e-5, reduction="none")
    agree(plain_loss, a, b, torch.tensor(-2.5), 1e-5, sample_weight=torch.rand(a.shape[:-1][::-1]).permute(tuple(range(a.dim() - 1))[::-1]))
    assert a.equal(before)


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_boxes(shape):
    for reduction in ("none", "sum", "mean"):
        x = torch.empty(shape)
        value, by_x, by_t = outcome("triton", plain_loss, x, x.clone(), reduction=reduction)
        assert value.shape == (shape[:-1] if reduction == "none" else ()) and by_x.shape == by_t.shape == shape and not value.any()


def test_only_what_is_wanted_is_written_and_the_same_every_time():
    a, b = drawn(ordinary, 2 * engine.BLOCK + 5)
    incoming = incoming_of(a.shape[:-1], torch.float32)
    full, again = (engine.run(PLAIN, (a, b), scale=0.5, wants=(True, True)) for _ in range(2))
    each, bare = engine.run(PLAIN, (a, b), each=True), engine.run(PLAIN, (a, b), scale=0.5)
    weighed = engine.run(PLAIN, (a, b), incoming=incoming, wants=(False, True))
    one = engine.run(PLAIN, (a, b), incoming=torch.tensor(0.5).expand(incoming.shape), wants=(True, False))
    assert (
        full.total.equal(again.total)
        and full.total.equal(bare.total)
        and full.gradients[1].equal(again.gradients[1])
        and full.gradients[0].equal(one.gradients[0])
    )
    assert (held(full), held(each), held(bare)) == ({"total", "gradient 0", "gradient 1"}, {"value"}, {"total"})
    assert (held(weighed), held(one)) == ({"gradient 1"}, {"gradient 0"})
    assert each.value.shape == (len(a),) and weighed.gradients[1][3].eq(0).all() and full.gradients[1][3].ne(0).any()


@pytest.mark.parametrize("scale", [0.25, torch.tensor(0.25), torch.tensor(0.25, dtype=torch.float64), 0.0, torch.tensor(0.0)], ids=str)
def test_scale_and_rescaled(scale):
    scale = scale.to(DEVICE) if isinstance(scale, torch.Tensor) else scale
    a, b = drawn(ordinary, engine.BLOCK + 9)
    if scale == 0:
        a[0], b[-1] = NAN, INF
    for form in ("xyxy", "cxcywh"):
        call = PLAIN._replace(form=form)
        first = engine.run(call, (a, b), scale=scale, wants=(True, True))
        if scale == 0:
            assert not any(x.any() for x in (first.total, first.gradients[0], first.gradients[1]))
        else:
            unit = engine.run(call, (a, b), wants=(True, True))
            assert all((0.25 * u).equal(f) for u, f in zip((unit.total, *unit.gradients), (first.total, *first.gradients), strict=True))
        kept = first.gradients[0].clone(), first.gradients[1].clone()
        given = first.gradients[0], first.gradients[1]
        for factor in (1.0, -2.0):
            found = engine.rescaled(given, torch.tensor(factor), call, (a, b), scale, (True, True))
            anew = engine.rescaled(None, torch.tensor(factor), call, (a, b), scale, (True, True))
            alone = engine.rescaled(None, torch.tensor(factor), call, (a, b), scale, (False, True))
            assert found[0] is given[0] and found[1] is given[1] and alone[0] is None and alone[1].equal(anew[1])
            assert all(f.equal(factor * k) and f.equal(n) for f, k, n in zip(found, kept, anew, strict=True))
    marked = torch.full_like(a, 7.0)
    engine.rescaled((marked, None), torch.tensor(1.0), PLAIN, (a, b), scale, (True, False))
    assert marked.eq(7).all()  # times 1 nothing is computed


def helper(a, b, weight, shift):
    return a * weight + shift, b + weight * shift


def nested(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1, p, q, r, s):
    first, second = helper(ax0, by1, 0.0, 0.0)
    third, fourth = helper(ay0, bx1, p, 0.3)
    return first + second + third * fourth, 0.0, p * r, 1.0, q, s, ay1, bx0, first


def test_constants_passed_to_formulas_and_returned_by_them():
    a, b = (boxes.double() for boxes in drawn(ordinary, 9))
    call = Boxes(nested, (0.1, 0.2, 0.7, -0.4), "cxcywh", incoming_of((9,)))
    found = engine.run(call, (a, b), each=True, wants=(True, True))
    exact = plain.losses(call, a, b), *plain.gradients(call, (a, b), torch.ones(9, dtype=torch.float64), (True, True))
    close((found.value, found.gradients[0], found.gradients[1]), exact, 1e-14)
    call = call._replace(factor=None)  # of no box, the formula's value is not 0: what fills the last block up must not count
    torch.testing.assert_close(engine.run(call, (a, b)).total, plain.total(call, (a, b), 1.0), rtol=1e-14, atol=0)


# the angle


@triton.jit
def angle_kernel(Y, X, OUT, F: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    tl.store(OUT + i, F(tl.load(Y + i), tl.load(X + i)))


def angles(y, x):
    out = torch.empty_like(y)
    angle_kernel[(1,)](y, x, out, F=NAMES["atan2"], BLOCK=len(y))
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_angles(dtype):
    slopes = torch.tensor([*np.exp(np.linspace(-60, 60, 200)), *np.linspace(0.3, 1.2, 312)], dtype=torch.float64)
    x = torch.linspace(0.5, 1.5, 512, dtype=torch.float64)
    y, x = (slopes * x).to(dtype), x.to(dtype)
    with mpmath.workdps(40):
        errors = [float(abs(g / mpmath.atan2(p, q) - 1)) for p, q, g in zip(y.tolist(), x.tolist(), angles(y, x).tolist(), strict=True)]
    rounding = {torch.float32: 1.6e-7, torch.float64: 4e-16} if DEVICE == "cpu" else {torch.float32: 3e-7, torch.float64: 1e-15}
    assert max(errors) < rounding[dtype]
    half = math.pi / 2
    edges = angles(*(torch.tensor(v, dtype=dtype) for v in ([0.0, 0.0, 2.0, 3.0, NAN, 1.0, NAN, 0.0], [0.0, 5.0, 0.0, 3.0, 1.0, NAN, 0.0, NAN])))
    wanted = torch.tensor([0.0, 0.0, half, half / 2, NAN, NAN, NAN, NAN], dtype=torch.float64).to(dtype)
    torch.testing.assert_close(edges, wanted, rtol=1e-7 if dtype is torch.float32 else 0, atol=0, equal_nan=True)
