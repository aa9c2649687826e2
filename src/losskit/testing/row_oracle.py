"""What a loss of one row of class scores should give: the textbook formula in arithmetic of 80 digits, and its exact derivatives by every class."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import mpmath
import torch
from torch import Tensor

from losskit.contract.registry import Loss
from losskit.testing.oracles import Number, Traced, book_settings, slopes

Target = float | tuple[float, ...] | None  # of one row: a label or a position, a distribution or a list of classes, nothing
RULED_OUT = -(10**9)  # stands for a score of minus infinity: exp of it is below anything
DIGITS = {torch.float64: 800}  # 80 otherwise: 1 - p is as small as 1e-45, or a squared loss 1e-38


def by_class(loss: Loss) -> bool:
    """Whether a target is one number per class, of which the textbook has the loss."""
    return loss.target == "distribution" or (loss.multilabel and loss.target != "set")


def logs_in_target(settings: Mapping[str, Any]) -> bool:
    """Whether target distributions come as logarithms."""
    return bool(settings.get("log_target"))


def listed(settings: Mapping[str, Any]) -> int | None:
    """The number of classes that a setting with one number per class asks for."""
    return next((len(v) for v in settings.values() if isinstance(v, list)), None)


class ExactRow(NamedTuple):
    """What a loss of one row should give, and what an error is measured against.

    That is the number itself, but where a number is a sum of terms of opposite sign, the summed sizes of the terms: a gradient is p_j (...) - t_j with
    smoothing, soft targets or a squared log-sum-exp; a divergence is a cross-entropy less an entropy.
    """

    value: Number
    value_scale: Number
    gradient: list[Number]
    gradient_scale: list[Number]
    by_target: list[Number | None] | None
    by_target_scale: list[Number] | None


class Row:
    """The oracle on one row: the loss as a function of scores and of what a label or a distribution there means."""

    def __init__(self, loss: Loss, settings: Mapping[str, Any], x: Sequence[float], t: Target, digits: int) -> None:
        mp = mpmath.mp.clone()
        mp.dps = digits
        self.mp, self.loss = mp, loss
        self.t: Any = mp.mpf(t) if loss.target == "position" else t
        self.x = [mp.mpf(RULED_OUT) if v == -math.inf else mp.mpf(v) for v in x]
        self.numbers = {k: self.number(v) for k, v in book_settings(loss, settings).items()}
        self.plain = {k: mp.mpf(0) for k in ("label_smoothing", "z_loss") if k in self.numbers}
        self.smoothing = self.numbers.get("label_smoothing") or mp.mpf(0)
        self.square = bool(self.numbers.get("z_loss"))
        self.grouped = listed(settings) is None
        if by_class(loss):
            self.logs = logs_in_target(settings)

    def number(self, v: Any) -> Any:
        """A setting as the textbook takes it."""
        if isinstance(v, (list, tuple)):
            return [self.mp.mpf(w) for w in v]
        return self.mp.mpf(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else v

    def book(self, mp: Any, x: Sequence[Any], t: Any, **other: Any) -> Any:
        """The textbook's value."""
        return self.loss.textbook(mp, x, t, **self.numbers | other)

    def squared(self, mp: Any, x: Sequence[Any], k: int) -> Any:
        """The part of the squared log-sum-exp for a label, which the label's weight multiplies."""
        plain = self.book(mp, x, k, **self.plain | {"label_smoothing": self.numbers["label_smoothing"]})
        return self.book(mp, x, k) - plain

    def pure(self, k: int) -> Any:
        """All mass on class k, as the textbook takes it."""
        if not by_class(self.loss):
            return k
        nothing = self.mp.mpf(RULED_OUT if self.logs else 0)
        return [self.mp.mpf(0 if self.logs else 1) if j == k else nothing for j in range(len(self.x))]

    def expected(self, mp: Any, x: Sequence[Any], t: Sequence[Any]) -> Any:
        """The loss for a distribution, of a loss that the textbook has for labels: the expected one."""
        n = len(x)
        mass = [v * (1 - self.smoothing) + self.smoothing / n for v in t]
        value = mp.fsum(m * self.book(mp, x, k, **self.plain) for k, m in enumerate(mass) if isinstance(m, Traced) or m)
        return value + self.squared_expected(mp, x, t) if self.square else value

    def squared_expected(self, mp: Any, x: Sequence[Any], t: Sequence[Any]) -> Any:
        """The part of the squared log-sum-exp for a distribution; without weights the same for every label."""
        if self.grouped:
            return self.squared(mp, x, 0)
        return mp.fsum(v * self.squared(mp, x, k) for k, v in enumerate(t))

    def terms(self, masses: Sequence[Number]) -> tuple[Number, list[Number]]:
        """Summed over the classes, mass times the size of the loss, and of its gradient, were this class the label."""
        total, sizes = self.mp.mpf(0), [self.mp.mpf(0)] * len(self.x)
        groups: dict[Any, list[int]] = {}  # classes that are alike in all give the same
        for k, mass in enumerate(masses):
            if mass:
                groups.setdefault((self.x[k], mass) if self.grouped else k, []).append(k)
        for members in groups.values():
            first, count = members[0], len(members)
            found = slopes(self.mp, partial(self.book, t=self.pure(first), **self.plain), self.x)
            mass = masses[first]
            total += count * mass * abs(found.value)
            within = set(members)
            for j, by in enumerate(found.by):
                if j not in within:
                    sizes[j] += count * mass * abs(by)
                else:
                    sizes[j] += mass * (abs(found.by[first]) + ((count - 1) * abs(found.by[members[1]]) if count > 1 else 0))
        return total, sizes

    def uncertain(self) -> list[Number]:
        """The terms of a gradient without a target: those of a cross-entropy whose target is p."""
        total = self.mp.fsum(self.mp.exp(v) for v in self.x)
        p = [self.mp.exp(v) / total for v in self.x]
        part = [-v * self.mp.log(v) for v in p]
        whole = self.mp.fsum(part)
        return [a * (1 - v) + v * (whole - a) for a, v in zip(part, p, strict=True)]

    def exact(self) -> ExactRow:
        """The answer."""
        mp, n = self.mp, len(self.x)
        if not isinstance(self.t, tuple) or self.loss.target == "set":
            found = slopes(mp, lambda mp, x: self.book(mp, x, self.t), self.x)
            scale = [abs(g) for g in found.by] if self.t is not None else self.uncertain()
            if self.loss.target == "position":
                _, scale = self.terms([max(mp.mpf(0), 1 - abs(k - self.t)) for k in range(n)])
            if self.smoothing or self.square:
                label = self.t
                assert label is not None
                _, scale = self.terms([self.smoothing / n + (1 - self.smoothing if k == label else 0) for k in range(n)])
                if self.square:
                    more = slopes(mp, lambda mp, x: self.squared(mp, x, label), self.x)
                    scale = [a + abs(b) for a, b in zip(scale, more.by, strict=True)]
            return ExactRow(found.value, abs(found.value), found.by, scale, None, None)
        own = by_class(self.loss)
        t = [mp.mpf(RULED_OUT if v == -math.inf else v) for v in self.t]
        f = self.book if own else self.expected
        found = slopes(mp, lambda mp, x: f(mp, x, t), self.x)
        by_target = slopes(mp, lambda mp, u: f(mp, self.x, u), t)
        masses = [mp.exp(v) for v in t] if own and self.logs else [v * (1 - self.smoothing) + self.smoothing / n for v in t]
        size, scale = self.terms(masses)
        if self.square:
            more = slopes(mp, lambda mp, x: self.squared_expected(mp, x, t), self.x)
            scale = [a + abs(b) for a, b in zip(scale, more.by, strict=True)]
        by = [g if abs(g) < 1e6 else None for g in by_target.by]  # infinite if a class is ruled out
        if self.square and self.grouped:  # where the target's sum is 1, as it must be, a multiple of it makes no difference
            by = [None] * n
        if not own:
            return ExactRow(found.value, abs(found.value), found.by, scale, by, by_target.sizes)
        if not self.logs:  # at a target of 0 it is infinite
            by = [g if v else None for g, v in zip(by, t, strict=True)]
        if not linear(self.loss.name):
            scale = [max(a, b) for a, b in zip(scale, found.sizes, strict=True)]
        return ExactRow(found.value, max(size, abs(found.value)), found.by, scale, by, by_target.sizes)


@lru_cache
def linear(name: str) -> bool:
    """Whether the gradient of a loss for a distribution is the expected one over labels, with its terms. Else those of the chain rule are looked at as well."""
    from losskit import LOSSES

    row = Row(LOSSES[name], {}, (0.3, -1.1, 0.7), (0.2, 0.3, 0.5), 50)
    both = [slopes(row.mp, partial(row.book, t=t), row.x).by for t in ([0.2, 0.3, 0.5], *(row.pure(k) for k in range(3)))]
    return all(abs(both[0][j] - 0.2 * both[1][j] - 0.3 * both[2][j] - 0.5 * both[3][j]) < 1e-9 for j in range(3))


@lru_cache(maxsize=8192)
def _exact(name: str, settings: tuple[tuple[str, Any], ...], x: tuple[float, ...], t: Target, digits: int) -> ExactRow:
    from losskit import LOSSES

    return Row(LOSSES[name], {k: list(v) if isinstance(v, tuple) else v for k, v in settings}, x, t, digits).exact()


def exact_rows(loss: Loss, settings: Mapping[str, Any], x: Tensor, t: Tensor | None) -> list[ExactRow]:
    """The oracle on every row of (items, classes). Results are kept for the next engine."""
    held = tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in settings.items()))
    targets: list[Any] = [None] * len(x) if t is None else t.tolist()
    digits = DIGITS.get(x.dtype, 80)
    return [
        _exact(loss.name, held, tuple(row), tuple(target) if isinstance(target, list) else target, digits)
        for row, target in zip(x.tolist(), targets, strict=True)
    ]
