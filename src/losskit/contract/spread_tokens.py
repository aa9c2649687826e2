"""What is known of each token's distribution where its classes are spread over the ranks of a group: entropy, and the most probable classes of all."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from losskit.contract import checks, items, products, reduce
from losskit.contract.elementwise import Operand
from losskit.contract.groups import Refused, gathered, meet, refusals_told
from losskit.contract.shards import IGNORED, among, level, ruled_out
from losskit.contract.tokens import TokenLook, TokenParts, checked, parts_of, whole_number
from losskit.engines import dispatch
from losskit.engines.call import Losses, Rows, real_dtype
from losskit.engines.language import identity
from losskit.engines.scores import memory_of
from losskit.engines.torch.elementwise import bound


class Asked(NamedTuple):
    """What a rank tells the others first: whether it refuses its input, whether it wants parts, how many of the most probable classes, and how many classes it has."""

    refuses: float = 1.0
    parts: float = 0.0
    top_k: float = 0.0
    classes: float = 0.0


def classes_of(input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None, group: ProcessGroup, return_parts: bool, top_k: int) -> list[int]:
    """How many classes each rank has, once all are found to want the same parts."""
    if dispatch.asked():  # nothing is sent
        dispatch.choice((input, linear_weight))
    with refusals_told(group, input, Asked()):
        products.checked(input, linear_weight, linear_bias)
        checks.flag("return_parts", return_parts)
        mine = Asked(0.0, float(return_parts), float(whole_number(top_k)), float(linear_weight.shape[0]))
    told = meet(group, input, mine)
    for other, each in enumerate(told):
        if each.refuses:
            raise Refused(f"rank {other} of class_group has refused its input: see what it raises")
    wanted: dict[str, list[Any]] = {"return_parts": [bool(each.parts) for each in told], "top_k": [int(each.top_k) for each in told]}
    for name, given in wanted.items():
        if len(set(given)) > 1:
            raise ValueError(f"{name} must be the same on all ranks of class_group, got {', '.join(map(str, given))}: give the same on each")
    classes = [int(each.classes) for each in told]
    checked(top_k, return_parts, sum(classes))
    return classes


def surprise(nll, hit, miss, spread, lse, weight):  # type: ignore[no-untyped-def]
    """How improbable a class is."""
    return nll, 1.0 + 0.0 * hit, 0.0 * hit, 0.0 * hit


class OwnLook(NamedTuple):
    """Sees the scores of this rank's classes (a `Look`): gives their log-sum-exp, what `tokens` gives, and the scores of the most probable."""

    tokens: TokenLook

    def seen(self, losses: Losses, call: Rows, operands: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """As of `Look`."""
        lse, gone = ruled_out(losses("rows", call, operands), lambda: operands[0], call.dim)
        entropy, *top = self.tokens.seen(losses, call._replace(formula=surprise), operands)
        if gone is not None:  # these classes hold nothing of the distribution
            entropy, top[0] = torch.where(gone, 0.0, entropy), torch.where(gone[..., None], -torch.inf, top[0])
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
    classes: list[int],
    *,
    ignore_index: int,
    mask: Tensor | None,
    link: tuple[Callable[..., Any], float] | None,
    temperature: tuple[Operand, ...],
) -> TokenParts:
    """The parts of all `classes`, so many on each rank, the same on every rank: one more pass over this rank's scores, and a gathering of what it finds."""
    rank, here, wanted = distributed.get_rank(group), scores.shape[-1], look.top_k
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
