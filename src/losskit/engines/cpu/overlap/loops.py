"""The loops of the overlap pattern: templates, as in `loops.py`. The meaning of the sums is that of `engines/torch/overlap.py`.

Softmax goes in tiles, items side by side in the lanes of a vector, as in `rows/tiles.py`; what needs no look at the other classes goes class by class,
straight from memory. The gradient's pass computes the probabilities again: reading the input twice costs less than writing and reading them.

    g_j = p_j ((q_j - q_r) - sum_i p_i (q_i - q_r)),  q_j = by_I t_j + by_P + 2 by_PP p_j,  r the class with the largest score

so that a sure item keeps the digits of its small gradient: its large p_r meets no difference that rounds.
"""

from losskit.engines.cpu.core.context import Context

MAX_WIDTH = 1 << 9  # items in a tile, or in a stretch of a class
SIDES = 12  # numbers kept an item besides
TILE = 1 << 15  # numbers in a tile at most: classes x (items + LANES)
KINDS = 7  # sums per class
MAX_PARAMS = 4
CONTEXT = Context(
    "x:p labels:p gx:p gt:p factor:p parts:p by classes outer inner x_outer x_class x_item span spans width ignore factor_step factor_outer factor_class past "
    f"params:{MAX_PARAMS}d"
)
INTERSECTION, PREDICTION, TARGET, PREDICTION_SQUARED, TARGET_SQUARED, COUNT, EXTRA_SUM = range(7)


# what a target is in a tile: its number for a class


def hit_label(ts, ys, i, j):
    """All on the label; that of an absent item is -1."""
    return ONE if ys[i] == j else ZERO


def hit_number(ts, ys, i, j):
    """One number per class."""
    return unit(read_t(ts[i]))


def pulled_by_label(ts, ys, i, j, by_shared, by_found):
    """q, but for the squares: one of two numbers per class."""
    return by_shared + by_found if ys[i] == j else by_found


def pulled_by_number(ts, ys, i, j, by_shared, by_found):
    """q, but for the squares."""
    return by_shared * unit(read_t(ts[i])) + by_found


def softmax_items(c, base, side, outer, first, k, padded, pitch):
    """A tile of scores; labels (-1 where absent), factors and largest scores of its items. What is absent reads 0 everywhere."""
    n, p = c[CLASSES], REAL(0)
    f, m, ys = view(side, padded, REAL), view(side + ROW, padded, REAL), view(side + 2 * ROW, padded, int32)
    items_of(c, outer * c[INNER] + first, ys, f, k)
    origin = c[X] + (outer * c[X_OUTER] + first * c[X_ITEM]) * ITEM
    kept = 0
    for i in range(padded):
        kept += 1 if f[i] != ZERO else 0
        ys[i] = ys[i] if f[i] != ZERO else int32(-1)
        m[i] = -INFINITY
    if PLANES and kept == padded:
        for j in range(n):
            load_scores(view(origin + j * c[X_CLASS] * ITEM, padded, STORED), view(base + j * pitch * REAL_ITEM, padded, REAL), m)
    else:
        load_tile(origin, base, side + SIDES * ROW, n, k, pitch, c[X_CLASS], p)
        for j in range(n):
            s = view(base + j * pitch * REAL_ITEM, padded, REAL)
            for i in range(padded):
                v = s[i] if f[i] != ZERO else ZERO
                s[i] = v
                m[i] = v if v > m[i] else m[i]


def load_scores(x, s, m):
    """Scores of a class to scratch; the largest so far."""
    for i in range(x.size):
        v = score(read(x[i]), ZERO)
        s[i] = v
        m[i] = v if v > m[i] else m[i]


def factors_of(c, item, ys, f, k):
    """Factors of a tile's items, which have no labels; lanes beyond the last item are absent."""
    factors = view(c[FACTOR] + item * c[FACTOR_STEP] * FACTOR_ITEM, k, FACTOR_TYPE)
    for i in range(f.size):
        ys[i], f[i] = int32(0), ZERO
    for i in range(k):
        f[i] = ONE if c[FACTOR_STEP] == 0 or factors[i * c[FACTOR_STEP]] != 0 else ZERO


def exponentials_of_class(s, m, z, own, ys, j):
    """exp(score - m) in place, added up: but for the label's if a loss of the item is wanted, whose score is kept."""
    for i in range(s.size):
        v = s[i]
        e = exp_neg(m[i] - v)
        s[i] = e
        if EXTRA:
            here = ys[i] == j
            own[i] = v if here else own[i]
            e = ZERO if here else e
        z[i] += e


def level_items(f, m, own, z, value, slope, own_slope, by, p):
    """From an item's sums: z becomes 1 / the sum of exponentials (0 where absent); its loss, and what it gives to the gradient times `by`."""
    for i in range(f.size):
        rest = z[i]
        whole = rest
        if EXTRA:
            d = INFINITY if m[i] == LARGEST and own[i] < LARGEST else m[i] - own[i]
            whole = rest + exp_neg(d)
            loss, _, factor, _, own_factor, _, _ = point(m[i], own[i], rest, ZERO, ZERO, ZERO, ZERO, ONE, ONE, p)
            absent = f[i] == ZERO
            value[i] = ZERO if absent else loss
            slope[i] = ZERO if absent else factor * whole * by[i]
            own_slope[i] = ZERO if absent else own_factor * by[i]
        z[i] = (ONE if f[i] != ZERO else ZERO) / whole


def sums_of_class(s, ts, ys, inverse, f, value, j):
    """The sums of one class over a tile."""
    shared, found, wanted, found_2, wanted_2, extra = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for i in range(ts.size if NUMBERS else s.size):
        p = s[i] * inverse[i]
        t = hit(ts, ys, i, j)
        if NUMBERS:
            t = ZERO if f[i] == ZERO else t
        shared += t * p
        found += p
        wanted += t
        if SQUARED:
            found_2 += p * p
            wanted_2 += t * t
        if EXTRA:
            extra += value[i] if t != ZERO else ZERO  # an infinite loss is of its own class alone
    return shared, found, wanted, found_2, wanted_2, extra


def softmax_sums(lo, hi, context):
    """The sums of SPAN items of a sample a task."""
    c = view(context, PLACES, int64)
    n, inner, width = c[CLASSES], c[INNER], c[WIDTH]
    p = params(c)
    base = stack()
    side = base + TILE * REAL_ITEM
    for task in range(lo, hi):
        parts = view(c[PARTS] + task * n * KINDS * 8, n * KINDS, float64)
        for q in range(n * KINDS):
            parts[q] = 0.0
        outer = task // c[SPANS]
        start = (task - outer * c[SPANS]) * c[SPAN]
        stop = min(start + c[SPAN], inner)
        counted = 0.0
        for number in range((stop - start + width - 1) // width):
            first = start + number * width
            k = min(width, stop - first)
            padded = (k + LANES - 1) // LANES * LANES
            pitch = padded + LANES
            softmax_items(c, base, side, outer, first, k, padded, pitch)
            f, m, ys = view(side, padded, REAL), view(side + ROW, padded, REAL), view(side + 2 * ROW, padded, int32)
            z, own, value, by = (
                view(side + 3 * ROW, padded, REAL),
                view(side + 4 * ROW, padded, REAL),
                view(side + 5 * ROW, padded, REAL),
                view(side + 6 * ROW, padded, REAL),
            )
            slope, own_slope = view(side + 7 * ROW, padded, REAL), view(side + 8 * ROW, padded, REAL)
            kept = ZERO
            for i in range(padded):
                z[i], own[i], by[i] = ZERO, ZERO, ZERO
                kept += ONE if f[i] != ZERO else ZERO
            counted += float64(kept)
            origin = c[X] + (outer * c[X_OUTER] + first * c[X_ITEM]) * ITEM
            for j in range(n):
                ask_ahead(origin, j, k, c[X_CLASS])
                exponentials_of_class(view(base + j * pitch * REAL_ITEM, padded, REAL), m, z, own, ys, int32(j))
            level_items(f, m, own, z, value, slope, own_slope, by, p)
            for j in range(n):
                ts = view(c[LABELS] + (outer * c[X_OUTER] + j * c[X_CLASS] + first) * LABEL_ITEM, k, LABEL)
                shared, found, wanted, found_2, wanted_2, extra = sums_of_class(view(base + j * pitch * REAL_ITEM, padded, REAL), ts, ys, z, f, value, int32(j))
                place = j * KINDS
                parts[place + INTERSECTION] += float64(shared)
                parts[place + PREDICTION] += float64(found)
                parts[place + TARGET] += float64(wanted)
                parts[place + PREDICTION_SQUARED] += float64(found_2)
                parts[place + TARGET_SQUARED] += float64(wanted_2)
                parts[place + EXTRA_SUM] += float64(extra)
        for j in range(n):
            parts[j * KINDS + COUNT] = counted


def look_ahead(s, m, z, own, ys, reference, bend, by_shared, by_found, by_found_2, ts, j):
    """`exponentials_of_class`, and what the class with the largest score multiplies: its q, but for the part that needs its probability."""
    for i in range(ts.size if NUMBERS else s.size):
        v = s[i]
        e = exp_neg(m[i] - v)
        s[i] = e
        top = e == ONE
        reference[i] = pulled(ts, ys, i, j, by_shared, by_found) if top else reference[i]
        if SQUARED:
            bend[i] = by_found_2 if top else bend[i]
        if EXTRA:
            here = ys[i] == j
            own[i] = v if here else own[i]
            e = ZERO if here else e
        z[i] += e
    if NUMBERS:
        for i in range(ts.size, s.size):
            s[i] = ZERO


def chances(s, ts, ys, inverse, reference, pull, by_shared, by_found, by_found_2, j):
    """Exponentials to probabilities, in place; what they pull, added up."""
    for i in range(ts.size if NUMBERS else s.size):
        p = s[i] * inverse[i]
        s[i] = p
        q = pulled(ts, ys, i, j, by_shared, by_found) - reference[i]
        if SQUARED:
            q += by_found_2 * p
        pull[i] += p * q


def leave(s, ts, ys, f, reference, pull, slope, own_slope, by_shared, by_found, by_found_2, j):
    """Probabilities to gradients, in place."""
    for i in range(ts.size if NUMBERS else s.size):
        p = s[i]
        q = pulled(ts, ys, i, j, by_shared, by_found) - reference[i] - pull[i]
        if SQUARED:
            q += by_found_2 * p
        if EXTRA:
            here = ys[i] == j
            s[i] = p * (q + (ZERO if here else slope[i])) + (own_slope[i] if here else ZERO)
        elif NUMBERS:
            s[i] = p * q if f[i] != ZERO else ZERO
        else:
            s[i] = p * q


def leave_target(s, ts, f, to, by_shared, by_wanted, by_wanted_2):
    """Gradients by the targets of a class, from its probabilities."""
    g = view(to, ts.size, LABEL)
    for i in range(ts.size):
        v = by_shared * s[i] + by_wanted
        if SQUARED:
            v += by_wanted_2 * unit(read_t(ts[i]))
        g[i] = write_t(v if f[i] != ZERO else ZERO)


def no_leave_target(s, ts, f, to, by_shared, by_wanted, by_wanted_2):
    """Labels have no gradient."""


def give_planes(c, origin, base, flat, n, k, pitch):
    """Gradients back to where the scores came from."""
    to = c[GX] + origin - c[X]
    for j in range(n):
        place = to + j * c[X_CLASS] * ITEM
        if c[PAST] != 0:
            send(base + j * pitch * REAL_ITEM, place, k)
        else:
            s, g = view(base + j * pitch * REAL_ITEM, k, REAL), view(place, k, STORED)
            for i in range(k):
                g[i] = write(s[i])


def give_rows(c, origin, base, flat, n, k, pitch):
    """Gradients of short rows, transposed back."""
    store_tile(origin, c[GX] + origin - c[X], base, flat, n, k, pitch, c[X_CLASS], REAL(0), c[PAST] != 0)


def softmax_gradients(lo, hi, context):
    """The gradients of SPAN items of a sample a task."""
    c = view(context, PLACES, int64)
    n, inner, width = c[CLASSES], c[INNER], c[WIDTH]
    p = params(c)
    base = stack()
    side = base + TILE * REAL_ITEM
    for task in range(lo, hi):
        outer = task // c[SPANS]
        start = (task - outer * c[SPANS]) * c[SPAN]
        stop = min(start + c[SPAN], inner)
        by_sums = view(c[BY] + outer * n * KINDS * REAL_ITEM, n * KINDS, REAL)
        for number in range((stop - start + width - 1) // width):
            first = start + number * width
            k = min(width, stop - first)
            padded = (k + LANES - 1) // LANES * LANES
            pitch = padded + LANES
            softmax_items(c, base, side, outer, first, k, padded, pitch)
            f, m, ys = view(side, padded, REAL), view(side + ROW, padded, REAL), view(side + 2 * ROW, padded, int32)
            z, own, value, by = (
                view(side + 3 * ROW, padded, REAL),
                view(side + 4 * ROW, padded, REAL),
                view(side + 5 * ROW, padded, REAL),
                view(side + 6 * ROW, padded, REAL),
            )
            slope, own_slope = view(side + 7 * ROW, padded, REAL), view(side + 8 * ROW, padded, REAL)
            reference, bend_, pull = view(side + 9 * ROW, padded, REAL), view(side + 10 * ROW, padded, REAL), view(side + 11 * ROW, padded, REAL)
            for i in range(padded):
                z[i], own[i], reference[i], bend_[i], pull[i] = ZERO, ZERO, ZERO, ZERO, ZERO
            if EXTRA:
                for i in range(padded):
                    by[i] = by_sums[int64(max(ys[i], int32(0))) * KINDS + EXTRA_SUM]
            origin = c[X] + (outer * c[X_OUTER] + first * c[X_ITEM]) * ITEM
            for j in range(n):
                ask_ahead(origin, j, k, c[X_CLASS])
                ts = view(c[LABELS] + (outer * c[X_OUTER] + j * c[X_CLASS] + first) * LABEL_ITEM, k, LABEL)
                q = by_sums[j * KINDS : (j + 1) * KINDS]
                look_ahead(
                    view(base + j * pitch * REAL_ITEM, padded, REAL), m, z, own, ys, reference, bend_,
                    q[INTERSECTION], q[PREDICTION], TWO * q[PREDICTION_SQUARED], ts, int32(j),
                )  # fmt: skip
            level_items(f, m, own, z, value, slope, own_slope, by, p)
            if SQUARED:
                for i in range(padded):
                    reference[i] += bend_[i] * z[i]
            for j in range(n):
                ts = view(c[LABELS] + (outer * c[X_OUTER] + j * c[X_CLASS] + first) * LABEL_ITEM, k, LABEL)
                q = by_sums[j * KINDS : (j + 1) * KINDS]
                s = view(base + j * pitch * REAL_ITEM, padded, REAL)
                chances(s, ts, ys, z, reference, pull, q[INTERSECTION], q[PREDICTION], TWO * q[PREDICTION_SQUARED], int32(j))
            if c[GX] != 0 or c[GT] != 0:
                for j in range(n):
                    place = outer * c[X_OUTER] + j * c[X_CLASS] + first
                    ts = view(c[LABELS] + place * LABEL_ITEM, k, LABEL)
                    q = by_sums[j * KINDS : (j + 1) * KINDS]
                    s = view(base + j * pitch * REAL_ITEM, padded, REAL)
                    if c[GT] != 0:
                        give_target(s, ts, f, c[GT] + place * LABEL_ITEM, q[INTERSECTION], q[TARGET], TWO * q[TARGET_SQUARED])
                    leave(s, ts, ys, f, reference, pull, slope, own_slope, q[INTERSECTION], q[PREDICTION], TWO * q[PREDICTION_SQUARED], int32(j))
            if c[GX] != 0:
                give_tile(c, origin, base, side + SIDES * ROW, n, k, pitch)
        if c[PAST] != 0:
            settle()
