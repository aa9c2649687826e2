"""Losses of scores that are a product, the scores made some items at a time: what the engines share.

A chunk of scores, input @ weight^T + bias, goes through the pass of its pattern, which leaves its gradient, and two products carry that on to both factors. So the
gradients are made in the forward, and nothing of the size of all scores outlives a chunk. Floor: the three products. A thin product is a slow one, since the whole
weight is packed anew for each, so a chunk has at least `ITEMS` items however many classes there are; chunks over the classes would need the scores twice.

Absent items are left out before anything is multiplied. Where scores are made, rows are filled up to a multiple of `LINES`, and each row to a multiple of as many
numbers: a product of such matrices has the same bits in each of its rows, so an item has the same scores whatever batch it is in.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from losskit.engines.call import Look, Product, Results, Teacher, real_dtype, sum_to
from losskit.engines.laid import LINES, Laid, counting, items_of_chunk, laid, operands_of, part_of, taken
from losskit.engines.scores import largest, probabilities, together

COLUMNS = 1 << 11  # classes of a weight that is widened, a block at a time


class Sum(Protocol):
    """The weight's gradient, added up over the chunks."""

    def add(self, by_scores: Tensor, rows: Tensor, last: bool) -> None:
        """What a chunk adds: by_scores^T @ rows."""
        ...

    def result(self) -> Tensor:
        """The gradient, after the last chunk."""
        ...


class Ways(NamedTuple):
    """What engines differ in."""

    pattern: Callable[[str], ModuleType]  # the pass of another pattern
    multiplied: Callable[[torch.dtype], torch.dtype]  # in which dtype factors are multiplied
    sum: Callable[[Tensor, torch.dtype, bool], Sum]  # of the gradient of this weight, multiplied in this dtype; whether exact, over several chunks
    block: Callable[[torch.dtype], int]  # how many classes of the weight to multiply at a time, in this dtype
    chunk: tuple[int, int]  # bytes of a chunk of scores, at least and at most
    leaves_out: bool  # absent items, which takes a look at the numbers


class Weight:
    """The weight as it is multiplied, with its bias: as it is, or widened some classes at a time."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, block: int) -> None:
        self.weight, self.dtype, self.block = weight, dtype, block
        self.bias = bias if bias is None or bias.dtype is dtype else bias.to(dtype)

    def parts(self, step: int) -> Iterator[tuple[slice, Tensor]]:
        """Classes, and their rows of the weight."""
        if self.weight.shape[0] <= step:
            yield slice(None), self.weight if self.weight.dtype is self.dtype else self.weight.to(self.dtype)
            return
        for begin in range(0, self.weight.shape[0], step):
            part = slice(begin, begin + step)
            yield part, self.weight[part].to(self.dtype)

    def scores(self, rows: Tensor, out: Tensor) -> None:
        """rows @ weight^T + bias; the rows may be filled up with zeros."""
        more = rows.shape[1] - self.weight.shape[1]
        for part, weight in self.parts(min(self.block, COLUMNS) if more else self.block):
            weight = pad(weight, (0, more)) if more else weight
            if self.bias is None:
                torch.mm(rows, weight.t(), out=out[:, part])
            else:
                torch.addmm(self.bias[part], rows, weight.t(), out=out[:, part])

    def back(self, by_scores: Tensor, out: Tensor) -> None:
        """by_scores @ weight."""
        for number, (part, weight) in enumerate(self.parts(sys.maxsize if self.weight.dtype is self.dtype else COLUMNS)):
            if number:
                out.addmm_(by_scores[:, part], weight)
            else:
                torch.mm(by_scores[:, part], weight, out=out)


class Same:
    """A sum in the weight's own dtype, or a wider one."""

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        self.total = torch.empty_like(weight, dtype=dtype, memory_format=torch.contiguous_format)
        self.first = True

    def add(self, by_scores: Tensor, rows: Tensor, last: bool) -> None:
        """As of `Sum`."""
        if self.first:
            torch.mm(by_scores.t(), rows, out=self.total)
        else:
            self.total.addmm_(by_scores.t(), rows)
        self.first = False

    def result(self) -> Tensor:
        """As of `Sum`."""
        return self.total.zero_() if self.first else self.total


class Work:
    """What is made of a chunk of scores: results of the loss, and what they add to the gradients of both factors."""

    def __init__(self, ways: Ways, call: Product, given: Laid, rows: int, several: bool, wants: tuple[bool, ...], look: Look | None) -> None:
        self.ways, self.look = ways, look
        self.by_x, by_weight, by_bias, by_others = operands_of(call, wants)
        weight = given.weight
        self.dtype = ways.multiplied(weight.dtype)
        self.back = bool(self.by_x or by_weight or by_bias)
        self.wants = (self.back, *by_others) if self.back or any(by_others) else ()
        self.loops, self.inplace = ways.pattern(call.pattern), {"inplace": True} if self.back and call.pattern == "rows" else {}
        self.weight = Weight(weight, given.bias, self.dtype, ways.block(self.dtype))
        self.sum = ways.sum(weight, self.dtype, call.exact and several) if by_weight else None
        self.by_bias = torch.zeros(weight.shape[0], dtype=exact_dtype(weight), device=weight.device) if by_bias else None
        self.made, self.summed, self.centers = call.made, call.summed, call.centers
        self.teacher = (
            Weight(call.made.factors[1], (*call.made.factors, None)[2], self.dtype, ways.block(self.dtype)) if isinstance(call.made, Teacher) else None
        )
        self.scores = torch.empty((-(-rows // LINES) * LINES, weight.shape[0]), dtype=self.dtype, device=weight.device)

    def chunk(self, given: Laid, last: bool, options: dict[str, Any]) -> tuple[Results, Tensor | None]:
        """The loss on these rows, and their gradient."""
        count, others = given.items, given.others
        x = given.x if given.x.dtype is self.dtype else given.x.to(self.dtype)
        filled = -(-count // LINES) * LINES
        whole = self.scores if filled == self.scores.shape[0] else self.scores[:filled]
        self.weight.scores(filled_up(x), whole)
        scores = whole if count == filled else whole[:count]
        if given.without is not None and given.without.dtype is torch.bool:
            scores.masked_fill_(given.without, -torch.inf)
        elif given.without is not None:
            scores.scatter_(1, given.without[:, None].long(), -torch.inf)
        scores, place = largest(scores, self.centers)
        if self.made is not None:
            others = (self.target(others[0], given.without), *others[1:])
        seen = () if self.look is None else self.look.seen(self.losses, given.loss, (scores, *others))  # type: ignore[arg-type]
        found = self.loops.run(given.loss, (scores, *others), wants=self.wants, **self.inplace, **options)
        found = found._replace(seen=seen) if seen else found
        if self.summed and found.value is not None:
            found = found._replace(value=found.value.sum(1))
        by_x = None
        if self.back:
            by_scores = found.gradients[0]
            if place is not None:
                by_scores = whole[:count].zero_().unflatten(1, (-1, self.centers)).scatter_(2, place, by_scores.unsqueeze(2)).flatten(1)
            if self.by_x:
                by_x = torch.empty_like(x)
                self.weight.back(by_scores, by_x)
            if self.sum is not None:
                self.sum.add(by_scores, x, last)
            if self.by_bias is not None:
                self.by_bias += by_scores.sum(0, dtype=real_dtype(self.dtype))
        return found, by_x

    def losses(self, pattern: str, call: Any, operands: tuple[Tensor, ...]) -> Tensor:
        """Another pass over the scores."""
        value: Tensor = self.ways.pattern(pattern).run(call, operands, each=True).value
        return value

    def target(self, rows: Tensor, without: Tensor | None) -> Tensor:
        """What is made of rows: the teacher's probabilities, or which belong together."""
        if not isinstance(self.made, Teacher):
            assert self.made is not None
            return together(self.made, rows, real_dtype(self.dtype), without)
        assert self.teacher is not None
        filled = filled_up(rows.to(self.dtype))
        scores = torch.empty((filled.shape[0], self.teacher.weight.shape[0]), dtype=self.dtype, device=rows.device)
        self.teacher.scores(filled, scores)
        return probabilities(scores[: rows.shape[0]], self.made.temperature)


def filled_up(x: Tensor) -> Tensor:
    """Rows and numbers of a row in multiples of LINES, the rest zeros."""
    rows, numbers = (-size % LINES for size in x.shape)
    return pad(x, (0, numbers, 0, rows)) if rows or numbers else x


def exact_dtype(x: Tensor) -> torch.dtype:
    """float64, where the device has it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def narrow(x: Tensor) -> torch.dtype:
    """In which dtype the gradient of a factor is given: float16 must be multiplied before it is rounded."""
    return torch.float32 if x.dtype is torch.float16 else x.dtype


def counted(ways: Ways, given: Laid, scale: float | Tensor) -> tuple[Laid, Tensor | None]:
    """The items that count, None for all of them; where the engine does not look, what absent ones hold is made harmless."""
    if isinstance(scale, float) and scale == 0.0:
        return given, torch.empty(0, dtype=torch.long, device=given.x.device)  # nothing counts
    counts = counting(given)
    if counts is None:
        return given, None
    if not ways.leaves_out:
        return given._replace(x=torch.where(counts[:, None], given.x, 0.0)), None
    return given, None if counts.all() else counts.nonzero().squeeze(1)


def run(
    ways: Ways,
    call: Product,
    operands: tuple[Tensor, ...],
    *,
    scale: float | Tensor = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    wants: tuple[bool, ...] = (),
    by_products: bool = False,
    look: Look | None = None,
) -> Results:
    """As every engine's `run`: a chunk at a time. Gradients of float16 are given in float32; autograd rounds them when it has multiplied them."""
    given, where = counted(ways, laid(call, operands), scale)
    wants = wants or (False,) * len(operands)
    items, wide = given.items if where is None else where.numel(), call.pattern == "elementwise" and not call.summed
    rows = items_of_chunk(items, given.weight, ways.multiplied(given.weight.dtype).itemsize, ways.chunk, call.chunk)
    options: dict[str, Any] = {"scale": scale, "each": each} | ({"by_products": True} if by_products else {})
    if incoming is not None:
        incoming = incoming.expand(scores_shape(given, wide))
        incoming = incoming.reshape(-1, incoming.shape[-1]) if wide else incoming.reshape(-1)
        incoming = incoming[:, None].expand(-1, given.weight.shape[0]) if call.summed else incoming
    work = Work(ways, call, given, rows, items > rows, wants, look)
    if where is None and items <= rows:
        found, by_x = work.chunk(given, True, options if incoming is None else options | {"incoming": incoming})
    else:
        whole = Whole(given, call, wants, each or by_products, by_products)
        for begin in range(0, max(items, int(look is not None)), rows):  # who looks gives tensors of no items, too
            place = slice(begin, begin + rows) if where is None else where[begin : begin + rows]
            own = options if incoming is None else options | {"incoming": taken(place, incoming)}
            whole.add(place, *work.chunk(part_of(given, partial(taken, place)), begin + rows >= items, own))
        found, by_x = whole.found()
    by_factors: list[Tensor | None] = [None if by_x is None else in_shape(by_x, operands[0].shape), None if work.sum is None else work.sum.result()]
    if call.biased:
        by_factors.append(None if work.by_bias is None else work.by_bias.to(narrow(given.weight)))
    by_others = (
        of_operand(by, y, given, of_item)
        for by, y, of_item in zip(found.gradients[1:] or (None,) * len(given.others), operands[2 + call.biased :], given.by_item, strict=True)
    )
    if each or by_products:
        value, lse, right = (None if y is None else in_shape(y, scores_shape(given, wide)) for y in (found.value, found.lse, found.right))
        found = found._replace(value=value, lse=lse, right=right)
    seen = None if found.seen is None else tuple([in_shape(y, torch.Size((*given.shape, *y.shape[1:]))) for y in found.seen])
    if look is not None and seen is not None:
        look.kept(seen)
    return found._replace(gradients=(*by_factors, *by_others), seen=seen)


def scores_shape(given: Laid, wide: bool) -> torch.Size:
    """Of the unreduced loss."""
    return torch.Size((*given.shape, given.weight.shape[0])) if wide else given.shape


def in_shape(x: Tensor, shape: torch.Size) -> Tensor:
    """A view takes a microsecond, and most need none."""
    return x if x.shape == shape else x.reshape(shape)


def of_operand(by: Tensor | None, y: Tensor, given: Laid, of_item: bool) -> Tensor | None:
    """The gradient of one of the loss's other operands, in its shape and dtype."""
    if by is None:
        return None
    by = by.reshape(*given.shape, *by.shape[1:]) if of_item else by
    return (by.reshape(y.shape) if by.numel() == y.numel() else sum_to(by, y)).to(y.dtype)


class Whole:
    """What the chunks give, put together."""

    def __init__(self, given: Laid, call: Product, wants: tuple[bool, ...], each: bool, by_products: bool) -> None:
        by_x, _, _, by_others = operands_of(call, wants)
        self.given, real, device = given, real_dtype(given.weight.dtype), given.x.device
        shape = (given.items, *given.weight.shape[:1]) if call.pattern == "elementwise" and not call.summed else (given.items,)
        self.real = real
        self.total = torch.zeros((), dtype=exact_dtype(given.x), device=device)
        self.value = torch.zeros(shape, dtype=real, device=device) if each else None
        self.lse = torch.zeros(shape, dtype=real, device=device) if by_products else None
        self.right = torch.zeros(shape, dtype=torch.bool, device=device) if by_products and call.pattern == "rows" else None
        self.by_x = torch.zeros(given.x.shape, dtype=narrow(given.x), device=device) if by_x else None
        self.seen: tuple[Tensor, ...] = ()
        self.by_others: list[Tensor | None] = [None] * len(given.others)
        for k, wanted in enumerate(by_others):
            if wanted:
                y = given.others[k]
                self.by_others[k] = torch.zeros(y.shape, dtype=real_dtype(y.dtype) if given.by_item[k] else exact_dtype(y), device=device)

    def add(self, place: slice | Tensor, found: Results, by_x: Tensor | None) -> None:
        """A chunk of these items."""
        if found.total is not None:
            self.total += found.total
        for whole, part in ((self.value, found.value), (self.lse, found.lse), (self.right, found.right), (self.by_x, by_x)):
            if whole is not None and part is not None:
                whole[place] = part.to(whole.dtype)
        self.seen = self.seen or tuple([y.new_zeros((self.given.items, *y.shape[1:])) for y in found.seen or ()])
        for whole, part in zip(self.seen, found.seen or (), strict=True):
            whole[place] = part
        for k, by in enumerate(self.by_others):
            part = found.gradients[1 + k] if by is not None else None
            if by is not None and part is not None and self.given.by_item[k]:
                by[place] = part.to(by.dtype)
            elif by is not None and part is not None:
                by += part

    def found(self) -> tuple[Results, Tensor | None]:
        """As of one chunk."""
        return Results(self.total.to(self.real), self.value, (None, *self.by_others), self.lse, self.right, self.seen or None), self.by_x


def rescaled(
    ways: Ways,
    given: list[Tensor | None] | None,
    incoming: Tensor,
    call: Product,
    operands: tuple[Tensor, ...],
    scale: float | Tensor,
    wants: tuple[bool, ...],
) -> tuple[Tensor | None, ...]:
    """As every engine's: multiplied in place, for to make them again is to make the products again. A bfloat16 number is rounded once more, unless what comes in is a
    power of 2.
    """
    if given is None:
        given = list(run(ways, call, operands, scale=scale, wants=wants).gradients)
    for g in given:
        if g is not None:
            g.mul_(incoming) if not incoming.is_cpu or incoming.item() else g.zero_()
    return tuple(given)
