"""The operators of `operators.py`, registered with PyTorch: what each computes, the shapes of what it gives, and its gradients.

The sum of losses makes the gradients with it, as the eager pass does, and hands them over likewise: they are no output, which the compiler would have copied to be
multiplied by what comes in, mostly 1, but hang on a small tensor that is (`held`), and go with it. Where they are gone, after a backward or because the small tensor was
copied on its way, they are made again. A backward that is to be differentiated again consists of plain operations.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from losskit.engines import values
from losskit.engines.call import Beside, Looked, Product, Results, Rows, real_dtype
from losskit.engines.operators import call_like, call_of, pattern_of


def laid_as(like: Tensor, found: Tensor | None) -> Tensor:
    """A gradient in the dtype and memory layout that the compiler was told; of what wants none, nothing."""
    if found is None:
        return like.new_empty(0)
    told = torch.empty_like(like)
    return found if found.stride() == told.stride() and found.dtype is told.dtype else told.copy_(found)


def held(x: Tensor, gradients: Sequence[Tensor | None]) -> Tensor:
    """A small tensor with gradients that the backward may take, once: what is no tensor's number does not show in a graph."""
    token = x.new_zeros(1, dtype=torch.uint8)
    token.gradients = list(gradients)  # type: ignore[attr-defined]
    return token


def refuse_labels(call: Any, operands: Sequence[Tensor]) -> None:
    """Raises for a label that is no class: a loop would read and write beside its memory, and the compiler has let no check look at numbers."""
    call = call.product if isinstance(call, Looked) else call
    if isinstance(call, Product):
        loss: Any = call.loss
        classes, target = operands[1].shape[0], operands[2 + call.biased]
    else:
        loss, target = call, operands[1]
        classes = operands[0].shape[getattr(call, "dim", 0)] if operands[0].dim() else 0
    if not (isinstance(loss, (Rows, Beside)) or getattr(loss, "kind", "") == "label") or (isinstance(call, Product) and call.made is not None):
        return
    labels = target.long()
    bad = (labels != loss.ignore) & ((labels < 0) | (labels >= classes))
    if loss.factor is not None and loss.factor.dim() == bad.dim():
        bad = bad & (loss.factor != 0)
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"target must hold labels from 0 to {classes - 1} (the input has {classes} classes) or ignore_index={loss.ignore}, got {int(labels[place])} at index {place}"
        )


def nothing_or_like(operands: Sequence[Tensor], wants: Sequence[bool]) -> list[Tensor]:
    """What gradients look like."""
    return [torch.empty_like(x) if wanted else x.new_empty(0) for x, wanted in zip(operands, wants, strict=True)]


def wanted_alone(found: Sequence[Tensor | None], wants: Sequence[bool]) -> list[Tensor | None]:
    """Gradients, and None for who wants none."""
    return [x if wanted else None for x, wanted in zip(found, wants, strict=True)]


def by_products_of(found: Results, shape: list[int], parts: int) -> list[Tensor]:
    """As many of an item's loss, its log-sum-exp and whether its label is the class with the largest score as are asked for."""
    return [x.reshape(shape).contiguous() for x in (found.value, found.lse, found.right)[:parts] if x is not None]


def by_products_like(x: Tensor, shape: list[int], parts: int) -> list[Tensor]:
    """What they look like."""
    real = real_dtype(x.dtype)
    return [x.new_empty(shape, dtype=dtype) for dtype in (real, real, torch.bool)[:parts]]


@torch.library.custom_op("losskit::total", mutates_args=())
def total(
    plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], scale: Tensor, wants: list[bool], shape: list[int], parts: int
) -> list[Tensor]:
    """The sum of the losses times `scale`; what holds the gradients of the operands; by-products of the shape of the items."""
    pattern, call = call_of(plan, numbers, kept)
    refuse_labels(call, operands)
    options = {"by_products": True} if parts else {}
    found = values.loops(pattern).run(call, tuple(operands), scale=float(scale), wants=tuple(wants) if any(wants) else (), **options)
    return [found.total, held(operands[0], found.gradients), *by_products_of(found, shape, parts)]


@total.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], scale: Tensor, wants: list[bool], shape: list[int], parts: int) -> list[Tensor]:
    x = operands[0]
    return [x.new_empty((), dtype=real_dtype(x.dtype)), x.new_zeros(1, dtype=torch.uint8), *by_products_like(x, shape, parts)]


@torch.library.custom_op("losskit::rescaled", mutates_args=())
def rescaled(
    plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], scale: Tensor, token: Tensor, incoming: Tensor, wants: list[bool]
) -> list[Tensor]:
    """The gradients of `total`, times the incoming one: those that hang on `token`, if they are still there."""
    pattern, call = call_of(plan, numbers, kept)
    given = vars(token).pop("gradients", None)
    found = given if given and incoming.item() == 1.0 else values.loops(pattern).rescaled(given, incoming, call, tuple(operands), float(scale), tuple(wants))
    return [laid_as(x, g) for x, g in zip(operands, found, strict=True)]


@rescaled.register_fake
def _(
    plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], scale: Tensor, token: Tensor, incoming: Tensor, wants: list[bool]
) -> list[Tensor]:
    return nothing_or_like(operands, wants)


# PyTorch takes a list without anything in it, such as the shape of one number, for one of tensors, whose gradients are then a list, too


def keep_total(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    """For the backward of `total`."""
    ctx.set_materialize_grads(False)  # zeros for what nothing comes in for may be as large as the input
    ctx.plan, numbers, operands, kept, scale, ctx.wants, shape, _ = inputs
    ctx.kept, ctx.for_shape = len(kept), None if shape else []
    ctx.save_for_backward(numbers, scale, output[1], *operands, *kept)


def total_backward(ctx: Any, incoming: Sequence[Tensor | None]) -> tuple[Any, ...]:
    """The gradients, times what comes in for the sum; nothing comes in for by-products."""
    (numbers, scale, token, *saved), count, g = ctx.saved_tensors, len(ctx.wants), incoming[0]
    operands, kept = tuple(saved[:count]), saved[count:]
    found: Sequence[Tensor | None]
    if g is None:
        found = [None] * count
    elif torch.is_grad_enabled():
        pattern, call = call_of(ctx.plan, numbers, kept)
        plain = values.plain(pattern)
        found = plain.gradients(plain.with_scale(call, operands[0], scale), operands, g * scale, tuple(ctx.wants))
    else:
        found = rescaled(ctx.plan, numbers, list(operands), kept, scale, token, g, ctx.wants)
    return None, None, wanted_alone(found, ctx.wants), [None] * ctx.kept, None, None, ctx.for_shape, None


total.register_autograd(total_backward, setup_context=keep_total)


@torch.library.custom_op("losskit::each", mutates_args=())
def each(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], wants: list[bool], shape: list[int], parts: int) -> list[Tensor]:
    """One loss per item, or sums, of a shape; and what the pass leaves for its backward, or by-products, the first of which is the losses."""
    pattern, call = call_of(plan, numbers, kept)
    refuse_labels(call, operands)
    if parts:
        return by_products_of(values.loops(pattern).run(call, tuple(operands), each=True, by_products=True), shape, parts)
    found, *left = values.of(pattern).run(call, tuple(operands), tuple(wants))
    return [found.reshape(shape).contiguous(), *left]


@each.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], wants: list[bool], shape: list[int], parts: int) -> list[Tensor]:
    x, kind = operands[0], values.of(pattern_of(plan))
    if parts:
        return by_products_like(x, shape, parts)
    return [
        x.new_empty(shape, dtype=torch.float64 if kind.exact else real_dtype(x.dtype)),
        *kind.left_like(call_like(plan, kept), tuple(operands), tuple(wants)),
    ]


@torch.library.custom_op("losskit::by_each", mutates_args=())
def by_each(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], left: list[Tensor], incoming: Tensor, wants: list[bool]) -> list[Tensor]:
    """The gradients of what `each` gives, times what comes in for it."""
    pattern, call = call_of(plan, numbers, kept)
    found = values.of(pattern).gradients(call, tuple(operands), left, incoming, tuple(wants))
    return [laid_as(x, g) for x, g in zip(operands, found, strict=True)]


@by_each.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], left: list[Tensor], incoming: Tensor, wants: list[bool]) -> list[Tensor]:
    return nothing_or_like(operands, wants)


def keep_each(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    """For the backward of `each`."""
    ctx.set_materialize_grads(False)
    ctx.plan, numbers, operands, kept, ctx.wants, shape, parts = inputs
    ctx.kept, ctx.for_shape = len(kept), None if shape else []
    left = output[1:] if not parts and values.of(pattern_of(ctx.plan)).keeps else []
    ctx.left = len(left)
    ctx.save_for_backward(numbers, *left, *operands, *kept)


def each_backward(ctx: Any, incoming: Sequence[Tensor | None]) -> tuple[Any, ...]:
    """As of `fused.Each`; nothing comes in for what the pass leaves, nor for by-products."""
    (numbers, *saved), first, last = ctx.saved_tensors, ctx.left, ctx.left + len(ctx.wants)
    left, operands, kept = saved[:first], tuple(saved[first:last]), saved[last:]
    found: Sequence[Tensor | None]
    if incoming[0] is None:
        found = [None] * len(operands)
    elif torch.is_grad_enabled():
        pattern, call = call_of(ctx.plan, numbers, kept)
        found = values.of(pattern).again(call, operands, incoming[0], tuple(ctx.wants))
    else:
        found = by_each(ctx.plan, numbers, list(operands), kept, left, incoming[0], ctx.wants)
    return None, None, wanted_alone(found, ctx.wants), [None] * ctx.kept, None, ctx.for_shape, None


each.register_autograd(each_backward, setup_context=keep_each)


def again_by_each(
    plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], left: list[Tensor], incoming: Tensor, wants: list[bool]
) -> list[Tensor]:
    """The same in PyTorch operations, for a batch of incoming gradients (`is_grads_batched`)."""
    pattern, call = call_of(plan, numbers, kept)
    found = values.of(pattern).again(call, leaves(operands, wants), incoming, tuple(wants))
    return [x.new_empty(0) if g is None else g for x, g in zip(operands, found, strict=True)]


def rescaled_again(
    plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], scale: Tensor, token: Tensor, incoming: Tensor, wants: list[bool]
) -> list[Tensor]:
    """As `again_by_each`."""
    pattern, call = call_of(plan, numbers, kept)
    plain, given = values.plain(pattern), leaves(operands, wants)
    found = plain.gradients(plain.with_scale(call, given[0], scale), given, incoming * scale, tuple(wants))
    return [x.new_empty(0) if g is None else g for x, g in zip(operands, found, strict=True)]


def leaves(operands: Sequence[Tensor], wants: Sequence[bool]) -> tuple[Tensor, ...]:
    """Operands to take gradients by."""
    return tuple(x.detach().requires_grad_() if wanted else x.detach() for x, wanted in zip(operands, wants, strict=True))


BATCHED = torch.library.Library("losskit", "FRAGMENT")
BATCHED.impl("by_each", again_by_each, "Batched")
BATCHED.impl("rescaled", rescaled_again, "Batched")


@torch.library.custom_op("losskit::best", mutates_args=())
def best(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Of each box of the first side the largest similarity with one of the second, and which; without gradients."""
    pattern, call = call_of(plan, numbers, kept)
    value, index = values.loops(pattern).best(call, *operands)
    return value, index


@best.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor]) -> tuple[Tensor, Tensor]:
    a = operands[0]
    return a.new_empty(a.shape[:-1], dtype=real_dtype(a.dtype)), a.new_empty(a.shape[:-1], dtype=torch.int64)
