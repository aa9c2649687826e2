"""Rows with a distribution each on a GPU: one kernel reads scores and targets, sums the loss and writes both gradients; see `torch/distributions.py`.

Blocks, order of sums and scales are those of `rows.py`. The gradient of one class needs the derivatives of all, so where a row does not fit into the block
the program walks over it three times: for its largest score and the sum of exponentials, for the formula's sums, for the gradients. Where the input is
shifted before the link it looks for the largest input first. Nothing but the results is written; exponentials and formula are computed again.
"""

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Distributions, Results, real_dtype
from losskit.engines.protocol import Gradients
from losskit.engines.triton import elementwise, gradients
from losskit.engines.triton import items as numbers_of_items
from losskit.engines.triton.blocks import block, items, origins
from losskit.engines.triton.elementwise import BLOCK, MAX_PARAMS, OPTIONS, REAL, add, add_up, at_home, bound, scaling
from losskit.engines.triton.items import gap, mass_of_position, operands_of, placed, store_by, temperature_of
from losskit.engines.triton.layout import Layout, laid_out, multiplied, readable
from losskit.engines.triton.math import INF, exp_neg, log1p
from losskit.engines.triton.softmax import below, clipped, cooled, counted, distance, scores

WARP = 256  # scores per warp: 8 per thread; 16, as in `rows.py`, take up to 190 of its registers, for masses and derivatives too. Not yet measured on a GPU


@triton.jit
def highest(x, present):
    """The largest input of a block of each row."""
    return tl.max(tl.where(present, clipped(x), -INF), 1)


@triton.jit
def shifted(x, peak, SHIFT: tl.constexpr):  # type: ignore[no-untyped-def]
    """What the link gets: the input, or how it lies to the row's largest."""
    return clipped(x) - peak[:, None] if SHIFT else x


@triton.jit
def summit(s, j, temperature):
    """Of a block of each row: the largest score, its first place, the sum of the exponentials of all others."""
    m = tl.max(s, 1)
    top = tl.min(tl.where(s == m[:, None], j[None, :], 0x7FFFFFFF), 1)
    return m, top, tl.sum(tl.where(j[None, :] == top[:, None], 0.0, exp_neg(below(s, m, temperature))), 1)


@triton.jit
def joined_gaps(gaps, others, m, m_next, new, temperature):
    """Of `joined`, the sum of gaps of a stretch whose maximum is m; the smaller of the two maxima becomes one of the others."""
    lift = tl.where(m == new, 0.0, distance(new, m, temperature))
    e = exp_neg(tl.where(m == -INF, INF, lift))
    gaps = tl.where(others == 0.0, gaps, gaps + lift * others) * exp_neg(lift)
    return gaps + tl.where(m_next > m, gap(e, lift), 0.0)


@triton.jit
def joined(m, others, m_next, others_next, temperature):
    """The largest score and the sum over the others of two stretches of a row: the smaller of the two maxima becomes one of the others."""
    new = tl.where(m_next > m, m_next, m)
    old = tl.where(m_next > m, m, m_next)
    lost = exp_neg(tl.where(old == -INF, INF, distance(new, old, temperature)))
    others *= exp_neg(tl.where(m == new, 0.0, distance(new, m, temperature)))
    others += others_next * exp_neg(tl.where(m_next == new, 0.0, distance(new, m_next, temperature)))
    return new, others + lost


@triton.jit
def evaluated(  # type: ignore[no-untyped-def]
    x, present, T, LABELS, POSITIONS, WEIGHT, first, step, j, y, classes, row, parameter, temperature, p,
    FORMULA: tl.constexpr, LINK: tl.constexpr, REAL: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """Of a block of classes: which is the row's largest, p, 1 - p, weight, mass, and what the formula returns; 0 for what is not present."""
    m, top, others, level, inverse = row
    at_top = j[None, :] == top[:, None]
    fall = below(scores(x, present, parameter, LINK), m, temperature)
    hit = exp_neg(fall) * inverse[:, None]
    miss = tl.where(at_top, (others * inverse)[:, None], 1.0 - hit)
    t = tl.zeros_like(hit)
    if T is not None:
        t = tl.load(T + (first[:, None] + (j * step)[None, :]), present, other=0).to(REAL)
    if LABELS is not None:
        t = (present & (j[None, :] == y[:, None])).to(REAL)
    if POSITIONS is not None:
        t = tl.where(present, mass_of_position(y, j, REAL), 0.0)
    weight = tl.full((1, 1), 1.0, REAL)
    if WEIGHT is not None:
        weight = tl.load(WEIGHT + j, j < classes, other=0).to(REAL)[None, :]
    found = FORMULA(-fall - level[:, None], hit, miss, t, weight, *p)
    by_log = tl.where(present, found[1], 0.0)
    by_target = tl.where(present, found[2], 0.0)
    by = (tl.sum(gap(by_log, fall), 1),)
    for k in tl.static_range(COUNT):
        by = by + (tl.sum(tl.where(present, found[3 + k], 0.0), 1),)  # type: ignore[assignment]  # noqa: RUF005
    return at_top, hit, miss, weight, t * weight, tl.where(present, found[0], 0.0), by_log, by_target, by


@triton.jit
def summed(here):
    """Of a block of each row: value, derivatives by log p of the largest score and of all others, weighted mass."""
    at_top, _, _, _, mass, value, by_log, _, _ = here
    return tl.sum(value, 1), tl.sum(tl.where(at_top, by_log, 0.0), 1), tl.sum(tl.where(at_top, 0.0, by_log), 1), tl.sum(mass, 1)


@triton.jit
def store_gradients(  # type: ignore[no-untyped-def]
    GRAD_X, GRAD_T, x, here, own, rest, pull, push, w, temperature, counts, live, first, step, j, classes, parameter, LINK: tl.constexpr, SQUARE: tl.constexpr
):  # fmt: skip
    """A block of the gradients: exact zeros for what does not count, whatever it holds."""
    at_top, hit, miss, weight, _, _, by_log, by_target, _ = here
    places = first[:, None] + (j * step)[None, :]
    there = live[:, None] & (j < classes)[None, :]
    if GRAD_X is not None:
        g = tl.where(at_top, by_log * miss - hit * rest[:, None], by_log - hit * (own + rest)[:, None])
        if SQUARE:
            g += hit * pull[:, None]
        if LINK is not None:
            _, bend = LINK(x, parameter)
            g *= bend
        warm = w
        if temperature is not None:
            warm = w / temperature
        tl.store(GRAD_X + places, tl.where(counts[:, None], g * warm[:, None], 0.0), there)
    if GRAD_T is not None:
        if SQUARE:
            by_target += weight * push[:, None]
        tl.store(GRAD_T + places, tl.where(counts[:, None], by_target * w[:, None], 0.0), there)


@triton.jit
def classwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, POSITIONS, FACTOR, WEIGHT, SCALE, INCOMING, VALUE, LSE, GRAD_X, GRAD_T, PARTS, TOTAL, OPERANDS, BY,
    classes: tl.int64, inner: tl.int64, ignore: tl.int64, scale: tl.float64, link: tl.float64, square: tl.float64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, LINK: tl.constexpr, PARAMS: tl.constexpr, SHIFT: tl.constexpr, SQUARE: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr,
    WHOLE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, COUNT: tl.constexpr, TEMPERED: tl.constexpr, HEATED: tl.constexpr,
):  # fmt: skip
    """ROWS items, COLUMNS of their classes at a time: all of them if WHOLE. None pointers, INCOMING and PLANES as in `rowwise`. No T, LABELS, POSITIONS: t = 0."""
    weight = scaling(scale, SCALE)
    if INCOMING is not None:
        incoming = tl.load(INCOMING)
        if incoming == 1.0:
            return
        weight *= incoming.to(tl.float64)
    outer, i, live, item = items(inner, ROWS)
    counts, f, wrong, y = counted(LABELS, FACTOR, item, live, ignore, classes, REAL, ROWS)
    if POSITIONS is not None:
        y, wrong = placed(POSITIONS, item, live, classes, REAL)
    first, step, wanted = origins(outer, i, item, live, counts, classes, inner, PLANES)
    columns = tl.arange(0, COLUMNS)
    length = classes * tl.max(counts.to(tl.int64), 0)
    parameter = tl.full((), link, REAL)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    numbers = operands_of(OPERANDS, item, live, COUNT, REAL, ROWS)
    temperature = temperature_of(numbers, TEMPERED)
    given = ()
    for k in tl.static_range(COUNT - TEMPERED):
        given = given + (numbers[TEMPERED + k][:, None],)  # type: ignore[assignment]  # noqa: RUF005
    arguments = given + p[:PARAMS]

    peak = tl.full((ROWS,), -INF, REAL)
    if WHOLE:
        x, present = block(X, first, wanted, columns, step, classes, REAL)
        if SHIFT:
            peak = highest(x, present)
        x = shifted(x, peak, SHIFT)
        s = scores(x, present, parameter, LINK)
        m, top, others = summit(s, columns, temperature)
        if HEATED:
            fall = below(s, m, temperature)
            gaps = tl.sum(gap(exp_neg(fall), fall), 1)
    else:
        if SHIFT:
            for start in range(0, length, COLUMNS):
                x, present = block(X, first, wanted, (start + columns).to(tl.int32), step, classes, REAL)
                here = highest(x, present)
                peak = tl.where(here > peak, here, peak)
        m = tl.full((ROWS,), -INF, REAL)
        top = tl.zeros((ROWS,), tl.int32)
        sums = tl.zeros((ROWS,), tl.float64)
        apart = tl.zeros((ROWS,), tl.float64)
        for start in range(0, length, COLUMNS):
            j = (start + columns).to(tl.int32)
            x, present = block(X, first, wanted, j, step, classes, REAL)
            s = scores(shifted(x, peak, SHIFT), present, parameter, LINK)
            m_here, top_here, others = summit(s, j, temperature)
            if HEATED:
                fall = below(s, m_here, temperature)
                new = tl.where(m_here > m, m_here, m)
                more = tl.sum(gap(exp_neg(fall), fall), 1)
                apart = joined_gaps(apart, sums, m, m_here, new, temperature) + joined_gaps(more, others, m_here, m, new, temperature)
            top = tl.where(m_here > m, top_here, top)
            m, sums = joined(m, sums, m_here, others, temperature)
        others = sums.to(REAL)
        if HEATED:
            gaps = apart.to(REAL)
    others = tl.where(m == -INF, float("nan"), others)  # all classes ruled out: no distribution
    level = log1p(others)
    row = (m, top, others, level, 1.0 / (1.0 + others))
    height = cooled(m, temperature)
    lse = height + level

    if WHOLE:
        here = evaluated(
            x,
            present,
            T,
            LABELS,
            POSITIONS,
            WEIGHT,
            first,
            step,
            columns,
            y,
            classes,
            row,
            parameter,
            temperature,
            arguments,
            FORMULA,
            LINK,
            REAL,
            COUNT - TEMPERED,
        )
        by = here[8]
        value, own, rest, mass = summed(here)
    else:
        values = tl.zeros((ROWS,), tl.float64)
        owns = tl.zeros((ROWS,), tl.float64)
        rests = tl.zeros((ROWS,), tl.float64)
        masses = tl.zeros((ROWS,), tl.float64)
        falls = tl.zeros((ROWS,), tl.float64)
        firsts = tl.zeros((ROWS,), tl.float64)
        seconds = tl.zeros((ROWS,), tl.float64)
        for start in range(0, length, COLUMNS):
            j = (start + columns).to(tl.int32)
            x, present = block(X, first, wanted, j, step, classes, REAL)
            x = shifted(x, peak, SHIFT)
            here = evaluated(
                x,
                present,
                T,
                LABELS,
                POSITIONS,
                WEIGHT,
                first,
                step,
                j,
                y,
                classes,
                row,
                parameter,
                temperature,
                arguments,
                FORMULA,
                LINK,
                REAL,
                COUNT - TEMPERED,
            )
            value, own, rest, mass = summed(here)
            falls += here[8][0]
            if COUNT - TEMPERED > 0:
                firsts += here[8][1]
            if COUNT - TEMPERED > 1:
                seconds += here[8][2]
            values += value
            owns += own
            rests += rest
            masses += mass
        value = values.to(REAL)
        own = owns.to(REAL)
        rest = rests.to(REAL)
        mass = masses.to(REAL)
        by = (falls.to(REAL), firsts.to(REAL), seconds.to(REAL))
    pull = tl.zeros((ROWS,), REAL)
    push = tl.zeros((ROWS,), REAL)
    if SQUARE:
        by_square = tl.full((), square, REAL) * lse
        value += by_square * mass * lse
        pull = 2.0 * by_square * mass
        push = by_square * lse

    value = tl.where(counts, tl.where(wrong, float("nan"), value * f), 0.0)
    if VALUE is not None:
        tl.store(VALUE + item, value, live)
    if LSE is not None:
        tl.store(LSE + item, tl.where(counts, lse, 0.0), live)
    if PARTS is not None:
        add(value, weight, PARTS, TOTAL)

    if GRAD_X is not None or GRAD_T is not None or COUNT > 0:
        w = f * weight.to(REAL)
        counts = counts & (w != 0.0)
        w = tl.where(wrong, float("nan"), w)
        for k in tl.static_range(COUNT):
            if TEMPERED and k == 0 and HEATED:
                mean = gaps * row[4]  # of how far scores lie below the largest, under p
                store_by(BY[k], item, live, by[0] - (own + rest) * mean - pull * (height - mean), w / temperature, counts)
            elif k >= TEMPERED:
                store_by(BY[k], item, live, by[1 + k - TEMPERED], w, counts)
    if GRAD_X is not None or GRAD_T is not None:
        if WHOLE:
            store_gradients(
                GRAD_X, GRAD_T, x, here, own, rest, pull, push, w, temperature, counts, live, first, step, columns, classes, parameter, LINK, SQUARE
            )
        else:
            for start in range(0, classes, COLUMNS):
                j = (start + columns).to(tl.int32)
                x, present = block(X, first, wanted, j, step, classes, REAL)
                x = shifted(x, peak, SHIFT)
                here = evaluated(
                    x, present, T, LABELS, POSITIONS, WEIGHT, first, step, j, y, classes, row, parameter, temperature, arguments, FORMULA, LINK, REAL,
                    COUNT - TEMPERED,
                )  # fmt: skip
                store_gradients(GRAD_X, GRAD_T, x, here, own, rest, pull, push, w, temperature, counts, live, first, step, j, classes, parameter, LINK, SQUARE)


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
    rows, columns = where.block()
    programs = where.outer * triton.cdiv(where.inner, rows)
    parts = None if total is None else torch.empty(programs, dtype=torch.float64, device=x.device)
    options = OPTIONS | {"num_warps": min(max(rows * columns // WARP, 1), 16)}
    with at_home(x):
        classwise[(programs,)](
            x, elementwise.laid_out(t, x) if call.kind == "distribution" else None, readable(t) if call.kind == "label" else None,
            readable(t) if call.kind == "position" else None, readable(call.factor), readable(call.weight), pointer, incoming, value, lse, grad_x, grad_t, parts, total,
            operands, by or (None,) * len(operands),
            where.classes, where.inner, call.ignore, number, call.link_parameter, call.square, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), LINK=None if call.link is None else bound(call.link), PARAMS=len(call.params), SHIFT=call.shift,
            SQUARE=call.square != 0.0, REAL=REAL[real_dtype(x.dtype)], PLANES=where.planes, WHOLE=columns >= where.classes, ROWS=rows, COLUMNS=columns,
            COUNT=len(operands), TEMPERED=int(call.tempered), HEATED=call.tempered and bool(by) and by[0] is not None, **options,
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
