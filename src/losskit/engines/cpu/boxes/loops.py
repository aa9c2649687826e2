"""The loop of the boxes pattern: a template, as in `loops.py`. Boxes lie as four numbers in a row (in space six); LLVM takes them apart by shuffles, not by gathers.

The functions put in, named 4, 5 or 6, say how many numbers make a box.
"""

from losskit.engines.cpu.core.context import Context

CHUNK = 1 << 14  # boxes per task
BLOCK = 1 << 9  # boxes of scratch
MAX_PARAMS = 4
CONTEXT = Context(f"x:p t:p v:p gx:p gt:p parts:p out:p n factor:p factor_step scale:d params:{MAX_PARAMS}d")


def as_they_are(b):
    """Two corners, and gradients by them."""
    return b


def from_corner4(b):
    """Corner and size, as corners."""
    return b[0], b[1], b[0] + b[2], b[1] + b[3]


def from_corner6(b):
    """As `from_corner4`, in space."""
    return b[0], b[1], b[2], b[0] + b[3], b[1] + b[4], b[2] + b[5]


def from_centre4(b):
    """Centre and size, as corners."""
    left, top = b[0] - HALF * b[2], b[1] - HALF * b[3]
    return left, top, left + b[2], top + b[3]


def from_centre6(b):
    """As `from_centre4`, in space."""
    left, top, front = b[0] - HALF * b[3], b[1] - HALF * b[4], b[2] - HALF * b[5]
    return left, top, front, left + b[3], top + b[4], front + b[5]


def to_corner4(g):
    """Gradients by corners, as gradients by corner and size."""
    return g[0] + g[2], g[1] + g[3], g[2], g[3]


def to_corner6(g):
    """As `to_corner4`, in space."""
    return g[0] + g[3], g[1] + g[4], g[2] + g[5], g[3], g[4], g[5]


def to_centre4(g):
    """... as gradients by centre and size."""
    return g[0] + g[2], g[1] + g[3], HALF * (g[2] - g[0]), HALF * (g[3] - g[1])


def to_centre6(g):
    """As `to_centre4`, in space."""
    return g[0] + g[3], g[1] + g[4], g[2] + g[5], HALF * (g[3] - g[0]), HALF * (g[4] - g[1]), HALF * (g[5] - g[2])


def load4(z, k):
    """The numbers of a box."""
    return read(z[k]), read(z[k + 1]), read(z[k + 2]), read(z[k + 3])


def load5(z, k):
    """As `load4`, of turned boxes."""
    return read(z[k]), read(z[k + 1]), read(z[k + 2]), read(z[k + 3]), read(z[k + 4])


def load6(z, k):
    """As `load4`, in space."""
    return read(z[k]), read(z[k + 1]), read(z[k + 2]), read(z[k + 3]), read(z[k + 4]), read(z[k + 5])


def store4(z, k, g, absent, w):
    """A gradient by corners times w, as one by what was given; 0 if absent, whatever it is."""
    a, b, c, d = given((g[0] * w, g[1] * w, g[2] * w, g[3] * w))
    z[k], z[k + 1], z[k + 2], z[k + 3] = (
        write(ZERO if absent else a), write(ZERO if absent else b), write(ZERO if absent else c), write(ZERO if absent else d),
    )  # fmt: skip


def store5(z, k, g, absent, w):
    """As `store4`, of turned boxes."""
    a, b, c, d, e = given((g[0] * w, g[1] * w, g[2] * w, g[3] * w, g[4] * w))
    z[k], z[k + 1], z[k + 2], z[k + 3], z[k + 4] = (
        write(ZERO if absent else a), write(ZERO if absent else b), write(ZERO if absent else c), write(ZERO if absent else d), write(ZERO if absent else e),
    )  # fmt: skip


def store6(z, k, g, absent, w):
    """As `store4`, in space."""
    a, b, c, d, e, f = given((g[0] * w, g[1] * w, g[2] * w, g[3] * w, g[4] * w, g[5] * w))
    z[k], z[k + 1], z[k + 2], z[k + 3], z[k + 4], z[k + 5] = (
        write(ZERO if absent else a), write(ZERO if absent else b), write(ZERO if absent else c),
        write(ZERO if absent else d), write(ZERO if absent else e), write(ZERO if absent else f),
    )  # fmt: skip


def parts4(found):
    """What a formula returns: value, derivatives by both boxes."""
    return found[0], found[1:5], found[5:9]


def parts5(found):
    """As `parts4`, of turned boxes."""
    return found[0], found[1:6], found[6:11]


def parts6(found):
    """As `parts4`, in space."""
    return found[0], found[1:7], found[7:13]


def counted(fs, i):
    """Every box counts once."""
    return False, ONE


def weighed(fs, i):
    """Whether a box is absent, and its factor."""
    f = read(fs[i])
    return f == ZERO, f


def boxes(lo, hi, context):
    """Chunks lo .. hi. GRADIENTS says how many are written, none, the input's or both; the losses of each pair are, where there is an address for them."""
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
            xs, ts = view(c[X] + first * NUMBERS * ITEM, NUMBERS * m, STORED), view(c[T] + first * NUMBERS * T_ITEM, NUMBERS * m, STORED_T)
            fs = view(c[FACTOR] + first * c[FACTOR_STEP] * FACTOR_ITEM, m, FACTOR_TYPE)
            gxs, gts = view(c[GX] + first * NUMBERS * ITEM, NUMBERS * m, STORED), view(c[GT] + first * NUMBERS * T_ITEM, NUMBERS * m, STORED_T)
            vs = view(c[V] + first * REAL_ITEM if c[V] != 0 else base, m, REAL)
            for i in range(m):
                k = NUMBERS * i
                value, by_x, by_t = parts(formula(*(corners(load_x(xs, k)) + corners(load_t(ts, k)) + p)))
                absent, f = factor(fs, i)
                vs[i] = ZERO if absent else value * f
                if GRADIENTS > 0:
                    store_x(gxs, k, by_x, absent, f * scale)
                if GRADIENTS > 1:
                    store_t(gts, k, by_t, absent, f * scale)
            total += block_sum(vs, m)
        if c[PARTS] != 0:
            view(c[PARTS], hi, float64)[j] = total
        else:
            view(c[OUT], 1, REAL)[0] = REAL(total * float64(scale) if scale != ZERO else 0.0)
