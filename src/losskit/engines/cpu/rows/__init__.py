"""The rows pattern on the CPU: one pass reads scores and labels, and writes the gradient.

Floor: the bytes of input and gradient, each once, and one exponential per score. Short rows and images go in tiles of items side by side, so that few classes
fill a vector as well as many do (`tiles.py`); rows of up to 512 classes go sixteen at a time, longer ones alone (`loops.py`). Every sum has a fixed order: the same bits for any number of threads.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines.call import REAL_OF, Census, Distributions, Results, Rows, sum_to
from losskit.engines.cpu.core import gradients, store
from losskit.engines.cpu.core.memory import empty_like
from losskit.engines.cpu.core.threads import BODY, parallel_for
from losskit.engines.cpu.core.total import SCALARS, add_up
from losskit.engines.cpu.rows.loops import BUNDLE, CENSUS, CONTEXT, FEW, LANES, LINE, MAX_CLASSES, MAX_WIDTH, ROW_BLOCK, ROW_WIDTH, TILE
from losskit.engines.cpu.rows.operands import NONE, Numbers
from losskit.engines.language import fingerprint

TASK = 1 << 16  # scores per task
PART = 1 << 12  # derivatives of items that are added up together
PAST_CACHES = 1 << 24  # bytes of a gradient that is written past the caches, which could not keep it: nothing is read only to be overwritten
COUNTED = torch.empty(3, dtype=torch.float64, device="cpu")  # empty_like of it costs half of torch.empty
ONES = {dtype: torch.ones(1, dtype=dtype, device="cpu") for dtype in (torch.float32, torch.float64)}


class Layout(NamedTuple):
    """Where the scores lie: `planes` (classes apart, items together) or rows; sizes and steps in elements."""

    planes: bool
    classes: int
    outer: int
    inner: int
    outer_step: int
    class_step: int
    item_step: int


def layout(x: Tensor, dim: int) -> Layout | None:
    """The layout of the scores; None if they must be copied first."""
    classes = x.shape[dim]
    if dim == x.dim() - 1 and x.is_contiguous():
        return Layout(False, classes, 1, x.numel() // classes, 0, 1, classes)
    inner = math.prod(x.shape[dim + 1 :])
    if inner > 1 and x.numel() and x.is_contiguous():  # no scores are rows, none of them
        return Layout(True, classes, math.prod(x.shape[:dim]), inner, classes * inner, inner, 1) if classes <= MAX_CLASSES else None
    if x.is_contiguous() or x.movedim(dim, -1).is_contiguous():
        return Layout(False, classes, 1, x.numel() // classes, 0, 1, classes)
    return None


@cache
def kernel(
    kind: str, planes: bool, numbers: Numbers, formula: Callable[..., Any], params: int, link: Callable[..., Any] | None, margin: Callable[..., Any] | None,
    *dtypes: torch.dtype,
) -> Any:  # fmt: skip
    """A loop for a formula, as a C function (begin, end, context)."""

    def build() -> store.Code:
        from losskit.engines.cpu.rows import compile

        if kind == "tiles":
            return compile.tiles(planes, formula, params, link, *dtypes, numbers, margin)
        return (compile.bundles if kind == "bundles" else compile.long_rows)(formula, params, link, *dtypes, numbers, margin)

    label = f"{kind}_{formula.__module__.rpartition('.')[2]}_{formula.__name__}"
    variant = repr((planes, params, dtypes, *((tuple(numbers),) if any(numbers) else ()))).encode() + (fingerprint(link) if link is not None else b"")
    variant += b"" if margin is None else b"margin" + fingerprint(margin)
    return BODY(store.function(label, variant + fingerprint(formula), build))


class OfItems(NamedTuple):
    """Operands with a number per item as a loop sees them: the instance, the fields of its context, and where the wanted derivatives by each item's number go."""

    numbers: Numbers
    fields: Mapping[str, Any]
    found: tuple[Tensor | None, ...]


NOTHING = OfItems(NONE, {}, ())
NOWHERE = torch.empty(0, dtype=torch.float32, device="cpu")  # a null address


def of_items(call: Rows | Distributions, operands: Sequence[Tensor], shape: tuple[int, ...], real: torch.dtype, wants: tuple[bool, ...]) -> OfItems:
    """Temperatures apart. A step of 0: one number for all."""
    given = [y.to(real) if y.numel() == 1 else y.to(real).expand(shape).contiguous() for y in operands]
    steps = [int(y.numel() > 1) for y in operands]
    wanted = wants[2:] or (False,) * len(operands)
    found = tuple([torch.zeros(shape, dtype=real, device="cpu") if wants_y else None for wants_y in wanted])
    first = int(call.tempered)
    fields: dict[str, Any] = dict(heat=given[0], heat_step=steps[0], by_heat=found[0]) if first else {}
    fields |= dict(operands=given[first:], operand_steps=steps[first:], by_operands=[NOWHERE if y is None else y for y in found[first:]])
    return OfItems(Numbers(call.tempered, len(given) - first, any(wanted[:first]), any(wanted[first:])), fields, found)


def found_by(found: Sequence[Tensor | None], operands: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradients by those operands, after a pass."""
    return tuple([None if by is None else summed(by, y) for by, y in zip(found, operands, strict=True)])


def summed(by: Tensor, operand: Tensor) -> Tensor:
    """The gradient of an operand. One number in all: of fixed stretches first, for PyTorch adds a long sum up in as many parts as it has threads."""
    if operand.numel() != 1:
        return sum_to(by, operand)
    flat = by.reshape(-1)
    whole = flat.numel() // PART * PART
    parts = flat[:whole].reshape(-1, PART).sum(1, dtype=torch.float64)
    return (parts.sum() + flat[whole:].sum(dtype=torch.float64)).reshape(operand.shape).to(operand.dtype)


@cache
def census_kernel(*dtypes: torch.dtype) -> Any:
    """The loop that counts labels."""

    def build() -> store.Code:
        from losskit.engines.cpu.rows import compile

        return compile.census(*dtypes)

    label = "census_" + "_".join(str(dtype)[6:] for dtype in dtypes)
    return BODY(store.function(label, label.encode(), build))


def weights_of(call: Rows, incoming: Tensor | None, real: torch.dtype) -> tuple[Tensor, int, Tensor, int]:
    """Factors and weights with their steps: 0 for a single 1 that stands for all."""
    factor = call.factor
    if incoming is not None:
        factor = incoming if factor is None else torch.where(factor != 0, factor * incoming, 0.0)
    factor = ONES[real] if factor is None else factor.contiguous()
    weight = ONES[real] if call.weight is None else call.weight.to(real).contiguous()
    return factor, int(factor is not ONES[real]), weight, int(call.weight is not None)


def census(call: Rows, x: Tensor, t: Tensor) -> Census:
    """A look at the labels before the pass: the denominator of "mean", and labels that would reach outside."""
    real = REAL_OF[x.dtype]
    t = t.contiguous()
    factor, factor_step, weight, weight_step = weights_of(call, None, real)
    items = t.numel()
    tasks = (items + TASK - 1) // TASK or 1
    out = torch.empty_like(COUNTED) if tasks == 1 else torch.empty(3 * tasks, dtype=torch.float64, device="cpu")
    context = CENSUS.pack(
        labels=t, factor=factor, out=out, items=items, classes=x.shape[call.dim],
        factor_step=factor_step, weight=weight, weight_step=weight_step, span=TASK, ignore=call.ignore,
    )  # fmt: skip
    run_loop = census_kernel(t.dtype, factor.dtype, real)
    if tasks == 1:
        run_loop(0, 1, context)
        total, counted, wrong = out.tolist()
    else:
        parallel_for(0, tasks, 1, run_loop, context)
        total, counted, wrong = out.reshape(-1, 3).sum(0).tolist()
    return Census(total, int(counted), int(wrong))


def run(
    call: Rows,
    operands: tuple[Tensor, ...],
    *,
    scale: float = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    wants: tuple[bool, ...] = (),
    by_products: bool = False,
    inplace: bool = False,
) -> Results:
    """One pass: the sum of the losses times `scale`, the loss of `each` item if asked, and the gradient (times `incoming` if given: then no values)."""
    x, t, *others = operands
    grad_input = bool(wants) and wants[0]
    real = REAL_OF[x.dtype]
    where = layout(x, call.dim)
    if where is None:
        x = x.movedim(call.dim, -1).contiguous().movedim(-1, call.dim)
        where = layout(x, call.dim)
        assert where is not None
    t = t.contiguous()
    factor, factor_step, weight, weight_step = weights_of(call, incoming, real)
    shares = None if call.shares is None else call.shares.to(real).contiguous()
    total_share = 0.0 if shares is None else float(shares.sum(dtype=torch.float64))
    gx = (x if inplace else empty_like(x, x.dtype)) if grad_input else None
    value = torch.empty(t.shape, dtype=real, device="cpu") if each or by_products else None
    lse = torch.empty(t.shape, dtype=real, device="cpu") if by_products else None
    right = torch.empty(t.shape, dtype=torch.bool, device="cpu") if by_products else None
    total = torch.empty_like(SCALARS[real])
    planes, classes, outer, inner, outer_step, class_step, item_step = where
    width = 0
    if planes or classes < FEW:
        kind = "tiles"
        width = min(MAX_WIDTH if planes else ROW_WIDTH, TILE // classes // LANES * LANES - LANES)
        span = max(TASK // classes // width, 1) * width
        tasks = outer * ((inner + span - 1) // span)
    else:
        kind, span = "bundles" if classes <= BUNDLE else "long_rows", max(TASK // classes // LANES, 1) * LANES if classes <= BUNDLE else max(TASK // classes, 1)
        tasks = (inner + span - 1) // span
    full = x.dtype is real
    past = gx is not None and full and not inplace and kind == "tiles" and gx.nbytes >= PAST_CACHES and gx.data_ptr() % LINE == 0
    past = past and (not planes or inner * x.itemsize % LINE == 0)  # every plane starts a line
    kept = gx is not None and full and call.link is None and ROW_BLOCK < classes <= ROW_BLOCK * ROW_BLOCK
    parts = torch.empty(tasks, dtype=torch.float64, device="cpu") if tasks > 1 else None
    items = of_items(call, others, t.shape, real, wants) if others else NOTHING
    context = CONTEXT.pack(
        x=x, labels=t, v=value, gx=gx, parts=parts, out=total, items=t.numel(), lse=lse, right=right,
        scale=scale, link=call.link_parameter, params=call.params, ignore=call.ignore,
        factor=factor, factor_step=factor_step, weight=weight, weight_step=weight_step, shares=shares, total_share=total_share,
        classes=classes, inner=inner, x_outer=outer_step, x_class=class_step, x_item=item_step, span=span, width=width, past=past, kept=kept,
        **items.fields,
    )  # fmt: skip
    run_loop = kernel(kind, planes, items.numbers, call.formula, len(call.params), call.link, call.margin, x.dtype, t.dtype, factor.dtype)
    if tasks == 0:
        total.zero_()
    elif parts is None:
        run_loop(0, 1, context)
    else:
        parallel_for(0, tasks, 1, run_loop, context)
        add_up(parts, scale, total)
    if scale == 0.0:
        gradients.zero(gx)
    return Results(total, value, (gx, None, *found_by(items.found, others)) if others else (gx, None), lse, right)


rescaled = partial(gradients.rescaled, run)
