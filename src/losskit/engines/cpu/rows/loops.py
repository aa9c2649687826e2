"""The loops of the rows pattern: templates, as in `loops.py`.

A row is the class scores of one item. With m its largest score, E_j = exp(x_j - m), and R the sum of E_j over the classes other than the label's, y:

    nll = m - x_y + log1p(rest),  rest = R if x_y is the largest, else R + E_y - 1;    p_y = E_y / Z,  1 - p_y = R / Z,  Z = R + E_y

No term is a difference of large numbers: a confident item keeps its small loss and its small gradient. Summing without the label's class costs nothing:
its score is taken out of the scratch array (minus infinity is put there) before the exponentials.

What becomes of the sums stands in `points.py`. What is not wanted or not given is a null address, looked at once per row or tile: one instance serves all outputs.
"""

from losskit.engines.cpu.core.context import Context

ROW_BLOCK = 1 << 12  # classes of a row in scratch at once: 16 KB. Longer rows are read twice, and their exponentials computed twice
WHOLE = 64  # numbers that the loop of exponentials takes at once; what is left over by more than half costs more than a whole one
LINE = 64  # bytes of a line of memory
LANES = 16  # scratch is padded to whole vectors: what is left over by a loop with an exponential costs more than the padding
TILE = 1 << 13  # numbers in a tile: classes x (items + LANES)
MAX_WIDTH = 1 << 9  # items in a tile of planes
ROW_WIDTH = 1 << 7  # ... of rows, whose scratch and memory both fit the first-level cache then (10 classes, Zen 4: 1.2 times faster)
TILE_ROWS = 9  # numbers kept an item besides
FEW = 32  # classes: rows with fewer are transposed into tiles
FLAT = (LANES + 1) * FEW  # numbers on their way between memory and tile: a square of short rows, and room for what a row writes beyond its end
BUNDLE = TILE // LANES  # classes of rows that go in bundles
MAX_CLASSES = TILE // (2 * LANES)  # of a tile
MAX_PARAMS = 4
CONTEXT = Context(
    "x:p labels:p v:p gx:p factor:p parts:p out:p items classes lse:p right:p scale:d total_share:d link:d factor_step weight:p weight_step shares:p inner x_outer x_class x_item "
    f"span width ignore past kept params:{MAX_PARAMS}d heat:p heat_step by_heat:p operands:2p operand_steps:2 by_operands:2p"
)
CENSUS = Context(
    "labels:p factor:p out:p items classes factor_step weight:p weight_step span ignore"
)  # a few places: packing the other takes longer than a short count


def give(c, item, k, value, lse):
    """What is wanted of `count` items from `item` on; the sum of their values."""
    part = ZERO
    for i in range(k):
        part += value[i]
    if c[V] != 0:
        values = view(c[V] + item * REAL_ITEM, k, REAL)
        for i in range(k):
            values[i] = value[i]
    if c[LSE] != 0:
        lses = view(c[LSE] + item * REAL_ITEM, k, REAL)
        for i in range(k):
            lses[i] = lse[i]
    return float64(part)


def scores(xs, s, parameter, m):
    """A block of scores to scratch, padded with minus infinity; infinite ones are read as the largest number. The larger of `m` and the largest of them.

    The maximum is taken of integers: one of floats is not vectorised, for the sake of NaN.
    """
    top = key(m)
    for j in range(xs.size):
        v = score(read(xs[j]), parameter)
        s[j] = v
        top = max(top, key(v))
    beyond = s[xs.size :]
    for j in range(beyond.size):
        beyond[j] = -INFINITY
    return from_key(top)


def exponentials(s, m, temperature):
    """Scores to exp(score - m), in temperatures, in place; their sum, and that of their gaps."""
    base = ZERO if m == -INFINITY else m  # nothing but minus infinity so far
    total, gaps = ZERO, ZERO
    for j in range(s.size):
        below = distance(base, s[j], temperature)
        e = exp_neg(below)
        s[j] = e
        total += e
        gaps += gap(e, below)
    return float64(total), float64(gaps)


def keep(s, to):
    """Exponentials to where the gradient will be."""
    g = view(to, s.size, REAL)
    for j in range(s.size):
        g[j] = s[j]


def long_rows(lo, hi, context):
    """Rows with their classes next to each other in memory, one at a time; SPAN rows per task.

    A row longer than a block has its exponentials taken twice, unless they may be KEPT where its gradient will be, each block's against the largest score so far.
    """
    c = view(context, PLACES, int64)
    n, items = c[CLASSES], c[ITEMS]
    labels, factors = view(c[LABELS], items, LABEL), view(c[FACTOR], items, FACTOR_TYPE)
    weights, shares = view(c[WEIGHT], n, REAL), view(c[SHARES], n, REAL)
    values, lses, rights = view(c[V], items, REAL), view(c[LSE], items, REAL), view(c[RIGHT], items, uint8)
    scale, total_share, parameter = REAL(real_of(c[SCALE])), REAL(real_of(c[TOTAL_SHARE])), REAL(real_of(c[LINK]))
    p = params(c)
    base = stack()
    scratch, tops, kept = view(base, ROW_BLOCK, REAL), view(base + ROW_BLOCK * REAL_ITEM, ROW_BLOCK, REAL), c[KEPT] != 0
    spare = base + 2 * ROW_BLOCK * REAL_ITEM
    for task in range(lo, hi):
        total = 0.0
        for i in range(task * c[SPAN], min((task + 1) * c[SPAN], items)):
            y = int64(labels[i])
            f = read_factor(factors[i * c[FACTOR_STEP]])
            xs = view(c[X] + i * n * ITEM, n, STORED)
            value, lse, right = ZERO, ZERO, False
            if y == c[IGNORE] or f == ZERO:
                if c[GX] != 0:
                    gs = view(c[GX] + i * n * ITEM, n, STORED)
                    for j in range(n):
                        gs[j] = write(ZERO)
            else:
                take_temperature(c, i, 1, spare)
                take_operands(c, i, 1, spare)
                temperature = temperature_of(spare, 0)
                if c[RIGHT] != 0:
                    before, own = 0, with_margin(score(read(xs[y]), parameter), p)
                    for j in range(y):
                        before += 1 if score(read(xs[j]), parameter) >= own else 0
                    right = before == 0
                at_label = read(xs[y])
                m, own, rest, gaps, spread, seen = -INFINITY, ZERO, 0.0, 0.0, 0.0, 0.0
                for b in range(0, n, ROW_BLOCK):
                    k = min(ROW_BLOCK, n - b)
                    s = scratch[: (k + LANES - 1) // LANES * LANES]
                    new = scores(xs[b : b + k], s, parameter, m)
                    if b <= y < b + k:
                        new = lower(s, y - b, new, m, p)
                    if new != m:
                        lift = distance(new, m, temperature)
                        gaps = moved_gap(gaps, rest, float64(lift)) * float64(exp_neg(lift))
                        rest *= float64(exp_neg(lift))
                        if seen != 0.0:
                            spread += seen * float64(lift)
                        m = new
                    if c[SHARES] != 0:
                        part, share = ZERO, ZERO
                        h = shares[b : b + k]
                        for j in range(k):
                            part += h[j] * distance(m, s[j], temperature) if h[j] != ZERO else ZERO
                            share += h[j]
                        spread += float64(part)
                        seen += float64(share)
                    if b <= y < b + k:
                        own = s[y - b]
                        s[y - b] = -INFINITY
                    found = exponentials(s, m, temperature)
                    rest, gaps = rest + found[0], gaps + found[1]
                    if kept:
                        keep(s[:k], c[GX] + (i * n + b) * ITEM)
                        tops[b // ROW_BLOCK] = m
                own_share = shares[y] if c[SHARES] != 0 else ZERO
                weight = weights[y * c[WEIGHT_STEP]]
                value, lse, slope, by_share, own_slope, heat, by = point(
                    m, own, REAL(rest), REAL(gaps), REAL(spread), total_share, own_share, weight, temperature, read_operands(spare, 0, p)
                )
                value *= f
                leave_by_operands(spare, 0, by, f * scale)
                leave_by_temperature(spare, 0, heat, f * scale, temperature)
                give_by_temperature(c, i, 1, spare)
                give_by_operands(c, i, 1, spare)
                right = right and own == m
                if c[GX] != 0:
                    w = warm(f * scale, temperature)
                    slope *= w
                    by_share *= w
                    for b in range(0, n, ROW_BLOCK):
                        k = min(ROW_BLOCK, n - b)
                        s = scratch[: (k + LANES - 1) // LANES * LANES]
                        place, h = (i * n + b) * ITEM, shares[b : b + k] if c[SHARES] != 0 else shares[:0]
                        to = c[GX] + place
                        if kept:
                            spend_kept(view(to, k, REAL), slope * exp_neg(distance(m, tops[b // ROW_BLOCK], temperature)), h, by_share)
                        else:
                            if n > ROW_BLOCK:
                                scores(xs[b : b + k], s, parameter, m)
                                exponentials(s, m, temperature)
                            spend(s[:k], c[X] + place, to, slope, h, by_share, parameter)
                        if b <= y < b + k:
                            view(to, k, STORED)[y - b] = write(own_slope * w * own_slope_by(at_label, parameter, p))
            total += float64(value)
            if c[V] != 0:
                values[i] = value
            if c[LSE] != 0:
                lses[i] = lse
                rights[i] = uint8(right)
        if c[PARTS] != 0:
            view(c[PARTS], hi, float64)[task] = total
        else:
            view(c[OUT], 1, REAL)[0] = REAL(total * float64(scale) if scale != ZERO else 0.0)


def bundles(lo, hi, context):
    """Rows of a middling number of classes, LANES at a time: classes side by side while there are sums to take, then rows side by side for the formula."""
    c = view(context, PLACES, int64)
    n, items = c[CLASSES], c[ITEMS]
    weights, shares, rights = view(c[WEIGHT], n, REAL), view(c[SHARES], n, REAL), view(c[RIGHT], items, uint8)
    scale, total_share, parameter = REAL(real_of(c[SCALE])), REAL(real_of(c[TOTAL_SHARE])), REAL(real_of(c[LINK]))
    p = params(c)
    base = stack()
    padded = (n + LANES - 1) // LANES * LANES
    if n > WHOLE and n % WHOLE > WHOLE // 2:
        padded = (n + WHOLE - 1) // WHOLE * WHOLE
    rows = view(base, LANES * padded, REAL)
    side = base + TILE * REAL_ITEM
    spare = side + TILE_ROWS * ROW
    f, m, own, rest = view(side, LANES, REAL), view(side + ROW, LANES, REAL), view(side + 2 * ROW, LANES, REAL), view(side + 3 * ROW, LANES, REAL)
    spread, own_share, weight = view(side + 4 * ROW, LANES, REAL), view(side + 5 * ROW, LANES, REAL), view(side + 6 * ROW, LANES, REAL)
    by_share, ys = view(side + 7 * ROW, LANES, REAL), view(side + 8 * ROW, LANES, int32)
    for task in range(lo, hi):
        total = 0.0
        start, stop = task * c[SPAN], min((task + 1) * c[SPAN], items)
        for number in range((stop - start + LANES - 1) // LANES):
            item = start + number * LANES
            k = min(LANES, stop - item)
            labels_of(c, item, ys, f, k)
            take_temperature(c, item, k, spare)
            take_operands(c, item, k, spare)
            for i in range(LANES):
                m[i], own[i], rest[i], spread[i], own_share[i], weight[i] = ZERO, ZERO, ZERO, ZERO, ZERO, ONE
            for i in range(k):
                if f[i] != ZERO:
                    y, s = int64(ys[i]), rows[i * padded : (i + 1) * padded]
                    m[i] = scores(view(c[X] + (item + i) * n * ITEM, n, STORED), s, parameter, -INFINITY)
                    m[i] = lower(s, y, m[i], -INFINITY, p)
                    weight[i] = weights[y * c[WEIGHT_STEP]]
                    if c[SHARES] != 0:
                        part = ZERO
                        for j in range(n):
                            part += shares[j] * distance(m[i], s[j], temperature_of(spare, i)) if shares[j] != ZERO else ZERO
                        spread[i], own_share[i] = part, shares[y]
                    own[i] = s[y]
                    if c[LSE] != 0:
                        before = 0
                        for j in range(y):
                            before += 1 if s[j] == own[i] else 0
                        rights[item + i] = uint8(own[i] == m[i] and before == 0)
                    s[y] = -INFINITY
                elif c[LSE] != 0:
                    rights[item + i] = uint8(0)
            for i in range(k):  # a loop of its own: the next row's exponentials need not wait for this row's sums
                if f[i] != ZERO:
                    sums = exponentials(rows[i * padded : (i + 1) * padded], m[i], temperature_of(spare, i))
                    rest[i] = REAL(sums[0])
                    add_gap(spare, i, REAL(sums[1]))
            points(m, own, rest, spread, total_share, own_share, weight, by_share, f, scale, p, spare)
            give_by_temperature(c, item, k, spare)
            give_by_operands(c, item, k, spare)
            total += give(c, item, k, spread, own)
            if c[GX] != 0:
                to = c[GX] + item * n * ITEM
                for i in range(k):
                    xs, gs, y = view(c[X] + (item + i) * n * ITEM, n, STORED), view(to + i * n * ITEM, n, STORED), int64(ys[i])
                    if f[i] == ZERO:
                        for j in range(n):
                            gs[j] = write(ZERO)
                    else:
                        at_label = write(weight[i] * own_slope_by(read(xs[y]), parameter, p))
                        s = rows[i * padded : i * padded + n]
                        spend(s, c[X] + (item + i) * n * ITEM, to + i * n * ITEM, m[i], shares if c[SHARES] != 0 else shares[:0], by_share[i], parameter)
                        gs[y] = at_label
        if c[PARTS] != 0:
            view(c[PARTS], hi, float64)[task] = total
        else:
            view(c[OUT], 1, REAL)[0] = REAL(total * float64(scale) if scale != ZERO else 0.0)


def labels_of(c, item, ys, f, k):
    """Labels and factors of a tile's items. What is absent has the factor 0, and so have the lanes beyond the last item."""
    labels, factors = view(c[LABELS] + item * LABEL_ITEM, k, LABEL), view(c[FACTOR] + item * c[FACTOR_STEP] * FACTOR_ITEM, k, FACTOR_TYPE)
    ignore = c[IGNORE]
    for i in range(k):
        y = int64(labels[i])
        ys[i] = int32(-1) if y == ignore else int32(y)
    if c[FACTOR_STEP] == 0:
        for i in range(k):
            f[i] = ZERO if ys[i] == int32(-1) else ONE
    else:
        for i in range(k):
            f[i] = ZERO if ys[i] == int32(-1) else read_factor(factors[i])
    for i in range(k):
        ys[i] = int32(0) if f[i] == ZERO else ys[i]
    for i in range(k, ys.size):
        ys[i], f[i] = int32(0), ZERO


def census(lo, hi, context):
    """The weights of the items that count, summed, and how many labels of theirs are no class; SPAN items per task."""
    c = view(context, PLACES, int64)
    n, items, ignore = c[CLASSES], c[ITEMS], c[IGNORE]
    labels, factors, weights = view(c[LABELS], items, LABEL), view(c[FACTOR], items, FACTOR_TYPE), view(c[WEIGHT], n, REAL)
    for task in range(lo, hi):
        first, last = task * c[SPAN], min((task + 1) * c[SPAN], items)
        some = labels[first:last]
        counted, wrong, weight = 0, 0, 0.0
        if c[FACTOR_STEP] == 0:
            for i in range(some.size):
                y = int64(some[i])
                here = y != ignore
                counted += here
                wrong += here and (y < 0 or y >= n)
        else:
            kept = factors[first:last]
            for i in range(some.size):
                y = int64(some[i])
                here = y != ignore and kept[i] != 0
                counted += here
                wrong += here and (y < 0 or y >= n)
        if wrong == 0 and (c[FACTOR_STEP] != 0 or c[WEIGHT_STEP] != 0):
            for i in range(some.size):
                y = int64(some[i])
                f = read_factor(factors[(first + i) * c[FACTOR_STEP]])
                if y != ignore and f != ZERO:
                    weight += float64(f) * float64(weights[y * c[WEIGHT_STEP]])
        else:
            weight = float64(counted)
        out = view(c[OUT], 3 * hi, float64)
        out[3 * task], out[3 * task + 1], out[3 * task + 2] = weight, float64(counted), float64(wrong)
