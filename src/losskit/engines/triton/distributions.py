"""Rows with a distribution each on a GPU: one kernel reads scores and targets, sums the loss and writes both gradients; see `torch/distributions.py`.

Blocks, order of sums and scales are those of `rows.py`. The gradient of one class needs the derivatives of all, so where a row does not fit into the block
the program walks over it three times: for its largest score and the sum of exponentials, for the formula's sums, for the gradients. Where the input is
shifted before the link it looks for the largest input first. Nothing but the results is written; exponentials and formula are computed again.
"""

from functools import partial

import torch
import triton
from torch import Tensor

from losskit.engines.call import Distributions, Results, real_dtype
from losskit.engines.protocol import Gradients
from losskit.engines.triton import elementwise, gradients
from losskit.engines.triton import items as numbers_of_items
from losskit.engines.triton.distributions_kernels import classwise, long_classwise
from losskit.engines.triton.elementwise import BLOCK, MAX_PARAMS, OPTIONS, REAL, add_up, at_home, bound
from losskit.engines.triton.layout import PROGRAMS, Layout, laid_out, multiplied, readable, tiling

MOST = 16  # classes to a thread: half as many as in `rows.py`, for masses and derivatives are held, too. Not yet measured on a GPU


def launch(
    call: Distributions,
    x: Tensor,
    where: Layout,
    t: Tensor,
    scale: float | Tensor,
    *,
    incoming: Tensor | None = None,
    value: Tensor | None = None,
    lse: Tensor | None = None,
    grad_x: Tensor | None = None,
    grad_t: Tensor | None = None,
    total: Tensor | None = None,
    operands: tuple[Tensor, ...] = (),
    by: tuple[Tensor | None, ...] = (),
) -> None:
    """Runs the kernel for the outputs given; the gradients lie like the scores, the others in the order of the items."""
    if x.numel() == 0:
        if total is not None:
            total.zero_()
        return
    number, pointer = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    shape = tiling(where, max(x.element_size(), t.element_size() if call.kind == "distribution" else 1), MOST, MOST)
    kernel, more = (classwise, {"FULL": shape.tiles * shape.columns == where.classes}) if shape.whole else (long_classwise, {})
    strips = where.outer * triton.cdiv(where.inner, shape.items)
    programs = min(strips, PROGRAMS)
    parts = None if total is None else torch.empty(programs, dtype=torch.float64, device=x.device)
    with at_home(x):
        kernel[(programs,)](
            x, elementwise.laid_out(t, x) if call.kind == "distribution" else None, readable(t) if call.kind == "label" else None,
            readable(t) if call.kind == "position" else None, readable(call.factor), readable(call.weight), pointer, incoming, value, lse, grad_x, grad_t, parts, total,
            operands, by or (None,) * len(operands),
            where.classes, where.inner, strips, call.ignore, number, call.link_parameter, call.square, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), LINK=None if call.link is None else bound(call.link), PARAMS=len(call.params), SHIFT=call.shift,
            SQUARE=call.square != 0.0, REAL=REAL[real_dtype(x.dtype)], PLANES=where.planes, ALIGN=where.align(), ROWS=shape.rows, COLUMNS=shape.columns,
            TILES=shape.tiles, COUNT=len(operands), TEMPERED=int(call.tempered), HEATED=call.tempered and bool(by) and by[0] is not None,
            **more, **OPTIONS | {"num_warps": shape.warps},
        )  # fmt: skip
        if total is not None and programs > 1:
            add_up[(1,)](parts, pointer, total, programs, number, BLOCK=BLOCK, **OPTIONS)


def run(
    call: Distributions,
    operands: tuple[Tensor, ...],
    *,
    scale: float | Tensor = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    wants: tuple[bool, ...] = (),
    by_products: bool = False,
) -> Results:
    """One pass: the sum of the losses times `scale`, or the loss of `each` item; and the gradients (times `incoming` if given: then no values)."""
    (x, t, *others), (grad_input, grad_target) = operands, wants[:2] or (False, False)
    real = real_dtype(x.dtype)
    factor, scale = multiplied(call.factor, scale, incoming)
    call = call._replace(factor=factor)
    shape = (*x.shape[: call.dim], *x.shape[call.dim + 1 :])
    x, where = laid_out(x, call.dim)
    value = torch.empty(shape, dtype=real, device=x.device) if each or by_products else None
    lse = torch.empty(shape, dtype=real, device=x.device) if by_products else None
    grad_x = torch.empty_like(x, requires_grad=False) if grad_input else None
    grad_t = torch.empty_like(x, dtype=t.dtype, requires_grad=False) if grad_target else None
    total = torch.empty((), dtype=real, device=x.device) if incoming is None and not each else None
    by, read = numbers_of_items.room(others, shape, real, wants), numbers_of_items.read(others, shape, real)
    launch(call, x, where, t, scale, value=value, lse=lse, grad_x=grad_x, grad_t=grad_t, total=total, operands=read, by=by)
    return Results(total, value, (grad_x, grad_t, *numbers_of_items.summed(by, others)), lse)


def write_again(call: Distributions, operands: tuple[Tensor, ...], scale: float | Tensor, incoming: Tensor, given: Gradients) -> None:
    """Writes the gradients anew, times the incoming one, unless the device finds it to be 1."""
    x, where = laid_out(operands[0], call.dim)
    if given[0] is not None or given[1] is not None:
        shape = (*x.shape[: call.dim], *x.shape[call.dim + 1 :])
        read = numbers_of_items.read(operands[2:], shape, real_dtype(x.dtype))
        launch(call, x, where, operands[1], scale, incoming=incoming, grad_x=given[0], grad_t=given[1], operands=read)
    numbers_of_items.write_again(run, call, operands, scale, incoming, given)


rescaled = partial(gradients.rescaled, run, write_again)
