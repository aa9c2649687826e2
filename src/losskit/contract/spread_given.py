"""The arguments of a loss whose classes are spread over ranks, as one rank looks at them, and what it tells the others of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, items, labels, reduce, tensors
from losskit.contract.checks import REDUCTIONS, Numbers, Reduction
from losskit.contract.distributions import SUM_TOLERANCE
from losskit.contract.elementwise import Operand
from losskit.contract.groups import Ranks
from losskit.contract.reduce import Normalizer
from losskit.contract.shards import Told
from losskit.engines import dispatch
from losskit.engines.call import real_dtype
from losskit.engines.chunks import Ways
from losskit.engines.dispatch import EngineName
from losskit.engines.laid import items_of_chunk
from losskit.engines.protocol import ENGINES
from losskit.engines.scores import Made, Scores, memory_of


class Given(NamedTuple):
    """The arguments, looked at."""

    input: Tensor
    axis: int
    soft: bool
    weight: Tensor | None  # this rank's
    factor: Tensor | None  # of items
    counts: Tensor  # which items do
    numbers: tuple[Tensor, ...]  # the operands: temperature and smoothing, if they are
    engine: EngineName  # of all passes: those that meet between chunks of scores are planned for it

    @property
    def real(self) -> torch.dtype:
        """The dtype computed in."""
        return real_dtype(self.input.dtype)

    def constant(self, value: float) -> Tensor:
        """A number for each item."""
        return torch.full((), value, dtype=self.real, device=self.input.device).expand(self.counts.shape)

    def followed(self) -> float:
        """Which tensors that every rank holds require a gradient, as bits: it is added up over the ranks, which must all be there."""
        hidden = self.input.made.factors[0] if type(self.input) is Scores and isinstance(self.input.made, Made) else None
        return float(sum(1 << k for k, x in enumerate((hidden, *self.numbers)) if reduce.needs_gradient(x)))


def looked_at(
    operands: tuple[Operand, ...], input: Tensor, target: Tensor, dim: int, ignore_index: int, weight: Numbers | None, mask: Tensor | None, sample_weight: Tensor | None,
    normalizer: Normalizer | None, reduction: Reduction,
) -> Given:  # fmt: skip
    """What a rank finds of its arguments by itself."""
    reduce.check(reduction, normalizer)
    if isinstance(normalizer, Ranks) and normalizer.normalizer is not None:
        reduce.divisor(normalizer.normalizer, input)
    checks.both(input, target)
    axis, soft = labels.class_axis(input, dim), labels.soft(input, target)
    if not soft:
        labels.aligned(input, target, axis, dim, "labels")
        labels.index(ignore_index)
    elif type(target) is Scores:
        raise ValueError("target is what linear_probabilities gives, a softmax over the classes of this rank alone: leave class_group out, or give labels")
    else:
        labels.only_labels(ignore_index, input)
        tensors.beside("target", target, "input", input)
    shape = torch.Size((*input.shape[:axis], *input.shape[axis + 1 :]))
    like = torch.zeros((), dtype=input.dtype, device=input.device).expand(*shape, 1)
    own = None if weight is None else labels.class_weights(weight, input, input.shape[axis], learned=True)
    factor = reduce.item_factor(like[..., 0], mask, sample_weight, real_dtype(input.dtype), reduce.by_weights(reduction, normalizer))
    factor = reduce.unless_nothing_counts(factor, normalizer, input, shape)
    counts = torch.ones(shape, dtype=torch.bool, device=input.device) if soft else labels.kept(target, ignore_index)
    counts = counts if factor is None else counts & (factor != 0)
    if soft and checks.readable(target) and target.numel():
        numbers = target.detach().movedim(axis, -1)[counts]
        if bool((wrong := (numbers < 0) | (numbers > 1 + 1e-6)).any()):
            raise ValueError(f"target must hold probabilities along dim={axis}, got {float(numbers[wrong][0]):.6g}, outside [0, 1]")
    found = items.checked(operands, like, -1)
    engine, _ = dispatch.choice(memory_of((input, target, *found)), [x.detach() for x in (counts, factor, own) if x is not None])
    return Given(input, axis, soft, own, factor, counts, found, engine)


def told_of(given: Given, target: Tensor, normalizer: Normalizer | None, reduction: Reduction, parts: bool, **numbers: float) -> Told:
    """What the others are told of it, and of the numbers of the loss."""
    least, largest, own = 0.0, 0.0, given.weight
    if not given.soft and target.numel():
        named = torch.where(given.counts, target.long(), 0)
        least, largest = float(named.min()), float(named.max())
    classes = given.input.shape[given.axis]
    weights = float(classes) if own is None else float(own.detach().sum(dtype=torch.float64))
    reduced = float(2 * REDUCTIONS.index(reduction) + parts)
    learned = float(own is not None and reduce.needs_gradient(own))
    chunk, leaves_out = chunks_of(given)
    divided = 0.0 if normalizer is None else 1.0 + isinstance(normalizer, Ranks)
    return Told(
        0.0, given.counts.numel(), classes, weights, least, largest, float(own is not None), learned, chunk, float(leaves_out), float(given.soft), reduced,
        given.followed(), float(given.counts.sum()), float(reduce.needs_gradient(given.factor)), float(given.real is torch.float64), divided=divided, **numbers,
    )  # fmt: skip


def chunks_of(given: Given) -> tuple[int, bool]:
    """Of how many items this rank would make scores at a time, 0 where they are not made in chunks; and whether without absent items."""
    if type(given.input) is not Scores or not isinstance(given.input.made, Made) or ENGINES[given.engine].plain:
        return 0, False
    ways: Ways = dispatch.pattern(given.engine, "products").WAYS
    weight, items = given.input.made.factors[1], int(given.counts.sum()) if ways.leaves_out else given.counts.numel()
    return items_of_chunk(items, weight, ways.multiplied(weight.dtype).itemsize, ways.chunk, given.input.made.chunk), ways.leaves_out


def check_sums(sums: Tensor, target: Tensor, given: Given, classes: int) -> None:
    """Each item's probabilities sum to 1 over all ranks, up to rounding."""
    if not checks.readable(sums):
        return
    allowed = SUM_TOLERANCE.get(target.dtype, 1e-4) * max(1.0, classes**0.5 / 100)
    bad = given.counts & ((sums - 1.0).abs() > allowed)
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist()) if bad.dim() else ()
        where = f" at index {place}" if place else ""
        raise ValueError(
            f"target must hold probabilities, whose classes are spread over class_group as the input's are: the row{where} sums to {sums[place].item():.7g} over all ranks, "
            "expected 1. Divide by the sum over all ranks"
        )
