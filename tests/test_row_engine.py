"""What the fused engine for rows does besides the mathematics: what it stores, gives along, takes in place, and how far it can count."""

import math

import pytest
import torch
from cases import thorough
from processes import require_stored

import losskit

SECOND_PROCESS = """
import sys, torch, losskit
x = torch.randn(8, 5, requires_grad=True)
losskit.cross_entropy(x, torch.arange(8) % 5).backward()
losskit.cross_entropy(torch.randn(2, 40), torch.tensor([0, 1]))
losskit.cross_entropy(torch.randn(2, 5, 20), torch.zeros(2, 20, dtype=torch.long))
print("numba" in sys.modules)
"""


@pytest.mark.thorough
def test_every_loop_is_stored():
    """Tiles of rows, tiles of planes and long rows: what one process compiles, where no test before it has, the next one loads."""
    require_stored(SECOND_PROCESS)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("shape", [(50, 7), (20, 90), (3, 6, 11), (2, 5000)])
def test_by_products(engine, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).round(decimals=1)  # ties
    t = torch.randint(0, 6, (shape[0], *shape[2:]), generator=torch.Generator().manual_seed(1))
    t.view(-1)[1] = -100
    for wants in (True, False):
        with losskit.use_engine(engine):
            loss, parts = losskit.cross_entropy(x.requires_grad_(wants), t, return_parts=True)
        kept = t != -100
        assert parts.items == kept.sum() and not any(part.requires_grad for part in parts)
        torch.testing.assert_close(parts.losses[kept].mean(), loss.detach())
        torch.testing.assert_close(parts.lse[kept], x.detach().logsumexp(1)[kept])
        assert parts.accuracy == (x.argmax(1) == t)[kept].float().mean()
        assert parts.losses.view(-1)[1] == 0 and parts.lse.view(-1)[1] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, *thorough([torch.float32])])
@pytest.mark.parametrize("shape", [(2, 6, 8), (12, 8)])
def test_inplace_gives_the_same_gradients(dtype, shape):
    layer = torch.nn.Linear(8, 50).to(dtype)
    h, t = torch.randn(shape).to(dtype), torch.randint(0, 50, shape[:-1])
    found = []
    for inplace in (False, True):
        logits = layer(h)
        memory = logits.data_ptr()
        loss = losskit.cross_entropy(logits, t, dim=-1, inplace=inplace, label_smoothing=0.1)
        layer.zero_grad()
        loss.backward()
        found.append((loss.item(), layer.weight.grad.clone()))
        assert logits.data_ptr() == memory
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])


def test_inplace_is_refused_where_it_would_hurt():
    x, t = torch.randn(4, 5, requires_grad=True), torch.tensor([0, 1, 2, 3])
    with pytest.raises(ValueError, match="overwrite a leaf"):
        losskit.cross_entropy(x, t, inplace=True)
    with pytest.raises(ValueError, match='needs reduction="mean" or "sum"'):
        losskit.cross_entropy(x * 1, t, inplace=True, reduction="none")
    with pytest.raises(ValueError, match="needs class labels"):
        losskit.cross_entropy(x * 1, torch.full((4, 5), 0.2), inplace=True)
    with pytest.raises(ValueError, match="compute the logits in bfloat16"):
        losskit.cross_entropy(x.half() * 1, t, inplace=True)
    wide = torch.randn(4, 50, dtype=torch.bfloat16, requires_grad=True)
    losskit.cross_entropy(wide * 1, t, inplace=True, label_smoothing=0.1).backward()  # the advice, in the loop of the test above


def test_a_scaled_loss_leaves_no_gradient_at_0():
    """Of 32,768 classes most gradients are below float16's smallest number before loss scaling, and above it afterwards."""
    logits = torch.randn(64, 32_768)
    t = torch.randint(0, 32_768, (64,))
    for dtype, inplace in ((torch.float16, False), (torch.bfloat16, True), (torch.bfloat16, False)):
        x = logits.to(dtype).requires_grad_()
        (losskit.cross_entropy(x * 1, t, inplace=inplace) * 2.0**16).backward()
        assert (x.grad == 0).float().mean() < 1e-3
    with pytest.raises(ValueError, match="contiguous"):
        losskit.cross_entropy(torch.randn(6, 5, 4, requires_grad=True).permute(2, 1, 0), torch.zeros(4, 6, dtype=torch.long), inplace=True)
    y = (x * 1).tanh()  # whose backward needs its own output
    loss = losskit.cross_entropy(y, t, inplace=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    z = x * 1
    loss = losskit.cross_entropy(z, t, inplace=True)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward"):
        loss.backward()


@pytest.mark.thorough
@pytest.mark.parametrize("shape", [((1 << 24) + 3, 128), (1, 128, (1 << 24) + 3)], ids=["rows", "planes"])
def test_past_32_bit_offsets(shape):
    """More than 2**31 numbers: pages never written to take no memory, so 4 GB of zeros fit anywhere. All items but the last are ignored, which is quick."""
    x = torch.zeros(shape, dtype=torch.bfloat16)
    t = torch.zeros((shape[0], *shape[2:]), dtype=torch.uint8)
    x.view(-1)[-1] = -3.0
    t.view(-1)[-1] = 127
    items = t.numel()
    loss = losskit.cross_entropy(x, t, ignore_index=0)
    expected = math.log(127 + math.exp(-3.0)) + 3.0
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    t.view(-1)[-1] = 200
    with pytest.raises(ValueError, match=rf"got 200 at index \((0, )?{items - 1},?\)"):
        losskit.cross_entropy(x, t, ignore_index=0)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_a_uint8_label_is_not_taken_for_a_negative_ignore_index(engine):
    """-100 as uint8 is 156."""
    x, t = torch.randn(3, 200), torch.tensor([156, 5, 199], dtype=torch.uint8)
    with losskit.use_engine(engine):
        torch.testing.assert_close(losskit.cross_entropy(x, t), torch.nn.functional.cross_entropy(x, t.long()))


def test_nor_is_it_where_other_losses_read_it():
    """Of probabilities, and smoothed: what a label of uint8 is compared with is decided in front of the engines."""
    x, t = torch.randn(3, 200), torch.tensor([156, 5, 199], dtype=torch.uint8)
    p = x.softmax(1)
    with losskit.use_engine("torch"):
        torch.testing.assert_close(losskit.cross_entropy(p, t, from_logits=False), torch.nn.functional.cross_entropy(x, t.long()))
        smooth = losskit.focal_loss(x, t, task="multiclass", gamma=0.0, label_smoothing=0.1)
    torch.testing.assert_close(smooth, torch.nn.functional.cross_entropy(x, t.long(), label_smoothing=0.1))


@pytest.mark.parametrize("shape", [(2, 8, 270_016), (440_000, 10)], ids=["planes", "rows"])
def test_a_gradient_written_past_the_caches_is_the_same(shape):
    """Large ones are: compared with those of the halves, which are small."""
    from losskit.engines.cpu.rows import PAST_CACHES

    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    t = torch.randint(0, 8, (shape[0], *shape[2:]), generator=torch.Generator().manual_seed(1))
    t.view(-1)[::7] = -100
    assert x.nbytes >= PAST_CACHES > x.nbytes // 2

    def gradient(x, t):
        x = x.clone().requires_grad_()
        return torch.autograd.grad(losskit.cross_entropy(x, t, reduction="sum"), x)[0]

    parts = [gradient(a, b) for a, b in zip(x.chunk(2), t.chunk(2), strict=True)]
    assert torch.equal(gradient(x, t), torch.cat(parts))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_rows_that_keep_their_exponentials(smoothing):
    """Float32 rows beyond a block, whose maximum moves on and whose first block may be ruled out, against float64 and torch."""
    x = torch.randn(4, 9000, generator=torch.Generator().manual_seed(0)).cumsum(1) / 30
    x[1] = x[1].flip(0)
    x[2, :4500] = -torch.inf if not smoothing else -50.0
    t = torch.tensor([8999, 3, 7000, 5000])
    x = x.double()
    found = []
    for dtype, engine in ((torch.float32, "cpu"), (torch.float64, "torch")):
        y = x.to(dtype).requires_grad_()
        with losskit.use_engine(engine):
            loss, parts = losskit.cross_entropy(y, t, label_smoothing=smoothing, reduction="sum", return_parts=True)
        found.append((parts.losses, parts.lse, torch.autograd.grad(loss, y)[0]))
        assert parts.accuracy == (y.argmax(1) == t).float().mean()
    reference = torch.nn.functional.cross_entropy(x, t, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(found[1][0], reference)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=4e-6, atol=4e-6 * smoothing / 9000 + 1e-30)  # p - share cancels
