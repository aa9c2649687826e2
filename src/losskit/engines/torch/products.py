"""Scores that are a product, in PyTorch operations. Where no transform looks on, chunks are computed again in the backward (`torch.utils.checkpoint`), to any order
of derivative, so that the scores are never whole there either."""

from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from losskit.engines import dispatch, fused
from losskit.engines.call import Look, Product, Results, Teacher, real_dtype
from losskit.engines.laid import CHUNK, Laid, counting, items_of_chunk, laid, part_of
from losskit.engines.protocol import Gradients
from losskit.engines.scores import largest, linear, probabilities, ruled_out, together
from losskit.engines.torch import distributions, elementwise, rows
from losskit.engines.torch.elementwise import scaled_sum

PATTERNS: dict[str, ModuleType] = {"elementwise": elementwise, "rows": rows, "distributions": distributions}


def multiplied(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The scores. A CPU multiplies float16 a hundred times slower than float32."""
    if x.dtype is torch.float16 and x.is_cpu:
        x, weight, bias = x.float(), weight.float(), None if bias is None else bias.float()
    return linear(x, weight, bias)


def of_loss(call: Product, given: Laid) -> Sequence[Tensor]:
    """The loss's operands: the scores, its target, which may be made, and the others."""
    scores, _ = largest(ruled_out(multiplied(given.x, given.weight, given.bias), given.without), call.centers)
    if call.made is None:
        return scores, *given.others
    rows, *others = given.others
    with torch.no_grad():
        if isinstance(call.made, Teacher):
            return scores, probabilities(multiplied(rows, *call.made.factors[1:]), call.made.temperature), *others
        return scores, together(call.made, rows, real_dtype(scores.dtype), given.without), *others


def cut(given: Laid, begin: int, count: int) -> Laid:
    """Some of the items."""
    return part_of(given, lambda y: y.narrow(0, begin, count))


def present(given: Laid) -> Laid:
    """What absent items hold reaches no product."""
    counts = counting(given)
    return given if counts is None else given._replace(x=torch.where(counts[:, None], given.x, 0.0))


def losses(call: Product, *factors: Tensor) -> Tensor:
    """The loss of each item, or of each score where it is one of elements."""
    given = present(laid(call, factors))
    recorded = torch.is_grad_enabled()
    step = items_of_chunk(given.items, given.weight, given.x.dtype.itemsize, CHUNK, call.chunk)
    if step >= given.items or dispatch.watched() is not None:
        step, recorded = max(given.items, 1), False

    def of_some(part: Laid) -> Tensor:
        result: Tensor = PATTERNS[call.pattern].losses(part.loss, *of_loss(call, part))
        return result.sum(-1) if call.summed else result

    found = []
    for begin in range(0, max(given.items, 1), step):
        part = cut(given, begin, min(step, given.items - begin))
        found.append(checkpoint(of_some, part, use_reentrant=False) if recorded else of_some(part))
    each = torch.cat(found) if len(found) > 1 else found[0]
    return each.reshape((*given.shape, *each.shape[1:]))


def other_losses(pattern: str, call: Any, operands: tuple[Tensor, ...]) -> Tensor:
    """Another pass over scores."""
    value: Tensor = PATTERNS[pattern].losses(call, *operands)
    return value


def by_products(call: Product, *factors: Tensor, look: Look | None = None) -> Results:
    """As of rows and distributions; or what `look` sees."""
    with torch.no_grad():
        given = present(laid(call, factors))
        step = items_of_chunk(given.items, given.weight, given.x.dtype.itemsize, CHUNK, call.chunk)
        found = []
        for begin in range(0, max(given.items, 1), step):
            part = cut(given, begin, min(step, given.items - begin))
            operands = tuple(of_loss(call, part))
            if look is None:
                found.append(PATTERNS[call.pattern].by_products(part.loss, *operands))
            else:
                found.append(Results(None, None, seen=look.seen(other_losses, part.loss, operands)))  # type: ignore[arg-type]

        def whole(name: str) -> Tensor | None:
            parts = [getattr(each, name) for each in found]
            return None if parts[0] is None else torch.cat(parts).reshape(given.shape)

        seen = (
            None
            if look is None
            else tuple([torch.cat(parts).reshape((*given.shape, *parts[0].shape[1:])) for parts in zip(*(each.seen or () for each in found), strict=True)])
        )
        return Results(None, whole("value"), (), whole("lse"), whole("right"), seen)


def gradients(call: Product, operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> Gradients:
    """The gradient of `losses` times `incoming`, differentiable again."""
    return fused.of_sums(partial(losses, call), operands, incoming, wants)


def total(call: Product, operands: tuple[Tensor, ...], scale: float | Tensor) -> Tensor:
    """The sum of the losses times `scale`; attached to the graph even when nothing counts."""
    return scaled_sum(losses(with_scale(call, operands[0], scale), *operands), scale)


def with_scale(call: Product, x: Tensor, scale: float | Tensor) -> Product:
    """A scale of 0 says that nothing counts."""
    scores = torch.zeros((), dtype=x.dtype, device=x.device).expand(*x.shape[:-1], 1)  # of which only the shape is read
    return call._replace(loss=PATTERNS[call.pattern].with_scale(call.loss, scores, scale))
