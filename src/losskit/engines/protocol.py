"""What an engine is: for each pattern one module, `losskit.engines.<engine>.<pattern>`, with the functions below. `PATTERNS` says which engines have which.

The contract prepares a call (`call.py`), `dispatch` chooses the engine, autograd stands around it (`fused.py`), and nothing else is asked of an engine.
"""

from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from losskit.engines.call import Results
from losskit.engines.forced import EngineName

PatternName = Literal["elementwise", "rows", "distributions", "overlap", "ranked", "boxes", "pairs", "products"]
Gradients = tuple[Tensor | None, ...]


class Fused(Protocol):
    """A pattern with one loss per item, in one pass that computes loss and gradients."""

    def run(
        self,
        call: Any,
        operands: tuple[Tensor, ...],
        *,
        scale: float | Tensor = 1.0,
        incoming: Tensor | None = None,
        each: bool = False,
        wants: tuple[bool, ...] = (),
    ) -> Results:
        """The sum of the losses times `scale`, the loss of `each` item if asked, and the gradients of the operands that `wants` names.

        With `incoming`, one number per item, only the gradients, times it. A gradient nobody wants is not computed. A scale of 0 says that nothing counts.
        """
        ...

    def rescaled(
        self, given: list[Tensor | None] | None, incoming: Tensor, call: Any, operands: tuple[Tensor, ...], scale: float | Tensor, wants: tuple[bool, ...]
    ) -> Gradients:
        """The gradients of the scaled sum times the incoming gradient, one number: those `given` by the forward pass, in their memory, or computed again, then
        let go of first.
        """
        ...


class Plain(Protocol):
    """The same pattern in PyTorch operations: differentiable to any order, for transforms, tracing, and whatever no fused engine takes."""

    def losses(self, call: Any, *operands: Tensor) -> Tensor:
        """The loss of each item."""
        ...

    def total(self, call: Any, operands: tuple[Tensor, ...], scale: float | Tensor) -> Tensor:
        """Their sum times `scale`."""
        ...

    def gradients(self, call: Any, operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> Gradients:
        """The gradients of `losses` times `incoming`, differentiable again."""
        ...

    def with_scale(self, call: Any, x: Tensor, scale: float | Tensor) -> Any:
        """The call, told that a scale of 0 means that nothing counts."""
        ...


class Summing(Protocol):
    """A pattern whose pass gives sums, of which plain arithmetic makes a loss: one pass for the sums, one for the gradients."""

    def sums(self, call: Any, x: Tensor, t: Tensor) -> Tensor:
        """The sums of each sample and class."""
        ...

    def gradients(self, call: Any, x: Tensor, t: Tensor, by_sums: Any, wants_x: bool, wants_t: bool, times: Tensor | None = None) -> Gradients:
        """The gradients of the sums times `by_sums`, and `times` one number, which may lie on a device that nobody waits for."""
        ...


class Scoring(Protocol):
    """What such an engine may offer besides, where each operation of the plain arithmetic is a launch."""

    def score(self, how: Any, sums: Tensor, derive: bool, real: torch.dtype) -> tuple[Any, ...] | None:
        """The loss of the sums, with `derive` its derivatives by them, and its parts; None of sums that plain arithmetic is to take."""
        ...


class Engine(NamedTuple):
    """What the contract must know of an engine."""

    plain: bool = False  # it is PyTorch operations, which autograd, transforms and the compiler follow
    on_host: bool = False  # its loops run on this processor: a number in a tensor can be read without waiting for a device


ENGINES: dict[EngineName, Engine] = {"cpu": Engine(on_host=True), "triton": Engine(), "torch": Engine(plain=True)}


class Pattern(NamedTuple):
    """A way to walk tensors: what its modules offer, on which fused engines; in PyTorch operations each of them runs."""

    fused: tuple[EngineName, ...] = ("cpu", "triton")
    kind: Literal["items", "sums", "own"] = "items"  # `Fused` and `Plain`; `Summing`; functions of its own, see the module


PATTERNS: dict[PatternName, Pattern] = {
    "elementwise": Pattern(),
    "rows": Pattern(),
    "distributions": Pattern(),
    "boxes": Pattern(),
    "overlap": Pattern(kind="sums"),
    "products": Pattern(),  # of the scores of rows, distributions or elements
    "pairs": Pattern(kind="own"),  # every box with every other: `run` as of items, without sums, and `best`
    "ranked": Pattern(kind="own"),  # sorting: `run` and `gradient` around one order
}
