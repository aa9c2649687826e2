"""Losses with operands of their own (a variance, a scale, degrees of freedom): how they are called, what they are called with, what should come out."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import mpmath
import torch
from torch import Tensor

from losskit.contract.registry import LABELS, LOSSES, Loss, OperandFacts
from losskit.engines.call import real_dtype
from losskit.engines.dispatch import EngineName
from losskit.testing import inputs, oracles
from losskit.testing.oracles import Number

NUMBERS = {"real": (-60.0, -20.0, -3.0, -0.5, -1e-3, 0.0, 0.7, 3.0, 20.0, 60.0), "positive": (1e-30, 1e-6, 0.03, 0.5, 1.0, 1.5, 7.0, 1e6, 1e30)}
DIGITS = {torch.float32: (160, 30), torch.float64: (400, 60)}  # of the oracle, and the power of ten of its steps


@dataclass(frozen=True)
class OperandSubject:
    """A loss called with a tensor for each of some operands, and settings for the rest."""

    function: Callable[..., Tensor]
    loss: Loss
    names: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    engine: EngineName | None = None

    def __str__(self) -> str:
        shown = [*self.names, *(f"{k}={v}" for k, v in self.settings.items())]
        return f"{self.loss.name}({', '.join(shown)})"

    def __call__(self, x: Tensor, t: Tensor, *operands: Tensor | float, **extra: Any) -> Tensor:
        """The loss, with the operands by name."""
        return self.function(x, t, **dict(zip(self.names, operands, strict=True)), **self.settings, **extra)

    @property
    def facts(self) -> tuple[OperandFacts, ...]:
        """Those of the operands, in their order."""
        return tuple(operand for operand in self.loss.operands if operand.name in self.names)

    @property
    def real(self) -> torch.dtype:
        """The dtype computed in."""
        return real_dtype(self.dtype)

    @property
    def tolerance(self) -> float:
        """The registry's relative error, or as many units in the last place of float64."""
        return self.loss.tolerance * (1.0 if self.real is torch.float32 else 2.0**-29 * (8 if self.loss.tolerance > 1e-6 else 1))

    def with_dtype(self, dtype: torch.dtype) -> "OperandSubject":
        """The same in another dtype."""
        return replace(self, dtype=dtype)

    def batch(self, shape: tuple[int, ...] = (5, 7), dtype: torch.dtype | None = None, seed: int = 0) -> tuple[Tensor, ...]:
        """Input, target, and an operand of their shape each."""
        x, t = inputs.batch(self.loss, self.settings, shape, dtype or self.dtype, seed)
        return x, t, *(self.operand(facts, shape, dtype, seed + 7 + k) for k, facts in enumerate(self.facts))

    def operand(self, facts: OperandFacts, shape: tuple[int, ...], dtype: torch.dtype | None = None, seed: int = 7) -> Tensor:
        """Ordinary numbers of an operand."""
        y = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        y = inputs.INTO[LABELS](y) if facts.range == LABELS else y if facts.range == "real" else (0.7 * y).exp()
        return y.to(dtype or self.dtype)

    def extremes(self) -> tuple[Tensor, ...]:
        """Input, target and operands over the whole of their ranges."""
        x, t = inputs.pairs(self.loss, self.settings, self.dtype)
        low, high = (0.01, 0.99) if inputs.domain(self.loss, self.settings) == "probability" else (-3, 3)
        x, t = torch.cat([x[::4], torch.linspace(low, high, 13, dtype=self.dtype)]), torch.cat([t[::4], torch.zeros(13, dtype=self.dtype)])
        if self.loss.target == "real":
            t[-13:] = 0.25
        found = []
        for k, facts in enumerate(self.facts):
            numbers = torch.tensor(facts.numbers or NUMBERS["real" if facts.range == "real" else "positive"], dtype=self.dtype)
            order = torch.randint(len(numbers), x.shape, generator=torch.Generator().manual_seed(k))
            found.append(numbers[order])
        drawn = (*inputs.within(self.loss, x, t, self.settings), *found)
        return tuple(y[::2] for y in drawn) if self.dtype is torch.float64 else drawn  # there the oracle needs more digits, and several times as long


def subjects(chosen: Callable[[Loss], bool] = lambda loss: True) -> Iterator[OperandSubject]:
    """Every loss with every set of operands, and of settings beside them, that the registry names."""
    for loss in LOSSES.values():
        seen = []
        for settings in loss.arguments if chosen(loss) else ():
            names = tuple(operand.name for operand in loss.operands_of(settings) if not operand.single)
            rest = {name: value for name, value in settings.items() if name not in names}
            if names and (names, rest) not in seen:
                seen.append((names, rest))
                yield OperandSubject(loss.function, loss, names, rest)


class ExactPoint(NamedTuple):
    """One number per item, its derivatives by input, target and operands (None at a kink), and what their errors are measured against."""

    value: Number
    by: tuple[Number | None, ...]
    scale: Number
    scales: tuple[Number, ...]


def exact(s: OperandSubject, numbers: tuple[Tensor, ...]) -> list[ExactPoint]:
    """The textbook on every item, with exact derivatives by each of the numbers; results are kept for the next engine that asks."""
    rows = tuple(zip(*(y.reshape(-1).tolist() for y in numbers), strict=True))
    return _exact(s.loss.name, s.names, tuple(sorted(s.settings.items())), rows, s.real)


@lru_cache(maxsize=256)
def _exact(
    name: str, names: tuple[str, ...], settings: tuple[tuple[str, Any], ...], rows: tuple[tuple[float, ...], ...], real: torch.dtype
) -> list[ExactPoint]:
    loss = LOSSES[name]
    mp = mpmath.mp.clone()
    mp.dps, power = DIGITS[real]
    fixed = oracles.number_settings(mp, loss, dict(settings))
    step = mp.mpf(oracles.ROUNDINGS * torch.finfo(real).eps)
    held = [n for n in inspect.signature(loss.textbook).parameters if n.startswith("held_")]

    def slope(f: Callable[[Mapping[str, Any]], Number], k: str) -> Callable[[Mapping[str, Any]], Number | None]:
        def at(point: Mapping[str, Any]) -> Number | None:
            constants = {n: point[n.removeprefix("held_")] for n in held}  # what a loss does not differentiate through
            unit = point["t"] if k == "x" else 1 if "target" in loss.ranges else point["x"]
            return oracles.derivative(mp, lambda y: f({**point, **constants, k: y}), point[k], power, unit)

        return at

    found = []
    for row in rows:
        mp.dps = DIGITS[real][0] * (2 if any(0 < abs(y) < 1e-150 for y in row) else 1)  # a slope there is as small, beside the value that it changes
        f = oracles.remembered(mp, loss)
        point = {**fixed, **dict(zip(("x", "t", *names), map(mp.mpf, row), strict=True))}
        slopes = [slope(f, k) for k in ("x", "t", *names)]
        by = tuple(g(point) for g in slopes)
        scale = abs(f(point)) + oracles.felt_by_terms(mp, loss, f, point, step)
        scales = tuple(oracles.size(g) + oracles.felt_by_terms(mp, loss, quantity, point, step) for g, quantity in zip(by, slopes, strict=True))
        if loss.target == "unit":  # of a soft target, the loss is a mean of two, and so is its slope
            t, no, yes = point["t"], {**point, "t": mp.mpf(0)}, {**point, "t": mp.mpf(1)}
            by_sides = (1 - t) * oracles.size(slopes[0](no)) + t * oracles.size(slopes[0](yes))
            scales = (max(scales[0], by_sides), max(scales[1], abs(f(no)) + abs(f(yes))), *scales[2:])
        found.append(ExactPoint(f(point), by, scale, scales))
    return found
