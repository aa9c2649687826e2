"""Boxes to test losses of boxes with, the exact value and gradient of a pair, the subject of an examination, and its errors against the oracle.

A loss that holds something constant in its gradient (`HELD`) has no derivative of its value to compare with: its textbook is taken apart here.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from losskit.contract.patterns import HANDLING
from losskit.contract.registry import LOSSES, Loss
from losskit.testing.oracles import worst_error
from losskit.testing.rows import Error
from losskit.testing.subject import Change, LawBroken, NotOffered, Pair, Subject, gradient, leaf

Number = Any
DIGITS = {torch.float64: 700}  # 100 otherwise: an exponential of a distance is as small as the smallest number, beside 1


class ExactPair(NamedTuple):
    """The loss of a pair of boxes and its derivatives by the four numbers of each, to many digits."""

    value: Number
    grad_input: list[Number]
    grad_target: list[Number]


def textbook(loss: Loss, settings: Mapping[str, Any]) -> Callable[..., Number]:
    """The loss's textbook with its settings: of an mpmath context and the corners of both boxes."""
    given = {name: value for name, value in {**loss.settings, **settings}.items() if name not in HANDLING}
    return lambda mp, x, t: loss.textbook(mp, x, t, **given)


def aspect(mp: Any, x: Sequence[Number], t: Sequence[Number]) -> tuple[Number, Number]:
    """CIoU's v and alpha."""
    mine, theirs = (mp.atan2(b[2] - b[0], b[3] - b[1]) for b in (x, t))
    v = 4 / mp.pi**2 * (mine - theirs) ** 2
    return v, v / (1 - overlap(x, t) + v) if v else v


def overlap(x: Sequence[Number], t: Sequence[Number]) -> Number:
    """IoU of boxes with an area."""
    width, height = (max(min(x[i + 2], t[i + 2]) - max(x[i], t[i]), 0) for i in (0, 1))
    return width * height / ((x[2] - x[0]) * (x[3] - x[1]) + (t[2] - t[0]) * (t[3] - t[1]) - width * height)


def held_alpha(mp: Any, book: Callable[..., Number], x: Any, t: Any, x0: Any, t0: Any, settings: Mapping[str, Any]) -> Number:
    """CIoU with the alpha of (x0, t0)."""
    v, alpha = aspect(mp, x, t)
    return book(mp, x, t) if settings.get("alpha_gradient") else book(mp, x, t) + (aspect(mp, x0, t0)[1] - alpha) * v


def held_quality(mp: Any, book: Callable[..., Number], x: Any, t: Any, x0: Any, t0: Any, settings: Mapping[str, Any]) -> Number:
    """Focal-EIoU with the weight of (x0, t0)."""
    gamma = settings.get("gamma", 0.5)
    return book(mp, x, t) * (overlap(x0, t0) / overlap(x, t)) ** gamma if gamma and overlap(x, t) else book(mp, x, t)


def held_diagonal(mp: Any, book: Callable[..., Number], x: Any, t: Any, x0: Any, t0: Any, settings: Mapping[str, Any]) -> Number:
    """WIoU with the diagonal of the box around (x0, t0)."""
    distance = sum(((x[i] + x[i + 2]) - (t[i] + t[i + 2])) ** 2 for i in (0, 1)) / 4
    diagonal = sum((max(x0[i + 2], t0[i + 2]) - min(x0[i], t0[i])) ** 2 for i in (0, 1))
    return mp.exp(distance / diagonal) * (1 - overlap(x, t))


HELD: dict[str, Callable[..., Number]] = {"ciou_loss": held_alpha, "focal_eiou_loss": held_quality, "wiou_loss": held_diagonal}


def exact_pair(loss: Loss, settings: Mapping[str, Any], x: Sequence[Number], t: Sequence[Number], *, slopes: bool = True, digits: int = 100) -> ExactPair:
    """The oracle on one pair of boxes, as corners in order, taken as the exact numbers they are. At a kink, half the sum of the derivatives of both sides."""
    import mpmath

    mp = mpmath.mp.clone()
    mp.dps = digits
    book, held = textbook(loss, settings), HELD.get(loss.name)
    here = [mp.mpf(v) for v in (*x, *t)]
    value = book(mp, here[:4], here[4:])
    step = mp.mpf(10) ** -(digits // 3) * max(here[2] - here[0], here[3] - here[1], here[6] - here[4], here[7] - here[5])

    def f(numbers: list[Number]) -> Number:
        if held is None:
            return book(mp, numbers[:4], numbers[4:])
        return held(mp, book, numbers[:4], numbers[4:], here[:4], here[4:], settings)

    by = []
    for i in range(8 if slopes else 0):
        low, high = list(here), list(here)
        low[i] -= step
        high[i] += step
        by.append((f(high) - f(low)) / (2 * step))
    return ExactPair(value, by[:4], by[4:])


@lru_cache(maxsize=20_000)
def kept(name: str, settings: tuple[tuple[str, Any], ...], x: tuple[Number, ...], t: tuple[Number, ...], digits: int) -> ExactPair:
    """The oracle on a pair, kept for the next engine."""
    return exact_pair(LOSSES[name], dict(settings), x, t, digits=digits)


MOVES = (0.97, -0.83, -0.61, 0.47, -0.93, 0.71, 0.53, -0.39)  # one direction among all; no two alike, so that nothing cancels in it


def response(name: str, settings: tuple[tuple[str, Any], ...], x: tuple[float, ...], t: tuple[float, ...], digits: int) -> Number:
    """How the gradient answers when the corners move by a share of their boxes' sides: the largest change over that share. Ends that are equal stay so.

    A gradient may be a difference: of two sizes, of two angles, of the centres of a tiny box and a huge one. It then hangs on the last digits of the sides.
    """
    import mpmath

    mp = mpmath.mp.clone()
    mp.dps = digits
    share = mp.mpf(10) ** -12

    def moved(box: Sequence[float], moves: Sequence[float]) -> list[Number]:
        sides = [mp.mpf(box[i + 2]) - box[i] for i in (0, 1)]
        return [v + share * moves[i] * sides[i % 2] for i, v in enumerate(box)]

    a, b = moved(x, MOVES[:4]), moved(t, MOVES[4:])
    b = [p if x[i] == t[i] else q for i, (p, q) in enumerate(zip(a, b, strict=True))]
    before, after = (kept(name, settings, tuple(p), tuple(q), digits) for p, q in ((x, t), (a, b)))
    return max(abs(p - q) for p, q in zip(after.grad_input + after.grad_target, before.grad_input + before.grad_target, strict=True)) / share


def in_order(boxes: Tensor) -> Tensor:
    """The boxes that corners span."""
    first, second = boxes[..., :2], boxes[..., 2:]
    return torch.cat((torch.minimum(first, second), torch.maximum(first, second)), -1)


def combinations(xs: Sequence[float], ys: Sequence[float], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pairs of boxes whose ends are every combination of a few numbers on the one axis, and on the other, in an order of their own.

    A few numbers are enough for every way in which two boxes can lie: apart, touching, crossing, nested, equal, flat, points, out of order.
    """
    along, across = (np.array(list(product(numbers, repeat=4)), np.float32) for numbers in (xs, ys))
    n = max(len(along), len(across))
    draw = np.random.default_rng(seed)
    along, across = along[draw.permutation(n) % len(along)], across[draw.permutation(n) % len(across)]
    a = np.stack([along[:, 0], across[:, 0], along[:, 1], across[:, 1]], 1)
    b = np.stack([along[:, 2], across[:, 2], along[:, 3], across[:, 3]], 1)
    return torch.from_numpy(a), torch.from_numpy(b)


def ordinary(n: int, seed: int = 0, dtype: torch.dtype = torch.float32, near: Sequence[float] = (1e-3, 0.3, 3.0)) -> tuple[Tensor, Tensor]:
    """Boxes with an area, in order. How far those of a pair differ, in sizes, is `near` in turn: of three pairs, one hardly differs, one overlaps, one lies anywhere."""
    draw = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw, dtype=dtype)

    place, size = 10 * some(n, 2), 0.5 + 5 * some(n, 2)
    target = torch.cat((place, place + size), -1)
    away = torch.tensor(near, dtype=dtype)[torch.arange(n) % len(near)][:, None]
    moved, grown = place + away * (some(n, 2) - 0.5) * size, size * (1 + 0.9 * away.clamp(max=1) * (some(n, 2) - 0.5))
    return torch.cat((moved, moved + grown), -1), target


def extreme(dtype: torch.dtype = torch.float32, each: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes with an area, in order, that do not touch, for there a derivative has no one value: `each` of every kind, and three times as many ordinary ones.

    Of all sizes; far from the origin; far from each other; a few units in the last place apart; one tiny within the other, or beside it; flat alike, and crossing.
    """
    info = torch.finfo(dtype)
    draw = torch.Generator().manual_seed(seed)

    def some(count: int = each, near: Sequence[float] = (1e-3, 0.3, 3.0)) -> tuple[Tensor, Tensor]:
        return ordinary(count, int(torch.randint(1 << 30, (1,), generator=draw)), torch.float64, near)

    def around(x: Tensor) -> Tensor:
        """Moved so that the origin is somewhere within."""
        low, high = x[:, :2], x[:, 2:]
        share = 0.2 + 0.6 * torch.rand(low.shape, generator=draw, dtype=x.dtype)
        return x - (low + share * (high - low)).repeat(1, 2)

    stretched = torch.tensor([100.0, 0.01, 100.0, 0.01], dtype=torch.float64)
    sizes, aways, tiny, huge = ((1e-15, 1e-6, 1e6, 1e15), (1e4, 1e9), 1e-3, 1e4) if info.max > 1e30 else ((0.01, 100.0), (1e3,), 0.1, 10.0)
    pairs = [some(3 * each)]
    pairs += [(a * size, b * size) for size in sizes for a, b in [some()]]
    a, b = some()
    pairs += [(a + 0.004 / info.eps, b + 0.004 / info.eps)]
    pairs += [(a, b + away) for away in aways for a, b in [some(near=(0.3, 3.0))]]
    _, b = some()
    b = b.to(dtype).double()
    pairs += [(b * (1 + info.eps * torch.randint(-4, 5, b.shape, generator=draw)), b)]
    a, b = some()
    a, b = tiny * a, huge * around(b)
    pairs += [(a, b), (b, a), (a, b + 20 * huge)]
    a, b = some()
    pairs += [(a * stretched, b * stretched), (around(a) * stretched, around(b) / stretched)]
    x, t = (torch.cat(side).to(dtype) for side in zip(*pairs, strict=True))
    p, q = x.double(), t.double()
    meets = torch.minimum(p, q)[:, 2:] - torch.maximum(p, q)[:, :2]
    clear = (p != q).any(1) & (meets != 0).all(1) & (p[:, 2:] > p[:, :2]).all(1) & (q[:, 2:] > q[:, :2]).all(1)
    return x[clear], t[clear]


def is_boxes(loss: Loss) -> bool:
    """Whether a loss is one of boxes."""
    return loss.pattern == "boxes"


@dataclass(frozen=True)
class BoxSubject(Subject):
    """A loss of boxes, examined: input and target are corners, (..., 4), if no box_format says otherwise."""

    few: ClassVar[tuple[int, ...]] = (3,)  # one that hardly differs, one that overlaps, one anywhere

    def each(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """One loss per pair."""
        if self.offers("reduction"):
            return self(x, t, reduction="none", **extra)
        result = self(x, t, **extra)
        if result.shape == x.shape[:-1]:
            return result
        if extra or result.dim():
            raise NotOffered('no reduction="none"')
        items = [self(a[None], b[None]) for a, b in zip(x.reshape(-1, 4), t.reshape(-1, 4), strict=True)]  # it only reduces: of one pair, that is its loss
        return torch.stack(items).reshape(x.shape[:-1]) if items else result.expand(x.shape[:-1])

    long: ClassVar[tuple[int, ...]] = (12,)
    many: ClassVar[Sequence[tuple[int, ...]]] = ((50_000,),)
    blocks: ClassVar[Sequence[tuple[int, ...]]] = ((3,), (11, 91))
    slices: ClassVar[tuple[int, ...]] = (6,)

    def fresh(self, x: Tensor, t: Tensor) -> Pair:
        """Both have gradients."""
        return x.detach().requires_grad_(), t.detach().requires_grad_()

    def shape_of(self, x: Tensor) -> tuple[int, ...]:
        """The pairs."""
        return tuple(x.shape[:-1])

    def spread(self, factor: Tensor, z: Tensor) -> Tensor:
        """One number per pair, along the corners."""
        return factor[..., None]

    def nothing(self) -> Iterator[tuple[str, Pair, dict[str, Any]]]:
        """No boxes in a row, too."""
        yield from super().nothing()
        x, t = self.batch(self.items)
        yield "no boxes in a row", (x[:, :0], t[:, :0]), {}

    def layouts(self) -> tuple[Pair, dict[str, Change]]:
        """Coordinates apart in memory, part of longer rows; one box alone, boxes along three axes."""
        return self.batch((6, 4), seed=6), {
            "apart in memory, each coordinate": lambda z: z.permute(2, 0, 1).contiguous().permute(1, 2, 0),
            "transposed": lambda z: z.transpose(0, 1),
            "every other one": lambda z: z[::2, 1:],
            "parts of longer rows": lambda z: torch.cat((z, z[..., :1]), -1)[..., :4],
            "expanded": lambda z: z[:1, 1:2].expand(5, 3, 4),
            "along three axes": lambda z: z.reshape(2, 3, 4, 4),
            "alone": lambda z: z[2, 3],
        }

    def flat(self, x: Tensor, t: Tensor) -> Pair:
        """A list of boxes."""
        return x.reshape(-1, 4).contiguous(), t.reshape(-1, 4).contiguous()

    def misfits(self) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, ...]]]:
        """One target for all boxes, broadcast in silence, is a bug upstream; so are boxes of three numbers, and a mask of coordinates."""
        x, t = self.batch((5,))
        yield "a target of shape (1, 4) for an input of (5, 4)", (x, t[:1]), {}, ()
        yield "a target of shape (5, 4) for an input of (5, 1, 4)", (x[:, None], t), {}, ()
        yield "boxes of three numbers", (x[:, :3], t[:, :3]), {}, ()
        if self.offers("mask"):
            yield "a mask of shape (5, 4) for boxes of (5, 4)", (x, t), {"mask": torch.ones(5, 4, dtype=torch.bool)}, ()
            yield "a mask of shape (3,) for boxes of (5, 4)", (x, t), {"mask": torch.ones(3, dtype=torch.bool)}, ()

    def require_gradients(self, got: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
        """Within a tolerance of the pair's largest number: one end's may be a difference, and pass through 0."""
        largest = torch.stack([e.double().abs().amax(-1) for e in expected]).amax(0).unsqueeze(-1)
        for a, b, name in zip(got, expected, ("", " to the target"), strict=False):
            info = torch.finfo(a.dtype)
            off = ~(((a.double() - b.double()).abs() <= max(self.tolerance, 2 * info.eps) * largest + info.tiny) | (a == b) | (a.isnan() & b.isnan()))
            if bool(off.any()):
                i = tuple(off.nonzero()[0].tolist())
                raise LawBroken(f"gradient{name} {what}: {a[i].item()!r}, expected {b[i].item()!r} at index {i}")

    def total(self, x: Tensor, t: Tensor) -> Tensor:
        """What is differentiated: the sum, which is the pass that training runs, or every loss of its own."""
        return self(x, t, reduction="sum") if self.offers("reduction") else self.each(x, t)

    def batch(self, shape: tuple[int, ...] = (12,), seed: int = 0, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """Boxes in order, half of which overlap their targets well."""
        x, t = ordinary(math.prod(shape), seed, near=(0.3, 3.0))
        return x.reshape(*shape, 4).to(dtype or self.dtype), t.reshape(*shape, 4).to(dtype or self.dtype)


def errors(s: BoxSubject, x: Tensor, t: Tensor, tolerance: float | None = None) -> list[Error]:
    """Value and the gradients to both boxes against the oracle, on (N, 4).

    Errors of a gradient are relative to the largest component of both boxes' gradients or, if they are then larger than allowed, to its `response`, if that is
    more: arithmetic that rounds as the corners are rounded keeps no more digits.
    """
    settings, digits = tuple(sorted(s.settings.items())), DIGITS.get(x.dtype, 100)
    pairs = list(zip(map(tuple, x.tolist()), map(tuple, t.tolist()), strict=True))
    exact = [kept(s.loss.name, settings, *pair, digits) for pair in pairs]
    a, b = leaf(x), leaf(t)
    slopes = gradient(s.total(a, b), a, b)
    allowed = max(s.tolerance if tolerance is None else tolerance, 0.51 * torch.finfo(x.dtype).eps)
    largest = []
    for e, pair, got in zip(exact, pairs, torch.cat(slopes, -1).tolist(), strict=True):
        by = e.grad_input + e.grad_target
        scale = max(map(abs, by))
        off = any(not abs(g - w) <= allowed * scale for g, w in zip(got, by, strict=True))
        largest.append(max(scale, response(s.loss.name, settings, *pair, digits)) if off and all(map(math.isfinite, got)) else scale)
    result = []
    for what, got, expected, against in (
        ("value", s.each(x, t), [e.value for e in exact], None),
        ("gradient", slopes[0], [g for e in exact for g in e.grad_input], [v for v in largest for _ in range(4)]),
        ("gradient to the target", slopes[1], [g for e in exact for g in e.grad_target], [v for v in largest for _ in range(4)]),
    ):
        worst = worst_error(got, expected, against)
        i = worst.place * len(x) // got.numel()
        finest = max(s.tolerance if tolerance is None else tolerance, 0.51 * torch.finfo(got.dtype).eps)
        result.append(Error(what, worst, finest, f"input = {x[i].tolist()}, target = {t[i].tolist()}"))
    return result


def require_exact(s: BoxSubject, x: Tensor, t: Tensor, tolerance: float | None = None) -> None:
    """Within the tolerance everywhere."""
    for what, worst, allowed, pair in errors(s, x, t, tolerance):
        if not worst.error <= allowed:
            raise LawBroken(f"{what} {worst.got!r}, exact {worst.expected!r} at {pair} (error {worst.error:.1e}, allowed {allowed:.1e})")
