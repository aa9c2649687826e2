"""A loss of scores that are a product, as lists of items: what the chunks of it are cut from."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from losskit.engines.call import Alike, Call, Distributions, Product, Rows, Teacher
from losskit.engines.scores import made_of, refusal

ITEMS = 512  # of a chunk at least
LINES = 16
CHUNK = (32 << 20, 128 << 20)  # bytes of a chunk of scores, at least and at most, in the memory of a host
Pattern = Literal["elementwise", "rows", "distributions"]  # of losses that take a product
Take = Callable[[Tensor], Tensor]


class Laid(NamedTuple):
    """A call of a product as lists: items along the first axis, classes along the last."""

    shape: torch.Size  # of the items
    x: Tensor  # (items, width)
    weight: Tensor
    bias: Tensor | None
    others: tuple[Tensor, ...]  # the loss's operands but the first
    by_item: tuple[bool, ...]  # which of those hold a number per item, or a row per item
    loss: Call | Rows | Distributions
    without: Tensor | None = None

    @property
    def items(self) -> int:
        """How many there are."""
        return self.x.shape[0]


def product(pattern: Any, call: Any, operands: tuple[Any, ...]) -> tuple[Product, tuple[Tensor, ...]]:
    """The call of a loss whose first operand is a product, with its factors as operands; one whose target is made with the scores."""
    scores, target, *others = operands
    if pattern not in get_args(Pattern):
        raise refusal(scores, "this loss")
    factors, chunk, exact, temperature, without, summed, centers = made_of(scores)  # type: ignore[misc]
    if temperature is not None:
        raise ValueError("input is what linear_probabilities gives, which is a target: give linear_scores of the same factors")
    made: Teacher | Alike | None = None
    of_target: Any = made_of(target)
    if of_target is not None:
        if isinstance(of_target, Alike):
            made = of_target
        elif pattern != "distributions":
            raise refusal(target, "this loss")
        elif of_target.temperature is None:
            raise ValueError("target is what linear_scores gives, and a target is probabilities: give linear_probabilities of the same factors")
        else:
            made = Teacher(of_target.factors, of_target.temperature)
        target = torch.empty(0, dtype=target.dtype, device=target.device)
    return Product(pattern, call, len(factors) == 3, chunk, exact, made, without, summed, centers), (*factors, target, *others)


def operands_of(call: Product, operands: Sequence[Any]) -> tuple[Any, Any, Any, tuple[Any, ...]]:
    """Input, weight, bias or None, and the others; or what belongs to each of them, such as who wants a gradient."""
    x, weight, *rest = operands
    return x, weight, rest.pop(0) if call.biased else None, tuple(rest)


def along_items(y: Tensor, shape: torch.Size, wide: bool) -> tuple[Tensor, bool]:
    """A tensor that broadcasts to the items, with `wide` to their scores, as a list of items; or as it is, if it holds the same for each."""
    lead = y.shape[:-1] if wide else y.shape
    if math.prod(lead) == 1 and math.prod(shape) != 1:
        return y.reshape(y.shape[-1:] if wide else ()), False
    if not wide:
        return y.expand(shape).reshape(-1), True
    width = y.shape[-1] if y.dim() else 1
    return y.expand(*shape, width).reshape(math.prod(shape), width), True


def target_as_list(call: Product, y: Tensor, items: int, classes: int) -> tuple[Tensor, bool]:
    """The target of rows, one for each item: labels, distributions, or of what makes them what it holds for each item; or none, which has no numbers."""
    kind = getattr(call.loss, "kind", "label")
    if call.made is not None:
        y = call.made.factors[0]
        return y.reshape(-1) if isinstance(call.made, Alike) and len(call.made.factors) == 2 else y.reshape(items, y.shape[-1]), True
    if kind == "none":
        return y, False
    return (y.reshape(items, classes) if kind == "distribution" else y.reshape(-1)), True


def laid(call: Product, operands: Sequence[Tensor]) -> Laid:
    """The call as lists."""
    x, weight, bias, others = operands_of(call, operands)
    shape, items = x.shape[:-1], math.prod(x.shape[:-1])
    elements = isinstance(call.loss, Call)
    lists = [
        target_as_list(call, y, items, weight.shape[0]) if not k and (call.made is not None or not elements) else along_items(y, shape, elements)
        for k, y in enumerate(others)
    ]
    loss = call.loss.of_items(lambda y: along_items(y, shape, elements)[0])
    without = None if call.without is None else along_items(call.without, shape, call.without.dtype is torch.bool)[0]
    return Laid(shape, x.reshape(items, x.shape[-1]), weight, bias, tuple(y for y, _ in lists), tuple(by for _, by in lists), loss, without)


def counting(given: Laid) -> Tensor | None:
    """Which items count; None if all of them may."""
    loss, counts = given.loss, None
    if isinstance(loss, Call):
        for factor in loss.factors:
            if factor.dim() == 2:
                some = (factor != 0).any(1)
                counts = some if counts is None else counts & some
        return counts
    if isinstance(loss, Rows) or loss.kind == "label":
        labels = given.others[0]
        counts = labels.long() != loss.ignore if labels.dtype.itemsize < 8 else labels != loss.ignore
    if loss.factor is not None:
        counts = loss.factor != 0 if counts is None else counts & (loss.factor != 0)
    return counts


def items_of_chunk(items: int, weight: Tensor, size: int, limits: tuple[int, int], asked: int | None) -> int:
    """How many items to make scores of at a time: a chunk takes as much memory as the weight, within limits, and has at least ITEMS items; all are of one size."""
    classes, width = weight.shape
    space = min(max(classes * width * size, limits[0]), limits[1])
    most = asked or max(space // max(classes * size, 1), ITEMS)
    if asked or items <= most:
        return max(min(most, items), 1)
    even = -(-items // -(-items // most))
    return -(-even // LINES) * LINES


def taken(place: slice | Tensor, y: Tensor) -> Tensor:
    """Some of the items."""
    return y[place] if isinstance(place, slice) else y.index_select(0, place)


def part_of(given: Laid, take: Take) -> Laid:
    """Some of the items."""
    axes = 2 if isinstance(given.loss, Call) else 1
    loss = given.loss.of_items(lambda y: take(y) if y.dim() == axes else y)
    others = tuple(take(y) if by else y for y, by in zip(given.others, given.by_item, strict=True))
    return given._replace(x=take(given.x), others=others, loss=loss, without=None if given.without is None else take(given.without))
