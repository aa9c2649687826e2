"""The rows pattern on a GPU: one pass reads scores and labels, sums the loss and writes the gradient; see `cpu/rows/loops.py` for the mathematics.

`rowwise` holds all of an item's scores in registers and reads them once: rows, or items side by side in the planes of an image. How many threads share an item is
said by `layout.py`; one, where the classes are few. A constant number of programs goes over all items, so that few sums are left to add up, and a backward that
has nothing to do starts few programs. `long_rows` walks over a row twice: once for its sums, which each thread keeps for itself and carries to a larger maximum
whenever one turns up, and once for the gradient, whose exponentials it computes again; the second time the row is still in the cache. As in the elementwise pattern:
sums in float64 in a fixed order, and no step waits for the device.
"""

from functools import partial

import torch
import triton
from torch import Tensor

from losskit.engines.call import Results, Rows, real_dtype
from losskit.engines.protocol import Gradients
from losskit.engines.triton import gradients
from losskit.engines.triton import items as numbers_of_items
from losskit.engines.triton.denominators import census as census
from losskit.engines.triton.elementwise import BLOCK, MAX_PARAMS, OPTIONS, REAL, add_up, at_home, bound
from losskit.engines.triton.layout import PROGRAMS, Layout, laid_out, multiplied, readable, tiling
from losskit.engines.triton.rows_kernels import long_rows, rowwise


def launch(
    call: Rows,
    x: Tensor,
    where: Layout,
    t: Tensor,
    scale: float | Tensor,
    *,
    incoming: Tensor | None = None,
    value: Tensor | None = None,
    lse: Tensor | None = None,
    right: Tensor | None = None,
    grad: Tensor | None = None,
    total: Tensor | None = None,
    operands: tuple[Tensor, ...] = (),
    by: tuple[Tensor | None, ...] = (),
) -> None:
    """Runs the kernel for the outputs given; the gradient lies like the scores, the others in the order of the items."""
    if t.numel() == 0:
        if total is not None:
            total.zero_()
        return
    number, pointer = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    shape = tiling(where, x.element_size())
    kernel, more = (rowwise, {"FULL": shape.tiles * shape.columns == where.classes}) if shape.whole else (long_rows, {})
    strips = where.outer * triton.cdiv(where.inner, shape.items)
    programs = min(strips, PROGRAMS)
    parts = None if total is None else torch.empty(programs, dtype=torch.float64, device=x.device)
    with at_home(x):
        kernel[(programs,)](
            x, readable(t), readable(call.factor), readable(call.weight), readable(call.shares), pointer, incoming, value, lse, readable(right), grad, parts, total,
            operands, by or (None,) * len(operands),
            where.classes, where.inner, strips, call.ignore, number, call.link_parameter, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), LINK=None if call.link is None else bound(call.link), MARGIN=None if call.margin is None else bound(call.margin),
            PARAMS=len(call.params), REAL=REAL[real_dtype(x.dtype)],
            PLANES=where.planes, ALIGN=where.align(), ROWS=shape.rows, COLUMNS=shape.columns, TILES=shape.tiles,
            COUNT=len(operands), TEMPERED=int(call.tempered), HEATED=call.tempered and bool(by) and by[0] is not None,
            INPLACE=grad is x, **more, **OPTIONS | {"num_warps": shape.warps},
        )  # fmt: skip
        if total is not None and programs > 1:
            add_up[(1,)](parts, pointer, total, programs, number, BLOCK=BLOCK, **OPTIONS)


def run(
    call: Rows,
    operands: tuple[Tensor, ...],
    *,
    scale: float | Tensor = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    wants: tuple[bool, ...] = (),
    by_products: bool = False,
    inplace: bool = False,
) -> Results:
    """One pass: the sum of the losses times `scale`, or the loss of `each` item; and the gradient (times `incoming` if given: then no values)."""
    (x, t, *others), grad_input = operands, bool(wants) and wants[0]
    real = real_dtype(x.dtype)
    factor, scale = multiplied(call.factor, scale, incoming)
    call = call._replace(factor=factor)
    x, where = laid_out(x, call.dim)

    def of_items(wanted: bool, dtype: torch.dtype) -> Tensor | None:
        return torch.empty(t.shape, dtype=dtype, device=x.device) if wanted else None

    value, lse, right = of_items(each or by_products, real), of_items(by_products, real), of_items(by_products, torch.bool)
    grad = (x if inplace else torch.empty_like(x, requires_grad=False)) if grad_input else None
    total = torch.empty((), dtype=real, device=x.device) if incoming is None and not each else None
    by = numbers_of_items.room(others, t.shape, real, wants)
    read = numbers_of_items.read(others, t.shape, real)
    launch(call, x, where, t, scale, value=value, lse=lse, right=right, grad=grad, total=total, operands=read, by=by)
    return Results(total, value, (grad, None, *numbers_of_items.summed(by, others)), lse, right)


def write_again(call: Rows, operands: tuple[Tensor, ...], scale: float | Tensor, incoming: Tensor, given: Gradients) -> None:
    """Writes the gradients anew, times the incoming one, unless the device finds it to be 1."""
    x, where = laid_out(operands[0], call.dim)
    if given[0] is not None:
        read = numbers_of_items.read(operands[2:], operands[1].shape, real_dtype(x.dtype))
        launch(call, x, where, operands[1], scale, incoming=incoming, grad=given[0], operands=read)
    numbers_of_items.write_again(run, call, operands, scale, incoming, given)


rescaled = partial(gradients.rescaled, run, write_again)
