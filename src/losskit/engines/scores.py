"""Scores that are never whole: a tensor with a shape and no memory that knows its factors."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from losskit.engines import private


class Made(NamedTuple):
    """What scores are made of, and how: see `Product` in `call.py`."""

    factors: tuple[Tensor, ...]  # input, weight and, if there is one, bias
    chunk: int | None
    exact: bool


class Scores(Tensor):
    """input @ weight^T + bias, (..., classes), as the input of a loss: made some items at a time, and never whole. What is no loss of losskit refuses it.

    `whole()` makes the scores.
    """

    made: Made
    __torch_function__ = private.no_torch_function

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """The items' shape is all that there is to see."""
        if function is torch.ops.aten.select.int and args[1] % args[0].dim() == args[0].dim() - 1:
            x = args[0]
            return torch.zeros((), dtype=x.dtype, device=x.device).expand(x.shape[:-1])
        name = str(function).removeprefix("aten.").partition(".")[0]
        raise TypeError(f"scores from linear_scores are never whole, and {name} needs all of them at once: try scores.whole(), which makes them")

    def whole(self) -> Tensor:
        """All scores, as `torch.nn.functional.linear` makes them, with their graph."""
        return linear(*self.made.factors)

    def __repr__(self) -> str:  # type: ignore[override]
        shapes = ", ".join(str(tuple(x.shape)) for x in self.made.factors)
        return f"Scores{tuple(self.shape)} of {shapes}, {self.dtype}, never whole"


def scores_of(factors: tuple[Tensor, ...], chunk: int | None, exact: bool) -> Scores:
    """The scores of these factors."""
    x, weight = factors[:2]
    scores: Scores = private.without_memory(Scores, (*x.shape[:-1], weight.shape[0]), dtype=x.dtype, device=x.device)
    scores.made = Made(factors, chunk, exact)
    return scores
