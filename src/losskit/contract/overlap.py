"""The contract for losses of overlap: checked arguments, the pass for the sums, and what `scores.py` makes of them."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from losskit.contract import checks, groups, labels, reduce, tensors
from losskit.contract.checks import Numbers
from losskit.contract.groups import Group
from losskit.contract.passes import census
from losskit.contract.reduce import Normalizer
from losskit.contract.scores import Average, Empty, Extra, Finished, Over, Scoring, Volume, loss_of_sums, loss_without_graph, spread
from losskit.contract.together import Company
from losskit.engines import dispatch, fused, operators
from losskit.engines.call import Overlap, Rows, real_dtype
from losskit.engines.dispatch import EngineName
from losskit.engines.protocol import ENGINES
from losskit.engines.torch import overlap as plain
from losskit.engines.torch.elementwise import bound

Task = Literal["binary", "multiclass", "multilabel"]
TASKS, OVERS, AVERAGES, EMPTIES = (get_args(options) for options in (Task, Over, Average, Empty))
Smooth = float | tuple[float, float]


class Prepared(NamedTuple):
    """Checked tensors, the classes along an axis of the input, and who runs the pass."""

    input: Tensor
    target: Tensor
    call: Overlap
    engine: EngineName


def prepare(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    from_logits: bool,
    dim: int,
    ignore_index: int,
    mask: Tensor | None,
    squared: bool = False,
    formula: Callable[..., Any] | None = None,
    params: tuple[float, ...] = (),
) -> Prepared:
    """Input, target and mask, checked, as the engines take them."""
    if task not in TASKS:
        checks.one_of("task", task, TASKS)
    if from_logits is not True:
        checks.flag("from_logits", from_logits)
    labels.index(ignore_index)
    checks.both(input, target)
    if input.dim() == 0:
        raise ValueError("input has no samples: expected (N, C, ...), or (N, ...) with task='binary'")
    if task == "binary":
        input, target, mask, axis = binary(input, target, mask, dim)
    else:
        axis = samples_and_classes(input, target, dim, task)
    labelled = task == "multiclass" and target.shape != input.shape
    if labelled:
        labels.aligned(input, target, axis, axis, "labels")
    else:
        if task == "multilabel" and target.shape == checks.without(input.shape, axis):
            raise ValueError(
                f'task="multilabel" needs a number for each class, but target has shape {checks.shown(target.shape)} for an input of shape '
                f'{checks.shown(input.shape)}: for class labels, try task="multiclass"'
            )
        checks.pair(input, target)
        if task == "multiclass":
            labels.only_labels(ignore_index, input)
    factor = None
    if mask is not None:
        factor = of_positions(mask, target if labelled else target.select(axis, 0)) if task == "multiclass" else of_numbers(mask, input, axis)
    link: Literal["softmax", "sigmoid", "identity"] = "identity" if not from_logits else "softmax" if task == "multiclass" else "sigmoid"
    call = Overlap(link, "label" if labelled else "number", formula, params, squared, ignore_index, axis, factor)
    engine, (input, target), call = tensors.on_engine((input, target), call)
    if labelled and (ENGINES[engine].on_host or checks.readable(target)):  # only to refuse labels that are no class: on a GPU nobody looks at them
        census(engine, Rows(bound, ignore=ignore_index, dim=axis, factor=factor), input, target, False)
    return Prepared(input, target, call, engine)


def of_positions(mask: Tensor, one_class: Tensor) -> Tensor:
    """The mask of items, in the shape without the classes."""
    checks.mask(mask, one_class, "target")
    return mask.expand(one_class.shape)


def of_numbers(mask: Tensor, input: Tensor, axis: int) -> Tensor:
    """The mask where each class is a question of its own: of numbers, or of positions, the shape without the classes; not what could be either."""
    tensors.check("mask", mask)
    one_class = input.select(axis, 0)
    if not checks.fits(mask.shape, one_class.shape):
        checks.mask(mask, input)
        return mask.expand(input.shape)
    at_positions = (1,) * (one_class.dim() - mask.dim()) + mask.shape
    at_numbers = (1,) * (input.dim() - mask.dim()) + mask.shape
    if checks.fits(mask.shape, input.shape) and at_numbers != (*at_positions[:axis], 1, *at_positions[axis:]):
        raise ValueError(
            f"mask of shape {checks.shown(mask.shape)} could be of positions or of the last axes of the input's shape {checks.shown(input.shape)}: try "
            f"mask.expand{checks.shown(one_class.shape)}.unsqueeze({axis}) for positions, mask.expand{checks.shown(input.shape)} for numbers"
        )
    return of_positions(mask, one_class)


def binary(input: Tensor, target: Tensor, mask: Tensor | None, dim: int) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """One class, of which input and target have no axis yet."""
    if input.dim() > 1:
        axis = labels.class_axis(input, dim)
        channels = input.shape[axis]
        if channels > 1 and target.shape == checks.without(input.shape, axis):
            either = f", or input.select({axis}, 1) - input.select({axis}, 0)" if channels == 2 else ""
            raise ValueError(
                f'task="binary" takes one score per position, but input of shape {checks.shown(input.shape)} has {channels} channels for targets of shape '
                f'{checks.shown(target.shape)}: try task="multiclass"{either}'
            )
    checks.pair(input, target)
    if mask is not None:
        checks.mask(mask, input)
        mask = mask.expand(input.shape).unsqueeze(1)
    return input.unsqueeze(1), target.unsqueeze(1), mask, 1


def samples_and_classes(input: Tensor, target: Tensor, dim: int, task: Task) -> int:
    """The class axis, which is not that of the samples, and has classes to choose from."""
    axis = labels.axis_of(input, dim)
    if input.dim() == 1 or axis == 0:
        raise ValueError(
            f"input must be (N, C, ...), samples along axis 0 and classes along dim, got shape {checks.shown(input.shape)} and dim={dim}: try input[None]"
        )
    if input.shape[axis] < 2 and (task == "multiclass" or input.shape[axis] == 0):
        labels.several(input, axis, labels.ONE_CHANNEL if target.shape == input.shape else labels.ONE_LABEL)
    return axis


def smoothing(smooth: Smooth) -> tuple[float, float]:
    """What is added above and below the fraction bar."""
    if isinstance(smooth, Sequence) and not isinstance(smooth, str):  # a tuple, a list, or a configuration's own kind of list
        if len(smooth) != 2:
            raise ValueError(f"smooth must be a number or (numerator, denominator), got {smooth!r}")
        return checks.number("smooth", smooth[0], low=0.0), checks.number("smooth", smooth[1], low=0.0)
    number = checks.number("smooth", smooth, low=0.0)
    return number, number


def scoring(
    formula: Callable[..., Any],
    params: tuple[float, ...],
    input: Tensor,
    *,
    task: Task,
    dim: int,
    over: Over,
    average: Average,
    background: bool,
    empty: Empty,
    weight: Numbers | None,
    normalizer: Normalizer | None,
    process_group: Group | None,
    power: int = 1,
    score: bool = False,
    volume: Volume | None = None,
    extra: Extra | None = None,
) -> Scoring:
    """The checked arguments that say how sums become a loss."""
    for name, value, known in (("over", over, OVERS), ("average", average, AVERAGES), ("empty", empty, EMPTIES)):
        if value not in known:
            checks.one_of(name, value, known)
    if background is not True:
        checks.flag("background", background)
    if type(power) is not int or power not in (1, 2):
        raise ValueError(f"power must be 1 or 2, got {power!r}")
    if not background and task != "multiclass":
        raise ValueError(f'background=False leaves out class 0 of task="multiclass"; with task={task!r} no channel is the background: leave background out')
    group = groups.group_of("process_group", process_group)
    if normalizer is not None:
        if average == "none":
            raise ValueError('normalizer replaces the denominator of an average, but average is "none": divide the result instead')
        tensors.check("input", input)
        normalizer = reduce.divisor(normalizer, input)
    own = None if weight is None else one_a_class("weight", weight, input, task, dim)
    return Scoring(formula, params, over, average, power == 2, background, empty, own, volume, normalizer, group, score, extra)


def one_a_class(name: str, weight: Numbers | None, input: Tensor, task: Task, dim: int) -> Tensor | None:
    """The checked weights of classes, as a tensor."""
    if weight is None:
        return None
    axis = labels.class_axis(input, dim if task != "binary" else -1)  # before anything else is read from the input
    return labels.class_weights(weight, input, 1 if task == "binary" else input.shape[axis], name)


def overlap(how: Scoring, input: Tensor, target: Tensor, *, task: Task, from_logits: bool, dim: int, ignore_index: int, mask: Tensor | None) -> Finished:
    """A loss of overlap under the contract."""
    extra = how.extra
    formula, params = (None, ()) if extra is None else (extra.formula, extra.params)
    ready = prepare(
        input, target, task=task, from_logits=from_logits, dim=dim, ignore_index=ignore_index, mask=mask, squared=how.squared, formula=formula, params=params
    )
    how = how._replace(labelled=ready.call.kind == "label")
    if how.group is not None:
        groups.agree(how.group, input)
    x, t, call, engine = ready
    real = real_dtype(x.dtype)
    if ENGINES[engine].plain:
        given = operators.values("overlap", call, (x, t), x.numel())
        found = loss_of_sums(how, plain.sums(call, x, t) if given is None else given[0], False)
        found = found._replace(value=found.value.to(real))
    else:
        loops = dispatch.pattern(engine, "overlap")
        if torch.is_grad_enabled() and (x.requires_grad or t.requires_grad):
            found = fused.finished(fused.Finishing(call, how, loops, plain, loss_of_sums, loss_without_graph, spread, real), x, t)
        else:
            found = loss_without_graph(how, loops.sums(call, x, t), False, real, loops)
    if (call.kind == "number" or call.link == "identity") and reduce.nan_seen(engine, x, found.value):
        refuse_outside(ready)
    return found


def refuse_outside(ready: Prepared) -> None:
    """Raises for a target, or a probability, outside [0, 1] among what counts."""
    x, t, call, _ = ready
    counts = None
    if call.factor is not None:
        counts = call.factor if call.factor.dim() == x.dim() or call.kind == "label" else call.factor.unsqueeze(call.dim)
    if call.kind == "number":
        if call.link != "softmax":
            kept = labels.kept(t, call.ignore)
            counts = kept if counts is None else counts & kept
        checks.in_unit(checks.SOFT_TARGET if call.link == "softmax" else checks.UNIT_TARGET, (t.detach(),), counts)
    else:
        kept = labels.kept(t, call.ignore)
        counts = (kept if counts is None else counts & kept).unsqueeze(call.dim)
    if call.link == "identity":
        checks.in_unit(checks.UNIT_INPUT, (x.detach(),), counts)


def overlap_loss(
    formula: Callable[..., Any],
    params: tuple[float, ...],
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    from_logits: bool,
    dim: int,
    ignore_index: int,
    mask: Tensor | None,
    **how: Any,
) -> Tensor:
    """A loss of overlap alone; `how` as in `scoring`."""
    company, extra = how["normalizer"], None
    if isinstance(company, Company):
        alone = not from_logits or how["average"] == "none" or how["process_group"] is not None
        extra = company.extra(input, target, mask, task, dim, ignore_index, alone)
        how["normalizer"] = None
    checked = scoring(formula, params, input, task=task, dim=dim, extra=extra, **how)
    result: Tensor = overlap(checked, input, target, task=task, from_logits=from_logits, dim=dim, ignore_index=ignore_index, mask=mask).value
    if extra is not None:
        result, company.mean = result.unbind()
    return groups.finished(result, how["process_group"])
