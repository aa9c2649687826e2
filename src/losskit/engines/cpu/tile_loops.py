"""Rows in tiles: few classes, and images. Templates, as in `loops.py`; the mathematics and the places in the context are those of `row_loops.py`."""


def tiles(lo, hi, context):
    """Items side by side, WIDTH at once: few classes, or classes far apart in memory (images); SPAN items a task, none across two samples."""
    c = view(context, PLACES, int64)
    n, inner, width = c[CLASSES], c[INNER], c[WIDTH]
    weights, shares = view(c[WEIGHT], n, REAL), view(c[SHARES], n, REAL)
    rights = view(c[RIGHT], c[ITEMS], uint8)
    scale, total_share, parameter = REAL(real_of(c[SCALE])), REAL(real_of(c[TOTAL_SHARE])), REAL(real_of(c[LINK]))
    p = params(c)
    base = stack()
    side = base + TILE * REAL_ITEM
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
            load_tile(c[X] + origin, tile, m, own, ys, n, k, pitch, c[X_CLASS], parameter)
            if c[SHARES] != 0:
                for j in range(n):
                    s, h = tile[j * pitch : j * pitch + padded], shares[j]
                    if h != ZERO:
                        for i in range(padded):
                            spread[i] += h * (m[i] - s[i])
                for i in range(k):
                    own_share[i] = shares[ys[i]]
            if c[WEIGHT_STEP] != 0:
                for i in range(k):
                    weight[i] = weights[ys[i]]
            for j in range(n):
                s = tile[j * pitch : j * pitch + padded]
                for i in range(padded):
                    e = exp_neg(m[i] - s[i])
                    e = ZERO if ys[i] == int32(j) else e
                    s[i] = e
                    rest[i] += e
            if c[LSE] != 0:
                right_labels(rights[item : item + k], c[X] + origin, ys, own, m, f, k, c[X_CLASS], c[X_ITEM], parameter)
            points(m, own, rest, spread, total_share, own_share, weight, by_share, f, scale, p)
            total += give(c, item, k, spread, own)
            if c[GX] != 0:
                h = shares if c[SHARES] != 0 else shares[:0]
                store_tile(c[X] + origin, c[GX] + origin, tile, m, by_share, weight, ys, f, h, n, k, pitch, c[X_CLASS], parameter)
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
                if link(read(xs[j * class_step + i * item_step]), parameter) == own[i]:
                    right = False
        rights[i] = uint8(right)


def arrive(s, m, own, ys, j, k, parameter):
    """Scores of class j: linked, infinite ones read as the largest number; the largest so far, and the label's."""
    for i in range(k):
        v = link(s[i], parameter)
        v = LARGEST if v > LARGEST else v
        s[i] = v
        m[i] = v if v > m[i] else m[i]
        own[i] = v if ys[i] == int32(j) else own[i]


def leave(s, slope, by_share, own_slope, ys, f, j, h):
    """Exponentials of class j to gradients."""
    for i in range(s.size):
        g = s[i] * slope[i] - h * by_share[i]
        g = own_slope[i] if ys[i] == int32(j) else g
        s[i] = ZERO if f[i] == ZERO else g


def load_planes(address, tile, m, own, ys, n, k, pitch, class_step, parameter):
    """Scores of images, where the items of a class lie next to each other."""
    padded = m.size
    for j in range(n):
        x, s = view(address + j * class_step * ITEM, k, STORED), tile[j * pitch : j * pitch + padded]
        for i in range(k):
            s[i] = read(x[i])
        arrive(s, m, own, ys, j, k, parameter)


def store_planes(address, destination, tile, slope, by_share, own_slope, ys, f, shares, n, k, pitch, class_step, parameter):
    """Gradients back to where the scores came from."""
    padded = slope.size
    for j in range(n):
        x, g = view(address + j * class_step * ITEM, k, STORED), view(destination + j * class_step * ITEM, k, STORED)
        s = tile[j * pitch : j * pitch + padded]
        leave(s, slope, by_share, own_slope, ys, f, j, shares[j] if shares.size > 0 else ZERO)
        for i in range(k):
            g[i] = write(bent(s[i], read(x[i]), parameter))


def turn(x, tile, i, count, n, pitch):
    """`count` short rows to columns of the tile."""
    for j in range(n):
        one_by_one()
        for q in range(count):
            tile[j * pitch + i + q] = read(x[q * n + j])


def turn_back(x, g, tile, i, count, n, pitch, parameter):
    """`count` columns of the tile to short rows."""
    for j in range(n):
        one_by_one()
        for q in range(count):
            g[q * n + j] = write(bent(tile[j * pitch + i + q], read(x[q * n + j]), parameter))


def load_rows(address, tile, m, own, ys, n, k, pitch, class_step, parameter):
    """Scores of short rows, transposed, four rows at a time."""
    padded = m.size
    fours = k - k % 4
    for i in range(0, fours, 4):
        turn(view(address + i * n * ITEM, 4 * n, STORED), tile, i, 4, n, pitch)
    for i in range(fours, k):
        turn(view(address + i * n * ITEM, n, STORED), tile, i, 1, n, pitch)
    for j in range(n):
        arrive(tile[j * pitch : j * pitch + padded], m, own, ys, j, k, parameter)


def store_rows(address, destination, tile, slope, by_share, own_slope, ys, f, shares, n, k, pitch, class_step, parameter):
    """Gradients of short rows, transposed back."""
    padded = slope.size
    for j in range(n):
        leave(tile[j * pitch : j * pitch + padded], slope, by_share, own_slope, ys, f, j, shares[j] if shares.size > 0 else ZERO)
    fours = k - k % 4
    for i in range(0, fours, 4):
        turn_back(view(address + i * n * ITEM, 4 * n, STORED), view(destination + i * n * ITEM, 4 * n, STORED), tile, i, 4, n, pitch, parameter)
    for i in range(fours, k):
        turn_back(view(address + i * n * ITEM, n, STORED), view(destination + i * n * ITEM, n, STORED), tile, i, 1, n, pitch, parameter)
