"""Overlap on the Triton engine against the torch engine in float64; where it runs, as `on_triton.py` says."""

import math
from itertools import product

import pytest
import torch
from cases import thorough
from on_triton import DEVICE, surroundings  # noqa: F401

import losskit
from losskit.engines.call import COUNT, EXTRA, INTERSECTION, PREDICTION, PREDICTION_SQUARED, TARGET, TARGET_SQUARED, Overlap
from losskit.engines.torch import overlap as plain
from losskit.engines.triton import overlap as engine
from losskit.losses.classification import binary_cross_entropy_with_logits, cross_entropy, focal, focal_of_classes

pytestmark = pytest.mark.filterwarnings("ignore:All-NaN slice")  # how NumPy takes the maximum under the interpreter
INF, NAN = math.inf, math.nan
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12, torch.float16: 2e-6, torch.bfloat16: 2e-6}
# planes and rows, whole and block by block; with classes and items left over
SHAPES = {"planes": (2, 5, 3, 7), "tall planes": (1, 300, 9), "rows": (2, 10), "long rows": (1, 5001), "one class": (2, 1, 40)}
SHAPES |= {"three planes": (1, 3, 5), "31 planes": (3, 31, 3), "33 planes": (1, 33, 5), "two rows": (3, 2), "33 rows": (1, 33)}
SHAPES |= {"even planes": (1, 35, 32), "even tall planes": (1, 301, 16)}  # whose size is a multiple of 16, and their number is none
FEW = {name: SHAPES[name] for name in ("planes", "tall planes")}  # the interpreter takes its time
by_few = pytest.mark.parametrize("shape", [FEW["planes"], *thorough([FEW["tall planes"]])], ids=str)
CALLS = {
    "softmax, labels": Overlap("softmax", "label"),
    "softmax, cross-entropy": Overlap("softmax", "label", cross_entropy.formula, squared=True),
    "softmax, focal": Overlap("softmax", "label", focal_of_classes.multiclass, (1.5,)),
    "softmax, numbers": Overlap("softmax", "number", squared=True),
    "sigmoid": Overlap("sigmoid", "number"),
    "sigmoid, cross-entropy": Overlap("sigmoid", "number", binary_cross_entropy_with_logits.plain, squared=True),
    "sigmoid, focal": Overlap("sigmoid", "number", focal.from_logits_formula, (0.3, 0.7, 1.5)),
    "probabilities": Overlap("identity", "number", squared=True),
    "probabilities, labels": Overlap("identity", "label", squared=True),
}
by_call = pytest.mark.parametrize("name", CALLS)


def drawn(call, shape, dtype=torch.float32, seed=0):
    """Input and target, the classes along `call.dim`."""
    draw = torch.Generator(DEVICE).manual_seed(seed)
    x = 3.0 * torch.randn(shape, generator=draw, dtype=torch.float64)
    if call.link == "identity":
        x = x.sigmoid()
    if call.kind == "number":
        return x.to(dtype), torch.rand(shape, generator=draw, dtype=torch.float64).round(decimals=1).to(dtype)  # 0 and 1 among them
    items = (*shape[: call.dim], *shape[call.dim + 1 :])
    return x.to(dtype), torch.randint(0, shape[call.dim], items, generator=draw)


def factors(call, shape):
    """What may say which items count."""
    draw = torch.Generator(DEVICE).manual_seed(3)
    items = (*shape[: call.dim], *shape[call.dim + 1 :])
    yield None
    yield torch.rand(items, generator=draw) < 0.7
    if call.link != "softmax" and call.kind == "number":
        yield torch.rand(shape, generator=draw) < 0.7


def uneven(shape):
    """What the sums are multiplied by, all of it different and of both signs."""
    return torch.randn(shape, generator=torch.Generator(DEVICE).manual_seed(4), dtype=torch.float64)


def exact(call, x, t):
    """The sums, and the gradients times `uneven`, by autograd in float64."""
    leaves = [v.double().requires_grad_() for v in ((x, t) if call.kind == "number" else (x,))]
    sums = plain.sums(call, leaves[0], leaves[1] if call.kind == "number" else t)
    return sums.detach(), *torch.autograd.grad(sums, leaves, uneven(sums.shape))


def found(call, x, t):
    sums = engine.sums(call, x, t)
    assert sums.dtype is torch.float64 and sums.shape == (x.shape[0], x.shape[call.dim], 7)
    wants_t = t.is_floating_point()
    gx, gt = engine.gradients(call, x, t, uneven(sums.shape), True, wants_t)
    assert gx.dtype is x.dtype and gx.shape == x.shape
    if not wants_t:
        assert gt is None
        return sums, gx
    assert gt.dtype is t.dtype and gt.shape == t.shape
    return sums, gx, gt


def close(got, exact, tolerance, rounded=0.0):
    """Errors relative to the largest number, for each is a sum of terms of both signs; `rounded`: of storing it in half precision, relative to its own."""
    floor = tolerance * exact.abs().max().item() if exact.numel() else 0.0
    if rounded and got.dtype is torch.float16:
        floor += 2.0**-25  # half of the smallest number
    torch.testing.assert_close(got.double(), exact.double(), rtol=max(tolerance, rounded), atol=floor)


def agree(call, x, t):
    """The engine gives what PyTorch operations give."""
    got, should = found(call, x, t), exact(call, x, t)
    close(got[0], should[0], TOLERANCE[x.dtype])
    for g, e in zip(got[1:], should[1:], strict=False):
        close(g, e, TOLERANCE[x.dtype], 0.0 if g.dtype in (torch.float32, torch.float64) else torch.finfo(g.dtype).eps)
    return got


@pytest.mark.sparse(3)
@pytest.mark.parametrize(
    ("layout", "name"), [(k, name) for k in SHAPES for name in CALLS if k in ("planes", "rows") or name in ("softmax, focal", "softmax, numbers", "sigmoid")]
)
def test_agrees_with_the_torch_engine(layout, name):
    call, shape = CALLS[name], SHAPES[layout]
    x, t = drawn(call, shape)
    agree(call, x, t)
    if layout == "planes":
        agree(call._replace(squared=not call.squared), x, t)


@by_call
@pytest.mark.parametrize("dtype", [torch.bfloat16, *thorough([torch.float64, torch.float16])], ids=str)
def test_other_precisions(dtype, name):
    shape = SHAPES["tall planes" if dtype is torch.float64 and name.startswith("softmax") else "planes"]
    agree(CALLS[name], *drawn(CALLS[name], shape, dtype))


def test_input_and_target_of_different_dtypes():
    """Not float64 and bfloat16: GPUs write the one as the other, the interpreter does not."""
    half, brain, single, double = torch.float16, torch.bfloat16, torch.float32, torch.float64
    for name in ("softmax, numbers", "sigmoid"):
        x, t = drawn(CALLS[name], (2, 3, 8))
        for a, b in (
            ((half, single), (brain, half), (single, brain), (double, half))
            if name != "sigmoid"
            else ((single, double), (single, torch.uint8), (half, torch.bool))
        ):
            agree(CALLS[name], x.to(a), t.round().to(b))
    x, t = drawn(CALLS["softmax, labels"], (2, 3, 8))
    for labels in (torch.uint8, torch.int32):
        agree(CALLS["softmax, labels"], x, t.to(labels))


LAYOUTS = {
    "channels last": (lambda: torch.empty(2, 5, 3, 4, memory_format=torch.channels_last), 1),
    "transposed image": (lambda: torch.empty(2, 5, 3, 4).transpose(2, 3), 1),
    "with gaps": (lambda: torch.empty(3, 5, 4, 2)[..., 0], 1),
    "backwards": (lambda: torch.empty(4, 5, 3).permute(2, 1, 0), 1),
    "classes last": (lambda: torch.empty(2, 3, 4, 6), 3),
    "classes between": (lambda: torch.empty(2, 3, 5, 4), 2),
}


@pytest.mark.sparse(3)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout):
    make, dim = LAYOUTS[layout]
    like = make()
    for name in ("softmax, focal", "sigmoid, focal") if dim == 1 else ("softmax, numbers", "probabilities, labels"):
        call = CALLS[name]._replace(dim=dim)
        x, t = drawn(call, tuple(like.shape))
        factor = list(factors(call, tuple(like.shape)))[-1]
        mixed = factor.transpose(0, -1).contiguous().transpose(0, -1)
        lying = torch.empty_like(like).copy_(x) if layout != "with gaps" else like.copy_(x)
        assert lying.stride() == like.stride()
        agree(call._replace(factor=mixed), lying, t)  # the target lies otherwise


WHOLE_OR_NOT = [(SHAPES["planes"], name) for name in CALLS] + [(SHAPES["tall planes"], name) for name in ("softmax, focal", "softmax, numbers")]


@pytest.mark.sparse(3)
@pytest.mark.parametrize(("shape", "name"), WHOLE_OR_NOT, ids=str)
def test_absent_items_get_exact_zeros_whatever_they_hold(shape, name):
    call = CALLS[name]
    x, t = drawn(call, shape)
    for number, factor in enumerate(factors(call, shape)):
        bad = (NAN, INF, -INF)[number % 3]
        if factor is None:  # ignored
            if call.kind == "label":
                absent = torch.rand(t.shape) < 0.3
                y, a = torch.where(absent, -7, t), torch.where(absent.unsqueeze(1), bad, x)
            elif call.link == "softmax":
                continue
            else:
                absent = torch.rand(t.shape) < 0.3
                y, a = torch.where(absent, -7.0, t), torch.where(absent, bad, x)
        else:
            absent = ~factor
            every = absent if absent.dim() == x.dim() else absent.unsqueeze(1)
            a = torch.where(every, bad, x)
            y = torch.where(absent, 10**6, t) if call.kind == "label" else torch.where(every, bad, t)
        got = agree(call._replace(factor=factor, ignore=-7), a, y)
        every = (absent if absent.dim() == x.dim() else absent.unsqueeze(1)).expand(x.shape)
        for g in got[1:]:
            assert g[every].eq(0).all() and g[~every].ne(0).any()
    nothing = engine.sums(call._replace(factor=torch.zeros((shape[0], *shape[2:]), dtype=torch.bool)), x, t)
    assert nothing.eq(0).all()


@by_few
@pytest.mark.parametrize("name", ["softmax, labels", "softmax, focal", "probabilities, labels"])
def test_labels_out_of_range_are_nan_in_their_sample_only(shape, name):
    call, shape = CALLS[name], (2, *shape[1:])
    x, t = drawn(call, shape)
    for wrong in (shape[1], 2**40) if shape[1] == 5 else (-1,):
        y = t.clone()
        y[1].view(-1)[-1] = wrong
        (sums, gx), (should, _) = found(call, x, y), exact(call, x, t)
        assert sums[1].isnan().all()
        close(sums[0], should[0], 2e-6)
        assert gx.isnan().equal((y != t).unsqueeze(1).expand(x.shape))
        assert engine.sums(call._replace(factor=y == t), x, y).isfinite().all()


@by_few
def test_nan_shows_in_its_sample_and_its_item_only(shape):
    shape = (2, *shape[1:])
    for name in ("softmax, focal", "sigmoid, focal", "probabilities") if shape[1] == 5 else ("softmax, numbers",):
        x, t = drawn(CALLS[name], shape)
        x[1, -1] = NAN
        bad = x.isnan().any(1, keepdim=True).expand(x.shape) if name.startswith("softmax") else x.isnan()
        sums, gx, *_ = found(CALLS[name], x, t)
        assert sums[0].isfinite().all() and sums[1, -1, :2].isnan().all() and sums[..., COUNT].isfinite().all()
        assert gx.isnan().equal(bad)


def test_numbers_outside_the_unit_interval():
    for name in ("softmax, numbers", "sigmoid"):
        x, t = drawn(CALLS[name], (3, 2, 5))
        near = t.clone()
        near[0, 0, 0], near[0, 0, 1] = -5e-7, 1.0 + 5e-7
        close(engine.sums(CALLS[name], x, near), plain.sums(CALLS[name], x, near.clamp(0, 1)), 2e-6)
        for far in (-1e-4, 1.001):
            t[1, 1, 2] = far
            sums = engine.sums(CALLS[name], x, t)
            assert sums[1, 1, [INTERSECTION, TARGET]].isnan().all() and sums[[0, 2]].isfinite().all() and sums[1, 0].isfinite().all()
    for name in ("probabilities", "probabilities, labels"):
        x, t = drawn(CALLS[name], (3, 2, 5))
        x[1, 1, 2] = 1.1
        sums = engine.sums(CALLS[name], x, t)
        assert sums[1, 1, [INTERSECTION, PREDICTION, PREDICTION_SQUARED]].isnan().all() and sums[1, 1, [TARGET, TARGET_SQUARED, COUNT]].isfinite().all()
        assert sums[1, 0].isfinite().all()


@pytest.mark.parametrize("shape", [(2, 6, 3), *thorough([(1, 600, 9)])], ids=str)
def test_a_score_of_minus_infinity_deletes_its_class(shape):
    classes = shape[1]
    gone = torch.arange(classes) % 3 == 1
    gone[: classes // 2] = True  # also nothing but such classes for a while
    for name in ("softmax, focal", "softmax, numbers"):
        call = CALLS[name]
        x, t = drawn(call, shape)
        if call.kind == "label":
            t = torch.arange(classes)[~gone][t % int((~gone).sum())]
        x[:, gone] = -INF
        sums, gx, *_ = agree(call, x, t)
        assert sums[:, gone][..., [INTERSECTION, PREDICTION, EXTRA]].eq(0).all() and gx[:, gone].eq(0).all()
    assert engine.sums(call, torch.full(shape, -INF), t)[..., PREDICTION].isnan().all()


def test_an_infinite_score_is_read_as_the_largest_number():
    for shape in ((2, 6, 3), (1, 300, 9)):
        name = "softmax, focal" if shape[1] == 6 else "softmax, numbers"
        x, t = drawn(CALLS[name], shape)
        x[0, 1, 0] = x[0, 2, 1] = x[0, 4, 1] = INF
        for got, should in zip(found(CALLS[name], x, t), found(CALLS[name], x.clamp(max=torch.finfo(x.dtype).max), t), strict=True):
            assert got.equal(should)
        close(engine.sums(CALLS[name], x[:1, :, 1:2].contiguous(), t[:1, ..., 1:2])[0, :, PREDICTION], 0.5 * (x[0, :, 1] == INF), 1e-7)


@pytest.mark.parametrize("shape", [(1, 6, 4), (1, 300, 9)], ids=str)
def test_equal_scores(shape):
    for name, spread in (("softmax, cross-entropy", 1.0), ("softmax, numbers", 0.0)):
        x, t = drawn(CALLS[name], shape)
        agree(CALLS[name], (spread * x).round().clamp(max=3.0), t)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("squared", [False, True], ids=["", "squared"])
def test_confident_items_keep_their_digits(squared, dtype):
    for shape, top, kind in (((1, 10, 4), 3, "label"), ((1, 300, 9), 3, "number"), ((1, 300, 9), 299, "label"), ((2, 10), 9, "number")):
        call, classes = Overlap("softmax", kind, squared=squared), shape[1]
        x = torch.zeros(shape, dtype=dtype)
        x[:, top] = 40.0
        labels = torch.full((shape[0], *shape[2:]), top)
        t = labels if call.kind == "label" else torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).to(dtype)
        by = uneven((shape[0], classes, 7))
        q = by[..., PREDICTION].clone()
        q[:, top] += by[:, top, INTERSECTION] + 2 * squared * by[:, top, PREDICTION_SQUARED]  # the others' squares do not matter
        expected = math.exp(-40.0) * (q - q[:, top : top + 1])
        expected[:, top] = -expected.sum(1)
        gx, _ = engine.gradients(call, x, t, by, True, False)
        tolerance = TOLERANCE[dtype]
        expected = expected.reshape(*expected.shape, *(1,) * (x.dim() - 2)).expand(x.shape)
        torch.testing.assert_close(gx.double(), expected, rtol=tolerance, atol=tolerance * math.exp(-40.0))


def test_rising_scores():
    """A new largest score in every block."""
    for shape in ((1, 9000), (1, 600, 9)):
        rising = torch.linspace(-60, 60, shape[1]).reshape(1, -1, *(1,) * (len(shape) - 2)).expand(shape).contiguous()
        for x in (rising, rising.flip(1))[: len(shape) - 1]:
            agree(CALLS["softmax, numbers"], x, drawn(CALLS["softmax, numbers"], shape)[1])


@pytest.mark.parametrize("name", ["softmax, cross-entropy", "sigmoid"])
def test_stretches_of_several_blocks(monkeypatch, name):
    call, shape = CALLS[name], (1, 5, 1301)
    x, t = drawn(call, shape)
    call = call._replace(factor=list(factors(call, shape))[-1])
    should = exact(call, x, t)[0]
    close(engine.sums(call, x, t), should, 2e-6)
    monkeypatch.setattr(engine, "PROGRAMS", 1)
    for stretch in (2, 64):
        monkeypatch.setattr(engine, "STRETCH", stretch)
        got = engine.sums(call, x, t)
        close(got, should, 2e-6)
    assert got.equal(engine.sums(call, x, t))  # the same bits
    if call.kind == "label":
        t[0, 3] = 5
        assert engine.sums(call._replace(factor=None), x, t).isnan().all()


def test_sums_of_losses_do_not_overflow():
    x = torch.tensor([1.0, -1.0])[None, :, None].mul(1.5e38).expand(1, 2, 40).contiguous()
    sums = engine.sums(CALLS["softmax, cross-entropy"], x, torch.ones(1, 40, dtype=torch.int64))
    assert sums[0, 1, EXTRA].item() == pytest.approx(40 * 3e38)


def test_only_what_is_wanted_is_written_and_coefficients_broadcast():
    for name in ("softmax, numbers", "sigmoid, cross-entropy"):
        x, t = drawn(CALLS[name], (2, 5, 4))
        by = uneven((5, 7))
        gx, gt = engine.gradients(CALLS[name], x, t, by.expand(2, 5, 7).contiguous(), True, True)
        one, none = engine.gradients(CALLS[name], x, t, by[None], True, False)
        assert one.equal(gx) and none is None
        none, one = engine.gradients(CALLS[name], x, t, by.cpu().numpy(), False, True)
        assert one.equal(gt) and none is None


def test_no_items():
    for name, shape in product(CALLS, ((0, 10), (0, 5, 3), (2, 5, 0))):
        call = CALLS[name]
        x = torch.empty(shape)
        t = torch.empty(shape) if call.kind == "number" else torch.empty(shape[0], *shape[2:], dtype=torch.int64)
        sums = engine.sums(call, x, t)
        assert sums.shape == (*shape[:2], 7) and sums.eq(0).all() and sums.dtype is torch.float64
        gx, gt = engine.gradients(call, x, t, torch.ones(sums.shape, dtype=torch.float64), True, call.kind == "number")
        assert gx.shape == shape and (gt is None or gt.shape == shape)


LOSSES = [
    ("dice_loss", {"task": "multiclass"}),
    ("dice_loss", {"task": "multiclass", "power": 2, "over": "batch", "average": "micro", "ignore_index": 2}),
    ("dice_loss", {"task": "multilabel", "empty": "mass", "average": "none"}),
    ("dice_loss", {"task": "binary", "smooth": 0.0}),
    ("dice_loss", {"task": "multiclass", "from_logits": False, "background": False}),
    ("dice_ce_loss", {"task": "multiclass", "weight": torch.tensor([0.5, 1.0, 2.0, 0.0])}),
    ("dice_ce_loss", {"task": "multilabel", "power": 2}),
    ("dice_focal_loss", {"task": "multiclass", "gamma": 1.5}),
    ("dice_focal_loss", {"task": "binary", "alpha": 0.25}),
]


@pytest.mark.sparse(3)
@pytest.mark.parametrize(("name", "settings"), LOSSES, ids=str)
def test_losses(name, settings):
    task = settings["task"]
    call = Overlap("identity" if settings.get("from_logits") is False else "sigmoid", "label" if task == "multiclass" else "number")
    x, t = drawn(call, (3, 4, 6))
    settings = {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in settings.items()}
    mask = torch.rand(3, 6) < 0.8 if task == "multiclass" else torch.rand(3, 4, 6) < 0.8
    loss, results = getattr(losskit, name), []
    for forced, dtype in (("triton", torch.float32), ("torch", torch.float64)):
        leaves = [x.detach().to(dtype).requires_grad_(), t if task == "multiclass" else t.detach().to(dtype).requires_grad_()]
        more = {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in settings.items()}
        with losskit.use_engine(forced):
            value = loss(*leaves, mask=mask, **more)
        incoming = torch.linspace(0.5, 2, value.numel(), dtype=dtype).reshape(value.shape)
        results.append((value, *torch.autograd.grad(value, [v for v in leaves if v.requires_grad], incoming)))
    for got, should in zip(*results, strict=True):
        close(got, should, 3e-6)


def test_sums_for_losses_of_ones_own():
    x, t = drawn(CALLS["softmax, focal"], (2, 3, 6))
    x.requires_grad_()
    with losskit.use_engine("triton"):
        sums = losskit.overlap_sums(x, t, task="multiclass", extra="focal", gamma=1.5)
    (gx,) = torch.autograd.grad(torch.stack(sums, -1), x, uneven((2, 3, 7)))
    _, expected = exact(CALLS["softmax, focal"]._replace(squared=True), x.detach(), t)
    close(gx, expected, 2e-6)
