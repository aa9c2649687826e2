"""Dice and cross-entropy together, from one pass over the logits."""

from typing import Any, NamedTuple

from torch import Tensor

from losskit.contract import checks, labels
from losskit.contract.checks import Numbers
from losskit.contract.compound import compound
from losskit.contract.groups import Group
from losskit.contract.overlap import Smooth, Task, one_a_class
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Average, Empty, Extra, Over
from losskit.losses.classification.binary_cross_entropy import binary_cross_entropy
from losskit.losses.classification.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits, plain
from losskit.losses.classification.cross_entropy import cross_entropy
from losskit.losses.classification.cross_entropy import formula as of_labels
from losskit.losses.segmentation.dice import parameters
from losskit.losses.segmentation.tversky import formula


class DiceCEParts(NamedTuple):
    """The two losses before they are weighted, without a graph."""

    dice: Tensor
    ce: Tensor


def textbook(mp, i, p, t, n, second, dice_weight, ce_weight, smooth):
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    return dice_weight * (1 - (2 * i + above) / (p + t + below) if p + t + below else 0) + ce_weight * second


@loss(
    textbook=textbook,
    module="DiceCELoss",
    task="segmentation",
    pattern="overlap",
    formula="a (1 - (2 I + s) / (P + T + s)) + b mean(-log p_y)",
    input="logit",
    target="label",
    arguments=({}, {"dice_weight": 0.5, "ce_weight": 2.0, "smooth": 0.0, "power": 2}, {"smooth": (0.0, 1e-5), "ce_weight": 0.0}),
    tolerance=4e-6,
    chinese="""
    Dice 与交叉熵之和：输入默认是 logits，目标是类别编号（或 0/1 掩码）。两者在同一遍扫描中算出；多分类用 softmax 交叉熵，二分类与多标签用二元交叉熵。
    何时用：分割任务的默认选择（nnU-Net 的做法）：交叉熵给每个像素稳定的梯度，Dice 看重整体重叠与小目标。
    边界：background=False 只在 Dice 中去掉类别 0，交叉熵照算；weight 同时作用于两者；return_parts=True 另外返回两个分量。
    """,
)
def dice_ce_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    smooth: Smooth = 1.0,
    power: int = 1,
    from_logits: bool = True,
    over: Over = "sample",
    average: Average = "macro",
    background: bool = True,
    empty: Empty = "smooth",
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    process_group: Group | None = None,
    return_parts: bool = False,
    mask: Tensor | None = None,
    normalizer: Normalizer | None = None,
) -> Any:
    """Dice loss plus cross-entropy of logits (default) or, with from_logits=False, of probabilities, from one pass over the logits.

    Formula:
        a D + b C, D as `dice_loss`; C the mean of -log p_y over the items that count (softmax), as `cross_entropy`, or of -(t log p + (1 - t) log(1 - p))
        over all numbers that count (sigmoid), as `binary_cross_entropy_with_logits`. Derivative by x_j of an item with label y: a dD/dx_j + b (p_j - [j = y])
        / count.

    Args:
        input, target: as in `dice_loss`. Soft labels of "multiclass" must sum to 1 over the classes.
        dice_weight: a >= 0.
        ce_weight: b >= 0.
        smooth: s >= 0, or (above, below) the bar, of Dice.
        background: False leaves class 0 out of Dice ("multiclass"), not out of cross-entropy.
        weight: one number per class, (C,), class 0 included, in both losses: cross-entropy divides by the weights of the labels that count, as torch's does.
        normalizer: a number or 0-d tensor that replaces the denominator of Dice's average; the mean of the cross-entropy keeps its own.
        process_group: sum over these ranks as well, the cross-entropy and its count too; see `dice_loss`.
        return_parts: also return the two losses, (loss, parts) with parts.dice and parts.ce, before a and b, detached.
        task, power, from_logits, over, empty, ignore_index, dim, mask, average: as in `dice_loss`. But average="none" raises: the second loss has none.

    Returns:
        A scalar in [0, inf), below 0 where `smooth` adds more above the bar than below; with return_parts=True the pair (loss, parts).

    Raises:
        TypeError, ValueError: as `dice_loss`; `dice_weight` or `ce_weight` below 0, average="none", soft labels or probabilities that do not sum to 1.

    When to use:
        The default for segmentation: cross-entropy gives every pixel a steady gradient, Dice targets the overlap and small foreground.

    Edge cases:
        If nothing counts, the loss is 0. Soft labels, and from_logits=False, take one pass for each of the two losses; the values are the same.

    Differs from torch:
        torch has no Dice. MONAI's `DiceCELoss` does not divide Dice by the class weights; nnU-Net's is ours minus `dice_weight`: see `losskit.like`.

    Reference:
        Isensee et al., nnU-Net: a Self-Configuring Method for Deep Learning-Based Biomedical Image Segmentation, 2021.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[3.0, 0.0, -2.0], [0.0, 1.0, 2.0]]])
        >>> loss, parts = dice_ce_loss(logits, torch.tensor([[0, 1, 1]]), task="multiclass", smooth=0.0, return_parts=True)
        >>> loss, parts.dice, parts.ce
        (tensor(0.2458), tensor(0.1191), tensor(0.1267))
    """
    checks.flag("return_parts", return_parts)
    first, second = checks.number("dice_weight", dice_weight, low=0.0), checks.number("ce_weight", ce_weight, low=0.0)
    own = one_a_class("weight", weight, input, task, dim)

    def apart(x: Tensor, t: Tensor, counts: Tensor | None, axis: int) -> Tensor:
        if task == "multiclass":
            return cross_entropy(x, t, weight=own, ignore_index=ignore_index, dim=axis, from_logits=from_logits, mask=counts, reduction="sum")
        along = None if own is None else labels.along(own, x, axis)
        binary = binary_cross_entropy_with_logits if from_logits else binary_cross_entropy
        return binary(x, t, weight=along, mask=counts, reduction="sum")

    found = compound(
        formula, parameters(smooth), input, target, apart=apart,
        extra=Extra(of_labels if task == "multiclass" else plain, (), second, first, own), task=task,
        power=power, from_logits=from_logits, over=over, average=average, background=background, empty=empty, weight=own,
        ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=normalizer,
    )  # fmt: skip
    return (found.value, DiceCEParts(found.overlap, found.second)) if return_parts else found.value
