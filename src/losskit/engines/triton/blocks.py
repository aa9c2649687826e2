"""Blocks of items and classes, for kernels that take one at a time."""

import triton
import triton.language as tl

from losskit.engines.triton.math import INF, exp_neg
from losskit.engines.triton.softmax import below, share


@triton.jit
def items(inner, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The items of this program: the sample they lie in, their places in it, which of them there are, their places among all."""
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(inner, ROWS)
    outer = program // tiles
    i = (program - outer * tiles) * ROWS + tl.arange(0, ROWS)
    return outer, i, i < inner, outer * inner + i


@triton.jit
def origins(outer, i, item, live, counts, classes, inner, PLANES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where the items' first classes lie, the step to the next, and which items to read.

    Rows that do not count are not read; in images they lie between others, and leaving them out would break up the loads.
    """
    if PLANES:
        first = outer * inner * classes + i
        step = inner
        wanted = live
    else:
        first = item * classes
        step = 1
        wanted = counts
    return first, step, wanted


@triton.jit
def block(X, first, wanted, j, step, classes, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """Classes j of the rows that are wanted, and where there are any."""
    present = wanted[:, None] & (j < classes)[None, :]
    return tl.load(X + (first[:, None] + (j * step)[None, :]), present, other=0).to(REAL), present


@triton.jit
def sums(s, j, y, temperature, SHARES, classes, REAL: tl.constexpr, FIRST: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a block of each row: the largest score, the label's score, the sum of the other classes' exponentials, the spread, the shares, the winner."""
    top = tl.max(s, 1)
    gap = below(s, top, temperature)
    at_label = j[None, :] == y[:, None]
    own = tl.sum(tl.where(at_label, s, 0.0), 1)
    rest = tl.sum(tl.where(at_label, 0.0, exp_neg(gap)), 1)
    spread = tl.zeros_like(rest)
    shared = tl.zeros((), REAL)
    if SHARES is not None:
        h = share(SHARES, j, classes, REAL)
        spread = tl.sum(tl.where(h[None, :] == 0.0, 0.0, h[None, :] * gap), 1)
        shared = tl.sum(h)
    winner = tl.zeros_like(y)
    if FIRST:
        winner = tl.min(tl.where(s == top[:, None], j[None, :], 0x7FFFFFFF), 1)
    return top, own, rest, spread, shared, winner
