"""Overlap sums: what every loss of overlap is made of, for your own losses."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from losskit.contract import checks, reduce
from losskit.contract.overlap import Prepared, Task, prepare, refuse_outside
from losskit.contract.registry import no_script
from losskit.engines import dispatch, fused
from losskit.engines.protocol import ENGINES
from losskit.engines.torch import overlap as plain
from losskit.losses.classification import binary_cross_entropy_with_logits, cross_entropy, focal, focal_of_classes

ExtraName = Literal["cross_entropy", "focal"]


class OverlapSums(NamedTuple):
    """Sums over the items of each sample, class by class: tensors of shape (N, C), float64, each attached to the graph."""

    intersection: Tensor  # sum p t
    prediction: Tensor  # sum p
    target: Tensor  # sum t
    prediction_squared: Tensor  # sum p^2; 0 with squared=False
    target_squared: Tensor  # sum t^2; 0 with squared=False
    count: Tensor  # type: ignore[assignment]  # how many items count; not the method of tuples
    extra: Tensor  # the summed cross-entropy or focal loss, of softmax in the column of each item's label; 0 without


@no_script
def overlap_sums(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    from_logits: bool = True,
    squared: bool = True,
    extra: ExtraName | None = None,
    gamma: float = 2.0,
    ignore_index: int = -100,
    dim: int = 1,
    mask: Tensor | None = None,
) -> OverlapSums:
    """Sums of prediction, target and their product for each sample and class, in one pass over the logits: for overlap losses of your own.

    No one-hot target and no tensor of probabilities is made; the gradient takes one more pass. What is computed from the sums is differentiable, to any order.

    Formula:
        sum p t, sum p, sum t, sum p^2, sum t^2, the count of items, and the sum of a second loss; each over the items of a sample that count. p = softmax(x) or
        sigmoid(x), or x itself with from_logits=False; t = 1 where the label is the class, or the target's own number in [0, 1].

    Args:
        input: logits or probabilities, (N, C, ...), samples along axis 0 and classes along `dim`; with task="binary" any shape (N, ...).
        target: "multiclass": class labels of any integer dtype, without the class axis, or numbers in [0, 1] of the input's shape; "multilabel", "binary":
            numbers in [0, 1] of the input's shape, any dtype.
        task: "multiclass": softmax over the classes; "multilabel": a sigmoid for each number; "binary": the same with one class, C = 1.
        from_logits: False if the input is probabilities.
        squared: False leaves out the squares, which read 0 then: a little faster.
        extra: "cross_entropy" or "focal": also sum this loss of each item, from logits: of the softmax against labels, or of each sigmoid.
        gamma: of the focal loss, >= 0.
        ignore_index: the label ("multilabel", "binary": the number) of items that are absent.
        dim: the class axis.
        mask: bool, True = counts; broadcasts to the target's shape ("multilabel": or without the class axis).

    Returns:
        `OverlapSums`, a named tuple of tensors of shape (N, C), C = 1 for "binary". They are float64 whatever the input is (float32 on devices that have no
        float64), for a float32 sum stops counting at 16,777,216 items: make a loss of them first, then convert it.

    Raises:
        TypeError, ValueError: as `dice_loss`; `extra` with from_logits=False or soft labels for softmax, `gamma` < 0.

    When to use:
        Your loss is a function of overlaps that losskit does not have, or you want several scores from one pass.

    Edge cases:
        Absent items (ignored, masked) add 0 to every sum and nothing to the gradient, whatever they hold. No items: all sums are 0.

    Example:
        >>> import torch, losskit
        >>> logits = torch.tensor([[[3.0, 0.0, -2.0], [0.0, 1.0, 2.0]]], requires_grad=True)
        >>> sums = losskit.overlap_sums(logits, torch.tensor([[0, 1, 1]]), task="multiclass", extra="cross_entropy")
        >>> for name in ("intersection", "prediction", "target", "count", "extra"):
        ...     print(name, [round(x, 4) for x in getattr(sums, name)[0].tolist()])
        intersection [0.9526, 1.7131]
        prediction [1.2395, 1.7605]
        target [1.0, 2.0]
        count [3.0, 3.0]
        extra [0.0486, 0.3314]

        A loss of one's own: the share of each class that is missed, plus cross-entropy, whose sum `extra` holds by class, and whose items `count` counts:

        >>> missed = ((sums.target - sums.intersection) / sums.target.clamp(min=1)).mean()
        >>> loss = (missed + sums.extra.sum() / sums.count[:, 0].sum()).float()
        >>> loss.backward()
        >>> print(f"{loss.item():.4f}", logits.grad[0, 0])
        0.2221 tensor([-0.0384,  0.1388,  0.0104])
    """
    checks.flag("squared", squared)
    gamma = checks.number("gamma", gamma, low=0.0)
    formula: Callable[..., Any] | None = None
    params: tuple[float, ...] = ()
    if extra is not None:
        checks.one_of("extra", extra, get_args(ExtraName))
        if from_logits is False:
            raise ValueError(f"extra={extra!r} is a loss of logits, and from_logits is False: compute it apart")
        checks.both(input, target)
        if task == "multiclass" and input.shape == target.shape:
            raise ValueError(
                f"extra={extra!r} of a softmax needs class labels, and the target has the input's shape {checks.shown(input.shape)}: compute it apart"
            )
        formula, params = item_formula(extra, task, gamma)
    ready = prepare(
        input, target, task=task, from_logits=from_logits, dim=dim, ignore_index=ignore_index, mask=mask, squared=squared, formula=formula, params=params
    )
    return OverlapSums(*summed(ready).unbind(-1))


def summed(ready: Prepared) -> Tensor:
    """(N, C, 7), attached to the graph."""
    x, t, call, engine = ready
    found: Tensor
    if ENGINES[engine].plain:
        found = plain.sums(call, x, t)
    else:
        loops = dispatch.pattern(engine, "overlap")
        wanted = torch.is_grad_enabled() and (x.requires_grad or t.requires_grad)
        found = fused.sums(fused.Step(call, 1.0, loops, plain), x, t) if wanted else loops.sums(call, x, t)
    if (call.kind == "number" or call.link == "identity") and reduce.nan_seen(engine, x, found):
        refuse_outside(ready)
    return found


def item_formula(extra: ExtraName, task: Task, gamma: float) -> tuple[Callable[..., Any], tuple[float, ...]]:
    """The formula of an item's own loss, and its parameters."""
    if extra == "cross_entropy" or gamma == 0.0:
        return (cross_entropy.formula if task == "multiclass" else binary_cross_entropy_with_logits.plain), ()
    if task == "multiclass":
        return focal_of_classes.multiclass_squared if gamma == 2.0 else focal_of_classes.multiclass, (gamma,)
    return focal.from_logits_squared if gamma == 2.0 else focal.from_logits_formula, (1.0, 1.0, gamma)
