"""Weights of items that require a gradient: each loss that takes `sample_weight` gives it one, in its fused passes, also through the denominator of "mean"."""

import pytest
import torch
from cases import SUBJECTS, named

import losskit
from losskit.testing import inputs

# `weighted` makes a formula times its weight of any elementwise formula, a loop of its own; of rows and boxes PyTorch operations weigh what the pass gives
COMPILED = ("smooth_l1_loss", "binary_cross_entropy_with_logits", "gaussian_nll_loss", "cross_entropy", "kl_divergence", "focal_loss", "giou_loss")
WEIGHABLE = [s for s in SUBJECTS if s.offers("sample_weight") and s.loss.pattern in ("elementwise", "rows", "boxes")]  # others are PyTorch operations


def drawn(s, dtype):
    """A batch (of an entropy, the input alone) and the shape of its items."""
    batch = s.with_dtype(dtype).batch(seed=3)
    batch = batch[:1] if s.loss.target == "none" else batch
    with losskit.use_engine("torch"):
        return batch, s.function(*batch, reduction="none", **inputs.as_arguments(s.settings)).shape


def weights(items, dtype, shape=None):
    """Weights of the items, or of one shape that broadcasts to theirs; a mask that leaves some out."""
    weight = torch.rand(items if shape is None else shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).clamp(min=0.1)
    return weight.to(dtype).requires_grad_(), torch.arange(items.numel()).reshape(items) % 4 != 1


@pytest.mark.sparse(3)
@pytest.mark.parametrize("s", WEIGHABLE, ids=named)
def test_gradient_to_sample_weight(s):
    """By finite differences, in PyTorch operations: each loss through the denominator of its mean, a few in all ways."""
    (x, *t), items = drawn(s, torch.float64)
    few = s.loss.name in COMPILED
    with losskit.use_engine("torch"):
        for reduction in ("none", "sum", "mean") if few else ("mean",):
            settings = inputs.as_arguments(s.settings) | {"reduction": reduction}
            for shape in (items, (), (1,) * (len(items) - 1) + items[-1:])[: 3 if few else 1]:
                weight, mask = weights(items, torch.float64, shape)

                def function(w, mask=mask, settings=settings):
                    return s.function(x, *t, sample_weight=w, mask=mask, **settings)

                assert torch.autograd.gradcheck(function, weight)
                if few and reduction == "mean" and shape == items:  # in which the denominator has second derivatives
                    assert torch.autograd.gradgradcheck(function, weight)


@pytest.mark.sparse(3)
@pytest.mark.parametrize("s", WEIGHABLE, ids=named)
def test_the_fused_passes_give_the_same(s):
    """Of a few losses on the engine that would be chosen, of all on that of PyTorch operations."""
    settings = inputs.as_arguments(s.settings)
    found, engines = [], []
    for dtype, engine in ((torch.float64, "torch"), (torch.float32, None if s.loss.name in COMPILED else "torch")):
        (x, *t), items = drawn(s, dtype)
        weight, mask = weights(items, dtype)
        x.requires_grad_()
        engines += [losskit.engine_for(s.function, x, *t, sample_weight=w, mask=mask, **settings).engine for w in (weight, weight.detach())]
        with losskit.use_engine("torch") if engine else torch.enable_grad():
            value = s.function(x, *t, sample_weight=weight, mask=mask, **settings)
            found.append((value, *torch.autograd.grad(value * 1.5, (x, weight))))
    assert len(set(engines)) == 1  # a gradient to the weights is no reason for another engine
    for wide, got in zip(*found, strict=True):
        assert got.dtype is torch.float32
        torch.testing.assert_close(got.double(), wide, rtol=1e-4, atol=1e-5 * max(1.0, float(wide.detach().abs().max())))
    by_weight = found[1][2]
    assert by_weight[~mask].eq(0).all() and by_weight[mask].ne(0).any()
