"""Losses of rows whose classes are spread over the ranks of a group, under the contract: every rank returns the loss of all classes, with the gradient of its own scores."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract import items, labels, reduce, tensors
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.distributions import of_masses
from losskit.contract.elementwise import Operand
from losskit.contract.groups import entered, joined, meet, refusals_told
from losskit.contract.passes import ByProducts
from losskit.contract.reduce import Normalizer
from losskit.contract.shards import IGNORED, TENSOR, Between, Level, Shard, Told, among, held_here, level_of, once, pulled, shard_of
from losskit.contract.spread_given import Given, check_sums, looked_at, told_of
from losskit.engines.call import Distributions, Look, Results, Rows
from losskit.engines.protocol import ENGINES
from losskit.engines.scores import Made, Scores, scores_of
from losskit.engines.torch.elementwise import bound, scaled_sum


class Spread(NamedTuple):
    """What describes the loss besides its tensors: `labelled` takes (nll, hit, miss, spread, lse, weight, rest, own, *keep, square, here, all), and `soft`, against
    a distribution, (log p, p, 1 - p, t, weight, *operands, *keep, share).
    """

    labelled: Callable[..., Any]
    soft: Callable[..., Any]
    keep: tuple[float, ...]  # how much of the target smoothing leaves; nothing where that is an operand
    smoothing: float  # of all classes, times the operand if there is one
    square: float  # of the log-sum-exp
    link: tuple[Callable[..., Any], float] | None
    operands: tuple[Operand, ...]  # a smoothing for each item
    temperature: tuple[Operand, ...]

    def numbers(self) -> dict[str, float]:
        """What all ranks must be given alike, as `Told` has it."""
        heat = next((y.value for y in self.temperature), 1.0)
        return {
            "temperature": TENSOR if isinstance(heat, Tensor) else float(heat),  # type: ignore[arg-type]
            "smoothing": TENSOR if self.operands else self.smoothing,
            "square": self.square,
            "cap": 0.0 if self.link is None else self.link[1],
        }


Around = tuple[Tensor, Tensor | None]  # the log-sum-exp of all scores of each item, and whether this rank's largest is the first


class Masses(NamedTuple):
    """What a rank's classes have of each item: the mass in all, and what of it the squared log-sum-exp is multiplied by; those of the other ranks, of all."""

    mass: Tensor
    drawn: Tensor
    others: Tensor
    all_drawn: Tensor

    def beside(self, level: Level, square: float) -> tuple[Tensor, Tensor]:
        """What -sum_j m_j log p_j has more than with the softmax over this rank's classes alone, and this rank's part of the squared log-sum-exp; its derivative by
        this rank's log-sum-exp.
        """
        mine, theirs, below, all_lse = bound(among)(level.own, level.rest)
        value = self.mass * below.clamp(max=1e30) + self.drawn * (square * all_lse * all_lse)
        return value, (mine * (self.others + 2.0 * square * self.all_drawn * all_lse) - theirs * self.mass).detach()


class Work(NamedTuple):
    """Passes over this rank's scores."""

    loss: Spread
    given: Given
    shard: Shard
    factor: Tensor  # of items: which count, or what multiplies them
    scale: Any  # None for one value per item
    parts: bool

    @property
    def heat(self) -> tuple[Tensor, ...]:
        """The temperature, if it is an operand."""
        return self.given.numbers[: len(self.loss.temperature)]

    @property
    def smoothing(self) -> tuple[Tensor, ...]:
        """The smoothing, likewise."""
        return self.given.numbers[len(self.loss.temperature) :]

    @property
    def share(self) -> float:
        """Of each class, what smoothing gives it."""
        return self.loss.smoothing / self.shard.all

    def rows(self, formula: Callable[..., Any], params: tuple[float, ...], shares: Tensor | None = None) -> Rows:
        """A call with labels."""
        function, parameter = self.loss.link or (None, 0.0)
        return Rows(formula, params, None, shares, function, parameter, IGNORED, self.given.axis, self.factor, bool(self.heat))

    def run(self, pattern: Any, call: Rows | Distributions, target: Tensor, *numbers: Tensor, look: Look | None = None) -> tuple[Tensor, tuple[Results, ...]]:
        """This rank's part, and what else its pass finds, if that is asked for; a rank without classes has no part, but takes part in the backward."""
        operands: tuple[Tensor, ...] = (self.given.input, target, *self.heat, *numbers)
        if self.shard.own:
            operands, call = tensors.all_lasting(operands, call)
            part, found = reduce.run(pattern, self.given.engine, call, operands, self.scale, {"by_products": True} if self.parts else {}, self.parts, look)
            return part, () if found is None else (found,)
        nothing = self.reduced(self.given.constant(0.0))
        for y in operands:
            nothing = nothing + tensors.whole(y).reshape(-1)[:0].sum() if y.is_floating_point() else nothing
        return nothing, ()

    def in_chunks(self, call: Rows, label: Tensor, own: Tensor) -> tuple[Tensor, tuple[Results, ...], Around]:
        """A pass for which the ranks meet between the making of a chunk of scores and its loss."""
        if self.shard.own and ENGINES[self.given.engine].plain:
            raise RuntimeError("PyTorch operations compute a loss before anything sees its scores, and the ranks would meet too late")
        rest = torch.zeros(own.shape, dtype=self.given.real, device=own.device)
        nothing = isinstance(self.scale, float) and self.scale == 0.0  # counts, and no scores are made
        look = Between(self.shard._replace(met=0) if nothing else self.shard, label, rest, self.parts)
        whole = None if self.shard.own else look.without_classes(self.given.counts)
        part, found = self.run("rows", call, label, rest, own, look=look)
        seen = (found[0].seen if found else None) or (rest, rest if whole is None else whole, None)
        return *self.ruled_out(part, found, seen[2], own > 0.0), (seen[1], seen[3] if len(seen) > 3 else None)

    def ruled_out(self, part: Tensor, found: tuple[Results, ...], gone: Tensor | None, held: Tensor) -> tuple[Tensor, tuple[Results, ...]]:
        """This rank's part, and what its pass found: infinite where its classes are ruled out and hold mass; otherwise they add nothing there."""
        if gone is None or not bool(gone.any()):
            return part, found
        smoothed = self.share * self.shard.here > 0.0
        by = torch.full_like(held, smoothed) if not self.smoothing else (self.smoothing[0] > 0.0) & smoothed
        each = torch.where(gone & (held | by), torch.inf, self.given.constant(0.0))
        return part + self.reduced(each), (*found, Results(None, self.weighed(each)))

    def without(self, gone: Tensor | None) -> "Work":
        """The same where its classes are not ruled out."""
        return self if gone is None else self._replace(factor=torch.where(gone, torch.zeros_like(self.factor), self.factor))

    def reduced(self, each: Tensor) -> Tensor:
        """What items are worth besides, as a pass would give it."""
        if self.scale is None:
            return self.weighed(each)
        alive = self.scale != 0 if isinstance(self.scale, Tensor) else torch.full((), self.scale != 0, dtype=torch.bool, device=each.device)
        return scaled_sum(torch.where(alive, self.weighed(each), 0.0), self.scale)

    def weighed(self, each: Tensor) -> Tensor:
        """Times their factor."""
        return torch.where(self.factor != 0, each * self.factor, 0.0)

    def level(self, label: Tensor, *beside: Tensor, largest: bool = False) -> Level:
        """Of all ranks' scores."""
        call = self.rows(pulled, ())._replace(factor=None)
        return level_of(self.given.engine, call, (self.given.input, label, *self.heat), self.shard, beside, largest)

    def shares(self) -> Tensor:
        """Of this rank's classes, what smoothing gives them."""
        shares = torch.full((self.shard.own,), self.share, dtype=self.given.real, device=self.given.counts.device)
        return shares if self.given.weight is None or self.shard.learned else shares * self.given.weight.to(self.given.real)

    def by_masses(self, pattern: Any, call: Rows | Distributions, target: Tensor, level: Level, masses: Masses, *numbers: Tensor) -> tuple[Tensor, Any]:
        """The loss of masses: with the softmax over this rank's classes alone, and what it has more with that over all."""
        alone, found = self.run(pattern, call, target, *numbers)
        each, by_lse = masses.beside(level, self.loss.square)
        more, _ = self.run("rows", self.rows(pulled, ()), torch.where(self.given.counts, 0, IGNORED), by_lse)
        if self.parts:
            found = (*found, Results(None, self.weighed(each)))
        return alone + more + self.reduced(each), found

    def distributions(self, formula: Callable[..., Any], params: tuple[float, ...] = (), weight: Tensor | None = None) -> Distributions:
        """A call with distributions."""
        function, parameter = self.loss.link or (None, 0.0)
        return Distributions(formula, params, weight, function, parameter, dim=self.given.axis, factor=self.factor, tempered=bool(self.heat))


def spread_rows(
    loss: Spread,
    input: Tensor,
    target: Tensor,
    group: ProcessGroup,
    *,
    dim: int,
    ignore_index: int,
    weight: Numbers | None,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
    return_parts: bool,
) -> Any:
    """The loss of all classes, the same on every rank, with the gradient of this rank's scores; with `return_parts` (loss, `ByProducts`)."""
    with refusals_told(group, input, Told()):
        given = looked_at((*loss.temperature, *loss.operands), input, target, dim, ignore_index, weight, mask, sample_weight, normalizer, reduction)
        told = told_of(given, target, normalizer, reduction, return_parts, **loss.numbers())
    shard = shard_of(meet(group, input, told), group)
    if not given.soft:
        labels.refuse(target, shard.all, ignore_index, given.factor)
    if type(input) is not Scores and (given.soft or shard.learned):  # two passes, and the gradient of half precision is rounded once
        input = input.to(given.real)
    elif type(input) is Scores and isinstance(input.made, Made) and shard.chunk:
        input = scores_of(input.made._replace(chunk=shard.chunk))
    given = given._replace(input=input, numbers=tuple(entered(x, group) for x in given.numbers))
    of_labels = None if given.soft else _of_labels(given, target, shard)
    factor, counts = given.factor, given.counts
    each = torch.ones((), dtype=given.real, device=input.device) if of_labels is None else of_labels.weight
    shares = torch.where(counts, each if factor is None else each * factor, 0.0)
    total = shares.sum()
    factor = counts if factor is None else torch.where(counts, factor, torch.zeros((), dtype=factor.dtype, device=factor.device))
    apart = reduction == "none" or shard.learned or reduce.needs_gradient(factor)
    scale: Any = None
    if not apart:  # the gradients are made in the forward
        scale = 1.0 if reduction == "sum" else reduce.scale_of(given.engine, input, reduce.denominator_of(total, normalizer, input))
    work = Work(loss, given, shard, counts if apart else factor.detach(), scale, return_parts)
    value, found, (lse, first) = _of_distributions(work, target) if of_labels is None else _labelled(work, of_labels)
    result = once(reduce.reduced(value, factor, total, input, normalizer=normalizer, reduction=reduction, shares=shares) if apart else value)
    numbers, operands = given.numbers, (*loss.temperature, *loss.operands)
    items.refuse(operands, numbers, "torch", counts, counts, result)
    if not return_parts:
        return result
    right = given.constant(0.0)
    if found and found[0].right is not None and of_labels is not None and first is not None:
        right = (found[0].right & of_labels.here & first).to(given.real)
    losses = given.constant(0.0) if apart else sum((y.value for y in found if y.value is not None), given.constant(0.0))
    losses, right = joined(torch.stack((losses.detach(), right)), group)
    if apart:
        losses = torch.where(factor != 0, value.detach() * factor.detach(), 0.0).to(given.real)
    count = counts.sum()
    accuracy = None if given.soft else right.sum() / count.clamp(min=1)
    return result, ByProducts(losses, torch.where(counts, lse, 0.0), accuracy, count)


class OfLabels(NamedTuple):
    """Labels, as this rank sees them."""

    here: Tensor  # which are of its own classes
    label: Tensor  # of its own classes; the first of them where the label is another rank's
    weight: Tensor  # of the label's class


def _of_labels(given: Given, target: Tensor, shard: Shard) -> OfLabels:
    named = torch.where(given.counts, target.long(), 0)
    here = given.counts & (named >= shard.first) & (named < shard.first + shard.own)
    place = torch.where(here, named - shard.first, 0)
    weight = given.constant(1.0)
    if shard.weighted:
        own = torch.ones(shard.own, dtype=given.real, device=target.device) if given.weight is None else given.weight
        own = labels.exact(own) if shard.learned else own.to(given.real)
        mine = torch.where(here, labels.of_labels(own, place), 0.0) if shard.own else given.constant(0.0).to(own.dtype) + own.sum()
        weight = joined(mine, shard.group)
    return OfLabels(here, torch.where(given.counts, place, IGNORED), weight)


def _labelled(work: Work, of: OfLabels) -> tuple[Tensor, tuple[Results, ...], Around]:
    """The loss of labels, over all ranks."""
    given, loss, shard = work.given, work.loss, work.shard
    own = torch.where(of.here, given.constant(1.0), -1.0) if shard.learned else torch.where(of.here, of.weight, -of.weight)
    weights = (0.0, 0.0) if shard.learned else (work.share * shard.here, work.share * shard.whole)
    shares = work.shares() if work.share and not shard.learned else None
    call = work.rows(loss.labelled, (*loss.keep, loss.square, *weights), shares)
    if shard.chunk and not shard.learned and not work.smoothing:
        part, found, around = work.in_chunks(call, of.label, own)
        return joined(part, shard.group), found, around
    level = work.level(of.label, largest=work.parts)
    everywhere, work = work, work.without(level.gone)
    if work.smoothing:
        s = items.unit(reduce.present(work.smoothing[0].to(given.real).expand(own.shape), given.counts, 0.0))
        w = own.abs()
        first, kept = torch.where(of.here, w, 0.0), (1.0 - s) * w
        held = torch.where(of.here, kept, 0.0)
        masses = Masses(held + s * weights[0], first, torch.where(of.here, 0.0, kept) + s * (weights[1] - weights[0]), w)
        part, found = work.by_masses("rows", work.rows(held_here, (), shares), of.label, level, masses, held, s)
    else:
        s = None
        part, found = work.run("rows", call._replace(factor=work.factor), of.label, level.rest, own)
    part, found = everywhere.ruled_out(part, found, level.gone, own > 0.0)
    each = joined(part, shard.group)
    if not shard.learned:
        return each, found, (level.all, level.first)
    each = torch.where((of.weight == 0.0) & each.isinf(), 0.0, each) * of.weight  # a class of weight 0 may be ruled out
    if work.share:
        learned = given.constant(1.0).new_ones(shard.own) if given.weight is None else given.weight
        shares = work.share * labels.exact(learned)
        here, nothing = shares.sum().to(given.real).expand(own.shape), given.constant(0.0)
        masses = Masses(here, nothing, work.share * shard.whole - here.detach(), nothing)
        wide = labels.along(shares, given.input, given.axis).to(given.real).expand(given.input.shape)
        spread = work.by_masses("distributions", work.distributions(of_masses), wide, level, masses)[0]
        each = each + joined(spread if s is None else s * spread, shard.group)
    return each.to(given.real), found, (level.all, level.first)


def _of_distributions(work: Work, target: Tensor) -> tuple[Tensor, tuple[Results, ...], Around]:
    """The loss of distributions, over all ranks."""
    given, loss, shard = work.given, work.loss, work.shard
    counts, own = given.counts, given.weight
    keep: Any = loss.keep[0] if loss.keep else 1.0
    by: Any = 1.0
    if work.smoothing:
        by = items.unit(reduce.present(work.smoothing[0].to(given.real).expand(counts.shape), counts, 0.0))
        keep = 1.0 - by
    t = reduce.present(target.to(given.real), counts.unsqueeze(given.axis), 0.0)
    sums = t.sum(given.axis)
    wide = None if own is None else labels.along(own.to(given.real), t, given.axis)
    drawn = sums if wide is None else (t * wide).sum(given.axis)
    here: Any = work.share * (float(shard.own) if own is None else own.to(given.real).sum())
    mass = keep * drawn + by * here
    level = work.level(torch.where(counts, 0, IGNORED), mass, drawn, sums)
    masses_of, all_drawn, all_sums = level.told.unbind(1)
    check_sums(all_sums.sum(0), target, given, shard.all)
    others = torch.cat((masses_of[: shard.rank], masses_of[shard.rank + 1 :])).sum(0)
    masses = Masses(mass.expand(counts.shape), drawn, others, all_drawn.sum(0))
    everywhere, work = work, work.without(level.gone)
    if shard.learned:
        smooth = (keep.unsqueeze(given.axis), by.unsqueeze(given.axis)) if work.smoothing else (keep, by)
        m = (t * smooth[0] + work.share * smooth[1]) * (1.0 if wide is None else wide)
        part, found = work.by_masses("distributions", work.distributions(of_masses), m, level, masses)
    else:
        part, found = work.by_masses("distributions", work.distributions(loss.soft, (*loss.keep, work.share), own), t, level, masses, *work.smoothing)
    part, found = everywhere.ruled_out(part, found, level.gone, mass > 0.0)
    return joined(part, shard.group), found, (level.all, None)
