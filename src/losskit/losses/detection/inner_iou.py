"""Inner-IoU loss: IoU of both boxes shrunk, or grown, about their centres."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduction import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import where
from losskit.losses.detection.iou import linear


def scaled(a0, a1, origin, ratio):
    """Ends about their middle, seen from an origin near them, so that nothing is rounded at the size of the coordinates."""
    middle = 0.5 * (a0 - origin) + 0.5 * (a1 - origin)
    half = ratio * (0.5 * (a1 - a0))
    return middle - half, middle + half


def formula(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1, ratio, near, far):
    """`near` and `far` are (1 + ratio) / 2 and (1 - ratio) / 2: what an end of the scaled box takes of either end."""
    left, top = where(bx0 > bx1, bx1, bx0), where(by0 > by1, by1, by0)
    px0, px1 = scaled(ax0, ax1, left, ratio)
    py0, py1 = scaled(ay0, ay1, top, ratio)
    qx0, qx1 = scaled(bx0, bx1, left, ratio)
    qy0, qy1 = scaled(by0, by1, top, ratio)
    value, gax0, gay0, gax1, gay1, gbx0, gby0, gbx1, gby1 = linear(px0, py0, px1, py1, qx0, qy0, qx1, qy1)
    return (
        value,
        near * gax0 + far * gax1, near * gay0 + far * gay1, far * gax0 + near * gax1, far * gay0 + near * gay1,
        near * gbx0 + far * gbx1, near * gby0 + far * gby1, far * gbx0 + near * gbx1, far * gby0 + near * gby1,
    )  # fmt: skip


def textbook(mp, x, t, ratio):
    def inner(box):
        half = [ratio * (box[i + 2] - box[i]) / 2 for i in (0, 1)]
        middle = [(box[i] + box[i + 2]) / 2 for i in (0, 1)]
        return [middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]]

    x, t = inner(x), inner(t)
    width, height = (max(min(x[i + 2], t[i + 2]) - max(x[i], t[i]), 0) for i in (0, 1))
    both = width * height
    union = (x[2] - x[0]) * (x[3] - x[1]) + (t[2] - t[0]) * (t[3] - t[1]) - both
    iou = both / union if union else int(list(x) == list(t))
    return 1 - iou


@loss(
    textbook=textbook,
    module="InnerIoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU of both boxes scaled by ratio about their centres",
    arguments=({"ratio": 0.75}, {"ratio": 1.25}),
    tolerance=4e-6,
    chinese="""
    Inner-IoU 损失：输入与目标都是框，最后一维四个数。先把两框绕各自中心按 ratio 缩放，再求 1 - IoU。
    何时用：ratio 小于 1 时高 IoU 的框梯度更大，收敛更快；ratio 大于 1 时不太重叠的小框也有梯度；论文取 0.5 到 1.5。
    边界：ratio = 1 就是 IoU 损失；缩放后不相交的框损失为 1，没有梯度。
    """,
)
def inner_iou_loss(
    input: Tensor,
    target: Tensor,
    *,
    ratio: float = 0.75,
    box_format: BoxFormat = "xyxy",
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Inner-IoU loss of boxes against the boxes they should be: 1 - IoU of both boxes scaled about their centres.

    Formula:
        1 - IoU(A', B'), where A' and B' have the centres of A and B and `ratio` times their widths and heights. An end of A' is (1 + ratio) / 2 times that end
        of A plus (1 - ratio) / 2 times the other; so are the derivatives put together.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: the boxes they should be, the same shape; receives a gradient if it requires one.
        ratio: the scale, > 0 and at most 100; the paper uses 0.5 to 1.5. Below 1 good boxes get more gradient, above 1 boxes further away get some.
        box_format: "xyxy", "xywh" or "cxcywh", of both, as in `iou_loss`.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`; an item is one pair of boxes, so they have the shape (...).

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 1] for boxes in order.

    Raises:
        TypeError: `input` or `target` is not floating point, `ratio` is not a number. ValueError: shapes differ or do not end in 4, `ratio` is out of range, `box_format` or `reduction` is
        unknown, weights are not finite.

    When to use:
        Beside another loss of boxes: its paper adds IoU - IoU(A', B') to GIoU, DIoU, CIoU, ... losses, which is
        `ciou_loss(x, t) + inner_iou_loss(x, t) - iou_loss(x, t)`.

    Edge cases:
        ratio = 1 is `iou_loss`. The ends of the scaled boxes are rounded, so that the loss of nearly equal boxes is right to about 1e-7, not to 7 digits. Boxes that lie apart once scaled cost 1 and have no gradient. Identical boxes, zero area, boxes out of order: as `iou_loss`.

    Differs from the paper:
        Nothing but the totality.

    Reference:
        Zhang et al., Inner-IoU: More Effective Intersection over Union Loss with Auxiliary Bounding Box, 2023.

    Example:
        >>> import torch
        >>> inner_iou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]))
        tensor(0.7899)
    """
    ratio = checks.number("ratio", ratio, above=0.0, high=100.0)
    params = (ratio, (1.0 + ratio) / 2.0, (1.0 - ratio) / 2.0)
    return boxes(formula, input, target, params, box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
