"""Passes that give more than one number, as the operator `losskit::each` runs them: one loss per item, or the sums that arithmetic makes a loss of; and what such a pass
leaves for its backward.
"""

import importlib
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from losskit.engines import both, dispatch, fused, margins
from losskit.engines.call import Looked, real_dtype
from losskit.engines.protocol import Gradients

Operands = tuple[Tensor, ...]
Wants = tuple[bool, ...]


def loops(pattern: Any) -> Any:
    """The pattern on the CPU."""
    return margins if pattern == "margins" else dispatch.pattern("cpu", pattern)


def plain(pattern: str) -> ModuleType:
    """The pattern in PyTorch operations."""
    return margins if pattern == "margins" else importlib.import_module(f"losskit.engines.torch.{pattern}")


class Values(Protocol):
    """A kind of pass."""

    exact: bool  # whether what it gives is in float64, whatever the operands are
    keeps: bool  # whether the gradients are made of what it leaves

    def run(self, call: Any, operands: Operands, wants: Wants) -> tuple[Tensor, ...]:
        """What it gives, and then what it leaves for the gradients that are wanted."""
        ...

    def left_like(self, call: Any, operands: Operands, wants: Wants) -> list[Tensor]:
        """Tensors as those that it leaves."""
        ...

    def gradients(self, call: Any, operands: Operands, left: list[Tensor], incoming: Tensor, wants: Wants) -> Gradients:
        """Of what it gives, times what comes in."""
        ...

    def again(self, call: Any, operands: Operands, incoming: Tensor, wants: Wants) -> Gradients:
        """The same in PyTorch operations, differentiable again."""
        ...


class Items:
    """One loss per item."""

    exact = False
    keeps = False

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern

    def run(self, call: Any, operands: Operands, wants: Wants) -> tuple[Tensor, ...]:
        """As of `Values`."""
        return (loops(self.pattern).run(call, operands, each=True).value,)

    def left_like(self, call: Any, operands: Operands, wants: Wants) -> list[Tensor]:
        """Nothing: the operands are all that is read again."""
        return []

    def gradients(self, call: Any, operands: Operands, left: list[Tensor], incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`."""
        found: Gradients = loops(self.pattern).run(call, operands, incoming=incoming, wants=wants).gradients
        return found

    def again(self, call: Any, operands: Operands, incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`."""
        found: Gradients = plain(self.pattern).gradients(call, operands, incoming, wants)
        return found


class Sums:
    """The sums of each sample and class that losses of overlap are made of."""

    exact = True
    keeps = False

    def run(self, call: Any, operands: Operands, wants: Wants) -> tuple[Tensor, ...]:
        """As of `Values`."""
        return (loops("overlap").sums(call, *operands),)

    def left_like(self, call: Any, operands: Operands, wants: Wants) -> list[Tensor]:
        """Nothing."""
        return []

    def gradients(self, call: Any, operands: Operands, left: list[Tensor], incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`."""
        found: Gradients = loops("overlap").gradients(call, *operands, incoming, *wants)
        return found

    def again(self, call: Any, operands: Operands, incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`."""
        return fused.of_sums(lambda x, t: plain("overlap").sums(call, x, t), operands, incoming, wants)


class Sorted:
    """The losses of sorted errors of each sample, or batch, and class; it leaves the slopes of the errors, so that the backward sorts nothing."""

    exact = True
    keeps = True

    def run(self, call: Any, operands: Operands, wants: Wants) -> tuple[Tensor, ...]:
        """As of `Values`."""
        sums, slopes = loops("ranked").run(call, *operands)
        return sums, slopes.reshape(-1) if wants[0] else slopes.new_empty(0)

    def left_like(self, call: Any, operands: Operands, wants: Wants) -> list[Tensor]:
        """One number for each of the input."""
        x = operands[0]
        return [x.new_empty(x.numel() if wants[0] else 0, dtype=torch.float32)]

    def gradients(self, call: Any, operands: Operands, left: list[Tensor], incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`. The pass writes the gradient over the slopes, and an operator changes nothing that it is given."""
        x, t = operands
        slopes = left[0].view(x.movedim(call.dim, 1).shape)
        slopes = slopes.clone() if x.dtype is torch.float32 or call.link != "softmax" else slopes
        return loops("ranked").gradient(call, x, t, slopes, incoming[..., 0]), None

    def again(self, call: Any, operands: Operands, incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`."""
        return fused.of_sums(lambda x, t: plain("ranked").sums(call, x, t), operands, incoming, wants)


class BothSides:
    """The losses of rows and columns of a product; it leaves a few numbers per item."""

    exact = False
    keeps = True

    def run(self, call: Any, operands: Operands, wants: Wants) -> tuple[Tensor, ...]:
        """As of `Values`."""
        kept = both.forward(call._replace(engine="cpu"), *operands)
        return both.mean_of(kept), *kept

    def left_like(self, call: Any, operands: Operands, wants: Wants) -> list[Tensor]:
        """A number of `both.Kept` for each item."""
        a = operands[0]
        return [a.new_empty(a.shape[0]) for _ in both.Kept._fields]

    def gradients(self, call: Any, operands: Operands, left: list[Tensor], incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`."""
        a, b, temperature = operands
        return both.backward(call._replace(engine="cpu"), a, b, temperature, both.Kept(*left), incoming, wants)

    def again(self, call: Any, operands: Operands, incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`."""
        return fused.of_sums(lambda *given: both.plain(call, *given), operands, incoming, wants)


class Looks:
    """The losses of a product, and what looks at its scores, which is left for the caller."""

    exact = False
    keeps = False

    def run(self, call: Looked, operands: Operands, wants: Wants) -> tuple[Tensor, ...]:
        """As of `Values`."""
        found = loops("products").run(call.product, operands, each=True, look=call.look)
        return found.value, *[x.contiguous() for x in found.seen]

    def left_like(self, call: Looked, operands: Operands, wants: Wants) -> list[Tensor]:
        """What is seen of each item."""
        x = operands[0]
        return list(call.look.like(x.new_empty(x.shape[:-1], dtype=real_dtype(x.dtype))))

    def gradients(self, call: Looked, operands: Operands, left: list[Tensor], incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`."""
        return Items("products").gradients(call.product, operands, [], incoming, wants)

    def again(self, call: Looked, operands: Operands, incoming: Tensor, wants: Wants) -> Gradients:
        """As of `Values`."""
        return Items("products").again(call.product, operands, incoming, wants)


OTHERS: dict[str, Values] = {"overlap": Sums(), "ranked": Sorted(), "both": BothSides(), "looked": Looks()}


def of(pattern: str) -> Values:
    """The kind of a pattern's passes."""
    return OTHERS.get(pattern) or Items(pattern)
