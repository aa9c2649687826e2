"""The laws of losses of boxes, beside those that all kinds share: boxes that are none, and what may be done to both boxes alike. An item is a pair of boxes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from losskit.testing import boxes
from losskit.testing.boxes import BoxSubject, combinations, in_order, require_exact
from losskit.testing.subject import LawBroken, NotOffered, Result, gradient, leaf
from losskit.testing.tables import BOX_LAWS, law


class Outcome(NamedTuple):
    """The losses of pairs and their gradients by both boxes."""

    value: Tensor
    by_input: Tensor
    by_target: Tensor


def outcome(s: BoxSubject, x: Tensor, t: Tensor) -> Outcome:
    """What the callable gives."""
    a, b = leaf(x), leaf(t)
    return Outcome(s.each(x, t), *gradient(s.total(a, b), a, b))


def pair_text(x: Tensor, t: Tensor, i: int) -> str:
    """Pair i as a reader can type it in again."""
    return f"input = {x.reshape(-1, 4)[i].tolist()}, target = {t.reshape(-1, 4)[i].tolist()}"


def require_outcome(s: BoxSubject, got: Outcome, expected: Outcome, what: str) -> None:
    """The same value and gradients."""
    s.require(Result(got.value, got[1:]), Result(expected.value, expected[1:]), what)


def require_none(wrong: Tensor, x: Tensor, t: Tensor, what: str, *shown: Tensor) -> None:
    """No pair is wrong."""
    if bool(wrong.any()):
        i = int(wrong.nonzero()[0, 0])
        raise LawBroken(f"{what}: {', '.join(str(v[i].tolist()) for v in shown)} at {pair_text(x, t, i)}")


@law("the value and the gradients are those of the textbook formula", BOX_LAWS)
def textbook(s: BoxSubject) -> None:
    """On boxes that overlap, and on boxes anywhere; a loose tolerance, for `error_budget` is the strict one."""
    require_exact(s, *s.batch((24,)), tolerance=max(1e-4, s.tolerance) if s.real is torch.float32 else 1e-9)


@law("value and gradients keep their digits whatever the size of the boxes, however near or far", BOX_LAWS)
def error_budget(s: BoxSubject) -> None:
    """Within the registry's tolerance: sizes from 1e-15 to 1e15, far from the origin, a few units in the last place apart, one tiny in the other, flat."""
    require_exact(s, *boxes.extreme(s.dtype))


@law("identical boxes cost exactly 0, with gradient 0, whatever their size and also without area", BOX_LAWS)
def identical_boxes(s: BoxSubject) -> None:
    """The loss has its minimum there."""
    draw = torch.Generator().manual_seed(0)
    powers = min(30.0, math.log10(torch.finfo(s.dtype).max) - 1)
    place, size = (10 ** (powers * (2 * torch.rand(4000, 1, generator=draw) - 1)) * torch.rand(4000, 2, generator=draw) for _ in range(2))
    size[:300, 0] = 0
    size[200:500, 1] = 0
    some = torch.tensor([[0.0, 0.0, side, side] for side in (0.01, 1.0, 100.0)])
    x = torch.cat((some, torch.cat((place - size, place + size), -1))).to(s.dtype)
    found = outcome(s, x, x)
    require_none(found.value != 0, x, x, "the loss of identical boxes", found.value)
    for grad in found[1:]:
        require_none((grad != 0).any(-1), x, x, "the gradient of identical boxes", grad)


NUMBERS = (
    (0.0, 1.0, 0.5, 2.0, -1.0),
    (0.0, 1.0, 1.0 + 2.0**-23, -1.0, 1e-6),
    (1e6, 1e6 + 0.0625, 0.0, 1e-3, -1e6),
    (0.0, 1e-38, 1e-45, -1e-38, 1e-30),
    (-1e18, 1e18, 0.0, 1.0, 1e-20),
)


def degenerate(s: BoxSubject) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs that lie in every way there is: flat, points, out of order, touching, nested, apart; tiny and huge."""
    end = torch.finfo(s.dtype).max / 8
    for i, xs in enumerate(NUMBERS):
        for j in (i, i + 2):
            x, t = combinations(xs, NUMBERS[j % len(NUMBERS)], seed=j)
            yield x.clamp(-end, end).to(s.dtype), t.clamp(-end, end).to(s.dtype)


def require_total(s: BoxSubject, x: Tensor, t: Tensor) -> Outcome:
    """Value and gradients are finite, and the value is no reward."""
    found = outcome(s, x, t)
    require_none(~(found.value.isfinite() & (found.value >= 0)), x, t, "the loss", found.value)
    for grad, what in ((found.by_input, "the gradient"), (found.by_target, "the gradient to the target")):
        require_none(~grad.isfinite().all(-1), x, t, what, grad)
    return found


@law("every pair of boxes has a finite value, not below 0, and finite gradients, also without area or with corners out of order", BOX_LAWS)
def total(s: BoxSubject) -> None:
    """Sizes from denormals to 1e18."""
    for x, t in degenerate(s):
        require_total(s, x, t)


EXACT = (0.0, 1.0, 1.5, 4.0, -2.0), (0.0, 2.0**-6, 3.0, 4.0, -2.0)  # the middles of any two are numbers of float32

TALL = (0.0, 2.0**-6, 3.0, 256.0, -256.0)


@law("a box with its corners out of order costs at least as much as in order", BOX_LAWS)
def disorder_costs(s: BoxSubject) -> None:
    """Else a detector gains by turning boxes inside out."""
    for x, t in (combinations(*EXACT), combinations(EXACT[0], TALL), combinations(TALL, EXACT[1])):
        for scale in (1.0, 2.0**-8, 2.0**4):
            a, b = (scale * x).to(s.dtype), (scale * in_order(t)).to(s.dtype)
            value, ordered = s.each(a, b), s.each(in_order(a), b)
            kinder = (a != in_order(a)).any(-1) & ~(value >= ordered * (1 - s.tolerance))
            require_none(kinder, a, b, "the loss out of order, and in order", value, ordered)


@law("descent leads corners that are out of order back into order", BOX_LAWS)
def back_to_order(s: BoxSubject) -> None:
    """On every such axis, whatever the other one does and wherever the target is, if it has a size there."""
    x, t = (z.to(s.dtype) for z in combinations(*EXACT))
    t = in_order(t)
    by_input = outcome(s, x, t).by_input
    wrong = (x[:, :2] > x[:, 2:]) & (t[:, :2] < t[:, 2:]) & ~(by_input[:, :2] > by_input[:, 2:])
    require_none(wrong.any(-1), x, t, "the gradient", by_input)


@law("a target with its corners out of order is read as the box that they span", BOX_LAWS)
def target_in_order(s: BoxSubject) -> None:
    """Its gradient goes to the corners as they came."""
    x, t = s.batch((12,), seed=1)
    expected = outcome(s, x, t)
    for order in ([2, 1, 0, 3], [0, 3, 2, 1], [2, 3, 0, 1]):
        found = outcome(s, x, t[:, order])
        require_outcome(s, found._replace(by_target=found.by_target[:, order]), expected, f"for a target written as corners {order}")


@law("a NaN stays in its pair", BOX_LAWS)
def nan_stays(s: BoxSubject) -> None:
    """NaN in any coordinate gives NaN out, there and nowhere else, in value and gradient."""
    plain = s.batch((5,), seed=2)
    expected = outcome(s, *plain)
    others = torch.arange(5) != 3
    for side, i in ((side, i) for side in (0, 1) for i in range(4)):
        pair = [z.clone() for z in plain]
        pair[side][3, i] = math.nan
        found = outcome(s, *pair)
        what = f"beside a NaN in coordinate {i} of the {('input', 'target')[side]}"
        require_outcome(s, Outcome(*(z[others] for z in found)), Outcome(*(z[others] for z in expected)), what)
        if not bool(found.value[3].isnan()) or not bool(found[1 + side][3].isnan().any()):
            raise LawBroken(
                f"coordinate {i} of the {('input', 'target')[side]} is NaN: the loss is {found.value[3].item()}, the gradient {found[1 + side][3].tolist()}"
            )


def grid(s: BoxSubject, seed: int) -> tuple[BoxSubject, Tensor, Tensor]:
    """An ordinary batch whose corners are multiples of 1/64, so that moving and writing them in other ways rounds nothing; in float32, if the dtype is narrower."""
    s = replace(s, dtype=s.real)
    x, t = s.batch((40,), seed=seed)
    return s, (64 * x).round() / 64, (64 * t).round() / 64


def book(s: BoxSubject, x: Sequence[float], t: Sequence[float]) -> float:
    """The textbook's value of a pair."""
    return float(boxes.exact_pair(s.loss, s.settings, x, t, slopes=False).value)


BOX, OTHER = (0.0, 0.0, 4.0, 2.0), (1.0, 0.5, 4.5, 3.5)


@law("moving both boxes alike changes nothing; nor does scaling both, if the textbook says so", BOX_LAWS)
def moved_and_scaled(s: BoxSubject) -> None:
    """The gradient is that over the scale."""
    s, x, t = grid(s, 4)
    expected = outcome(s, x, t)
    shift = torch.tensor([512.0, -256.0, 512.0, -256.0], dtype=s.dtype)
    require_outcome(s, outcome(s, x + shift, t + shift), expected, "of boxes moved alike")
    twice = [2 * v for v in BOX], [2 * v for v in OTHER]
    if not math.isclose(book(s, *twice), book(s, BOX, OTHER), rel_tol=1e-12):
        return
    for scale in (2.0**-20, 2.0**30):
        found = outcome(s, x * scale, t * scale)
        require_outcome(s, Outcome(found.value, found.by_input * scale, found.by_target * scale), expected, f"of boxes scaled by {scale:g}")


@law("a mirrored picture, and one turned, has the same loss, and the gradient that goes with it", BOX_LAWS)
def mirrored_and_turned(s: BoxSubject) -> None:
    """Left and right exchanged; x and y exchanged, if the textbook gives the same then."""
    s, x, t = grid(s, 5)
    expected = outcome(s, x, t)
    sign = torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=s.dtype)
    mirror, turn = [2, 1, 0, 3], [1, 0, 3, 2]
    found = outcome(s, (x * sign)[:, mirror], (t * sign)[:, mirror])
    require_outcome(s, Outcome(found.value, found.by_input[:, mirror] * sign, found.by_target[:, mirror] * sign), expected, "of a mirrored picture")
    if math.isclose(book(s, [BOX[i] for i in turn], [OTHER[i] for i in turn]), book(s, BOX, OTHER), rel_tol=1e-12):
        found = outcome(s, x[:, turn], t[:, turn])
        require_outcome(s, Outcome(found.value, found.by_input[:, turn], found.by_target[:, turn]), expected, "of a turned picture")


@law("exchanging the two boxes exchanges the gradients, if the textbook is symmetric", BOX_LAWS)
def exchanged(s: BoxSubject) -> None:
    """Boxes in order."""
    if not math.isclose(book(s, OTHER, BOX), book(s, BOX, OTHER), rel_tol=1e-12):
        raise NotOffered("the textbook is not symmetric")
    s, x, t = grid(s, 6)
    value, by_target, by_input = outcome(s, t, x)
    require_outcome(s, Outcome(value, by_input, by_target), outcome(s, x, t), "of boxes exchanged")


def corners(x: Tensor, form: str) -> Tensor:
    """The ways to write boxes, spelled out for autograd to follow."""
    place, size = x[..., :2], x[..., 2:]
    if form == "xyxy":
        return x
    first = place - size / 2 if form == "cxcywh" else place
    return torch.cat((first, first + size), -1)


def written(x: Tensor, form: str) -> Tensor:
    """Corners, written in another way."""
    first, size = x[..., :2], x[..., 2:] - x[..., :2]
    return x if form == "xyxy" else torch.cat((first + size / 2 if form == "cxcywh" else first, size), -1)


@law("boxes written as corner or centre and size give the same, and gradients by what was written (box_format)", BOX_LAWS)
def formats_agree(s: BoxSubject) -> None:
    """By the chain rule; also with a size below 0."""
    s, x, t = grid(s, 7)
    x[:4] = x[:4][:, [2, 1, 0, 3]]
    incoming = torch.linspace(-2, 3, len(x), dtype=s.dtype)
    for form in ("xywh", "cxcywh"):
        a, b = leaf(written(x, form)), leaf(written(t, form))
        reference = s.each(corners(a, form), corners(b, form))
        expected = Outcome(reference, *gradient(reference, a, b, incoming=incoming))
        found = s.each(a, b, box_format=form)
        require_outcome(s, Outcome(found, *gradient(found, a, b, incoming=incoming)), expected, f"of boxes written as {form}")
