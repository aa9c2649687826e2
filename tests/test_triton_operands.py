"""Losses with several operands on Triton, under its interpreter: each gradient is that of the PyTorch operations, whatever an operand's shape."""

import pytest
import torch

pytest.importorskip("triton", reason="Triton")

import losskit

SHAPES = ((60, 4), (4,), (60, 1), ())


def both(function, x, *leaves):
    """Value and gradients by both engines, with an incoming gradient that differs by item."""
    found = []
    for engine in ("triton", "torch"):
        with losskit.use_engine(engine):
            given = [y.clone().requires_grad_() for y in (x, *leaves)]
            value = function(*given)
            incoming = torch.linspace(1, 2, value.numel()).reshape(value.shape)
            found.append((value, *torch.autograd.grad(value, given, incoming)))
    return zip(*found, strict=True)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weights_with_a_gradient(shape, reduction):
    torch.manual_seed(0)
    x, t, mask = torch.randn(60, 4), (torch.rand(60, 4) > 0.5).float(), torch.rand(60, 4) > 0.3

    def loss(x, of_items, of_classes):
        return losskit.binary_cross_entropy_with_logits(x, t, weight=of_classes, sample_weight=of_items, mask=mask, reduction=reduction)

    for got, expected in both(loss, x, torch.rand(shape), torch.rand(4)):
        torch.testing.assert_close(got, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parameters_with_a_gradient(shape, reduction):
    torch.manual_seed(0)
    x, t = torch.randn(60, 4), torch.randn(60, 4)
    for got, expected in both(lambda x, delta: losskit.huber_loss(x, t, delta=delta, reduction=reduction), x, torch.rand(shape) + 0.5):
        torch.testing.assert_close(got, expected, rtol=2e-5, atol=1e-6)


def test_half_precision_is_rounded_once():
    """The sum over 60 items of a gradient in bfloat16, under a loss scale: as wide numbers, then one rounding."""
    torch.manual_seed(0)
    x, t = torch.randn(60, 4).bfloat16(), torch.randn(60, 4).bfloat16()
    narrow = (torch.rand(4) + 0.5).bfloat16()
    with losskit.use_engine("triton"):
        delta, wide = narrow.clone().requires_grad_(), narrow.float().requires_grad_()
        (got,) = torch.autograd.grad(losskit.huber_loss(x, t, delta=delta) * 1e-3, delta)
        (expected,) = torch.autograd.grad(losskit.huber_loss(x, t, delta=wide) * 1e-3, wide)
    assert got.dtype is torch.bfloat16 and torch.equal(got, expected.bfloat16())
