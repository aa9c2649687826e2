"""What "mean" divides by, on a GPU: which labels count is seen in one launch, in two where there are many, and nobody waits for it.

Programs share the items in blocks, in float64 and in a fixed order; the last step gives 1 / the sum, which the pass over the scores is handed as a pointer.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Rows, real_dtype
from losskit.engines.triton.elementwise import OPTIONS, REAL, at_home, loaded, settle
from losskit.engines.triton.layout import readable

BLOCK = 2048  # labels at a time: eight to a thread. Not yet measured on a GPU
EACH = 8 * BLOCK  # labels to a program, while there are few: less than another launch takes. Not yet measured on a GPU
PROGRAMS = 1056  # at most so many, on every GPU, whose sums are added in one step
WARPS = OPTIONS | {"num_warps": 8}


class Counts(NamedTuple):
    """1 / the weights of the items that count, summed, or 0 if there is none; and how many they are."""

    scale: Tensor
    items: Tensor | None


@triton.jit
def counted(LABELS, FACTOR, WEIGHT, i, live, classes, ignore):
    """Which items at `i` count, and with what weight, 0 of the others. A label that is no class has that of the nearest one: the pass makes its loss NaN."""
    label = loaded(LABELS, i, live, tl.int64)
    counts = label != ignore
    if live is not None:
        counts = counts & live
    weight = tl.full(label.shape, 1.0, tl.float64)
    if FACTOR is not None:
        weight = loaded(FACTOR, i, live, tl.float64)
        counts = counts & (weight != 0.0)
    if WEIGHT is not None:
        nearest = tl.minimum(tl.maximum(label, 0), classes - 1)
        weight *= tl.load(WEIGHT + nearest, counts, other=0).to(tl.float64)
    return counts.to(tl.int32), tl.where(counts, weight, 0.0)


@triton.jit(do_not_specialize=["n", "classes", "ignore"], do_not_specialize_on_alignment=["WEIGHT", "PARTS", "SCALE", "ITEMS"])
def count(  # type: ignore[no-untyped-def]  # typed by Triton
    LABELS, FACTOR, WEIGHT, PARTS, SCALE, ITEMS, n: tl.int64, classes: tl.int64, ignore: tl.int64, REAL: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Every so-manieth block of items."""
    first, step = tl.program_id(0), tl.num_programs(0)
    blocks = (n // BLOCK).to(tl.int32)
    found = tl.zeros((BLOCK,), tl.int32)
    sums = tl.zeros((BLOCK,), tl.float64)
    for block in range(first, blocks, step):
        i = tl.cast(block, tl.int64) * BLOCK + tl.arange(0, BLOCK)
        counts, weight = counted(LABELS, FACTOR, WEIGHT, i, None, classes, ignore)
        found += counts
        sums += weight
    if first == blocks % step:  # whose turn it is takes what is left
        i = blocks.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        counts, weight = counted(LABELS, FACTOR, WEIGHT, i, i < n, classes, ignore)
        found += counts
        sums += weight
    items = tl.sum(found.to(tl.float64))
    total = items if FACTOR is None and WEIGHT is None else tl.sum(sums)
    if PARTS is None:
        settle(total, items, SCALE, ITEMS, REAL)
    else:
        place = PARTS + 2 * first
        tl.store(place, total)
        tl.store(place + 1, items)


@triton.jit(do_not_specialize=["parts"], do_not_specialize_on_alignment=["PARTS", "SCALE", "ITEMS"])
def count_up(PARTS, SCALE, ITEMS, parts: tl.int64, REAL: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Adds what the programs have found."""
    i = tl.arange(0, BLOCK)
    weight = tl.sum(tl.load(PARTS + 2 * i, i < parts, other=0.0))
    items = tl.sum(tl.load(PARTS + 2 * i + 1, i < parts, other=0.0))
    settle(weight, items, SCALE, ITEMS, REAL)


def census(call: Rows, x: Tensor, t: Tensor, items: bool) -> Counts:
    """What counts of the labels `t`, beside scores `x`; how many only if that is asked for."""
    real, n = real_dtype(x.dtype), t.numel()
    programs = min(max(triton.cdiv(n, EACH), 1), PROGRAMS)
    scale = torch.empty((), dtype=real, device=t.device)
    found = torch.empty((), dtype=torch.int64, device=t.device) if items else None
    parts = torch.empty((programs, 2), dtype=torch.float64, device=t.device) if programs > 1 else None
    with at_home(t):
        count[(programs,)](
            readable(t), readable(call.factor), readable(call.weight), parts, scale, found, n, x.shape[call.dim], call.ignore,
            REAL=REAL[real], BLOCK=BLOCK, **WARPS,
        )  # fmt: skip
        if parts is not None:
            count_up[(1,)](parts, scale, found, programs, REAL=REAL[real], BLOCK=triton.next_power_of_2(PROGRAMS), **WARPS)
    return Counts(scale, found)
