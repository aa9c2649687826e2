"""The kernels of the overlap pattern; see `overlap.py`. Blocks are those of `rows.py`."""

import triton
import triton.language as tl

from losskit.engines.call import SUM_NAMES
from losskit.engines.triton.blocks import block, items, origins, sums
from losskit.engines.triton.math import INF, exp_neg, unit
from losskit.engines.triton.softmax import below, counted, point, raised, scores

KINDS = tl.constexpr(len(SUM_NAMES))
INTERSECTION, PREDICTION, TARGET, PREDICTION_SQUARED, TARGET_SQUARED, COUNT, EXTRA = (tl.constexpr(k) for k in range(len(SUM_NAMES)))


@triton.jit
def targets(  # type: ignore[no-untyped-def]
    T, FACTOR, first, step, j, present, y, counts, ignore, LINK: tl.constexpr, BY_CLASS: tl.constexpr, REAL: tl.constexpr
):  # fmt: skip
    """Of a block: which numbers count, and the targets, not to be looked at where none counts."""
    places = first[:, None] + (j * step)[None, :]
    counts = counts[:, None]
    if BY_CLASS:
        counts = counts & (tl.load(FACTOR + places, present, other=0) != 0)
    if T is not None:
        t = tl.load(T + places, present, other=0).to(REAL)
        if LINK != "softmax":
            counts = counts & (t != ignore)
        t = unit(t)
    else:
        t = (j[None, :] == y[:, None]).to(REAL)
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
def softmax(x, present, m, inverse):
    """The exponentials against the largest score, and the probabilities."""
    e = exp_neg(below(scores(x, present, 0.0, None), m, None))
    return e, e * inverse[:, None]


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
def walked(  # type: ignore[no-untyped-def]
    X, first, wanted, step, y, classes, REAL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    """What `sums` gives of whole rows, block by block: the largest score, the label's, the sum of the other classes' exponentials, the winner."""
    m = tl.full((ROWS,), -INF, REAL)
    own = tl.zeros((ROWS,), REAL)
    rests = tl.zeros((ROWS,), tl.float64)
    winner = tl.zeros((ROWS,), tl.int32)
    none = tl.zeros((), REAL)
    for start in range(0, classes, COLUMNS):
        j = (start + tl.arange(0, COLUMNS)).to(tl.int32)
        x, present = block(X, first, wanted, j, step, classes, REAL)
        top, own_here, rest, _, _, winner_here = sums(scores(x, present, 0.0, None), j, y, None, None, classes, REAL, True)
        winner = tl.where(top > m, winner_here, winner)
        new = tl.where(top > m, top, m)
        rests, _ = raised(rests, none, none, m, new, None)
        rest, _ = raised(rest, none, none, top, new, None)
        rests += rest
        own += own_here
        m = new
    return m, own, rests.to(REAL), winner


@triton.jit
def levels(  # type: ignore[no-untyped-def]  # typed by Triton
    X, LABELS, FACTOR, LEVEL, INVERSE, VALUE, classes: tl.int64, inner: tl.int64, ignore: tl.int64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, PARAMS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Of each item with many classes: the largest score, 1 / the sum of exponentials, the item's own loss."""
    outer, i, live, item = items(inner, ROWS)
    counts, _, _, y = counted(LABELS, FACTOR, item, live, ignore, classes, REAL, ROWS)
    first, step, wanted = origins(outer, i, item, live, counts, classes, inner, PLANES)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    m, own, rest, _ = walked(X, first, wanted, step, own_label(y, FORMULA), classes, REAL, ROWS, COLUMNS)
    inverse, value, _, _ = settled(m, own, rest, p[:PARAMS], FORMULA)
    tl.store(LEVEL + item, m, live)
    tl.store(INVERSE + item, inverse, live)
    tl.store(VALUE + item, value, live)


@triton.jit
def totals(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, FACTOR, LEVEL, INVERSE, VALUE, PARTS, classes: tl.int64, inner: tl.int64, span: tl.int64, ignore: tl.int64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    LINK: tl.constexpr, FORMULA: tl.constexpr, PARAMS: tl.constexpr, SQUARED: tl.constexpr, BY_CLASS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The sums of `span` items, COLUMNS of their classes. A softmax takes LEVEL, INVERSE and VALUE from there, or, None, has all the classes in its block."""
    program = tl.program_id(0).to(tl.int64)
    spans = tl.cdiv(inner, span)
    outer = program // spans
    begin = (program - outer * spans) * span
    j = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    shared = tl.zeros((ROWS, COLUMNS), REAL)
    found = tl.zeros((ROWS, COLUMNS), REAL)
    wanted = tl.zeros((ROWS, COLUMNS), REAL)
    found_2 = tl.zeros((ROWS, COLUMNS), REAL)
    wanted_2 = tl.zeros((ROWS, COLUMNS), REAL)
    extra = tl.zeros((ROWS, COLUMNS), tl.float64)  # losses have no bound
    count = tl.zeros((ROWS, COLUMNS if BY_CLASS or (T is not None and LINK != "softmax") else 1), REAL)
    for start in range(begin, tl.minimum(begin + span, inner), ROWS):
        i = start + tl.arange(0, ROWS)
        live = i < inner
        item = outer * inner + i
        alive, _, wrong, y = counted(LABELS, None if BY_CLASS else FACTOR, item, live, ignore, classes, REAL, ROWS)
        first, step, read = origins(outer, i, item, live, alive, classes, inner, PLANES)
        x, present = block(X, first, read, j, step, classes, REAL)
        counts, t = targets(T, FACTOR, first, step, j, present, y, alive, ignore, LINK, BY_CLASS, REAL)
        if LINK == "softmax":
            if LEVEL is None:
                m, own, rest, _, _, _ = sums(scores(x, present, 0.0, None), j, own_label(y, FORMULA), None, None, classes, REAL, False)
                inverse, value, _, _ = settled(m, own, rest, p[:PARAMS], FORMULA)
            else:
                m = tl.load(LEVEL + item, live, other=0)
                inverse = tl.load(INVERSE + item, live, other=0)
                value = tl.load(VALUE + item, live, other=0)
            _, q = softmax(x, present, m, inverse)
            if FORMULA is not None:
                extra += tl.where(counts & (t == 1.0), value[:, None], 0.0)
        else:
            q, _ = chance(x, LINK)
            if FORMULA is not None:
                value, _, _ = FORMULA(x, t, *p[:PARAMS])
                extra += tl.where(counts, value, 0.0)
        q = tl.where(counts, q, 0.0)
        t = tl.where(counts, t, 0.0)
        shared += q * t
        found += q
        wanted += t
        if SQUARED:
            found_2 += q * q
            if T is not None:
                wanted_2 += t * t
        count += tl.where(wrong[:, None], float("nan"), counts.to(REAL))
    if SQUARED and T is None:
        wanted_2 = wanted  # zeros and ones
    counted_items = tl.sum(count, 0)
    right = counted_items == counted_items  # else there is a label that is no class: NaN for every class
    place = PARTS + (program * classes + j) * KINDS
    there = j < classes
    tl.store(place + INTERSECTION, tl.where(right, tl.sum(shared, 0), float("nan")), there)
    tl.store(place + PREDICTION, tl.where(right, tl.sum(found, 0), float("nan")), there)
    tl.store(place + TARGET, tl.where(right, tl.sum(wanted, 0), float("nan")), there)
    tl.store(place + PREDICTION_SQUARED, tl.where(right, tl.sum(found_2, 0), float("nan")), there)
    tl.store(place + TARGET_SQUARED, tl.where(right, tl.sum(wanted_2, 0), float("nan")), there)
    tl.store(place + COUNT, tl.where(right, counted_items, tl.full((COLUMNS,), float("nan"), REAL)), there)
    tl.store(place + EXTRA, tl.where(right, tl.sum(extra, 0), float("nan")), there)


@triton.jit
def coefficients(BY, j, classes):
    """What multiplies the sums of these classes: of p t, p, t, p^2, t^2, the last two twice."""
    place = BY + j * KINDS
    there = j < classes
    by_shared = tl.load(place + INTERSECTION, there, other=0)
    by_found = tl.load(place + PREDICTION, there, other=0)
    by_wanted = tl.load(place + TARGET, there, other=0)
    by_found_2 = tl.load(place + PREDICTION_SQUARED, there, other=0)
    by_wanted_2 = tl.load(place + TARGET_SQUARED, there, other=0)
    return by_shared, by_found, by_wanted, 2.0 * by_found_2, 2.0 * by_wanted_2


@triton.jit
def pulled(t, p, by_shared, by_found, by_found_2, SQUARED: tl.constexpr):  # type: ignore[no-untyped-def]
    """q, the derivative by a probability."""
    q = by_shared * t + by_found
    if SQUARED:
        q += by_found_2 * p
    return q


@triton.jit
def pulled_at(  # type: ignore[no-untyped-def]
    T, places, alive, top, y, p, BY, classes, SQUARED: tl.constexpr, REAL: tl.constexpr
):  # fmt: skip
    """q of one class of each row, `top`."""
    t = (top == y).to(REAL) if T is None else unit(tl.load(T + places, alive, other=0).to(REAL))
    by_shared, by_found, _, by_found_2, _ = coefficients(BY, top, classes)
    return pulled(t, p, by_shared, by_found, by_found_2, SQUARED)


@triton.jit
def pulls(x, present, t, row, j, BY, classes, SQUARED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a block: exponentials, probabilities, how q lies to that of the row's largest class: 0 for that one itself, however its product is rounded."""
    m, inverse, top, reference = row
    e, p = softmax(x, present, m, inverse)
    by_shared, by_found, _, by_found_2, _ = coefficients(BY, j, classes)
    q = pulled(t, p, by_shared[None, :], by_found[None, :], by_found_2[None, :], SQUARED)
    return e, p, tl.where(j[None, :] == top[:, None], 0.0, q - reference[:, None])


@triton.jit
def store_gradients(  # type: ignore[no-untyped-def]
    GRAD_X, GRAD_T, here, t, pull, slope, own_slope, wrong, counts, y, first, step, live, j, BY, classes, FORMULA: tl.constexpr, SQUARED: tl.constexpr
):  # fmt: skip
    """A block of a softmax's gradients: exact zeros for what does not count, whatever it holds."""
    e, p, q = here
    places = first[:, None] + (j * step)[None, :]
    there = live[:, None] & (j < classes)[None, :]
    if GRAD_X is not None:
        g = p * (q - pull[:, None])
        if FORMULA is not None:
            g += tl.where(j[None, :] == y[:, None], own_slope[:, None], e * slope[:, None])
        g = tl.where(wrong[:, None], float("nan"), g)
        tl.store(GRAD_X + places, tl.where(counts, g, 0.0), there)
    if GRAD_T is not None:
        by_shared, _, by_wanted, _, by_wanted_2 = coefficients(BY, j, classes)
        g = pulled(p, t, by_shared[None, :], by_wanted[None, :], by_wanted_2[None, :], SQUARED)
        tl.store(GRAD_T + places, tl.where(counts, g, 0.0), there)


@triton.jit
def softmax_gradients(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, FACTOR, BY, GRAD_X, GRAD_T, classes: tl.int64, inner: tl.int64, planes: tl.int64, ignore: tl.int64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, PARAMS: tl.constexpr, SQUARED: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr, WHOLE: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """ROWS items, COLUMNS of their classes at a time: all of them if WHOLE. A sample has `planes` of a class, one if the class axis is the second.

    g_j = p_j ((q_j - q_r) - sum_i p_i (q_i - q_r)), r the class with the largest score, so that a sure item keeps the digits of its small gradient.
    """
    outer, i, live, item = items(inner, ROWS)
    alive, _, wrong, y = counted(LABELS, FACTOR, item, live, ignore, classes, REAL, ROWS)
    first, step, wanted = origins(outer, i, item, live, alive, classes, inner, PLANES)
    columns = tl.arange(0, COLUMNS)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    BY = BY + outer // planes * classes * KINDS
    label = own_label(y, FORMULA)
    if WHOLE:
        x, present = block(X, first, wanted, columns, step, classes, REAL)
        m, own, rest, _, _, top = sums(scores(x, present, 0.0, None), columns, label, None, None, classes, REAL, True)
    else:
        m, own, rest, top = walked(X, first, wanted, step, label, classes, REAL, ROWS, COLUMNS)
    inverse, _, slope, own_slope = settled(m, own, rest, p[:PARAMS], FORMULA)
    if FORMULA is not None:
        by_extra = tl.load(BY + y.to(tl.int64) * KINDS + EXTRA)
        slope *= by_extra
        own_slope *= by_extra
    top = tl.where(top < classes, top, 0)  # a row of NaN has none
    row = (m, inverse, top, pulled_at(T, first + top * step, alive, top, y, inverse, BY, classes, SQUARED, REAL))
    if WHOLE:
        counts, t = targets(T, FACTOR, first, step, columns, present, y, alive, ignore, "softmax", False, REAL)
        here = pulls(x, present, t, row, columns, BY, classes, SQUARED)
        pull = tl.sum(here[1] * here[2], 1)
        store_gradients(GRAD_X, GRAD_T, here, t, pull, slope, own_slope, wrong, counts, y, first, step, live, columns, BY, classes, FORMULA, SQUARED)
    else:
        pulls_so_far = tl.zeros((ROWS,), tl.float64)
        for start in range(0, classes, COLUMNS):
            j = (start + columns).to(tl.int32)
            x, present = block(X, first, wanted, j, step, classes, REAL)
            counts, t = targets(T, FACTOR, first, step, j, present, y, alive, ignore, "softmax", False, REAL)
            here = pulls(x, present, t, row, j, BY, classes, SQUARED)
            pulls_so_far += tl.sum(here[1] * here[2], 1)
        pull = pulls_so_far.to(REAL)
        for start in range(0, classes, COLUMNS):
            j = (start + columns).to(tl.int32)
            x, present = block(X, first, wanted, j, step, classes, REAL)
            counts, t = targets(T, FACTOR, first, step, j, present, y, alive, ignore, "softmax", False, REAL)
            here = pulls(x, present, t, row, j, BY, classes, SQUARED)
            store_gradients(GRAD_X, GRAD_T, here, t, pull, slope, own_slope, wrong, counts, y, first, step, live, j, BY, classes, FORMULA, SQUARED)


@triton.jit
def point_gradients(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, FACTOR, BY, GRAD_X, GRAD_T, classes: tl.int64, inner: tl.int64, planes: tl.int64, ignore: tl.int64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    LINK: tl.constexpr, FORMULA: tl.constexpr, PARAMS: tl.constexpr, SQUARED: tl.constexpr, BY_CLASS: tl.constexpr, REAL: tl.constexpr, PLANES: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """ROWS items, COLUMNS of their classes, none of which needs a look at the others."""
    outer, i, live, item = items(inner, ROWS)
    alive, _, wrong, y = counted(LABELS, None if BY_CLASS else FACTOR, item, live, ignore, classes, REAL, ROWS)
    first, step, wanted = origins(outer, i, item, live, alive, classes, inner, PLANES)
    j = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    x, present = block(X, first, wanted, j, step, classes, REAL)
    counts, t = targets(T, FACTOR, first, step, j, present, y, alive, ignore, LINK, BY_CLASS, REAL)
    BY = BY + outer // planes * classes * KINDS
    by_shared, by_found, by_wanted, by_found_2, by_wanted_2 = coefficients(BY, j, classes)
    q, slope = chance(x, LINK)
    gx = pulled(t, q, by_shared[None, :], by_found[None, :], by_found_2[None, :], SQUARED) * slope
    gt = pulled(q, t, by_shared[None, :], by_wanted[None, :], by_wanted_2[None, :], SQUARED)
    if FORMULA is not None:
        p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
        by_extra = tl.load(BY + j * KINDS + EXTRA, j < classes, other=0)[None, :]
        _, dx, dt = FORMULA(x, t, *p[:PARAMS])
        gx += by_extra * dx
        gt += by_extra * dt
    places = first[:, None] + (j * step)[None, :]
    there = live[:, None] & (j < classes)[None, :]
    if GRAD_X is not None:
        tl.store(GRAD_X + places, tl.where(counts, tl.where(wrong[:, None], float("nan"), gx), 0.0), there)
    if GRAD_T is not None:
        tl.store(GRAD_T + places, tl.where(counts, gt, 0.0), there)
