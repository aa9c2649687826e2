"""Varifocal loss: focal loss for the background, cross-entropy weighted by the quality for objects."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, exp_neg, exp_product, log1p_unit, minimum, unit, where
from losskit.losses.detection.quality_focal import measured


def formula(x, t, alpha, gamma, flat, share):
    a = absolute(x)
    e = exp_neg(a)
    log1pe = log1p_unit(e)
    sure = exp_product(-gamma, log1pe)  # of 1 / (1 + e)
    return weighed(x, t, alpha, gamma, flat, share, a, e, log1pe, where(x > 0.0, sure, sure * exp_product(-gamma, minimum(a, 1e30))))


def squared(x, t, alpha, gamma, flat, share):
    """gamma = 2, the usual one: a multiplication in place of two exponentials."""
    a = absolute(x)
    e = exp_neg(a)
    p = where(x > 0.0, 1.0, e) / (1.0 + e)
    return weighed(x, t, alpha, gamma, flat, share, a, e, log1p_unit(e), p * p)


def weighed(x, t, alpha, gamma, flat, share, a, e, log1pe, power):
    """Value and slopes; `power` is p^gamma, and `flat` + `share` t the weight of an object. A target of 0 is no quality but says that there is no object."""
    r, rest, bce = measured(x, t, a, e, log1pe)
    t = unit(t)
    up = x > 0.0
    nothing = t == 0.0
    weight = where(nothing, alpha * power, flat + share * t)
    fading = where(nothing, gamma * where(up, rest, 1.0 - rest) * minimum(bce, 1e30), 0.0)
    rise = where(up, share * (1.0 - t - t) - flat, share * (t + t) + flat)  # share bce - weight x is rise a + share log(1 + e)
    by_target = where(rise == 0.0, 0.0, rise * a) + share * log1pe
    return where(weight == 0.0, 0.0, weight * bce), weight * (where(up, r, -r) + fading), where(nothing, 0.0, by_target)


def textbook(mp, x, t, alpha, gamma, iou_weighted):
    p, q = 1 / (1 + mp.exp(-x)), 1 / (1 + mp.exp(x))
    if t <= 0:
        return -alpha * p**gamma * mp.log(q)
    return -(t if iou_weighted else 1) * (t * mp.log(p) + ((1 - t) * mp.log(q) if t != 1 else 0))  # 0 log 0 = 0


@loss(
    textbook=textbook,
    module="VarifocalLoss",
    task="detection",
    formula="-t (t log p + (1 - t) log(1 - p)) where t > 0,  -alpha p^gamma log(1 - p) where t = 0,  p = sigmoid(x)",
    input="logit",
    target="unit",
    arguments=(
        {"alpha": 0.75, "gamma": 2.0},
        {"iou_weighted": False},
        {"alpha": 1.0, "gamma": 0.5},
        {"alpha": 0.5, "gamma": 0.0, "iou_weighted": False},
        {"alpha": 2.0, "gamma": 3.0},
    ),
    tolerance=1e-5,
    chinese="""
    Varifocal 损失（VFL）：输入是 logits，目标是 [0, 1] 内的质量：目标所属类别处是预测框与真值的 IoU，其余类别和背景处是 0。
    正例（t > 0）用二元交叉熵并以 t 加权，IoU 高的样本更重要；负例（t = 0）用 focal 损失 alpha p^gamma。
    何时用：密集检测器（VarifocalNet）学习同时反映类别与定位质量的得分；正例极少，不应像负例那样被削弱。
    边界：t = 0 表示没有目标，不是可变的质量，对目标的梯度为 0；除以正样本数用 normalizer=(target > 0).sum().clamp(min=1)。
    """,
)
def varifocal_loss(
    input: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.75,
    gamma: float = 2.0,
    iou_weighted: bool = True,
    ignore_index: int | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Varifocal loss (VFL) of logits against qualities in [0, 1]: cross-entropy weighted by the quality for objects, focal loss for the background.

    Formula:
        With p = sigmoid(x) and H = -(t log p + (1 - t) log(1 - p)): t H where t > 0 (H with iou_weighted=False), and -alpha p^gamma log(1 - p) where t = 0.
        Derivative by x: t (p - t), and alpha p^gamma (p - gamma (1 - p) log(1 - p)): the factor p^gamma is differentiated as well.

    Args:
        input: logits x, any shape, any real value; a detector's are (N, classes).
        target: qualities t in [0, 1], the same shape: the IoU of the box where the class is the object's, 0 everywhere else. It may require a gradient.
        alpha: weight of the background, >= 0; not `focal_loss`'s, which weighs the positives.
        gamma: how strongly easy background is down-weighted, >= 0.
        iou_weighted: whether an object weighs as much as its quality, or 1.
        ignore_index: the number that marks absent elements: a target that equals it is as good as deleted. None: nothing is left out.
        mask, sample_weight, reduction, normalizer: as in every loss, see `losskit.contract`. Detectors divide the sum by the number of positives:
            normalizer=(target > 0).sum().clamp(min=1).

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, an argument is not a number or not a bool. ValueError: `alpha` or `gamma` < 0, a target outside [0, 1],
        shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Dense detectors whose class score should also say how good the box is, with few objects among many candidates: objects are not down-weighted.
        `quality_focal_loss` down-weights both alike.

    Edge cases:
        The loss of an object is least, not 0, at p = t. A target of 0 means that there is no object; it is not a quality that could change, so the gradient
        to it is 0. The gradient to the quality of an object is the full derivative, that of the weight included.

    Differs from mmdetection:
        The same values and gradients to the input; the gradient to a target of 0 is 0.

    Reference:
        Zhang et al., VarifocalNet: An IoU-aware Dense Object Detector, 2021.

    Example:
        >>> import torch
        >>> varifocal_loss(torch.tensor([2.0, 2.0, -1.0]), torch.tensor([0.8, 0.0, 0.0]), reduction="none")
        tensor([0.4215, 1.2376, 0.0170])
    """
    alpha = checks.number("alpha", alpha, low=0.0)
    gamma = checks.number("gamma", gamma, low=0.0)
    checks.flag("iou_weighted", iou_weighted)
    flat, share = (0.0, 1.0) if iou_weighted else (1.0, 0.0)
    return elementwise(
        squared if gamma == 2.0 else formula,
        input,
        target,
        (alpha, gamma, flat, share),
        unit=checks.UNIT_TARGET,
        ignore_index=ignore_index,
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
