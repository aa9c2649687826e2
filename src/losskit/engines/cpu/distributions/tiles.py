"""Rows with distributions in tiles: few classes, and images. Templates; mathematics and places in the context are those of `loops.py`."""


def factors_of(c, item, ys, f, k):
    """Factors of a tile's items, which have no labels; lanes beyond the last item are absent."""
    factors = view(c[FACTOR] + item * c[FACTOR_STEP] * FACTOR_ITEM, k, FACTOR_TYPE)
    for i in range(f.size):
        ys[i], f[i] = int32(0), ZERO
    if c[FACTOR_STEP] == 0:
        for i in range(k):
            f[i] = ONE
    else:
        for i in range(k):
            f[i] = read_factor(factors[i])


def positions_of(c, item, ys, f, k):
    """Positions and factors of a tile's items."""
    factors_of(c, item, ys, f, k)
    given = view(c[T] + item * T_ITEM, k, STORED_T)
    for i in range(k):
        ys[i] = placed(read_t(given[i]), c[CLASSES])


def tile_base(tile, base, n, pitch):
    """The largest input of each item."""
    for i in range(base.size):
        base[i] = -INFINITY
    for j in range(n):
        s = tile[j * pitch : j * pitch + base.size]
        for i in range(base.size):
            v = LARGEST if s[i] > LARGEST else s[i]
            base[i] = v if v > base[i] else base[i]


def no_tile_base(tile, base, n, pitch):
    """Inputs stay as they are."""
    for i in range(base.size):
        base[i] = ZERO


def link_class(s, base, m, parameter):
    """Scores of a class: linked, infinite ones read as the largest number; the largest so far."""
    for i in range(s.size):
        v = link(shift(s[i], base[i]), parameter)
        v = LARGEST if v > LARGEST else v
        s[i] = v
        m[i] = v if v > m[i] else m[i]


def exponentials_of_class(s, e, m, rest, largest, spare):
    """exp(score - m); the sum of those below 1, and how many are 1."""
    for i in range(s.size):
        fall = distance(m[i], s[i], temperature_of(spare, i))
        v = exp_neg(fall)
        e[i] = v
        add_gap(spare, i, gap(v, fall))
        below, one = apart(v)
        rest[i] += below
        largest[i] += one


def levels_of_tile(rest, largest, level, inverse):
    """`levels`; in place of R, R / (1 + R), and 0 where the number of the largest was."""
    for i in range(rest.size):
        level[i], inverse[i], rest[i] = levels(rest[i] + (largest[i] - ONE))
        largest[i] = ZERO


def class_of_tile(s, e, ts, ys, m, level, inverse, miss, value, rest, own, weight, j, p, spare):
    """The formula on class j, as `classes_of_row`."""
    for i in range(s.size):
        largest = e[i] == ONE
        chance = e[i] * inverse[i]
        numbers = read_operands(spare, i, p)
        fall = distance(m[i], s[i], temperature_of(spare, i))
        found = formula(log_chance(fall, level[i]), chance, miss[i] if largest else ONE - chance, mass(ts[i], ys[i], j), weight, *numbers)
        v, by_log, by_target = found[0], found[1], found[2]
        add_fall(spare, i, gap(by_log, fall))
        add_by_operands(spare, i, found)
        value[i] += v
        rest[i] += ZERO if largest else by_log
        own[i] += by_log if largest else ZERO
        s[i] = by_log
        keep_by_target(ts, i, by_target)


def masses_of_class(ts, ys, weighed, weight, j):
    """Target times weight, added up."""
    for i in range(ts.size):
        weighed[i] += mass(ts[i], ys[i], j) * weight


def finish_temperature(spare, f, scale, m, level, inverse, rest, own, weighed, square):
    """Derivatives by the temperatures of a tile."""
    for i in range(m.size):
        height, mean = cool(m[i], temperature_of(spare, i)), gap_of(spare, i) * inverse[i]
        pulled = fall_of(spare, i) - (rest[i] + own[i]) * mean - TWO * square * weighed[i] * (height + level[i]) * (height - mean)
        leave_by_temperature(spare, i, pulled, f[i] * scale, temperature_of(spare, i))


def finish_no_temperature(spare, f, scale, m, level, inverse, rest, own, weighed, square):
    """There are none."""


def finish_operands(spare, f, scale):
    """Derivatives by the operands of a tile."""
    for q in range(OPERAND_COUNT):
        found = view(spare + (5 + q) * ROW, f.size, REAL)
        for i in range(f.size):
            found[i] = ZERO if f[i] == ZERO else found[i] * (f[i] * scale)


def finish_no_operands(spare, f, scale):
    """There are none."""


def warm_factors(spare, f):
    """What multiplies gradients by the scores becomes what multiplies those by what was divided, and is kept in the place of the gaps."""
    held = view(spare, f.size, REAL)
    for i in range(f.size):
        held[i] = f[i]
        f[i] = warm(f[i], temperature_of(spare, i))


def return_factors(spare, f):
    """And back."""
    held = view(spare, f.size, REAL)
    for i in range(f.size):
        f[i] = held[i]


def leave_factors(spare, f):
    """They are the same."""


def sums(m, level, value, rest, weighed, f, square, scale, spare):
    """In place: value becomes the item's loss, m log sum exp, level what the square adds by the target, f what multiplies gradients; rest is pulled by it."""
    for i in range(m.size):
        lse = cool(m[i], temperature_of(spare, i)) + level[i]
        bonus = ZERO if square == ZERO else square * lse * lse
        absent = f[i] == ZERO
        value[i] = ZERO if absent else (value[i] + weighed[i] * bonus) * f[i]
        m[i] = ZERO if absent else lse
        rest[i] -= TWO * square * weighed[i] * lse
        level[i] = bonus
        f[i] = f[i] * scale


def leave(s, e, inverse, miss, rest, own, f):
    """Gradients by the scores of a class."""
    for i in range(s.size):
        s[i] = ZERO if f[i] == ZERO else slope(s[i], e[i], inverse[i], miss[i], rest[i], own[i]) * f[i]


def leave_target(ts, bonus, f, weight):
    """Gradients by the targets of a class."""
    for i in range(ts.size):
        ts[i] = ZERO if f[i] == ZERO else (ts[i] + bonus[i] * weight) * f[i]


def load_planes(address, tile, flat, n, k, pitch, class_step):
    """Numbers of images, where the items of a class lie next to each other."""
    for j in range(n):
        x, s = view(address + j * class_step * ITEM, k, STORED), view(tile + j * pitch * REAL_ITEM, k, REAL)
        for i in range(k):
            s[i] = read(x[i])


def load_rows(address, tile, flat, n, k, pitch, class_step):
    """Numbers of short rows, transposed a square at a time. Fewer classes than a square is wide: what lies beyond them is overwritten or never looked at."""
    for number in range((k + SQUARE - 1) // SQUARE):
        i = number * SQUARE
        x = view(address + i * n * ITEM, min(SQUARE, k - i) * n, STORED)
        s = view(flat, x.size, REAL)
        for q in range(x.size):
            s[q] = read(x[q])
        for part in range((n + SQUARE - 1) // SQUARE):
            j = max(min(part * SQUARE, n - SQUARE), 0)
            turn_square(flat + j * REAL_ITEM, n * REAL_ITEM, tile + (j * pitch + i) * REAL_ITEM, pitch * REAL_ITEM)


def turn_back(tile, flat, n, i, pitch):
    """A square's worth of items to rows; a row's end writes into the next row, which comes after it."""
    for part in range((n + SQUARE - 1) // SQUARE):
        j = max(min(part * SQUARE, n - SQUARE), 0)
        turn_square(tile + (j * pitch + i) * REAL_ITEM, pitch * REAL_ITEM, flat + j * REAL_ITEM, n * REAL_ITEM)


def store_planes(address, destination, tile, flat, base, n, k, pitch, class_step, parameter):
    """Gradients back to where the inputs came from."""
    for j in range(n):
        x, g = view(address + j * class_step * ITEM, k, STORED), view(destination + j * class_step * ITEM, k, STORED)
        s = view(tile + j * pitch * REAL_ITEM, k, REAL)
        for i in range(k):
            g[i] = write(bent(s[i], shift(read(x[i]), base[i]), parameter))


def store_rows(address, destination, tile, flat, base, n, k, pitch, class_step, parameter):
    """Gradients of short rows, transposed back."""
    for number in range((k + SQUARE - 1) // SQUARE):
        i = number * SQUARE
        turn_back(tile, flat, n, i, pitch)
        count, place = min(SQUARE, k - i), i * n * ITEM
        bend_rows(
            view(flat, count * n, REAL), view(address + place, count * n, STORED), view(destination + place, count * n, STORED), base[i : i + count], parameter
        )


def bend_rows(s, x, g, base, parameter):
    """Gradients by the scores of some rows to gradients by the inputs."""
    for q in range(x.size):
        g[q] = write(bent(s[q], read(x[q]), parameter))


def bend_shifted_rows(s, x, g, base, parameter):
    """The same where each row has lost its largest input."""
    n = x.size // base.size
    for r in range(base.size):
        some, xs, gs = s[r * n : (r + 1) * n], x[r * n : (r + 1) * n], g[r * n : (r + 1) * n]
        for j in range(n):
            gs[j] = write(bent(some[j], shift(read(xs[j]), base[r]), parameter))


def store_target_planes(destination, tile, flat, n, k, pitch, class_step):
    """Gradients by the targets."""
    for j in range(n):
        g, s = view(destination + j * class_step * ITEM, k, STORED), view(tile + j * pitch * REAL_ITEM, k, REAL)
        for i in range(k):
            g[i] = write(s[i])


def store_target_rows(destination, tile, flat, n, k, pitch, class_step):
    """Gradients by the targets of short rows."""
    for number in range((k + SQUARE - 1) // SQUARE):
        i = number * SQUARE
        turn_back(tile, flat, n, i, pitch)
        g = view(destination + i * n * ITEM, min(SQUARE, k - i) * n, STORED)
        s = view(flat, g.size, REAL)
        for q in range(g.size):
            g[q] = write(s[q])


def no_load_target(address, tile, flat, n, k, pitch, class_step):
    """No numbers to read."""


def no_store_target(destination, tile, flat, n, k, pitch, class_step):
    """No gradient by the target."""


def tile_walk(lo, hi, context):
    """Items side by side, WIDTH at once: few classes, or classes far apart in memory (images); SPAN items per task, none across two samples."""
    c = view(context, PLACES, int64)
    n, inner, width = c[CLASSES], c[INNER], c[WIDTH]
    weights = view(c[WEIGHT], n, REAL)
    scale, square, parameter = REAL(real_of(c[SCALE])), REAL(real_of(c[Z_LOSS])), REAL(real_of(c[LINK]))
    p = params(c)
    scores = stack()
    targets = scores + 2 * TILE * REAL_ITEM
    side = targets + TILE * REAL_ITEM
    flat = side + SIDES * ROW
    spare = flat + FLAT * REAL_ITEM
    spans = (inner + c[SPAN] - 1) // c[SPAN]
    for task in range(lo, hi):
        total = 0.0
        outer = task // spans
        start = (task - outer * spans) * c[SPAN]
        stop = min(start + c[SPAN], inner)
        for number in range((stop - start + width - 1) // width):  # not range with a step, which could raise, and what may raise is not stored
            at = start + number * width
            k = min(width, stop - at)
            padded = (k + LANES - 1) // LANES * LANES
            pitch = padded + LANES  # rows of scratch a power of two apart would fight for the same cache lines
            item = outer * inner + at
            origin = outer * c[X_OUTER] + at * c[X_ITEM]
            xt, et, tt = view(scores, n * pitch, REAL), view(scores + TILE * REAL_ITEM, n * pitch, REAL), view(targets, n * pitch, REAL)
            f, base, m = view(side, padded, REAL), view(side + ROW, padded, REAL), view(side + 2 * ROW, padded, REAL)
            miss, level, inverse = view(side + 3 * ROW, padded, REAL), view(side + 4 * ROW, padded, REAL), view(side + 5 * ROW, padded, REAL)
            value, rest, own = view(side + 6 * ROW, padded, REAL), view(side + 7 * ROW, padded, REAL), view(side + 8 * ROW, padded, REAL)
            weighed, ys = view(side + 9 * ROW, padded, REAL), view(side + 10 * ROW, padded, PLACE)
            items_of(c, item, ys, f, k)
            load_tile(c[X] + origin * ITEM, scores, flat, n, k, pitch, c[X_CLASS])
            load_target(c[T] + origin * T_ITEM, targets, flat, n, k, pitch, c[X_CLASS])
            take_temperature(c, item, k, spare)
            take_operands(c, item, k, spare)
            base_of(xt, base, n, pitch)
            for i in range(padded):
                m[i], miss[i], value[i], rest[i], own[i], weighed[i] = -INFINITY, ZERO, ZERO, ZERO, ZERO, ZERO
            for j in range(n):
                link_class(xt[j * pitch : j * pitch + padded], base, m, parameter)
            for j in range(n):
                exponentials_of_class(xt[j * pitch : j * pitch + padded], et[j * pitch : j * pitch + padded], m, miss, own, spare)
            levels_of_tile(miss, own, level, inverse)
            for j in range(n):
                s, e, ts = xt[j * pitch : j * pitch + padded], et[j * pitch : j * pitch + padded], tt[j * pitch : j * pitch + padded]
                weight = weights[j * c[WEIGHT_STEP]]
                if square != ZERO:
                    masses_of_class(ts, ys, weighed, weight, int32(j))
                class_of_tile(s, e, ts, ys, m, level, inverse, miss, value, rest, own, weight, int32(j), p, spare)
            finish_temperature(spare, f, scale, m, level, inverse, rest, own, weighed, square)
            finish_operands(spare, f, scale)
            give_by_temperature(c, item, k, spare)
            give_by_operands(c, item, k, spare)
            sums(m, level, value, rest, weighed, f, square, scale, spare)
            total += give(c, item, k, value, m)
            if c[GX] != 0:
                warm_factors(spare, f)
                for j in range(n):
                    leave(xt[j * pitch : j * pitch + padded], et[j * pitch : j * pitch + padded], inverse, miss, rest, own, f)
                return_factors(spare, f)
                store_tile(c[X] + origin * ITEM, c[GX] + origin * ITEM, scores, flat, base, n, k, pitch, c[X_CLASS], parameter)
            if c[GT] != 0:
                for j in range(n):
                    leave_target(tt[j * pitch : j * pitch + padded], level, f, weights[j * c[WEIGHT_STEP]])
                store_target(c[GT] + origin * T_ITEM, targets, flat, n, k, pitch, c[X_CLASS])
        if c[PARTS] != 0:
            view(c[PARTS], hi, float64)[task] = total
        else:
            view(c[OUT], 1, REAL)[0] = REAL(total * float64(scale) if scale != ZERO else 0.0)
