"""The loops of rows with distributions: templates, as in `loops.py`. The mathematics is that of `engines/torch/distributions.py`.

With m the largest score of a row, E_j = exp(s_j - m) and R the sum of E_j without the largest one, which is 1:

    log p_j = s_j - m - log1p(R),  p_j = E_j / (1 + R),  q_j = 1 - p_j;  where E_j is 1, q = R / (1 + R)

The formula is called once per class. What it gives back as derivatives by log p is added up apart for the classes whose E is 1 (`own`, mostly one class) and
for the others (`rest`), whose sum that class's gradient needs: by_log q - p (rest + own - by_log), so a sure item keeps its digits. Elsewhere the gradient
is by_log - p (rest + own). No class is looked for by its place. What a target is (a distribution, a label, a position, nothing), whether a row's largest input is taken
out before the link, and how a tile lies in memory are functions put in when an instance is compiled. What is not wanted is a null address.
"""

from losskit.engines.cpu.core.context import Context

BLOCK = 1 << 11  # classes of a row in scratch at once: three arrays of 8 KB. Longer rows are read again, and their exponentials computed again
MAX_WIDTH = 1 << 9  # items in a tile
SIDES = 11  # numbers kept an item besides
CONTEXT = Context(
    "x:p t|labels:p v:p gx:p factor:p parts:p out:p items classes lse:p gt:p scale:d z_loss:d link:d factor_step weight:p weight_step inner "
    "x_outer x_class x_item span width ignore params:4d heat:p heat_step by_heat:p operands:2p operand_steps:2 by_operands:2p"
)


# what a target is: its number for a class, and where the derivative by it goes


def mass_given(t, y, j):
    """A distribution."""
    return t


def mass_of_label(t, y, j):
    """All on the label."""
    return ONE if y == j else ZERO


def mass_of_position(t, y, j):
    """Shared by the two classes that a position lies between, max(0, 1 - |j - y|): the upper one's is y - (j - 1), so that a small share keeps its digits."""
    below, here = y - (REAL(j) - ONE), ONE - (y - REAL(j))
    least = below if below < here else here
    return ZERO if least < ZERO else least


def no_mass(t, y, j):
    """No target."""
    return ZERO


def keep(ts, j, by_target):
    """In the target's place, which has been read."""
    ts[j] = by_target


def drop(ts, j, by_target):
    """Unused: this variant returns no by-products."""


def shifted(x, base):
    """An input without the largest of its row."""
    return (LARGEST if x > LARGEST else x) - base


def unshifted(x, base):
    """An input as it is."""
    return x


# rows one at a time


def row_label(c, i):
    """The label of a row, -1 if it is to be ignored."""
    y = int64(view(c[T], c[ITEMS], LABEL)[i])
    return -1 if y == c[IGNORE] else y


def row_position(c, i):
    """The position of a row."""
    return placed(read_t(view(c[T], c[ITEMS], STORED_T)[i]), c[CLASSES])


def no_row_label(c, i):
    """Nothing to ignore."""
    return 0


def placed(y, n):
    """A position among n classes: put back if outside by rounding, NaN if further out."""
    last, room = REAL(n - 1), ROUNDING * REAL(n)
    held = ZERO if y < ZERO else (last if y > last else y)
    return held if y >= -room and y <= last + room else NAN


def label_within(y, b):
    """The label as seen from class b, where a block starts."""
    return int32(y - b)


def position_within(y, b):
    """The position as seen from there: exact where the block holds any of its mass."""
    return y - REAL(b)


def row_base(xs):
    """The largest input, by integers of the same order: a maximum of floats is not vectorised, for the sake of NaN."""
    top = key(-INFINITY)
    for j in range(xs.size):
        x = read(xs[j])
        top = max(top, key(LARGEST if x > LARGEST else x))
    return from_key(top)


def no_row_base(xs):
    """Inputs stay as they are."""
    return ZERO


def load_row(c, start, k, ts):
    """Targets to scratch, padded with zeros."""
    given = view(c[T] + start * T_ITEM, k, STORED_T)
    for j in range(k):
        ts[j] = read_t(given[j])
    beyond = ts[k:]
    for j in range(beyond.size):
        beyond[j] = ZERO


def no_load_row(c, start, k, ts):
    """No numbers to read."""


def store_row(c, start, k, ts, ws, bonus, w):
    """Gradients by the target."""
    if c[GT] != 0:
        given = view(c[GT] + start * T_ITEM, k, STORED_T)
        for j in range(k):
            given[j] = write_t((ts[j] + bonus * ws[j]) * w)


def no_store_row(c, start, k, ts, ws, bonus, w):
    """No gradient by the target."""


def clear_row(c, i, n):
    """The gradients of an absent row."""
    if c[GX] != 0:
        gs = view(c[GX] + i * n * ITEM, n, STORED)
        for j in range(n):
            gs[j] = write(ZERO)
    if c[GT] != 0:
        hs = view(c[GT] + i * n * T_ITEM, n, STORED_T)
        for j in range(n):
            hs[j] = write_t(ZERO)


def fill(xs, s, base, parameter, m):
    """A block of scores to scratch, padded with minus infinity; infinite ones are read as the largest number. The larger of `m` and the largest of them."""
    top = key(m)
    for j in range(xs.size):
        v = link(shift(read(xs[j]), base), parameter)
        v = LARGEST if v > LARGEST else v
        s[j] = v
        top = max(top, key(v))
    beyond = s[xs.size :]
    for j in range(beyond.size):
        beyond[j] = -INFINITY
    return from_key(top)


def apart(v):
    """An exponential below 1, or 0 and a 1 to count. No branch, which would keep the sums from being vectorised, and no sum in any other order."""
    one = REAL(v == ONE)
    return v - one, one


def exponentials(s, e, m, temperature):
    """exp(score - m), in temperatures; the sum of those below 1, how many are 1, and the sum of gaps."""
    base = ZERO if m == -INFINITY else m  # nothing but minus infinity so far
    rest, largest, gaps = ZERO, ZERO, ZERO
    for j in range(s.size):
        fall = distance(base, s[j], temperature)
        v = exp_neg(fall)
        e[j] = v
        gaps += gap(v, fall)
        below, one = apart(v)
        rest += below
        largest += one
    return float64(rest), float64(largest), float64(gaps)


def without_one(rest, largest, m):
    """R; NaN where every score is minus infinity. In this order: the loop's own sums may be taken in any."""
    return REAL(rest + (largest - 1.0)) + (m - m)


def levels(rest):
    """log1p(R), 1 / (1 + R), R / (1 + R)."""
    inverse = ONE / (ONE + rest)
    return log1p(rest), inverse, rest * inverse


def log_chance(fall, level):
    """log p, in this order: the level of a sure item is far smaller than its score."""
    return -fall - level


def classes_of_row(s, e, ts, ws, m, level, inverse, miss, y, k, temperature, p):
    """The formula on a block of `k` classes: scores become derivatives by log p, targets the derivatives by them. The sums of values, of `rest` and `own`, and of
    what operands need: derivatives by log p times how far scores lie below the largest, and the derivatives by operands.
    """
    total, rest, own, fall, first, second = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    nothing = m - m  # 0, which the compiler must not know: of what is added it would make what is not, and not vectorise it
    for j in range(s.size):
        here = int32(j)
        chance = e[j] * inverse
        largest, inside = e[j] == ONE, here < k
        below = distance(m, s[j], temperature)
        found = formula(log_chance(below, level), chance, miss if largest else ONE - chance, mass(ts[j], y, here), ws[j], *p)
        value, by_log, by_target = found[0], found[1], found[2]
        fall += gap(by_log, below) if inside else nothing
        first += by_first(found) if inside else nothing
        second += by_second(found) if inside else nothing
        total += value if inside else nothing
        rest += by_log if inside and not largest else nothing
        own += by_log if largest else nothing
        s[j] = by_log
        keep_by_target(ts, j, by_target)
    return float64(total), float64(rest), float64(own), float64(fall), float64(first), float64(second)


def masses_of_row(ts, ws, y, k):
    """The sum of target times weight."""
    total = ZERO
    for j in range(k):
        total += mass(ts[j], y, int32(j)) * ws[j]
    return float64(total)


def slope(by_log, e, inverse, miss, rest, own):
    """The gradient by a score."""
    chance = e * inverse
    return by_log * miss - chance * (rest + (own - by_log)) if e == ONE else by_log - chance * (rest + own)


def slopes(xs, gs, s, e, inverse, miss, rest, own, w, base, parameter):
    """Gradients by the input."""
    for j in range(xs.size):
        gs[j] = write(slope(s[j], e[j], inverse, miss, rest, own) * w * link_slope(shift(read(xs[j]), base), parameter))


def row_walk(lo, hi, context):
    """Rows with their classes next to each other in memory, one at a time; SPAN rows per task."""
    c = view(context, PLACES, int64)
    n, items = c[CLASSES], c[ITEMS]
    factors, values, lses = view(c[FACTOR], items, FACTOR_TYPE), view(c[V], items, REAL), view(c[LSE], items, REAL)
    scale, square, parameter = REAL(real_of(c[SCALE])), REAL(real_of(c[Z_LOSS])), REAL(real_of(c[LINK]))
    p = params(c)
    scratch = view(stack(), 3 * BLOCK, REAL)
    spare = stack() + 3 * BLOCK * REAL_ITEM
    wanted, long = c[GX] != 0 or c[GT] != 0, n > BLOCK
    for task in range(lo, hi):
        total = 0.0
        for i in range(task * c[SPAN], min((task + 1) * c[SPAN], items)):
            y = label_of(c, i)
            f = read_factor(factors[i * c[FACTOR_STEP]])
            value, lse = ZERO, ZERO
            if y < 0 or f == ZERO:
                clear_row(c, i, n)
            else:
                xs, gs = view(c[X] + i * n * ITEM, n, STORED), view(c[GX] + i * n * ITEM, n, STORED)
                base = base_of(xs)
                take_temperature(c, i, 1, spare)
                take_operands(c, i, 1, spare)
                temperature, numbers = temperature_of(spare, 0), read_operands(spare, 0, p)
                m, rest, largest, gaps = -INFINITY, 0.0, 0.0, 0.0
                for b in range(0, n, BLOCK):
                    k = min(BLOCK, n - b)
                    padded = (k + LANES - 1) // LANES * LANES
                    s, e = scratch[:padded], scratch[BLOCK : BLOCK + padded]
                    new = fill(xs[b : b + k], s, base, parameter, m)
                    if new != m:  # larger, or NaN
                        lift = distance(new, m, temperature)
                        gaps = moved_gap(gaps, rest + largest, float64(lift)) * float64(exp_neg(lift))
                        rest, largest = (rest + largest) * float64(exp_neg(lift)), 0.0
                        m = new
                    below, at, more = exponentials(s, e, m, temperature)
                    rest, largest, gaps = rest + below, largest + at, gaps + more
                level, inverse, miss = levels(without_one(rest, largest, m))
                height = cool(m, temperature)
                lse = height + level
                sum_, rest, own, weighed, fall, first, second = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                bonus = ZERO if square == ZERO else square * lse * lse
                for turn in range(2 if long and wanted else 1):
                    for b in range(0, n, BLOCK):
                        k = min(BLOCK, n - b)
                        padded = (k + LANES - 1) // LANES * LANES
                        s, e, ts = scratch[:padded], scratch[BLOCK : BLOCK + padded], scratch[2 * BLOCK : 2 * BLOCK + padded]
                        ws = view(c[WEIGHT] + b * c[WEIGHT_STEP] * REAL_ITEM, padded, REAL)
                        if long:
                            fill(xs[b : b + k], s, base, parameter, m)
                            exponentials(s, e, m, temperature)
                        load_target(c, i * n + b, k, ts)
                        if square != ZERO and turn == 0:
                            weighed += masses_of_row(ts, ws, within(y, b), k)
                        found = classes_of_row(s, e, ts, ws, m, level, inverse, miss, within(y, b), int32(k), temperature, numbers)
                        if turn == 0:
                            sum_, rest, own = sum_ + found[0], rest + found[1], own + found[2]
                            fall, first, second = fall + found[3], first + found[4], second + found[5]
                        if wanted and (turn == 1 or not long):
                            if c[GX] != 0:
                                pulled = REAL(rest - 2.0 * float64(square) * weighed * float64(lse))
                                slopes(xs[b : b + k], gs[b : b + k], s, e, inverse, miss, pulled, REAL(own), warm(f * scale, temperature), base, parameter)
                            store_target(c, i * n + b, k, ts, ws, bonus, f * scale)
                value = (REAL(sum_) + REAL(weighed) * bonus) * f
                mean = REAL(gaps) * inverse
                pulled = REAL(fall) - REAL(rest + own) * mean - TWO * square * REAL(weighed) * lse * (height - mean)
                leave_by_temperature(spare, 0, pulled, f * scale, temperature)
                leave_summed(spare, 0, REAL(first), REAL(second), f * scale)
                give_by_temperature(c, i, 1, spare)
                give_by_operands(c, i, 1, spare)
            total += float64(value)
            if c[V] != 0:
                values[i] = value
            if c[LSE] != 0:
                lses[i] = lse
        if c[PARTS] != 0:
            view(c[PARTS], hi, float64)[task] = total
        else:
            view(c[OUT], 1, REAL)[0] = REAL(total * float64(scale) if scale != ZERO else 0.0)


# whether what is given is distributions


def look_at_rows(lo, hi, context):
    """How many items are suspicious: whose numbers do not all lie in [0, 1], or whose sum is further than LINK from 1. NaN is suspicious."""
    c = view(context, PLACES, int64)
    n, items = c[CLASSES], c[ITEMS]
    factors, off = view(c[FACTOR], items, FACTOR_TYPE), real_of(c[LINK])
    for task in range(lo, hi):
        bad = 0
        for i in range(task * c[SPAN], min((task + 1) * c[SPAN], items)):
            if read_factor(factors[i * c[FACTOR_STEP]]) != ZERO:
                bad += not abs(summed(view(c[X] + i * n * ITEM, n, STORED)) - 1.0) <= off
        view(c[OUT], hi, float64)[task] = float64(bad)


def summed(xs):
    """The sum of probabilities; infinite if a number is none."""
    total = 0.0
    for j in range(xs.size):
        total += float64(checked(xs[j]))
    return total


def checked(x):
    """A probability, or infinity."""
    v = chance(read(x))
    return v if ZERO <= v <= EDGE else INFINITY


def look_at_planes(lo, hi, context):
    """The same where the items of a class lie next to each other."""
    c = view(context, PLACES, int64)
    n, inner = c[CLASSES], c[INNER]
    factors, off = view(c[FACTOR], c[ITEMS], FACTOR_TYPE), real_of(c[LINK])
    spans = (inner + c[SPAN] - 1) // c[SPAN]
    scratch = view(stack(), MAX_WIDTH, float64)
    for task in range(lo, hi):
        bad = 0
        outer = task // spans
        start = (task - outer * spans) * c[SPAN]
        stop = min(start + c[SPAN], inner)
        for number in range((stop - start + MAX_WIDTH - 1) // MAX_WIDTH):
            at = start + number * MAX_WIDTH
            k = min(MAX_WIDTH, stop - at)
            total = scratch[:k]
            for i in range(k):
                total[i] = 0.0
            for j in range(n):
                xs = view(c[X] + (outer * c[X_OUTER] + j * c[X_CLASS] + at) * ITEM, k, STORED)
                for i in range(k):
                    total[i] += float64(checked(xs[i]))
            for i in range(k):
                if read_factor(factors[(outer * inner + at + i) * c[FACTOR_STEP]]) != ZERO:
                    bad += not abs(total[i] - 1.0) <= off
        view(c[OUT], hi, float64)[task] = float64(bad)
