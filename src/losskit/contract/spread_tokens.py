"""What is known of each token's distribution where its classes are spread over the ranks of a group: entropy, and the most probable classes of all."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from losskit.contract import items, reduce
from losskit.contract.elementwise import Operand
from losskit.contract.groups import gathered
from losskit.contract.shards import IGNORED, among, level
from losskit.contract.tokens import TokenLook, TokenParts, checked, parts_of
from losskit.engines import dispatch
from losskit.engines.call import Losses, Rows, real_dtype
from losskit.engines.language import identity
from losskit.engines.scores import memory_of
from losskit.engines.torch.elementwise import bound


def surprise(nll, hit, miss, spread, lse, weight):  # type: ignore[no-untyped-def]
    """How improbable a class is."""
    return nll, 1.0 + 0.0 * hit, 0.0 * hit, 0.0 * hit


class OwnLook(NamedTuple):
    """Sees the scores of this rank's classes (a `Look`): gives their log-sum-exp, what `tokens` gives, and the scores of the most probable."""

    tokens: TokenLook

    def seen(self, losses: Losses, call: Rows, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As of `Look`."""
        lse, (entropy, *top) = losses("rows", call, operands), self.tokens.seen(losses, call._replace(formula=surprise), operands)
        scores = bound(call.link or identity)(operands[0].gather(-1, top[1]).to(lse.dtype), call.link_parameter)[0]
        return lse, entropy, top[0], scores, top[1]

    def like(self, losses: Tensor) -> tuple[Tensor, ...]:
        """As of `Look`."""
        entropy, *top = self.tokens.like(losses)
        return losses, entropy, top[0], top[0], top[1]

    def kept(self, seen: tuple[Tensor, ...]) -> None:
        """As of `Look`."""


def own_parts(
    look: TokenLook, scores: Tensor, counts: Tensor, link: tuple[Callable[..., Any], float] | None, temperature: tuple[Operand, ...]
) -> tuple[Tensor, ...]:
    """What this rank's look gives of all tokens."""
    real, device, shape = real_dtype(scores.dtype), scores.device, counts.shape
    if not scores.shape[-1]:
        nothing = torch.zeros(*shape, 0, dtype=real, device=device)
        return torch.full(shape, -torch.inf, dtype=real, device=device), torch.zeros(shape, dtype=real, device=device), nothing, nothing, nothing.long()
    function, parameter = link or (None, 0.0)
    call = Rows(level, (), None, None, function, parameter, IGNORED, scores.dim() - 1, None, bool(temperature))
    numbers = items.checked(temperature, torch.zeros((), dtype=scores.dtype, device=device).expand(*shape, 1), -1)
    operands = (scores, torch.where(counts, 0, IGNORED), *numbers)
    engine, _ = dispatch.choice(memory_of(operands))
    found = reduce.run("rows", engine, call, operands, None, look=OwnLook(look))[1]
    assert found is not None and found.seen is not None
    return found.seen


@torch.no_grad()
def parts_over_ranks(
    look: TokenLook,
    scores: Tensor,
    target: Tensor,
    group: ProcessGroup,
    *,
    ignore_index: int,
    mask: Tensor | None,
    link: tuple[Callable[..., Any], float] | None,
    temperature: tuple[Operand, ...],
) -> TokenParts:
    """The parts of all classes, the same on every rank: one more pass over this rank's scores, and a gathering of what it finds."""
    rank, here, wanted = distributed.get_rank(group), scores.shape[-1], look.top_k
    told = gathered(torch.tensor((here, wanted), dtype=torch.int64, device=scores.device), group).tolist()
    classes = [own for own, _ in told]
    if any(asked != wanted for _, asked in told):
        raise ValueError(f"top_k must be the same on all ranks of class_group, got {', '.join(str(asked) for _, asked in told)}: give the same on each")
    checked(wanted, True, sum(classes))
    counts = items.counting(target, ignore_index, mask)
    assert counts is not None
    counts = counts.expand(target.shape)
    lse, entropy, *top = own_parts(look._replace(top_k=min(wanted, here)), scores, counts, link, temperature)
    levels = gathered(lse, group)
    others = torch.cat((levels[:rank], levels[rank + 1 :]))
    rest = others.logsumexp(0) if len(others) else torch.full_like(lse, -torch.inf)
    mine, _, below, _ = bound(among)(lse, rest)
    whole = gathered(torch.where(mine == 0.0, 0.0, mine * (entropy + below)), group).sum(0)
    values, best, indices = top
    if not wanted:
        return parts_of((whole, values, indices), target, ignore_index, mask)
    spare = wanted - values.shape[-1]  # every rank sends as many
    numbers = gathered(torch.nn.functional.pad(torch.stack((values - below[..., None], best)), (0, spare)), group)
    names = gathered(torch.nn.functional.pad(indices + sum(classes[:rank]), (0, spare)), group)
    found = torch.cat([y[..., : min(wanted, own)] for y, own in zip(numbers, classes, strict=True)], -1)
    named = torch.cat([y[..., : min(wanted, own)] for y, own in zip(names, classes, strict=True)], -1)
    order = found[1].sort(stable=True, dim=-1, descending=True).indices[..., :wanted]  # by scores, for how far they lie below all is rounded
    return parts_of((whole, found[0].gather(-1, order), named.gather(-1, order)), target, ignore_index, mask)
