"""The kernels of rows with a distribution each; see `distributions.py`."""

import triton
import triton.language as tl

from losskit.engines.triton.elementwise import NUMBERS_ALONE, add
from losskit.engines.triton.items import gap, mass_of_position, operands_of, placed, store_by, temperature_of
from losskit.engines.triton.math import INF, exp_neg, log1p
from losskit.engines.triton.rows_kernels import NOT_SPECIALIZED
from losskit.engines.triton.softmax import (
    NOWHERE,
    appended,
    below,
    clipped,
    cooled,
    counted,
    distance,
    highest,
    lying,
    lying_long,
    present_of,
    scores_of,
    strip_of,
    there_of,
    tiles_of,
    weight_of,
)


@triton.jit
def shifted(xs, peak, SHIFT: tl.constexpr):  # type: ignore[no-untyped-def]
    """What the link gets: the inputs, or how they lie to the row's largest."""
    ys = ()
    for k in tl.static_range(len(xs)):
        ys = appended(ys, clipped(xs[k]) - peak[:, None] if SHIFT else xs[k])
    return ys


@triton.jit
def summit(ss, j, temperature, SPAN: tl.constexpr, HEATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of tiles of each row: the largest score, its first place, the sum of the exponentials of all others, and (HEATED) of all gaps times exponentials."""
    m = highest(ss)
    place = tl.full(ss[0].shape, NOWHERE, tl.int32)
    for k in tl.static_range(len(ss)):
        place = tl.minimum(place, tl.where(ss[k] == m[:, None], j + k * SPAN, NOWHERE))
    top = tl.min(place, 1)
    others = tl.zeros_like(ss[0])
    gaps = tl.zeros_like(ss[0])
    for k in tl.static_range(len(ss)):
        fall = below(ss[k], m, temperature)
        e = exp_neg(fall)
        others += tl.where(j == top[:, None] - k * SPAN, 0.0, e)
        if HEATED:
            gaps += gap(e, fall)
    return m, top, tl.sum(others, 1), tl.sum(gaps, 1)


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
def together(m, top, others, gaps, temperature, HEATED: tl.constexpr):  # type: ignore[no-untyped-def]
    """What `summit` says of one row, from what it says of the parts that each thread has."""
    new = tl.max(m, 0, keep_dims=True)
    first = tl.min(tl.where(m == new, top, NOWHERE), 0, keep_dims=True)
    lift = tl.where(m == new, 0.0, distance(new, m, temperature))
    lost = exp_neg(tl.where(m == -INF, INF, lift))
    if HEATED:
        gaps = tl.where(others == 0.0, gaps, gaps + lift * others) * exp_neg(lift) + gap(lost, lift)
    others = others * exp_neg(lift) + tl.where(top == first, 0.0, lost)
    return new, first, tl.sum(others, 0, keep_dims=True), tl.sum(gaps, 0, keep_dims=True)


@triton.jit
def added(found):
    """Of sums that each thread has of its part of one row: those of the row."""
    whole = ()
    for k in tl.static_range(len(found)):
        whole = appended(whole, tl.sum(found[k], 0, keep_dims=True))
    return whole


@triton.jit
def narrowed(found, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sums in float64, rounded."""
    narrow = ()
    for k in tl.static_range(len(found)):
        narrow = appended(narrow, found[k].to(REAL))
    return narrow


@triton.jit
def judged(  # type: ignore[no-untyped-def]
    ss, T, LABELS, POSITIONS, WEIGHT, spot, step, inside, items, j, y, length, row, temperature, p,
    FORMULA: tl.constexpr, RAGGED: tl.constexpr, REAL: tl.constexpr, SPAN: tl.constexpr, COUNT: tl.constexpr, POLICY: tl.constexpr,
):  # fmt: skip
    """Of tiles of classes: what gradients are made of, tile by tile; and of each row value, derivatives by log p of the largest score and of all others, weighted
    mass, derivatives times how far scores lie below, and derivatives by numbers of items. What is not present adds 0.
    """
    m, top, others, level, inverse = row
    value = tl.zeros_like(ss[0])
    own = tl.zeros_like(ss[0])
    rest = tl.zeros_like(ss[0])
    mass = tl.zeros_like(ss[0])
    falls = tl.zeros_like(ss[0])
    first = tl.zeros_like(ss[0])
    second = tl.zeros_like(ss[0])
    heres = ()
    for k in tl.static_range(len(ss)):
        at = j + k * SPAN
        there = there_of(items, j, length, k, RAGGED, SPAN)
        at_top = at == top[:, None]
        fall = below(ss[k], m, temperature)
        hit = exp_neg(fall) * inverse[:, None]
        miss = tl.where(at_top, (others * inverse)[:, None], 1.0 - hit)
        t = tl.zeros_like(hit)
        if T is not None:
            t = tl.load(T + (spot + k * SPAN * step) + inside, there, other=0, eviction_policy=POLICY).to(REAL)
        if LABELS is not None:
            t = (at == y[:, None]).to(REAL)
        if POSITIONS is not None:
            t = mass_of_position(y, at, REAL)
        weight = tl.full((1, 1), 1.0, REAL)
        if WEIGHT is not None:
            weight = tl.load(WEIGHT + at, (at >= 0) & (at < length), other=0).to(REAL)
        found = FORMULA(-fall - level[:, None], hit, miss, t, weight, *p)
        here = found[0]
        by_log = found[1] + tl.zeros_like(hit)
        by_target = found[2] + tl.zeros_like(hit)
        more = t * weight
        if COUNT > 0:
            by_first = found[3] + tl.zeros_like(hit)
        if COUNT > 1:
            by_second = found[4] + tl.zeros_like(hit)
        if k >= RAGGED:
            present = present_of(j, length, k, SPAN)
            here = tl.where(present, here, 0.0)
            by_log = tl.where(present, by_log, 0.0)
            by_target = tl.where(present, by_target, 0.0)
            more = tl.where(present, more, 0.0)
            if COUNT > 0:
                by_first = tl.where(present, by_first, 0.0)
            if COUNT > 1:
                by_second = tl.where(present, by_second, 0.0)
        value += here
        own += tl.where(at_top, by_log, 0.0)
        rest += tl.where(at_top, 0.0, by_log)
        mass += more
        falls += gap(by_log, fall)
        if COUNT > 0:
            first += by_first
        if COUNT > 1:
            second += by_second
        heres = appended(heres, (at_top, hit, miss, weight, by_log, by_target))
    return heres, tl.sum(value, 1), tl.sum(own, 1), tl.sum(rest, 1), tl.sum(mass, 1), tl.sum(falls, 1), tl.sum(first, 1), tl.sum(second, 1)


@triton.jit
def concluded(  # type: ignore[no-untyped-def]
    found, row, gaps, counts, f, wrong, item, live, weight, square, VALUE, LSE, BY, temperature,
    SQUARE: tl.constexpr, REAL: tl.constexpr, COUNT: tl.constexpr, TEMPERED: tl.constexpr, HEATED: tl.constexpr,
):  # fmt: skip
    """From what was found of items to their losses and what else is stored of them. For their gradients: which items have one, and the factors of `store_gradients`."""
    value, own, rest, mass, falls, first, second = found
    m, _, _, level, inverse = row
    height = cooled(m, temperature)
    lse = height + level
    pull = tl.zeros_like(value)
    push = tl.zeros_like(value)
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
    w = f * weight.to(REAL)
    counts = counts & (w != 0.0)
    w = tl.where(wrong, float("nan"), w)
    warm = w
    if TEMPERED:
        warm = w / temperature
    by = (first, second)
    for k in tl.static_range(COUNT):
        if TEMPERED and k == 0 and HEATED:
            mean = gaps * inverse  # of how far scores lie below the largest, under p
            store_by(BY[k], item, live, falls - (own + rest) * mean - pull * (height - mean), warm, counts)
        elif k >= TEMPERED:
            store_by(BY[k], item, live, by[k - TEMPERED], w, counts)
    return value, (counts, own, rest, pull, push, warm, w)


@triton.jit
def store_gradients(  # type: ignore[no-untyped-def]
    GRAD_X, GRAD_T, xs, heres, factors, live, spot, step, inside, j, length, parameter,
    RAGGED: tl.constexpr, LINK: tl.constexpr, SQUARE: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """Tiles of the gradients: exact zeros for what does not count, whatever it holds."""
    counts, own, rest, pull, push, warm, w = factors
    for k in tl.static_range(len(heres)):
        at_top, hit, miss, weight, by_log, by_target = heres[k]
        places = (spot + k * SPAN * step) + inside
        there = there_of(live, j, length, k, RAGGED, SPAN)
        if GRAD_X is not None:
            g = tl.where(at_top, by_log * miss - hit * rest[:, None], by_log - hit * (own + rest)[:, None])
            if SQUARE:
                g += hit * pull[:, None]
            if LINK is not None:
                _, bend = LINK(xs[k], parameter)
                g *= bend
            tl.store(GRAD_X + places, tl.where(counts[:, None], g * warm[:, None], 0.0), there)
        if GRAD_T is not None:
            if SQUARE:
                by_target += weight * push[:, None]
            tl.store(GRAD_T + places, tl.where(counts[:, None], by_target * w[:, None], 0.0), there)


@triton.jit(do_not_specialize=NOT_SPECIALIZED, do_not_specialize_on_alignment=NUMBERS_ALONE)
def classwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, POSITIONS, FACTOR, WEIGHT, SCALE, INCOMING, VALUE, LSE, GRAD_X, GRAD_T, PARTS, TOTAL, OPERANDS, BY,
    classes: tl.int64, inner: tl.int64, strips: tl.int32, ignore: tl.int64, scale: tl.float64, link: tl.float64, square: tl.float64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, LINK: tl.constexpr, PARAMS: tl.constexpr, SHIFT: tl.constexpr, SQUARE: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr,
    ALIGN: tl.constexpr, FULL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr,
    COUNT: tl.constexpr, TEMPERED: tl.constexpr, HEATED: tl.constexpr,
):  # fmt: skip
    """ROWS items with all their classes, as in `rowwise`. No T, LABELS, POSITIONS: t = 0."""
    weight, needed = weight_of(scale, SCALE, INCOMING)
    RAGGED: tl.constexpr = TILES if FULL else TILES - 1
    columns = tl.arange(0, COLUMNS)[None, :]
    length, inner, step, _beside, inside = lying(classes, inner, PLANES, ALIGN, FULL, ROWS, COLUMNS, TILES)
    parameter = tl.full((), link, REAL)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    losses = tl.zeros((ROWS,), tl.float64)
    for strip in range(tl.program_id(0), tl.where(needed, strips, 0), tl.num_programs(0)):
        outer, begin, live, item = strip_of(strip, inner, PLANES, ROWS)
        counts, f, wrong, y = counted(LABELS, FACTOR, item, live, ignore, length, REAL, ROWS)
        if POSITIONS is not None:
            y, wrong = placed(POSITIONS, item, live, length, REAL)
        corner = outer * step * length + begin if PLANES else begin * length
        wanted = live if PLANES else counts
        numbers = operands_of(OPERANDS, item, live, COUNT, REAL, ROWS)
        temperature = None
        if TEMPERED:
            temperature = temperature_of(numbers)
        given = ()
        for k in tl.static_range(COUNT - TEMPERED):
            given = appended(given, numbers[TEMPERED + k][:, None])
        xs = tiles_of(X, corner, step, inside, wanted, columns, length, RAGGED, REAL, COLUMNS, TILES, "")
        if SHIFT:
            peak = highest(scores_of(xs, columns, length, None, RAGGED, None, COLUMNS))
            xs = shifted(xs, peak, SHIFT)
        ss = scores_of(xs, columns, length, parameter, RAGGED, LINK, COLUMNS)
        m, top, others, gaps = summit(ss, columns, temperature, COLUMNS, HEATED)
        others = tl.where(m == -INF, float("nan"), others)  # all classes ruled out: no distribution
        row = (m, top, others, log1p(others), 1.0 / (1.0 + others))
        found = judged(
            ss, T, LABELS, POSITIONS, WEIGHT, corner, step, inside, wanted, columns, y, length, row, temperature, given + p[:PARAMS],
            FORMULA, RAGGED, REAL, COLUMNS, COUNT - TEMPERED, "",
        )  # fmt: skip
        value, factors = concluded(
            found[1:], row, gaps, counts, f, wrong, item, live, weight, square, VALUE, LSE, BY, temperature, SQUARE, REAL, COUNT, TEMPERED, HEATED
        )
        losses += value
        store_gradients(GRAD_X, GRAD_T, xs, found[0], factors, live, corner, step, inside, columns, length, parameter, RAGGED, LINK, SQUARE, COLUMNS)
    if PARTS is not None:
        add(losses, weight, PARTS, TOTAL)


@triton.jit(do_not_specialize=NOT_SPECIALIZED, do_not_specialize_on_alignment=NUMBERS_ALONE)
def long_classwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, POSITIONS, FACTOR, WEIGHT, SCALE, INCOMING, VALUE, LSE, GRAD_X, GRAD_T, PARTS, TOTAL, OPERANDS, BY,
    classes: tl.int64, inner: tl.int64, strips: tl.int32, ignore: tl.int64, scale: tl.float64, link: tl.float64, square: tl.float64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, LINK: tl.constexpr, PARAMS: tl.constexpr, SHIFT: tl.constexpr, SQUARE: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr,
    ALIGN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr, COUNT: tl.constexpr, TEMPERED: tl.constexpr, HEATED: tl.constexpr,
):  # fmt: skip
    """As `classwise`, of more classes than a block; blocks are those of `long_rows`, each of which is looked at as if it were at an edge."""
    weight, needed = weight_of(scale, SCALE, INCOMING)
    length, inner, step, classes_here, inside = lying_long(classes, inner, PLANES, ALIGN, ROWS, COLUMNS)
    ITEMS: tl.constexpr = ROWS if PLANES else 1
    SPAN: tl.constexpr = COLUMNS if PLANES else ROWS * COLUMNS
    BLOCK: tl.constexpr = SPAN * TILES
    parameter = tl.full((), link, REAL)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    losses = tl.zeros((ITEMS,), tl.float64)
    for strip in range(tl.program_id(0), tl.where(needed, strips, 0), tl.num_programs(0)):
        outer, begin, live, item = strip_of(strip, inner, PLANES, ITEMS)
        counts, f, wrong, y = counted(LABELS, FACTOR, item, live, ignore, length, REAL, ITEMS)
        if POSITIONS is not None:
            y, wrong = placed(POSITIONS, item, live, length, REAL)
        lead = 0
        if PLANES:
            corner = outer * step * length + begin
        else:
            corner = begin * length
            lead = (corner % COLUMNS).to(tl.int32)
            corner = corner // COLUMNS * COLUMNS
        j = classes_here - lead
        end = tl.cdiv(lead + length, BLOCK) * BLOCK
        some = end * tl.max(counts.to(tl.int32), 0)
        wanted = live if PLANES else counts
        numbers = operands_of(OPERANDS, item, live, COUNT, REAL, ITEMS)
        temperature = None
        if TEMPERED:
            temperature = temperature_of(numbers)
        given = ()
        for k in tl.static_range(COUNT - TEMPERED):
            given = appended(given, numbers[TEMPERED + k][:, None])
        peak = tl.full((ROWS,), -INF, REAL)
        if SHIFT:
            for start in range(0, some, BLOCK):
                xs = tiles_of(X, corner + start * step, step, inside, wanted, j + start, length, 0, REAL, SPAN, TILES, "evict_last")
                here = highest(scores_of(xs, j + start, length, None, 0, None, SPAN))
                peak = tl.where(here > peak, here, peak)
            if not PLANES:
                peak = tl.max(peak, 0, keep_dims=True)
        m = tl.full((ROWS,), -INF, REAL)
        top = tl.full((ROWS,), NOWHERE, tl.int32)
        sums = tl.zeros((ROWS,), tl.float64)
        apart = tl.zeros((ROWS,), tl.float64)
        for start in range(0, some, BLOCK):
            xs = tiles_of(X, corner + start * step, step, inside, wanted, j + start, length, 0, REAL, SPAN, TILES, "evict_last")
            ss = scores_of(shifted(xs, peak, SHIFT), j + start, length, parameter, 0, LINK, SPAN)
            m_here, top_here, others, gaps = summit(ss, j + start, temperature, SPAN, HEATED)
            if HEATED:
                new = tl.where(m_here > m, m_here, m)
                apart = joined_gaps(apart, sums, m, m_here, new, temperature) + joined_gaps(gaps, others, m_here, m, new, temperature)
            top = tl.where(m_here > m, top_here, top)
            m, sums = joined(m, sums, m_here, others, temperature)
        if not PLANES:
            m, top, sums, apart = together(m, top, sums, apart, temperature, HEATED)
        others = tl.where(m == -INF, float("nan"), sums.to(REAL))  # all classes ruled out: no distribution
        row = (m, top, others, log1p(others), 1.0 / (1.0 + others))
        values = tl.zeros((ROWS,), tl.float64)
        owns = tl.zeros((ROWS,), tl.float64)
        rests = tl.zeros((ROWS,), tl.float64)
        masses = tl.zeros((ROWS,), tl.float64)
        falls = tl.zeros((ROWS,), tl.float64)
        firsts = tl.zeros((ROWS,), tl.float64)
        seconds = tl.zeros((ROWS,), tl.float64)
        for start in range(0, some, BLOCK):
            xs = tiles_of(X, corner + start * step, step, inside, wanted, j + start, length, 0, REAL, SPAN, TILES, "evict_last")
            ss = scores_of(shifted(xs, peak, SHIFT), j + start, length, parameter, 0, LINK, SPAN)
            _, value, own, rest, mass, fall, first, second = judged(
                ss, T, LABELS, POSITIONS, WEIGHT, corner + start * step, step, inside, wanted, j + start, y, length, row, temperature, given + p[:PARAMS],
                FORMULA, 0, REAL, SPAN, COUNT - TEMPERED, "evict_last",
            )  # fmt: skip
            values += value
            owns += own
            rests += rest
            masses += mass
            falls += fall
            firsts += first
            seconds += second
        found = (values, owns, rests, masses, falls, firsts, seconds)
        if not PLANES:
            found = added(found)
        value, factors = concluded(
            narrowed(found, REAL), row, apart.to(REAL), counts, f, wrong, item, live, weight, square, VALUE, LSE, BY, temperature,
            SQUARE, REAL, COUNT, TEMPERED, HEATED,
        )  # fmt: skip
        losses += value
        if GRAD_X is not None or GRAD_T is not None:
            for start in range(0, end, BLOCK):
                xs = tiles_of(X, corner + start * step, step, inside, wanted, j + start, length, 0, REAL, SPAN, TILES, "evict_first")
                xs = shifted(xs, peak, SHIFT)
                ss = scores_of(xs, j + start, length, parameter, 0, LINK, SPAN)
                heres, _, _, _, _, _, _, _ = judged(
                    ss, T, LABELS, POSITIONS, WEIGHT, corner + start * step, step, inside, wanted, j + start, y, length, row, temperature, given + p[:PARAMS],
                    FORMULA, 0, REAL, SPAN, COUNT - TEMPERED, "evict_first",
                )  # fmt: skip
                store_gradients(
                    GRAD_X, GRAD_T, xs, heres, factors, live, corner + start * step, step, inside, j + start, length, parameter, 0, LINK, SQUARE, SPAN
                )
    if PARTS is not None:
        add(losses, weight, PARTS, TOTAL)
