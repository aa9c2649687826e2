"""Quality focal loss: binary cross-entropy against a measured quality, down-weighted by how near the prediction is to it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, exp_neg, exp_product, log1p_unit, log_floored, minimum, sign, unit, where
from losskit.losses.classification import binary_cross_entropy_with_logits


def formula(x, t, beta, less):
    """`less` is beta - 1, at least 0: the slope of |t - p|^beta is finite."""
    a = absolute(x)
    e = exp_neg(a)
    r, rest, bce = measured(x, t, a, e, log1p_unit(e))
    u = absolute(r)
    steep = exp_product(less, log_floored(u))
    return faded(x, r, rest, bce, u * steep, beta * sign(r) * steep)


def squared(x, t):
    """beta = 2, the usual one: a multiplication in place of a logarithm and an exponential."""
    a = absolute(x)
    e = exp_neg(a)
    r, rest, bce = measured(x, t, a, e, log1p_unit(e))
    return faded(x, r, rest, bce, r * r, 2.0 * r)


def measured(x, t, a, e, log1pe):
    """How far p is beyond the target on the side that the logit is on, what p leaves to the other side, and the cross-entropy.

    p - t is (1 - t) - (1 - p) there: for a target of 0 or 1 and a confident logit nothing is subtracted.
    """
    t = unit(t)
    rest = e / (1.0 + e)
    wrong = where(x > 0.0, 1.0 - t, t)
    return wrong - rest, rest, where(wrong == 0.0, 0.0, wrong * a) + log1pe


def faded(x, r, rest, bce, factor, pull):
    """Value and slopes; `factor` is |r|^beta, `pull` its derivative by r."""
    up = x > 0.0
    steep = pull * minimum(bce, 1e30)
    slope = r * factor + steep * (rest * (1.0 - rest))  # both terms have the sign of r
    value = where(factor == 0.0, 0.0, factor * bce)
    return value, where(up, slope, -slope), where(up, -steep, steep) - where(factor == 0.0, 0.0, factor * x)


def textbook(mp, x, t, beta):
    p, q = 1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))
    entropy = -((t * mp.log(p) if t else 0) + ((1 - t) * mp.log(q) if t != 1 else 0))  # 0 log 0 = 0
    return abs(t * q - (1 - t) * p) ** beta * entropy  # t - p, as p + q is 1


@loss(
    textbook=textbook,
    module="QualityFocalLoss",
    task="detection",
    formula="-|t - p|^beta (t log p + (1 - t) log(1 - p)),  p = sigmoid(x)",
    input="logit",
    target="unit",
    arguments=({"beta": 2.0}, {"beta": 0.0}, {"beta": 1.0}, {"beta": 1.5}, {"beta": 4.0}),
    tolerance=1e-5,
    chinese="""
    质量 focal 损失（QFL）：输入是 logits，目标是 [0, 1] 内的质量：目标所属类别处是预测框与真值的 IoU，其余类别和背景处是 0。
    把二元交叉熵乘以 |t - p|^beta：预测越接近质量，损失越小，恰好相等时值与梯度都为 0。
    何时用：单阶段检测器（GFL）让分类得分同时表示定位质量；目标只有 0 和 1 时就是 gamma = beta 的 focal 损失。
    边界：beta = 0 即二元交叉熵；0 与 1 之间的 beta 会报错，因为预测越对梯度越大；除以正样本数用 normalizer=(target > 0).sum().clamp(min=1)。
    """,
)
def quality_focal_loss(
    input: Tensor,
    target: Tensor,
    *,
    beta: float = 2.0,
    ignore_index: int | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Quality focal loss (QFL) of logits against qualities in [0, 1]: binary cross-entropy, down-weighted as the score comes near the quality.

    Formula:
        -|t - p|^beta (t log p + (1 - t) log(1 - p)), p = sigmoid(x). With d = p - t and H the cross-entropy, the derivative by x is
        |d|^beta d + beta |d|^(beta - 1) sign(d) p (1 - p) H: the factor is differentiated as well.

    Args:
        input: logits x, any shape, any real value; a detector's are (N, classes).
        target: qualities t in [0, 1], the same shape: the IoU of the box where the class is the object's, 0 everywhere else. It may require a gradient.
        beta: how strongly scores near the quality are down-weighted: 0, or any number >= 1; 0 is cross-entropy.
        ignore_index: the number that marks absent elements: a target that equals it is as good as deleted. None: nothing is left out.
        mask, sample_weight, reduction, normalizer: as in every loss, see `losskit.contract`. Detectors divide the sum by the number of positives:
            normalizer=(target > 0).sum().clamp(min=1).

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `beta` is not a number. ValueError: `beta` < 0 or between 0 and 1, a target outside [0, 1], shapes differ,
        weights are not finite, `reduction` is unknown.

    When to use:
        Detectors whose class score should also say how good the box is, so that boxes are ranked by both. To give rare objects their own weight:
        `varifocal_loss`.

    Edge cases:
        At t = p value and gradient are 0, and near it as exact as t - p can be; for beta = 1 the gradient jumps there, and 0 is the middle. Between 0 and 1 the
        gradient would grow without bound as a prediction becomes right, so such a beta is refused. For 0/1 targets it is `focal_loss` with gamma = beta.

    Differs from mmdetection:
        There the target is a pair (label, score), and the classes of an item are summed; here it is dense: one_hot(label) * score, and 0 for background.

    Reference:
        Li et al., Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object Detection, 2020.

    Example:
        >>> import torch
        >>> quality_focal_loss(torch.tensor([2.0, 0.0, -1.0]), torch.tensor([0.8, 0.5, 0.0]), reduction="none")
        tensor([0.0034, 0.0000, 0.0227])
    """
    beta = checks.number("beta", beta, low=0.0)
    if 0.0 < beta < 1.0:
        raise ValueError(f"beta must be 0 or at least 1, got {beta!r}: between them the gradient grows without bound as a prediction becomes right")
    form: Callable[..., Any] = formula
    params: tuple[float, ...] = (beta, beta - 1.0)
    if beta == 0.0:
        form, params = binary_cross_entropy_with_logits.plain, ()
    elif beta == 2.0:
        form, params = squared, ()
    return elementwise(
        form, input, target, params, unit=checks.UNIT_TARGET, ignore_index=ignore_index,
        mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction,
    )  # fmt: skip
