"""Dice and focal loss together, from one pass over the logits."""

from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, labels
from losskit.contract.checks import Numbers
from losskit.contract.compound import compound
from losskit.contract.distributions import distributions
from losskit.contract.groups import Group
from losskit.contract.overlap import Smooth, Task, one_a_class
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.scores import Average, Empty, Extra, Over
from losskit.losses.classification import cross_entropy, focal, focal_of_classes
from losskit.losses.segmentation.dice import parameters
from losskit.losses.segmentation.tversky import formula


class DiceFocalParts(NamedTuple):
    """The two losses before they are weighted, without a graph."""

    dice: Tensor
    focal: Tensor


def textbook(mp, i, p, t, n, second, dice_weight, focal_weight, gamma, alpha, smooth):
    above, below = smooth if isinstance(smooth, tuple) else (smooth, smooth)
    return dice_weight * (1 - (2 * i + above) / (p + t + below) if p + t + below else 0) + focal_weight * second


@loss(
    textbook=textbook,
    module="DiceFocalLoss",
    task="segmentation",
    pattern="overlap",
    formula="a (1 - (2 I + s) / (P + T + s)) + b mean(-(1 - p_y)^gamma log p_y)",
    input="logit",
    target="label",
    arguments=(
        {},
        {"dice_weight": 0.5, "focal_weight": 2.0, "gamma": 0.5, "smooth": 0.0, "power": 2},
        {"smooth": (0.0, 1e-5), "gamma": 0.0, "alpha": 0.25},
        {"gamma": 3.0, "alpha": 0.75},
    ),
    tolerance=1e-5,
    chinese="""
    Dice 与 focal 损失之和：输入默认是 logits，目标是类别编号（或 0/1 掩码）。两者在同一遍扫描中算出；多分类用 softmax，二分类与多标签用 sigmoid。
    何时用：小目标淹没在大片容易的背景中时：focal 使判对的像素几乎不起作用，Dice 看重整体重叠。
    边界：gamma = 0 就是 Dice 加（加权的）交叉熵；focal 的数值很小，可用 focal_weight 放大；weight 只作用于 Dice，alpha 只作用于 focal。
    """,
)
def dice_focal_loss(
    input: Tensor,
    target: Tensor,
    *,
    task: Task,
    dice_weight: float = 1.0,
    focal_weight: float = 1.0,
    gamma: float = 2.0,
    alpha: float | Numbers | None = None,
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
    """Dice loss plus focal loss of logits (default) or, with from_logits=False, of probabilities, from one pass over the logits.

    Formula:
        a D + b F, D as `dice_loss`, F the mean of `focal_loss` over the items that count: of -alpha_y (1 - p_y)^gamma log p_y (softmax), or over all numbers
        that count of -alpha t (1 - p)^gamma log p - (1 - alpha)(1 - t) p^gamma log(1 - p) (sigmoid). Derivative: a dD/dx + b dF/dx.

    Args:
        input, target: as in `dice_loss`. Soft labels of "multiclass" must sum to 1 over the classes; the focal loss is then the expected one.
        dice_weight: a >= 0.
        focal_weight: b >= 0.
        gamma: how strongly the focal loss down-weights well-classified items, >= 0.
        alpha: of the focal loss: the weight of positives in [0, 1], 1 - alpha that of negatives, or with "multilabel" one per class, (C,); "multiclass": a
            number for all, or one per class.
        smooth: s >= 0, or (above, below) the bar, of Dice.
        background: False leaves class 0 out of Dice ("multiclass"), not out of the focal loss.
        weight: one number per class, (C,), class 0 included, of Dice; alpha is the focal loss's.
        normalizer: a number or 0-d tensor that replaces the denominator of Dice's average; the mean of the focal loss keeps its own.
        process_group: sum over these ranks as well, the focal loss and its count too; see `dice_loss`.
        return_parts: also return the two losses, (loss, parts) with parts.dice and parts.focal, before a and b, detached.
        task, power, from_logits, over, empty, ignore_index, dim, mask, average: as in `dice_loss`. But average="none" raises: the second loss has none.

    Returns:
        A scalar in [0, inf), below 0 where `smooth` adds more above the bar than below; with return_parts=True the pair (loss, parts).

    Raises:
        TypeError, ValueError: as `dice_loss` and `focal_loss`; `dice_weight` or `focal_weight` below 0, average="none".

    When to use:
        Small foreground in a large, easy background. The focal loss has small values by nature: look at the parts before choosing `focal_weight`.

    Edge cases:
        gamma = 0 is `dice_ce_loss`, up to alpha. If nothing counts, the loss is 0. Soft labels, from_logits=False, and an alpha for each class of
        "multilabel" take one pass for each loss; the values are the same.

    Differs from torch:
        torch has none. MONAI's `DiceFocalLoss` uses the focal loss of sigmoids, one per class, even together with a Dice loss of a softmax.

    Reference:
        Zhu et al., AnatomyNet: Deep Learning for Fast and Fully Automated Whole-Volume Segmentation of Head and Neck Anatomy, 2019.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[3.0, 0.0, -2.0], [0.0, 1.0, 2.0]]])
        >>> loss, parts = dice_focal_loss(logits, torch.tensor([[0, 1, 1]]), task="multiclass", smooth=0.0, return_parts=True)
        >>> loss, parts.dice, parts.focal
        (tensor(0.1267), tensor(0.1191), tensor(0.0076))
    """
    checks.flag("return_parts", return_parts)
    first, second = checks.number("dice_weight", dice_weight, low=0.0), checks.number("focal_weight", focal_weight, low=0.0)
    gamma = checks.number("gamma", gamma, low=0.0)
    own = class_alphas(input, alpha, task, dim)

    def apart(x: Tensor, t: Tensor, counts: Tensor | None, axis: int) -> Tensor:
        if task != "multiclass":
            one = alpha is None or isinstance(alpha, Real) or task == "binary"
            how: dict[str, Any] = {} if one else {"task": "multilabel", "dim": axis}
            return focal.focal_loss(x, t, alpha=alpha, gamma=gamma, from_logits=from_logits, mask=counts, reduction="sum", **how)
        if from_logits:
            both: dict[str, Any] = dict(sample_weight=None, normalizer=None, reduction="sum")
            result: Tensor = distributions(focal_of_classes.multiclass_soft, x, t, (gamma, 1.0, 0.0), dim=axis, mask=counts, weight=own, **both)
            return result
        return focal.focal_loss(
            x, t, task="multiclass", alpha=own, gamma=gamma, from_logits=False, dim=axis, ignore_index=ignore_index, mask=counts, reduction="sum"
        )

    found = compound(
        formula, parameters(smooth), input, target, extra=Extra(*item_formula(task, gamma, alpha), second, first, own, by_weight=False), apart=apart,
        task=task, power=power, from_logits=from_logits, over=over, average=average, background=background, empty=empty, weight=weight,
        ignore_index=ignore_index, dim=dim, process_group=process_group, mask=mask, normalizer=normalizer,
    )  # fmt: skip
    return (found.value, DiceFocalParts(found.overlap, found.second)) if return_parts else found.value


def item_formula(task: Task, gamma: float, alpha: float | Numbers | None) -> tuple[Callable[..., Any] | None, tuple[float, ...]]:
    """The focal loss of an item in the pass, and its parameters; None where it must be taken apart, for one number per class is read beside the input."""
    if task == "multiclass":
        return (cross_entropy.formula, ()) if gamma == 0.0 else (focal_of_classes.multiclass_squared if gamma == 2.0 else focal_of_classes.multiclass, (gamma,))
    if not (alpha is None or isinstance(alpha, Real)):
        return None, ()
    return focal.binary(alpha, gamma, True)  # type: ignore[arg-type]


def class_alphas(input: Tensor, alpha: float | Numbers | None, task: Task, dim: int) -> Tensor | None:
    """One weight per class of task="multiclass"; None elsewhere, where alpha is a parameter of the formula."""
    if alpha is None or task != "multiclass":
        return None
    if not isinstance(alpha, Real):
        return one_a_class("alpha", alpha, input, task, dim)  # type: ignore[arg-type]
    classes = labels.count(input, dim)
    return torch.full((classes,), checks.number("alpha", alpha, low=0.0), dtype=torch.promote_types(input.dtype, torch.float32), device=input.device)  # type: ignore[arg-type]
