"""The boxes pattern on all pairs, on a GPU: the matrix, written once; its gradients, from the boxes and what comes in; the best of each row, without the matrix.

Floor: the bytes of the matrix. A program takes a tile, or walks along a stretch of the other side for a few boxes of its own. Sums are of fixed stretches, added in
order: no atomics, the same bits from run to run.
"""

from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Boxes, Results, real_dtype
from losskit.engines.torch.boxes import back
from losskit.engines.triton.boxes import low_and_high, read
from losskit.engines.triton.elementwise import OPTIONS, REAL, at_home, bound
from losskit.engines.triton.math import INF

EACH = 2  # pairs of a tile per thread. Not yet measured on a GPU
TILE = EACH * 32 * OPTIONS["num_warps"]
PROGRAMS = 1 << 10  # a walk is cut into stretches until there are about so many; fewer leave a GPU idle


@triton.jit
def corners_at(BOXES, i, live, REAL: tl.constexpr, FORM: tl.constexpr):  # type: ignore[no-untyped-def]
    """The corners of boxes at any places."""
    at = BOXES + 4 * i.to(tl.int64)
    x0, x1 = low_and_high(read(at, 0, live).to(REAL), read(at, 2, live).to(REAL), FORM)
    y0, y1 = low_and_high(read(at, 1, live).to(REAL), read(at, 3, live).to(REAL), FORM)
    return x0, y0, x1, y1


@triton.jit(do_not_specialize=["n", "m", "down"])
def matrix(  # type: ignore[no-untyped-def]  # typed by Triton
    A, B, OUT, n: tl.int32, m: tl.int32, down: tl.int32,
    FORMULA: tl.constexpr, FORM: tl.constexpr, REAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """What the formula gives for a few boxes of a with every so-manieth tile of b."""
    sample = tl.program_id(0) // down
    A += sample.to(tl.int64) * n * 4
    B += sample.to(tl.int64) * m * 4
    i = (tl.program_id(0) % down) * ROWS + tl.arange(0, ROWS)[:, None]
    a = corners_at(A, i, i < n, REAL, FORM)
    to = OUT + (sample.to(tl.int64) * n + i) * m
    for first in range(tl.program_id(1) * COLUMNS, m, tl.num_programs(1) * COLUMNS):
        j = first + tl.arange(0, COLUMNS)[None, :]
        found = FORMULA(*a, *corners_at(B, j, j < m, REAL, FORM))
        tl.store(to + j, tl.broadcast_to(found[0], (ROWS, COLUMNS)), (i < n) & (j < m))


@triton.jit
def by_lane(found, w, FIRST: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, EACH: tl.constexpr):  # type: ignore[no-untyped-def]
    """A derivative times what came in, the pairs of one thread added up, which lie along the side that is walked along."""
    product = tl.where(w == 0.0, 0.0, found * w)
    if FIRST:
        LANES: tl.constexpr = min(COLUMNS, 32)
        part = tl.sum(tl.reshape(product, (ROWS, COLUMNS // LANES, LANES)), 1)
    else:
        part = tl.sum(tl.reshape(product, (EACH, ROWS // EACH, COLUMNS)), 0)
    return part.to(tl.float64)


@triton.jit(do_not_specialize=["n", "m", "sample_step", "row_step", "column_step", "blocks", "stretches", "stretch"])
def gradients(  # type: ignore[no-untyped-def]
    A, B, INCOMING, OUT, n: tl.int32, m: tl.int32, sample_step: tl.int64, row_step: tl.int64, column_step: tl.int64,
    blocks: tl.int32, stretches: tl.int32, stretch: tl.int32,
    FORMULA: tl.constexpr, FIRST: tl.constexpr, FORM: tl.constexpr, REAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, EACH: tl.constexpr,
):  # fmt: skip
    """The gradient by the corners of a few boxes of one side, a if FIRST, else b, over a stretch of the other; where nothing came in nothing is computed."""
    part, block = tl.program_id(0) // blocks, tl.program_id(0) % blocks  # part: (sample, stretch)
    sample, start = (part // stretches).to(tl.int64), (part % stretches) * stretch
    A += sample * n * 4
    B += sample * m * 4
    INCOMING += sample * sample_step
    i, j = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    if FIRST:
        own, end = block * ROWS + tl.arange(0, ROWS), tl.minimum(start + stretch, m)
        i += block * ROWS
        mine = corners_at(A, i, i < n, REAL, FORM)
        g = tl.zeros((ROWS, min(COLUMNS, 32)), tl.float64)
    else:
        own, end = block * COLUMNS + tl.arange(0, COLUMNS), tl.minimum(start + stretch, n)
        j += block * COLUMNS
        mine = corners_at(B, j, j < m, REAL, FORM)
        g = tl.zeros((ROWS // EACH, COLUMNS), tl.float64)
    g0, g1, g2, g3 = g, g, g, g
    for first in range(start, end, COLUMNS if FIRST else ROWS):
        row, column = (i, first + j) if FIRST else (first + i, j)
        live = (row < (n if FIRST else end)) & (column < (end if FIRST else m))
        w = tl.load(INCOMING + (row.to(tl.int64) * row_step + column.to(tl.int64) * column_step), live, other=0).to(REAL)
        if tl.sum((w != 0.0).to(tl.int32)) > 0:
            a = mine if FIRST else corners_at(A, row, row < n, REAL, FORM)
            b = corners_at(B, column, column < m, REAL, FORM) if FIRST else mine
            found = FORMULA(*a, *b)
            by: tl.constexpr = 1 if FIRST else 5
            g0 += by_lane(found[by], w, FIRST, ROWS, COLUMNS, EACH)
            g1 += by_lane(found[by + 1], w, FIRST, ROWS, COLUMNS, EACH)
            g2 += by_lane(found[by + 2], w, FIRST, ROWS, COLUMNS, EACH)
            g3 += by_lane(found[by + 3], w, FIRST, ROWS, COLUMNS, EACH)
    at = OUT + 4 * (part.to(tl.int64) * (n if FIRST else m) + own)
    live = own < (n if FIRST else m)
    tl.store(at, tl.sum(g0, 1 if FIRST else 0), live)
    tl.store(at + 1, tl.sum(g1, 1 if FIRST else 0), live)
    tl.store(at + 2, tl.sum(g2, 1 if FIRST else 0), live)
    tl.store(at + 3, tl.sum(g3, 1 if FIRST else 0), live)


@triton.jit(do_not_specialize=["n", "m", "down"])
def largest(  # type: ignore[no-untyped-def]
    A, B, VALUE, INDEX, n: tl.int32, m: tl.int32, down: tl.int32,
    FORMULA: tl.constexpr, FORM: tl.constexpr, REAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """For a few boxes of a the most similar of b, the first of equals. NaN is larger than all numbers, and meanwhile infinite."""
    sample = tl.program_id(0) // down
    B += sample.to(tl.int64) * m * 4
    i = (tl.program_id(0) % down) * ROWS + tl.arange(0, ROWS)
    a = corners_at(A + sample.to(tl.int64) * n * 4, i[:, None], i[:, None] < n, REAL, FORM)
    lane = tl.arange(0, COLUMNS)[None, :]
    top = tl.full((ROWS, COLUMNS), -INF, REAL)
    place = tl.zeros((ROWS, COLUMNS), tl.int32) + tl.where(lane < m, lane, m)
    for first in range(0, m, COLUMNS):
        j = first + lane
        found = FORMULA(*a, *corners_at(B, j, j < m, REAL, FORM))
        s = tl.broadcast_to(found[0], (ROWS, COLUMNS))
        s = tl.where(j < m, tl.where(s == s, s, INF), -INF)
        better = s > top
        top = tl.where(better, s, top)
        place = tl.where(better, j, place)
    most = tl.max(top, 1)
    to = sample.to(tl.int64) * n + i
    tl.store(VALUE + to, tl.where(most == INF, most - most, most), i < n)
    tl.store(INDEX + to, tl.min(tl.where(top == most[:, None], place, m), 1).to(tl.int64), i < n)


def tile(columns: int) -> dict[str, int]:
    """Rows and columns of a tile, for so many columns: few of those that it has lie idle, and few kernels are compiled."""
    across = 8 if columns <= 8 else 32 if columns <= 128 else 64
    return dict(ROWS=TILE // across, COLUMNS=across)


def run(call: Boxes, operands: tuple[Tensor, ...], *, each: bool = True, incoming: Tensor | None = None, wants: tuple[bool, ...] = ()) -> Results:
    """What the formula gives for each pair, (..., N, M); or, if something is `incoming`, the gradients of it by both."""
    a, b = (boxes.contiguous() for boxes in operands)
    n, m, samples, real = a.shape[-2], b.shape[-2], prod(a.shape[:-2]), real_dtype(a.dtype)
    if incoming is not None:
        incoming = incoming.reshape(samples, n, m)
        return Results(None, None, tuple(summed(call, a, b, incoming, k == 0) if wanted else None for k, wanted in enumerate(wants or (False, False))))
    value = torch.empty((*a.shape[:-1], m), dtype=real, device=a.device)
    if value.numel():
        shape = tile(m)
        down, across = triton.cdiv(n, shape["ROWS"]), triton.cdiv(m, shape["COLUMNS"])
        grid = samples * down, min(across, triton.cdiv(PROGRAMS * 4, samples * down))
        with at_home(a):
            matrix[grid](a, b, value, n, m, down, FORMULA=bound(call.formula), FORM=call.form, REAL=REAL[real], **shape, **OPTIONS)
    return Results(None, value)


def summed(call: Boxes, a: Tensor, b: Tensor, incoming: Tensor, first: bool) -> Tensor:
    """The gradient of a, which comes `first` in the formula, or of b."""
    own, (samples, n, m) = a if first else b, incoming.shape
    if not incoming.numel():
        return torch.zeros_like(own)
    shape = tile(m if first else min(m, 32))
    (count, others), (step, walked) = ((n, m), (shape["ROWS"], shape["COLUMNS"])) if first else ((m, n), (shape["COLUMNS"], shape["ROWS"]))
    blocks, tiles = triton.cdiv(count, step), triton.cdiv(others, walked)
    stretch = triton.cdiv(tiles, max(1, min(tiles, PROGRAMS // (samples * blocks)))) * walked
    stretches = triton.cdiv(others, stretch)
    parts = torch.empty((samples, stretches, count, 4), dtype=torch.float64, device=own.device)
    with at_home(own):
        gradients[(samples * stretches * blocks,)](
            a, b, incoming, parts, n, m, *incoming.stride(), blocks, stretches, stretch,
            FORMULA=bound(call.formula), FIRST=first, FORM=call.form, REAL=REAL[real_dtype(own.dtype)], EACH=EACH, **shape, **OPTIONS,
        )  # fmt: skip
    return back(parts.sum(1), call.form).to(own.dtype).view(own.shape)


def best(call: Boxes, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value of each row of the matrix and its column, (..., N)."""
    a, b = a.contiguous(), b.contiguous()
    n, m, samples, real = a.shape[-2], b.shape[-2], prod(a.shape[:-2]), real_dtype(a.dtype)
    value = torch.empty(a.shape[:-1], dtype=real, device=a.device)
    index = torch.empty(a.shape[:-1], dtype=torch.int64, device=a.device)
    if value.numel():
        shape = tile(m)
        down = triton.cdiv(n, shape["ROWS"])
        with at_home(a):
            largest[(samples * down,)](a, b, value, index, n, m, down, FORMULA=bound(call.formula), FORM=call.form, REAL=REAL[real], **shape, **OPTIONS)
    return value, index
