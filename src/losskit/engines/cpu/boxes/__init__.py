"""The boxes pattern on the CPU: one pass reads both boxes, sums the loss and writes the gradient.

Floor: the bytes of both boxes, eight numbers (turned ten, in space twelve), and of the gradient, half as many, each once. Every sum has a fixed order: the same bits for any number of threads.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import Boxes, Results, real_dtype
from losskit.engines.cpu.boxes.loops import CHUNK, CONTEXT
from losskit.engines.cpu.core import gradients, store
from losskit.engines.cpu.core.memory import empty_like
from losskit.engines.cpu.core.threads import BODY, parallel_for
from losskit.engines.cpu.core.total import SCALARS, add_up
from losskit.engines.language import fingerprint


@cache
def kernel(formula: Callable[..., Any], *variant: Any) -> Any:
    """The loop for a formula and a variant (the arguments of `compile.boxes`), as a C function (begin, end, context)."""

    def build() -> store.Code:
        from losskit.engines.cpu.boxes import compile

        return compile.boxes(formula, *variant)

    label = f"boxes_{formula.__module__.rpartition('.')[2]}_{formula.__name__}"
    return BODY(store.function(label, repr(variant).encode() + fingerprint(formula), build))


def run(
    call: Boxes,
    operands: tuple[Tensor, ...],
    *,
    scale: float = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    wants: tuple[bool, ...] = (),
) -> Results:
    """One pass: the sum of the losses times `scale`, the loss of `each` pair if asked, and gradients (times `incoming` if given: then no values)."""
    x, t = operands
    grad_input, grad_target = wants or (False, False)
    formula, params, form, factor = call
    real, numbers = real_dtype(x.dtype), x.shape[-1]
    if incoming is not None:
        factor = incoming if factor is None else torch.where(factor != 0, factor * incoming, 0.0)
    x, t = x.contiguous(), t.contiguous()
    factor = None if factor is None else factor.contiguous()
    gx = empty_like(x, x.dtype) if grad_input or grad_target else None  # the kernel for both serves the target alone, too
    gt = empty_like(t, t.dtype) if grad_target else None
    value = torch.empty(x.shape[:-1], dtype=real, device="cpu") if each else None
    total = torch.empty_like(SCALARS[real])
    n = x.numel() // numbers
    chunks = (n + CHUNK - 1) // CHUNK
    parts = torch.empty(chunks, dtype=torch.float64, device="cpu") if chunks > 1 else None
    context = CONTEXT.pack(
        x=x, t=t, v=value, gx=gx, gt=gt, parts=parts, out=total, n=n,
        factor=factor, factor_step=int(factor is not None), scale=scale, params=params,
    )  # fmt: skip
    run_loop = kernel(formula, len(params), numbers, form, (gx is not None) + (gt is not None), x.dtype, t.dtype, None if factor is None else factor.dtype)
    if parts is None:
        run_loop(0, 1, context)  # of no boxes, too: the sum is 0
    else:
        parallel_for(0, chunks, 1, run_loop, context)
        add_up(parts, scale, total)
    if scale == 0.0:
        gradients.zero(gx, gt)
    return Results(total if incoming is None else None, value, (gx if grad_input else None, gt))


rescaled = partial(gradients.rescaled, run)
