"""Triton's interpreter as `interpreter.py` leaves it: what it still does, though less often."""

import pytest
import torch
from on_triton import DEVICE, tl, triton

pytestmark = pytest.mark.skipif(DEVICE != "cpu", reason="GPU")


@triton.jit
def spread_kernel(X, NUMBER, OUT, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.arange(0, ROWS)[:, None] * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(X + at)
    number = tl.load(NUMBER)
    tl.store(OUT + at, tl.where(x > number, x * 2.0 + number, tl.sum(x, 1)[:, None]) + tl.full((ROWS, BLOCK), 1.5, tl.float32))


def test_a_number_stands_for_all():
    """Of one, of a column, and of all."""
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    out = torch.empty_like(x)
    spread_kernel[(1,)](x, torch.tensor([0.25]), out, 4, 8)
    expected = torch.where(x > 0.25, x * 2.0 + 0.25, x.sum(1, keepdim=True)) + 1.5
    torch.testing.assert_close(out, expected)


def test_shapes_that_do_not_fit_are_refused():
    @triton.jit
    def crossed_kernel(X):
        tl.store(X + tl.arange(0, 4), tl.arange(0, 4) + tl.arange(0, 8))

    with pytest.raises(Exception, match="incompatible dimensions"):
        crossed_kernel[(1,)](torch.zeros(8, dtype=torch.int32))
