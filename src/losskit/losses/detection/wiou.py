"""WIoU loss, version 1: IoU loss that grows with the distance of the centres."""

from torch import Tensor

from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import exp
from losskit.geometry import closed, extents, measured
from losskit.losses.detection.diou import apart
from losskit.losses.detection.iou import iou_and_union


def formula(a0, a1, b0, b1, /):
    _, lost = measured(a0, a1, b0, b1)
    e = extents(a0, a1, b0, b1)
    share, _, by_m = apart(a0, a1, b0, b1, e)
    factor = exp(share)
    value = factor * lost
    return closed(a0, a1, b0, b1, 0.0, value * by_m, 0.0, 0.0, value, -factor, 0.0, 0.0)


def textbook(mp, x, t):
    iou, _ = iou_and_union(x, t)
    distance = sum(((x[i] + x[i + 2]) - (t[i] + t[i + 2])) ** 2 for i in (0, 1)) / 4
    diagonal = sum((max(x[i + 2], t[i + 2]) - min(x[i], t[i])) ** 2 for i in (0, 1))
    return mp.exp(distance / diagonal if diagonal else 0) * (1 - iou)


@loss(
    textbook=textbook,
    module="WIoULoss",
    task="detection",
    pattern="boxes",
    formula="exp(d^2 / c^2) (1 - IoU),  c held constant",
    arguments=({},),
    chinese="""
    WIoU(v1)损失：输入与目标都是框，最后一维四个数。1 - IoU 乘以 exp(中心距离的平方 / 外接框对角线的平方)，求导时对角线视为常数。
    何时用：标注质量参差时，希望距离只是放大 IoU 损失，而不像 DIoU、CIoU 那样另加惩罚项。
    边界：中心重合时就是 IoU 损失；值在 0 与 e 之间；外接框的对角线没有梯度，因而不会靠拉大框来降低损失。
    """,
)
def wiou_loss(
    input: Tensor,
    target: Tensor,
    *,
    box_format: BoxFormat = "xyxy",
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """WIoU loss (Wise-IoU, version 1) between predicted and target boxes: 1 - IoU times exp of the squared distance of the centres in diagonals.

    Formula:
        R (1 - IoU), R = exp(d^2 / c^2) with d between the centres and c the diagonal of the smallest enclosing box. c is constant in the derivatives, so that
        no box grows to lower its loss: they are -R by IoU, and R (1 - IoU) 2 m / c^2 by m, the difference of the centres.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: target boxes, the same shape; they get a gradient if they require one.
        box_format, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, e) for boxes in order.

    Raises:
        TypeError: `input` or `target` is not floating point. ValueError: shapes differ or do not end in 4, `box_format` or `reduction` is
        unknown, weights are not finite.

    When to use:
        Labels of mixed quality: the distance scales the IoU loss, so boxes that overlap well get no extra penalty.

    Edge cases:
        If the centres coincide it is `iou_loss`. Identical boxes, zero area, boxes out of order: as there. The second derivative is that of the gradient as
        it is.

    Differs from the paper:
        This is its version 1, without state; version 3, which weighs boxes by a running mean of the loss, is `WIoUv3Loss`. Version 2 is left out.

    Reference:
        Tong et al., Wise-IoU: Bounding Box Regression Loss with Dynamic Focusing Mechanism, 2023.

    Example:
        >>> import torch
        >>> wiou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]))
        tensor(0.7097)
    """
    return boxes(formula, input, target, box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
