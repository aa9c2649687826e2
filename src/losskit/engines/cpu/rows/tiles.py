"""Rows in tiles: few classes, and images. Templates; the mathematics and the places in the context are those of `loops.py` and `points.py`."""


def tiles(lo, hi, context):
    """Items side by side, WIDTH at once: few classes, or classes far apart in memory (images); SPAN items per task, none across two samples."""
    c = view(context, PLACES, int64)
    n, inner, width = c[CLASSES], c[INNER], c[WIDTH]
    weights, shares = view(c[WEIGHT], n, REAL), view(c[SHARES], n, REAL)
    rights = view(c[RIGHT], c[ITEMS], uint8)
    scale, total_share, parameter = REAL(real_of(c[SCALE])), REAL(real_of(c[TOTAL_SHARE])), REAL(real_of(c[LINK]))
    p = params(c)
    base = stack()
    side = base + TILE * REAL_ITEM
    flat, past = side + TILE_ROWS * ROW, c[PAST] != 0
    spare = flat + 2 * FLAT * REAL_ITEM
    spans = (inner + c[SPAN] - 1) // c[SPAN]
    for task in range(lo, hi):
        total = 0.0
        outer = task // spans
        start = (task - outer * spans) * c[SPAN]
        stop = min(start + c[SPAN], inner)
        for number in range((stop - start + width - 1) // width):  # not range with a step, which could raise, and what may raise is not stored
            first = start + number * width
            k = min(width, stop - first)
            padded = (k + LANES - 1) // LANES * LANES
            pitch = padded + LANES  # rows of scratch a power of two apart would fight for the same cache lines
            item = outer * inner + first
            origin = (outer * c[X_OUTER] + first * c[X_ITEM]) * ITEM
            tile = view(base, n * pitch, REAL)
            f = view(side, padded, REAL)
            m, own, rest = view(side + ROW, padded, REAL), view(side + 2 * ROW, padded, REAL), view(side + 3 * ROW, padded, REAL)
            spread, own_share, weight = view(side + 4 * ROW, padded, REAL), view(side + 5 * ROW, padded, REAL), view(side + 6 * ROW, padded, REAL)
            by_share = view(side + 7 * ROW, padded, REAL)
            ys = view(side + 8 * ROW, padded, int32)
            labels_of(c, item, ys, f, k)
            for i in range(padded):
                m[i], rest[i], spread[i], own_share[i], weight[i], own[i] = -INFINITY, ZERO, ZERO, ZERO, ONE, ZERO
            load_tile(c[X] + origin, base, flat, n, k, pitch, c[X_CLASS], parameter)
            lower_in_tile(tile, ys, k, pitch, p)
            take_temperature(c, item, k, spare)
            take_operands(c, item, k, spare)
            for j in range(n):
                s = tile[j * pitch : j * pitch + padded]
                for i in range(k):
                    v = s[i]
                    m[i] = v if v > m[i] else m[i]
                    own[i] = v if ys[i] == int32(j) else own[i]
            if c[SHARES] != 0:
                for j in range(n):
                    s, h = tile[j * pitch : j * pitch + padded], shares[j]
                    if h != ZERO:
                        for i in range(padded):
                            spread[i] += h * distance(m[i], s[i], temperature_of(spare, i))
                for i in range(k):
                    own_share[i] = shares[ys[i]]
            if c[WEIGHT_STEP] != 0:
                for i in range(k):
                    weight[i] = weights[ys[i]]
            for j in range(n):
                ask_ahead(c[X] + origin, j, k, c[X_CLASS])
                s = tile[j * pitch : j * pitch + padded]
                for i in range(padded):
                    below = distance(m[i], s[i], temperature_of(spare, i))
                    e = exp_neg(below)
                    e = ZERO if ys[i] == int32(j) else e
                    s[i] = e
                    rest[i] += e
                    add_gap(spare, i, gap(e, below))
            if c[LSE] != 0:
                right_labels(rights[item : item + k], c[X] + origin, ys, own, m, f, k, c[X_CLASS], c[X_ITEM], parameter)
            points(m, own, rest, spread, total_share, own_share, weight, by_share, f, scale, p, spare)
            give_by_temperature(c, item, k, spare)
            give_by_operands(c, item, k, spare)
            total += give(c, item, k, spread, own)
            if c[GX] != 0:
                bend_own(weight, c[X] + origin, ys, k, c[X_CLASS], c[X_ITEM], parameter, p)
                h = shares if c[SHARES] != 0 else shares[:0]
                for j in range(n):
                    leave(tile[j * pitch : j * pitch + padded], m, by_share, weight, ys, f, j, h[j] if h.size > 0 else ZERO)
                store_tile(c[X] + origin, c[GX] + origin, base, flat, n, k, pitch, c[X_CLASS], parameter, past)
        if past:
            settle()
        if c[PARTS] != 0:
            view(c[PARTS], hi, float64)[task] = total
        else:
            view(c[OUT], 1, REAL)[0] = REAL(total * float64(scale) if scale != ZERO else 0.0)


def right_labels(rights, address, ys, own, m, f, k, class_step, item_step, parameter):
    """Whether the label is the first of the classes with the largest score."""
    xs = view(address, 1 << 60, STORED)
    for i in range(k):
        right = f[i] != ZERO and own[i] == m[i]
        if right:
            for j in range(ys[i]):
                if score(read(xs[j * class_step + i * item_step]), parameter) == own[i]:
                    right = False
        rights[i] = uint8(right)


def leave(s, slope, by_share, own_slope, ys, f, j, h):
    """Exponentials of class j to gradients."""
    for i in range(s.size):
        g = s[i] * slope[i] - h * by_share[i]
        g = own_slope[i] if ys[i] == int32(j) else g
        s[i] = ZERO if f[i] == ZERO else g


def load_planes(address, tile, flat, n, k, pitch, class_step, parameter):
    """Scores of images, where the items of a class lie next to each other."""
    for j in range(n):
        x, s = view(address + j * class_step * ITEM, k, STORED), view(tile + j * pitch * REAL_ITEM, k, REAL)
        for i in range(k):
            s[i] = score(read(x[i]), parameter)


def ask_planes(address, j, k, class_step):
    """Asks for a class of the next tile while this one is computed: a little at a time, for only so much can be on its way."""
    for line in range(k * ITEM // LINE):
        prefetch(address + (j * class_step + k) * ITEM + line * LINE)


def ask_rows(address, j, k, class_step):
    """The next tile lies behind this one; the processor sees that itself."""


def store_planes(address, destination, tile, flat, n, k, pitch, class_step, parameter, past):
    """Gradients back to where the scores came from."""
    for j in range(n):
        place = j * class_step * ITEM
        bend(tile + j * pitch * REAL_ITEM, address + place, flat if past else destination + place, k, parameter)
        if past:
            send(flat, destination + place, k)


def load_rows(address, tile, flat, n, k, pitch, class_step, parameter):
    """Scores of short rows, transposed a square at a time. Fewer classes than a square is wide: what lies beyond them is overwritten or never looked at.

    Where input and scores are the same, a square is read from where it lies, if the tile goes on far enough behind it: by way of scratch, each of its rows is
    read across the ends of two stores, and waits for both.
    """
    for number in range((k + SQUARE - 1) // SQUARE):
        i = number * SQUARE
        source = address + i * n * ITEM
        if not STRAIGHT or (k - i - SQUARE + 1) * n < SQUARE:
            x = view(source, min(SQUARE, k - i) * n, STORED)
            s = view(flat, x.size, REAL)
            for q in range(x.size):
                s[q] = score(read(x[q]), parameter)
            source = flat
        for part in range((n + SQUARE - 1) // SQUARE):
            j = max(min(part * SQUARE, n - SQUARE), 0)
            turn_scores(source + j * REAL_ITEM, n * REAL_ITEM, tile + (j * pitch + i) * REAL_ITEM, pitch * REAL_ITEM)


def store_rows(address, destination, tile, flat, n, k, pitch, class_step, parameter, past):
    """Gradients of short rows, transposed back, straight to where they belong as in `load_rows`; a row's end writes into the next row, which comes after it."""
    for number in range((k + SQUARE - 1) // SQUARE):
        i = number * SQUARE
        count, place = min(SQUARE, k - i) * n, i * n * ITEM
        straight = STRAIGHT and not past and (k - i - SQUARE + 1) * n >= SQUARE
        to = destination + place if straight else flat
        for part in range((n + SQUARE - 1) // SQUARE):
            j = max(min(part * SQUARE, n - SQUARE), 0)
            turn_square(tile + (j * pitch + i) * REAL_ITEM, pitch * REAL_ITEM, to + j * REAL_ITEM, n * REAL_ITEM)
        if not straight:
            bend(flat, address + place, flat + FLAT * REAL_ITEM if past else destination + place, count, parameter)
            if past:
                send(flat + FLAT * REAL_ITEM, destination + place, count)
