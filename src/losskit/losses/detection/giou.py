"""GIoU loss and score: IoU, and how much of the enclosing box is empty."""

from torch import Tensor

from losskit.contract.boxes import TurnedBoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import maximum
from losskit.geometry import alone, axis, closed, inverse_of, measured
from losskit.losses.detection.iou import iou_and_union
from losskit.turned import closed as turned_closed
from losskit.turned import measured as turned_measured
from losskit.turned import outside as turned_outside


def outside(a0, a1, b0, b1, /):
    """The share of the enclosing box that neither fills: a sum of what is empty, not a difference. 0 if it has no area.

    Along an axis lie a alone, b alone, both, and the gap. Of several axes: a alone on the first leaves empty what a does not fill on the rest, and so on.
    """
    low, high, u, v, o, e, _ = axis(a0, a1, b0, b1)
    s = inverse_of(e)
    a, b, g = alone(low, high, u, v, o)
    a, b, g, i = a * s, b * s, g * s, maximum(o, 0.0) * s
    mine, theirs, both, empty = a[-1], b[-1], i[-1], g[-1]
    for k in reversed(range(len(a) - 1)):
        mine, theirs, both, empty = (
            a[k] * (both + mine) + i[k] * mine,
            b[k] * (both + theirs) + i[k] * theirs,
            i[k] * both,
            a[k] * theirs + b[k] * mine + empty * (i[k] + (a[k] + b[k])) + g[k] * (both + (mine + theirs) + empty),
        )
    return empty


def formula(a0, a1, b0, b1, /):
    _, lost = measured(a0, a1, b0, b1)
    empty = outside(a0, a1, b0, b1)
    return closed(a0, a1, b0, b1, 0.0, 0.0, 0.0, 0.0, lost + empty, -1.0, 1.0, empty)


def turned_formula(x, y, w, h, a, u, v, p, q, b, radian):
    _, lost = turned_measured(x, y, w, h, a, u, v, p, q, b, radian)
    empty = turned_outside(x, y, w, h, a, u, v, p, q, b, radian)
    return turned_closed(x, y, w, h, a, u, v, p, q, b, radian, lost + empty, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0)


def textbook(mp, x, t):
    iou, union = iou_and_union(x, t)
    n, hull = len(x) // 2, 1
    for i in range(n):
        hull *= max(x[i + n], t[i + n]) - min(x[i], t[i])
    return 1 - iou + ((hull - union) / hull if hull else 0)


def giou(input: Tensor, target: Tensor, *, box_format: TurnedBoxFormat = "xyxy", degrees: bool = False) -> Tensor:
    """GIoU of each box with its own, in [-1, 1] for boxes in order: IoU minus the empty share of the enclosing box; 1 - `giou_loss`.

    >>> import torch
    >>> giou(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[3.0, 0.0, 4.0, 1.0]]))
    tensor([-0.5000])
    """
    return 1.0 - giou_loss(input, target, box_format=box_format, degrees=degrees, reduction="none")


@loss(
    textbook=textbook,
    module="GIoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU + (|C| - |A or B|) / |C|,  C the smallest enclosing box",
    arguments=({},),
    scores=(giou,),
    chinese="""
    GIoU 损失：输入与目标都是框，最后一维四个数。在 1 - IoU 之上，再加最小外接框中空白部分所占的比例。
    何时用：预测框可能与目标完全不相交时，它仍有梯度；是 DETR 一类检测器的常用选择。
    边界：一个框包含另一个时退化为 IoU 损失；相距很远时先把框拉大再对齐，收敛慢于 DIoU 与 CIoU；外接框没有面积时空白部分计为 0。
    """,
)
def giou_loss(
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
    """GIoU loss between predicted and target boxes: 1 - IoU + the empty share of the smallest enclosing box.

    Formula:
        1 - IoU + (|C| - U) / |C|, with U the area of the union and C the smallest enclosing box. Besides those of IoU, the derivatives are -1 / |C| by the
        union, and U / (|C| e) by each extent e of C.

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
        Boxes that may not overlap their targets: unlike IoU, the gradient then still points towards the target. Often used together with an L1 loss (DETR).

    Edge cases:
        Identical boxes, zero area, boxes out of order: as `iou_loss`. A box inside the other has the loss of IoU alone. If the enclosing box has no area
        (points and lines on one line), no share of it is empty.
        Turned boxes: C is the smallest box along the target's sides that holds both. So turning both boxes together changes nothing, and at equal angles the loss is that of
        aligned boxes.

    Differs from torchvision:
        `torchvision.ops.generalized_box_iou_loss` adds 1e-7 to both denominators, so that identical boxes have a loss above 0, the more the smaller they are;
        it takes xyxy only and rewards corners out of order. mmdetection's `GIoULoss` adds its epsilon likewise.

    Reference:
        Rezatofighi et al., Generalized Intersection over Union: A Metric and a Loss for Bounding Box Regression, 2019.

    Example:
        >>> import torch
        >>> giou_loss(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[3.0, 0.0, 4.0, 1.0]]))
        tensor(1.5000)
    """
    return boxes(
        formula, input, target, space=True, turned=turned_formula, degrees=degrees, box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction
    )  # fmt: skip
