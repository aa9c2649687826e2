"""The rows pattern of the Triton engine against the torch engine in float64; where it runs, as `on_triton.py` says."""

import math
from typing import NamedTuple

import pytest
import torch
from cases import thorough, thorough_rows
from held import held
from on_triton import DEVICE, surroundings  # noqa: F401

import losskit
from losskit.engines.call import Rows
from losskit.engines.torch import rows as plain
from losskit.engines.triton import rows as engine
from losskit.losses.classification import arcface, cosface
from losskit.losses.classification.cross_entropy import formula, smoothed, soft_cap
from losskit.losses.classification.focal_of_classes import multiclass

pytestmark = pytest.mark.filterwarnings("ignore:All-NaN slice")  # how NumPy takes the maximum under the interpreter
INF, NAN = math.inf, math.nan
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}
# rows and planes: an item to a thread, to several threads, and block by block; with classes left over, and rows that begin anywhere
SHAPES = {
    "rows": (7, 10), "two": (5, 2), "three": (3, 3), "31": (3, 31), "32": (3, 32), "33": (5, 33), "more rows": (3, 300), "whole rows": (2, 5000), "long rows": (2, 8201),
    "planes": (2, 5, 3, 4), "three planes": (1, 3, 5), "31 planes": (3, 31, 3), "33 planes": (1, 33, 5), "tall planes": (2, 300, 9), "taller planes": (1, 600, 3),
    "even planes": (2, 35, 4, 8), "even tall planes": (1, 603, 16),  # whose size is a multiple of 16, and their number is none
    "one class": (3, 1), "one plane": (1, 1, 3),
}  # fmt: skip
FIRST = [SHAPES["rows"], SHAPES["planes"]]  # the interpreter takes its time
by_shape = pytest.mark.parametrize("shape", [*FIRST, *thorough(shape for shape in SHAPES.values() if shape not in FIRST)], ids=str)


def data(shape, dtype=torch.float32, labels=torch.int64, dim=1, seed=0, spread=4.0):
    """Scores and labels; the classes lie along `dim`."""
    draw = torch.Generator(DEVICE).manual_seed(seed)
    x = torch.randn(shape, generator=draw, dtype=torch.float64) * spread
    t = torch.randint(0, min(shape[dim], 2 if labels is torch.bool else 200), x.movedim(dim, -1).shape[:-1], generator=draw)
    return x.to(dtype), t.to(labels)


def every(classes, **more):
    """A call with everything in it: smoothing, the z term, class weights, a link."""
    weight = torch.linspace(0.5, 2, classes, dtype=torch.float64)
    weight[classes // 2] = 0.0
    return Rows(smoothed, (0.9, 1e-2), weight, weight * (0.1 / classes), soft_cap, 15.0, **more)


class Outcome(NamedTuple):
    value: torch.Tensor
    lse: torch.Tensor
    right: torch.Tensor
    total: torch.Tensor
    gradient: torch.Tensor  # of the sum
    weighed: torch.Tensor  # times `incoming`


def incoming_of(t):
    """Something uneven with uneven strides."""
    return torch.linspace(-1, 2.3, 2 * t.numel(), dtype=torch.float64).reshape(*t.shape, 2)[..., 1]


def exact(call, x, t, real=torch.float64):
    x = x.to(real)
    by = plain.by_products(call, x, t)
    gradients = [plain.gradients(call, (x, t), g.to(real), (True, False))[0].double() for g in (torch.ones(t.shape), incoming_of(t))]
    return Outcome(by.value.double(), by.lse.double(), by.right, by.value.double().sum(), *gradients)


def found(call, x, t):
    first = engine.run(call, (x, t), by_products=True, wants=(True, False))
    weighed = engine.run(call, (x, t), incoming=incoming_of(t).to(first.value.dtype), wants=(True, False))
    return Outcome(first.value, first.lse, first.right, first.total, first.gradients[0], weighed.gradients[0])


def agree(call, x, t, tolerance=None, floor=1e-37, reference=torch.float64):
    """The Triton engine gives what the torch engine gives in float64. `floor`: for gradients that are a difference of two terms."""
    got, should = found(call, x, t), exact(call, x, t, reference)
    real = x.dtype if x.dtype is torch.float64 else torch.float32
    assert {v.dtype for v in (got.value, got.lse, got.total)} == {real} and got.gradient.dtype is got.weighed.dtype is x.dtype
    tolerance = tolerance or TOLERANCE[real]
    for name, g, e in zip(Outcome._fields, got, should, strict=True):
        if name == "right":
            assert g.equal(e)
            continue
        close = floor if name in ("gradient", "weighed") else tolerance if name == "lse" else 0.0
        torch.testing.assert_close(g.double(), e, rtol=tolerance, atol=close, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}")
    return got


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@by_shape
def test_agrees_with_the_torch_engine(shape, dtype):
    x, t = data(shape, dtype)
    agree(Rows(formula), x, t)
    agree(Rows(multiclass, (1.5,)), x, t, 4 * TOLERANCE[dtype])
    call = every(shape[1], factor=torch.arange(t.numel()).reshape(t.shape) % 3 > 0)
    agree(call, x, t, 2 * TOLERANCE[dtype], floor=TOLERANCE[dtype])


@by_shape
def test_a_margin_on_the_labels_score(shape):
    x, t = data(shape, spread=0.4)
    agree(Rows(cosface.formula, (0.35,), margin=cosface.lowered), x.clamp(-1, 1), t, floor=1e-7)
    call = Rows(arcface.formula, (0.5, 0.0, 0.75**0.5, 2.0**-24), margin=arcface.turned, factor=torch.arange(t.numel()).reshape(t.shape) % 3 > 0)
    agree(call, x.clamp(-1, 0.99), t, 8 * TOLERANCE[x.dtype], floor=1e-7)


@pytest.mark.parametrize("name", ["even planes", "even tall planes"])
def test_planes_of_even_size(name):
    """What is known of where planes begin is nothing that is known of their number."""
    agree(Rows(formula), *data(SHAPES[name], torch.float32))


@by_shape
def test_only_what_is_wanted_is_written(shape):
    x, t = data(shape)
    before, call = x.clone(), every(shape[1])
    full = engine.run(call, (x, t), by_products=True, wants=(True, False))
    each, bare = engine.run(call, (x, t), each=True), engine.run(call, (x, t))
    weighed = engine.run(call, (x, t), incoming=incoming_of(t).float(), wants=(True, False))
    one = engine.run(call, (x, t), incoming=torch.tensor(1.0).expand(t.shape), wants=(True, False))
    assert each.value.equal(full.value) and bare.total.equal(full.total) and one.gradients[0].equal(full.gradients[0])
    assert (held(each), held(bare), held(weighed), held(one)) == ({"value"}, {"total"}, {"gradient 0"}, {"gradient 0"})
    assert x.equal(before)


def test_more_programs_than_one_block_of_sums():
    x, t = data((3, 4096), torch.float32)
    agree(Rows(formula), x, t)
    x, t = data((700, 10))
    agree(Rows(formula), x, t)
    x, t = data((1, 3, 40, 40))
    agree(Rows(formula), x, t)


LAYOUTS = {
    "channels last": lambda: (data((2, 5, 3, 4))[0].to(memory_format=torch.channels_last), 1),
    "transposed": lambda: (data((10, 7))[0].T, 1),
    "transposed image": lambda: (data((2, 5, 3, 4))[0].transpose(2, 3), 1),
    "with gaps": lambda: (data((7, 10, 2))[0][..., 0], 1),
    "expanded": lambda: (data((1, 10))[0].expand(7, 10), 1),
    "offset": lambda: (data((8, 10))[0][1:], 1),
    "classes first": lambda: (data((10, 7), dim=0)[0], 0),
    "classes last": lambda: (data((3, 4, 10), dim=2)[0], 2),
    "classes in the middle": lambda: (data((2, 3, 5, 7), dim=2)[0], 2),
    "one item": lambda: (data((10,), dim=0)[0], 0),
    "one item, one pixel": lambda: (data((1, 10, 1, 1))[0], 1),
}


@pytest.mark.sparse(2)
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name):
    x, dim = LAYOUTS[name]()
    t = data(tuple(x.shape), dim=dim)[1]
    agree(every(x.shape[dim], dim=dim), x, t, 4e-6, floor=1e-6)
    if x.is_contiguous() or x.movedim(dim, -1).is_contiguous():
        assert engine.laid_out(x, dim)[0] is x, "copied"
        gradient = engine.run(Rows(formula, dim=dim), (x, t), wants=(True, False)).gradients[0]
        assert gradient.stride() == x.stride()
        scratch = x.clone()
        assert engine.run(Rows(formula, dim=dim), (scratch, t), inplace=True, wants=(True, False)).gradients[0] is scratch and scratch.equal(gradient)
    if t.dim() > 1:
        agree(
            Rows(formula, dim=dim, factor=torch.rand(t.shape[::-1]).permute(*range(t.dim())[::-1])), x, t.flip(0).transpose(0, 1).contiguous().transpose(0, 1)
        )


@pytest.mark.parametrize("labels", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64])
def test_label_dtypes(labels):
    x, t = data((7, 10), labels=labels)
    t[0] = 1
    agree(Rows(formula, ignore=1), x, t)


@by_shape
def test_absent_items_add_nothing_whatever_they_hold(shape):
    x, t = data(shape)
    absent = torch.zeros(t.shape, dtype=torch.bool)
    absent[0] = absent[-1] = True
    weight = torch.linspace(0.5, 1.5, t.numel()).reshape(t.shape)
    for bad, labels, more in (
        (NAN, torch.where(absent, -100, t), {}),
        (INF, torch.where(absent, 255, t), {"ignore": 255}),
        (-INF, torch.where(absent, 10**9, t), {"factor": ~absent}),
        (NAN, t, {"factor": torch.where(absent, 0.0, weight)}),
        (NAN, torch.where(absent, -7, t), {"factor": torch.where(absent, 0.0, weight.double())}),
    ):
        x.movedim(1, -1)[absent] = bad
        got = agree(every(shape[1], **more), x, labels, 4e-6, floor=1e-6)
        assert got.value[absent].eq(0).all() and got.lse[absent].eq(0).all() and not got.right[absent].any()
        assert got.gradient.movedim(1, -1)[absent].eq(0).all() and got.weighed.movedim(1, -1)[absent].eq(0).all()
    nothing = engine.run(Rows(formula, factor=torch.zeros(t.shape)), (x, t), wants=(True, False))
    assert nothing.total == 0 and nothing.gradients[0].eq(0).all()
    nothing = engine.run(Rows(formula), (x, t), incoming=torch.where(absent, 0.0, weight), wants=(True, False))
    assert nothing.gradients[0].movedim(1, -1)[absent].eq(0).all() and nothing.gradients[0].isfinite().all()


@by_shape
def test_labels_out_of_range_are_nan_in_their_item_only(shape):
    x, t = data(shape)
    flat = t.view(-1)
    flat[0], flat[-1] = shape[1], -1
    bad = (t < 0) | (t >= shape[1])
    got = agree(every(shape[1]), x, t, 4e-6, floor=1e-6)
    assert got.value.isnan().equal(bad) and got.gradient.movedim(1, -1).isnan().all(-1).equal(bad) and got.gradient.movedim(1, -1).isnan().any(-1).equal(bad)
    assert got.total.isnan() and got.lse.isfinite().all() and not got.right[bad].any()
    far = torch.full_like(t, 2**62)
    assert found(Rows(formula), x, far).value.isnan().all()


def test_nan_shows_in_its_item_only():
    for shape in SHAPES.values():
        x, t = data(shape)
        x[-1, -1] = NAN
        bad = x.isnan().any(1)
        got = found(every(shape[1]), x, t)
        assert got.value.isnan().equal(bad) and got.gradient.isnan().any(1).equal(bad) and not got.right[bad].any()


@pytest.mark.parametrize("scale", [torch.tensor(0.0), *thorough([0.25, torch.tensor(0.25), torch.tensor(0.25, dtype=torch.float64), 0.0])], ids=str)
def test_scale(scale):
    for shape in SHAPES.values():
        x, t = data(shape)
        if scale == 0:
            x[0], t[-1] = NAN, 10**6
        scale = scale.to(DEVICE) if isinstance(scale, torch.Tensor) else scale
        got = engine.run(every(shape[1]), (x, t), scale=scale, wants=(True, False))
        if scale == 0:
            assert got.total == 0 and got.gradients[0].eq(0).all()
        else:
            should = exact(every(shape[1]), x, t)
            torch.testing.assert_close(got.total.double(), 0.25 * should.total, rtol=2e-6, atol=0)
            torch.testing.assert_close(got.gradients[0].double(), 0.25 * should.gradient, rtol=4e-6, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 2), *thorough([(3, 5000), (3, 9001), (3, 300, 9), (3, 600, 2)])], ids=str)
def test_infinite_scores(shape):
    x, t = data(shape)
    classes = shape[1]
    rows = x.movedim(1, -1)
    t[0], t[1], t[2] = 0, classes - 1, 1
    rows[0, ..., 1:4], rows[0, ..., -1] = -INF, -INF  # masked classes
    rows[1, ..., 2] = INF  # the label's score is finite: its loss is infinite
    rows[2, ..., 1] = rows[2, ..., 3] = INF  # two that are infinite share
    agree(Rows(multiclass, (2.0,)), x, t, 4e-6, reference=torch.float32)  # infinity is read as the largest number of the dtype
    got = agree(Rows(formula), x, t, reference=torch.float32)
    assert got.value[1].eq(INF).all() and got.gradient.isfinite().all() and not got.right[1].any() and got.right[2].all()
    torch.testing.assert_close(got.value[2], torch.full_like(got.value[2], math.log(2)))
    assert got.gradient[0].movedim(0, -1)[..., 1:4].eq(0).all()
    rows[:, ..., :] = torch.where(rows == INF, 3.0, rows)
    no_share = torch.full((classes,), 0.1 / classes).index_fill(0, torch.tensor([1, 2, 3, classes - 1]), 0.0)
    agree(Rows(smoothed, (0.9, 1e-2), shares=no_share), x, t, 4e-6, floor=1e-6)
    agree(Rows(smoothed, (0.9, 0.0), shares=torch.full((classes,), 0.1 / classes)), x, t, 4e-6, floor=1e-6)  # an infinite spread, a finite gradient
    rows[0, ..., : min(classes, 4500)], t[0] = -INF, classes - 1  # nothing but masked classes for a while
    rows[0, ..., -1] = 0.5
    agree(Rows(formula), x, t)
    agree(Rows(smoothed, (0.9, 0.0), shares=torch.full((classes,), 0.1 / classes)), x, t, 4e-6, floor=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_confident_items_keep_their_digits(dtype):
    for shape in ((4, 10), (1, 5000), (2, 10, 3), (1, 300, 9)):
        x, t = torch.zeros(shape, dtype=dtype), torch.full((shape[0], *shape[2:]), 3)
        x[:, 3] = 40.0
        value = (shape[1] - 1) * math.exp(-40.0)
        got = agree(Rows(formula), x, t)
        torch.testing.assert_close(got.value, torch.full_like(got.value, value), rtol=1e-6, atol=0)
        torch.testing.assert_close(got.gradient[:, 3], torch.full_like(got.value, -value), rtol=1e-6, atol=0)


def test_rising_scores():
    """A new maximum in every block. The tolerance: differences of scores near 120, rounded."""
    for shape in ((1, 9000), (1, 600, 9)):
        x = torch.linspace(-60, 60, shape[1]).reshape(1, -1, *(1,) * (len(shape) - 2)).expand(shape).contiguous()
        for label in (0, shape[1] - 1):
            t = torch.full((shape[0], *shape[2:]), label)
            agree(Rows(formula), x, t, 8e-6)
            agree(Rows(smoothed, (0.9, 1e-3), shares=torch.full((shape[1],), 0.1 / shape[1])), x, t, 4e-6, floor=1e-6)


def test_the_first_of_equal_scores_wins():
    for shape in ((6, 9), (6, 5000), (6, 9, 2), (6, 300, 9)):
        x = torch.zeros(shape)
        last = shape[1] - 1
        t = torch.tensor([0, 1, 2, last, last, 0]).reshape(6, *(1,) * (len(shape) - 2)).expand(6, *shape[2:]).contiguous()
        x[1, 1] = x[1, last] = 1.0
        x[3, 1] = x[3, last] = 1.0
        x[4, last] = 1.0
        got = engine.run(Rows(formula), (x, t), by_products=True).right
        assert got.reshape(6, -1)[:, 0].tolist() == [True, True, False, False, True, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@by_shape
def test_half_precision(shape, dtype):
    x, t = data(shape, dtype)
    call = every(shape[1])
    got, should = engine.run(call, (x, t), each=True, wants=(True, False)), exact(call, x, t)
    torch.testing.assert_close(got.value.double(), should.value, rtol=2e-6, atol=0)
    torch.testing.assert_close(got.gradients[0].double(), should.gradient, rtol=torch.finfo(dtype).eps, atol=1e-6)  # the interpreter cuts bfloat16 off
    scratch = x.clone()
    engine.run(call, (scratch, t), inplace=True, wants=(True, False))
    assert scratch.equal(got.gradients[0])


def test_half_precision_gradients_do_not_underflow_under_loss_scaling():
    x, t = data((64, 100), torch.float16)
    call, loss_scale = Rows(formula), 2.0**16
    given = engine.run(call, (x, t), scale=1e-6, wants=(True, False)).gradients[0], None
    got, _ = engine.rescaled(given, torch.tensor(loss_scale), call, (x, t), 1e-6, (True, False))
    assert got is given[0]
    torch.testing.assert_close(got.double(), exact(call, x, t).gradient * 1e-6 * loss_scale, rtol=1e-3, atol=6e-8)


@pytest.mark.parametrize(("shape", "scale"), [((3, 10), 0.5), ((2, 5, 3, 4), torch.tensor(0.5)), *thorough_rows([((2, 5000), 0.5)])], ids=str)
def test_rescaled(shape, scale):
    x, t = data(shape)
    call = every(shape[1])
    scale = scale.to(DEVICE) if isinstance(scale, torch.Tensor) else scale
    should = exact(call, x, t).gradient
    given = engine.run(call, (x, t), scale=scale, wants=(True, False)).gradients[0]
    for factor in (1.0, -3.0, 0.0):
        marked = given.clone()
        marked[0, 0] = 7.0  # a mark: nothing is written for a factor of 1
        got, nothing = engine.rescaled((marked, None), torch.tensor(factor), call, (x, t), scale, (True, False))
        assert got is marked and nothing is None
        assert got[0, 0].eq(7.0).all() == (factor == 1.0)
        again, _ = engine.rescaled(None, torch.tensor(factor), call, (x, t), scale, (True, False))
        for g in (again, given if factor == 1.0 else got):
            torch.testing.assert_close(g.double(), should * (0.5 * factor), rtol=4e-6, atol=1e-6)


def test_no_items():
    for shape in ((0, 10), (0, 5, 3), (2, 5, 0)):
        x, t = torch.empty(shape), torch.empty((shape[0], *shape[2:]), dtype=torch.int64)
        got = engine.run(every(shape[1]), (x, t), by_products=True, wants=(True, False))
        assert got.total == 0 and got.gradients[0].shape == shape and got.value.shape == got.lse.shape == got.right.shape == t.shape
        engine.run(every(shape[1]), (x, t), incoming=torch.ones(()).expand(t.shape), wants=(True, False))
        given = got.gradients[0], None
        assert engine.rescaled(given, torch.tensor(2.0), every(shape[1]), (x, t), 1.0, (True, False)) is given


def test_same_bits_every_time():
    for shape in ((600, 10), (2, 5000), (2, 19, 12, 12)):
        x, t = data(shape)
        a, b = (engine.run(every(shape[1]), (x, t), wants=(True, False)) for _ in range(2))
        assert a.total.equal(b.total) and a.gradients[0].equal(b.gradients[0])


def test_under_the_contract():
    """Through autograd: reductions, ignored labels, masks, second backward, by-products, in place."""
    x, t = data((4, 6, 5))
    t[0, :2] = -100
    mask = torch.arange(20).reshape(4, 5) % 4 > 0
    settings = {"label_smoothing": 0.1, "z_loss": 1e-3, "softcap": 20.0, "weight": torch.linspace(0.5, 2, 6), "mask": mask}
    for reduction in ("none", "mean", "sum"):
        outcomes = []
        for name, dtype in (("triton", torch.float32), ("torch", torch.float64)):
            input = x.clone().to(dtype).requires_grad_()
            with losskit.use_engine(name):
                loss, parts = losskit.cross_entropy(input, t, reduction=reduction, return_parts=True, **settings)
            loss.backward(torch.linspace(-1, 2, 20).reshape(4, 5).to(loss.dtype) if reduction == "none" else torch.tensor(-0.5, dtype=loss.dtype))
            outcomes.append((loss.detach(), input.grad, parts.losses, parts.lse, parts.accuracy, parts.items))
        for g, e in zip(*outcomes, strict=True):
            torch.testing.assert_close(g.double(), e.double(), rtol=4e-6, atol=1e-6)
    with losskit.use_engine("triton"):
        single = losskit.cross_entropy(x[1, :, 0], t[1, 0])
        assert single.shape == ()
        logits = x.clone().requires_grad_()
        loss = losskit.cross_entropy(logits, t)
        (first,) = torch.autograd.grad(loss, logits, retain_graph=True)
        (second,) = torch.autograd.grad(loss * 2.0, logits)
        torch.testing.assert_close(second, 2 * first)
        own = logits * 1.0
        losskit.cross_entropy(own, t, inplace=True).backward()
        torch.testing.assert_close(logits.grad, first)
        assert losskit.cross_entropy(x, torch.full_like(t, -100)) == 0
