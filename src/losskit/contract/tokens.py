"""What is known of each token's distribution besides the log-probability of the chosen class: its entropy, and its most probable classes."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.contract import items
from losskit.engines.call import Distributions, Losses, Rows, real_dtype
from losskit.engines.language import identity
from losskit.engines.torch.elementwise import bound
from losskit.engines.torch.rows import distance, temperatures


class Top(NamedTuple):
    """The most probable classes of each token, as `torch.topk` gives them: the best first."""

    values: Tensor  # log-probabilities, (..., top_k); 0 for an absent token
    indices: Tensor  # classes, (..., top_k), int64; of equal scores the lowest first; -1 for an absent token


class TokenParts(NamedTuple):
    """What `linear_log_prob` returns besides log-probabilities: tensors without a graph, made without synchronising the device unless ranks must meet."""

    entropy: Tensor  # of each token's distribution, (...); 0 for an absent token
    top: Top


def whole_number(top_k: int) -> int:
    """The same, of whatever classes."""
    if isinstance(top_k, bool) or not isinstance(top_k, int):
        raise TypeError(f"top_k must be a whole number of classes, got {type(top_k).__name__}: {top_k!r}")
    return top_k


def checked(top_k: int, return_parts: bool, classes: int) -> int:
    """How many classes are wanted of each token."""
    if not 0 <= whole_number(top_k) <= classes:
        raise ValueError(f"top_k must be from 0 to the number of classes, {classes}, got {top_k}")
    if top_k and not return_parts:
        raise ValueError(f"top_k={top_k} asks for parts that are not returned: add return_parts=True, or leave top_k out")
    return top_k


def largest(scores: Tensor, count: int) -> Tensor:
    """The `count` classes with the largest scores along the last axis, the best first, of equal ones the lowest first. A NaN is larger than all numbers.

    Classes are cut into blocks. The wanted ones lie in as many blocks, those with the largest maxima: only these are sorted.
    """
    classes = scores.shape[-1]
    size = math.isqrt(classes // count)
    if size < 2:
        return scores.sort(stable=True, dim=-1, descending=True).indices[..., :count]
    whole = classes // size * size
    maxima = scores[..., :whole].unflatten(-1, (whole // size, size)).amax(-1)
    blocks = maxima.sort(stable=True, dim=-1, descending=True).indices[..., :count].sort(-1).values
    within = torch.arange(size, dtype=torch.int64, device=scores.device)
    rest = torch.arange(whole, classes, dtype=torch.int64, device=scores.device).expand(*blocks.shape[:-1], -1)
    candidates = torch.cat(((blocks[..., None] * size + within).flatten(-2), rest), -1)  # in their order
    order = scores.gather(-1, candidates).sort(stable=True, dim=-1, descending=True).indices[..., :count]
    return candidates.gather(-1, order)


class TokenLook(NamedTuple):
    """What sees the scores of labelled rows (a `Look`): gives entropies, log-probabilities of the most probable classes, and those classes."""

    entropy: Callable[..., Any]  # a formula of rows without a target
    top_k: int

    def seen(self, losses: Losses, call: Rows, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As of `Look`."""
        scores, _, *numbers = operands
        nothing = torch.empty(0, dtype=scores.dtype, device=scores.device)
        every = Distributions(self.entropy, link=call.link, link_parameter=call.link_parameter, kind="none", dim=call.dim, tempered=call.tempered)
        found = losses("distributions", every, (scores, nothing, *numbers))
        if not self.top_k:
            return self.like(found)
        best = largest(scores, self.top_k)
        # how improbable the best is keeps its digits in a pass; how much more the others are is a difference of scores
        first = losses("rows", call._replace(factor=None, ignore=-1), (scores, best[..., 0], *numbers))[..., None]
        s = bound(call.link or identity)(scores.gather(-1, best).to(real_dtype(scores.dtype)), call.link_parameter)[0]
        heat = temperatures(numbers[0].to(s.dtype))[..., None] if call.tempered else None
        return found, -(first + distance(s[..., :1], s, heat)), best

    def like(self, losses: Tensor) -> tuple[Tensor, ...]:
        """As of `Look`."""
        shape = (*losses.shape, self.top_k)
        return losses, losses.new_empty(shape), torch.empty(shape, dtype=torch.int64, device=losses.device)

    def kept(self, seen: tuple[Tensor, ...]) -> None:
        """As of `Look`."""


def parts_of(seen: tuple[Tensor, ...], target: Tensor, ignore_index: int, mask: Tensor | None) -> TokenParts:
    """The parts, with nothing of an absent token."""
    entropy, values, indices = (y.detach() for y in seen)
    counts = items.counting(target, ignore_index, mask)
    assert counts is not None
    counts = counts.expand(entropy.shape)
    here = counts[..., None]
    return TokenParts(torch.where(counts, entropy, 0.0), Top(torch.where(here, values, 0.0), torch.where(here, indices, -1)))
