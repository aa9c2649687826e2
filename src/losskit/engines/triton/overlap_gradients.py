"""The kernels of the overlap pattern that write gradients; see `overlap_kernels.py`."""

import triton
import triton.language as tl

from losskit.engines.triton.math import exp_neg, unit
from losskit.engines.triton.overlap_kernels import (
    EXTRA,
    INTERSECTION,
    KINDS,
    NOT_SPECIALIZED,
    PREDICTION,
    PREDICTION_SQUARED,
    TARGET,
    TARGET_SQUARED,
    chance,
    own_label,
    own_score,
    settled,
    stretch,
    targets,
    walked,
)
from losskit.engines.triton.softmax import appended, below, counted, lying, scores_of, sums, there_of, tiles_of


@triton.jit
def once(TIMES, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """What all is multiplied by."""
    times = tl.full((), 1.0, REAL)
    if TIMES is not None:
        times *= tl.load(TIMES).to(REAL)
    return times


@triton.jit
def coefficients(BY, times, at, length):
    """What multiplies the sums of these classes: of p t, p, t, p^2, t^2, the last two twice."""
    place = BY + at * KINDS
    there = (at >= 0) & (at < length)
    by_shared = times * tl.load(place + INTERSECTION, there, other=0)
    by_found = times * tl.load(place + PREDICTION, there, other=0)
    by_wanted = times * tl.load(place + TARGET, there, other=0)
    by_found_2 = times * tl.load(place + PREDICTION_SQUARED, there, other=0)
    by_wanted_2 = times * tl.load(place + TARGET_SQUARED, there, other=0)
    return by_shared, by_found, by_wanted, 2.0 * by_found_2, 2.0 * by_wanted_2


@triton.jit
def of_classes(BY, times, j, length, SPAN: tl.constexpr, TILES: tl.constexpr):  # type: ignore[no-untyped-def]
    """`coefficients` of tiles."""
    bys = ()
    for k in tl.static_range(TILES):
        bys = appended(bys, coefficients(BY, times, j + k * SPAN, length))
    return bys


@triton.jit
def pulled(t, p, by_shared, by_found, by_found_2, SQUARED: tl.constexpr):  # type: ignore[no-untyped-def]
    """q, the derivative by a probability."""
    q = by_shared * t + by_found
    if SQUARED:
        q += by_found_2 * p
    return q


@triton.jit
def pulled_at(  # type: ignore[no-untyped-def]
    T, places, counts, top, y, p, BY, times, length, SQUARED: tl.constexpr, REAL: tl.constexpr
):  # fmt: skip
    """q of one class of each row, `top`."""
    t = (top == y).to(REAL) if T is None else unit(tl.load(T + places, counts, other=0).to(REAL))
    by_shared, by_found, _, by_found_2, _ = coefficients(BY, times, top, length)
    return pulled(t, p, by_shared, by_found, by_found_2, SQUARED)


@triton.jit
def pulls(ss, ts, row, bys, j, SPAN: tl.constexpr, SQUARED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of tiles: exponentials, probabilities, how q lies to that of the row's largest class (0 for that one itself, however its product is rounded); and the sum of
    the products of the last two.
    """
    m, inverse, top, reference = row
    es = ()
    ps = ()
    qs = ()
    pull = tl.zeros_like(ss[0])
    for k in tl.static_range(len(ss)):
        e = exp_neg(below(ss[k], m, None))
        p = e * inverse[:, None]
        by_shared, by_found, _, by_found_2, _ = bys[k]
        q = pulled(ts[k], p, by_shared, by_found, by_found_2, SQUARED)
        q = tl.where(j == top[:, None] - k * SPAN, 0.0, q - reference[:, None])
        pull += p * q
        es = appended(es, e)
        ps = appended(ps, p)
        qs = appended(qs, q)
    return es, ps, qs, tl.sum(pull, 1)


@triton.jit
def store_gradients(  # type: ignore[no-untyped-def]
    GRAD_X, GRAD_T, es, ps, qs, ts, bys, counts, pull, slope, own_slope, wrong, y, live, spot, step, inside, j, length,
    FORMULA: tl.constexpr, RAGGED: tl.constexpr, SQUARED: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    """Tiles of a softmax's gradients: exact zeros for what does not count, whatever it holds."""
    for k in tl.static_range(len(ts)):
        p = ps[k]
        places = (spot + k * SPAN * step) + inside
        there = there_of(live, j, length, k, RAGGED, SPAN)
        if GRAD_X is not None:
            g = p * (qs[k] - pull[:, None])
            if FORMULA is not None:
                g += tl.where(j == y[:, None] - k * SPAN, own_slope[:, None], es[k] * slope[:, None])
            g = tl.where(wrong[:, None], float("nan"), g)
            tl.store(GRAD_X + places, tl.where(counts[:, None], g, 0.0), there)
        if GRAD_T is not None:
            by_shared, _, by_wanted, _, by_wanted_2 = bys[k]
            tl.store(GRAD_T + places, tl.where(counts[:, None], pulled(p, ts[k], by_shared, by_wanted, by_wanted_2, SQUARED), 0.0), there)


@triton.jit
def all_targets(  # type: ignore[no-untyped-def]
    T, spot, step, inside, items, j, y, length, RAGGED: tl.constexpr, REAL: tl.constexpr, SPAN: tl.constexpr, TILES: tl.constexpr
):  # fmt: skip
    """The targets of tiles where a softmax makes the probabilities."""
    ts = ()
    for k in tl.static_range(TILES):
        there = there_of(items, j, length, k, RAGGED, SPAN)
        _, t = targets(T, None, (spot + k * SPAN * step) + inside, there, j + k * SPAN, y, items, 0, "softmax", False, REAL)
        ts = appended(ts, t)
    return ts


@triton.jit(do_not_specialize=[*NOT_SPECIALIZED, "of_sample"], do_not_specialize_on_alignment=["TIMES"])
def softmax_gradients(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, FACTOR, BY, TIMES, GRAD_X, GRAD_T,
    classes: tl.int64, inner: tl.int64, span: tl.int64, planes: tl.int64, of_sample: tl.int64, ignore: tl.int64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, PARAMS: tl.constexpr, SQUARED: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr, WHOLE: tl.constexpr,
    ALIGN: tl.constexpr, FULL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """`span` items, all their classes if WHOLE, else walking over them. A sample has `planes` of a class, one if the class axis is the second.

    g_j = p_j ((q_j - q_r) - sum_i p_i (q_i - q_r)), r the class with the largest score, so that a sure item keeps the digits of its small gradient.
    """
    outer, begin, end = stretch(inner, span)
    length, inner, step, beside, inside = lying(classes, inner, PLANES, ALIGN, FULL, ROWS, COLUMNS, TILES)
    RAGGED: tl.constexpr = TILES if FULL else 0
    BLOCK: tl.constexpr = COLUMNS * TILES
    j = tl.arange(0, COLUMNS)[None, :]
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    BY = BY + outer // planes * of_sample
    times = once(TIMES, REAL)
    if WHOLE:
        bys = of_classes(BY, times, j, length, COLUMNS, TILES)
    for start in range(begin, end, ROWS):
        i = start + tl.arange(0, ROWS)
        live = i < inner
        alive, _, wrong, y = counted(LABELS, FACTOR, outer * inner + i, live, ignore, length, REAL, ROWS)
        corner = outer * step * length + start if PLANES else (outer * inner + start) * length
        read = live if PLANES else alive
        label = own_label(y, FORMULA)
        own = own_score(X, corner, y, step, beside, alive, FORMULA, REAL)
        if WHOLE:
            ss = scores_of(tiles_of(X, corner, step, inside, read, j, length, RAGGED, REAL, COLUMNS, TILES, ""), j, length, None, RAGGED, None, COLUMNS)
            found = sums(ss, own, j, label, None, None, length, COLUMNS, REAL, True, False)
            m = found[0]
            rest = found[2]
            top = found[6]
        else:
            m, rest, top = walked(X, corner, step, inside, read, j, label, own, length, REAL, ROWS, COLUMNS, TILES)
        inverse, _, slope, own_slope = settled(m, own, rest, p[:PARAMS], FORMULA)
        if FORMULA is not None:
            by_extra = times * tl.load(BY + y.to(tl.int64) * KINDS + EXTRA)
            slope *= by_extra
            own_slope *= by_extra
        top = tl.where(top < length, top, 0)  # a row of NaN has none
        row = (m, inverse, top, pulled_at(T, corner + top.to(tl.int64) * step + beside, alive, top, y, inverse, BY, times, length, SQUARED, REAL))
        if WHOLE:
            ts = all_targets(T, corner, step, inside, read, j, y, length, RAGGED, REAL, COLUMNS, TILES)
            es, ps, qs, pull = pulls(ss, ts, row, bys, j, COLUMNS, SQUARED)
            store_gradients(
                GRAD_X,
                GRAD_T,
                es,
                ps,
                qs,
                ts,
                bys,
                alive,
                pull,
                slope,
                own_slope,
                wrong,
                y,
                live,
                corner,
                step,
                inside,
                j,
                length,
                FORMULA,
                RAGGED,
                SQUARED,
                COLUMNS,
            )
        else:
            so_far = tl.zeros((ROWS,), tl.float64)
            for first in range(0, length, BLOCK):
                at = j + first
                spot = corner + first * step
                ss = scores_of(tiles_of(X, spot, step, inside, read, at, length, 0, REAL, COLUMNS, TILES, ""), at, length, None, 0, None, COLUMNS)
                ts = all_targets(T, spot, step, inside, read, at, y, length, 0, REAL, COLUMNS, TILES)
                so_far += pulls(ss, ts, row, of_classes(BY, times, at, length, COLUMNS, TILES), at, COLUMNS, SQUARED)[3]
            pull = so_far.to(REAL)
            for first in range(0, length, BLOCK):
                at = j + first
                spot = corner + first * step
                ss = scores_of(tiles_of(X, spot, step, inside, read, at, length, 0, REAL, COLUMNS, TILES, ""), at, length, None, 0, None, COLUMNS)
                ts = all_targets(T, spot, step, inside, read, at, y, length, 0, REAL, COLUMNS, TILES)
                bys_here = of_classes(BY, times, at, length, COLUMNS, TILES)
                here = pulls(ss, ts, row, bys_here, at, COLUMNS, SQUARED)
                store_gradients(
                    GRAD_X, GRAD_T, here[0], here[1], here[2], ts, bys_here, alive, pull, slope, own_slope, wrong, y, live, spot, step, inside, at, length,
                    FORMULA, 0, SQUARED, COLUMNS,
                )  # fmt: skip


@triton.jit(do_not_specialize=[*NOT_SPECIALIZED, "of_sample"], do_not_specialize_on_alignment=["TIMES"])
def point_gradients(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, FACTOR, BY, TIMES, GRAD_X, GRAD_T,
    classes: tl.int64, inner: tl.int64, span: tl.int64, planes: tl.int64, of_sample: tl.int64, ignore: tl.int64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    LINK: tl.constexpr, FORMULA: tl.constexpr, PARAMS: tl.constexpr, SQUARED: tl.constexpr, BY_CLASS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr,
    ALIGN: tl.constexpr, FULL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """`span` items, the classes in the tiles, none of which needs a look at the others."""
    outer, begin, end = stretch(inner, span)
    length, inner, step, _beside, inside = lying(classes, inner, PLANES, ALIGN, FULL, ROWS, COLUMNS, TILES)
    RAGGED: tl.constexpr = TILES if FULL else 0
    lowest = tl.program_id(1) * (COLUMNS * TILES)
    j = lowest + tl.arange(0, COLUMNS)[None, :]
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    BY = BY + outer // planes * of_sample
    times = once(TIMES, REAL)
    bys = of_classes(BY, times, j, length, COLUMNS, TILES)
    extras = ()
    for k in tl.static_range(TILES):
        if FORMULA is not None:
            at = j + k * COLUMNS
            extras = appended(extras, times * tl.load(BY + at * KINDS + EXTRA, at < length, other=0))
    for start in range(begin, end, ROWS):
        i = start + tl.arange(0, ROWS)
        live = i < inner
        alive, _, wrong, y = counted(LABELS, None if BY_CLASS else FACTOR, outer * inner + i, live, ignore, length, REAL, ROWS)
        corner = outer * step * length + start if PLANES else (outer * inner + start) * length
        spot = corner + lowest * step
        read = live if PLANES else alive
        xs = tiles_of(X, spot, step, inside, read, j, length, RAGGED, REAL, COLUMNS, TILES, "")
        for k in tl.static_range(TILES):
            places = (spot + k * COLUMNS * step) + inside
            there = there_of(read, j, length, k, RAGGED, COLUMNS)
            counts, t = targets(T, FACTOR, places, there, j + k * COLUMNS, y, alive, ignore, LINK, BY_CLASS, REAL)
            by_shared, by_found, by_wanted, by_found_2, by_wanted_2 = bys[k]
            q, slope = chance(xs[k], LINK)
            gx = pulled(t, q, by_shared, by_found, by_found_2, SQUARED) * slope
            gt = pulled(q, t, by_shared, by_wanted, by_wanted_2, SQUARED)
            if FORMULA is not None:
                _, dx, dt = FORMULA(xs[k], t, *p[:PARAMS])
                gx += extras[k] * dx
                gt += extras[k] * dt
            there = there_of(live, j, length, k, RAGGED, COLUMNS)
            if GRAD_X is not None:
                tl.store(GRAD_X + places, tl.where(counts, tl.where(wrong[:, None], float("nan"), gx), 0.0), there)
            if GRAD_T is not None:
                tl.store(GRAD_T + places, tl.where(counts, gt, 0.0), there)
