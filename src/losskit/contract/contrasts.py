"""The contract for contrastive losses: two sets of vectors, each of one compared with each of the other. Their scores are a product, and never whole.

A set is (N, D), of (..., N, D) each by itself. Whoever is left out is compared with nobody: it costs nothing, and is no candidate of others.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, products, reduce, tensors, vectors
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.vectors import Vectors
from losskit.engines import both, dispatch
from losskit.engines.call import Alike, Call, Distributions, Rows
from losskit.engines.dispatch import EngineName


class Batch(NamedTuple):
    """One set of each side, and what becomes of its items' losses: their sum times `scale`, or without one each of them, not yet weighed."""

    vectors: tuple[Tensor, ...]
    counts: Tensor | None  # which items do
    factor: Tensor | None
    scale: float | Tensor | None
    place: int  # among the sets
    engine: EngineName


def compared(
    given: Mapping[str, Tensor],
    normalize: bool,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
    *beside: Tensor,
) -> Vectors:
    """Sets of one shape, by the names of their arguments."""
    checks.flag("normalize", normalize)
    found = vectors.seen(given, mask, sample_weight, normalizer, reduction, *beside, plain=None)
    first, x = next(iter(given.items()))
    if x.dim() < 2:
        raise ValueError(f"{first} must hold a batch of vectors, shape (N, D) or (..., N, D), got shape {checks.shown(x.shape)}: try {first}.unsqueeze(0)")
    return found._replace(vectors=tuple(vectors.directions(y)[0] for y in found.vectors)) if normalize else found


def more(name: str, given: Tensor, like: str, x: Tensor, normalize: bool) -> Tensor:
    """Further vectors of the second side, as many sets as there are, in the dtype computed in."""
    checks.floating(name, given, like)
    tensors.beside(name, given, like, x)
    if given.dim() != x.dim() or given.shape[:-2] != x.shape[:-2] or given.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"{name} must hold vectors as those of {like}, whose shape is {checks.shown(x.shape)}, any number of them; got shape {checks.shown(given.shape)}"
        )
    given = tensors.lasting(given).to(x.dtype)
    return vectors.directions(given)[0] if normalize else given


def pairs(name: str, given: Tensor, like: str, x: Tensor, columns: int | None) -> Tensor:
    """A bool for each row with each column, or where None is given, with however many there are."""
    tensors.check(name, given, like)
    tensors.beside(name, given, like, x)
    shape = (*x.shape[:-1], given.shape[-1] if columns is None and given.dim() else columns)
    if given.dtype is not torch.bool or given.shape != shape:
        raise ValueError(
            f"{name} must be bool, one for each of {like} with each candidate, shape {checks.shown(shape)}, got {given.dtype} {checks.shown(given.shape)}"
        )
    return tensors.lasting(given)


def one(name: str, given: float | Tensor, like: str, x: Tensor, positive: bool = False) -> Tensor:
    """One number, as a tensor in the dtype computed in. One that is not positive gives NaN where nobody looks."""
    above = 0.0 if positive else None
    if not isinstance(given, Tensor):
        return torch.full((), checks.number(name, given, above=above), dtype=x.dtype, device=x.device)
    tensors.beside(name, given, like, x)
    if given.numel() != 1 or not given.is_floating_point():
        raise ValueError(f"{name} must be one floating-point number, got {given.dtype} of shape {checks.shown(given.shape)}")
    if checks.readable(given):
        checks.number(name, given.item(), above=above)
    number = tensors.lasting(given).reshape(()).to(x.dtype)
    return torch.where(number > 0.0, number, math.nan) if positive else number


def own_kept(name: str, without: Tensor) -> None:
    """No item is left out of its own candidates."""
    if checks.readable(without) and bool((bad := without.diagonal(dim1=-2, dim2=-1)).any()):
        place = tuple(bad.nonzero()[0].tolist())
        fix = f"try {name} & ~torch.eye({without.shape[-2]}, {without.shape[-1]}, dtype=torch.bool)"
        raise ValueError(f"{name} rules out an item's own partner, at {checks.shown((*place, place[-1]))}: {fix}, or take the item out with mask=")


def softmax(
    formula: Callable[..., Any],
    batch: Batch,
    rows: Tensor,
    columns: Tensor,
    target: Tensor | Alike,
    temperature: Tensor,
    without: Tensor | None,
    params: tuple[float, ...] = (),
) -> Tensor:
    """A loss of each row's softmax over the columns: of a label each, or of the share that belongs to those alike. Columns beyond the batch's items are always there."""
    bias = None
    if batch.counts is not None:
        absent = torch.where(batch.counts, 0.0, -torch.inf).to(rows.dtype)
        bias = torch.cat((absent.repeat(len(rows) // len(absent)), absent.new_zeros(len(columns) - len(rows))))
    scores = products.of_sets(rows, columns, bias, without)
    if isinstance(target, Alike):
        shares = Distributions(formula, params, dim=1, factor=batch.factor, tempered=True)
        operands = (scores, products.target_of_sets(target, scores, without), temperature)
        return reduce.run("distributions", batch.engine, shares, operands, batch.scale)[0]
    return reduce.run("rows", batch.engine, Rows(formula, params, dim=1, factor=batch.factor, tempered=True), (scores, target, temperature), batch.scale)[0]


def both_sides(formula: Callable[..., Any], batch: Batch, rows: Tensor, columns: Tensor, temperature: Tensor, without: Tensor | None) -> Tensor:
    """A loss of each row's softmax and of each column's, that of the item's own: their mean, of each item."""
    each = both.losses(both.Both(formula, batch.engine, batch.counts, without), rows, columns, temperature)
    return each if batch.counts is None else torch.where(batch.counts, each, 0.0)


def by_themselves(formula: Callable[..., Any], batch: Batch, rows: Tensor, columns: Tensor, numbers: tuple[Tensor, ...], without: Tensor | None) -> Tensor:
    """An elementwise loss of each score by itself, added up for each row; the target is whether both are of one place."""
    own = torch.arange(len(rows), dtype=torch.long, device=rows.device)
    factors = () if without is None else (~without,)
    if batch.factor is not None:
        factors = (*factors, batch.factor[:, None].to(rows.dtype))
    if batch.counts is not None:
        factors = (*factors, batch.counts.to(rows.dtype))
    scores = products.of_sets(rows, columns, None, None, summed=True)
    target = products.target_of_sets(Alike((own, own), shares=False), scores, None)
    result, _ = reduce.run("elementwise", batch.engine, Call(formula, (), factors), (scores, target, *numbers), batch.scale)
    return result.sum(-1) if result.dim() == 2 else result  # where scores are whole, each has a loss


class Positives(NamedTuple):
    """Which items of each set belong together, and which of them have any."""

    of: Callable[[int], Alike]  # a set, by its place
    some: Tensor


def coded(labels: Tensor) -> tuple[Tensor, Tensor]:
    """A number for each label, equal where labels are; and which have one: NaN is like nothing."""
    if not labels.is_floating_point():
        labels = labels.view(torch.int64) if labels.dtype is torch.uint64 else labels.to(torch.int64)
    known = labels == labels
    ordered = (torch.where(known, labels, torch.inf) if labels.is_floating_point() else labels).contiguous()  # a search goes astray at NaN
    return torch.searchsorted(ordered.sort(-1).values, ordered), known


def alike_by_labels(labels: Tensor, counts: Tensor | None) -> Positives:
    """Those of one label. The label of an item that is left out is none."""
    codes, known = coded(labels)
    codes = torch.where(known, codes, 0)
    here = known if counts is None else known & counts
    columns, there = torch.where(here, codes, -1), here.to(codes.dtype)
    others = torch.zeros_like(codes).scatter_add(-1, codes, there).gather(-1, codes) - there

    def of(place: int) -> Alike:
        return Alike((a_set(codes, place, 1), a_set(columns, place, 1)), shares=True)

    return Positives(of, (others > 0) & known)


def alike_by_pairs(pairs: Tensor, counts: Tensor | None, without: Tensor | None) -> Positives:
    """Those that are named, but for an item itself, and whoever is no candidate."""
    items = pairs.shape[-1]
    pairs = pairs & ~torch.eye(items, dtype=torch.bool, device=pairs.device)
    pairs = pairs if counts is None else pairs & counts[..., None, :]
    pairs = pairs if without is None else pairs & ~without
    return Positives(lambda place: Alike((a_set(pairs, place, 2),), shares=True), pairs.any(-1))


def a_set(x: Tensor, place: int, axes: int) -> Tensor:
    """One of the sets, whose numbers lie along the last axes."""
    lead = x.shape[: x.dim() - axes]
    return x.reshape(math.prod(lead), *x.shape[len(lead) :])[place]


def over_sets(
    given: Vectors, loss: Callable[[Batch], Tensor], normalizer: Normalizer | None, reduction: Reduction, each: bool = False, beside: tuple[Tensor, ...] = ()
) -> Tensor:
    """none / sum / mean of the losses of each set. One set is one pass, unless `each` item's loss is wanted, or the weights have a gradient."""
    x, factor = given.vectors[0], given.factor
    lead, items = x.shape[:-2], x.shape[-2]
    engine, _ = dispatch.choice((*given.vectors, *beside))

    def batch(place: int, scale: float | Tensor | None) -> Batch:
        own, counts = (None if y is None else a_set(y.expand(x.shape[:-1]), place, 1) for y in (factor, given.counts))
        own = own != 0 if scale is None and own is not None else own
        return Batch(tuple(a_set(y, place, 2) for y in given.vectors), counts, own, scale, place, engine)

    if math.prod(lead) == 1 and items and reduction != "none" and not each and not reduce.needs_gradient(factor):
        scale: float | Tensor = 1.0
        if reduction == "mean":
            denominator = reduce.denominator_of(reduce.weight_of(factor, items, x.dtype), normalizer, x)
            scale = reduce.scale_of(engine, x, denominator)
        return loss(batch(0, scale))
    found = [loss(batch(place, None)) for place in range(math.prod(lead))] if items else []
    losses = (
        torch.stack(found).reshape(x.shape[:-1]) if found else sum((*(y.sum(-1) for y in given.vectors), *(y.sum() for y in beside)), start=x.new_zeros(()))
    )  # attached
    return given.reduced(losses, normalizer, reduction)
