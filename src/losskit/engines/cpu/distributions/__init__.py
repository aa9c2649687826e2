"""Rows with distributions on the CPU: one pass reads scores and targets, and writes the gradients.

Floor: the bytes of input, target and gradients, each once; one exponential per score, and what the formula takes. Few classes, and images, go in tiles of items
side by side (`tiles.py`), other rows alone (`loops.py`). Every sum has a fixed order: the same bits for any number of threads.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import REAL_OF, Distributions, Results
from losskit.engines.cpu.core import gradients, store
from losskit.engines.cpu.core.memory import empty_like
from losskit.engines.cpu.core.threads import BODY, parallel_for
from losskit.engines.cpu.core.total import SCALARS, add_up
from losskit.engines.cpu.distributions.loops import BLOCK, CONTEXT, MAX_WIDTH
from losskit.engines.cpu.rows import NOTHING, TASK, found_by, layout, of_items
from losskit.engines.cpu.rows.loops import FEW, LANES, ROW_WIDTH
from losskit.engines.cpu.rows.operands import Numbers
from losskit.engines.language import fingerprint

TILE = 1 << 12  # numbers of a tile in use at once: scores, exponentials and targets share the first-level cache with little else
ONES = {dtype: torch.ones(BLOCK, dtype=dtype, device="cpu") for dtype in (torch.float32, torch.float64)}


@cache
def kernel(
    planes: bool | None,
    kind: str,
    shift: bool,
    numbers: Numbers,
    formula: Callable[..., Any],
    params: int,
    link: Callable[..., Any] | None,
    *dtypes: torch.dtype,
) -> Any:
    """A loop for a formula, as a C function (begin, end, context): over tiles, of planes or not, or over rows (None)."""

    def build() -> store.Code:
        from losskit.engines.cpu.distributions import compile

        if planes is None:
            return compile.rows(kind, shift, formula, params, link, *dtypes, numbers)
        return compile.tiles(planes, kind, shift, formula, params, link, *dtypes, numbers)

    label = f"distributions_{formula.__module__.rpartition('.')[2]}_{formula.__name__}"
    variant = repr((planes, kind, shift, params, dtypes, *((tuple(numbers),) if any(numbers) else ()))).encode() + (
        fingerprint(link) if link is not None else b""
    )
    return BODY(store.function(label, variant + fingerprint(formula), build))


@cache
def look_kernel(planes: bool, logs: bool, *dtypes: torch.dtype) -> Any:
    """The loop that looks whether numbers are distributions."""

    def build() -> store.Code:
        from losskit.engines.cpu.distributions import compile

        return compile.look(planes, logs, *dtypes)

    label = f"look_{int(planes)}{int(logs)}_" + "_".join(str(dtype)[6:] for dtype in dtypes)
    return BODY(store.function(label, label.encode(), build))


def like(t: Tensor, planes: bool, dim: int) -> Tensor:
    """The tensor in the layout of the scores: itself if it lies so already."""
    return t.contiguous() if planes else t.movedim(dim, -1).contiguous().movedim(-1, dim)


def suspicious(x: Tensor, dim: int, factor: Tensor | None, off: float, logs: bool) -> bool:
    """Whether an item that counts may be no distribution: its numbers (with `logs` their exponentials) not all in [0, 1], or their sum `off` from 1; or NaN."""
    where = layout(x, dim)
    if where is None:
        x = like(x, False, dim)
        where = layout(x, dim)
        assert where is not None
    factor, step = (ONES[torch.float32], 0) if factor is None else (factor.contiguous(), 1)
    planes, classes, outer, inner, outer_step, class_step, item_step = where
    span = max(TASK // classes // MAX_WIDTH, 1) * MAX_WIDTH if planes else max(TASK // classes, 1)
    tasks = outer * ((inner + span - 1) // span)
    found = torch.empty(tasks, dtype=torch.float64, device="cpu")
    context = CONTEXT.pack(
        x=x, factor=factor, factor_step=step, out=found, items=outer * inner, link=off,
        classes=classes, inner=inner, x_outer=outer_step, x_class=class_step, x_item=item_step, span=span,
    )  # fmt: skip
    parallel_for(0, tasks, 1, look_kernel(planes, logs, x.dtype, factor.dtype), context)
    return bool(found.any())


def weights_of(call: Distributions, incoming: Tensor | None, real: torch.dtype) -> tuple[Tensor, int, Tensor, int]:
    """Factors and weights with their steps: 0 for ones that stand for all. Weights reach to whole vectors."""
    factor = call.factor
    if incoming is not None:
        factor = incoming if factor is None else torch.where(factor != 0, factor * incoming, 0.0)
    factor = ONES[real] if factor is None else factor.contiguous()
    weight = ONES[real] if call.weight is None else torch.nn.functional.pad(call.weight.to(real), (0, -call.weight.numel() % LANES))
    return factor, int(factor is not ONES[real]), weight, int(call.weight is not None)


def run(
    call: Distributions,
    operands: tuple[Tensor, ...],
    *,
    scale: float = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    wants: tuple[bool, ...] = (),
    by_products: bool = False,
) -> Results:
    """One pass: the sum of the losses times `scale`, the loss of `each` item if asked, and the gradients (times `incoming` if given: then no values)."""
    x, t, *others = operands
    grad_input, grad_target = wants[:2] or (False, False)
    real = REAL_OF[x.dtype]
    where = layout(x, call.dim)
    if where is None:
        x = like(x, False, call.dim)
        where = layout(x, call.dim)
        assert where is not None
    planes, classes, outer, inner, outer_step, class_step, item_step = where
    t = like(t, planes, call.dim) if call.kind == "distribution" else t.contiguous()
    factor, factor_step, weight, weight_step = weights_of(call, incoming, real)
    gx = empty_like(x, x.dtype) if grad_input else None
    gt = empty_like(t, t.dtype) if grad_target else None
    shape = (*x.shape[: call.dim], *x.shape[call.dim + 1 :])
    value = torch.empty(shape, dtype=real, device="cpu") if each or by_products else None
    lse = torch.empty(shape, dtype=real, device="cpu") if by_products else None
    total = torch.empty_like(SCALARS[real])
    width = 0
    if planes or classes < FEW:
        width = min(MAX_WIDTH if planes else ROW_WIDTH, max(TILE // classes // LANES * LANES - LANES, LANES))
        span = max(TASK // classes // width, 1) * width
    else:
        span = max(TASK // classes, 1)
    tasks = outer * ((inner + span - 1) // span)
    parts = torch.empty(tasks, dtype=torch.float64, device="cpu") if tasks > 1 else None
    items = of_items(call, others, shape, real, wants) if others else NOTHING
    context = CONTEXT.pack(
        x=x, t=t, v=value, gx=gx, gt=gt, parts=parts, out=total, items=outer * inner, lse=lse,
        scale=scale, z_loss=call.square, link=call.link_parameter, params=call.params, ignore=call.ignore,
        factor=factor, factor_step=factor_step, weight=weight, weight_step=weight_step,
        classes=classes, inner=inner, x_outer=outer_step, x_class=class_step, x_item=item_step, span=span, width=width,
        **items.fields,
    )  # fmt: skip
    dtypes = (x.dtype, x.dtype if call.kind == "none" else t.dtype, factor.dtype)
    run_loop = kernel(planes if width else None, call.kind, call.shift, items.numbers, call.formula, len(call.params), call.link, *dtypes)
    if tasks == 0:
        total.zero_()
    elif parts is None:
        run_loop(0, 1, context)
    else:
        parallel_for(0, tasks, 1, run_loop, context)
        add_up(parts, scale, total)
    if scale == 0.0:
        gradients.zero(gx, gt)
    return Results(total, value, (gx, gt, *found_by(items.found, others)) if others else (gx, gt), lse)


rescaled = partial(gradients.rescaled, run)
