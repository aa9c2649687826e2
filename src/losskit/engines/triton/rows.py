"""The rows pattern on a GPU: one pass reads scores and labels, sums the loss and writes the gradient; see `cpu/rows/loops.py` for the mathematics.

`rowwise` holds all of an item's scores in registers and reads them once: rows, or items side by side in the planes of an image. How many threads share an item is
said by `layout.py`; one, where the classes are few. A constant number of programs goes over all items, so that few sums are left to add up, and a backward that
has nothing to do starts few programs. `long_rows` walks over a row twice: once for its sums, which each thread keeps for itself and carries to a larger maximum
whenever one turns up, and once for the gradient, whose exponentials it computes again; the second time the row is still in the cache. As in the elementwise pattern:
sums in float64 in a fixed order, and no step waits for the device.
"""

from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Results, Rows, real_dtype
from losskit.engines.protocol import Gradients
from losskit.engines.triton import gradients
from losskit.engines.triton import items as numbers_of_items
from losskit.engines.triton.elementwise import BLOCK, MAX_PARAMS, OPTIONS, REAL, add, add_up, at_home, bound
from losskit.engines.triton.items import operands_of, store_by, temperature_of
from losskit.engines.triton.layout import PROGRAMS, Layout, laid_out, multiplied, readable, tiling
from losskit.engines.triton.math import INF
from losskit.engines.triton.softmax import (
    NOWHERE,
    below,
    counted,
    exp_neg,
    point,
    raised,
    raised_gaps,
    scores,
    share,
    strip_of,
    sums,
    weight_of,
)

NOT_SPECIALIZED = ["classes", "inner", "strips", "ignore"]  # what matters of them is said by constants; each would double the variants to compile


@triton.jit
def concluded(  # type: ignore[no-untyped-def]
    found, y, counts, f, wrong, item, live, weight, WEIGHT, SHARES, VALUE, LSE, RIGHT, BY, numbers, temperature, p,
    FORMULA: tl.constexpr, REAL: tl.constexpr, COUNT: tl.constexpr, TEMPERED: tl.constexpr, GRADIENT: tl.constexpr,
):  # fmt: skip
    """From the sums of items to their losses and what else is stored of them. For their gradients: which items have one, and the factors of `gradient`."""
    m, own, rest, gaps, spread, shared, winner, _ = found
    own_weight = tl.full(y.shape, 1.0, REAL)
    if WEIGHT is not None:
        own_weight = tl.load(WEIGHT + y).to(REAL)
    own_share = tl.zeros(y.shape, REAL)
    if SHARES is not None:
        own_share = tl.load(SHARES + y).to(REAL)
    value, lse, slope, by_share, own_slope, heat, found = point(m, own, rest, gaps, spread, shared, own_share, own_weight, temperature, p, FORMULA)
    value = tl.where(counts, tl.where(wrong, float("nan"), value * f), 0.0)
    if VALUE is not None:
        tl.store(VALUE + item, value, live)
    if LSE is not None:
        tl.store(LSE + item, tl.where(counts, lse, 0.0), live)
    if RIGHT is not None:
        tl.store(RIGHT + item, (counts & ~wrong & (winner == y) & (rest == rest)).to(tl.uint8), live)  # a row with a NaN is never right
    w = f * weight.to(REAL)
    counts = counts & (w != 0.0)
    w = tl.where(wrong, float("nan"), w)
    warm = w
    if TEMPERED:
        warm = w / temperature
    for k in tl.static_range(COUNT):
        if TEMPERED and k == 0:
            store_by(BY[k], item, live, heat, warm, counts)
        else:
            store_by(BY[k], item, live, found[4 + k - TEMPERED], w, counts)
    return value, counts, slope * warm, by_share * warm, own_slope * warm


@triton.jit
def gradient(  # type: ignore[no-untyped-def]
    e, x, j, at_label, counts, slope, by_share, own_slope, SHARES, classes, parameter, LINK: tl.constexpr, REAL: tl.constexpr
):  # fmt: skip
    """A tile of the gradient, from its exponentials: exact zeros for what does not count, whatever it holds."""
    g = e * slope[:, None]
    if SHARES is not None:
        g -= share(SHARES, j, classes, REAL) * by_share[:, None]
    g = tl.where(at_label, own_slope[:, None], g)
    if LINK is not None:
        _, bend = LINK(x, parameter)
        g *= bend
    return tl.where(counts[:, None], g, 0.0)


@triton.jit(do_not_specialize=NOT_SPECIALIZED)
def rowwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, LABELS, FACTOR, WEIGHT, SHARES, SCALE, INCOMING, VALUE, LSE, RIGHT, GRAD, PARTS, TOTAL, OPERANDS, BY,
    classes: tl.int64, inner: tl.int64, strips: tl.int32, ignore: tl.int64, scale: tl.float64, link: tl.float64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, LINK: tl.constexpr, PARAMS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr, ALIGN: tl.constexpr, FULL: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr, COUNT: tl.constexpr, TEMPERED: tl.constexpr, HEATED: tl.constexpr,
):  # fmt: skip
    """ROWS items with all their classes, TILES times COLUMNS of them (FULL: exactly), strip by strip. Pointers are None for what is not there or not wanted.

    PLANES: `inner` items next to each other, the next class after the last of them, and the next sample after the last class. Otherwise all items are `inner`.
    ALIGN divides what lies between two classes of an image, or two rows.
    """
    weight, needed = weight_of(scale, SCALE, INCOMING)
    if FULL:
        length = COLUMNS * TILES
    else:
        length = classes.to(tl.int32) // ALIGN * ALIGN
    columns = tl.arange(0, COLUMNS)[None, :]
    beside = tl.arange(0, ROWS)
    step = 1
    if PLANES:
        inner = inner // ALIGN * ALIGN
        step = inner
    else:
        beside = beside * length
    inside = beside[:, None] + columns * step
    parameter = tl.full((), link, REAL)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    losses = tl.zeros((ROWS,), tl.float64)
    for strip in range(tl.program_id(0), tl.where(needed, strips, 0), tl.num_programs(0)):
        outer, begin, live, item = strip_of(strip, inner, PLANES, ROWS)
        counts, f, wrong, y = counted(LABELS, FACTOR, item, live, ignore, length, REAL, ROWS)
        corner = outer * step * length + begin if PLANES else begin * length
        wanted = live if PLANES else counts  # images: absent items lie between others, and leaving them out would break up the loads
        xs = ()
        ss = ()
        for k in tl.static_range(TILES):
            there = wanted[:, None]
            present = None
            if not FULL and k == TILES - 1:
                present = columns < length - k * COLUMNS
                there = there & present
            x = tl.load(X + (corner + k * COLUMNS * step) + inside, there, other=0).to(REAL)
            xs = xs + (x,)  # noqa: RUF005  # what Triton can read
            ss = ss + (scores(x, present, parameter, LINK),)  # noqa: RUF005
        numbers = operands_of(OPERANDS, item, live, COUNT, REAL, ROWS)
        temperature = temperature_of(numbers, TEMPERED)
        own = scores(tl.load(X + (corner + y.to(tl.int64) * step) + beside, counts, other=0).to(REAL), None, parameter, LINK)
        found = sums(ss, own, columns, y, temperature, SHARES, length, COLUMNS, REAL, RIGHT is not None, HEATED)
        value, counts, slope, by_share, own_slope = concluded(
            found, y, counts, f, wrong, item, live, weight, WEIGHT, SHARES, VALUE, LSE, RIGHT, BY, numbers, temperature, numbers[TEMPERED:] + p[:PARAMS],
            FORMULA, REAL, COUNT, TEMPERED, GRAD is not None,
        )  # fmt: skip
        losses += value
        if GRAD is not None:
            place = 0.5 * y.to(REAL)[:, None]  # compared anew, as half a number: what `sums` found of so many scores would be kept until here
            for k in tl.static_range(TILES):
                if COLUMNS == 1:
                    at_label = place == 0.5 * k
                else:
                    at_label = 0.5 * columns.to(REAL) == place - 0.5 * k * COLUMNS
                g = gradient(found[7][k], xs[k], columns + k * COLUMNS, at_label, counts, slope, by_share, own_slope, SHARES, length, parameter, LINK, REAL)
                there = live[:, None]
                if not FULL and k == TILES - 1:
                    there = there & (columns < length - k * COLUMNS)
                tl.store(GRAD + (corner + k * COLUMNS * step) + inside, g, there)
    if PARTS is not None:
        add(losses, weight, PARTS, TOTAL)


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
    strips = where.outer * triton.cdiv(where.inner, shape.rows)
    programs = min(strips, PROGRAMS)
    parts = None if total is None else torch.empty(programs, dtype=torch.float64, device=x.device)
    with at_home(x):
        rowwise[(programs,)](
            x, readable(t), readable(call.factor), readable(call.weight), readable(call.shares), pointer, incoming, value, lse, readable(right), grad, parts, total,
            operands, by or (None,) * len(operands),
            where.classes, where.inner, strips, call.ignore, number, call.link_parameter, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), LINK=None if call.link is None else bound(call.link), PARAMS=len(call.params), REAL=REAL[real_dtype(x.dtype)],
            PLANES=where.planes, ALIGN=where.align(), FULL=shape.tiles * shape.columns == where.classes, ROWS=shape.rows, COLUMNS=shape.columns, TILES=shape.tiles,
            COUNT=len(operands), TEMPERED=int(call.tempered), HEATED=call.tempered and bool(by) and by[0] is not None,
            **OPTIONS | {"num_warps": shape.warps},
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
