"""What kernels of rows share: which items count, scores in tiles, the sums of a softmax, and what a formula makes of them.

A tile is a block of items and classes. A kernel holds several, one after the other along the classes, and adds them up number by number before it adds across a
tile: a thread that has all of a row to itself adds to nobody else's numbers, and where threads share a row they do it once per row.
"""

import triton
import triton.language as tl

from losskit.engines.triton.elementwise import scaling
from losskit.engines.triton.items import gap
from losskit.engines.triton.math import INF, LARGEST, LARGEST_64, exp_neg, log1p

NOWHERE = tl.constexpr(0x7FFFFFFF)


@triton.jit
def appended(given, one):
    """A tuple with one more."""
    return given + (one,)  # noqa: RUF005  # what Triton can read


@triton.jit
def largest(s):
    """The largest finite number."""
    return LARGEST_64 if s.dtype == tl.float64 else LARGEST


@triton.jit
def clipped(s):
    """An infinite number is read as the largest one."""
    return tl.minimum(s, largest(s), propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def weight_of(scale, SCALE, INCOMING):
    """What multiplies the gradients, and whether there is anything to do: with INCOMING, they were written before, for an incoming gradient of 1."""
    weight = scaling(scale, SCALE)
    needed = True
    if INCOMING is not None:
        incoming = tl.load(INCOMING)
        needed = incoming != 1.0
        weight *= incoming.to(tl.float64)
    return weight, needed


@triton.jit
def strip_of(strip, inner, PLANES: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The items of a strip: the sample they lie in, the place of the first, which of them there are, their places among all. Rows are all in one sample."""
    outer = tl.zeros((), tl.int64)
    if PLANES:
        strips = tl.cdiv(inner, ROWS).to(tl.int32)
        outer = tl.cast(strip // strips, tl.int64)
        strip = strip % strips
    begin = tl.cast(strip, tl.int64) * ROWS
    item = begin + tl.arange(0, ROWS)
    return outer, begin, item < inner, outer * inner + item


@triton.jit
def lying(classes, inner, PLANES: tl.constexpr, ALIGN: tl.constexpr, FULL: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, TILES: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    """How many classes there are (FULL: as many as in the tiles), how many items side by side, the step between two classes, and where a tile's numbers lie."""
    length = COLUMNS * TILES if FULL else classes.to(tl.int32)
    beside = tl.arange(0, ROWS)
    step = 1
    if PLANES:
        inner = inner // ALIGN * ALIGN
        step = inner
    else:
        length = length if FULL else length // ALIGN * ALIGN
        beside = beside * length
    return length, inner, step, beside, beside[:, None] + tl.arange(0, COLUMNS)[None, :] * step


@triton.jit
def lying_long(classes, inner, PLANES: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The same of a tile of so many classes that, where they lie side by side, the tile is of one row: with the tile's classes in place of where each item lies."""
    columns = tl.arange(0, COLUMNS)[None, :]
    rows = tl.arange(0, ROWS)[:, None]
    length = classes.to(tl.int32)
    if PLANES:
        inner = inner // ALIGN * ALIGN
        step = inner
        j = columns
        inside = rows + columns * step
    else:
        length = length // ALIGN * ALIGN
        step = 1
        j = rows * COLUMNS + columns
        inside = j
    return length, inner, step, j, inside


@triton.jit
def counted(LABELS, FACTOR, item, live, ignore, classes, REAL: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which items count, what multiplies each, whose label is no class, and the labels: class 0 where there is none."""
    counts = live
    wrong = tl.zeros((ROWS,), tl.int1)
    y = tl.zeros((ROWS,), tl.int32)
    f = tl.full((ROWS,), 1.0, REAL)
    if FACTOR is not None:
        f = tl.load(FACTOR + item, live, other=0).to(REAL)
        counts = counts & (f != 0.0)
    if LABELS is not None:
        label = tl.load(LABELS + item, live, other=0).to(tl.int64)
        counts = counts & (label != ignore)
        wrong = counts & ((label < 0) | (label >= classes))
        y = tl.where(counts & ~wrong, label, 0).to(tl.int32)
    return counts, f, wrong, y


@triton.jit
def scores(x, parameter, LINK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Scores, of which infinite ones are read as the largest number."""
    if LINK is not None:
        s, _ = LINK(x, parameter)
    else:
        s = x
    return clipped(s)


@triton.jit
def present_of(j, length, k: tl.constexpr, SPAN: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which classes of tile k there are. `j` are those of the first tile, from which each is SPAN further."""
    return (j + k * SPAN).to(tl.uint32, bitcast=True) < tl.cast(length, tl.uint32)  # nor are there any before the first


@triton.jit
def there_of(items, j, length, k: tl.constexpr, RAGGED: tl.constexpr, SPAN: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which numbers of tile k there are, of the items that are there. Before tile RAGGED, all classes are."""
    there = items[:, None]
    if k >= RAGGED:
        there = there & present_of(j, length, k, SPAN)
    return there


@triton.jit
def tiles_of(  # type: ignore[no-untyped-def]
    X, spot, step, inside, items, j, length, RAGGED: tl.constexpr, REAL: tl.constexpr, SPAN: tl.constexpr, TILES: tl.constexpr, POLICY: tl.constexpr
):  # fmt: skip
    """TILES tiles of numbers: the first from `spot` on, each of the others SPAN classes, a `step` long, after the one before."""
    xs = ()
    for k in tl.static_range(TILES):
        there = there_of(items, j, length, k, RAGGED, SPAN)
        xs = appended(xs, tl.load(X + (spot + k * SPAN * step) + inside, there, other=0, eviction_policy=POLICY).to(REAL))
    return xs


@triton.jit
def scores_of(xs, j, length, parameter, RAGGED: tl.constexpr, LINK: tl.constexpr, SPAN: tl.constexpr):  # type: ignore[no-untyped-def]
    """The scores of tiles; minus infinity where there is no class."""
    ss = ()
    for k in tl.static_range(len(xs)):
        s = scores(xs[k], parameter, LINK)
        if k >= RAGGED:
            s = tl.where(present_of(j, length, k, SPAN), s, -INF)
        ss = appended(ss, s)
    return ss


@triton.jit
def with_own(ss, own, j, y, SPAN: tl.constexpr, MARGIN: tl.constexpr):  # type: ignore[no-untyped-def]
    """Tiles of scores in which the labels' are those with their margins."""
    found = ()
    for k in tl.static_range(len(ss)):
        s = ss[k]
        if MARGIN is not None:
            s = tl.where(j == y[:, None] - k * SPAN, own[:, None], s)
        found = appended(found, s)
    return found


@triton.jit
def distance(top, s, temperature):
    """How far scores lie below the largest, in temperatures: divided after the subtraction, for x / T is rounded. A difference of halves does not overflow."""
    if temperature is not None:
        return (0.5 * top - 0.5 * s) / (0.5 * temperature)
    return top - s


@triton.jit
def cooled(top, temperature):
    """The largest score in temperatures; an infinite one is read as the largest number."""
    if temperature is not None:
        top = clipped(top / temperature)
    return top


@triton.jit
def below(s, top, temperature):
    """`distance` of a tile; a score of minus infinity lies infinitely far, even where there is no other."""
    if temperature is not None:
        return tl.where(s == -INF, INF, distance(top[:, None], s, temperature[:, None]))
    return tl.where(top == -INF, 0.0, top)[:, None] - s


@triton.jit
def share(SHARES, j, classes, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """The classes' shares in `spread`; 0 beyond them."""
    return tl.load(SHARES + j, (j >= 0) & (j < classes), other=0).to(REAL)


@triton.jit
def highest(ss):
    """The largest score of each row."""
    top = ss[0]
    for k in tl.static_range(1, len(ss)):
        top = tl.maximum(top, ss[k])
    return tl.max(top, 1)


@triton.jit
def sums(  # type: ignore[no-untyped-def]
    ss, own, j, y, temperature, SHARES, classes, SPAN: tl.constexpr, REAL: tl.constexpr, FIRST: tl.constexpr, HEATED: tl.constexpr
):  # fmt: skip
    """Of tiles of each row: the largest score, the label's score, the sum of the other classes' exponentials; how far those lie below, times exponentials (HEATED, of
    use to derivatives by temperatures alone); the spread, the shares; the winner (FIRST); and all exponentials. `j` are the classes of the first tile.
    """
    top = highest(ss)
    rest = tl.zeros(ss[0].shape, REAL)
    gaps = tl.zeros(ss[0].shape, REAL)
    spread = tl.zeros(ss[0].shape, REAL)
    shared = tl.zeros(j.shape, REAL)
    winner = tl.full(ss[0].shape, NOWHERE, tl.int32)
    exponentials = ()
    for k in tl.static_range(len(ss)):
        s = ss[k]
        fall = below(s, top, temperature)
        e = exp_neg(fall)
        at_label = j == y[:, None] - k * SPAN
        rest += tl.where(at_label, 0.0, e)
        if HEATED:
            gaps += tl.where(at_label, 0.0, gap(e, fall))
        if SHARES is not None:
            h = share(SHARES, j + k * SPAN, classes, REAL)
            spread += tl.where(h == 0.0, 0.0, h * fall)
            shared += h
        if FIRST:
            winner = tl.minimum(winner, tl.where(s == top[:, None], j + k * SPAN, NOWHERE))
        exponentials = appended(exponentials, e)
    return top, own, tl.sum(rest, 1), tl.sum(gaps, 1), tl.sum(spread, 1), tl.sum(shared, 1), tl.min(winner, 1), exponentials


@triton.jit
def raised_gaps(gaps, rest, m, new, temperature):
    """Their sum, taken against the maximum m, against a larger one."""
    lift = tl.where(m == new, 0.0, distance(new, m, temperature))
    return tl.where(rest == 0.0, gaps, gaps + lift * rest) * exp_neg(lift)


@triton.jit
def raised(rest, spread, shared, m, new, temperature):
    """Sums taken against the maximum m, against a larger one."""
    lift = tl.where(m == new, 0.0, distance(new, m, temperature))
    return rest * exp_neg(lift), spread + tl.where(shared == 0.0, 0.0, shared * lift)


@triton.jit
def point(m, own, rest, gaps, spread, shared, own_share, weight, temperature, p, FORMULA: tl.constexpr):  # type: ignore[no-untyped-def]
    """From a row's sums to: value, log-sum-exp, the factors of the exponentials and of the shares in the gradient, the label's gradient, and what operands need."""
    d = tl.where((m == largest(m)) & (own < m), INF, distance(m, own, temperature))
    m = cooled(m, temperature)
    hit = exp_neg(d)
    level = log1p(tl.where(d == 0.0, rest, rest + hit - 1.0))
    inverse = 1.0 / (rest + hit)
    hit = hit * inverse
    miss = rest * inverse
    far = tl.where(weight == 0.0, 0.0, d + level)  # a class of weight 0 may be ruled out
    found = FORMULA(far, hit, miss, spread + shared * level, m + level, weight, *p)
    value = found[0]
    by_nll = found[1]
    by_spread = found[2]
    by_lse = found[3]
    common = shared * by_spread + by_lse
    apart = gaps * inverse
    mean = tl.where(hit == 0.0, apart, hit * d + apart)  # of how far scores lie below the largest, under p
    pull = by_nll + tl.zeros_like(rest)
    pull = tl.where(pull == 0.0, 0.0, pull * (d * miss - apart))
    part = by_spread + tl.zeros_like(rest)
    heat = -(pull + tl.where(part == 0.0, 0.0, part * (spread - shared * mean)) + by_lse * (m - mean))  # minus the sum of scores times derivatives by them
    return value, m + level, (by_nll + common) * inverse, by_spread, common * hit - by_nll * miss - own_share * by_spread, heat, found
