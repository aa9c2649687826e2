"""Each rank's rows beside the columns of all ranks, one rank's block of columns at a time.

In step s each rank gives its own block to the rank s places on, and takes that of the rank s places back; what becomes of a block goes back the same way. So a rank holds
one block of others at most, and every send meets a receive of the same step. A softmax takes two rounds, the first for its sum over all blocks, the second for the
gradients; where each pair is by itself, one round gives both. What the ranks add to one number is put together in the order of the ranks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from losskit.contract import products, reduce
from losskit.engines import dispatch, fused, laid
from losskit.engines.call import Alike, Call, Distributions, Results, Rows
from losskit.engines.chunks import exact_dtype
from losskit.engines.dispatch import EngineName
from losskit.engines.language import exp, expm1, where
from losskit.engines.protocol import ENGINES

Block = tuple[Tensor, ...]  # tensors with as many lines as the rank has columns


class Ring(NamedTuple):
    """Where this rank stands in its group, and how many columns each rank has."""

    group: ProcessGroup
    rank: int
    columns: tuple[int, ...]

    def exchanged(self, given: Block, there: int, back: int, count: int) -> Block:
        """`given` goes to the rank `there`; from the rank `back` comes the like, of `count` lines."""
        found = tuple(x.new_empty((count, *x.shape[1:])) for x in given)
        peers = (distributed.get_global_rank(self.group, rank) for rank in (there, back))
        sides = zip(peers, (distributed.isend, distributed.irecv), ([x.contiguous() for x in given], found), strict=True)
        steps = [distributed.P2POp(step, x, peer, self.group) for peer, step, tensors in sides for x in tensors if x.numel()]
        for waiting in distributed.batch_isend_irecv(steps) if steps else ():
            waiting.wait()
        return found

    def round(self, own: Block, work: Callable[[int, Block], Block], keep: Callable[[int, Block], None]) -> None:
        """`work` on each rank's block; what it makes of a block is kept by the rank whose block it is, beside the number of the rank that made it."""
        keep(self.rank, work(self.rank, own))
        world = len(self.columns)
        for step in range(1, world):
            there, back = (self.rank + step) % world, (self.rank - step) % world
            made = work(back, self.exchanged(own, there, back, self.columns[back]))
            keep(there, self.exchanged(made, back, there, self.columns[self.rank]))
            del made


class Kinds(NamedTuple):
    """Which rows and columns belong together, and which columns are no candidates of a row. Columns are known by their places among those of all ranks."""

    own: Tensor  # the place of each row
    codes: Tensor | None  # for each place, equal for those that belong together: the place itself, unless they are given
    pairs: Tensor | None  # or bool, for each row with each place
    exclude: Tensor | None  # likewise, who is no candidate
    itself: Tensor | None  # where each row stands among this rank's columns, if it is no candidate of itself
    total: int

    @property
    def at_home(self) -> bool:
        """Whether a row and a column that belong together are of one rank."""
        return self.codes is None and self.pairs is None

    def alike(self, places: Tensor, turned: bool = False) -> Alike:
        """Of the rows with the columns of these places, or `turned`, of these with the rows."""
        if self.pairs is not None:
            return Alike((self.pairs[:, places],), shares=True)
        sides = tuple(x if self.codes is None else self.codes[x] for x in (self.own, places))
        return Alike(sides[::-1] if turned else sides, shares=True)

    def alike_count(self, places: Tensor, here: bool) -> Tensor:
        """How many of these columns belong to each row."""
        if self.pairs is not None:
            return self.pairs[:, places].sum(1)
        own, codes = self.alike(places).factors
        return torch.bincount(codes, minlength=self.total + 1)[own] - int(here and self.itself is not None)

    def without(self, places: Tensor, here: bool) -> Tensor | None:
        """Which of these columns are no candidates: bool for each row with each, or a place for each row."""
        own = self.itself if here else None
        if self.exclude is None:
            return own
        out = self.exclude[:, places]
        return out if own is None else out.scatter(1, own[:, None], True)


def toward(s, t, own, row, share, by, scale):  # type: ignore[no-untyped-def]
    """What a score adds to the loss of its row, by the score over the scale and by the scale: `row` is the loss, `own` the mean score of those alike, `share` one over
    how many. What scores have in common is in none of their distances to the own ones.
    """
    beyond = s - own
    p = exp(scale * beyond - row)
    away = where(t > 0.5, expm1(where(share == 1.0, -row, scale * beyond - row)) + (1.0 - share), p)
    return by * away, where(p == 0.0, 0.0, by * p * beyond)


def of_rows(s, t, own, row, share, by, scale):  # type: ignore[no-untyped-def]
    """A formula for its derivatives: those of a softmax of each row."""
    pull, by_scale = toward(s, t, own, row, share, by, scale)  # type: ignore[no-untyped-call]
    return 0.0 * t, pull, 0.0 * t, 0.0 * t, 0.0 * t, 0.0 * t, 0.0 * t, by_scale


def of_both(s, t, own, row, share, by, own_column, column, by_column, scale):  # type: ignore[no-untyped-def]
    """The same of a softmax of each row and of each column, of one partner each."""
    pull, by_scale = toward(s, t, own, row, share, by, scale)  # type: ignore[no-untyped-call]
    lift, more = toward(s, t, own_column, column, share, by_column, scale)  # type: ignore[no-untyped-call]
    return 0.0 * t, pull + lift, 0.0 * t, 0.0 * t, 0.0 * t, 0.0 * t, 0.0 * t, 0.0 * t, 0.0 * t, 0.0 * t, by_scale + more


class Derived(NamedTuple):
    """A pass over scores that is after the derivatives of an elementwise formula, or after the losses of `each` row, its elements' added up."""

    engine: EngineName
    formula: Callable[..., Any]
    wants: tuple[bool, ...]  # of rows, columns, and each of the numbers
    each: bool = False

    def run(self, rows: Tensor, columns: Tensor, alike: Alike, without: Tensor | None, beside: Block, numbers: Block, factors: Block = ()) -> Results:
        """The scores are of these rows with these columns; `beside` are numbers of rows and columns."""
        scores = products.of_sets(rows, columns, None, without, summed=True)
        target = products.target_of_sets(alike._replace(shares=False), scores, None)
        call, given = laid.product("elementwise", Call(self.formula, (), factors), (scores, target, *beside, *numbers))
        wanted = (*self.wants[:2], *(False,) * (1 + len(beside)), *self.wants[2:])
        if not ENGINES[self.engine].plain:
            return dispatch.pattern(self.engine, "products").run(call, given, each=self.each, wants=wanted)  # type: ignore[no-any-return]
        plain, given = reduce.PLAIN["products"], tuple(x.detach().requires_grad_(want) for x, want in zip(given, wanted, strict=True))
        value = plain.losses(call, *given).detach()
        return Results(value.sum(), value, plain.gradients(call, given, torch.ones_like(value), wanted) if any(wanted) else (None,) * len(given))


class Sums:
    """Gradients, added up over the blocks."""

    def __init__(self, wants: tuple[bool, ...], rows: Tensor, columns: Tensor, *numbers: Tensor) -> None:
        self.like, given = (rows, columns, *numbers), (*((y, y.dtype) for y in (rows, columns)), *((y, exact_dtype(y)) for y in numbers))
        self.totals = [torch.zeros_like(y, dtype=dtype) if wanted else None for (y, dtype), wanted in zip(given, wants, strict=True)]

    def add(self, found: Results | None, columns: Tensor) -> Block:
        """What a pass gives to rows and numbers; what it gives to the columns is handed on. Without a pass, there is nothing to add."""
        by_columns = torch.zeros_like(columns) if found is None else found.gradients[1]
        if found is not None:
            numbers = self.totals[2:]
            for total, by in zip((self.totals[0], *numbers), (found.gradients[0], *found.gradients[len(found.gradients) - len(numbers) :]), strict=True):
                if total is not None and by is not None:
                    total += by
        return () if self.totals[1] is None or by_columns is None else (by_columns,)

    def keep(self, _: int, of_columns: Block) -> None:
        """What a rank gives to this rank's columns."""
        total = self.totals[1]
        if total is not None:
            total += of_columns[0]

    def found(self, scale: float | Tensor) -> tuple[Tensor | None, ...]:
        """All of them, the first two times `scale`."""
        for total in self.totals[:2]:
            if total is not None:
                total *= scale
        return tuple(total if total is None else total.to(y.dtype) for total, y in zip(self.totals, self.like, strict=True))


class Softmax(NamedTuple):
    """A loss of each row's softmax over all columns, and with `both`, of each column's over all rows: their mean. The number beside them is the scale of the scores."""

    ranks: Ring
    engine: EngineName
    kinds: Kinds
    places: Tensor  # of this rank's columns
    soft: Callable[..., Any]  # cross-entropy of a distribution, a formula
    both: bool
    wants: tuple[bool, ...]

    def run(self, by: Tensor | None, kept: Block, rows: Tensor, columns: Tensor, *numbers: Tensor) -> tuple[Tensor, Block, tuple[Tensor | None, ...]]:
        """The loss of each row, times `by` if that is given, what the gradients need, and those; `kept` if it is known already."""
        kept = kept or self.first(rows, columns, *numbers)
        losses = 0.5 * (kept[0] + kept[3]) if self.both else kept[0]
        gradients = self.second(by, kept, rows, columns, *numbers) if by is not None and any(self.wants) else ()
        return losses if by is None else losses * by, kept, gradients

    def first(self, rows: Tensor, columns: Tensor, scale: Tensor) -> Block:
        """Each row's loss, the mean score of those alike, and one over how many; with `both` the first two of each column, too."""
        temperature, world, home = scale.reciprocal(), len(self.ranks.columns), self.ranks.rank
        found: list[Any] = [None] * world
        of_columns: list[Any] = [None] * world

        def work(rank: int, block: Block) -> Block:
            there, places = block
            some = rank == home or not self.kinds.at_home
            alike, turned = (self.kinds.alike(places, turned) if some else None for turned in (False, True))
            out = self.kinds.without(places, rank == home)
            found[rank] = (*self.alone(rows, there, temperature, alike, out), self.kinds.alike_count(places, rank == home))
            return self.alone(there, rows, temperature, turned, None if out is None else out.t()) if self.both else ()

        def keep(rank: int, made: Block) -> None:
            of_columns[rank] = (*made, torch.full_like(self.places, int(rank == home))) if made else None

        self.ranks.round((columns, self.places), work, keep)
        loss, level, count = merged(found)
        kept = (loss.to(rows.dtype), (temperature * (level - loss)).to(rows.dtype), count.to(rows.dtype).reciprocal())
        if not self.both:
            return kept
        loss, level, _ = merged(of_columns)
        return (*kept, loss.to(rows.dtype), (temperature * (level - loss)).to(rows.dtype))

    def alone(self, rows: Tensor, columns: Tensor, temperature: Tensor, alike: Alike | None, without: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of the softmax over these columns alone: the mean loss of those alike, None if there are none, and the log-sum-exp."""
        real = exact_dtype(rows)
        if not len(rows) or not len(columns):
            return rows.new_zeros(len(rows), dtype=real), rows.new_full((len(rows),), -torch.inf, dtype=real)
        scores = products.of_sets(rows, columns, None, without)
        if alike is None:
            first, rows_call = torch.zeros(len(rows), dtype=torch.long, device=rows.device), Rows(lse_alone, dim=1, tempered=True)
            found = reduce.run("rows", self.engine, rows_call, (scores, first, temperature), None, {"by_products": True}, True)[1]
        else:
            operands, call = (scores, products.target_of_sets(alike, scores, without), temperature), Distributions(self.soft, (1.0, 0.0), dim=1, tempered=True)
            found = reduce.run("distributions", self.engine, call, operands, None, {"by_products": True}, True)[1]
        assert found is not None and found.value is not None and found.lse is not None
        if without is None:
            return found.value.to(real), found.lse.to(real)
        nobody = without.all(1) if without.dtype is torch.bool else torch.full_like(without, len(columns) == 1, dtype=torch.bool)
        return found.value.to(real), torch.where(nobody, -torch.inf, found.lse.to(real))

    def second(self, by: Tensor, kept: Block, rows: Tensor, columns: Tensor, *numbers: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the losses times `by`."""
        half = 0.5 * by if self.both else by
        lines = tuple(y[:, None] for y in (kept[1], kept[0], kept[2], half))
        derived, sums = Derived(self.engine, of_both if self.both else of_rows, self.wants), Sums(self.wants, rows, columns, *numbers)

        def work(rank: int, block: Block) -> Block:
            there, places, *others = block
            if not len(rows) or not len(there):
                return sums.add(None, there)
            out = self.kinds.without(places, rank == self.ranks.rank)
            return sums.add(derived.run(rows, there, self.kinds.alike(places), out, (*lines, *others), numbers), there)

        self.ranks.round((columns, self.places, *((kept[4], kept[3], half) if self.both else ())), work, sums.keep)
        return sums.found(numbers[0])


def lse_alone(nll, hit, miss, spread, lse, weight):  # type: ignore[no-untyped-def]
    """A loss of nothing, of a pass that is after the log-sum-exp."""
    return 0.0 * hit, 0.0 * hit, 0.0 * hit, 0.0 * hit


def merged(found: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Of parts of a softmax, one a rank: the loss, which is the mean over those alike, the log-sum-exp, and how many are alike. Nothing is subtracted from what holds it."""
    value, lse, count = (torch.stack(parts) for parts in zip(*found, strict=True))
    nothing = torch.full_like(lse[:1], -torch.inf)
    before, after = torch.cat((nothing, lse[:-1].logcumsumexp(0))), torch.cat((lse[1:].flip(0).logcumsumexp(0).flip(0), nothing))
    below = torch.logaddexp(torch.logaddexp(before, after) - lse, torch.zeros_like(lse))  # how far each part lies below all
    count = count.to(lse.dtype)  # a quotient of whole numbers is float32
    total = count.sum(0)
    loss = torch.where(count == 0, 0.0, (value + below) * (count / total)).sum(0)
    return loss, lse.logsumexp(0), total


class Elements(NamedTuple):
    """An elementwise loss of each score, added up for each row. The first of the numbers beside them is the scale of the scores."""

    ranks: Ring
    engine: EngineName
    kinds: Kinds
    places: Tensor
    formula: Callable[..., Any]
    wants: tuple[bool, ...]

    def run(self, by: Tensor | None, kept: Block, rows: Tensor, columns: Tensor, *numbers: Tensor) -> tuple[Tensor, Block, tuple[Tensor | None, ...]]:
        """As of `Softmax`, but with `by` the losses of all rows as one; the gradients need nothing."""
        wants = self.wants if by is not None else (False,) * len(self.wants)
        derived, sums = Derived(self.engine, self.formula, wants, by is None), Sums(wants, rows, columns, *numbers)
        each = rows.new_zeros(len(rows) if by is None else 1)

        def work(rank: int, block: Block) -> Block:
            there, places = block
            if not len(rows) or not len(there):
                return sums.add(None, there)
            out = self.kinds.without(places, rank == self.ranks.rank)
            factors = (*(() if out is None else (~out,)), *(() if by is None else (by[:, None],)))
            found = derived.run(rows, there, self.kinds.alike(places), None, (), numbers, factors)
            value = found.value if by is None else found.total
            assert value is not None
            each.add_(value)
            return sums.add(found, there)

        self.ranks.round((columns, self.places), work, sums.keep)
        return each, (), sums.found(1.0) if any(wants) else ()


class Compared(torch.autograd.Function):
    """The losses of this rank's rows; or their sum, each times `by`, with the gradients from the same rounds, so that the backward has nothing to exchange."""

    @staticmethod
    def forward(ctx: Any, how: Softmax | Elements, by: Tensor | None, *given: Tensor) -> Tensor:
        each, kept, ctx.gradients = how.run(by, (), *given)
        ctx.how, ctx.given = how, len(given)
        if by is None:
            ctx.save_for_backward(*given, *kept)
            return each
        return each.sum(dtype=exact_dtype(each)).to(each.dtype)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        if fused.must_be_watched(incoming):
            raise RuntimeError(
                "second derivatives and batches of gradients cannot be had with process_group, for they would need those of the other ranks: leave create_graph out"
            )
        if ctx.gradients:
            found = tuple(g if g is None else g * incoming for g in ctx.gradients)
        else:
            saved = ctx.saved_tensors
            found = ctx.how.run(incoming, saved[ctx.given :], *saved[: ctx.given])[2]
        return None, None, *(g if wanted else None for g, wanted in zip(found, ctx.needs_input_grad[2:], strict=True))


def losses(how: Softmax | Elements, by: Tensor | None, *given: Tensor) -> Tensor:
    """The losses of this rank's rows, or with `by` their weighted sum."""
    return Compared.apply(how, by, *given)  # type: ignore[no-any-return, no-untyped-call]
