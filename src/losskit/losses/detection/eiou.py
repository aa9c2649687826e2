"""EIoU loss: DIoU, and how far widths and heights lie apart."""

from torch import Tensor

from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.axes import total
from losskit.geometry import closed, extents, inverse_of, measured, unlike
from losskit.losses.detection.diou import apart
from losskit.losses.detection.iou import iou_and_union


def terms(a0, a1, b0, b1, /):
    """EIoU without its cost of disorder, and its derivatives by extents, distances of the centres, and the sizes of a; those by the sizes of b are their negatives."""
    _, lost = measured(a0, a1, b0, b1)
    e = extents(a0, a1, b0, b1)
    share, by_e, by_m = apart(a0, a1, b0, b1, e)
    s = inverse_of(e)
    d = unlike(a0, a1, b0, b1) * s
    by_w = 2.0 * d * s
    return lost + share + total(d * d), by_e - d * by_w, by_m, by_w


def formula(a0, a1, b0, b1, /):
    value, by_e, by_m, by_w = terms(a0, a1, b0, b1)
    return closed(a0, a1, b0, b1, by_e, by_m, by_w, -by_w, value, -1.0, 0.0, 0.0)


def textbook(mp, x, t):
    iou, _ = iou_and_union(x, t)
    distance = sum(((x[i] + x[i + 2]) - (t[i] + t[i + 2])) ** 2 for i in (0, 1)) / 4
    hull = [max(x[i + 2], t[i + 2]) - min(x[i], t[i]) for i in (0, 1)]
    diagonal = hull[0] ** 2 + hull[1] ** 2
    value = 1 - iou + (distance / diagonal if diagonal else 0)
    return value + sum((((x[i + 2] - x[i]) - (t[i + 2] - t[i])) / hull[i]) ** 2 if hull[i] else 0 for i in (0, 1))


@loss(
    textbook=textbook,
    module="EIoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU + d^2 / c^2 + (w - w*)^2 / c_w^2 + (h - h*)^2 / c_h^2",
    arguments=({},),
    chinese="""
    EIoU（高效 IoU）损失：输入与目标都是框，最后一维四个数。在 DIoU 损失之上，把宽与高的差分别除以外接框的宽与高，平方后相加。
    何时用：想直接约束宽与高，而不是像 CIoU 那样只约束宽高比时；CIoU 在宽高比相同而大小不同时没有这一项。
    边界：相同的框损失与梯度恰好为 0；宽与高都相同时就是 DIoU；外接框某一边为 0 时该项计为 0。
    """,
)
def eiou_loss(
    input: Tensor,
    target: Tensor,
    *,
    box_format: BoxFormat = "xyxy",
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """EIoU loss (efficient IoU) between predicted and target boxes: DIoU loss, and the differences of width and height.

    Formula:
        1 - IoU + d^2 / c^2 + (w - w*)^2 / c_w^2 + (h - h*)^2 / c_h^2, with d between the centres, c_w and c_h the extents of the smallest enclosing box and
        c its diagonal. Besides those of `diou_loss`, the derivatives are 2 (w - w*) / c_w^2 by w, its negative by w*, -2 (w - w*)^2 / c_w^3 by c_w.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: target boxes, the same shape; they get a gradient if they require one.
        box_format, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 4) for boxes in order.

    Raises:
        TypeError: `input` or `target` is not floating point. ValueError: shapes differ or do not end in 4, `box_format` or `reduction` is
        unknown, weights are not finite.

    When to use:
        As `ciou_loss`, when the sizes should be right and not only their ratio: in CIoU only the IoU distinguishes boxes of the same shape and different sizes.

    Edge cases:
        Identical boxes, zero area, boxes out of order: as `iou_loss`; a box out of order has the size 0. The term of an axis along which both have the size 0
        is 0.

    Differs from mmdetection:
        mmdetection's `EIoULoss` is another loss, extended IoU. torchvision has none.

    Reference:
        Zhang et al., Focal and Efficient IOU Loss for Accurate Bounding Box Regression, 2021.

    Example:
        >>> import torch
        >>> eiou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]))
        tensor(1.2292)
    """
    return boxes(formula, input, target, box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
