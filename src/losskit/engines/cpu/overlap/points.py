"""The loops of the overlap pattern where a class needs no look at the others: sigmoid, and probabilities. Templates; places are those of `loops.py`.

Class by class and stretch by stretch, straight from memory.
"""


def chance_of_logit(x):
    """A probability and its derivative by the logit; neither is a difference."""
    e = exp_neg(abs(x))
    inverse = ONE / (ONE + e)
    return (inverse if x > ZERO else e * inverse), e * inverse * inverse


def chance_given(x):
    """The input is a probability."""
    return unit(x), ONE


def label_at(ts, i, j, ignore):
    """(absent, target) where the target is a label."""
    y = int64(ts[i])
    return y == ignore, (ONE if y == j else ZERO)


def number_at(ts, i, j, ignore):
    """(absent, target) where it is a number of its own."""
    t = read_t(ts[i])
    return t == REAL(ignore), unit(t)


def sums_of_stretch(xs, ts, fs, every, ignore, j, p):
    """The sums over a stretch of a class."""
    shared, found, wanted, found_2, wanted_2, count, extra = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for i in range(xs.size):
        absent, t = target_at(ts, i, j, ignore)
        if FACTORED:
            absent = absent or fs[i] == 0
        x = read(xs[i])
        q, _ = chance(x)
        q = ZERO if absent else q
        t = ZERO if absent else t
        shared += q * t
        found += q
        wanted += t
        count += ZERO if absent else ONE
        if SQUARED:
            found_2 += q * q
            wanted_2 += t * t
        if EXTRA:
            extra += ZERO if absent else formula(x, t, *p)[0]
    return shared, found, wanted, found_2, wanted_2, count, extra


def point_sums(lo, hi, context):
    """The sums of SPAN items of a sample a task."""
    c = view(context, PLACES, int64)
    n, inner, width, ignore = c[CLASSES], c[INNER], c[WIDTH], c[IGNORE]
    p = params(c)
    for task in range(lo, hi):
        parts = view(c[PARTS] + task * n * KINDS * 8, n * KINDS, float64)
        outer = task // c[SPANS]
        start = (task - outer * c[SPANS]) * c[SPAN]
        stop = min(start + c[SPAN], inner)
        for j in range(n):
            s0, s1, s2, s3, s4, s5, s6 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for number in range((stop - start + width - 1) // width):
                first = start + number * width
                k = min(width, stop - first)
                place = (outer * n + j) * inner + first
                xs = view(c[X] + place * ITEM, k, STORED)
                ts = view(c[LABELS] + (place if NUMBERS else outer * inner + first) * LABEL_ITEM, k, LABEL)
                fs = view(c[FACTOR] + (outer * c[FACTOR_OUTER] + j * c[FACTOR_CLASS] + first * c[FACTOR_STEP]) * FACTOR_ITEM, k, FACTOR_TYPE)
                shared, found, wanted, found_2, wanted_2, count, extra = stretch_sums(xs, ts, fs, 0, ignore, j, p)
                s0 += float64(shared)
                s1 += float64(found)
                s2 += float64(wanted)
                s3 += float64(found_2)
                s4 += float64(wanted_2)
                s5 += float64(count)
                s6 += float64(extra)
            q = parts[j * KINDS : (j + 1) * KINDS]
            q[INTERSECTION], q[PREDICTION], q[TARGET], q[PREDICTION_SQUARED], q[TARGET_SQUARED], q[COUNT], q[EXTRA_SUM] = s0, s1, s2, s3, s4, s5, s6


def gradients_of_stretch(xs, ts, fs, gs, ignore, j, q, p):
    """Gradients by the inputs of a stretch of a class."""
    by_shared, by_found, by_found_2, by_extra = q[INTERSECTION], q[PREDICTION], TWO * q[PREDICTION_SQUARED], q[EXTRA_SUM]
    for i in range(xs.size):
        absent, t = target_at(ts, i, j, ignore)
        if FACTORED:
            absent = absent or fs[i] == 0
        x = read(xs[i])
        chance_, slope = chance(x)
        g = by_shared * t + by_found
        if SQUARED:
            g += by_found_2 * chance_
        g *= slope
        if EXTRA:
            g += by_extra * formula(x, t, *p)[1]
        gs[i] = ZERO if absent else g


def target_gradients_of_stretch(xs, ts, fs, to, ignore, j, q, p):
    """Gradients by the targets."""
    gs = view(to, xs.size, LABEL)
    by_shared, by_wanted, by_wanted_2, by_extra = q[INTERSECTION], q[TARGET], TWO * q[TARGET_SQUARED], q[EXTRA_SUM]
    for i in range(xs.size):
        absent, t = target_at(ts, i, j, ignore)
        if FACTORED:
            absent = absent or fs[i] == 0
        x = read(xs[i])
        chance_, _ = chance(x)
        g = by_shared * chance_ + by_wanted
        if SQUARED:
            g += by_wanted_2 * t
        if EXTRA:
            g += by_extra * formula(x, t, *p)[2]
        gs[i] = write_t(ZERO if absent else g)


def no_target_gradients(xs, ts, fs, to, ignore, j, q, p):
    """Labels have no gradient."""


def point_gradients(lo, hi, context):
    """The gradients of SPAN items of a sample a task."""
    c = view(context, PLACES, int64)
    n, inner, width, ignore = c[CLASSES], c[INNER], c[WIDTH], c[IGNORE]
    p = params(c)
    base = stack()
    for task in range(lo, hi):
        outer = task // c[SPANS]
        start = (task - outer * c[SPANS]) * c[SPAN]
        stop = min(start + c[SPAN], inner)
        for j in range(n):
            q = view(c[BY] + (outer * n + j) * KINDS * REAL_ITEM, KINDS, REAL)
            for number in range((stop - start + width - 1) // width):
                first = start + number * width
                k = min(width, stop - first)
                place = (outer * n + j) * inner + first
                xs = view(c[X] + place * ITEM, k, STORED)
                at = (place if NUMBERS else outer * inner + first) * LABEL_ITEM
                ts = view(c[LABELS] + at, k, LABEL)
                fs = view(c[FACTOR] + (outer * c[FACTOR_OUTER] + j * c[FACTOR_CLASS] + first * c[FACTOR_STEP]) * FACTOR_ITEM, k, FACTOR_TYPE)
                if c[GX] != 0:
                    s = view(base, k, REAL)
                    stretch_gradients(xs, ts, fs, s, ignore, j, q, p)
                    to = c[GX] + place * ITEM
                    if c[PAST] != 0:
                        send(base, to, k)
                    else:
                        g = view(to, k, STORED)
                        for i in range(k):
                            g[i] = write(s[i])
                if c[GT] != 0:
                    target_gradients(xs, ts, fs, c[GT] + at, ignore, j, q, p)
        if c[PAST] != 0:
            settle()
