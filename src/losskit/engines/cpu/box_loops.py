"""The loop of the boxes pattern: a template, as in `loops.py`. Boxes lie as four numbers in a row; LLVM takes them apart by shuffles, not by gathers."""

CHUNK = 1 << 14  # boxes a task
BLOCK = 1 << 9  # boxes of scratch
MAX_PARAMS = 4
X, T, V, GX, GT, PARTS, OUT, N, FACTOR, FACTOR_STEP, SPARE, SCALE, PARAMS = range(13)  # places in the context; as in `loops.py`, for `finish`
PLACES = PARAMS + MAX_PARAMS


def from_corners(a, b, c, d):
    """Corners as they are."""
    return a, b, c, d


def from_corner(a, b, c, d):
    """Corner and size."""
    return a, b, a + c, b + d


def from_centre(a, b, c, d):
    """Centre and size."""
    left, top = a - HALF * c, b - HALF * d
    return left, top, left + c, top + d


def to_corners(a, b, c, d):
    """Gradients by corners as they are."""
    return a, b, c, d


def to_corner(a, b, c, d):
    """... by corner and size."""
    return a + c, b + d, c, d


def to_centre(a, b, c, d):
    """... by centre and size."""
    return a + c, b + d, HALF * (c - a), HALF * (d - b)


def boxes(lo, hi, context):
    """Chunks lo .. hi."""
    c = view(context, PLACES, int64)
    n = c[N]
    scale = REAL(real_of(c[SCALE]))
    p = params(c)
    base = stack()
    for j in range(lo, hi):
        total = 0.0
        stop = min((j + 1) * CHUNK, n)
        for number in range((stop - j * CHUNK + BLOCK - 1) // BLOCK):
            first = j * CHUNK + number * BLOCK
            m = min(BLOCK, stop - first)
            xs, ts = view(c[X] + first * 4 * ITEM, 4 * m, STORED), view(c[T] + first * 4 * T_ITEM, 4 * m, STORED_T)
            fs = view(c[FACTOR] + first * c[FACTOR_STEP] * FACTOR_ITEM, m, FACTOR_TYPE)
            gxs, gts = view(c[GX] + first * 4 * ITEM, 4 * m, STORED), view(c[GT] + first * 4 * T_ITEM, 4 * m, STORED_T)
            vs = view(c[V] + first * REAL_ITEM if EACH else base, m, REAL)
            for i in range(m):
                k = 4 * i
                a0, a1, a2, a3 = corners(read(xs[k]), read(xs[k + 1]), read(xs[k + 2]), read(xs[k + 3]))
                b0, b1, b2, b3 = corners(read_t(ts[k]), read_t(ts[k + 1]), read_t(ts[k + 2]), read_t(ts[k + 3]))
                value, ga0, ga1, ga2, ga3, gb0, gb1, gb2, gb3 = formula(a0, a1, a2, a3, b0, b1, b2, b3, *p)
                w = scale
                if FACTORED:
                    f = read_factor(fs[i])
                    absent = f == ZERO
                    w = f * scale
                    value = ZERO if absent else value * f
                    ga0, ga1, ga2, ga3 = ZERO if absent else ga0, ZERO if absent else ga1, ZERO if absent else ga2, ZERO if absent else ga3
                    gb0, gb1, gb2, gb3 = ZERO if absent else gb0, ZERO if absent else gb1, ZERO if absent else gb2, ZERO if absent else gb3
                if FORWARD:
                    vs[i] = value
                if OUT_X:
                    g0, g1, g2, g3 = given(ga0 * w, ga1 * w, ga2 * w, ga3 * w)
                    gxs[k], gxs[k + 1], gxs[k + 2], gxs[k + 3] = write(g0), write(g1), write(g2), write(g3)
                if OUT_T:
                    g0, g1, g2, g3 = given(gb0 * w, gb1 * w, gb2 * w, gb3 * w)
                    gts[k], gts[k + 1], gts[k + 2], gts[k + 3] = write_t(g0), write_t(g1), write_t(g2), write_t(g3)
            if FORWARD:
                total += block_sum(vs, m)
        if c[PARTS] != 0:
            view(c[PARTS], hi, float64)[j] = total
        elif FORWARD:
            view(c[OUT], 1, REAL)[0] = REAL(total * float64(scale) if scale != ZERO else 0.0)
