"""The kernels of the rows pattern; see `rows.py`."""

import triton
import triton.language as tl

from losskit.engines.triton.elementwise import NUMBERS_ALONE, add
from losskit.engines.triton.items import operands_of, store_by, temperature_of
from losskit.engines.triton.math import INF, exp_neg
from losskit.engines.triton.softmax import (
    NOWHERE,
    below,
    counted,
    lying,
    lying_long,
    point,
    raised,
    raised_gaps,
    scores,
    scores_of,
    share,
    strip_of,
    sums,
    there_of,
    tiles_of,
    weight_of,
    with_own,
)

NOT_SPECIALIZED = ["classes", "inner", "strips", "ignore"]  # what matters of them is said by constants; each would double the variants to compile


@triton.jit
def concluded(  # type: ignore[no-untyped-def]
    found, y, counts, f, wrong, item, live, weight, WEIGHT, SHARES, VALUE, LSE, RIGHT, BY, numbers, temperature, p, bend,
    FORMULA: tl.constexpr, REAL: tl.constexpr, COUNT: tl.constexpr, TEMPERED: tl.constexpr,
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
    if bend is not None:
        own_slope *= bend
    for k in tl.static_range(COUNT):
        if TEMPERED and k == 0:
            store_by(BY[k], item, live, heat, warm, counts)
        else:
            store_by(BY[k], item, live, found[4 + k - TEMPERED], w, counts)
    return value, counts, slope * warm, by_share * warm, own_slope * warm


@triton.jit
def gradient(  # type: ignore[no-untyped-def]
    e, x, j, at_label, factors, SHARES, classes, parameter, LINK: tl.constexpr, REAL: tl.constexpr
):  # fmt: skip
    """A tile of the gradient, from its exponentials: exact zeros for what does not count, whatever it holds."""
    counts, slope, by_share, own_slope = factors
    g = e * slope[:, None]
    if SHARES is not None:
        g -= share(SHARES, j, classes, REAL) * by_share[:, None]
    g = tl.where(at_label, own_slope[:, None], g)
    if LINK is not None:
        _, bend = LINK(x, parameter)
        g *= bend
    return tl.where(counts[:, None], g, 0.0)


@triton.jit(do_not_specialize=NOT_SPECIALIZED, do_not_specialize_on_alignment=NUMBERS_ALONE)
def rowwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, LABELS, FACTOR, WEIGHT, SHARES, SCALE, INCOMING, VALUE, LSE, RIGHT, GRAD, PARTS, TOTAL, OPERANDS, BY,
    classes: tl.int64, inner: tl.int64, strips: tl.int32, ignore: tl.int64, scale: tl.float64, link: tl.float64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, LINK: tl.constexpr, MARGIN: tl.constexpr, PARAMS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr, ALIGN: tl.constexpr, FULL: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr, COUNT: tl.constexpr, TEMPERED: tl.constexpr, HEATED: tl.constexpr, INPLACE: tl.constexpr,
):  # fmt: skip
    """ROWS items with all their classes, TILES times COLUMNS of them (FULL: exactly), strip by strip. Pointers are None for what is not there or not wanted.

    PLANES: `inner` items next to each other, the next class after the last of them, and the next sample after the last class. Otherwise all items are `inner`.
    ALIGN divides what lies between two classes of an image, or two rows.
    """
    weight, needed = weight_of(scale, SCALE, INCOMING)
    RAGGED: tl.constexpr = TILES if FULL else TILES - 1
    columns = tl.arange(0, COLUMNS)[None, :]
    length, inner, step, beside, inside = lying(classes, inner, PLANES, ALIGN, FULL, ROWS, COLUMNS, TILES)
    parameter = tl.full((), link, REAL)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    losses = tl.zeros((ROWS,), tl.float64)
    for strip in range(tl.program_id(0), tl.where(needed, strips, 0), tl.num_programs(0)):
        outer, begin, live, item = strip_of(strip, inner, PLANES, ROWS)
        counts, f, wrong, y = counted(LABELS, FACTOR, item, live, ignore, length, REAL, ROWS)
        corner = outer * step * length + begin if PLANES else begin * length
        wanted = live if PLANES else counts  # images: absent items lie between others, and leaving them out would break up the loads
        xs = tiles_of(X, corner, step, inside, wanted, columns, length, RAGGED, REAL, COLUMNS, TILES, "")
        ss = scores_of(xs, columns, length, parameter, RAGGED, LINK, COLUMNS)
        numbers = operands_of(OPERANDS, item, live, COUNT, REAL, ROWS)
        temperature = None
        if TEMPERED:
            temperature = temperature_of(numbers)
        own = scores(tl.load(X + (corner + y.to(tl.int64) * step) + beside, counts, other=0).to(REAL), parameter, LINK)
        bend = None
        if MARGIN is not None:  # the labels' scores are lowered
            own, bend = MARGIN(own, *p[:PARAMS])
        ss = with_own(ss, own, columns, y, COLUMNS, MARGIN)
        found = sums(ss, own, columns, y, temperature, SHARES, length, COLUMNS, REAL, RIGHT is not None, HEATED)
        value, counts, slope, by_share, own_slope = concluded(
            found, y, counts, f, wrong, item, live, weight, WEIGHT, SHARES, VALUE, LSE, RIGHT, BY, numbers, temperature, numbers[TEMPERED:] + p[:PARAMS], bend,
            FORMULA, REAL, COUNT, TEMPERED,
        )  # fmt: skip
        losses += value
        if GRAD is not None:
            if INPLACE:  # every thread has read before any writes, whichever the compiler lets load what another stores
                tl.debug_barrier()
            place = 0.5 * y.to(REAL)[:, None]  # compared anew, as half a number: what `sums` found of so many scores would be kept until here
            for k in tl.static_range(TILES):
                at_label = place == 0.5 * k if COLUMNS == 1 else 0.5 * columns.to(REAL) == place - 0.5 * k * COLUMNS
                g = gradient(found[7][k], xs[k], columns + k * COLUMNS, at_label, (counts, slope, by_share, own_slope), SHARES, length, parameter, LINK, REAL)
                tl.store(GRAD + (corner + k * COLUMNS * step) + inside, g, there_of(live, columns, length, k, RAGGED, COLUMNS))
    if PARTS is not None:
        add(losses, weight, PARTS, TOTAL)


@triton.jit
def joined(state, ss, j, y, temperature, SHARES, length, SPAN: tl.constexpr, REAL: tl.constexpr, FIRST: tl.constexpr, HEATED: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    """The sums of rows so far, and of one more block."""
    m, rests, apart, spreads, shares, winner = state
    top, _, rest, gaps, spread, shared, winner_here, _ = sums(ss, m, j, y, temperature, SHARES, length, SPAN, REAL, FIRST, HEATED)
    if FIRST:  # blocks do not come in their order
        winner_here = tl.where(top < m, NOWHERE, winner_here)
        winner = tl.minimum(tl.where(top > m, NOWHERE, winner), winner_here)
    new = tl.where(top > m, top, m)
    if HEATED:
        apart = raised_gaps(apart, rests, m, new, temperature) + raised_gaps(gaps, rest, top, new, temperature)
    rests, spreads = raised(rests, spreads, shares, m, new, temperature)
    rest, spread = raised(rest, spread, shared, top, new, temperature)
    return new, rests + rest, apart, spreads + spread, shares + shared, winner


@triton.jit
def across(state, temperature, HEATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of sums that each thread has of its part of one row: those of the row."""
    m, rests, apart, spreads, shares, winner = state
    top = tl.max(m, 0, keep_dims=True)
    winner = tl.min(tl.where(m == top, winner, NOWHERE), 0, keep_dims=True)
    if HEATED:
        apart = raised_gaps(apart, rests, m, top, temperature)
    rests, spreads = raised(rests, spreads, shares, m, top, temperature)
    return (
        top, tl.sum(rests, 0, keep_dims=True), tl.sum(apart, 0, keep_dims=True), tl.sum(spreads, 0, keep_dims=True), tl.sum(shares, 0, keep_dims=True), winner
    )  # fmt: skip


@triton.jit(do_not_specialize=NOT_SPECIALIZED, do_not_specialize_on_alignment=NUMBERS_ALONE)
def long_rows(  # type: ignore[no-untyped-def]  # typed by Triton
    X, LABELS, FACTOR, WEIGHT, SHARES, SCALE, INCOMING, VALUE, LSE, RIGHT, GRAD, PARTS, TOTAL, OPERANDS, BY,
    classes: tl.int64, inner: tl.int64, strips: tl.int32, ignore: tl.int64, scale: tl.float64, link: tl.float64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, LINK: tl.constexpr, MARGIN: tl.constexpr, PARAMS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr, ALIGN: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr, COUNT: tl.constexpr, TEMPERED: tl.constexpr, HEATED: tl.constexpr, INPLACE: tl.constexpr,
):  # fmt: skip
    """As `rowwise`, of more classes than a block: TILES tiles of ROWS items of an image and COLUMNS classes, or of ROWS times COLUMNS classes of one row.

    Blocks of a row begin where loads of COLUMNS classes do; those at its edges, which are not full, come first.
    """
    weight, needed = weight_of(scale, SCALE, INCOMING)
    length, inner, step, classes_here, inside = lying_long(classes, inner, PLANES, ALIGN, ROWS, COLUMNS)
    ITEMS: tl.constexpr = ROWS if PLANES else 1
    SPAN: tl.constexpr = COLUMNS if PLANES else ROWS * COLUMNS
    BLOCK: tl.constexpr = SPAN * TILES
    EVEN: tl.constexpr = 1 if PLANES or ALIGN % COLUMNS == 0 else 0
    parameter = tl.full((), link, REAL)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    losses = tl.zeros((ITEMS,), tl.float64)
    for strip in range(tl.program_id(0), tl.where(needed, strips, 0), tl.num_programs(0)):
        outer, begin, live, item = strip_of(strip, inner, PLANES, ITEMS)
        counts, f, wrong, y = counted(LABELS, FACTOR, item, live, ignore, length, REAL, ITEMS)
        any = tl.max(counts.to(tl.int32), 0)
        lead = 0
        if PLANES:
            corner = outer * step * classes + begin
            beside = tl.arange(0, ROWS)
        else:
            corner = begin * length
            beside = tl.zeros((1,), tl.int32)
        own = scores(tl.load(X + (corner + y.to(tl.int64) * step) + beside, counts, other=0).to(REAL), parameter, LINK)
        bend = None
        if MARGIN is not None:  # the labels' scores are lowered
            own, bend = MARGIN(own, *p[:PARAMS])
        if not PLANES:
            if not EVEN:
                lead = (corner % COLUMNS).to(tl.int32)
            corner = corner // COLUMNS * COLUMNS
        j = classes_here - lead
        last = (tl.cdiv(lead + length, BLOCK) - 1) * BLOCK
        wanted = live if PLANES else counts
        numbers = operands_of(OPERANDS, item, live, COUNT, REAL, ITEMS)
        temperature = None
        if TEMPERED:
            temperature = temperature_of(numbers)
        m = tl.full((ROWS,), -INF, REAL)
        rests = tl.zeros((ROWS,), tl.float64)
        apart = tl.zeros((ROWS,), tl.float64)
        spreads = tl.zeros((ROWS,), tl.float64)
        shares = tl.zeros((ITEMS if PLANES else ROWS,), tl.float64)
        winner = tl.zeros((ROWS,), tl.int32)
        for edge in range(EVEN, 2 * any):
            start = edge * last
            xs = tiles_of(X, corner + start * step, step, inside, wanted, j + start, length, 0, REAL, SPAN, TILES, "evict_last")
            ss = scores_of(xs, j + start, length, parameter, 0, LINK, SPAN)
            ss = with_own(ss, own, j + start, y, SPAN, MARGIN)
            m, rests, apart, spreads, shares, winner = joined(
                (m, rests, apart, spreads, shares, winner), ss, j + start, y, temperature, SHARES, length, SPAN, REAL, RIGHT is not None, HEATED
            )
        for start in range((1 - EVEN) * BLOCK, last * any, BLOCK):
            xs = tiles_of(X, corner + start * step, step, inside, wanted, j + start, length, TILES, REAL, SPAN, TILES, "evict_last")
            ss = scores_of(xs, j + start, length, parameter, TILES, LINK, SPAN)
            ss = with_own(ss, own, j + start, y, SPAN, MARGIN)
            m, rests, apart, spreads, shares, winner = joined(
                (m, rests, apart, spreads, shares, winner), ss, j + start, y, temperature, SHARES, length, SPAN, REAL, RIGHT is not None, HEATED
            )
        if not PLANES:
            m, rests, apart, spreads, shares, winner = across((m, rests, apart, spreads, shares, winner), temperature, HEATED)
        found = (m, own, rests.to(REAL), apart.to(REAL), spreads.to(REAL), shares.to(REAL), winner, None)
        value, counts, slope, by_share, own_slope = concluded(
            found, y, counts, f, wrong, item, live, weight, WEIGHT, SHARES, VALUE, LSE, RIGHT, BY, numbers, temperature, numbers[TEMPERED:] + p[:PARAMS], bend,
            FORMULA, REAL, COUNT, TEMPERED,
        )  # fmt: skip
        losses += value
        if GRAD is not None:
            factors = (counts, slope, by_share, own_slope)
            for edge in range(EVEN, 2):
                start = edge * last
                xs = tiles_of(X, corner + start * step, step, inside, wanted, j + start, length, 0, REAL, SPAN, TILES, "evict_first")
                ss = scores_of(xs, j + start, length, parameter, 0, LINK, SPAN)
                if INPLACE:  # as in `rowwise`: of this block, and blocks do not overlap
                    tl.debug_barrier()
                for k in tl.static_range(TILES):
                    at = j + (start + k * SPAN)
                    g = gradient(exp_neg(below(ss[k], m, temperature)), xs[k], at, at == y[:, None], factors, SHARES, length, parameter, LINK, REAL)
                    there = there_of(live, j + start, length, k, 0, SPAN)
                    tl.store(GRAD + (corner + (start + k * SPAN) * step) + inside, g, there, eviction_policy="evict_first")
            for start in range((1 - EVEN) * BLOCK, last, BLOCK):
                xs = tiles_of(X, corner + start * step, step, inside, wanted, j + start, length, TILES, REAL, SPAN, TILES, "evict_first")
                ss = scores_of(xs, j + start, length, parameter, TILES, LINK, SPAN)
                if INPLACE:
                    tl.debug_barrier()
                for k in tl.static_range(TILES):
                    at = j + (start + k * SPAN)
                    g = gradient(exp_neg(below(ss[k], m, temperature)), xs[k], at, at == y[:, None], factors, SHARES, length, parameter, LINK, REAL)
                    tl.store(GRAD + (corner + (start + k * SPAN) * step) + inside, g, live[:, None], eviction_policy="evict_first")
    if PARTS is not None:
        add(losses, weight, PARTS, TOTAL)
