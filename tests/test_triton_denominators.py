"""What "mean" divides by on a GPU, against PyTorch operations; where it runs, as `on_triton.py` says."""

import math

import pytest
import torch
from cases import thorough
from on_triton import DEVICE, surroundings  # noqa: F401

import losskit
from losskit.engines.call import Rows
from losskit.engines.language import identity
from losskit.engines.triton import denominators as engine
from losskit.engines.triton import elementwise

CLASSES = 5
FACTORS = {
    "all": lambda t: None,
    "masked": lambda t: (t.long() % 3 != 1).flip(0),
    "weighted": lambda t: (t.long() % 4).float().flip(0) / 4.0,
}


def drawn(shape, dtype=torch.int64):
    labels = torch.randint(0, CLASSES, shape, generator=torch.Generator(DEVICE).manual_seed(0))
    return labels.to(dtype)


def found(t, items=True, dtype=torch.float32, **call):
    """Scale and number of the items."""
    return engine.census(Rows(identity, **call), torch.empty(0, CLASSES, dtype=dtype), t, items)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, *thorough([torch.int32, torch.int8])], ids=str)
@pytest.mark.parametrize("name", FACTORS)
def test_counts_as_pytorch_does(name, dtype):
    """In one program, and in several; a label beyond the classes has the weight of the nearest."""
    weight = torch.linspace(0.0, 2.0, CLASSES)
    for shape, ignore in (((0,), -100), ((7, 11), 2), ((engine.EACH + 7,), -100), ((2 * engine.EACH + 1,), 3)):
        t = drawn(shape, dtype)
        if t.numel():
            t.view(-1)[-1] = 100
        factor = FACTORS[name](t)
        counts = t != ignore if ignore >= 0 else torch.ones_like(t, dtype=torch.bool)
        each = torch.ones(shape, dtype=torch.float64) if factor is None else factor.double()
        counts = counts & (each != 0)
        for own in (None, weight):
            total = torch.where(counts, each if own is None else each * own[t.long().clamp(0, CLASSES - 1)].double(), 0.0).sum()
            scale, items = found(t, ignore=ignore, factor=factor, weight=own)
            assert scale.dtype is torch.float32 and items.dtype is torch.int64 and items.item() == counts.sum().item()
            assert scale.item() == pytest.approx(1.0 / total.item() if total else 0.0, rel=1.2e-7)
    again = found(t, False, ignore=ignore, factor=factor, weight=weight)
    assert again.items is None and again.scale.equal(scale)


def test_a_sum_that_is_no_number():
    t = drawn((9,))
    for factor, scale in ((torch.full((9,), 3e38, dtype=torch.float64), math.nan), (torch.full((9,), math.nan), math.nan), (torch.zeros(9), 0.0)):
        got = found(t, factor=10.0 * factor if scale else factor).scale
        assert got.isnan() if scale else got.equal(torch.zeros(()))
    assert found(t, factor=torch.full((9,), 1e300, dtype=torch.float64), dtype=torch.float64).scale.item() == pytest.approx(1e-300 / 9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
def test_one_over_a_number(dtype):
    for number in (3, 0, -7):
        got = elementwise.scale_of(torch.tensor(number, dtype=dtype), torch.float32)
        assert got.item() == pytest.approx(1 / number if number else 0.0, rel=1.2e-7) and got.dtype is torch.float32
    assert dtype is torch.int64 or elementwise.scale_of(torch.tensor(math.inf, dtype=dtype), torch.float32).isnan()


@pytest.mark.parametrize("name", FACTORS)
def test_a_mean_and_its_parts(name):
    """Value, gradient and by-products of a call, beside those in PyTorch operations."""
    t = drawn((6, 3))
    t[0, 0] = -100
    factor = FACTORS[name](t)
    how = {} if factor is None else {"mask": factor} if factor.dtype is torch.bool else {"sample_weight": factor}
    results = []
    for forced, dtype in (("triton", torch.float32), ("torch", torch.float64)):
        x = torch.linspace(-3, 3, 6 * CLASSES * 3, dtype=dtype).sin().reshape(6, CLASSES, 3).requires_grad_()
        with losskit.use_engine(forced):
            value, parts = losskit.cross_entropy(x, t, weight=torch.linspace(0.5, 2.0, CLASSES, dtype=dtype), return_parts=True, **how)
        (gradient,) = torch.autograd.grad(value, x, torch.full((), 1.7, dtype=dtype))
        results.append((value.double(), gradient.double(), parts.items, parts.accuracy.double()))
    for got, should in zip(*results, strict=True):
        torch.testing.assert_close(got, should, rtol=2e-6, atol=1e-7)
