"""The boxes pattern on all pairs, on the CPU: the matrix, written once; its gradients, from the boxes and what comes in; the best of each row, without the matrix.

Floor: the bytes of the matrix. Sums are over tiles that depend on the sizes alone, and added in order: the same bits for any number of threads.
"""

from collections.abc import Callable
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import Boxes, Results, real_dtype
from losskit.engines.cpu.core import store
from losskit.engines.cpu.core.memory import empty_like
from losskit.engines.cpu.core.threads import BODY, parallel_for
from losskit.engines.cpu.core.total import SCALARS
from losskit.engines.cpu.pairs.loops import ADD_TILES, CONTEXT, SPAN, STRETCH
from losskit.engines.language import fingerprint


@cache
def kernel(loop: str, formula: Callable[..., Any], *variant: Any) -> Any:
    """A loop for a formula and a variant (the arguments of `compile.pairs`), as a C function (begin, end, context)."""

    def build() -> store.Code:
        from losskit.engines.cpu.pairs import compile

        return compile.pairs(loop, formula, *variant)

    return BODY(store.function(f"pairs_{loop}_{formula.__name__}", repr(variant).encode() + fingerprint(formula), build))


@cache
def add_tiles_kernel(form: str, dtype: torch.dtype) -> Any:
    """The loop that adds the tiles' gradients of one side."""

    def build() -> store.Code:
        from losskit.engines.cpu.pairs import compile

        return compile.add_tiles(form, dtype)

    label = f"pairs_add_tiles_{form}_{str(dtype)[6:]}"
    return BODY(store.function(label, label.encode(), build))


def run_tasks(count: int, loop: Any, context: bytes) -> None:
    """All tasks of a loop; a single one without the pool."""
    if count == 1:
        loop(0, 1, context)
    else:
        parallel_for(0, count, 1, loop, context)


def run(call: Boxes, operands: tuple[Tensor, ...], *, each: bool = True, incoming: Tensor | None = None, wants: tuple[bool, ...] = ()) -> Results:
    """What the formula gives for each pair, (..., N, M); or, if something is `incoming`, the gradients of it by both."""
    a, b = (boxes.contiguous() for boxes in operands)
    grad_input, grad_target = wants or (False, False)
    n, m, samples, real = a.shape[-2], b.shape[-2], prod(a.shape[:-2]), real_dtype(a.dtype)
    rows = 1 << 6 if incoming is None or n < 1 << 13 else 1 << 8  # the gradients by b take four numbers per column and tile
    chunks, stretches = -(-n // rows), -(-m // STRETCH)
    tiles = samples * chunks * stretches
    if incoming is None:
        value = empty_like(SCALARS[real].expand(*a.shape[:-1], m), real)
        if tiles:
            context = CONTEXT.pack(a=a, b=b, out=value, n=n, m=m, rows=rows, chunks=chunks, stretches=stretches)
            run_tasks(tiles, kernel("matrix", call.formula, call.form, False, False, a.dtype, b.dtype), context)
        return Results(None, value)
    incoming = incoming.reshape(samples, n, m)
    part_a = torch.empty(4 * samples * stretches * n if grad_input else 0, dtype=torch.float64, device="cpu")
    part_b = torch.empty(4 * samples * chunks * m if grad_target else 0, dtype=torch.float64, device="cpu")
    if tiles:
        outer_step, row_step, column_step = incoming.stride()
        context = CONTEXT.pack(
            a=a, b=b, incoming=incoming, outer_step=outer_step, row_step=row_step, column_step=column_step,
            n=n, m=m, rows=rows, chunks=chunks, stretches=stretches, part_a=part_a, part_b=part_b,
        )  # fmt: skip
        run_tasks(tiles, kernel("gradients", call.formula, call.form, grad_input, grad_target, a.dtype, b.dtype), context)
    by_a = finished(call.form, part_a, stretches, a) if grad_input else None
    return Results(None, None, (by_a, finished(call.form, part_b, chunks, b) if grad_target else None))


def finished(form: str, partial: Tensor, parts: int, boxes: Tensor) -> Tensor:
    """The gradient of one side from those of the tiles; 0 where there are none."""
    gradient = empty_like(boxes, boxes.dtype)
    total = boxes.numel() // 4
    if not partial.numel():
        return gradient.zero_()
    context = ADD_TILES.pack(partial=partial, parts=parts, count=boxes.shape[-2], total=total, gradient=gradient)
    run_tasks(-(-total // SPAN), add_tiles_kernel(form, boxes.dtype), context)
    return gradient


def best(call: Boxes, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value of each row of the matrix and its column, (..., N)."""
    a, b = a.contiguous(), b.contiguous()
    n, m, samples, real = a.shape[-2], b.shape[-2], prod(a.shape[:-2]), real_dtype(a.dtype)
    value = torch.empty(a.shape[:-1], dtype=real, device="cpu")
    index = torch.empty(a.shape[:-1], dtype=torch.int64, device="cpu")
    everything = samples * n
    rows = 1 << 4 if everything < 1 << 10 else 1 << 6 if everything < 1 << 13 else 1 << 8
    chunks = -(-n // rows)
    if everything:
        context = CONTEXT.pack(
            a=a, b=b, out=value, n=n, m=m, rows=rows, chunks=chunks, stretches=1, part_a=index
        )  # fmt: skip
        run_tasks(samples * chunks, kernel("best", call.formula, call.form, False, False, a.dtype, b.dtype), context)
    return value, index
