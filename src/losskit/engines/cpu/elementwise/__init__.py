"""The elementwise pattern on the CPU: one pass reads the operands, sums the loss and writes the gradients that are wanted.

Floor: the bytes of operands and gradients, each once. Operands that lie in memory as the output does are read in place (the common case: nothing but the formula
stands between load and store); one number in all is read before the loop, so that what depends on nothing else is computed once; of any other, and of factors, a
block is first gathered into scratch.

Every sum runs over fixed chunks in a fixed order, in float64: the result has the same bits for any number of threads. So does the gradient of an operand that is
one number in all.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import REAL_OF, Call, Results, sum_to
from losskit.engines.cpu.core import gradients, store
from losskit.engines.cpu.core.loops import CHUNK
from losskit.engines.cpu.core.memory import empty_like
from losskit.engines.cpu.core.threads import BODY, parallel_for
from losskit.engines.cpu.core.total import SCALARS, add_up
from losskit.engines.cpu.core.walk import operand_table
from losskit.engines.cpu.elementwise.loops import context as context_of
from losskit.engines.language import fingerprint, reads
from losskit.engines.layout import is_dense, same_layout

# how a loop treats an operand: its gradient is asked for; it is read from scratch; its gradient is one number in all; is to be summed up, in the dtype computed in;
# it is read once, for it is one number in all
WANTED, GATHERED, SUMMED, WIDE, ONCE = 1, 2, 4, 8, 16


@cache
def kernel(
    formula: Callable[..., Any], params: int, dtypes: tuple[torch.dtype, ...], modes: tuple[int, ...], factored: bool, forward: bool, each: bool
) -> tuple[Any, Callable[..., bytes]]:
    """The loop for a formula and a variant (see `compile.elementwise`), as a C function (begin, end, context), and the packing of its context."""
    variant = params, dtypes, tuple(map(int, modes)), factored, forward, each

    def build() -> store.Code:
        from losskit.engines.cpu.elementwise import compile

        return compile.elementwise(formula, *variant)

    label = f"elementwise_{formula.__module__.rpartition('.')[2]}_{formula.__name__}"
    return BODY(store.function(label, repr(variant).encode() + fingerprint(formula), build)), context_of(len(dtypes), params).pack


def run(
    call: Call, operands: tuple[Tensor, ...], *, scale: float = 1.0, incoming: Tensor | None = None, each: bool = False, wants: tuple[bool, ...] = ()
) -> Results:
    """One pass: the sum of the losses times `scale`, the loss of `each` element if asked, and the gradients that are wanted (times `incoming` if given: then no
    values).
    """
    formula, params, factors = call
    x, forward = operands[0], incoming is None
    if incoming is not None:
        factors = (*factors, incoming)
    shape, real = x.shape, REAL_OF[x.dtype]
    straight, dtypes = not factors, []
    for y in operands:
        straight = straight and y.is_contiguous() and y.shape == shape
        dtypes.append(y.dtype)
    value = empty_like(x, real) if each else None
    total = torch.empty_like(SCALARS[real])
    modes: Sequence[int] = wants or (False,) * len(operands)
    written: list[Tensor | None] = [None] * len(operands)
    addresses = [0] * len(operands)
    table, sums, rows, width = None, None, 0, 0
    n = x.numel()
    chunks = (n + CHUNK - 1) // CHUNK or 1  # of no elements, too: the sum is 0
    if straight:
        for k, wanted in enumerate(wants):
            if wanted:
                written[k] = gradient = empty_like(x, dtypes[k])
                addresses[k] = gradient.data_ptr()
    else:
        whole = [y.shape == shape for y in operands]
        once = [not full and y.numel() == 1 for y, full in zip(operands, whole, strict=True)]
        ones = [bool(wanted) and one for one, wanted in zip(once, modes, strict=True)]
        for k, wanted in enumerate(wants):
            if wanted and not ones[k]:
                written[k] = gradient = empty_like(x, dtypes[k] if whole[k] else real)
                addresses[k] = gradient.data_ptr()
        anchor = next((y for y in (value, *written) if y is not None), x)
        dense = is_dense(anchor)
        apart = [
            y if seen and not alone and not (dense and full and same_layout(y, anchor)) else None
            for y, full, alone, seen in zip(operands, whole, once, reads(formula, len(operands)), strict=True)
        ]
        modes = [
            mode | (0 if y is None else GATHERED) | (ONCE if alone else 0) | (SUMMED if one else 0) | (0 if not mode or full or one else WIDE)
            for mode, y, alone, one, full in zip(modes, apart, once, ones, whole, strict=True)
        ]
        if any(ones):
            sums = torch.empty((sum(ones), chunks), dtype=torch.float64, device="cpu")
        if factors or any(y is not None for y in apart):
            table = operand_table(anchor, (*apart, *factors), real)
            rows, width = table.shape
    run_loop, pack = kernel(formula, len(params), tuple(dtypes), tuple(modes), factors != (), forward, each)
    parts = torch.empty(chunks, dtype=torch.float64, device="cpu") if chunks > 1 else None
    context = pack(
        operands=operands, gradients=addresses, value=value, parts=parts, out=total, summed=sums,
        n=n, chunks=chunks, table=0 if table is None else table.ctypes.data, rows=rows, width=width, scale=scale, params=params,
    )  # fmt: skip
    if parts is None:
        run_loop(0, 1, context)
    else:
        parallel_for(0, chunks, 1, run_loop, context)
        if forward:
            add_up(parts, scale, total)
    if scale == 0.0:
        gradients.zero(*written)
    if not straight:
        added = iter(()) if sums is None else iter(sums)
        written = [_in_shape(y, mode, g, added, scale) for y, mode, g in zip(operands, modes, written, strict=True)]
    return Results(total if forward else None, value, tuple(written))


def _in_shape(y: Tensor, mode: int, written: Tensor | None, added: Iterator[Tensor], scale: float) -> Tensor | None:
    """The gradient of an operand in its own shape: the chunks' sums added up, or the elements' gradients where one number serves several."""
    if mode & SUMMED:
        parts, total = next(added), torch.empty(y.shape, dtype=torch.float64, device="cpu")
        add_up(parts, scale, total)
        return total.to(y.dtype)
    return written if written is None or written.shape == y.shape else sum_to(written, y)


rescaled = partial(gradients.rescaled, run)
