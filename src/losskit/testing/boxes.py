"""Boxes to test losses of boxes with, and the exact value and gradient of a pair.

A loss that holds something constant in its gradient (`HELD`) has no derivative of its value to compare with: its textbook is taken apart here.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from losskit.contract.registry import HANDLING, Loss

Number = Any
DIGITS = 60


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


def exact_pair(loss: Loss, settings: Mapping[str, Any], x: Sequence[float], t: Sequence[float], *, slopes: bool = True) -> ExactPair:
    """The oracle on one pair of boxes, as corners in order, taken as the exact numbers they are. At a kink, half the sum of the derivatives of both sides."""
    import mpmath

    mp = mpmath.mp.clone()
    mp.dps = DIGITS
    book, held = textbook(loss, settings), HELD.get(loss.name)
    here = [mp.mpf(v) for v in (*x, *t)]
    value = book(mp, here[:4], here[4:])
    step = mp.mpf(10) ** -(DIGITS // 3) * max(here[2] - here[0], here[3] - here[1], here[6] - here[4], here[7] - here[5])

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


def ordinary(n: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Boxes with an area, in order; of three pairs, one hardly differs, one overlaps, one lies anywhere."""
    draw = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw, dtype=dtype)

    place, size = 10 * some(n, 2), 0.5 + 5 * some(n, 2)
    target = torch.cat((place, place + size), -1)
    near = torch.tensor([1e-3, 0.3, 3.0], dtype=dtype)[torch.arange(n) % 3][:, None]
    moved, grown = place + near * (some(n, 2) - 0.5) * size, size * (1 + 0.9 * near.clamp(max=1) * (some(n, 2) - 0.5))
    return torch.cat((moved, moved + grown), -1), target
