"""DIoU loss and score: IoU, and how far the centres lie apart."""

from torch import Tensor

from losskit.contract.boxes import TurnedBoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.axes import largest, total
from losskit.geometry import axis, closed, extents, inverse_of, measured
from losskit.losses.detection.iou import iou_and_union
from losskit.turned import closed as turned_closed
from losskit.turned import distance as turned_distance
from losskit.turned import measured as turned_measured


def apart(a0, a1, b0, b1, e, /):
    """The squared distance of the centres over that of the corners of the enclosing box, and its derivatives by the extents e and by the distances."""
    low, high, u, v, _, _, _ = axis(a0, a1, b0, b1)
    unit = inverse_of(largest(e))
    m = (0.5 * (low - u) + 0.5 * (high - v)) * unit  # of the same ends as the extents, so never above them
    d = e * unit
    inverse = inverse_of(total(d * d))
    share = total(m * m) * inverse
    double = 2.0 * unit * inverse
    return share, -share * d * double, m * double


def formula(a0, a1, b0, b1, /):
    _, lost = measured(a0, a1, b0, b1)
    e = extents(a0, a1, b0, b1)
    share, by_e, by_m = apart(a0, a1, b0, b1, e)
    return closed(a0, a1, b0, b1, by_e, by_m, 0.0, 0.0, lost + share, -1.0, 0.0, 0.0)


def turned_formula(x, y, w, h, a, u, v, p, q, b, radian):
    _, lost = turned_measured(x, y, w, h, a, u, v, p, q, b, radian)
    share, by_ex, by_ey, by_x, by_y = turned_distance(x, y, w, h, a, u, v, p, q, b, radian)
    return turned_closed(x, y, w, h, a, u, v, p, q, b, radian, lost + share, -1.0, 0.0, by_ex, by_ey, by_x, by_y)


def textbook(mp, x, t):
    iou, _ = iou_and_union(x, t)
    n = len(x) // 2
    distance = sum(((x[i] + x[i + n]) - (t[i] + t[i + n])) ** 2 for i in range(n)) / 4
    diagonal = sum((max(x[i + n], t[i + n]) - min(x[i], t[i])) ** 2 for i in range(n))
    return 1 - iou + (distance / diagonal if diagonal else 0)


def diou(input: Tensor, target: Tensor, *, box_format: TurnedBoxFormat = "xyxy", degrees: bool = False) -> Tensor:
    """DIoU of each box with its own, in [-1, 1] for boxes in order: IoU minus the squared distance of the centres in diagonals; 1 - `diou_loss`.

    >>> import torch
    >>> diou(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[3.0, 0.0, 4.0, 1.0]]))
    tensor([-0.5294])
    """
    return 1.0 - diou_loss(input, target, box_format=box_format, degrees=degrees, reduction="none")


@loss(
    textbook=textbook,
    module="DIoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU + d^2 / c^2,  d between the centres, c the diagonal of the enclosing box",
    arguments=({},),
    scores=(diou,),
    chinese="""
    DIoU 损失：输入与目标都是框，最后一维四个数。在 1 - IoU 之上，再加两框中心距离的平方除以外接框对角线的平方。
    何时用：预测框离目标较远或互相包含时，收敛快于 IoU 与 GIoU；不需要约束宽高比时用它即可。
    边界：中心重合时退化为 IoU 损失；两框是同一个点时损失为 0；相同的框损失与梯度恰好为 0。
    """,
)
def diou_loss(
    input: Tensor,
    target: Tensor,
    *,
    box_format: TurnedBoxFormat = "xyxy",
    degrees: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """DIoU loss between predicted and target boxes: 1 - IoU + the squared distance of the centres over the squared diagonal of the enclosing box.

    Formula:
        1 - IoU + d^2 / c^2, d^2 = m_x^2 + m_y^2 with m the difference of the centres, c^2 = e_x^2 + e_y^2 with e the extents of the smallest enclosing box.
        Besides those of IoU, the derivatives are 2 m / c^2 by m and -2 e d^2 / c^4 by e.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis; turned boxes, (..., 5), or boxes in space, (..., 6), as in
            `iou_loss`.
        target: target boxes, the same shape; they get a gradient if they require one.
        box_format, degrees: as in `iou_loss`.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 2) for boxes in order.

    Raises:
        TypeError: `input` or `target` is not floating point. ValueError: shapes differ or do not end in 4, 5 or 6, `box_format` or `reduction` is unknown,
            weights are
        not finite.

    When to use:
        Boxes that start far from their targets, or inside them: the centre term moves them directly, where GIoU first grows them.

    Edge cases:
        Identical boxes, zero area, boxes out of order: as `iou_loss`; the centre of a box out of order is the middle of its corners. Two boxes that are the
        same point have the loss 0, two different points 1 + d^2 / c^2.
        Turned boxes: the enclosing box is the smallest along the target's sides that holds both, as of `giou_loss`.

    Differs from torchvision:
        `torchvision.ops.distance_box_iou_loss` adds 1e-7 to both denominators and takes xyxy only; mmdetection's `DIoULoss` adds 1e-6.

    Reference:
        Zheng et al., Distance-IoU Loss: Faster and Better Learning for Bounding Box Regression, 2020.

    Example:
        >>> import torch
        >>> diou_loss(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[3.0, 0.0, 4.0, 1.0]]))
        tensor(1.5294)
    """
    return boxes(
        formula, input, target, space=True, turned=turned_formula, degrees=degrees, box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction
    )  # fmt: skip
