"""The elementwise pattern on the CPU: one pass reads input and target, sums the loss and writes the gradient.

Floor: the bytes of input, target and gradient, each once. Operands that lie in memory as the output does are read in place (the common case: nothing but
the formula stands between load and store); if anything does not, or items carry factors, a block of each operand is first gathered into scratch arrays.

Every sum runs over fixed chunks in a fixed order, in float64: the result has the same bits for any number of threads.
"""

import struct
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import Call, Results
from losskit.engines.cpu import gradients, store
from losskit.engines.cpu.loops import CHUNK, MAX_PARAMS
from losskit.engines.cpu.memory import empty_like
from losskit.engines.cpu.threads import BODY, parallel_for
from losskit.engines.cpu.walk import operand_table
from losskit.engines.language import fingerprint, reads
from losskit.engines.layout import is_dense, same_layout

CONTEXT = struct.Struct(f"=11q{1 + MAX_PARAMS}d")


@cache
def kernel(formula: Callable[..., Any], *variant: Any) -> Any:
    """The loop for a formula and a variant (the arguments of `compiler.elementwise`), as a C function (begin, end, context)."""

    def build() -> store.Code:
        from losskit.engines.cpu import compiler

        return compiler.elementwise(formula, *variant)

    label = f"elementwise_{formula.__module__.rpartition('.')[2]}_{formula.__name__}"
    return BODY(store.function(label, repr(variant).encode() + fingerprint(formula), build))


@cache
def finish_kernel(dtype: torch.dtype) -> Any:
    """The loop that adds the chunks' sums."""

    def build() -> store.Code:
        from losskit.engines.cpu import compiler

        return compiler.finish(dtype)

    label = f"finish_{str(dtype)[6:]}"
    return BODY(store.function(label, label.encode(), build))


PADDING = tuple((0.0,) * (MAX_PARAMS - k) for k in range(MAX_PARAMS + 1))
SCALARS = {dtype: torch.empty((), dtype=dtype, device="cpu") for dtype in (torch.float32, torch.float64)}  # empty_like of these costs a third of torch.empty


def run(
    call: Call,
    x: Tensor,
    t: Tensor,
    *,
    scale: float = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    grad_input: bool = False,
    grad_target: bool = False,
) -> Results:
    """One pass: the sum of the losses times `scale`, the loss of `each` element if asked, and gradients (times `incoming` if given: then no values)."""
    formula, params, field, factors = call
    dtype, target_dtype, forward = x.dtype, t.dtype, incoming is None
    real = torch.float64 if dtype is torch.float64 else torch.float32
    if incoming is not None:
        factors = (*factors, incoming)
    gx = empty_like(x, dtype) if grad_input else None
    gt = empty_like(x, target_dtype) if grad_target else None
    value = empty_like(x, real) if each else None
    total = torch.empty_like(SCALARS[real])
    staged, table, shape = bool(factors) or field is not None or not (x.is_contiguous() and t.is_contiguous()), None, (0, 0)
    if staged:
        anchor = value if value is not None else gx if gx is not None else gt if gt is not None else x
        staged = bool(factors) or field is not None or not (same_layout(x, anchor) and same_layout(t, anchor) and is_dense(anchor))
        if staged:
            reads_x, reads_t = reads(formula)
            table = operand_table(anchor, (x if reads_x else None, t if reads_t else None, field, *factors), real)
            shape = table.shape
    run_loop = kernel(formula, len(params), field is not None, bool(factors), staged, dtype, target_dtype, forward, each, grad_input, grad_target)
    n = x.numel()
    chunks = (n + CHUNK - 1) // CHUNK
    parts = torch.empty(chunks, dtype=torch.float64, device="cpu") if chunks > 1 else None
    context = CONTEXT.pack(
        x.data_ptr(), t.data_ptr(), 0 if value is None else value.data_ptr(), 0 if gx is None else gx.data_ptr(), 0 if gt is None else gt.data_ptr(),
        0 if parts is None else parts.data_ptr(), total.data_ptr(), n, 0 if table is None else table.ctypes.data, *shape,
        scale, *params, *PADDING[len(params)],
    )  # fmt: skip
    if parts is None:
        run_loop(0, 1, context)  # of no elements, too: the sum is 0
    else:
        parallel_for(0, chunks, 1, run_loop, context)
        if forward:
            finish_kernel(real)(0, chunks, context)
    if scale == 0.0:
        gradients.zero(gx, gt)
    return Results(total if forward else None, value, gx, gt)


rescaled = partial(gradients.rescaled, run)
