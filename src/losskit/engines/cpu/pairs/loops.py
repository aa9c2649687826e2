"""The loops of the boxes pattern on all pairs: templates, as in `loops.py`.

A tile is ROWS boxes of a against STRETCH of b, in blocks of b whose corners are taken apart once, into scratch, padded to whole groups of LANES. The innermost
loop is over one group, with all its scratch behind one address: rows of BLOCK numbers, so that the compiler sees what lies apart from what.
"""

from losskit.engines.cpu.core.context import Context

LANES = 16
BLOCK = 1 << 8  # boxes of scratch
STRETCH = 1 << 12  # boxes of b a task
RUN = 1 << 4  # boxes of a whose gradients by b are added in the dtype computed in, before they go into float64
SPAN = 1 << 12  # boxes per task of `add_tiles`
CONTEXT = Context("a:p b:p out:p incoming:p outer_step row_step column_step n m rows chunks stretches part_a:p part_b:p")
VALUE, SHARE, BY_B, BY_A = 4, 4, 5, 9  # rows of scratch, after the four of the corners: similarities, what comes in, gradients by b:p (summed) and by a
TOP, PLACE = 4, 5  # `best`: the largest similarity so far and whose it is
WIDTH = 13  # rows of scratch
ADD_TILES = Context("partial:p parts count total gradient:p")


def corners_apart(base, address, k, padded):
    """The corners of k boxes in rows 0 to 3 of the scratch; zeros up to `padded`."""
    boxes = view(address, 4 * k, STORED)
    z = view(base, 4 * BLOCK, REAL)
    for j in range(k):
        p = 4 * j
        z[j], z[BLOCK + j], z[2 * BLOCK + j], z[3 * BLOCK + j] = corners((read(boxes[p]), read(boxes[p + 1]), read(boxes[p + 2]), read(boxes[p + 3])))
    for j in range(k, padded):
        z[j], z[BLOCK + j], z[2 * BLOCK + j], z[3 * BLOCK + j] = ZERO, ZERO, ZERO, ZERO


def corners_of(address):
    """The corners of one box, of the side that is not taken apart."""
    box = view(address, 4, STORED_ONE)
    return corners((read_one(box[0]), read_one(box[1]), read_one(box[2]), read_one(box[3])))


def tile_of(c, task):
    """(sample, first row, rows, chunk, first column, columns, stretch) of a task."""
    rest = task // c[STRETCHES]
    stretch = task - rest * c[STRETCHES]
    sample = rest // c[CHUNKS]
    chunk = rest - sample * c[CHUNKS]
    first, left = chunk * c[ROWS], stretch * STRETCH
    return sample, first, min(c[ROWS], c[N] - first), chunk, left, min(STRETCH, c[M] - left), stretch


def matrix(lo, hi, context):
    """Similarities of all pairs, tiles lo .. hi."""
    c = view(context, PLACES, int64)
    base = stack()
    for task in range(lo, hi):
        sample, first, rows, _, start, columns, _ = tile_of(c, task)
        for number in range((columns + BLOCK - 1) // BLOCK):
            left = start + number * BLOCK
            k = min(BLOCK, start + columns - left)
            groups = (k + LANES - 1) // LANES
            corners_apart(base, c[B] + (sample * c[M] + left) * 4 * ITEM, k, groups * LANES)
            found = view(base + VALUE * BLOCK * REAL_ITEM, k, REAL)
            for i in range(rows):
                row = sample * c[N] + first + i
                a0, a1, a2, a3 = corners_of(c[A] + row * 4 * ITEM_ONE)
                for g in range(groups):
                    z = view(base + g * LANES * REAL_ITEM, WIDTH * BLOCK, REAL)
                    for t in range(LANES):
                        z[VALUE * BLOCK + t] = formula(a0, a1, a2, a3, z[t], z[BLOCK + t], z[2 * BLOCK + t], z[3 * BLOCK + t])[0]
                out = view(c[OUT] + (row * c[M] + left) * REAL_ITEM, k, REAL)
                for j in range(k):
                    out[j] = found[j]


def shares(c, base, address, k, padded):
    """What comes in for k pairs, into the scratch, zeros up to `padded`; how many are not 0."""
    z = view(base + SHARE * BLOCK * REAL_ITEM, padded, REAL)
    step = c[COLUMN_STEP]
    if step == 1:
        incoming = view(address, k, REAL)
        for j in range(k):
            z[j] = incoming[j]
    else:
        incoming = view(address, k * step + 1, REAL)
        for j in range(k):
            z[j] = incoming[j * step]
    for j in range(k, padded):
        z[j] = ZERO
    count = int32(0)
    for j in range(padded):
        count += int32(0) if z[j] == ZERO else int32(1)
    return count


def gradients(lo, hi, context):
    """Gradients by the corners of both boxes, summed over a tile, tiles lo .. hi; where nothing came in nothing is computed."""
    c = view(context, PLACES, int64)
    n, m = c[N], c[M]
    base = stack()
    row_size = BLOCK * REAL_ITEM
    for task in range(lo, hi):
        sample, first, rows, chunk, start, columns, stretch = tile_of(c, task)
        by_a = view(c[PART_A] + (sample * c[STRETCHES] + stretch) * 4 * n * 8, 4 * n, float64)
        by_b = view(c[PART_B] + (sample * c[CHUNKS] + chunk) * 4 * m * 8, 4 * m, float64)
        if OUT_A:
            for q in range(4):
                for i in range(rows):
                    by_a[q * n + first + i] = 0.0
        for number in range((columns + BLOCK - 1) // BLOCK):
            left = start + number * BLOCK
            k = min(BLOCK, start + columns - left)
            groups = (k + LANES - 1) // LANES
            corners_apart(base, c[B] + (sample * m + left) * 4 * ITEM, k, groups * LANES)
            if OUT_B:
                for q in range(4):
                    for j in range(k):
                        by_b[q * m + left + j] = 0.0
            for some in range((rows + RUN - 1) // RUN):
                sums = view(base + BY_B * row_size, 4 * BLOCK, REAL)
                if OUT_B:
                    for j in range(4 * BLOCK):
                        sums[j] = ZERO
                for i in range(some * RUN, min((some + 1) * RUN, rows)):
                    row = first + i
                    incoming = c[INCOMING] + (sample * c[OUTER_STEP] + row * c[ROW_STEP] + left * c[COLUMN_STEP]) * REAL_ITEM
                    if shares(c, base, incoming, k, groups * LANES) == 0:
                        continue
                    a0, a1, a2, a3 = corners_of(c[A] + (sample * n + row) * 4 * ITEM_ONE)
                    for g in range(groups):
                        z = view(base + g * LANES * REAL_ITEM, WIDTH * BLOCK, REAL)
                        for t in range(LANES):
                            w = z[SHARE * BLOCK + t]
                            absent = w == ZERO
                            _, d0, d1, d2, d3, e0, e1, e2, e3 = formula(a0, a1, a2, a3, z[t], z[BLOCK + t], z[2 * BLOCK + t], z[3 * BLOCK + t])
                            if OUT_A:
                                z[BY_A * BLOCK + t] = ZERO if absent else d0 * w
                                z[(BY_A + 1) * BLOCK + t] = ZERO if absent else d1 * w
                                z[(BY_A + 2) * BLOCK + t] = ZERO if absent else d2 * w
                                z[(BY_A + 3) * BLOCK + t] = ZERO if absent else d3 * w
                            if OUT_B:
                                z[BY_B * BLOCK + t] += ZERO if absent else e0 * w
                                z[(BY_B + 1) * BLOCK + t] += ZERO if absent else e1 * w
                                z[(BY_B + 2) * BLOCK + t] += ZERO if absent else e2 * w
                                z[(BY_B + 3) * BLOCK + t] += ZERO if absent else e3 * w
                    if OUT_A:
                        for q in range(4):
                            by_a[q * n + row] += block_sum(view(base + (BY_A + q) * row_size, k, REAL), k)
                if OUT_B:
                    for q in range(4):
                        for j in range(k):
                            by_b[q * m + left + j] += float64(sums[q * BLOCK + j])


def add_tiles(lo, hi, context):
    """Adds the tiles' gradients of one side, in order, SPAN boxes per task."""
    c = view(context, PLACES, int64)
    count, parts = c[COUNT], c[PARTS]
    for task in range(lo, hi):
        first = task * SPAN
        for e in range(first, min(first + SPAN, c[TOTAL])):
            sample = e // count
            partial = view(c[PARTIAL] + (sample * (parts * 4 - 1) * count + e) * 8, parts * 4 * count, float64)
            g0, g1, g2, g3 = 0.0, 0.0, 0.0, 0.0
            for part in range(parts):
                p = part * 4 * count
                g0 += partial[p]
                g1 += partial[p + count]
                g2 += partial[p + 2 * count]
                g3 += partial[p + 3 * count]
            out = view(c[GRADIENT] + e * 4 * ITEM, 4, STORED)
            g0, g1, g2, g3 = given((g0, g1, g2, g3))
            out[0], out[1], out[2], out[3] = write(REAL(g0)), write(REAL(g1)), write(REAL(g2)), write(REAL(g3))


def best(lo, hi, context):
    """For ROWS boxes of a, those taken apart here, a task: the most similar of b, the first of equals. NaN is larger than all numbers."""
    c = view(context, PLACES, int64)
    base = stack()
    for task in range(lo, hi):
        sample = task // c[CHUNKS]
        first = (task - sample * c[CHUNKS]) * c[ROWS]
        k = min(c[ROWS], c[N] - first)
        groups = (k + LANES - 1) // LANES
        row = sample * c[N] + first
        corners_apart(base, c[A] + row * 4 * ITEM, k, groups * LANES)
        top, place = view(base + TOP * BLOCK * REAL_ITEM, BLOCK, REAL), view(base + PLACE * BLOCK * REAL_ITEM, BLOCK, REAL)
        for i in range(groups * LANES):
            top[i], place[i] = -INFINITY, of_integer(INTEGER(0))
        for j in range(c[M]):
            b0, b1, b2, b3 = corners_of(c[B] + (sample * c[M] + j) * 4 * ITEM_ONE)
            here = of_integer(INTEGER(j))
            for g in range(groups):
                z = view(base + g * LANES * REAL_ITEM, WIDTH * BLOCK, REAL)
                for t in range(LANES):
                    s = formula(z[t], z[BLOCK + t], z[2 * BLOCK + t], z[3 * BLOCK + t], b0, b1, b2, b3)[0]
                    before = z[TOP * BLOCK + t]
                    better = (s > before) | ((s != s) & (before == before))
                    z[TOP * BLOCK + t] = s if better else before
                    z[PLACE * BLOCK + t] = here if better else z[PLACE * BLOCK + t]
        values, indices = view(c[OUT] + row * REAL_ITEM, k, REAL), view(c[PART_A] + row * 8, k, int64)
        for i in range(k):
            values[i], indices[i] = top[i], to_integer(place[i])
