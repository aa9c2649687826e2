"""The kernels of the ranked pattern; see `ranked.py`. Inputs lie as (N, classes, inner); a program takes some items, and walks over their classes."""

import triton
import triton.language as tl

from losskit.engines.triton.math import INF, exp_neg, unit
from losskit.engines.triton.softmax import clipped

ITEMS = ["classes", "inner", "blocks", "of_sample", "of_class", "factor_sample", "factor_class", "ignore"]
SORTED = ["length", "blocks", "classes", "inner", "samples"]


@triton.jit
def spot(inner, blocks, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The program's sample, its block there, the items, which of them there are."""
    program = tl.program_id(0).to(tl.int64)
    n = program // blocks
    block = program - n * blocks
    i = block * BLOCK + tl.arange(0, BLOCK)
    return n, block, i, i < inner


@triton.jit
def present(label, T, FACTOR, n, c, i, live, place, factor_sample, factor_class, ignore, classes):
    """Which items count for a class, which are of it, and whose target is neither 0 nor 1, or no class. `place` is where the class's numbers lie."""
    counts = live
    if FACTOR is not None:
        counts = counts & (tl.load(FACTOR + n * factor_sample + c * factor_class + i, live, other=0) != 0)
    if T is None:
        counts = counts & (label != ignore)
        hit = label == c
        wrong = (label < 0) | (label >= classes)
    else:
        t = tl.load(T + place, live, other=0)
        if T.dtype.element_ty != tl.float64:  # in float32 a number next to 1 would be 1
            t = t.to(tl.float32)
        counts = counts & (t != ignore)
        hit = t == 1.0
        wrong = (t != 1.0) & (t != 0.0)
    return counts, hit & counts, wrong & counts


@triton.jit
def score(X, place, counts, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """Scores, 0 where none counts; infinite ones are read as the largest number."""
    return clipped(tl.load(X + place, counts, other=0).to(REAL))


@triton.jit
def leader(X, start, inner, classes, counts, REAL: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of each item the first class with the largest score, that score, and the sum of exponentials below it."""
    top = tl.full((BLOCK,), -INF, REAL)
    winner = tl.zeros((BLOCK,), tl.int32)
    whole = tl.zeros((BLOCK,), REAL)
    for c in range(0, classes):
        s = score(X, start + c * inner, counts, REAL)
        winner = tl.where(s > top, tl.cast(c, tl.int32), winner)
        new = tl.where(s > top, s, top)
        lift = tl.where(top == new, 0.0, new - top)
        whole = whole * exp_neg(lift) + exp_neg(tl.where((new == -INF) & (s == s), INF, new - s))
        top = new
    return top, winner, whole


@triton.jit
def exponential(s, top):
    """How much a score is of the largest, as which it counts where all are minus infinity, and nothing is of it."""
    return exp_neg(tl.where(top == -INF, INF, top - s))


@triton.jit(do_not_specialize=ITEMS)
def errors(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, LABELS, FACTOR, ERRORS, HITS, PARTS, classes: tl.int64, inner: tl.int64, blocks: tl.int64, of_sample: tl.int64, of_class: tl.int64,
    factor_sample: tl.int64, factor_class: tl.int64, ignore: tl.int64, LINK: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The error of each item and class, 0 where none counts; whether the item is of the class; of a program's items how many count, and whether a target is wrong."""
    n, block, i, live = spot(inner, blocks, BLOCK)
    start = n * classes * inner + i
    label = None
    if T is None:
        label = tl.load(LABELS + n * inner + i, live, other=0).to(tl.int64)
    if LINK == "softmax":
        counts, _, _ = present(label, None, FACTOR, n, 0, i, live, start, factor_sample, 0, ignore, classes)
        top, _, whole = leader(X, start, inner, classes, counts, REAL, BLOCK)
        missed = tl.zeros((BLOCK,), REAL)
        for c in range(0, classes):
            missed += tl.where(label == c, 0.0, exponential(score(X, start + c * inner, counts, REAL), top))
        inverse = 1.0 / whole
    for c in range(0, classes):
        place = start + c * inner
        counts, hit, wrong = present(label, T, FACTOR, n, c, i, live, place, factor_sample, factor_class, ignore, classes)
        x = tl.load(X + place, counts, other=0).to(REAL)
        if LINK == "softmax":
            error = tl.where(hit, missed, exponential(clipped(x), top)) * inverse
        elif LINK == "identity":
            error = tl.abs(hit.to(REAL) - unit(x))
        else:
            margin = 1.0 - tl.where(hit, x, -x)
            error = tl.where(margin < 0.0, 0.0, margin)
        to = n * of_sample + c * of_class + i
        error = tl.where(wrong, float("nan"), error)  # and so its gradient
        tl.store(ERRORS + to, tl.where(counts, error, 0.0), live)
        tl.store(HITS + to, hit.to(tl.uint8), live)
        part = PARTS + ((n * classes + c) * blocks + block) * 2
        tl.store(part, tl.sum(counts.to(tl.float64)))
        tl.store(part + 1, tl.sum(wrong.to(tl.float64)))


@triton.jit(do_not_specialize=SORTED)
def tally(ORDER, HITS, FOUND, length: tl.int64, blocks: tl.int64, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """How many of a block of sorted errors are of the class."""
    segment, _, i, live = spot(length, blocks, BLOCK)
    order = tl.load(ORDER + segment * length + i, live, other=0)
    tl.store(FOUND + tl.program_id(0), tl.sum(tl.load(HITS + segment * length + order, live, other=0).to(tl.int64)))


@triton.jit(do_not_specialize=SORTED)
def slopes(  # type: ignore[no-untyped-def]  # typed by Triton
    SORTED_ERRORS, ORDER, HITS, SEEN, TARGETS, SLOPES, PARTS, length: tl.int64, blocks: tl.int64, classes: tl.int64, inner: tl.int64, samples: tl.int64,
    REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Of a block of sorted errors: what each adds to the Jaccard loss of those before it, with the sign of the error's derivative, to where the item lies; the loss.

    With u items of the class or before it, and i of the class still to come: 1 / u for one of the class, i / (u (u - 1)) for another. `samples` lie in a segment.
    """
    segment, block, i, live = spot(length, blocks, BLOCK)
    at = segment * length + i
    error = tl.load(SORTED_ERRORS + at, live, other=0)
    order = tl.load(ORDER + at, live, other=0)
    own = tl.load(HITS + segment * length + order, live, other=0).to(tl.int64)
    seen = tl.cumsum(own, 0)
    if SEEN is not None:
        seen += tl.load(SEEN + tl.program_id(0)) - tl.sum(own)
        total = tl.load(SEEN + segment * blocks + blocks - 1)
    else:
        total = tl.sum(own)
    union = (total + i + 1 - seen).to(tl.float64)
    left = tl.where(own != 0, 1.0, (total - seen).to(tl.float64))
    added = left / tl.where(own != 0, union, union * tl.maximum(union - 1.0, 1.0))
    added = tl.where(total == 0, tl.where(i == 0, 1.0, 0.0), added)
    added = tl.where(live & ~(error <= 0.0), added, 0.0)  # of an error that is no number, its own
    part = tl.sum(tl.where(added != 0.0, error.to(tl.float64) * added, 0.0))
    slope = tl.where(error == error, tl.where(own != 0, -added, added), float("nan"))
    sample = tl.zeros_like(order)
    inside = order
    if samples > 1:
        sample = order // inner
        inside = order - sample * inner
    # a segment is a class of all samples, or one of a sample
    tl.store(SLOPES + (sample * classes + segment) * inner + inside, slope.to(REAL), live)
    tl.store(PARTS + tl.program_id(0), part)
    if block == 0:
        tl.store(TARGETS + segment, total.to(tl.float64))


@triton.jit(do_not_specialize=ITEMS)
def gradients(  # type: ignore[no-untyped-def]  # typed by Triton
    X, LABELS, FACTOR, SLOPES, BY, GRADIENT, classes: tl.int64, inner: tl.int64, blocks: tl.int64, of_sample: tl.int64, factor_sample: tl.int64,
    ignore: tl.int64, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Through a softmax: g_j = p_j ((q_j - q_r) - sum_i p_i (q_i - q_r)), q the slopes times what multiplies each class, r the class with the largest score."""
    n, _, i, live = spot(inner, blocks, BLOCK)
    start = n * classes * inner + i
    label = tl.load(LABELS + n * inner + i, live, other=0).to(tl.int64)
    counts, _, _ = present(label, None, FACTOR, n, 0, i, live, start, factor_sample, 0, ignore, classes)
    top, winner, whole = leader(X, start, inner, classes, counts, REAL, BLOCK)
    inverse = 1.0 / whole
    by = BY + n * of_sample
    reference = tl.load(SLOPES + start + winner.to(tl.int64) * inner, counts, other=0) * tl.load(by + winner).to(REAL)
    pull = tl.zeros((BLOCK,), REAL)
    for c in range(0, classes):
        p = exponential(score(X, start + c * inner, counts, REAL), top) * inverse
        q = tl.load(SLOPES + start + c * inner, counts, other=0) * tl.load(by + c).to(REAL)
        pull += p * tl.where(winner == c, 0.0, q - reference)
    for c in range(0, classes):
        p = exponential(score(X, start + c * inner, counts, REAL), top) * inverse
        q = tl.load(SLOPES + start + c * inner, counts, other=0) * tl.load(by + c).to(REAL)
        g = p * (tl.where(winner == c, 0.0, q - reference) - pull)
        tl.store(GRADIENT + start + c * inner, tl.where(counts, g, 0.0), live)
