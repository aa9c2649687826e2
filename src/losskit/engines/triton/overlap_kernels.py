"""The kernels of the overlap pattern; see `overlap.py`. Tiles are those of `softmax.py`.

A program takes a stretch of items of one sample, and keeps for each number of its tiles what is added up, or what multiplies the sums of the number's class.
"""

import triton
import triton.language as tl

from losskit.engines.call import SUM_NAMES
from losskit.engines.triton.math import INF, exp_neg, unit
from losskit.engines.triton.softmax import appended, below, counted, lying, point, raised, scores, scores_of, sums, there_of, tiles_of

NOT_SPECIALIZED = ["classes", "inner", "planes", "ignore"]  # as in `rows_kernels.py`; that a span is a multiple of 16 tells where loads begin
KINDS = tl.constexpr(len(SUM_NAMES))
INTERSECTION, PREDICTION, TARGET, PREDICTION_SQUARED, TARGET_SQUARED, COUNT, EXTRA = (tl.constexpr(k) for k in range(len(SUM_NAMES)))


@triton.jit
def stretch(inner, span):
    """The sample's plane, and the places in it from and up to which this program goes."""
    program = tl.program_id(0).to(tl.int64)
    spans = tl.cdiv(inner, span)
    outer = program // spans
    begin = (program - outer * spans) * span
    return outer, begin, tl.minimum(begin + span, inner)


@triton.jit
def targets(  # type: ignore[no-untyped-def]
    T, FACTOR, places, there, at, y, counts, ignore, LINK: tl.constexpr, BY_CLASS: tl.constexpr, REAL: tl.constexpr
):  # fmt: skip
    """Of a tile: which numbers count, and the targets, not to be looked at where none counts."""
    counts = counts[:, None]
    if BY_CLASS:
        counts = counts & (tl.load(FACTOR + places, there, other=0) != 0)
    if T is not None:
        t = tl.load(T + places, there, other=0).to(REAL)
        if LINK != "softmax":
            counts = counts & (t != ignore)
        t = unit(t)
    else:
        t = (at == y[:, None]).to(REAL)
    return counts, t


@triton.jit
def chance(x, LINK: tl.constexpr):  # type: ignore[no-untyped-def]
    """A probability and its derivative, where no other class has a say in it; neither is a difference."""
    if LINK == "sigmoid":
        e = exp_neg(tl.abs(x))
        inverse = 1.0 / (1.0 + e)
        p = tl.where(x >= 0.0, inverse, e * inverse)
        slope = e * inverse * inverse
    else:
        p = unit(x)
        slope = tl.full(x.shape, 1.0, x.dtype)
    return p, slope


@triton.jit
def own_label(y, FORMULA: tl.constexpr):  # type: ignore[no-untyped-def]
    """The label whose exponential is kept out of the sum of the others: none, where the items have no loss of their own."""
    return tl.full(y.shape, -1, tl.int32) if FORMULA is None else y


@triton.jit
def settled(m, own, rest, p, FORMULA: tl.constexpr):  # type: ignore[no-untyped-def]
    """From a row's sums to: 1 / the sum of exponentials, the item's own loss, and its gradient: what the other classes' exponentials get, and the label."""
    none = tl.zeros_like(rest)
    if FORMULA is None:
        inverse, value, slope, own_slope = 1.0 / rest, none, none, none
    else:
        inverse = 1.0 / (rest + exp_neg(m - own))
        value, _, slope, _, own_slope, _, _ = point(m, own, rest, none, none, 0.0, none, none + 1.0, None, p, FORMULA)
    return inverse, value, slope, own_slope


@triton.jit
def own_score(X, corner, y, step, beside, counts, FORMULA: tl.constexpr, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """The score of an item's label, of use where items have a loss of their own."""
    own = tl.zeros(y.shape, REAL)
    if FORMULA is not None:
        own = scores(tl.load(X + (corner + y.to(tl.int64) * step) + beside, counts, other=0).to(REAL), None, None)
    return own


@triton.jit
def walked(  # type: ignore[no-untyped-def]
    X, corner, step, inside, items, j, label, own, length, REAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr
):  # fmt: skip
    """What `sums` gives of whole rows, block by block: the largest score, the sum of the other classes' exponentials, the winner."""
    m = tl.full((ROWS,), -INF, REAL)
    rests = tl.zeros((ROWS,), tl.float64)
    winner = tl.zeros((ROWS,), tl.int32)
    none = tl.zeros((), REAL)
    for start in range(0, length, COLUMNS * TILES):
        xs = tiles_of(X, corner + start * step, step, inside, items, j + start, length, 0, REAL, COLUMNS, TILES, "")
        ss = scores_of(xs, j + start, length, None, 0, None, COLUMNS)
        found = sums(ss, own, j + start, label, None, None, length, COLUMNS, REAL, True, False)
        top = found[0]
        winner = tl.where(top > m, found[6], winner)
        new = tl.where(top > m, top, m)
        rests, _ = raised(rests, none, none, m, new, None)
        rest, _ = raised(found[2], none, none, top, new, None)
        rests += rest
        m = new
    return m, rests.to(REAL), winner


@triton.jit(do_not_specialize=NOT_SPECIALIZED)
def levels(  # type: ignore[no-untyped-def]  # typed by Triton
    X, LABELS, FACTOR, LEVEL, INVERSE, VALUE, classes: tl.int64, inner: tl.int64, span: tl.int64, ignore: tl.int64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, PARAMS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr, ALIGN: tl.constexpr, FULL: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """Of each item with many classes: the largest score, 1 / the sum of exponentials, the item's own loss."""
    outer, begin, end = stretch(inner, span)
    length, inner, step, beside, inside = lying(classes, inner, PLANES, ALIGN, FULL, ROWS, COLUMNS, TILES)
    j = tl.arange(0, COLUMNS)[None, :]
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    for start in range(begin, end, ROWS):
        i = start + tl.arange(0, ROWS)
        live = i < inner
        item = outer * inner + i
        counts, _, _, y = counted(LABELS, FACTOR, item, live, ignore, length, REAL, ROWS)
        corner = outer * step * length + start if PLANES else (outer * inner + start) * length
        own = own_score(X, corner, y, step, beside, counts, FORMULA, REAL)
        m, rest, _ = walked(X, corner, step, inside, live if PLANES else counts, j, own_label(y, FORMULA), own, length, REAL, ROWS, COLUMNS, TILES)
        inverse, value, _, _ = settled(m, own, rest, p[:PARAMS], FORMULA)
        tl.store(LEVEL + item, m, live)
        tl.store(INVERSE + item, inverse, live)
        tl.store(VALUE + item, value, live)


@triton.jit
def grown(so_far, more):
    """Sums with one more number each."""
    sums = ()
    for k in tl.static_range(len(more)):
        sums = appended(sums, so_far[k] + more[k])
    return sums


@triton.jit
def store_sums(place, found, right, there):
    """What threads added up, of one class and of one kind."""
    tl.store(place, tl.where(right, tl.sum(found, 0), float("nan")), there)


@triton.jit(do_not_specialize=NOT_SPECIALIZED)
def totals(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, FACTOR, LEVEL, INVERSE, VALUE, PARTS, classes: tl.int64, inner: tl.int64, span: tl.int64, ignore: tl.int64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    LINK: tl.constexpr, FORMULA: tl.constexpr, PARAMS: tl.constexpr, SQUARED: tl.constexpr, BY_CLASS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr,
    ALIGN: tl.constexpr, FULL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """The sums of `span` items, of the classes in the tiles. A softmax takes LEVEL, INVERSE and VALUE from there, or, None, has all the classes in its tiles."""
    outer, begin, end = stretch(inner, span)
    length, inner, step, beside, inside = lying(classes, inner, PLANES, ALIGN, FULL, ROWS, COLUMNS, TILES)
    RAGGED: tl.constexpr = TILES if FULL else 0
    lowest = tl.program_id(1) * (COLUMNS * TILES)
    j = lowest + tl.arange(0, COLUMNS)[None, :]
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    shared = ()
    found = ()
    wanted = ()
    found_2 = ()
    wanted_2 = ()
    extra = ()
    count = ()
    for k in tl.static_range(TILES):
        none = tl.zeros((ROWS, COLUMNS), REAL)
        shared = appended(shared, none)
        found = appended(found, none)
        wanted = appended(wanted, none)
        found_2 = appended(found_2, none)
        wanted_2 = appended(wanted_2, none)
        extra = appended(extra, tl.zeros((ROWS, COLUMNS), tl.float64))  # losses have no bound
        if k == 0 or BY_CLASS or (T is not None and LINK != "softmax"):
            count = appended(count, tl.zeros((ROWS, COLUMNS if BY_CLASS or (T is not None and LINK != "softmax") else 1), REAL))
    for start in range(begin, end, ROWS):
        i = start + tl.arange(0, ROWS)
        live = i < inner
        item = outer * inner + i
        alive, _, wrong, y = counted(LABELS, None if BY_CLASS else FACTOR, item, live, ignore, length, REAL, ROWS)
        corner = outer * step * length + start if PLANES else (outer * inner + start) * length
        spot = corner + lowest * step
        read = live if PLANES else alive
        xs = tiles_of(X, spot, step, inside, read, j, length, RAGGED, REAL, COLUMNS, TILES, "")
        if LINK == "softmax":
            ss = scores_of(xs, j, length, None, RAGGED, None, COLUMNS)
            if LEVEL is None:
                own = own_score(X, corner, y, step, beside, alive, FORMULA, REAL)
                row = sums(ss, own, j, own_label(y, FORMULA), None, None, length, COLUMNS, REAL, False, False)
                m = row[0]
                inverse, value, _, _ = settled(m, own, row[2], p[:PARAMS], FORMULA)
            else:
                m = tl.load(LEVEL + item, live, other=0)
                inverse = tl.load(INVERSE + item, live, other=0)
                value = tl.load(VALUE + item, live, other=0)
        more_shared = ()
        more_found = ()
        more_wanted = ()
        more_found_2 = ()
        more_wanted_2 = ()
        more_extra = ()
        more_count = ()
        for k in tl.static_range(TILES):
            there = there_of(read, j, length, k, RAGGED, COLUMNS)
            counts, t = targets(T, FACTOR, (spot + k * COLUMNS * step) + inside, there, j + k * COLUMNS, y, alive, ignore, LINK, BY_CLASS, REAL)
            if LINK == "softmax":
                q = exp_neg(below(ss[k], m, None)) * inverse[:, None]
                if FORMULA is not None:
                    more_extra = appended(more_extra, tl.where(counts & (t == 1.0), value[:, None], 0.0))
            else:
                q, _ = chance(xs[k], LINK)
                if FORMULA is not None:
                    value, _, _ = FORMULA(xs[k], t, *p[:PARAMS])
                    more_extra = appended(more_extra, tl.where(counts, value, 0.0))
            q = tl.where(counts, q, 0.0)
            t = tl.where(counts, t, 0.0)
            more_shared = appended(more_shared, q * t)
            more_found = appended(more_found, q)
            more_wanted = appended(more_wanted, t)
            if SQUARED:
                more_found_2 = appended(more_found_2, q * q)
                if T is not None:
                    more_wanted_2 = appended(more_wanted_2, t * t)
            if k < len(count):
                more_count = appended(more_count, tl.where(wrong[:, None], float("nan"), counts.to(REAL)))
        shared = grown(shared, more_shared)
        found = grown(found, more_found)
        wanted = grown(wanted, more_wanted)
        count = grown(count, more_count)
        if FORMULA is not None:
            extra = grown(extra, more_extra)
        if SQUARED:
            found_2 = grown(found_2, more_found_2)
            if T is not None:
                wanted_2 = grown(wanted_2, more_wanted_2)
    if SQUARED and T is None:
        wanted_2 = wanted  # zeros and ones
    for k in tl.static_range(TILES):
        counted_items = tl.sum(count[k if k < len(count) else 0], 0)
        right = counted_items == counted_items  # else there is a label that is no class: NaN for every class
        at = lowest + k * COLUMNS + tl.arange(0, COLUMNS)
        there = at < length
        place = PARTS + (tl.program_id(0).to(tl.int64) * length + at) * KINDS
        store_sums(place + INTERSECTION, shared[k], right, there)
        store_sums(place + PREDICTION, found[k], right, there)
        store_sums(place + TARGET, wanted[k], right, there)
        store_sums(place + PREDICTION_SQUARED, found_2[k], right, there)
        store_sums(place + TARGET_SQUARED, wanted_2[k], right, there)
        tl.store(place + COUNT, tl.where(right, counted_items, tl.full((COLUMNS,), float("nan"), REAL)), there)
        store_sums(place + EXTRA, extra[k], right, there)
