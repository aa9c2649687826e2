"""How a loss derives parameters from its settings: watched while the public function runs, and written as JavaScript, so that a page can do it for any number."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

import passes
from javascript import spelt
from losskit.contract import checks

FUNCTIONS = ("exp", "expm1", "log", "log1p", "sqrt")  # of `math`, which JavaScript has under the same names
MATH = SimpleNamespace(abs=abs, **{name: getattr(math, name) for name in FUNCTIONS})


class Traced(float):
    """A number that remembers how it came about; arithmetic with it gives another, comparisons plain answers."""

    text: str

    def __new__(cls, value: float, text: str) -> "Traced":  # noqa: D102
        made = super().__new__(cls, value)
        made.text = text
        return made


def written(value: float) -> str:
    """A number in JavaScript."""
    if isinstance(value, Traced):
        return value.text
    return f"{'-' if value < 0 else ''}Infinity" if math.isinf(value) else repr(float(value))


def operator(name: str, sign: str, turned: bool) -> Callable[[Traced, Any], Any]:
    """An operator of `float` that also writes itself down."""
    plain = getattr(float, name)

    def run(self: Traced, other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        first, second = (other, self) if turned else (self, other)
        return Traced(plain(self, other), f"({written(first)} {sign} {written(second)})")

    return run


for stem, mark in {"add": "+", "sub": "-", "mul": "*", "truediv": "/"}.items():
    setattr(Traced, f"__{stem}__", operator(f"__{stem}__", mark, False))
    setattr(Traced, f"__r{stem}__", operator(f"__r{stem}__", mark, True))
setattr(Traced, "__neg__", lambda self: Traced(-float(self), f"(-{self.text})"))  # noqa: B010
setattr(Traced, "__abs__", lambda self: Traced(abs(float(self)), f"Math.abs({self.text})"))  # noqa: B010


@contextmanager
def watched() -> Iterator[None]:
    """Within, checks hand a traced number on, `math` writes its functions down, and a tensor full of it bears its name."""
    number, full = checks.number, torch.full

    def kept(name: str, value: float, **limits: Any) -> float:
        found = number(name, value, **limits)
        return value if isinstance(value, Traced) else found

    def noting(name: str) -> Callable[[float], float]:
        plain = getattr(math, name)
        return lambda x: Traced(plain(x), f"Math.{name}({x.text})") if isinstance(x, Traced) else plain(x)

    def filled(size: Any, value: Any, **options: Any) -> torch.Tensor:
        found = full(size, value, **options)
        if isinstance(value, Traced):
            found.traced = value  # type: ignore[attr-defined]
        return found

    with ExitStack() as patched:
        for place, name, instead in ((checks, "number", kept), (torch, "full", filled), *((math, name, noting(name)) for name in FUNCTIONS)):
            patched.enter_context(mock.patch.object(place, name, instead))
        yield


class Call:
    """One call of a loss: what its shape is, and what its parameters, those of its sums, further operands and shares of classes are made of."""

    def __init__(self, loss: Callable[..., Any], tensors: Sequence[Any], settings: Mapping[str, Any], name: Callable[[Callable[..., Any]], str]) -> None:
        seen = passes.passes_of(loss, *tensors, **settings)
        if len(seen) != 1:
            raise ValueError(f"{loss.__name__}({settings}) makes {len(seen)} passes, the page runs one")
        self.shape = passes.described(seen[0], name)
        how = dict(self.shape.get("how", {}))
        given = {float(value): value for value in settings.values() if isinstance(value, Traced)}
        operands = [float(o) for o in seen[0].operands[2:]]
        shares = [getattr(seen[0].call.shares, "traced", share) for share in self.shape.pop("shares", [])]
        self.numbers = [self.shape.pop("params"), how.pop("params", []), [given.get(o, o) for o in operands], shares]
        if "how" in self.shape:
            self.shape["how"] = how

    def text(self) -> str:
        """The numbers as JavaScript."""
        return "[" + ", ".join(f"[{', '.join(map(written, part))}]" for part in self.numbers) + "]"


def derivation(loss: Callable[..., Any], tensors: Sequence[Any], fixed: Mapping[str, Any], free: Mapping[str, Sequence[float]], name: Any) -> tuple[Any, str]:
    """The shape of a call and a function of JavaScript from its free settings to its numbers. Each free setting comes with numbers: the first is watched, and at
    all of them the loss must do what was written down."""
    apart = 1e-3  # no two alike, so that an operand tells which setting it is
    tried = {key: Traced(numbers[0] + i * apart * (numbers[1] - numbers[0]), spelt(key)) for i, (key, numbers) in enumerate(free.items())}
    with watched():
        call = Call(loss, tensors, {**fixed, **tried}, name)
    text = call.text()
    for key, numbers in free.items():
        for value in numbers[1:]:
            settings = {**{k: float(v) for k, v in tried.items()}, key: value}
            there = Call(loss, tensors, {**fixed, **settings}, name)
            found = eval(text, {"Math": MATH, "Infinity": math.inf, **{spelt(k): v for k, v in settings.items()}})
            if there.shape != call.shape or there.numbers != found:
                raise ValueError(f"{loss.__name__}: {key}={value} is computed otherwise than {key}={numbers[0]}: {there.numbers}, not {text}")
    return call.shape, f"({{{', '.join(map(spelt, free))}}}) => {text}"
