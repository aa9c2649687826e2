"""Cross-entropy of both sides of a product: of each row and of each column of its scores, item i of one side belonging to item i of the other. They are never whole.

The columns' sums are known only when all rows have been seen, and the gradients of both sides need them. So there are two passes over chunks of rows: the first leaves
a loss and a log-sum-exp per row and per column, the second makes the scores again. Floor: four products, where a loss of one side takes three.

The column's sum is of the other scores alone, so a sure item keeps its digits there as it does in a row.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines import dispatch, fused, operators, private
from losskit.engines.call import Call, Rows
from losskit.engines.chunks import Weight, exact_dtype, filled_up
from losskit.engines.dispatch import EngineName
from losskit.engines.laid import items_of_chunk
from losskit.engines.language import exp, where
from losskit.engines.protocol import ENGINES
from losskit.engines.scores import linear
from losskit.engines.torch import rows as plain_rows

LINES = 256  # of a chunk, that columns are read of at a time: as classes far apart in memory, of which an engine has a loop for few


class Both(NamedTuple):
    """What is compared, beside the vectors: `formula` of rows is the loss, `counts` says which items do, `without` which of the second side are no candidates."""

    formula: Callable[..., Any]
    engine: EngineName
    counts: Tensor | None
    without: Tensor | None

    def tensors(self) -> tuple[Tensor, ...]:
        """As of every call."""
        return tuple([x for x in (self.counts, self.without) if x is not None])

    def masked(self, scores: Tensor, begin: int) -> Tensor:
        """Scores of some rows, those of whoever is no candidate ruled out."""
        part = slice(begin, begin + len(scores))
        if self.counts is not None:
            scores = scores.masked_fill(~(self.counts & self.counts[part, None]), -torch.inf)
        return scores if self.without is None else scores.masked_fill(self.without[part], -torch.inf)


class Kept(NamedTuple):
    """What the second pass takes from the first, a number per item: the own scores, and the losses of rows and of columns."""

    own: Tensor
    by_row: Tensor
    by_column: Tensor


def nothing(far, hit, miss, spread, lse, weight):  # type: ignore[no-untyped-def]
    """The loss of a pass that is after the log-sum-exp."""
    return 0.0 * far, 0.0, 0.0, 0.0


def pull(s, own_row, row, by_row, own_column, column, by_column, scale):  # type: ignore[no-untyped-def]
    """What the scores of two add to both losses, by the score over the scale: its share of the row's softmax and of the column's; and by the scale. `row` and `column`
    are the losses. What scores have in common is in none of their distances to the own ones.
    """
    above, beside = s - own_row, s - own_column
    p, q = by_row * exp(scale * above - row), by_column * exp(scale * beside - column)
    by_scale = where(p == 0.0, 0.0, p * above) + where(q == 0.0, 0.0, q * beside)
    return 0.0 * s, p + q, 0.0 * s, 0.0 * s, 0.0 * s, 0.0 * s, 0.0 * s, 0.0 * s, by_scale


def plain(both: Both, a: Tensor, b: Tensor, temperature: Tensor) -> Tensor:
    """The losses in PyTorch operations, of whole scores."""
    scores = both.masked(linear(a, b), 0)
    call = Rows(both.formula, dim=1, factor=both.counts, tempered=True)
    own = torch.arange(len(a), dtype=torch.long, device=a.device)
    return 0.5 * (plain_rows.losses(call, scores, own, temperature) + plain_rows.losses(call, scores.t(), own, temperature))


def chunks(both: Both, a: Tensor, b: Tensor, own: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Rows, and their scores, in memory that is used again."""
    ways = dispatch.pattern(both.engine, "products").WAYS
    step = items_of_chunk(len(a), b, a.itemsize, ways.chunk, None)
    weight, memory = Weight(b, None, a.dtype, ways.block(a.dtype)), a.new_empty(0)
    for begin in range(0, len(a), step):
        part = a[begin : begin + step]
        rows = filled_up(part)
        if memory.shape != (len(rows), len(b)):
            memory = a.new_empty(len(rows), len(b))
        weight.scores(rows, memory)
        scores = both.masked(memory[: len(part)], begin)
        scores.diagonal(begin).copy_(own[begin : begin + len(part)])
        yield slice(begin, begin + len(part)), scores


def forward(both: Both, a: Tensor, b: Tensor, temperature: Tensor) -> Kept:
    """The first pass."""
    loops, exact = dispatch.pattern(both.engine, "rows"), exact_dtype(a)
    places = torch.arange(len(a), dtype=torch.long, device=a.device)
    first, finite = torch.zeros_like(places), a.isfinite().all() & b.isfinite().all()
    own, by_row = (a.to(exact) * b).sum(1).to(a.dtype), a.new_empty(len(a))
    rest = torch.full((len(a),), -torch.inf, dtype=exact, device=a.device)
    for part, scores in chunks(both, a, b, own):
        by_row[part] = loops.run(Rows(both.formula, dim=1, tempered=True), (scores, places[part], temperature), each=True).value
        scores.sub_(own).diagonal(part.start).fill_(-torch.inf)
        for some in scores.split(LINES):
            below = loops.run(Rows(nothing, dim=0, tempered=True), (some, first, temperature), each=True, by_products=True).lse
            rest = torch.logaddexp(rest, torch.where(below.isnan() & finite, -torch.inf, below))  # of a column of -inf alone it is NaN
    return Kept(own, by_row, torch.logaddexp(rest, torch.zeros_like(rest)).to(a.dtype))


def mean_of(kept: Kept) -> Tensor:
    """The loss of each item."""
    return 0.5 * (kept.by_row + kept.by_column)


def backward(
    both: Both, a: Tensor, b: Tensor, temperature: Tensor, kept: Kept, incoming: Tensor, wants: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The second pass: the gradients of both sides, and of the temperature, those that are wanted."""
    loops = dispatch.pattern(both.engine, "elementwise")
    half, (own, row, column), scale = 0.5 * incoming, kept, temperature.reciprocal()
    if both.counts is not None:
        own, half = (torch.where(both.counts, y, 0.0) for y in (own, half))
        row, column = (torch.where(both.counts, y, torch.inf) for y in (row, column))
    at_own = half * (torch.expm1(-row) + torch.expm1(-column))
    by_a, by_b = (make(x) if wanted else None for make, x, wanted in zip((torch.empty_like, torch.zeros_like), (a, b), wants[:2], strict=True))
    by_scale = torch.zeros((), dtype=exact_dtype(a), device=a.device)
    for part, scores in chunks(both, a, b, own):
        operands = (scores, own[part, None], row[part, None], half[part, None], own, column, half, scale)
        by, *_, more = loops.run(Call(pull), operands, wants=(True, *(False,) * 6, wants[2])).gradients
        by.diagonal(part.start).copy_(at_own[part])
        if by_a is not None:
            torch.mm(by, b, out=by_a[part])
        if by_b is not None:
            by_b.addmm_(by.t(), a[part])
        if wants[2]:
            by_scale += more
    by_a, by_b = (None if by is None else by.mul_(scale) for by in (by_a, by_b))
    return by_a, by_b, (-by_scale * scale * scale).to(a.dtype) if wants[2] else None


class Compared(torch.autograd.Function):
    """The mean of both sides' losses, per item."""

    @staticmethod
    def forward(ctx: Any, both: Both, a: Tensor, b: Tensor, temperature: Tensor) -> Tensor:
        kept = forward(both, a, b, temperature)
        ctx.both = both._replace(counts=None, without=None)  # autograd keeps them
        ctx.save_for_backward(a, b, temperature, both.counts, both.without, *kept)
        return mean_of(kept)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        a, b, temperature, counts, without, *kept = ctx.saved_tensors
        both, wants = ctx.both._replace(counts=counts, without=without), ctx.needs_input_grad[1:]
        if fused.must_be_watched(incoming):
            return None, *fused.of_sums(lambda *given: plain(both, *given), (a, b, temperature), incoming, wants)
        return None, *backward(both, a, b, temperature, Kept(*kept), incoming, wants)


compared = private.quick_apply(Compared)


def losses(both: Both, a: Tensor, b: Tensor, temperature: Tensor) -> Tensor:
    """One loss per item, the mean of its row's and its column's."""
    if not ENGINES[both.engine].plain:
        return compared(both, a, b, temperature)  # type: ignore[no-any-return]
    found = operators.values("both", both, (a, b, temperature), len(a) * len(b))
    return plain(both, a, b, temperature) if found is None else found[0]
