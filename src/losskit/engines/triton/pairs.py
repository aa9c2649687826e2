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
from losskit.engines.triton.boxes import corners_2
from losskit.engines.triton.elementwise import OPTIONS, REAL, at_home, bound
from losskit.engines.triton.math import INF

ROWS, COLUMNS = 4, 64  # pairs per tile: two per thread, for a formula holds some forty numbers at once. Not yet measured on a GPU
PROGRAMS = 1 << 10  # a walk is cut into stretches until there are about so many; fewer leave a GPU idle


@triton.jit
def matrix(  # type: ignore[no-untyped-def]  # typed by Triton
    A, B, OUT, n: tl.int64, m: tl.int64, down: tl.int64, across: tl.int64,
    FORMULA: tl.constexpr, FORM: tl.constexpr, REAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """What the formula gives for one tile of pairs."""
    program = tl.program_id(0).to(tl.int64)
    sample, tile = program // (down * across), program % (down * across)
    i = (tile // across) * ROWS + tl.arange(0, ROWS)[:, None]
    j = (tile % across) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    found = FORMULA(*corners_2(A, 4 * (sample * n + i), i < n, REAL, FORM), *corners_2(B, 4 * (sample * m + j), j < m, REAL, FORM))
    tl.store(OUT + (sample * n + i) * m + j, tl.broadcast_to(found[0], (ROWS, COLUMNS)), (i < n) & (j < m))


@triton.jit
def gradients(  # type: ignore[no-untyped-def]
    OWN, OTHER, INCOMING, OUT, own: tl.int64, other: tl.int64, sample_step: tl.int64, own_step: tl.int64, other_step: tl.int64, blocks: tl.int64,
    stretches: tl.int64, stretch: tl.int64,
    FORMULA: tl.constexpr, FIRST: tl.constexpr, FORM: tl.constexpr, REAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The gradient by the corners of a few boxes of one side, FIRST or second in the formula, over a stretch of the other; where nothing came in nothing is computed."""
    program = tl.program_id(0).to(tl.int64)
    part, block = program // blocks, program % blocks  # part: (sample, stretch)
    sample, start = part // stretches, (part % stretches) * stretch
    i = block * ROWS + tl.arange(0, ROWS)
    mine = corners_2(OWN, 4 * (sample * own + i[:, None]), i[:, None] < own, REAL, FORM)
    g0 = tl.zeros((ROWS,), tl.float64)
    g1 = tl.zeros((ROWS,), tl.float64)
    g2 = tl.zeros((ROWS,), tl.float64)
    g3 = tl.zeros((ROWS,), tl.float64)
    for first in range(start, tl.minimum(start + stretch, other), COLUMNS):
        j = first + tl.arange(0, COLUMNS)[None, :]
        live = (i[:, None] < own) & (j < tl.minimum(start + stretch, other))
        w = tl.load(INCOMING + sample * sample_step + i[:, None] * own_step + j * other_step, live, other=0).to(REAL)
        if tl.sum((w != 0.0).to(tl.int32)) > 0:
            theirs = corners_2(OTHER, 4 * (sample * other + j), j < other, REAL, FORM)
            if FIRST:
                found = FORMULA(*mine, *theirs)
                g0 += tl.sum(tl.where(w == 0.0, 0.0, found[1] * w), 1).to(tl.float64)
                g1 += tl.sum(tl.where(w == 0.0, 0.0, found[2] * w), 1).to(tl.float64)
                g2 += tl.sum(tl.where(w == 0.0, 0.0, found[3] * w), 1).to(tl.float64)
                g3 += tl.sum(tl.where(w == 0.0, 0.0, found[4] * w), 1).to(tl.float64)
            else:
                found = FORMULA(*theirs, *mine)
                g0 += tl.sum(tl.where(w == 0.0, 0.0, found[5] * w), 1).to(tl.float64)
                g1 += tl.sum(tl.where(w == 0.0, 0.0, found[6] * w), 1).to(tl.float64)
                g2 += tl.sum(tl.where(w == 0.0, 0.0, found[7] * w), 1).to(tl.float64)
                g3 += tl.sum(tl.where(w == 0.0, 0.0, found[8] * w), 1).to(tl.float64)
    at = OUT + 4 * (part * own + i)
    tl.store(at, g0, i < own)
    tl.store(at + 1, g1, i < own)
    tl.store(at + 2, g2, i < own)
    tl.store(at + 3, g3, i < own)


@triton.jit
def largest(  # type: ignore[no-untyped-def]
    A, B, VALUE, INDEX, n: tl.int64, m: tl.int64, down: tl.int64,
    FORMULA: tl.constexpr, FORM: tl.constexpr, REAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """For a few boxes of a the most similar of b, the first of equals. NaN is larger than all numbers, and meanwhile infinite."""
    program = tl.program_id(0).to(tl.int64)
    sample = program // down
    i = (program % down) * ROWS + tl.arange(0, ROWS)
    a = corners_2(A, 4 * (sample * n + i[:, None]), i[:, None] < n, REAL, FORM)
    lane = tl.arange(0, COLUMNS)[None, :].to(tl.int64)
    top = tl.full((ROWS, COLUMNS), -INF, REAL)
    place = tl.zeros((ROWS, COLUMNS), tl.int64) + tl.where(lane < m, lane, m)
    for first in range(0, m, COLUMNS):
        j = first + lane
        found = FORMULA(*a, *corners_2(B, 4 * (sample * m + j), j < m, REAL, FORM))
        s = tl.broadcast_to(found[0], (ROWS, COLUMNS))
        s = tl.where(j < m, tl.where(s == s, s, INF), -INF)
        better = s > top
        top = tl.where(better, s, top)
        place = tl.where(better, j, place)
    most = tl.max(top, 1)
    tl.store(VALUE + sample * n + i, tl.where(most == INF, most - most, most), i < n)
    tl.store(INDEX + sample * n + i, tl.min(tl.where(top == most[:, None], place, m), 1), i < n)


def run(call: Boxes, operands: tuple[Tensor, ...], *, each: bool = True, incoming: Tensor | None = None, wants: tuple[bool, ...] = ()) -> Results:
    """What the formula gives for each pair, (..., N, M); or, if something is `incoming`, the gradients of it by both."""
    a, b = (boxes.contiguous() for boxes in operands)
    grad_input, grad_target = wants or (False, False)
    n, m, samples, real = a.shape[-2], b.shape[-2], prod(a.shape[:-2]), real_dtype(a.dtype)
    if incoming is None:
        value = torch.empty((*a.shape[:-1], m), dtype=real, device=a.device)
        down, across = triton.cdiv(n, ROWS), triton.cdiv(m, COLUMNS)
        if samples * down * across:
            with at_home(a):
                matrix[(samples * down * across,)](
                    a, b, value, n, m, down, across, FORMULA=bound(call.formula), FORM=call.form, REAL=REAL[real], ROWS=ROWS, COLUMNS=COLUMNS, **OPTIONS
                )  # fmt: skip
        return Results(None, value)
    incoming = incoming.reshape(samples, n, m)
    outer, down, across = incoming.stride()
    by_a = summed(call, a, b, incoming, (outer, down, across), True) if grad_input else None
    return Results(None, None, (by_a, summed(call, b, a, incoming, (outer, across, down), False) if grad_target else None))


def summed(call: Boxes, own: Tensor, other: Tensor, incoming: Tensor, steps: tuple[int, int, int], first: bool) -> Tensor:
    """The gradient of one side, which comes `first` in the formula or second."""
    count, others, samples = own.shape[-2], other.shape[-2], incoming.shape[0]
    if not samples * count * others:
        return torch.zeros_like(own)
    blocks = triton.cdiv(count, ROWS)
    stretch = triton.cdiv(others, COLUMNS * max(1, min(triton.cdiv(others, COLUMNS), PROGRAMS // (samples * blocks)))) * COLUMNS
    stretches = triton.cdiv(others, stretch)
    parts = torch.empty((samples, stretches, count, 4), dtype=torch.float64, device=own.device)
    with at_home(own):
        gradients[(samples * stretches * blocks,)](
            own, other, incoming, parts, count, others, *steps, blocks, stretches, stretch,
            FORMULA=bound(call.formula), FIRST=first, FORM=call.form, REAL=REAL[real_dtype(own.dtype)], ROWS=ROWS, COLUMNS=COLUMNS, **OPTIONS,
        )  # fmt: skip
    return back(parts.sum(1), call.form).to(own.dtype).view(own.shape)


def best(call: Boxes, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value of each row of the matrix and its column, (..., N)."""
    a, b = a.contiguous(), b.contiguous()
    n, m, samples, real = a.shape[-2], b.shape[-2], prod(a.shape[:-2]), real_dtype(a.dtype)
    value = torch.empty(a.shape[:-1], dtype=real, device=a.device)
    index = torch.empty(a.shape[:-1], dtype=torch.int64, device=a.device)
    down = triton.cdiv(n, ROWS)
    if samples * down:
        with at_home(a):
            largest[(samples * down,)](
                a, b, value, index, n, m, down, FORMULA=bound(call.formula), FORM=call.form, REAL=REAL[real], ROWS=ROWS, COLUMNS=COLUMNS, **OPTIONS
            )  # fmt: skip
    return value, index
