"""The loops of the ranked pattern: templates, as in `loops.py`. The meaning is that of `engines/torch/ranked.py`.

A segment is what is sorted together: the items of a sample, or of the batch, for one class. Its errors are written where the gradient will be, as the bits of a
float32 (which order numbers that are not negative), with the sign set for items of the class. After the item of the class with the smallest error nothing is
added any more, so only what is not below it is sorted: in a network that has learned something, and in one that knows nothing, few of the others.
"""

from losskit.engines.cpu.core.context import Context

MAX_WIDTH = 1 << 9  # items in a tile
SIDES = 6  # numbers kept an item besides
TILE = 1 << 15  # numbers in a tile at most: classes x (items + LANES)
GONE, KEY, SIGN, NAN_KEY = -1, 0x7FFFFFFF, -0x80000000, 0x7FC00000  # bits of an absent item; of an error; of an item of the class; of an error that is none
DIGIT, FEW_DIGIT, MANY = 11, 8, 1 << 12  # bits a round of sorting; for fewer items than MANY, for which 2,048 counters are too many
COUNTERS = 1 << DIGIT
CONTEXT = Context(
    "x:p labels:p factor:p slopes:p gx:p parts:p by:p room:p length classes inner x_outer x_class span spans width ignore factor_step factor_outer factor_class "
    "segments stretches workers"
)


def packed(error, own, absent):
    """An error as it is sorted."""
    key = bits(error) if error == error else int32(NAN_KEY)
    return int32(GONE) if absent else int32(key | (int32(SIGN) if own else int32(0)))


def softmax_items(c, base, side, outer, first, k, padded, pitch):
    """A tile of scores; labels, factors and largest scores of its items. The scores of what is absent are 0."""
    n = c[CLASSES]
    f, m, ys = view(side, padded, REAL), view(side + ROW, padded, REAL), view(side + 2 * ROW, padded, int32)
    labels_of(c, outer * c[INNER] + first, ys, f, k)
    load_planes(c[X] + (outer * c[X_OUTER] + first) * ITEM, base, base, n, k, pitch, c[X_CLASS], ZERO)
    for i in range(padded):
        m[i] = -INFINITY
    for j in range(n):
        s = view(base + j * pitch * REAL_ITEM, padded, REAL)
        for i in range(padded):
            v = s[i] if f[i] != ZERO else ZERO
            s[i] = v
            m[i] = v if v > m[i] else m[i]


def exponentials_of_class(s, m, rest, own, ys, j):
    """Scores of a class to exponentials, added up but for the label's, whose score is kept."""
    for i in range(s.size):
        v, here = s[i], ys[i] == j
        e = exp_neg(m[i] - v)
        s[i] = e
        own[i] = v if here else own[i]
        rest[i] += ZERO if here else e


def softmax_errors(lo, hi, context):
    """The errors of SPAN items of a sample a task."""
    c = view(context, PLACES, int64)
    n, inner, width = c[CLASSES], c[INNER], c[WIDTH]
    base = stack()
    side = base + TILE * REAL_ITEM
    for task in range(lo, hi):
        outer = task // c[SPANS]
        start = (task - outer * c[SPANS]) * c[SPAN]
        stop = min(start + c[SPAN], inner)
        for number in range((stop - start + width - 1) // width):
            first = start + number * width
            k = min(width, stop - first)
            padded = (k + LANES - 1) // LANES * LANES
            pitch = padded + LANES
            softmax_items(c, base, side, outer, first, k, padded, pitch)
            f, m, ys = view(side, padded, REAL), view(side + ROW, padded, REAL), view(side + 2 * ROW, padded, int32)
            rest, own, inverse = view(side + 3 * ROW, padded, REAL), view(side + 4 * ROW, padded, REAL), view(side + 5 * ROW, padded, REAL)
            for i in range(padded):
                rest[i], own[i] = ZERO, ZERO
            origin = c[X] + (outer * c[X_OUTER] + first) * ITEM
            for j in range(n):
                ask_planes(origin, j, k, c[X_CLASS])
                exponentials_of_class(view(base + j * pitch * REAL_ITEM, padded, REAL), m, rest, own, ys, int32(j))
            for i in range(padded):
                d = INFINITY if m[i] == LARGEST and own[i] < LARGEST else m[i] - own[i]
                inverse[i] = ONE / (rest[i] + exp_neg(d))
                rest[i] *= inverse[i]
            for j in range(n):
                s, to = view(base + j * pitch * REAL_ITEM, k, REAL), view(c[SLOPES] + (outer * c[X_OUTER] + j * c[X_CLASS] + first) * REAL_ITEM, k, int32)
                for i in range(k):
                    here = ys[i] == int32(j)
                    to[i] = packed(rest[i] if here else s[i] * inverse[i], here, f[i] == ZERO)


# errors where a class needs no look at the others


def label_at(ts, i, j, ignore):
    """(absent, of the class, wrong) where the target is a label; those that are no class have been looked for before."""
    y = int64(ts[i])
    return y == ignore, y == j, False


def number_at(ts, i, j, ignore):
    """(absent, of the class, wrong) where it is a number of its own, 0 or 1; read in float64 if it is one, for in float32 a number next to 1 would be 1."""
    t = read_t(ts[i])
    return t == TARGET(ignore), t == TARGET(1.0), t != TARGET(1.0) and t != TARGET(0.0)


def hinge(x, own):
    """What is missing to a margin of 1."""
    e = ONE - x if own else ONE + x
    return ZERO if e <= ZERO else e


def distance(x, own):
    """From a probability to what it should be."""
    p = unit(x)
    return ONE - p if own else p


def point_errors(lo, hi, context):
    """The errors of SPAN items of a sample a task. That of a wrong target is NaN, which comes first in its segment and makes a NaN of the loss."""
    c = view(context, PLACES, int64)
    n, inner, ignore = c[CLASSES], c[INNER], c[IGNORE]
    for task in range(lo, hi):
        outer = task // c[SPANS]
        first = (task - outer * c[SPANS]) * c[SPAN]
        k = min(c[SPAN], inner - first)
        for j in range(n):
            place = outer * c[X_OUTER] + j * c[X_CLASS] + first
            xs, to = view(c[X] + place * ITEM, k, STORED), view(c[SLOPES] + place * REAL_ITEM, k, int32)
            ts = view(c[LABELS] + (place if NUMBERS else outer * inner + first) * LABEL_ITEM, k, LABEL)
            fs = view(c[FACTOR] + (outer * c[FACTOR_OUTER] + j * c[FACTOR_CLASS] + first * c[FACTOR_STEP]) * FACTOR_ITEM, k, FACTOR_TYPE)
            for i in range(k):
                absent, own, wrong = target_at(ts, i, j, ignore)
                if FACTORED:
                    absent = absent or fs[i] == 0
                to[i] = packed(NAN if wrong else error(read(xs[i]), own), own, absent)


def look(found):
    """Of a stretch: items of the class, items that count, the smallest key of the class, the largest of all."""
    own, count, low, high = 0, 0, int32(KEY), int32(0)
    for i in range(found.size):
        v = found[i]
        here = v != int32(GONE)
        key = int32(v & int32(KEY))
        mine = here and v < int32(0)
        own += 1 if mine else 0
        count += 1 if here else 0
        at = key if mine else int32(KEY)
        low = at if at < low else low
        at = key if here else int32(0)
        high = at if at > high else high
    return own, count, low, high


def collect(found, offset, items, n, low, high):
    """Adds what is to be sorted to `items`, the largest error first in their order; clears the stretch. How many there are now."""
    for i in range(found.size):
        v = found[i]
        key = int32(v & int32(KEY))
        found[i] = int32(0)
        own = uint64(1) if v < int32(0) else uint64(0)
        items[n] = (uint64(high - key) << uint64(32)) | (uint64(offset + i) << uint64(1)) | own
        n += uint64(1) if key >= low and v != int32(GONE) else uint64(0)
    return n


def round_of_sorting(source, to, counters, shift, mask):
    """Moves items to where a digit puts them, those with the same digit in their order; whether they moved."""
    for d in range(counters.size):
        counters[d] = uint32(0)
    for i in range(source.size):
        counters[(source[i] >> shift) & mask] += uint32(1)
    if source.size == counters[(source[0] >> shift) & mask]:
        return False
    place = uint32(0)
    for d in range(counters.size):
        here = counters[d]
        counters[d] = place
        place = uint32(place + here)
    for i in range(source.size):
        v = source[i]
        d = (v >> shift) & mask
        at = counters[d]
        to[uint64(at)] = v
        counters[d] = uint32(at + uint32(1))
    return True


def sort(one, other, n, width, counters):
    """Sorts n items by keys of `width` bits, from address to address; where they are in the end."""
    digit = DIGIT if n >= MANY else FEW_DIGIT
    some = counters[: 1 << digit]
    for number in range((width + digit - 1) // digit):
        if round_of_sorting(view(one, n, uint64), view(other, n, uint64), some, uint64(32 + number * digit), uint64((1 << digit) - 1)):
            one, other = other, one
    return one


def spread_slopes(items, slopes, own, high):
    """The loss of a segment, and its derivatives by the errors, less is more for items of the class."""
    total, union, left = 0.0, float64(own), float64(own)
    for i in range(items.size):
        v = items[i]
        key = int32(high - int64(v >> uint64(32)))
        if v & uint64(1) != uint64(0):
            added = 1.0 / union
            left -= 1.0
            slope = -added
        else:
            wider = union + 1.0
            added = left / (union * wider) if union > 0.0 else 1.0
            union = wider
            slope = added
        if key == NAN_KEY:  # and its gradient is none, either
            slope, added = float64(NAN), 1.0
        if added != 0.0:
            total += added * float64(from_bits(key))
            slopes[(v & uint64(0xFFFFFFFF)) >> uint64(1)] = REAL(slope)
    return total


def ranks(lo, hi, context):
    """Sorts the segments of a worker, who has room of his own; losses, and slopes in place of errors."""
    c = view(context, PLACES, int64)
    n, inner, step, stretches = c[CLASSES], c[INNER], c[X_OUTER], c[STRETCHES]
    counters = view(stack(), COUNTERS, uint32)
    for worker in range(lo, hi):
        first, last = worker * c[SEGMENTS] // c[WORKERS], (worker + 1) * c[SEGMENTS] // c[WORKERS]
        room = c[ROOM] + worker * 2 * c[LENGTH] * 8
        other = room + c[LENGTH] * 8
        for segment in range(first, last):
            outer = segment // n
            j = segment - outer * n
            start = c[SLOPES] + (outer * step + j * inner) * REAL_ITEM
            own, count, low, high = 0, 0, int32(KEY), int32(0)
            for q in range(stretches):
                mine, here, least, most = look(view(start + q * step * REAL_ITEM, inner, int32))
                own += mine
                count += here
                low, high = min(low, least), max(high, most)
            low = high if own == 0 else low  # without items of the class only the largest error counts
            low = max(low, int32(1))  # an error of 0 does not
            items = view(room, c[LENGTH], uint64)
            size = uint64(0)
            for q in range(stretches):
                size = collect(view(start + q * step * REAL_ITEM, inner, int32), q * step, items, size, low, high)
            width, rest = 0, int64(high) - int64(low)
            while rest > 0:
                width += 1
                rest = rest >> 1
            where = sort(room, other, int64(size), width, counters)
            parts = view(c[PARTS] + segment * 24, 3, float64)
            parts[0] = spread_slopes(view(where, int64(size), uint64), view(start, 1 << 60, REAL), own, int64(high))
            parts[1], parts[2] = float64(own), float64(count)


def softmax_gradient(lo, hi, context):
    """The gradients of SPAN items of a sample a task, from the slopes, which they may overwrite.

    With q_j the slope of class j times what its loss is multiplied by, and r the class with the largest score:

        g_j = p_j ((q_j - q_r) - sum_i p_i (q_i - q_r))
    """
    c = view(context, PLACES, int64)
    n, inner, width = c[CLASSES], c[INNER], c[WIDTH]
    base = stack()
    side = base + TILE * REAL_ITEM
    for task in range(lo, hi):
        outer = task // c[SPANS]
        start = (task - outer * c[SPANS]) * c[SPAN]
        stop = min(start + c[SPAN], inner)
        by = view(c[BY] + outer * n * REAL_ITEM, n, REAL)
        for number in range((stop - start + width - 1) // width):
            first = start + number * width
            k = min(width, stop - first)
            padded = (k + LANES - 1) // LANES * LANES
            pitch = padded + LANES
            softmax_items(c, base, side, outer, first, k, padded, pitch)
            f, m = view(side, padded, REAL), view(side + ROW, padded, REAL)
            z, reference, pull = view(side + 3 * ROW, padded, REAL), view(side + 4 * ROW, padded, REAL), view(side + 5 * ROW, padded, REAL)
            for i in range(padded):
                z[i], reference[i], pull[i] = ZERO, ZERO, ZERO
            origin = outer * c[X_OUTER] + first
            for j in range(n):
                ask_planes(c[X] + origin * ITEM, j, k, c[X_CLASS])
                exponentials_and_slopes(
                    view(base + j * pitch * REAL_ITEM, k, REAL), view(c[SLOPES] + (origin + j * c[X_CLASS]) * REAL_ITEM, k, REAL), m, z, reference, by[j]
                )
            for i in range(k):
                z[i] = (ONE if f[i] != ZERO else ZERO) / z[i]
            for j in range(n):
                chances(
                    view(base + j * pitch * REAL_ITEM, k, REAL), view(c[SLOPES] + (origin + j * c[X_CLASS]) * REAL_ITEM, k, REAL), z, reference, pull, by[j]
                )
            for j in range(n):
                s = view(base + j * pitch * REAL_ITEM, k, REAL)
                leave(s, view(c[SLOPES] + (origin + j * c[X_CLASS]) * REAL_ITEM, k, REAL), reference, pull, by[j])
                g = view(c[GX] + (origin + j * c[X_CLASS]) * ITEM, k, STORED)
                for i in range(k):
                    g[i] = write(s[i])


def exponentials_and_slopes(s, slopes, m, z, reference, by):
    """Scores of a class to exponentials, added up; the slope of the class with the largest score."""
    for i in range(s.size):
        e = exp_neg(m[i] - s[i])
        s[i] = e
        reference[i] = slopes[i] * by if e == ONE else reference[i]
        z[i] += e


def chances(s, slopes, inverse, reference, pull, by):
    """Exponentials of a class to probabilities; what they pull, added up."""
    for i in range(s.size):
        p = s[i] * inverse[i]
        s[i] = p
        pull[i] += p * (slopes[i] * by - reference[i])


def leave(s, slopes, reference, pull, by):
    """Probabilities of a class to gradients."""
    for i in range(s.size):
        s[i] = s[i] * (slopes[i] * by - reference[i] - pull[i])
