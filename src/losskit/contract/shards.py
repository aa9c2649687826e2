"""Classes that are spread over the ranks of a group: each rank holds the scores of some classes of every item. What the ranks tell each other, and find together.

A rank's pass over its scores needs to know of the others the log-sum-exp of theirs, one number per item. So there are two passes and three small collectives: sizes, and
whether a rank has refused its input; the log-sum-exps; what each rank adds to the loss. What is not needed is one for the gradient: each rank has that of its own scores.
Scores that are a product are made once where an engine makes them in chunks: both passes go over a chunk, and the ranks meet between them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract import reduce, tensors
from losskit.contract.groups import Refused, gathered
from losskit.engines.call import Losses, Rows, real_dtype
from losskit.engines.dispatch import EngineName
from losskit.engines.language import absolute, exp_neg, identity, log1p_unit, where
from losskit.engines.torch.elementwise import bound

IGNORED = -100  # the label of absent items on every rank


class Told(NamedTuple):
    """What a rank tells the others first: whether it refuses its input, how many items and classes it has, their weights added up, its least and its largest label; whether
    it has class weights, and whether they require a gradient; of how many items it would make scores at a time, 0 if not in chunks, and whether without absent items. All
    ranks must agree in what is left, see `ALIKE`: a tensor where a number may stand is told as `TENSOR`.
    """

    refuses: float = 1.0
    items: float = 0.0
    classes: float = 0.0
    weights: float = 0.0
    least: float = 0.0
    largest: float = 0.0
    weighted: float = 0.0
    learned: float = 0.0
    chunk: float = 0.0
    leaves_out: float = 0.0
    soft: float = 0.0
    reduced: float = 0.0
    followed: float = 0.0
    counted: float = 0.0
    taught: float = 0.0
    double: float = 0.0
    temperature: float = 0.0
    smoothing: float = 0.0
    square: float = 0.0
    cap: float = 0.0
    divided: float = 0.0


TENSOR = -1.0
ALIKE = {
    "soft": "target is class labels on some and probabilities on others",
    "reduced": "reduction or return_parts differ",
    "followed": "the hidden states, temperature or label_smoothing require a gradient on some and not on others",
    "counted": "mask or ignore_index leave out more items on some than on others",
    "taught": "sample_weight requires a gradient on some and not on others",
    "double": "the scores are float64 on some and narrower on others",
    "temperature": "temperature is not the same number on all, or is a tensor on some",
    "smoothing": "label_smoothing is not the same number on all, or is a tensor on some",
    "square": "z_loss differs",
    "cap": "softcap differs",
    "divided": "normalizer is a number on some, and losskit.Ranks or nothing on others",
}


class Shard(NamedTuple):
    """The classes of this rank among all."""

    group: ProcessGroup
    rank: int
    first: int
    own: int
    all: int
    here: float  # the weights of this rank's classes, added up; of all ranks'
    whole: float
    weighted: bool
    learned: bool
    chunk: int  # of how many items all ranks make scores at a time, and meet; 0: they make them twice
    met: int  # how many items they meet for then


def shard_of(told: list[Told], group: ProcessGroup) -> Shard:
    """This rank's classes; raised on all ranks is what one of them has refused, what does not go together, and a label that is no class."""
    rank, counts, total = torch.distributed.get_rank(group), [int(each.items) for each in told], sum(int(each.classes) for each in told)
    for other, each in enumerate(told):
        if each.refuses:
            raise Refused(f"rank {other} of class_group has refused its input: see what it raises")
    if not total:
        raise ValueError("the ranks of class_group hold no classes: each must hold some of the classes, and none of them has any")
    if len(set(counts)) > 1:
        raise ValueError(f"the ranks of class_group hold {', '.join(map(str, counts))} items: each must hold scores of all items, for some of the classes")
    for name, differs in ALIKE.items():
        if len({getattr(each, name) for each in told}) > 1:
            raise ValueError(f"the ranks of class_group must call alike, but {differs}")
    for other, each in enumerate(told):
        if other != rank and not (each.least >= 0 and each.largest < total) and told[rank].least >= 0 and told[rank].largest < total:
            raise Refused(f"rank {other} of class_group has a label that is none of the {total} classes: see what it raises")
    weighted, learned = any(each.weighted for each in told), any(each.learned for each in told)
    first, whole = sum(int(each.classes) for each in told[:rank]), sum(each.weights for each in told)
    making = [each for each in told if each.classes]
    alike = len({each.leaves_out for each in making}) == 1
    chunk, met = (int(min(each.chunk for each in making)), int(making[0].counted if making[0].leaves_out else making[0].items)) if alike else (0, 0)
    return Shard(group, rank, first, int(told[rank].classes), total, told[rank].weights, whole, weighted, learned, chunk, met)


class Level(NamedTuple):
    """What the ranks have told each other of every item's scores."""

    own: Tensor  # the log-sum-exp of this rank's scores
    rest: Tensor  # of the other ranks'
    all: Tensor  # of all scores
    gone: Tensor | None  # of which items this rank's classes are all ruled out, with scores of -inf; None if of none
    first: Tensor | None  # whether this rank's largest score is the first that is the largest of all; None if nobody asks
    told: Tensor  # what went with it, one for each rank


def level_of(engine: EngineName, call: Rows, operands: tuple[Tensor, ...], shard: Shard, beside: tuple[Tensor, ...], largest: bool) -> Level:
    """One pass over this rank's scores, and one collective, which takes numbers of items with it; `largest`: of the largest score, too."""
    input, label = operands[:2]
    real = real_dtype(input.dtype)
    found, gone = [torch.full(label.shape, -torch.inf, dtype=real, device=input.device)] * (1 + largest), None
    if shard.own:
        with torch.no_grad():
            each, seen = reduce.run("rows", engine, call._replace(formula=level), operands, None, look=Top() if largest else None)
            each, gone = ruled_out(each, lambda: tensors.whole(input), call.dim)
        found = [each] if seen is None or seen.seen is None else [each, *seen.seen]
    return meeting(torch.stack([y.detach().to(real) for y in (*found, *beside)]), shard, largest)._replace(gone=gone)


def ruled_out(lse: Tensor, scores: Callable[[], Tensor], axis: int) -> tuple[Tensor, Tensor | None]:
    """The log-sum-exp, -inf where all scores are, of which a pass makes no sense; and where that is. A score of NaN stays one."""
    senseless = ~(lse > -torch.inf)
    if not bool(senseless.any()):
        return lse, None
    gone = senseless & (scores().amax(axis) == -torch.inf)
    return torch.where(gone, -torch.inf, lse), gone


def meeting(own: Tensor, shard: Shard, largest: bool) -> Level:
    """What the ranks tell each other of some items: the log-sum-exp, with `largest` the largest score, and what goes with them."""
    told = gathered(own, shard.group)
    lse, before, after = told[:, 0], slice(None, shard.rank), slice(shard.rank + 1, None)
    others = torch.cat((lse[before], lse[after]))
    rest = others.logsumexp(0) if len(others) else torch.full_like(lse[0], -torch.inf)
    first = None
    if largest:
        top = told[:, 1]
        first = (top[before] < top[shard.rank]).all(0) & (top[after] <= top[shard.rank]).all(0)
    return Level(lse[shard.rank], rest, lse.logsumexp(0), None, first, told[:, 1 + largest :])


class Between(NamedTuple):
    """Sees the scores of a chunk (a `Look`), and has the ranks meet before the pass that needs it: the operand `rest` of a call is filled, and where this rank's classes
    are all ruled out, its label is that of an absent item.
    """

    shard: Shard
    label: Tensor
    rest: Tensor
    largest: bool

    def seen(self, losses: Losses, call: Rows, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As of `Look`: the log-sum-exps of the others and of all, where classes are ruled out, and whether this rank's largest score is the first."""
        scores, label, *numbers = operands
        lse = losses("rows", call._replace(formula=level, params=(), shares=None, factor=None), (scores, label, *numbers[: call.tempered]))
        lse, gone = ruled_out(lse, lambda: scores, call.dim)
        rest, *found = self.met(torch.stack((lse, *(Top().seen(losses, call, operands) if self.largest else ()))))
        numbers[call.tempered].copy_(rest)
        if gone is None:
            gone = torch.zeros_like(label, dtype=torch.bool)
        label.masked_fill_(gone, IGNORED)
        return rest, found[0], gone, *found[1:]

    def met(self, own: Tensor) -> tuple[Tensor, ...]:
        """Of what this rank has found of the items of a chunk."""
        if not own.numel():
            return own[0], own[0], *((own[0].bool(),) if self.largest else ())
        found = meeting(own, self.shard, self.largest)
        return found.rest, found.all, *(() if found.first is None else (found.first,))

    def like(self, losses: Tensor) -> tuple[Tensor, ...]:
        """As of `Look`."""
        return losses, losses, losses.bool(), *((losses.bool(),) if self.largest else ())

    def kept(self, seen: tuple[Tensor, ...]) -> None:
        """As of `Look`."""
        self.rest.copy_(seen[0])
        self.label.masked_fill_(seen[2], IGNORED)

    def without_classes(self, counts: Tensor) -> Tensor:
        """The same meetings, of a rank that has no scores: the log-sum-exp of all for each item, or for those that count."""
        found = [self.rest.new_empty(0)]
        for begin in range(0, self.shard.met, self.shard.chunk):
            items = min(self.shard.chunk, self.shard.met - begin)
            found.append(self.met(self.rest.new_full((1 + self.largest, items), -torch.inf))[1])
        if self.shard.met == counts.numel():
            return torch.cat(found).reshape(counts.shape)
        return torch.zeros_like(self.rest).masked_scatter(counts, torch.cat(found)) if self.shard.met else self.rest


class Top(NamedTuple):
    """Sees the largest score of each item (a `Look`)."""

    def seen(self, losses: Losses, call: Rows, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As of `Look`."""
        top = operands[0].amax(call.dim).to(real_dtype(operands[0].dtype))
        return (bound(call.link or identity)(top, call.link_parameter)[0],)

    def like(self, losses: Tensor) -> tuple[Tensor, ...]:
        """As of `Look`."""
        return (losses,)

    def kept(self, seen: tuple[Tensor, ...]) -> None:
        """As of `Look`."""


def level(nll, hit, miss, spread, lse, weight):  # type: ignore[no-untyped-def]
    """The log-sum-exp of an item's scores."""
    return lse, 0.0 * hit, 0.0 * hit, 1.0 + 0.0 * hit


def among(lse, rest):  # type: ignore[no-untyped-def]
    """Of a rank's log-sum-exp and that of the others: the share of its own in all, and of theirs; how far its own lies below that of all; that of all."""
    gap = rest - lse
    e = exp_neg(absolute(gap))
    up = log1p_unit(e)
    mine, theirs = where(gap > 0.0, e, 1.0) / (1.0 + e), where(gap > 0.0, 1.0, e) / (1.0 + e)
    return mine, theirs, where(gap > 0.0, gap + up, up), where(gap > 0.0, rest + up, lse + up)


def pulled(nll, hit, miss, spread, lse, weight, by):  # type: ignore[no-untyped-def]
    """A loss of nothing whose derivative by the log-sum-exp is `by`."""
    nothing = 0.0 * hit
    return nothing, nothing, nothing, by, nothing


def held_here(nll, hit, miss, spread, lse, weight, held, s):  # type: ignore[no-untyped-def]
    """With the softmax over this rank's classes alone: `held` is the mass of the label, 0 where that is another rank's, `s` the smoothing."""
    return where(held == 0.0, 0.0, held * nll) + where(s == 0.0, 0.0, s * spread), held, s, 0.0 * hit, nll, spread


class Once(torch.autograd.Function):
    """The loss itself. Its gradient has no derivatives: what the other ranks' scores do to it is a number here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("second derivatives cannot be had with class_group, for they would need those of the other ranks: leave create_graph out")
        return incoming


def once(x: Tensor) -> Tensor:
    """`x`, of which there are first derivatives."""
    return Once.apply(x)  # type: ignore[no-any-return, no-untyped-call]
