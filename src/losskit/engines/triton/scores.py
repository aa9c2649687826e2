"""From the sums of an overlap pass to the loss and its derivatives by them, in one launch; `contract/scores.py` tells what is computed.

One program goes over the samples, some at a time with all their classes, in float64 and in a fixed order: once for the loss, and once more for the derivatives, which
are divided by what only the end of the first tells. Settings are numbers, so that another setting compiles nothing.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines import call
from losskit.engines.triton.elementwise import MAX_PARAMS, OPTIONS, at_home, bound
from losskit.engines.triton.layout import readable
from losskit.engines.triton.overlap_kernels import COUNT, EXTRA, INTERSECTION, KINDS, TARGET

TILE = 256  # samples times classes at a time: two to a thread. Not yet measured on a GPU
CLASSES = 4096  # that one program holds at most
MOST = 1 << 14  # samples times classes beyond which PyTorch's operations, with all of the GPU, take less time than one program. Not yet measured on a GPU
VOLUMES = {None: 0, "uniform": 0, "simple": 1, "square": 2}
EMPTIES = {"smooth": 0, "skip": 1, "zero": 2, "mass": 3}
AVERAGES = {"macro": 0, "micro": 0, "none": 0, "weighted": 1, "nested": 2}
SETTINGS = ["samples", "classes", "first", "prediction", "target", "empty", "average", "volume", "bottom"]


@triton.jit
def inverse(x):
    """1 / x; 0 where x is 0."""
    return tl.where(x != 0.0, 1.0 / tl.where(x != 0.0, x, 1.0), 0.0)


@triton.jit
def weights(given, mass, volume):
    """What multiplies each class: the weight that is given, times the inverse of its target's mass; an absent class has that of the rarest that is there."""
    rare = inverse(tl.where(volume == 2, mass * mass, mass))
    rarest = tl.max(rare, 1)[:, None]
    rare = tl.where(mass > 0.0, rare, tl.where(rarest > 0.0, rarest, 1.0))
    return tl.where(volume == 0, given + tl.zeros_like(mass), rare * given)


@triton.jit
def number(SUMS, places, kind, live):
    """One sum of each sample and class."""
    return tl.load(SUMS + places * KINDS + kind, live, other=0.0)


@triton.jit
def joined(x, weight, live, MICRO: tl.constexpr):  # type: ignore[no-untyped-def]
    """The classes of a sample as one, if they are to be."""
    if MICRO:
        x = tl.sum(tl.where(live, x * weight, 0.0), 1)[:, None]
    return x


@triton.jit
def scored(  # type: ignore[no-untyped-def]
    SUMS, given, places, live, prediction, target, empty, average, volume, sign, p, FORMULA: tl.constexpr, MICRO: tl.constexpr
):  # fmt: skip
    """Of each sample and class, or each sample: the loss, how much it counts, the derivatives; and what multiplies each class."""
    weight = weights(given, number(SUMS, places, TARGET, live), volume)
    i = joined(number(SUMS, places, INTERSECTION, live), weight, live, MICRO)
    k = joined(number(SUMS, places, COUNT, live), weight, live, MICRO)
    q = joined(number(SUMS, places, prediction, live), weight, live, MICRO)
    t = joined(number(SUMS, places, target, live), weight, live, MICRO)
    found = FORMULA(i, q, t, k, *p)
    loss = found[0]
    by_i = found[1]
    by_q = found[2]
    by_t = found[3]
    counts = (k != 0.0) & ((empty != 1) | (t != 0.0))
    absent = (empty >= 2) & (t == 0.0)
    each = tl.where(empty == 3, 1.0 / tl.where(counts, k, 1.0), k * 0.0)
    loss = tl.where(absent, q * each, loss)
    loss = tl.where(sign < 0.0, 1.0 - loss, loss)
    by_q = tl.where(absent, each, by_q)
    by_i = tl.where(absent, 0.0, by_i)
    by_t = tl.where(absent, 0.0, by_t)
    kept = tl.where(counts, tl.where(average == 1, t, 1.0), 0.0)
    if not MICRO:
        kept = tl.where(live, kept * weight, 0.0)
    kept = tl.where(average == 2, kept * inverse(tl.sum(kept, 1))[:, None], kept)
    loss = tl.where(kept != 0.0, loss, 0.0)
    return loss, kept, by_i, by_q, by_t, weight


@triton.jit(do_not_specialize=SETTINGS, do_not_specialize_on_alignment=["WEIGHT", "NORMALIZER", "EXTRA_WEIGHT"])
def scoring(  # type: ignore[no-untyped-def]  # typed by Triton
    SUMS, WEIGHT, NORMALIZER, EXTRA_WEIGHT, VALUE, EACH, FIRST, SECOND, BY, samples: tl.int64, classes: tl.int64,
    first: tl.int64, prediction: tl.int64, target: tl.int64, empty: tl.int64, average: tl.int64, volume: tl.int64, bottom: tl.int64,
    sign: tl.float64, normalizer: tl.float64, overlap_share: tl.float64, share: tl.float64,
    p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, PARAMS: tl.constexpr, MICRO: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """The loss, or that of EACH sample and class; the two losses that it is made of, if there are two; what multiplies the gradients of the sums.

    `first` is the first class that counts, `prediction` and `target` say which sums the formula is given, `sign` is -1 for a score, `normalizer` is NaN where the
    average divides by what counts. The mean of the second loss divides by (`bottom`) 0: the items; 1: the numbers; 2: the weights of the labels.
    """
    p = (tl.full((), p0, tl.float64), tl.full((), p1, tl.float64), tl.full((), p2, tl.float64), tl.full((), p3, tl.float64), tl.full((), p4, tl.float64))
    c = tl.arange(0, COLUMNS)[None, :]
    top = tl.zeros((ROWS, 1 if MICRO else COLUMNS), tl.float64)
    below = tl.zeros((ROWS, 1 if MICRO else COLUMNS), tl.float64)
    extra = tl.zeros((ROWS, COLUMNS), tl.float64)
    extra_below = tl.zeros((ROWS, COLUMNS), tl.float64)
    given = tl.full((1, COLUMNS), 1.0, tl.float64)
    if WEIGHT is not None:
        given = tl.load(WEIGHT + c, c < classes, other=0.0).to(tl.float64)
    own = tl.full((1, COLUMNS), 1.0, tl.float64)
    if EXTRA_WEIGHT is not None:
        own = tl.load(EXTRA_WEIGHT + c, c < classes, other=0.0).to(tl.float64)
    for start in range(0, samples, ROWS):
        n = start + tl.arange(0, ROWS)[:, None]
        there = (n < samples) & (c < classes)
        live = there & (c >= first)
        places = n * classes + c
        loss, kept, _, _, _, _ = scored(SUMS, given, places, live, prediction, target, empty, average, volume, sign, p[:PARAMS], FORMULA, MICRO)
        if EACH is not None:
            tl.store(EACH + n * (classes - first) + (c - first), loss, live)
        top += kept * loss
        below += kept
        if SECOND is not None:
            lost = number(SUMS, places, EXTRA, there)
            items = number(SUMS, places, COUNT, there)
            extra += tl.where(own == 0.0, 0.0, lost * own)
            extra_below += tl.where(bottom == 2, number(SUMS, places, TARGET, there) * own, tl.where((bottom == 1) | (c == 0), items, 0.0))
    divisor = tl.where(normalizer == normalizer, normalizer, tl.sum(below))
    if NORMALIZER is not None:
        divisor = tl.load(NORMALIZER).to(tl.float64)
    scale = inverse(divisor)
    value = tl.sum(top) * scale
    if SECOND is not None:
        extra_scale = inverse(tl.sum(extra_below))
        second = tl.sum(extra) * extra_scale
        tl.store(FIRST, value)
        tl.store(SECOND, second)
        value = overlap_share * value + share * second
    if VALUE is not None:
        tl.store(VALUE, value)
    if BY is not None:
        for start in range(0, samples, ROWS):
            n = start + tl.arange(0, ROWS)[:, None]
            there = (n < samples) & (c < classes)
            live = there & (c >= first)
            places = n * classes + c
            _, kept, by_i, by_q, by_t, weight = scored(SUMS, given, places, live, prediction, target, empty, average, volume, sign, p[:PARAMS], FORMULA, MICRO)
            kept = tl.where(kept != 0.0, 1.0, 0.0) if EACH is not None else kept * scale
            kept = kept * (sign * overlap_share)
            if MICRO:
                kept = kept * weight
            at = BY + places * KINDS
            tl.store(at + INTERSECTION, tl.where(live, kept * by_i, 0.0), there)
            for kind in tl.static_range(INTERSECTION + 1, EXTRA):
                of = tl.where(kind == prediction, kept * by_q, tl.where(kind == target, kept * by_t, 0.0))
                tl.store(at + kind, tl.where(live, of, 0.0), there)
            of_extra = tl.zeros((ROWS, COLUMNS), tl.float64)
            if SECOND is not None:
                of_extra += share * extra_scale * own
            tl.store(at + EXTRA, of_extra, there)


def score(how: Any, sums: Tensor, derive: bool, real: torch.dtype) -> tuple[Any, ...] | None:
    """The loss, its derivatives by the sums (N or 1, C, 7) if they are wanted, and the two losses that it is made of, all of them `real`; None if one program is not to
    do it: for sums of several processes, and for many.
    """
    if how.over == "batch":
        sums = sums.sum(0, keepdim=True)
    samples, classes, _ = sums.shape
    if how.group is not None or classes > CLASSES or samples * classes > MOST:
        return None
    columns = triton.next_power_of_2(classes)
    rows = max(TILE // columns, 1)
    first, extra, each = int(not how.background), how.extra, how.average == "none"

    def room(*shape: int, wanted: bool = True) -> Tensor | None:
        return torch.empty(shape, dtype=real, device=sums.device) if wanted else None

    parts = room(wanted=extra is not None), room(wanted=extra is not None)
    losses = room(samples, classes - first, wanted=each)
    value, by = room(wanted=not each), room(samples, classes, len(call.SUM_NAMES), wanted=derive)
    normalizer = (how.normalizer, math.nan) if isinstance(how.normalizer, Tensor) else (None, math.nan if how.normalizer is None else how.normalizer)
    extra_weight = None if extra is None else extra.weight
    by_weight = extra_weight is not None and extra is not None and extra.by_weight
    with at_home(sums):
        scoring[(1,)](
            sums, readable(how.weight), normalizer[0], readable(extra_weight), value, losses, *parts, by, samples, classes, first,
            call.PREDICTION_SQUARED if how.squared else call.PREDICTION, call.TARGET_SQUARED if how.squared else call.TARGET,
            EMPTIES[how.empty], AVERAGES[how.average], VOLUMES[how.volume], 1 if not how.labelled else 2 if by_weight else 0,
            -1.0 if how.score else 1.0, normalizer[1], 1.0 if extra is None else extra.overlap_share, 1.0 if extra is None else extra.share,
            *how.params, *(0.0,) * (MAX_PARAMS - len(how.params)),
            FORMULA=bound(how.formula), PARAMS=len(how.params), MICRO=how.average == "micro" or how.volume is not None,
            ROWS=rows, COLUMNS=columns, **OPTIONS | {"num_warps": min(rows * columns // 64, 16)},
        )  # fmt: skip
    found = value if losses is None else losses[0] if how.over == "batch" else losses
    found = torch.stack([each for each in parts if each is not None]) if extra is not None and extra.apart else found
    return found, by, None if extra is None else parts
