"""What is being examined: a callable, the loss it claims to be, and how to call it."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from losskit.contract.registry import Loss
from losskit.engines.dispatch import EngineName
from losskit.testing import inputs

EXTRAS = ("mask", "sample_weight", "normalizer", "reduction")


class LawBroken(AssertionError):
    """A law does not hold; the message is one concrete counterexample."""


class NotOffered(Exception):
    """The callable lacks what the law is about."""


@contextmanager
def refusals() -> Iterator[None]:
    """What PyTorch says when a transform cannot go through the callable breaks the law."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        raise LawBroken(str(error).strip().splitlines()[0]) from None


@dataclass(frozen=True)
class Subject:
    """A loss function with some settings, examined in one dtype.

    `engine` is the one the call runs under, if it was forced (a few laws do not apply to every engine).
    """

    function: Callable[..., Tensor]
    loss: Loss
    settings: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    engine: EngineName | None = None

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter] | None:
        """Names the callable takes; None if it takes any."""
        target = self.function.forward if isinstance(self.function, torch.nn.Module) else self.function
        try:
            found = inspect.signature(target).parameters
        except (TypeError, ValueError):
            return None
        return None if any(p.kind is p.VAR_KEYWORD for p in found.values()) else found

    def offers(self, name: str) -> bool:
        """Whether the callable takes an argument of this name."""
        return self.parameters is None or name in self.parameters

    def __call__(self, x: Tensor, t: Tensor, **extra: Any) -> Tensor:
        """The loss of a batch; raises `NotOffered` where an argument is unknown."""
        for name in extra:
            if not self.offers(name):
                raise NotOffered(f"no argument {name}")
        given = {k: v for k, v in self.settings.items() if self.offers(k)}
        return self.function(x, t, **inputs.as_arguments(given), **extra)

    def each(self, x: Tensor, t: Tensor, **extra: Any) -> Tensor:
        """One loss per item."""
        if self.offers("reduction"):
            return self(x, t, reduction="none", **extra)
        result = self(x, t, **extra)
        if result.shape == x.shape and x.dim():
            return result
        if extra or result.dim():
            raise NotOffered('no reduction="none"')
        items = [self(a.reshape(1), b.reshape(1)) for a, b in zip(x.reshape(-1), t.reshape(-1), strict=True)]  # it only reduces: of one item, that is its loss
        return torch.stack(items).reshape(x.shape) if items else result.expand(x.shape)

    def batch(self, shape: tuple[int, ...] = (5, 7), seed: int = 0, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """An ordinary batch from the loss's domain."""
        return inputs.batch(self.loss, self.settings, shape, dtype or self.dtype, seed)

    def with_dtype(self, dtype: torch.dtype) -> "Subject":
        """The same in another dtype."""
        return replace(self, dtype=dtype)

    @property
    def real(self) -> torch.dtype:
        """The dtype computed in."""
        return torch.float64 if self.dtype is torch.float64 else torch.float32

    @property
    def tolerance(self) -> float:
        """Relative error allowed: the registry's figure is for float32; float64 is allowed as many units in the last place.

        But losses with powers (those with more than 1e-6) eight times as many: the error of exp(y) grows with y, which ends at 709 there and at 89 here.
        """
        if self.real is torch.float32:
            return self.loss.tolerance
        return self.loss.tolerance * 2.0**-29 * (8 if self.loss.tolerance > 1e-6 else 1)


def leaf(x: Tensor) -> Tensor:
    """A fresh copy that collects a gradient."""
    return x.detach().clone().requires_grad_()


def gradient(value: Tensor, *leaves: Tensor, incoming: Tensor | None = None) -> tuple[Tensor, ...]:
    """Gradients of the (summed) value; a missing one is an error, for every loss depends on its input and target."""
    if not value.requires_grad:
        raise LawBroken("the result is not attached to the graph: it has no gradient")
    if incoming is None:
        incoming = torch.ones_like(value)
    found = torch.autograd.grad(value, leaves, incoming, allow_unused=True)
    if any(g is None for g in found):
        raise LawBroken("the gradient is None")
    return found


def at(x: Tensor, i: int) -> str:
    """Item i as a reader can type it in again."""
    return repr(x.detach().reshape(-1)[i].item())


def require_close(got: Tensor, expected: Tensor, tolerance: float, what: str, x: Tensor | None = None, t: Tensor | None = None) -> None:
    """Equal shape and dtype-independent value within a relative tolerance; the message shows the first item that is off."""
    if got.shape != expected.shape:
        raise LawBroken(f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    a, b = got.detach().double().reshape(-1), expected.detach().double().reshape(-1)
    floor = torch.finfo(got.dtype).tiny if got.is_floating_point() else 0.0
    off = ~(((a - b).abs() <= tolerance * b.abs() + floor) | (a == b) | (a.isnan() & b.isnan()))
    if bool(off.any()):
        i = int(off.nonzero()[0])
        place = (
            f" at x = {at(x, i)}, t = {at(t, i)}" if x is not None and t is not None and x.numel() == a.numel() else f" at index {i}" if a.numel() > 1 else ""
        )
        raise LawBroken(f"{what}: {at(got, i)}, expected {at(expected, i)}{place}")


def require_same_bits(got: Tensor, expected: Tensor, what: str) -> None:
    """Equal bit for bit, NaN included."""
    if not torch.equal(got.detach().nan_to_num(12345.0), expected.detach().nan_to_num(12345.0)):
        i = int((got != expected).reshape(-1).nonzero()[0])
        raise LawBroken(f"{what}: {at(got, i)} and {at(expected, i)} at index {i}")


def require_raises(call: Callable[[], Any], what: str) -> None:
    """A bad argument is refused."""
    try:
        result = call()
    except (ValueError, TypeError, RuntimeError, IndexError):
        return
    shown = f" and gave {result.item():.6g}" if isinstance(result, Tensor) and result.numel() == 1 else ""
    raise LawBroken(f"{what} was accepted{shown}")
