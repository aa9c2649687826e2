"""The operators of `operators.py`, registered with PyTorch: what each computes, the shapes of what it gives, and its gradients.

The sum of losses gives the gradients with it, as the eager pass does. In the backward they are multiplied by what comes in, which the compiler does with whatever else it
has to do there; in half precision the engine does it, in one rounding. A backward that is to be differentiated again consists of plain operations.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from losskit.engines import dispatch, fused
from losskit.engines.call import Product, Rows, real_dtype
from losskit.engines.operators import call_of

FULL = (torch.float32, torch.float64)


def plain(pattern: str) -> Any:
    """The pattern in PyTorch operations."""
    return importlib.import_module(f"losskit.engines.torch.{pattern}")


def laid_as(like: Tensor, found: Tensor | None) -> Tensor:
    """A gradient in the dtype and memory layout that the compiler was told; of what wants none, nothing."""
    if found is None:
        return like.new_empty(0)
    told = torch.empty_like(like)
    return found if found.stride() == told.stride() and found.dtype is told.dtype else told.copy_(found)


def now(operands: Sequence[Tensor], wants: Sequence[bool]) -> tuple[bool, ...]:
    """The gradients that the forward gives: in half precision none, for those must be multiplied before they are rounded."""
    full = all(x.dtype in FULL for x, wanted in zip(operands, wants, strict=True) if wanted)
    return tuple(bool(wanted and full) for wanted in wants)


def refuse_labels(call: Any, operands: Sequence[Tensor]) -> None:
    """Raises for a label that is no class: a loop would read and write beside its memory, and the compiler has let no check look at numbers."""
    if isinstance(call, Product):
        loss: Any = call.loss
        classes, target = operands[1].shape[0], operands[2 + call.biased]
    else:
        loss, target = call, operands[1]
        classes = operands[0].shape[getattr(call, "dim", 0)] if operands[0].dim() else 0
    if not (isinstance(loss, Rows) or getattr(loss, "kind", "") == "label") or (isinstance(call, Product) and call.made is not None):
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


@torch.library.custom_op("losskit::total", mutates_args=())
def total(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], scale: Tensor, wants: list[bool]) -> list[Tensor]:
    """The sum of the losses times `scale`; the gradients of the operands."""
    pattern, call = call_of(plan, numbers, kept)
    refuse_labels(call, operands)
    own = now(operands, wants)
    found = dispatch.pattern("cpu", pattern).run(call, tuple(operands), scale=float(scale), wants=own if any(own) else ())
    gradients = found.gradients or (None,) * len(operands)
    assert found.total is not None
    return [found.total, *(laid_as(x, g) for x, g in zip(operands, gradients, strict=True))]


@total.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], scale: Tensor, wants: list[bool]) -> list[Tensor]:
    x = operands[0]
    return [x.new_empty((), dtype=real_dtype(x.dtype)), *nothing_or_like(operands, now(operands, wants))]


@torch.library.custom_op("losskit::rescaled", mutates_args=())
def rescaled(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], scale: Tensor, incoming: Tensor, wants: list[bool]) -> list[Tensor]:
    """The gradients of `total`, times the incoming one."""
    pattern, call = call_of(plan, numbers, kept)
    found = dispatch.pattern("cpu", pattern).rescaled(None, incoming, call, tuple(operands), float(scale), tuple(wants))
    return [laid_as(x, g) for x, g in zip(operands, found, strict=True)]


@rescaled.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], scale: Tensor, incoming: Tensor, wants: list[bool]) -> list[Tensor]:
    return nothing_or_like(operands, wants)


def keep_total(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    """For the backward of `total`."""
    ctx.plan, numbers, operands, kept, scale, ctx.wants = inputs
    ctx.kept = len(kept)
    ctx.save_for_backward(numbers, scale, *output[1:], *operands, *kept)


def total_backward(ctx: Any, incoming: Sequence[Tensor]) -> tuple[Any, ...]:
    """The gradients, times what comes in for the sum; nothing comes in for them."""
    (numbers, scale, *saved), count, g = ctx.saved_tensors, len(ctx.wants), incoming[0]
    given, operands, kept = saved[:count], tuple(saved[count : 2 * count]), saved[2 * count :]
    found: Sequence[Tensor | None]
    if torch.is_grad_enabled():
        pattern, call = call_of(ctx.plan, numbers, kept)
        found = plain(pattern).gradients(plain(pattern).with_scale(call, operands[0], scale), operands, g * scale, tuple(ctx.wants))
    elif now(operands, ctx.wants) == tuple(ctx.wants):
        found = [torch.where(g == 0, 0.0, x * g).to(x.dtype) if wanted else None for x, wanted in zip(given, ctx.wants, strict=True)]
    else:
        found = rescaled(ctx.plan, numbers, list(operands), kept, scale, g, ctx.wants)
    return None, None, wanted_alone(found, ctx.wants), [None] * ctx.kept, None, None


total.register_autograd(total_backward, setup_context=keep_total)


@torch.library.custom_op("losskit::each", mutates_args=())
def each(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], shape: list[int], wants: list[bool]) -> Tensor:
    """One loss per item."""
    pattern, call = call_of(plan, numbers, kept)
    refuse_labels(call, operands)
    value: Tensor = dispatch.pattern("cpu", pattern).run(call, tuple(operands), each=True).value
    return value.reshape(shape).contiguous()


@each.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], shape: list[int], wants: list[bool]) -> Tensor:
    return operands[0].new_empty(shape, dtype=real_dtype(operands[0].dtype))


@torch.library.custom_op("losskit::by_each", mutates_args=())
def by_each(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], incoming: Tensor, wants: list[bool]) -> list[Tensor]:
    """The gradients of the items' losses, times one number for each."""
    pattern, call = call_of(plan, numbers, kept)
    found = dispatch.pattern("cpu", pattern).run(call, tuple(operands), incoming=incoming, wants=tuple(wants)).gradients
    return [laid_as(x, g) for x, g in zip(operands, found, strict=True)]


@by_each.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], incoming: Tensor, wants: list[bool]) -> list[Tensor]:
    return nothing_or_like(operands, wants)


def keep_items(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """For the backward of `each` and of `sums`."""
    ctx.plan, numbers, operands, kept, _, ctx.wants = inputs
    ctx.kept = len(kept)
    ctx.save_for_backward(numbers, *operands, *kept)


def each_backward(ctx: Any, incoming: Tensor) -> tuple[Any, ...]:
    """As `fused.Each`."""
    (numbers, *saved), count = ctx.saved_tensors, len(ctx.wants)
    operands, kept = tuple(saved[:count]), saved[count:]
    found: Sequence[Tensor | None]
    if torch.is_grad_enabled():
        pattern, call = call_of(ctx.plan, numbers, kept)
        found = plain(pattern).gradients(call, operands, incoming, tuple(ctx.wants))
    else:
        found = by_each(ctx.plan, numbers, list(operands), kept, incoming, ctx.wants)
    return None, None, wanted_alone(found, ctx.wants), [None] * ctx.kept, None, None


each.register_autograd(each_backward, setup_context=keep_items)


@torch.library.custom_op("losskit::sums", mutates_args=())
def sums(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], shape: list[int], wants: list[bool]) -> Tensor:
    """The sums of each sample and class."""
    _, call = call_of(plan, numbers, kept)
    refuse_labels(call, operands)
    found: Tensor = dispatch.pattern("cpu", "overlap").sums(call, *operands)
    return found.reshape(shape).contiguous()


@sums.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], shape: list[int], wants: list[bool]) -> Tensor:
    return operands[0].new_empty(shape, dtype=torch.float64)


@torch.library.custom_op("losskit::by_sums", mutates_args=())
def by_sums(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], incoming: Tensor, wants: list[bool]) -> list[Tensor]:
    """The gradients of the sums, times what comes in for each."""
    _, call = call_of(plan, numbers, kept)
    found = dispatch.pattern("cpu", "overlap").gradients(call, *operands, incoming, *wants)
    return [laid_as(x, g) for x, g in zip(operands, found, strict=True)]


@by_sums.register_fake
def _(plan: str, numbers: Tensor, operands: list[Tensor], kept: list[Tensor], incoming: Tensor, wants: list[bool]) -> list[Tensor]:
    return nothing_or_like(operands, wants)


def sums_backward(ctx: Any, incoming: Tensor) -> tuple[Any, ...]:
    """As `fused.Sums`."""
    numbers, *saved = ctx.saved_tensors
    operands, kept = tuple(saved[:2]), saved[2:]
    found: Sequence[Tensor | None]
    if torch.is_grad_enabled():
        _, call = call_of(ctx.plan, numbers, kept)
        found = fused.of_sums(lambda x, t: plain("overlap").sums(call, x, t), operands, incoming, tuple(ctx.wants))
    else:
        found = by_sums(ctx.plan, numbers, list(operands), kept, incoming, ctx.wants)
    return None, None, wanted_alone(found, ctx.wants), [None] * ctx.kept, None, None


sums.register_autograd(sums_backward, setup_context=keep_items)
