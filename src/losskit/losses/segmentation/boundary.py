"""Boundary loss: probabilities times a signed distance to the target's boundary."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks, labels, reduce, tensors
from losskit.contract.checks import Reduction
from losskit.contract.distance import maps, spaced
from losskit.contract.distributions import distributions
from losskit.contract.elementwise import elementwise
from losskit.contract.overlap import Task
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, exp_neg, one_over, unit, where

TASKS = ("binary", "multiclass", "multilabel")


def from_logits_formula(x, t):
    e = exp_neg(absolute(x))
    sure = one_over(1.0 + e)
    rest = e * sure
    p = where(x > 0.0, sure, rest)
    return p * t, sure * rest * t, p


def from_probabilities_formula(x, t):
    p = unit(x)
    return p * t, t, p


def multiclass(logp, p, q, t, weight):
    """One class of an item; its weight is 0 or 1."""
    return weight * p * t, weight * p * t, weight * p


def textbook(mp, x, t, task, from_logits, background):
    if task != "multiclass":
        return (1 / (1 + mp.exp(-x)) if from_logits else x) * t
    total = mp.fsum(mp.exp(v) for v in x)
    return mp.fsum((mp.exp(v) / total if from_logits else v) * d for j, (v, d) in enumerate(zip(x, t, strict=True)) if j or background)


@loss(
    textbook=textbook,
    module="BoundaryLoss",
    task="segmentation",
    pattern="operations",
    formula="p d,  d the signed distance to the target's boundary",
    input="logit",
    target="real",
    arguments=(
        {"task": "binary"},
        {"task": "binary", "from_logits": False},
        {"task": "multiclass"},
        {"task": "multiclass", "background": False},
        {"task": "multiclass", "from_logits": False},
        {"task": "multilabel"},
    ),
    tolerance=4e-6,
    chinese="""
    边界损失：输入默认是 logits，目标是到目标边界的有符号距离图（目标内为负，外为正，浮点数），或整数标签（此时每次调用都用 SciPy 现算距离图）；
    每个位置的损失是概率乘以距离。距离图最好随数据一次算好：losskit.distance_map（labels, num_classes=C, spacing=体素间距）。
    何时用：与 Dice 或交叉熵相加，让离边界远的错误代价更大；前景与背景大小悬殊时，权重由小逐渐加大。
    边界：损失可以为负，完全找到目标时最小；图中没有的类、占满全图的类没有边界，distance_map 给 0，即不计。
    """,
)
def boundary_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    from_logits: bool = True,
    background: bool = True,
    spacing: Sequence[float] | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Boundary loss of logits (default) or, with from_logits=False, of probabilities: probability times signed distance to the target's boundary.

    Formula:
        sum_c p_c d_c at each position, p = softmax(x); p d of each number for "binary" and "multilabel", p = sigmoid(x). Derivative by a logit:
        p_j (d_j - sum_c p_c d_c), or d p (1 - p).

    Args:
        input: logits or probabilities, (N, C, ...); with task="binary" any shape.
        target: the distance map d, floating point, of the input's shape: how far each position is from the boundary of a class, negative inside it, as
            `losskit.distance_map` makes it; make it once, with the data. Or labels of an integer dtype, the input's shape without the class axis ("binary",
            "multilabel": 0/1 masks of the input's shape, integer or bool): the maps are then made at each call, on the CPU by SciPy, one class of one picture
            after the other, which takes longer than the loss itself.
        task: "multiclass": softmax over the classes; "binary", "multilabel": a sigmoid for each number. Required.
        from_logits: False if the input is probabilities.
        background: False leaves class 0 out ("multiclass"), as the authors do; it stays in the softmax.
        spacing: of labels: how far neighbours are apart along each axis of a picture.
        ignore_index: of labels: the label, or the number in a mask, of positions that are absent. Distances have none: leave positions out with mask=.
        dim: the class axis; "binary" has none, and refuses any other than the default.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape (multi-class: without the class axis). Negative values are good: the target found, and no more.

    Raises:
        TypeError: `input` is not floating point. ValueError: shapes do not fit, softmax over one channel, `background=False` without softmax, a probability
        outside [0, 1], a label is no class, `spacing` or `ignore_index` beside distances, weights are not finite, `task` or `reduction` is unknown.
        ImportError: labels without SciPy (`pip install "losskit[distance]"`).

    When to use:
        Beside a Dice loss or cross-entropy, with a weight that grows during training: errors far from the boundary then cost more. Alone it can get stuck at an
        empty prediction.

    Edge cases:
        A class that is missing from an image, or fills it, has no boundary: its distances are 0, and it costs nothing. The loss scales with the distances,
        which count positions, or millimetres with `spacing`. A 0/1 mask in floating point is read as distances: give it as bool. Labels have no values under
        `torch.compile`: give distances there.

    Differs from the authors' code:
        Multi-class sums over the classes and averages over positions; theirs averages over classes as well, a constant factor.
        Distances are theirs for a spacing of 1; for others they take 1 from the distance inside, whatever a position measures. Theirs of a class that fills the
        picture are SciPy's to a place outside it.

    Reference:
        Kervadec et al., Boundary Loss for Highly Unbalanced Segmentation, 2019.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0, -1.0, -3.0]])
        >>> distance = torch.tensor([[-1.0, 0.0, 1.0, 2.0]])  # of the mask 1, 1, 0, 0
        >>> boundary_loss(logits, distance, task="binary", reduction="none")
        tensor([[-0.8808,  0.0000,  0.2689,  0.0949]])
        >>> boundary_loss(logits, torch.tensor([[1, 1, 0, 0]]), task="binary", reduction="none")
        tensor([[-0.8808,  0.0000,  0.2689,  0.0949]])
    """
    checks.one_of("task", task, TASKS)
    checks.flag("from_logits", from_logits)
    checks.flag("background", background)
    checks.both(input, target)
    labels.index(ignore_index)
    steps = spaced(spacing)
    if not target.is_floating_point():
        target, mask = of_labels(input, target, task, steps, ignore_index, dim, mask)
    elif (spacing is not None or ignore_index != -100) and target.numel():  # a module checks its settings on an empty target
        name = "ignore_index" if spacing is None else "spacing"
        fix = "leave positions out with mask= (True = counts)" if spacing is None else "give it to losskit.distance_map, which makes the distances"
        raise ValueError(f"{name} is for labels, and the target holds distances, {target.dtype}: {fix}")
    common: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    if task != "multiclass":
        if not background:
            raise ValueError(f'background=False leaves out class 0 of task="multiclass"; with task={task!r} no channel is the background: leave background out')
        labels.beside(input, dim, task)
        if from_logits:
            return elementwise(from_logits_formula, input, target, (), **common)
        return elementwise(from_probabilities_formula, input, target, (), unit=checks.UNIT_INPUT, **common)
    axis = labels.class_axis(input, dim)
    labels.several(input, axis, labels.ONE_CHANNEL)
    if not from_logits:
        return from_probabilities(input, target, axis, 0 if background else 1, **common)
    weight = None if background else (torch.arange(input.shape[axis], dtype=torch.int64, device=input.device) > 0).float()
    result: Tensor = distributions(multiclass, input, target, dim=axis, weight=weight, target_is="numbers", **common)
    return result


def of_labels(
    input: Tensor, target: Tensor, task: Task, steps: Sequence[float] | None, ignore_index: int, dim: int, mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The distances of checked labels, and the mask without the positions that are ignored."""
    classes = None
    if task != "multiclass":
        checks.pair(input, target)
    elif target.shape == input.shape:
        raise ValueError(
            f"target of dtype {target.dtype} holds labels, which have no class axis, but its shape is the input's, {checks.shown(input.shape)}: for one-hot labels, "
            f"try {labels.one_hot_labels(target, dim)}; for distances in integers, target.float()"
        )
    else:
        classes = input.shape[labels.pair(input, target, dim, labels.ONE_LABEL)]
    kept = labels.kept(target, ignore_index)
    real = torch.promote_types(input.dtype, torch.float32)
    distances = maps("target", target, task, classes, steps, ignore_index, dim, real)
    if mask is not None:
        checks.mask(mask, target, "target")
        kept = kept & mask
    return distances, kept


def from_probabilities(
    input: Tensor,
    target: Tensor,
    axis: int,
    first: int,
    *,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
) -> Tensor:
    """Multi-class, from the class `first` on: of numbers that are each a class's own, the mean over positions is that over numbers, times the classes."""
    checks.pair(input, target)
    position = input.select(axis, 0)
    if mask is not None:
        checks.mask(mask, position)
    if sample_weight is not None:
        checks.weights("sample_weight", sample_weight, position, mask, summed=reduce.by_weights(reduction, normalizer))
        sample_weight = tensors.widened(sample_weight)
    classes = input.shape[axis] - first
    x, t = input.narrow(axis, first, classes), target.narrow(axis, first, classes)
    if reduction == "none":
        present = mask
        if sample_weight is not None:
            present = sample_weight.detach() != 0 if mask is None else mask & (sample_weight.detach() != 0)
        present = None if present is None else present.expand(position.shape)
        each = elementwise(
            from_probabilities_formula, x, t, (), unit=checks.UNIT_INPUT, mask=None if present is None else present.unsqueeze(axis), sample_weight=None,
            normalizer=None, reduction="none",
        )  # fmt: skip
        return reduce.items(each.sum(axis), input, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    mask, sample_weight = (None if x is None else x.expand(position.shape).unsqueeze(axis) for x in (mask, sample_weight))
    value = elementwise(
        from_probabilities_formula, x, t, (), unit=checks.UNIT_INPUT, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction
    )
    return value * classes if reduce.by_weights(reduction, normalizer) else value
