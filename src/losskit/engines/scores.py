"""Scores that are never whole: a tensor with a shape and no memory that knows its factors."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines import private
from losskit.engines.call import Alike, real_dtype
from losskit.engines.private import compiling


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight^T + bias in the dtype of the factors: what `torch.autocast` would convert, the contract has converted."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            return torch.nn.functional.linear(x, weight, bias)
    return torch.nn.functional.linear(x, weight, bias)


class Made(NamedTuple):
    """What scores are made of, and how: see `Product` in `call.py`."""

    factors: tuple[Tensor, ...]  # input, weight and, if there is one, bias
    chunk: int | None = None
    exact: bool = True
    temperature: float | None = None  # of a softmax over them, which is a target; None: the scores themselves
    without: Tensor | None = None
    summed: bool = False
    centers: int = 1

    def whole(self) -> Tensor:
        """All scores, as `torch.nn.functional.linear` makes them, with their graph; or all probabilities."""
        scores, _ = largest(linear(*self.factors), self.centers)
        return ruled_out(scores, self.without) if self.temperature is None else probabilities(scores, self.temperature)


class Scores(Tensor):
    """input @ weight^T + bias, (..., classes), as the input of a loss, or their softmax as its target: made some items at a time, and never whole.

    What is no loss of losskit refuses it. `whole()` makes all of it.
    """

    made: Made | Alike
    __torch_function__ = private.no_torch_function

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """The items' shape is all that there is to see."""
        if function is torch.ops.aten.select.int and args[1] % args[0].dim() == args[0].dim() - 1:
            x = args[0]
            return torch.zeros((), dtype=x.dtype, device=x.device).expand(x.shape[:-1])
        raise refusal(next(x for x in args if isinstance(x, Scores)), str(function).removeprefix("aten.").partition(".")[0])

    def kind(self) -> str:
        """The function it comes from."""
        return "linear_scores" if isinstance(self.made, Made) and self.made.temperature is None else "linear_probabilities"

    def whole(self) -> Tensor:
        """All of it."""
        return self.made.whole() if isinstance(self.made, Made) else together(self.made, self.made.factors[0], self.dtype)

    def __repr__(self) -> str:  # type: ignore[override]
        shapes = ", ".join(str(tuple(x.shape)) for x in self.made.factors)
        return f"{self.kind()} of {shapes}: {tuple(self.shape)}, {self.dtype}, never whole"


def remembered(whole: Tensor, made: "Made | Alike") -> Tensor:
    """Scores that are whole because the compiler looks on, which remember what they are made of: a loss that becomes an operator takes the factors, and of the scores
    that nobody reads then nothing is left in the graph.
    """
    if compiling():
        whole.losskit_made = made  # type: ignore[attr-defined]
    return whole


def made_of(x: Tensor) -> "Made | Alike | None":
    """What scores are made of, if they are a product."""
    return x.made if type(x) is Scores else getattr(x, "losskit_made", None) if compiling() else None


def refusal(x: Scores, who: str) -> RuntimeError:
    """The error of what needs all numbers at once. (Operators take a TypeError for a question to the other operand.)"""
    return RuntimeError(f"what {x.kind()} gives is never whole, and {who} needs all of it at once: try its method whole()")


def memory_of(operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tensors that a pass over these operands reads: factors in place of scores. Whoever does not ask for them meets a subclass that refuses every operation."""
    first = operands[0]
    if type(first) is not Scores:
        return operands
    others, found = operands[1:], list(first.made.factors)
    for x in others:
        found += x.made.factors if type(x) is Scores else (x,)
    return tuple(found)


def probabilities(scores: Tensor, temperature: float) -> Tensor:
    """softmax(scores / temperature) in the dtype computed in; differences are divided, for a quotient is rounded."""
    scores = scores.to(real_dtype(scores.dtype))
    return torch.softmax((scores - scores.amax(-1, keepdim=True)) / temperature, -1)


def largest(scores: Tensor, centers: int, axis: int = -1) -> tuple[Tensor, Tensor | None]:
    """Of each class, which has so many scores next to each other along an axis, the largest, and which that is; of equal ones the first."""
    if centers == 1:
        return scores, None
    axis %= scores.dim()
    apart = scores.unflatten(axis, (-1, centers))
    place = apart.detach().argmax(axis + 1, keepdim=True)
    return apart.gather(axis + 1, place).squeeze(axis + 1), place


def left_out(without: Tensor, classes: int) -> Tensor:
    """Which classes of which items are, as bool."""
    return without if without.dtype is torch.bool else without[..., None] == torch.arange(classes, dtype=without.dtype, device=without.device)


def ruled_out(scores: Tensor, without: Tensor | None) -> Tensor:
    """Scores of which some are -inf."""
    return scores if without is None else torch.where(left_out(without, scores.shape[-1]), -torch.inf, scores)


def together(made: Alike, rows: Tensor, real: torch.dtype, without: Tensor | None = None) -> Tensor:
    """The target of these rows."""
    alike = rows if len(made.factors) == 1 else rows[..., None] == made.factors[1]
    if without is not None:
        alike = alike & ~left_out(without, alike.shape[-1])
    return alike / alike.sum(-1, keepdim=True).clamp(min=1).to(real) if made.shares else alike


def alike_of(made: Alike, like: Tensor) -> Scores:
    """The target of scores of these items and classes, of the scores' shape."""
    target: Scores = private.without_memory(Scores, like.shape, dtype=real_dtype(like.dtype) if made.shares else torch.bool, device=like.device)
    target.made = made
    return target


def scores_of(made: Made) -> Scores:
    """The scores of these factors, or their softmax."""
    x, weight = made.factors[:2]
    dtype = x.dtype if made.temperature is None else real_dtype(x.dtype)
    scores: Scores = private.without_memory(Scores, (*x.shape[:-1], weight.shape[0] // made.centers), dtype=dtype, device=x.device)
    scores.made = made
    return scores
