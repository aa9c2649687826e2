"""The contract for losses of sorted errors: one loss for each sample, or batch, and class, and their average."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from losskit.contract import checks, labels, reduce
from losskit.contract.checks import Numbers
from losskit.contract.overlap import Prepared, Task, prepare, refuse_outside
from losskit.contract.reduce import Normalizer
from losskit.contract.scores import Over, counting, inverse, numbers
from losskit.engines import dispatch, operators
from losskit.engines import ranked as fused
from losskit.engines.call import Ranked, real_dtype
from losskit.engines.protocol import ENGINES
from losskit.engines.torch import ranked as plain

Classes = Literal["auto", "present", "all"]
Average = Literal["nested", "macro", "none"]


class Averaging(NamedTuple):
    """How the losses of samples and classes become one."""

    present: bool
    joint: bool
    average: Average
    weight: Tensor | None
    normalizer: float | Tensor | None


def averaged(how: Averaging, sums: Tensor) -> tuple[Tensor, Tensor]:
    """From `RANKED`, (N or 1, C, 3), to the loss, and what multiplies the gradient of each sample's (or the batch's) class but for the incoming one."""
    losses, targets, items = sums.unbind(2)
    counts = (items > 0) & (targets > 0) if how.present else items > 0
    weight = None if how.weight is None else numbers(torch, how.weight, losses)
    kept = counting(torch, counts, torch.ones_like(losses), weight, how.average == "nested")
    losses = torch.where(kept != 0, losses, 0.0)
    if how.average == "none":
        return losses[0] if how.joint else losses, (kept != 0).to(kept.dtype)
    scale = inverse(torch, kept.sum() if how.normalizer is None else how.normalizer)
    return (kept * losses).sum() * scale, kept * scale


def ranked_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    classes: Classes,
    from_logits: bool,
    over: Over,
    average: Average,
    weight: Numbers | None,
    ignore_index: int,
    dim: int,
    mask: Tensor | None,
    normalizer: Normalizer | None,
) -> Tensor:
    """The Lovasz extension of the Jaccard loss, under the contract."""
    checks.one_of("over", over, get_args(Over))
    checks.one_of("average", average, get_args(Average))
    checks.one_of("classes", classes, get_args(Classes))
    checks.both(input, target)
    engine, _ = dispatch.choice((input, target))
    ready = prepare(input, target, task=task, from_logits=from_logits, dim=dim, ignore_index=ignore_index, mask=mask)
    x, t, overlap, _ = ready
    if overlap.kind == "number" and task == "multiclass":
        raise ValueError(
            f'target has the shape of the input, {checks.shown(input.shape)}: task="multiclass" takes one label per position, because soft targets cannot be '
            f"sorted by error. Try {labels.one_hot_labels(target, overlap.dim)}"
        )
    if t.requires_grad and torch.is_grad_enabled():
        raise ValueError("target must not require a gradient: it says what an item is, 0 or 1, and has no derivative. Try target.detach()")
    if normalizer is not None:
        if average == "none":
            raise ValueError('normalizer replaces the denominator of an average, but average is "none": divide the result instead')
        normalizer = reduce.divisor(normalizer, input)
    own = None if weight is None else labels.class_weights(weight, input, x.shape[overlap.dim])
    present = classes == "present" or (classes == "auto" and task == "multiclass")
    how = Averaging(present, over == "batch", average, own, normalizer)
    link: Literal["softmax", "hinge", "identity"] = "hinge" if overlap.link == "sigmoid" else overlap.link
    call = Ranked(link, overlap.kind, how.joint, ignore_index, overlap.dim, overlap.factor)
    real = real_dtype(x.dtype)
    loops = dispatch.pattern(engine, "ranked") if engine == ready.engine and not ENGINES[engine].plain else None
    given = operators.values("ranked", call, (x, t), x.numel()) if ENGINES[engine].plain else None
    if given is not None:
        value = averaged(how, given[0])[0].to(real)
    elif loops is None or not loops.takes(call, x):
        value = averaged(how, plain.sums(call, x, t))[0].to(real)
    elif torch.is_grad_enabled() and x.requires_grad:
        value = fused.ranked(x, t, fused.Step(call, how, loops, plain, averaged, real))
    else:
        value = averaged(how, loops.run(call, x, t)[0])[0].to(real)
    if (call.kind == "number" or link == "identity") and reduce.nan_seen(engine, x, value):
        refuse(ready)
    return value


def refuse(ready: Prepared) -> None:
    """Raises for a target that is neither 0 nor 1, or a probability outside [0, 1], among what counts."""
    refuse_outside(ready)
    x, t, call, _ = ready
    if call.kind == "label":
        return
    bad = (t != 0) & (t != 1) & (t != call.ignore)
    if call.factor is not None:
        bad = bad & (call.factor if call.factor.dim() == x.dim() else call.factor.unsqueeze(call.dim))
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        raise ValueError(
            f"target must be 0 or 1 (or ignore_index={call.ignore}), got {t[place].item()}: soft targets cannot be sorted by error. Try target > 0.5"
        )
