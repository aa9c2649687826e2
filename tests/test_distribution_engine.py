"""What the fused engine for rows with distributions does besides the mathematics: sizes around tiles and blocks, absent items, layouts, checks, how far it counts."""

import math

import numpy as np
import pytest
import torch
from cases import thorough
from processes import require_stored

import losskit
from losskit.engines.cpu import distributions as fused
from losskit.engines.cpu.rows import layout

SECOND_PROCESS = """
import sys, torch, losskit
for shape in ((8, 5), (2, 40), (2, 5, 20)):
    x = torch.randn(shape, requires_grad=True)
    losskit.kl_divergence(x, torch.randn(shape).softmax(1)).backward()
    if len(shape) == 3:
        continue
    losskit.focal_loss(x, torch.zeros(shape[:1] + shape[2:], dtype=torch.long), task="multiclass", label_smoothing=0.1)
    losskit.distribution_focal_loss(x, torch.rand(shape[:1] + shape[2:])).backward()
    losskit.entropy(x)
print("numba" in sys.modules)
"""
LOSSES = {
    "kl_divergence": (losskit.kl_divergence, {}),
    "kl_divergence, temperature": (losskit.kl_divergence, {"temperature": 2.0}),
    "js_divergence": (losskit.js_divergence, {}),
    "entropy": (lambda x, t, **options: losskit.entropy(x, **options), {}),
    "cross_entropy": (losskit.cross_entropy, {"z_loss": 0.01, "label_smoothing": 0.1}),
    "focal_loss": (lambda x, t, **options: losskit.focal_loss(x, t.argmax(1), task="multiclass", label_smoothing=0.1, **options), {}),
    "distribution_focal_loss": (lambda x, t, **options: losskit.distribution_focal_loss(x, mean_of(t), **options), {}),
}
# each kind of target and each way to walk is a loop of some seconds to compile; what else differs between losses, the formula, is examined by the laws
KINDS = ("kl_divergence", "entropy", "focal_loss", "distribution_focal_loss")


def mean_of(t):
    """A position of each distribution."""
    return t.detach().movedim(1, -1) @ torch.arange(t.shape[1], dtype=t.dtype)


def batch(shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw) * 4, (torch.randn(shape, generator=draw) * 2).softmax(1)


def passes(loss, x, t, options, incoming=None, engines=("cpu", "torch")):
    """Losses and gradients in both engines."""
    found = []
    for engine in engines:
        a, b = x.clone().requires_grad_(), t.clone().requires_grad_()
        with losskit.use_engine(engine):
            value = loss(a, b, reduction="none", **options)
        grads = torch.autograd.grad(value, (a, b), torch.ones_like(value) if incoming is None else incoming, allow_unused=True)
        found.append((value.detach(), *(g for g in grads if g is not None)))
    return found


@pytest.mark.thorough
def test_every_loop_is_stored():
    """Tiles of rows and of planes, and rows, with a distribution, and but for the planes with a label, a position and nothing for a target: what one process compiles, where no test before it has, the next one loads."""
    require_stored(SECOND_PROCESS)


def test_engine_for():
    x, t = batch((4, 5))
    for loss, options in ((losskit.kl_divergence, {}), (losskit.js_divergence, {}), (losskit.cross_entropy, {})):
        assert losskit.engine_for(loss, x, t, **options).engine == "cpu"
    assert losskit.engine_for(losskit.entropy, x).engine == "cpu"
    assert losskit.engine_for(losskit.distribution_focal_loss, x, mean_of(t)).engine == "cpu"
    assert losskit.engine_for(losskit.focal_loss, x, t.argmax(1), task="multiclass", label_smoothing=0.1).engine == "cpu"
    assert losskit.engine_for(losskit.kl_divergence, x, t, sample_weight=torch.ones(4, requires_grad=True)).engine == "cpu"


# tiles of rows have fewer than 32 classes, images up to 256; a row alone is taken in blocks of 2,048 classes; a task has some 65,536 scores
SIZES = [(2, (5,)), (2, (2, 3)), (2, (513,)), (3, (40_003,)), (31, (2_200,)), (32, (17,)), (100, (1_311,)), (2_048, (3,)), (2_049, (2,)), (5_000, (9,))]
SIZES += [(3, (2, 515)), (5, (3, 7, 11)), (19, (2, 1, 433)), (256, (2, 33)), (257, (2, 33))]


@pytest.mark.sparse(15)
@pytest.mark.sparse(2)
@pytest.mark.parametrize(("classes", "items"), SIZES)
@pytest.mark.parametrize("name", ["kl_divergence", *thorough(["cross_entropy", "distribution_focal_loss"])])
def test_sizes_around_tiles_and_blocks(name, classes, items):
    loss, options = LOSSES[name]
    x, t = batch((items[0], classes, *items[1:]), classes)
    incoming = torch.rand(items, generator=torch.Generator().manual_seed(1)) - 0.3
    (value, *grads), (expected, *exact) = passes(loss, x, t, options, incoming)
    assert (value - expected).abs().max() <= 4e-6 * expected.abs().max()
    for grad, reference in zip(grads, exact, strict=True):
        assert (grad - reference).abs().max() <= 4e-6 * reference.abs().max()
    assert losskit.cross_entropy(x, t).item() == pytest.approx(torch.nn.functional.cross_entropy(x.double(), t.double()).item(), rel=4e-6)


@pytest.mark.sparse(2)
@pytest.mark.parametrize("shape", [(6, 5), (6, 40), (6, 3000), (2, 5, 3)])
@pytest.mark.parametrize("name", ["kl_divergence", *thorough(list(LOSSES)[1:])])
def test_absent_items_get_exact_zeros(name, shape):
    """Whatever lies there; input and target. Absent by a weight of 0, and of one loss by a mask, which another loop reads."""
    loss, options = LOSSES[name]
    engines = ("cpu", "torch") if name == "kl_divergence" or (name in KINDS and len(shape) == 2) or shape == (6, 5) else ("torch",)
    x, t = batch(shape)
    spoilt, bad = x.movedim(1, -1).clone(), t.movedim(1, -1).clone()
    keep = torch.rand(spoilt.shape[:-1], generator=torch.Generator().manual_seed(2)) < 0.5
    spoilt[~keep] = torch.tensor([math.nan, math.inf, -math.inf] * shape[1])[: shape[1]]
    bad[~keep] = torch.tensor([math.inf, math.nan, -7.0] * shape[1])[: shape[1]]
    absent = {"mask": keep} if name == "kl_divergence" else {"sample_weight": keep.float()}
    got = passes(loss, spoilt.movedim(-1, 1), bad.movedim(-1, 1), options | absent, engines=engines)
    (whole,) = passes(loss, x, t, options, engines=("torch",))
    for engine in got:
        for found, expected in zip(engine, whole, strict=True):
            if found.dim() == x.dim():
                found, expected = found.movedim(1, -1), expected.movedim(1, -1)
            assert not bool(found[~keep].any())
            torch.testing.assert_close(found[keep], expected[keep], rtol=1e-5, atol=4e-6 * float(expected.abs().max()))


@pytest.mark.sparse(6)
@pytest.mark.sparse(2)
@pytest.mark.parametrize("name", LOSSES)
def test_rows_of_minus_infinity(name):
    """A row without any score is NaN, alone; a block of 2,048 classes without any is not."""
    loss, options = LOSSES[name]
    for shape in ((4, 5), (4, 40)):
        x, t = batch(shape)
        x[1] = -math.inf
        with losskit.use_engine("cpu" if name in KINDS or shape == (4, 5) else "torch"):
            assert loss(x, t, reduction="none", **options).isnan().tolist() == [False, True, False, False]
    if name in ("kl_divergence", "entropy"):
        x, t = batch((2, 3000))
        x[:, :2500], t[:, :2500] = -math.inf, 0.0
        t /= t.sum(1, keepdim=True)
        (value, *grads), (expected, *exact) = passes(loss, x, t, options)
        torch.testing.assert_close(value, expected, rtol=4e-6, atol=0)
        torch.testing.assert_close(grads[0], exact[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("target", [torch.float64, *thorough([torch.bfloat16, torch.float16])])
def test_target_of_another_dtype(target):
    """Read as it is stored; its gradient has its dtype. In tiles, or in rows: the loop reads a dtype in one place."""
    x, t = batch((3, 40) if target is torch.bfloat16 else (40, 5))
    (value, *grads), (expected, *exact) = passes(losskit.kl_divergence, x, t.to(target), {})
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    assert grads[1].dtype is target
    for got, reference in zip(grads, exact, strict=True):
        torch.testing.assert_close(got, reference, rtol=max(1e-5, 2 * torch.finfo(got.dtype).eps), atol=1e-6)


def test_nothing_is_copied():
    """Images are read as they lie, channels first or last; of tensors that lie differently the target is turned."""
    x, t = batch((2, 5, 6, 7))
    for p, q in ((x, t), (x.contiguous(memory_format=torch.channels_last), t.contiguous(memory_format=torch.channels_last))):
        where = layout(p, 1)
        assert where is not None and fused.like(q, where.planes, 1).data_ptr() == q.data_ptr()
        a = p.detach().requires_grad_()
        losskit.kl_divergence(a, q).backward()
        assert a.grad is not None and a.grad.stride() == p.stride()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(70_000, 3), (600, 200), (2, 3, 50, 11)])
def test_a_single_bad_item_is_found(dtype, shape):
    """By a look at the targets before any engine's pass."""
    x, t = batch(shape)
    t = (t if dtype is not torch.bfloat16 else torch.eye(shape[1])[t.argmax(1)].movedim(-1, 1)).to(dtype)
    rows = t.movedim(1, -1)
    last = tuple(n - 1 for n in rows.shape[:-1])
    for bad, message in ((1.5, "holds 1.5, outside"), (-0.25, "holds -0.25, outside"), (0.0, "sums to"), (math.inf, "holds inf, outside")):
        u = rows.clone()
        u[last] = 0.0
        u[(*last, 1)] = bad
        mask = torch.ones(rows.shape[:-1], dtype=torch.bool)
        mask[last] = False
        with losskit.use_engine("torch"):
            with pytest.raises(ValueError, match=message):
                losskit.kl_divergence(x, u.movedim(-1, 1))
            assert losskit.kl_divergence(x, u.movedim(-1, 1), mask=mask).isfinite()
    u = rows.clone()
    u[(*last, 0)] = math.nan  # a NaN is no wrong distribution: it stays in its item
    with losskit.use_engine("torch"):
        each = losskit.kl_divergence(x, u.movedim(-1, 1), reduction="none")
    assert each[last].isnan() and each.isnan().sum() == 1


@pytest.mark.thorough
@pytest.mark.parametrize("shape", [((1 << 24) + 3, 128), (1, 128, (1 << 24) + 3)], ids=["rows", "planes"])
def test_past_32_bit_offsets(shape):
    """More than 2**31 numbers: pages never written to take no memory. Scores and target are one tensor, all of whose items but the last are absent."""
    x = torch.from_numpy(np.zeros(shape, np.int16)).view(torch.bfloat16)
    last = (-1, slice(None)) if len(shape) == 2 else (0, slice(None), -1)
    x[last] = torch.eye(shape[1])[-1]
    mask = torch.zeros(shape[:1] + shape[2:], dtype=torch.bool)
    mask.view(-1)[-1] = True
    assert losskit.cross_entropy(x, x, mask=mask).item() == pytest.approx(x[last].float().logsumexp(0).item() - 1, rel=1e-6)
    x[last] = 0.3  # now it is no distribution, as the look before the loss has seen that it was
    assert fused.suspicious(x, 1, mask, 1e-2, False)
