"""What a loss hands to an engine: the formula, its parameters, and what multiplies or drops items. Engines add nothing to its meaning."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor


class Call(NamedTuple):
    """One elementwise loss, ready to run on its operands: the input, whose shape is the loss's, the target of that shape, and what else the formula takes, each of a
    shape that broadcasts to it.

    `formula` takes one number of each operand, then `params`; it returns the value and derivatives by the operands, in their order (by the last, there may be none).
    `factors` multiply an item's loss; the first may be a bool mask. An item whose factor is 0 is absent: whatever its loss, it adds exactly 0.
    """

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    factors: tuple[Tensor, ...] = ()

    def tensors(self) -> tuple[Tensor, ...]:
        """What autograd must keep besides the operands: changed in place before the backward, they raise there."""
        return self.factors

    def holding(self, tensors: Sequence[Tensor]) -> "Call":
        """The same call with the tensors that autograd kept."""
        return self._replace(factors=tuple(tensors))

    def of_items(self, change: Callable[[Tensor], Tensor]) -> "Call":
        """The same call with what it holds for each element changed."""
        return self._replace(factors=tuple(map(change, self.factors)))


class Rows(NamedTuple):
    """One loss of rows of class scores and a label each, ready to run on an `input` with its classes along `dim` and a `target` of the other dimensions.

    `formula` takes a row's (nll, hit, miss, spread, lse, weight, *params): -log p_y, p_y, 1 - p_y, the sum over j of shares_j (-log p_j), log sum exp,
    weight_y. It returns the value and its derivatives by nll, spread and lse. `link` (score, slope) stands between input and scores, and `margin`, which takes the
    score and `params` and gives (score, slope), after it at the label's alone; it lowers the score. An item is absent if its label is `ignore` or its factor is 0.

    Further operands hold one number per item: their shape broadcasts to the target's. If the call is `tempered`, the first divides the item's scores, and is NaN
    where it is not > 0. The others are read by the formula, before `params`, which returns a derivative by each after its own.
    """

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    weight: Tensor | None = None  # (classes,)
    shares: Tensor | None = None  # (classes,)
    link: Callable[..., Any] | None = None
    link_parameter: float = 0.0
    ignore: int = -100
    dim: int = 1
    factor: Tensor | None = None  # the target's shape
    tempered: bool = False
    margin: Callable[..., Any] | None = None

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        if self.weight is None and self.factor is None and self.shares is None:
            return ()
        return tuple([x for x in (self.weight, self.shares, self.factor) if x is not None])

    def of_items(self, change: Callable[[Tensor], Tensor]) -> "Rows":
        """As of `Call`, with one number per item, and the classes along the last of two axes."""
        return self._replace(factor=None if self.factor is None else change(self.factor), dim=1)

    def holding(self, tensors: Sequence[Tensor]) -> "Rows":
        """As of `Call`."""
        given = iter(tensors)
        weight, shares, factor = (None if x is None else next(given) for x in (self.weight, self.shares, self.factor))
        return self._replace(weight=weight, shares=shares, factor=factor)


class Distributions(NamedTuple):
    """One loss of rows of class scores and a distribution each, ready to run on an `input` with its classes along `dim` and a `target`: of the input's
    shape (`kind="distribution"`), labels of the other dimensions (`kind="label"`: all mass on that class), positions of the other dimensions
    (`kind="position"`: a real number y from 0 to the last class, whose mass of class j is max(0, 1 - |j - y|)), or no target (`kind="none"`: the formula
    reads t = 0; the tensor handed over is empty and never read).

    `formula` takes a class's (log p, p, 1 - p, t, weight, *params) and returns the value and its derivatives by log p and by t. `link` (score, slope) stands
    between input and scores. An item is absent if its label is `ignore` or its factor is 0. Further operands are those of `Rows`; derivatives by them are added up
    over the classes.
    """

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    weight: Tensor | None = None  # (classes,)
    link: Callable[..., Any] | None = None
    link_parameter: float = 0.0
    shift: bool = False  # take the row's largest input from all of them before the link
    square: float = 0.0  # times sum_j(t_j weight_j) lse^2, which is added to the row's loss
    kind: Literal["distribution", "label", "position", "none"] = "distribution"
    ignore: int = -100
    dim: int = 1
    factor: Tensor | None = None  # the shape without the classes
    tempered: bool = False

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        if self.weight is None and self.factor is None:
            return ()
        return tuple([x for x in (self.weight, self.factor) if x is not None])

    def of_items(self, change: Callable[[Tensor], Tensor]) -> "Distributions":
        """As of `Call`, with one number per item, and the classes along the last of two axes."""
        return self._replace(factor=None if self.factor is None else change(self.factor), dim=1)

    def holding(self, tensors: Sequence[Tensor]) -> "Distributions":
        """As of `Call`."""
        given = iter(tensors)
        weight, factor = (None if x is None else next(given) for x in (self.weight, self.factor))
        return self._replace(weight=weight, factor=factor)


SUM_NAMES = (
    "intersection",
    "prediction",
    "target",
    "prediction_squared",
    "target_squared",
    "count",
    "extra",
)  # the last axis of what the overlap pattern gives
INTERSECTION, PREDICTION, TARGET, PREDICTION_SQUARED, TARGET_SQUARED, COUNT, EXTRA = range(len(SUM_NAMES))


class Overlap(NamedTuple):
    """Sums over the items of each sample (axis 0), class by class, ready to run on an `input` with its classes along `dim` and a `target`: (N, C, 7), `SUM_NAMES`.

    `link` makes probabilities p of the input: "softmax" over the classes, "sigmoid" of each number, "identity". The target t is 1 where the label is the
    class (`kind="label"`: labels of the other dimensions, those equal to `ignore` absent), or a number in [0, 1] for each number of the input
    (`kind="number"`; not with softmax, numbers equal to `ignore` are absent). The sums are of p t, p, t, p^2, t^2 (the squares only if `squared`), of 1, and
    of `formula`'s losses: a formula of rows with labels and softmax, summed into the label's class; an elementwise one with sigmoid; None for none.
    `factor` (bool, the shape without the classes, or, but for softmax and labels, the input's) says which items count.
    """

    link: Literal["softmax", "sigmoid", "identity"]
    kind: Literal["label", "number"]
    formula: Callable[..., Any] | None = None
    params: tuple[float, ...] = ()
    squared: bool = False
    ignore: int = -100
    dim: int = 1
    factor: Tensor | None = None

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        return () if self.factor is None else (self.factor,)

    def holding(self, tensors: Sequence[Tensor]) -> "Overlap":
        """As of `Call`."""
        return self._replace(factor=tensors[0] if tensors else None)


RANKED = ("loss", "target", "count")  # the last axis of what the ranked pattern gives


class Ranked(NamedTuple):
    """Lovasz extension of the Jaccard loss of each sample (`joint`: of the whole batch), class by class, ready to run on an `input` with its classes along
    `dim` and a `target`: (N or 1, C, 3), `RANKED`: the loss, how many items are of the class, how many count.

    Errors are 1 - p of items of the class and p of the others, p = softmax ("softmax") or the input ("identity"), or max(0, 1 - x), max(0, 1 + x) ("hinge").
    Which items are of the class is said by labels (`kind="label"`), or by a 0 or 1 for each number of the input (`kind="number"`). Sorted by falling error,
    equal ones in the order of the items, each error is multiplied by what its item adds to the Jaccard loss of those before it. That factor is piecewise
    constant, and a constant to derivatives; of an error of 0 it is 0. `ignore` and `factor` as of `Overlap`.
    """

    link: Literal["softmax", "hinge", "identity"]
    kind: Literal["label", "number"]
    joint: bool = False
    ignore: int = -100
    dim: int = 1
    factor: Tensor | None = None

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        return () if self.factor is None else (self.factor,)

    def holding(self, tensors: Sequence[Tensor]) -> "Ranked":
        """As of `Call`."""
        return self._replace(factor=tensors[0] if tensors else None)


class Beside(NamedTuple):
    """One loss of rows that adds up a number per class, ready to run on an `input` with its classes along `dim` and a `target` of the other dimensions, labels.

    `formula` takes (x_j, whether j is another class than the label y, x_y, *params), and returns the value and its derivatives. `factor` says which items count;
    those whose label is `ignore` do not.
    """

    formula: Callable[..., Any]
    params: tuple[float, ...]
    factor: Tensor  # bool, the target's shape
    ignore: int = -100
    dim: int = 1

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        return (self.factor,)

    def holding(self, tensors: Sequence[Tensor]) -> "Beside":
        """As of `Call`."""
        return self._replace(factor=tensors[0])


class Boxes(NamedTuple):
    """One loss of boxes, ready to run on an `input` and a `target` of one shape (..., 4), turned (..., 5), or in space (..., 6), a box each.

    `formula` takes the corners of both, (ax0, ay0, ax1, ay1, bx0, by0, bx1, by1, *params), and returns the value and its derivatives by the eight; in space
    there are twelve, (ax0, ay0, az0, ax1, ...). `form` is how boxes are written: corners, or corner or centre and size. Of turned boxes, centre, size and angle,
    the formula takes the five numbers of each. A box whose factor is 0 is absent.
    """

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    form: Literal["xyxy", "xywh", "cxcywh", "cxcywha"] = "xyxy"
    factor: Tensor | None = None  # the shape without the last axis

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        return () if self.factor is None else (self.factor,)

    def holding(self, tensors: Sequence[Tensor]) -> "Boxes":
        """As of `Call`."""
        return self._replace(factor=tensors[0] if tensors else None)


class Teacher(NamedTuple):
    """A target that is made with the scores: softmax((input @ weight^T + bias) / temperature) of other factors. No gradient goes to them."""

    factors: tuple[Tensor, ...]  # the first holds a row per item
    temperature: float


class Alike(NamedTuple):
    """A target that is made with the scores: which items and classes belong together, as bool; `shares`: as numbers that sum to 1 for each item.

    The factors are a label per item and one per class, equal for those that do; or one of bool, (items, classes).
    """

    factors: tuple[Tensor, ...]
    shares: bool


class Product(NamedTuple):
    """One loss of scores that are never whole: `loss`, a call of the pattern `pattern`, on input @ weight^T + bias in place of its first operand.

    The operands are (input, weight, bias), or without one (input, weight), and then those of `loss` but the first. `chunk` says how many items are made scores of at a
    time; None leaves it to the engine. `exact`: in half precision, sums over chunks are made in float32. `made` makes the loss's target, which then is an empty tensor.
    `without` leaves classes out of an item's scores, which are -inf there: one place per item, or bool, (items, classes). `summed` adds up the losses of an item's
    scores, where they are of elements. Each class of the loss has so many `centers`, classes of the weight next to each other, of whose scores the largest counts.
    """

    pattern: Literal["elementwise", "rows", "distributions"]
    loss: Call | Rows | Distributions
    biased: bool = False
    chunk: int | None = None
    exact: bool = True
    made: Teacher | Alike | None = None
    without: Tensor | None = None
    summed: bool = False
    centers: int = 1

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        own = () if self.without is None else (self.without,)
        return (*own, *self.loss.tensors()) if self.made is None else (*own, *self.made.factors, *self.loss.tensors())

    def holding(self, tensors: Sequence[Tensor]) -> "Product":
        """As of `Call`."""
        call, rest = self, tuple(tensors)
        if self.without is not None:
            call, rest = call._replace(without=rest[0]), rest[1:]
        if self.made is not None:
            count = len(self.made.factors)
            call, rest = call._replace(made=self.made._replace(factors=rest[:count])), rest[count:]
        return call._replace(loss=self.loss.holding(rest))


class Census(NamedTuple):
    """The weights of the items that count, summed; how many items count; how many of them have a label that is no class."""

    weight: float
    items: int
    wrong: int


class Results(NamedTuple):
    """What a run gives; None where it was not asked for. `total` is the scaled sum of the losses, `gradients` one per operand, each of its operand's shape and dtype.

    By-products of rows: the log-sum-exp of each item, and whether its label is the first class with the largest score; or what a `Look` has `seen`.
    """

    total: Tensor | None
    value: Tensor | None
    gradients: tuple[Tensor | None, ...] = ()
    lse: Tensor | None = None
    right: Tensor | None = None
    seen: tuple[Tensor, ...] | None = None


Losses = Callable[[Literal["rows", "distributions"], Any, tuple[Tensor, ...]], Tensor]  # a pass over scores: pattern, call, operands; the loss of each item


class Look(Protocol):
    """What sees the scores of a pass before they are lost.

    A fused engine that makes scores in chunks has it see a chunk before it computes that chunk's losses, which may read what it has written to an operand. In all other
    passes, those of PyTorch operations and those over scores that are whole, it sees them after the losses: there it must change nothing.
    """

    def seen(self, losses: Losses, call: Rows, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Of the engine's passes, the call and its operands, tensors with a row for each item."""
        ...

    def like(self, losses: Tensor) -> tuple[Tensor, ...]:
        """What they look like, for items with these losses."""
        ...

    def kept(self, seen: tuple[Tensor, ...]) -> None:
        """Told of all items what was seen, before the operands are kept for a backward."""
        ...


class Looked(NamedTuple):
    """The losses of a product, one per item, and what sees its scores."""

    product: Product
    look: Look

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        return self.product.tensors()


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype a loss is computed and returned in: float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype is torch.float64 else torch.float32


REAL_OF = {dtype: real_dtype(dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)}  # the same, for what a small call does often


def sum_to(gradient: Tensor, operand: Tensor) -> Tensor:
    """The gradient of an operand that serves several items, from one per item: their sum, in float64 where the device has it, rounded once."""
    lead = gradient.dim() - operand.dim()
    dims = [*range(lead), *(lead + d for d, size in enumerate(operand.shape) if size != gradient.shape[lead + d])]
    exact = torch.float32 if gradient.device.type == "mps" else torch.float64
    return gradient.sum(dims, keepdim=True, dtype=exact).reshape(operand.shape).to(operand.dtype) if dims else gradient.to(operand.dtype)
