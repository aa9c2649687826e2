"""The rows pattern on a GPU: one pass reads scores and labels, sums the loss and writes the gradient; see `cpu/rows/loops.py` for the mathematics.

One program takes a few items with their classes, as one block of the scores: rows, or items side by side in the planes of an image. Where a row does not fit
into the block, the program walks over it twice: once for its sums, which it carries to a larger maximum whenever one turns up, and once for the gradient,
whose exponentials it computes again. As in the elementwise pattern: sums in float64 in a fixed order, and no step waits for the device.
"""

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Results, Rows, real_dtype
from losskit.engines.protocol import Gradients
from losskit.engines.triton import gradients
from losskit.engines.triton import items as numbers_of_items
from losskit.engines.triton.elementwise import BLOCK, MAX_PARAMS, OPTIONS, REAL, add, add_up, at_home, bound, scaling
from losskit.engines.triton.items import gap, operands_of, store_by, temperature_of
from losskit.engines.triton.layout import Layout, laid_out, multiplied, readable
from losskit.engines.triton.math import INF, LARGEST, LARGEST_64, exp_neg, log1p

WARP = 512  # scores per warp: 16 per thread in registers. Not yet measured on a GPU


@triton.jit
def largest(s):
    """The largest finite number."""
    return LARGEST_64 if s.dtype == tl.float64 else LARGEST


@triton.jit
def clipped(s):
    """An infinite number is read as the largest one."""
    return tl.where(s > largest(s), largest(s), s)


@triton.jit
def items(inner, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The items of this program: the sample they lie in, their places in it, which of them there are, their places among all."""
    program = tl.program_id(0).to(tl.int64)
    tiles = tl.cdiv(inner, ROWS)
    outer = program // tiles
    i = (program - outer * tiles) * ROWS + tl.arange(0, ROWS)
    return outer, i, i < inner, outer * inner + i


@triton.jit
def counted(LABELS, FACTOR, item, live, ignore, classes, REAL: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which items count, what multiplies each, whose label is no class, and the labels: class 0 where there is none."""
    counts = live
    wrong = tl.zeros((ROWS,), tl.int1)
    y = tl.zeros((ROWS,), tl.int32)
    f = tl.full((ROWS,), 1.0, REAL)
    if FACTOR is not None:
        f = tl.load(FACTOR + item, live, other=0).to(REAL)
        counts = counts & (f != 0.0)
    if LABELS is not None:
        label = tl.load(LABELS + item, live, other=0).to(tl.int64)
        counts = counts & (label != ignore)
        wrong = counts & ((label < 0) | (label >= classes))
        y = tl.where(counts & ~wrong, label, 0).to(tl.int32)
    return counts, f, wrong, y


@triton.jit
def origins(outer, i, item, live, counts, classes, inner, PLANES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where the items' first classes lie, the step to the next, and which items to read.

    Rows that do not count are not read; in images they lie between others, and leaving them out would break up the loads.
    """
    if PLANES:
        first = outer * inner * classes + i
        step = inner
        wanted = live
    else:
        first = item * classes
        step = 1
        wanted = counts
    return first, step, wanted


@triton.jit
def block(X, first, wanted, j, step, classes, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """Classes j of the rows that are wanted, and where there are any."""
    present = wanted[:, None] & (j < classes)[None, :]
    return tl.load(X + (first[:, None] + (j * step)[None, :]), present, other=0).to(REAL), present


@triton.jit
def scores(x, present, parameter, LINK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The scores of a block; infinite ones are read as the largest number, and what is not present as minus infinity."""
    if LINK is not None:
        s, _ = LINK(x, parameter)
    else:
        s = x
    return tl.where(present, clipped(s), -INF)


@triton.jit
def distance(top, s, temperature):
    """How far scores lie below the largest, in temperatures: divided after the subtraction, for x / T is rounded. A difference of halves does not overflow."""
    if temperature is not None:
        return (0.5 * top - 0.5 * s) / (0.5 * temperature)
    return top - s


@triton.jit
def cooled(top, temperature):
    """The largest score in temperatures; an infinite one is read as the largest number."""
    if temperature is not None:
        top = clipped(top / temperature)
    return top


@triton.jit
def below(s, top, temperature):
    """`distance` of a block; a score of minus infinity lies infinitely far, even where there is no other."""
    if temperature is not None:
        return tl.where(s == -INF, INF, distance(top[:, None], s, temperature[:, None]))
    return tl.where(s == -INF, INF, top[:, None] - s)


@triton.jit
def share(SHARES, j, classes, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """The classes' shares in `spread`."""
    return tl.load(SHARES + j, j < classes, other=0).to(REAL)


@triton.jit
def sums(s, j, y, temperature, SHARES, classes, REAL: tl.constexpr, FIRST: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a block of each row: the largest score, the label's score, the sum of the other classes' exponentials, the spread, the shares, the winner."""
    top = tl.max(s, 1)
    gap = below(s, top, temperature)
    at_label = j[None, :] == y[:, None]
    own = tl.sum(tl.where(at_label, s, 0.0), 1)
    rest = tl.sum(tl.where(at_label, 0.0, exp_neg(gap)), 1)
    spread = tl.zeros_like(rest)
    shared = tl.zeros((), REAL)
    if SHARES is not None:
        h = share(SHARES, j, classes, REAL)
        spread = tl.sum(tl.where(h[None, :] == 0.0, 0.0, h[None, :] * gap), 1)
        shared = tl.sum(h)
    winner = tl.zeros_like(y)
    if FIRST:
        winner = tl.min(tl.where(s == top[:, None], j[None, :], 0x7FFFFFFF), 1)
    return top, own, rest, spread, shared, winner


@triton.jit
def gaps_of(s, j, y, top, temperature, HEATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """How far scores of the other classes lie below the largest, times their exponentials, added up; of use to derivatives by temperatures alone."""
    if HEATED:
        fall = below(s, top, temperature)
        return tl.sum(tl.where(j[None, :] == y[:, None], 0.0, gap(exp_neg(fall), fall)), 1)
    return tl.zeros_like(top)


@triton.jit
def raised_gaps(gaps, rest, m, new, temperature):
    """Their sum, taken against the maximum m, against a larger one."""
    lift = tl.where(m == new, 0.0, distance(new, m, temperature))
    return tl.where(rest == 0.0, gaps, gaps + lift * rest) * exp_neg(lift)


@triton.jit
def raised(rest, spread, shared, m, new, temperature):
    """Sums taken against the maximum m, against a larger one."""
    gap = tl.where(m == new, 0.0, distance(new, m, temperature))
    return rest * exp_neg(gap), spread + tl.where(shared == 0.0, 0.0, shared * gap)


@triton.jit
def point(m, own, rest, gaps, spread, shared, own_share, weight, temperature, p, FORMULA: tl.constexpr):  # type: ignore[no-untyped-def]
    """From a row's sums to: value, log-sum-exp, the factors of the exponentials and of the shares in the gradient, the label's gradient, and what operands need."""
    d = tl.where((m == largest(m)) & (own < m), INF, distance(m, own, temperature))
    m = cooled(m, temperature)
    hit = exp_neg(d)
    level = log1p(tl.where(d == 0.0, rest, rest + hit - 1.0))
    inverse = 1.0 / (rest + hit)
    hit = hit * inverse
    miss = rest * inverse
    far = tl.where(weight == 0.0, 0.0, d + level)  # a class of weight 0 may be ruled out
    found = FORMULA(far, hit, miss, spread + shared * level, m + level, weight, *p)
    value = found[0]
    by_nll = found[1]
    by_spread = found[2]
    by_lse = found[3]
    common = shared * by_spread + by_lse
    apart = gaps * inverse
    mean = tl.where(hit == 0.0, apart, hit * d + apart)  # of how far scores lie below the largest, under p
    pull = by_nll + tl.zeros_like(rest)
    pull = tl.where(pull == 0.0, 0.0, pull * (d * miss - apart))
    part = by_spread + tl.zeros_like(rest)
    heat = -(pull + tl.where(part == 0.0, 0.0, part * (spread - shared * mean)) + by_lse * (m - mean))  # minus the sum of scores times derivatives by them
    return value, m + level, (by_nll + common) * inverse, by_spread, common * hit - by_nll * miss - own_share * by_spread, heat, found


@triton.jit
def store_gradient(  # type: ignore[no-untyped-def]
    GRAD, x, present, counts, first, live, j, step, y, m, slope, by_share, own_slope, SHARES, classes, parameter, temperature,
    LINK: tl.constexpr, REAL: tl.constexpr,
):  # fmt: skip
    """A block of the gradient: exact zeros for what does not count, whatever it holds."""
    g = exp_neg(below(scores(x, present, parameter, LINK), m, temperature)) * slope[:, None]
    if SHARES is not None:
        g -= share(SHARES, j, classes, REAL)[None, :] * by_share[:, None]
    g = tl.where(j[None, :] == y[:, None], own_slope[:, None], g)
    if LINK is not None:
        _, bend = LINK(x, parameter)
        g *= bend
    tl.store(GRAD + (first[:, None] + (j * step)[None, :]), tl.where(counts[:, None], g, 0.0), live[:, None] & (j < classes)[None, :])


@triton.jit
def rowwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, LABELS, FACTOR, WEIGHT, SHARES, SCALE, INCOMING, VALUE, LSE, RIGHT, GRAD, PARTS, TOTAL, OPERANDS, BY,
    classes: tl.int64, inner: tl.int64, ignore: tl.int64, scale: tl.float64, link: tl.float64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, LINK: tl.constexpr, PARAMS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr, WHOLE: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, COUNT: tl.constexpr, TEMPERED: tl.constexpr, HEATED: tl.constexpr,
):  # fmt: skip
    """ROWS items, COLUMNS of their classes at a time: all of them if WHOLE. None pointers and INCOMING as in `pointwise`.

    PLANES: `inner` items next to each other, the next class after the last of them, and the next sample after the last class. Otherwise all items are `inner`.
    """
    weight = scaling(scale, SCALE)
    if INCOMING is not None:
        incoming = tl.load(INCOMING)
        if incoming == 1.0:
            return
        weight *= incoming.to(tl.float64)
    outer, i, live, item = items(inner, ROWS)
    counts, f, wrong, y = counted(LABELS, FACTOR, item, live, ignore, classes, REAL, ROWS)
    first, step, wanted = origins(outer, i, item, live, counts, classes, inner, PLANES)
    columns = tl.arange(0, COLUMNS)
    parameter = tl.full((), link, REAL)
    numbers = operands_of(OPERANDS, item, live, COUNT, REAL, ROWS)
    temperature = temperature_of(numbers, TEMPERED)
    if WHOLE:
        x, present = block(X, first, wanted, columns, step, classes, REAL)
        s = scores(x, present, parameter, LINK)
        m, own, rest, spread, shared, winner = sums(s, columns, y, temperature, SHARES, classes, REAL, RIGHT is not None)
        gaps = gaps_of(s, columns, y, m, temperature, HEATED)
    else:
        m = tl.full((ROWS,), -INF, REAL)
        own = tl.zeros((ROWS,), REAL)
        rests = tl.zeros((ROWS,), tl.float64)
        spreads = tl.zeros((ROWS,), tl.float64)
        apart = tl.zeros((ROWS,), tl.float64)
        shares = tl.zeros((), tl.float64)
        winner = tl.zeros((ROWS,), tl.int32)
        for start in range(0, classes * tl.max(counts.to(tl.int64), 0), COLUMNS):
            j = (start + columns).to(tl.int32)
            x, present = block(X, first, wanted, j, step, classes, REAL)
            s = scores(x, present, parameter, LINK)
            top, own_here, rest, spread, shared, winner_here = sums(s, j, y, temperature, SHARES, classes, REAL, RIGHT is not None)
            if RIGHT is not None:
                winner = tl.where(top > m, winner_here, winner)
            new = tl.where(top > m, top, m)
            if HEATED:
                apart = raised_gaps(apart, rests, m, new, temperature) + raised_gaps(gaps_of(s, j, y, top, temperature, HEATED), rest, top, new, temperature)
            rests, spreads = raised(rests, spreads, shares, m, new, temperature)
            rest, spread = raised(rest, spread, shared, top, new, temperature)
            rests += rest
            spreads += spread
            shares += shared
            own += own_here
            m = new
        rest = rests.to(REAL)
        gaps = apart.to(REAL)
        spread = spreads.to(REAL)
        shared = shares.to(REAL)

    own_weight = tl.full((ROWS,), 1.0, REAL)
    if WEIGHT is not None:
        own_weight = tl.load(WEIGHT + y).to(REAL)
    own_share = tl.zeros((ROWS,), REAL)
    if SHARES is not None:
        own_share = tl.load(SHARES + y).to(REAL)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    value, lse, slope, by_share, own_slope, heat, found = point(
        m, own, rest, gaps, spread, shared, own_share, own_weight, temperature, numbers[TEMPERED:] + p[:PARAMS], FORMULA
    )

    value = tl.where(counts, tl.where(wrong, float("nan"), value * f), 0.0)
    if VALUE is not None:
        tl.store(VALUE + item, value, live)
    if LSE is not None:
        tl.store(LSE + item, tl.where(counts, lse, 0.0), live)
    if RIGHT is not None:
        tl.store(RIGHT + item, (counts & ~wrong & (winner == y) & (rest == rest)).to(tl.uint8), live)  # a row with a NaN is never right
    if PARTS is not None:
        add(value, weight, PARTS, TOTAL)

    if GRAD is not None or COUNT > 0:
        w = f * weight.to(REAL)
        counts = counts & (w != 0.0)
        w = tl.where(wrong, float("nan"), w)
        for k in tl.static_range(COUNT):
            if TEMPERED and k == 0:
                store_by(BY[k], item, live, heat, w / temperature, counts)
            else:
                store_by(BY[k], item, live, found[4 + k - TEMPERED], w, counts)
    if GRAD is not None:
        if TEMPERED:
            w = w / temperature
        slope *= w
        own_slope *= w
        by_share *= w
        if WHOLE:
            store_gradient(
                GRAD, x, present, counts, first, live, columns, step, y, m, slope, by_share, own_slope, SHARES, classes, parameter, temperature, LINK, REAL
            )
        else:
            for start in range(0, classes, COLUMNS):
                j = (start + columns).to(tl.int32)
                x, present = block(X, first, wanted, j, step, classes, REAL)
                store_gradient(
                    GRAD, x, present, counts, first, live, j, step, y, m, slope, by_share, own_slope, SHARES, classes, parameter, temperature, LINK, REAL
                )


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
    rows, columns = where.block()
    programs = where.outer * triton.cdiv(where.inner, rows)
    parts = None if total is None else torch.empty(programs, dtype=torch.float64, device=x.device)
    options = OPTIONS | {"num_warps": min(max(rows * columns // WARP, 1), 8)}
    with at_home(x):
        rowwise[(programs,)](
            x, readable(t), readable(call.factor), readable(call.weight), readable(call.shares), pointer, incoming, value, lse, readable(right), grad, parts, total,
            operands, by or (None,) * len(operands),
            where.classes, where.inner, call.ignore, number, call.link_parameter, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), LINK=None if call.link is None else bound(call.link), PARAMS=len(call.params), REAL=REAL[real_dtype(x.dtype)],
            PLANES=where.planes, WHOLE=columns >= where.classes, ROWS=rows, COLUMNS=columns, COUNT=len(operands), TEMPERED=int(call.tempered), HEATED=call.tempered and bool(by) and by[0] is not None, **options,
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
