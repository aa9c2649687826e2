"""The contract for losses of embeddings: vectors along the last axis, one loss per pair or triplet. They run in PyTorch operations."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, reduce, tensors
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.engines import dispatch
from losskit.engines.call import real_dtype

CELLS = 1 << 22  # distances held at a time
SHAPES = "(D,), (N, D) or (..., D)"


class Vectors(NamedTuple):
    """Checked vectors in the dtype computed in, harmless ones where an item is absent; and what the items' losses are multiplied by."""

    vectors: tuple[Tensor, ...]
    factor: Tensor | None
    counts: Tensor | None

    def without(self, absent: Tensor) -> "Vectors":
        """The same with more items absent."""
        factor = torch.ones((), dtype=torch.bool, device=absent.device) if self.factor is None else self.factor
        return self._replace(factor=torch.where(absent, torch.zeros((), dtype=factor.dtype, device=absent.device), factor))

    def reduced(self, each: Tensor, normalizer: Normalizer | None, reduction: Reduction) -> Tensor:
        """none / sum / mean of one loss per item."""
        denominator = reduce.weight_of(self.factor, each.numel(), each.dtype)
        return reduce.reduced(each, self.factor, denominator, self.vectors[0], normalizer=normalizer, reduction=reduction)


def seen(
    given: Mapping[str, Tensor],
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
    *beside: Tensor,
    plain: str | None = "losses of embeddings run in PyTorch operations",
) -> Vectors:
    """Vectors of one shape, by the names of their arguments; `beside` are the call's other operands, `plain` says why it runs in PyTorch operations, if it does."""
    reduce.check(reduction, normalizer)
    first, x = next(iter(given.items()))
    for name, y in given.items():
        checks.floating(name, y, first)
    if not x.dim() or not x.shape[-1]:
        raise ValueError(f"{first} must hold vectors of at least one number along its last axis, shape {SHAPES}, got shape {checks.shown(x.shape)}")
    checks.alike(given)
    vectors = tuple(tensors.lasting(y) for y in given.values())
    dispatch.choice((*vectors, *beside), plain=plain)
    real = torch.float64 if any(real_dtype(y.dtype) is torch.float64 for y in vectors) else real_dtype(x.dtype)
    vectors = tuple(y.to(real) for y in vectors)
    factor = reduce.item_factor(vectors[0].select(-1, 0), mask, sample_weight, real, reduce.by_weights(reduction, normalizer), "unreduced loss")
    factor = reduce.unless_nothing_counts(factor, normalizer, x, x.shape[:-1])
    counts = None if factor is None else factor != 0
    harmless = None if counts is None else counts.unsqueeze(-1)
    return Vectors(tuple(reduce.present(y, harmless, 0.0) for y in vectors), factor, counts)


def scaled(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors over the largest size of their numbers, that size, and which vectors are 0: ones stand in for those, so that norms have derivatives.

    The size is held constant in derivatives: what is made of both does not depend on it.
    """
    size = x.detach().abs().amax(-1, keepdim=True)
    zero = size == 0.0
    return torch.where(zero, 1.0, x / torch.where(zero, 1.0, size)), size, zero


def distance(x: Tensor, y: Tensor, p: float, eps: float) -> Tensor:
    """The p-norm of x - y + eps; at 0 with gradient 0. Nothing over- or underflows on the way."""
    numbers, size, zero = scaled(x - y + eps)
    # for p=inf, vector_norm refuses a batch of nothing on the meta device
    norm = numbers.abs().amax(-1, keepdim=True) if p == math.inf else torch.linalg.vector_norm(numbers, p, -1, keepdim=True)
    return torch.where(zero, 0.0, size * norm).squeeze(-1)


def directions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length 1, and which have no direction: they are 0 and get no gradient."""
    numbers, _, zero = scaled(x)
    return torch.where(zero, 0.0, numbers / torch.linalg.vector_norm(numbers, 2, -1, keepdim=True)), zero.squeeze(-1)


def hardest(x: Tensor, labels: Tensor, counts: Tensor | None, p: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of each vector of (..., N, D): the place of the farthest other of its label, that of the nearest of other labels, and whether it counts and has both.

    Without both, it is its own. Distances are of differences, not made of products, so none is lost far from the origin; some rows of them are held at a time.
    """
    finite = x.isfinite().all(-1)
    x = torch.where(finite.unsqueeze(-1), x, 0.0)
    size = x.abs().amax((-2, -1), keepdim=True) if x.shape[-2] else torch.ones((), dtype=x.dtype, device=x.device)
    x = x * torch.where(size == 0.0, 1.0, torch.frexp(size).mantissa / size)  # by a power of 2, which rounds nothing
    count = x.shape[-2]
    places = torch.arange(count, dtype=torch.long, device=x.device)
    if not count:
        none = places.expand(labels.shape)
        return none, none, none != none
    rows = max(1, CELLS // max(labels.numel(), 1))
    parts = [_hardest(x, finite, labels, counts, p, begin, min(rows, count - begin)) for begin in range(0, count, rows)]
    far, near, found = (torch.cat(part, -1) for part in zip(*parts, strict=True))
    return torch.where(found, far, places), torch.where(found, near, places), found


def _hardest(x: Tensor, finite: Tensor, labels: Tensor, counts: Tensor | None, p: float, begin: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same for some of the anchors."""
    places = torch.arange(x.shape[-2], dtype=torch.long, device=x.device)
    apart = torch.cdist(x.narrow(-2, begin, rows), x, p, "donot_use_mm_for_euclid_dist")
    apart = torch.where(finite.unsqueeze(-2), apart, torch.nan)  # which is farthest and nearest at once
    alike = labels.narrow(-1, begin, rows).unsqueeze(-1) == labels.unsqueeze(-2)
    positive, negative = alike & (places != places.narrow(0, begin, rows).unsqueeze(-1)), ~alike
    if counts is not None:
        positive, negative = positive & counts.unsqueeze(-2), negative & counts.unsqueeze(-2)
    found = positive.any(-1) & negative.any(-1)
    if counts is not None:
        found = found & counts.narrow(-1, begin, rows)
    return torch.where(positive, apart, -torch.inf).argmax(-1), torch.where(negative, apart, torch.inf).argmin(-1), found


def picked(x: Tensor, places: Tensor) -> Tensor:
    """The vectors of (..., N, D) at places (..., N)."""
    return x.gather(-2, places.unsqueeze(-1).expand(x.shape))
