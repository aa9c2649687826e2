"""The Triton engine: elementwise losses against the torch engine in float64; where it runs, as `on_triton.py` says."""

import math

import pytest
import torch
from cases import thorough
from held import held
from on_triton import DEVICE, ROUNDING, surroundings  # noqa: F401

import losskit
from losskit.contract.registry import LOSSES
from losskit.engines.call import Call
from losskit.engines.triton import elementwise as engine
from losskit.testing.inputs import domain, within

CASES = [pytest.param(loss, settings, id=f"{loss.name}-{settings}") for loss in LOSSES.of("elementwise").values() for settings in loss.arguments]
INF, NAN = math.inf, math.nan


def test_the_kernels_run_where_they_should():
    assert type(engine.pointwise).__name__ == ("InterpretedFunction" if DEVICE == "cpu" else "JITFunction")


def inputs(loss, settings, n, dtype=torch.float32, soft=False, seed=0):
    """Input and target of a loss, over a wide range."""
    draw = torch.Generator(DEVICE).manual_seed(seed)
    size = 10.0 ** (torch.rand(n, generator=draw, dtype=torch.float64) * 8 - 4)
    x = size * torch.randn(n, generator=draw, dtype=torch.float64).sign()
    if loss.input == "logit":
        x = x.clamp(-1e4, 1e4)
    if domain(loss, settings) == "probability":
        x = torch.rand(n, generator=draw, dtype=torch.float64).clamp(1e-6, 1 - 1e-3)
        x[: n // 2] = 10.0 ** (-x[: n // 2] * 7)
    if domain(loss, settings) == "log-mean":  # beyond 88 there is no mean in float32
        x = x.clamp(-20, 20)
    t = torch.randn(n, generator=draw, dtype=torch.float64)
    if loss.target == "unit":
        t = torch.rand(n, generator=draw, dtype=torch.float64)
        t = t if soft else t.round()
    return within(loss, x.to(dtype), t.to(dtype))


def outcome(name, loss, x, t, settings, incoming=None, **keywords):
    """Value and gradients by one engine."""
    real = x.dtype if x.dtype is torch.float64 else torch.float32
    tensors = {k: torch.tensor(v, dtype=real) if isinstance(v, list) else v for k, v in settings.items()}
    x, t = x.detach().requires_grad_(), t.detach()
    if t.is_floating_point():
        t.requires_grad_()
    with losskit.use_engine(name):
        value = loss.function(x, t, **tensors, **keywords)
    value.backward(torch.ones_like(value) if incoming is None else incoming.to(value.dtype))
    return value.detach(), x.grad, t.grad


def agree(loss, x, t, settings, tolerance, floor=1e-37, incoming=None, **keywords):
    """The Triton engine gives what the torch engine gives in float64."""
    got = outcome("triton", loss, x, t, settings, incoming, **keywords)
    wide = {k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in keywords.items()}
    exact = outcome("torch", loss, x.double(), t.double() if t.is_floating_point() else t, settings, incoming, **wide)
    assert got[0].dtype is (torch.float64 if x.dtype is torch.float64 else torch.float32)
    assert got[1].dtype is x.dtype
    for what, g, e in zip(("value", "input", "target"), got, exact, strict=True):
        if e is not None:
            close = floor if what != "target" or loss.target != "unit" else max(floor, tolerance)  # a difference of two terms
            torch.testing.assert_close(g.double(), e, rtol=tolerance, atol=close, msg=lambda m, what=what: f"{what}: {m}")
    return got


@pytest.mark.sparse(4)
@pytest.mark.parametrize(("loss", "settings"), CASES)
def test_losses_agree_with_the_torch_engine(loss, settings):
    x, t = inputs(loss, settings, 301)
    incoming = torch.linspace(-1, 2, 301)
    incoming[7] = 0.0
    floor = loss.tolerance if "label_smoothing" in settings or loss.cancels else 1e-37  # soft targets: a slope is a difference of two terms
    agree(loss, x, t, settings, loss.tolerance, floor, incoming=incoming, reduction="none")
    agree(loss, x, t, settings, loss.tolerance, floor)


@pytest.mark.sparse(4)
@pytest.mark.parametrize("loss", LOSSES.of("elementwise").values(), ids=lambda loss: loss.name)
def test_more_blocks_than_one(loss):
    settings = loss.arguments[0]
    x, t = inputs(loss, settings, 2 * engine.BLOCK + 5)
    floor = loss.tolerance if loss.cancels else 1e-37  # as above
    agree(loss, x, t, settings, loss.tolerance, floor, reduction="sum", incoming=torch.tensor(3.0))


@pytest.mark.parametrize("n", [0, 1, 5])
def test_programs_take_blocks_in_turn(n, monkeypatch):
    """Two programs; what is left over is the turn of the first, or of the second."""
    monkeypatch.setattr(engine, "PROGRAMS", 2)
    loss = LOSSES["huber_loss"]
    for blocks in (4, 5):
        x, t = inputs(loss, loss.arguments[0], blocks * engine.BLOCK + n)
        agree(loss, x, t, loss.arguments[0], loss.tolerance, reduction="sum", incoming=torch.tensor(3.0))
        agree(loss, x, t, loss.arguments[0], loss.tolerance, reduction="none", incoming=torch.linspace(-1, 2, len(x)))


@pytest.mark.thorough
@pytest.mark.parametrize("loss", LOSSES.of("elementwise").values(), ids=lambda loss: loss.name)
def test_float64(loss):
    for settings in loss.arguments:
        x, t = inputs(loss, settings, 101, torch.float64)
        agree(loss, x, t, settings, 1e-13, incoming=torch.linspace(-1, 2, 101), reduction="none")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["focal_loss", "huber_loss"])
def test_half_precision(name, dtype):
    loss = LOSSES[name]
    x, t = inputs(loss, loss.arguments[0], 101, dtype)
    got = outcome("triton", loss, x, t, loss.arguments[0], reduction="sum")
    exact = outcome("torch", loss, x.double(), t.double(), loss.arguments[0], reduction="sum")
    torch.testing.assert_close(got[0].double(), exact[0], rtol=1e-6, atol=0)
    for g, e in zip(got[1:], exact[1:], strict=True):
        assert torch.equal(g, e.to(torch.float32).to(dtype)) or torch.allclose(g.double(), e, rtol=torch.finfo(dtype).eps, atol=6e-8)


def test_half_precision_gradients_do_not_underflow_under_loss_scaling():
    x = torch.full((4096,), 0.001, dtype=torch.float16, requires_grad=True)
    with losskit.use_engine("triton"):
        loss = losskit.mse_loss(x, torch.zeros_like(x))
    (loss * 2.0**16).backward()  # without the factor, 0.002 / 4096 is below float16's normal range
    torch.testing.assert_close(x.grad.float(), torch.full((4096,), 2 * float(x[0].detach()) / 4096 * 2**16), rtol=1e-3, atol=0)


def test_extreme_logits():
    x = torch.tensor([INF, 1e38, 1e30, 120.0, 103.5, 88.5, 0.0, -0.0]).repeat(2)
    x[8:] *= -1
    for name in ("binary_cross_entropy_with_logits", "focal_loss", "quality_focal_loss", "varifocal_loss"):
        for settings in LOSSES[name].arguments:
            if settings.get("from_logits", True):
                for label in (0.0, 1.0):
                    agree(LOSSES[name], x, torch.full((16,), label), settings, 1e-5, reduction="none")


def test_soft_targets():
    for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits", "focal_loss", "quality_focal_loss", "varifocal_loss"):
        for settings in LOSSES[name].arguments:
            x, t = inputs(LOSSES[name], settings, 101, soft=True)
            agree(LOSSES[name], x, t, settings, 1e-5, floor=1e-6, reduction="none")


WEIGHTS = {
    "mask": lambda: {"mask": torch.arange(60).reshape(3, 4, 5) % 3 > 0},
    "broadcast mask": lambda: {"mask": torch.tensor([True, False, True, True])[:, None]},
    "weight": lambda: {"sample_weight": torch.linspace(0, 2, 60).reshape(3, 4, 5)},
    "weight per row": lambda: {"sample_weight": torch.tensor([2.0, 0.0, 1.0])[:, None, None]},
    "both": lambda: {"mask": torch.arange(60).reshape(3, 4, 5) % 3 > 0, "sample_weight": torch.tensor([2.0, 0.0, 1.0])[:, None, None]},
    "nothing counts": lambda: {"mask": torch.zeros(3, 4, 5, dtype=torch.bool)},
    "normalizer": lambda: {"normalizer": torch.tensor(7.0)},
}


# a normalizer is for the mean
@pytest.mark.parametrize(("weights", "reduction"), [(w, r) for w in WEIGHTS for r in ("none", "mean", "sum") if "normalizer" not in w or r == "mean"])
def test_weights(weights, reduction):
    loss = LOSSES["binary_cross_entropy_with_logits"]
    x, t = (v.reshape(3, 4, 5) for v in inputs(loss, {}, 60))
    keywords = WEIGHTS[weights]()
    incoming = torch.linspace(-1, 2, 60).reshape(3, 4, 5) if reduction == "none" else torch.tensor(-0.5)
    agree(loss, x, t, {}, 1e-6, incoming=incoming, reduction=reduction, **keywords)
    if reduction != "mean":
        agree(loss, x, t, {}, 1e-6, incoming=incoming, reduction=reduction, weight=torch.tensor([[[1.0, 0.5, 2.0, 0.0, 3.0]]]), **keywords)


def test_field():
    loss = LOSSES["binary_cross_entropy_with_logits"]
    x, t = (v.reshape(3, 4, 5) for v in inputs(loss, {}, 60))
    for reduction in ("none", "sum"):
        agree(loss, x, t, {}, 1e-6, reduction=reduction, pos_weight=torch.linspace(0.5, 3, 5)[None, None])
        agree(loss, x, t, {}, 1e-6, reduction=reduction, pos_weight=torch.tensor(2.5))


def test_positives():
    loss = LOSSES["focal_loss"]
    x, t = inputs(loss, {}, 60)
    agree(loss, x, t, {}, 1e-5, normalizer="positives", mask=torch.arange(60) % 3 > 0)
    agree(loss, x, t, {}, 1e-5, normalizer="positives")
    agree(loss, x, torch.zeros(60), {}, 1e-5, normalizer="positives")


@pytest.mark.parametrize("bad", [INF, *thorough([NAN, -INF])])
def test_absent_items_add_nothing_whatever_they_are(bad):
    keep = torch.tensor([True, False, True, False])
    losses = list(LOSSES.of("elementwise").values())
    for loss in losses if math.isnan(bad) else losses[::6]:
        x, t = inputs(loss, {}, 4)
        x[1], t[3] = bad, bad
        own = loss.arguments[0] if loss.operands else {}
        for keywords in ({"mask": keep}, {"sample_weight": keep.float()}, {"mask": keep, "sample_weight": torch.full((4,), 2.0)}):
            value, grad_x, grad_t = outcome("triton", loss, x, t, own, reduction="none", **keywords)
            assert value[~keep].tolist() == grad_x[~keep].tolist() == grad_t[~keep].tolist() == [0, 0]
            value, grad_x, grad_t = outcome("triton", loss, x, t, own, **keywords)
            assert math.isfinite(value) and bool(grad_x.isfinite().all()) and bool(grad_t.isfinite().all())
            kept = outcome("triton", loss, x[keep], t[keep], own, **{k: v[keep] for k, v in keywords.items()})
            assert value == kept[0] and torch.equal(grad_x[keep], kept[1])


def test_nothing_left_to_count_is_zero():
    x = torch.tensor([NAN, INF, 1.0])
    for keywords in ({"mask": torch.zeros(3, dtype=torch.bool)}, {"normalizer": 0.0}, {"normalizer": torch.tensor(0.0)}):
        value, grad_x, grad_t = outcome("triton", LOSSES["mse_loss"], x, torch.zeros(3), {}, **keywords)
        assert value == 0 and grad_x.tolist() == grad_t.tolist() == [0, 0, 0]


def test_nan_shows_in_its_item_only():
    x = torch.tensor([NAN, 1.0, -2.0])
    for loss in LOSSES.of("elementwise").values():
        given = torch.tensor([NAN, 1.0, 0.25]) if loss.input == "probability" else x
        given, target = within(loss, given, torch.zeros(3))
        value, grad_x, _ = outcome("triton", loss, given, target, loss.arguments[0] if loss.operands else {}, reduction="none")
        assert value.isnan().tolist() == grad_x.isnan().tolist() == [True, False, False], loss.name


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16])
def test_integer_targets(dtype):
    loss = LOSSES["binary_cross_entropy_with_logits"]
    x, t = inputs(loss, {}, 50)
    agree(loss, x, t.to(dtype), {}, 1e-6, reduction="none")


def test_layouts():
    loss = LOSSES["focal_loss"]
    x, t = (v.reshape(2, 3, 4, 5) for v in inputs(loss, {}, 120))
    mask = torch.arange(120).reshape(2, 3, 4, 5) % 4 > 0
    last = torch.channels_last
    pairs = {
        "channels last": (x.to(memory_format=last), t.to(memory_format=last)),
        "mixed": (x.to(memory_format=last), t),
        "transposed": (x.transpose(1, 3), t.transpose(1, 3).contiguous()),
        "with gaps": (torch.stack((x, -x), -1)[..., 0], t),
        "expanded": (x[:, :1].expand(2, 3, 4, 5), t),
        "offset": (x.flatten()[7:61], t.flatten()[8:62]),
        "0-d": (x[0, 0, 0, 0], t[0, 0, 0, 0]),
    }
    for a, b in pairs.values():
        weights = {"mask": mask} if a.shape == mask.shape else {}
        agree(loss, a, b, {}, 1e-5, **weights)
        agree(loss, a, b, {}, 1e-5, reduction="none", incoming=torch.linspace(-1, 2, a.numel()).reshape(a.shape), **weights)
        with torch.no_grad(), losskit.use_engine("triton"):
            bare = losskit.focal_loss(a, b, **weights)
        with torch.no_grad(), losskit.use_engine("torch"):
            exact = losskit.focal_loss(a.double(), b.double(), **weights)
        torch.testing.assert_close(bare.double(), exact, rtol=1e-6, atol=0)


def test_gradients_have_the_layout_of_the_input():
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    _, grad_x, _ = outcome("triton", LOSSES["mse_loss"], x, torch.zeros(2, 3, 4, 5), {})
    assert grad_x.stride() == x.stride()


def test_empty():
    for reduction in ("none", "mean", "sum"):
        value, grad_x, _ = outcome("triton", LOSSES["mse_loss"], torch.empty(0, 3), torch.empty(0, 3), {}, reduction=reduction)
        assert value.sum() == 0 and grad_x.shape == (0, 3)


def test_second_backward_and_outer_arithmetic():
    x, t = inputs(LOSSES["mse_loss"], {}, 50)
    x.requires_grad_()
    with losskit.use_engine("triton"):
        loss = losskit.mse_loss(x, t)
        each = losskit.mse_loss(x, t, reduction="none")
    expected = 2 * (x.detach() - t) / 50
    for factor in (1.0, 3.0, 1.0, 0.0):
        (grad,) = torch.autograd.grad(loss * factor, x, retain_graph=True)
        torch.testing.assert_close(grad, expected * factor)
    (grad,) = torch.autograd.grad(each.mean(), x, retain_graph=True)  # one incoming gradient for all
    torch.testing.assert_close(grad, expected)
    (first,) = torch.autograd.grad(loss, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    torch.testing.assert_close(second, torch.full((50,), 2 / 50))


def test_only_what_is_wanted_is_written():
    call = Call(losskit.losses.regression.mse.formula)
    x = torch.randn(10)
    results = engine.run(call, (x, x.double()))
    assert results.total.dtype is torch.float32 and held(results) == {"total"}
    results = engine.run(call, (x, x.bfloat16()), wants=(False, True))
    assert held(results) == {"total", "gradient 1"} and results.gradients[1].dtype is torch.bfloat16


def test_same_bits_every_time():
    x, t = inputs(LOSSES["focal_loss"], {}, 5000)
    with losskit.use_engine("triton"):
        assert losskit.focal_loss(x, t).equal(losskit.focal_loss(x, t))


def test_sums_do_not_overflow():
    x = torch.full((100,), 3e38)
    with losskit.use_engine("triton"):
        assert losskit.l1_loss(x, torch.zeros(100)) == pytest.approx(3e38, rel=1e-6)


def test_forcing_and_explaining():
    x = torch.zeros(3)
    with losskit.use_engine("triton"):
        assert losskit.engine_for(losskit.mse_loss, x, x) == ("triton", "forced by use_engine")
        with pytest.raises(losskit.EngineError, match="meta"):
            losskit.mse_loss(x.to("meta"), x.to("meta"))
