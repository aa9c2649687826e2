"""Focal-EIoU loss: EIoU with more weight on good boxes."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import exp_product, where
from losskit.geometry import closed, log_of, measured
from losskit.losses.detection.eiou import terms
from losskit.losses.detection.iou import iou_and_union


def quality(a0, a1, b0, b1, /, gamma, nothing):
    """IoU^gamma of the box that the corners of a span, whatever their order; `nothing` without an overlap."""
    iou, lost = measured(where(a0 > a1, a1, a0), where(a0 > a1, a0, a1), b0, b1)
    return where(iou > 1e-18, exp_product(gamma, log_of(iou, lost)), nothing)


def formula(a0, a1, b0, b1, /, gamma, nothing):
    value, by_e, by_m, by_w = terms(a0, a1, b0, b1)
    k = quality(a0, a1, b0, b1, gamma, nothing)
    return closed(a0, a1, b0, b1, k * by_e, k * by_m, k * by_w, -k * by_w, k * value, -k, 0.0, 0.0)


def textbook(mp, x, t, gamma):
    iou, _ = iou_and_union(x, t)
    distance = sum(((x[i] + x[i + 2]) - (t[i] + t[i + 2])) ** 2 for i in (0, 1)) / 4
    hull = [max(x[i + 2], t[i + 2]) - min(x[i], t[i]) for i in (0, 1)]
    diagonal = hull[0] ** 2 + hull[1] ** 2
    value = 1 - iou + (distance / diagonal if diagonal else 0)
    return iou**gamma * (value + sum((((x[i + 2] - x[i]) - (t[i + 2] - t[i])) / hull[i]) ** 2 if hull[i] else 0 for i in (0, 1)))


@loss(
    textbook=textbook,
    module="FocalEIoULoss",
    task="detection",
    pattern="boxes",
    formula="IoU^gamma (1 - IoU + d^2 / c^2 + (w - w*)^2 / c_w^2 + (h - h*)^2 / c_h^2),  IoU^gamma held constant",
    arguments=({"gamma": 0.5}, {"gamma": 2.0}, {"gamma": 0.0}),
    tolerance=4e-6,
    chinese="""
    Focal-EIoU 损失：输入与目标都是框，最后一维四个数。EIoU 损失乘以 IoU 的 gamma 次方，求导时这个权重视为常数。
    何时用：训练中低质量的框很多，想让高质量的框主导回归的梯度时；gamma 常取 0.5。
    边界：不相交的框权重为 0，没有损失也没有梯度，只适合预测框已与目标重叠的检测器；gamma = 0 就是 EIoU；角点颠倒的框按次序摆正后的 IoU 计权重，代价不乘权重。
    """,
)
def focal_eiou_loss(
    input: Tensor,
    target: Tensor,
    *,
    gamma: float = 0.5,
    box_format: BoxFormat = "xyxy",
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Focal-EIoU loss between predicted and target boxes: `eiou_loss` times IoU^gamma, so that good boxes count more.

    Formula:
        IoU^gamma EIoU. The weight IoU^gamma is constant in the derivatives: in its own, gamma IoU^(gamma - 1) EIoU, small overlaps would be better still
        smaller, and the loss would have its minimum 0 at boxes apart.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: target boxes, the same shape; they get a gradient if they require one.
        gamma: how much more good boxes count, >= 0.
        box_format, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 4) for boxes in order.

    Raises:
        TypeError: `input` or `target` is not floating point, `gamma` is not a number. ValueError: shapes differ or do not end in 4, `gamma` is below 0,
            `box_format` or `reduction` is
        unknown, weights are not finite.

    When to use:
        Detectors whose boxes overlap their targets from the start, when many of them are poor.

    Edge cases:
        Boxes apart have the weight 0, thus neither loss nor gradient, for gamma above 0; gamma = 0 is `eiou_loss`. The weight of a box out of order is
        that of the box its corners span, its cost of disorder is not weighted. Else as `eiou_loss`.

    Differs from the paper:
        The paper does not mention the derivative of the weight; common code detaches it, and so does this.

    Reference:
        Zhang et al., Focal and Efficient IOU Loss for Accurate Bounding Box Regression, 2021.

    Example:
        >>> import torch
        >>> focal_eiou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]))
        tensor(0.7097)
    """
    gamma = checks.number("gamma", gamma, low=0.0)
    params = (gamma, 0.0 if gamma else 1.0)
    return boxes(formula, input, target, params, box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
