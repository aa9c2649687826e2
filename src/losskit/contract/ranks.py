"""The contract for contrastive losses whose batch is spread over the ranks of a group: each rank holds its own items, and the loss is that of all.

First the ranks tell each other what they hold: sizes, settings, and whether one has refused its input. What does not go together is then raised on all of them, so that
nobody waits. From there on every rank takes the same steps, whatever its numbers are. Absent items are left out before anything is sent.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from losskit.contract import blocks, checks, contrasts, groups, reduce
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.topk import Shares
from losskit.contract.vectors import Vectors
from losskit.engines import dispatch
from losskit.engines.chunks import exact_dtype

Sides = Literal["rows", "both", "views", "labels", "elements"]  # what is compared: see `over_ranks`
NONE = -1.0


class Told(NamedTuple):
    """What a rank tells the others first: whether it refuses its input; how many items it has, how many of them count, how many negatives; how many columns its
    `exclude` has and how many its positives; whether rows, columns and numbers want a gradient; and its settings.
    """

    refuses: float = 1.0
    items: float = 0.0
    counting: float = 0.0
    negatives: float = 0.0
    exclude: float = NONE
    positives: float = NONE
    by_rows: float = 0.0
    by_columns: float = 0.0
    by_numbers: float = 0.0
    width: float = 0.0
    double: float = 0.0
    reduction: float = 0.0
    normalizer: float = NONE
    weights: float = 0.0
    kind: float = 0.0
    first: float = 0.0
    second: float = 0.0


class Spread(NamedTuple):
    """A contrastive loss of a batch over ranks: its arguments, looked at on this rank alone, and what is compared.

    "rows": each vector of the first side with all of the second, "both": and likewise the other way round; "views": each of both sides with all others, "labels": each
    with all others, of one side. These are softmaxes, and `formula` is the cross-entropy of a distribution. "elements": each pair by itself, and `formula` is its loss.
    """

    sides: Sides
    formula: Any
    given: Vectors
    name: str  # of the first vectors
    numbers: Mapping[str, Tensor]  # the first is the scale of the scores, or a temperature
    normalizer: Normalizer | None
    reduction: Reduction
    negatives: Tensor | None = None
    exclude: Tensor | None = None
    labels: Tensor | None = None

    @property
    def named(self) -> bool:
        """Whether labels are bool, for each with each."""
        return self.labels is not None and self.labels.dim() == 2

    def operands(self) -> tuple[Tensor, ...]:
        """The numbers, a scale first."""
        return tuple(y.reciprocal() if name == "temperature" else y for name, y in self.numbers.items())

    def each(self) -> bool:
        """Whether each item's loss is wanted by itself."""
        return self.reduction == "none" or reduce.needs_gradient(self.given.factor)

    def told(self) -> Told:
        """What this rank tells; refused is what cannot be had over ranks."""
        given, x = self.given, self.given.vectors[0]
        if x.dim() != 2:
            raise ValueError(f"{self.name} must be one batch, shape (N, D), beside process_group, got shape {checks.shown(x.shape)}: give one batch at a time")
        if isinstance(self.normalizer, groups.Ranks):
            raise TypeError(
                "normalizer must be a number or a 0-d tensor beside process_group, got losskit.Ranks: the count is that of all ranks, leave normalizer out"
            )
        why = dispatch.watched() or dispatch.unreadable(*given.vectors, *self.numbers.values())
        if why is not None:
            raise RuntimeError(f"process_group takes plain tensors, outside of transforms, and here {why}: gather the batch first, and leave process_group out")
        wants = [any(map(reduce.needs_gradient, some)) for some in (given.vectors[:1], (*given.vectors[-1:], self.negatives), self.numbers.values())]
        if self.sides == "views":  # rows and columns are both of them
            wants[:2] = [wants[0] or wants[1]] * 2
        counting = len(x) if given.counts is None else int(given.counts.sum())
        columns = [NONE if y is None else y.shape[1] for y in (self.exclude, self.labels if self.named else None)]
        normalizer = NONE if self.normalizer is None or isinstance(self.normalizer, Shares) else float(reduce.divisor(self.normalizer, x))
        kind = 0 if self.labels is None else 2 * self.named + self.labels.is_floating_point()
        settings = (x.shape[1], x.dtype is torch.float64, checks.REDUCTIONS.index(self.reduction), normalizer, reduce.needs_gradient(given.factor), kind)
        numbers = (*(float(y.detach()) for y in self.numbers.values()), 0.0)[:2]
        return Told._make((0.0, len(x), counting, 0 if self.negatives is None else len(self.negatives), *columns, *wants, *settings, *numbers))


def one_of(told: list[Told], spread: Spread) -> None:
    """Raised on all ranks is what one of them has refused, and what does not go together."""
    for rank, each in enumerate(told):
        if each.refuses:
            raise groups.Refused(f"rank {rank} of process_group has refused its input: see what it raises")
    first, *others = spread.numbers
    kinds = ("whole numbers", "floating point", "bool, for each with each")
    shown: dict[str, tuple[str, Any]] = {
        "width": (f"the vectors of {spread.name}", lambda x: f"of {x:g} numbers"),
        "double": (f"the dtype of {spread.name}", lambda x: "float64" if x else "float32 or narrower"),
        "reduction": ("reduction", lambda x: repr(checks.REDUCTIONS[int(x)])),
        "normalizer": ("normalizer", lambda x: "None" if x == NONE else f"{x:g}"),
        "weights": ("sample_weight", lambda x: "with a gradient" if x else "without a gradient"),
        "kind": ("labels", lambda x: kinds[int(x)]),
        "first": (first, lambda x: f"{x:.17g}"),
        "second": ((*others, "")[0], lambda x: f"{x:.17g}"),
    }
    for field, (name, show) in shown.items():
        values = [getattr(each, field) for each in told]
        if any(value != values[0] and not (math.isnan(value) and math.isnan(values[0])) for value in values):
            raise ValueError(f"{name} must be the same on all ranks of process_group, got {', '.join(map(show, values))}: give the same on each")
    wants = [bool(each.by_rows or each.by_columns or each.by_numbers) for each in told]
    if spread.each() and len(set(wants)) > 1:
        rank = wants.index(False)
        raise ValueError(
            f"the backward of each item's loss has all ranks of process_group take part, and rank {rank} has nothing that requires a gradient: "
            f"try {spread.name}.requires_grad_() there"
        )
    for field in ("exclude", "positives"):
        total = int(sum(each.items + (each.negatives if field == "exclude" else 0) for each in told))
        for rank, each in enumerate(told):
            columns = int(getattr(each, field))
            if columns not in (total, NONE):
                name = "labels" if field == "positives" else field
                raise ValueError(
                    f"{name} of rank {rank} must have a column for each candidate of all ranks of process_group, {total} in their order, got {columns} columns"
                )


class Batch(NamedTuple):
    """What is compared: this rank's rows and columns, who they are, which of the items they belong to, and what each row's loss is multiplied by."""

    rows: Tensor
    columns: Tensor
    places: Tensor
    kinds: blocks.Kinds
    items: Tensor
    weights: Tensor
    counts: tuple[int, ...]  # columns of each rank


def over_ranks(spread: Spread, group: ProcessGroup) -> Tensor:
    """The loss of the whole batch, or with "none" of this rank's items, with all gradients of this rank's vectors."""
    x = spread.given.vectors[0]
    with groups.refusals_told(group, x, Told()):
        engine, _ = dispatch.choice((*spread.given.vectors, *spread.numbers.values(), *(() if spread.negatives is None else (spread.negatives,))))
        mine = spread.told()
    told = groups.meet(group, x, mine)
    one_of(told, spread)
    rank = distributed.get_rank(group)
    begin = int(sum(each.items for each in told[:rank]))
    if any(each.exclude != NONE for each in told) and spread.sides in ("rows", "both"):
        refused = own_excluded(spread.exclude, begin)
        for other, each in enumerate(groups.meet(group, x, Told(float(refused is not None)))):
            if each.refuses:
                raise refused or groups.Refused(f"rank {other} of process_group has refused its input: see what it raises")
    batch = batch_of(spread, told, group, rank, begin)
    by_rows, by_columns, by_numbers = (any(getattr(each, field) for each in told) for field in ("by_rows", "by_columns", "by_numbers"))
    wants = (by_rows, by_columns, *(by_numbers,) * len(spread.numbers))
    ranks = blocks.Ring(group, rank, batch.counts)
    how: Any = (
        blocks.Elements(ranks, engine, batch.kinds, batch.places, spread.formula, wants)
        if spread.sides == "elements"
        else blocks.Softmax(ranks, engine, batch.kinds, batch.places, spread.formula, spread.sides == "both", wants)
    )
    one_by_one, half = spread.each(), 0.5 if spread.sides == "views" else 1.0
    found = blocks.losses(how, None if one_by_one else batch.weights * half, batch.rows, batch.columns, *spread.operands())
    count = len(batch.items)
    weights = batch.weights[:count]
    if one_by_one:
        found = found if half == 1.0 else half * (found[:count] + found[count:])
        if spread.reduction == "none":
            return x.new_zeros(len(x)).index_copy(0, batch.items, (found * weights).to(x.dtype))
        found = (found * weights).sum()
    return reduced(spread, group, found, weights)


def reduced(spread: Spread, group: ProcessGroup, part: Tensor, weights: Tensor) -> Tensor:
    """The sum over the ranks of what each adds to the loss, and its mean."""
    x = spread.given.vectors[0]
    if spread.reduction == "sum":
        return groups.joined(part, group)
    real = exact_dtype(x)
    total, denominator = groups.joined(torch.stack((part.to(real), weights.to(real).sum())), group)
    scale = reduce.scale_of("torch", total, reduce.denominator_of(denominator, spread.normalizer, x))
    result: Tensor = (total * scale).to(x.dtype)
    return result


def own_excluded(exclude: Tensor | None, begin: int) -> ValueError | None:
    """The error of an item that is left out of its own candidates."""
    if exclude is None or not bool((bad := exclude.diagonal(begin)).any()):
        return None
    row, count = int(bad.nonzero()[0]), len(exclude)
    return ValueError(
        f"exclude rules out an item's own partner, at {checks.shown((row, begin + row))}, as this rank's columns begin at {begin}: "
        f"set exclude[range({count}), range({begin}, {begin + count})] = False, or take the item out with mask="
    )


def of_all(x: Tensor, told: list[Told], group: ProcessGroup) -> Tensor:
    """A number per item, of all ranks."""
    sizes = [int(each.items) for each in told]
    padded = torch.cat((x, x.new_zeros(max(sizes) - len(x))))
    return torch.cat([some[:size] for some, size in zip(groups.gathered(padded, group), sizes, strict=True)])


def batch_of(spread: Spread, told: list[Told], group: ProcessGroup, rank: int, begin: int) -> Batch:
    """What is compared, without absent items."""
    given, sides = spread.given, spread.sides
    x, items = given.vectors[0], int(sum(each.items for each in told))
    total = items + int(sum(each.negatives for each in told))
    every = torch.arange(len(x), dtype=torch.long, device=x.device)
    present = every if given.counts is None else given.counts.nonzero()[:, 0]
    weights = x.new_ones(len(x)) if given.factor is None else given.factor.to(x.dtype)
    twice = 2 if sides == "views" else 1
    counts = tuple(int(twice * each.counting + each.negatives) for each in told)
    codes, pairs, chosen = None, None, present
    if spread.labels is not None:
        codes, pairs, some = alike(spread, told, group, begin)
        chosen = present[some[present]]
    exclude = None if spread.exclude is None else spread.exclude[chosen]
    rows, columns = (y if len(some) == len(y) else y.index_select(0, some) for y, some in ((x, chosen), (given.vectors[-1], present)))
    places = begin + present
    itself = {"labels": torch.searchsorted(present, chosen), "views": torch.arange(2 * len(present), dtype=torch.long, device=x.device)}.get(sides)
    if sides == "views":
        rows = columns = torch.cat((rows, columns))
        places = places.repeat(2)
    own = places if sides == "views" else begin + chosen
    if spread.negatives is not None:
        more = items + int(sum(each.negatives for each in told[:rank]))
        columns = torch.cat((columns, spread.negatives))
        places = torch.cat((places, more + torch.arange(len(spread.negatives), dtype=torch.long, device=x.device)))
    kinds = blocks.Kinds(own, codes, None if pairs is None else pairs[chosen], exclude, itself, total)
    return Batch(rows, columns, places, kinds, chosen, weights.index_select(0, chosen).repeat(twice), counts)


def alike(spread: Spread, told: list[Told], group: ProcessGroup, begin: int) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Who belongs together, as a code for each item of all ranks or as bool for each item with those; and which items have another that does."""
    labels, counts, x = spread.labels, spread.given.counts, spread.given.vectors[0]
    assert labels is not None
    present = of_all(torch.ones(len(x), dtype=torch.uint8, device=x.device) if counts is None else counts.to(torch.uint8), told, group) != 0
    own = torch.arange(begin, begin + len(x), dtype=torch.long, device=x.device)
    codes = None
    if not spread.named:
        labels = labels.view(torch.int64) if labels.dtype is torch.uint64 else labels.to(torch.float64 if labels.is_floating_point() else torch.int64)
        codes, known = contrasts.coded(of_all(labels.contiguous(), told, group))
        codes = torch.where(known, codes, len(codes))
        here = codes[own]
        if not any(each.exclude != NONE for each in told):
            others = torch.bincount(codes[present], minlength=len(codes) + 1)[here] - 1
            return codes, None, (others > 0) & (here < len(codes))
        labels = (here[:, None] == codes) & (here < len(codes))[:, None]
    out = ~present if spread.exclude is None else ~present | spread.exclude
    pairs = (labels & ~out).scatter(1, own[:, None], False)
    return codes, pairs, pairs.any(1)
