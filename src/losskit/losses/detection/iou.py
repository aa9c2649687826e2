"""IoU loss and score: the overlap of two boxes over their union."""

from typing import Literal

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import TurnedBoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.axes import smallest
from losskit.engines.language import maximum, where
from losskit.geometry import closed, extents, log_of, measured, steepest
from losskit.turned import closed as turned_closed
from losskit.turned import largest as turned_largest
from losskit.turned import measured as turned_measured


def linear(a0, a1, b0, b1, /):
    _, lost = measured(a0, a1, b0, b1)
    return closed(a0, a1, b0, b1, 0.0, 0.0, 0.0, 0.0, lost, -1.0, 0.0, 0.0)


def square(a0, a1, b0, b1, /):
    iou, lost = measured(a0, a1, b0, b1)
    return closed(a0, a1, b0, b1, 0.0, 0.0, 0.0, 0.0, lost * (1.0 + iou), -2.0 * iou, 0.0, 0.0)


def logarithm(a0, a1, b0, b1, /):
    iou, lost = measured(a0, a1, b0, b1)
    e = extents(a0, a1, b0, b1)
    slope = where(iou > 1e-18, steepest(1.0 / maximum(iou, 1e-18), smallest(e)), 0.0 * iou)  # without overlap the loss is as flat as IoU
    return closed(a0, a1, b0, b1, 0.0, 0.0, 0.0, 0.0, -log_of(iou, lost), -slope, 0.0, 0.0)


def turned_linear(x, y, w, h, a, u, v, p, q, b, radian):
    _, lost = turned_measured(x, y, w, h, a, u, v, p, q, b, radian)
    return turned_closed(x, y, w, h, a, u, v, p, q, b, radian, lost, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def turned_square(x, y, w, h, a, u, v, p, q, b, radian):
    part, lost = turned_measured(x, y, w, h, a, u, v, p, q, b, radian)
    return turned_closed(x, y, w, h, a, u, v, p, q, b, radian, lost * (1.0 + part), -2.0 * part, 0.0, 0.0, 0.0, 0.0, 0.0)


def turned_logarithm(x, y, w, h, a, u, v, p, q, b, radian):
    part, lost = turned_measured(x, y, w, h, a, u, v, p, q, b, radian)
    slope = where(part > 1e-18, steepest(1.0 / maximum(part, 1e-18), turned_largest(x, y, w, h, u, v, p, q)), 0.0 * part)
    return turned_closed(x, y, w, h, a, u, v, p, q, b, radian, -log_of(part, lost), -slope, 0.0, 0.0, 0.0, 0.0, 0.0)


FORMULAS = {"linear": linear, "square": square, "log": logarithm}
TURNED = {"linear": turned_linear, "square": turned_square, "log": turned_logarithm}


def iou_and_union(x, t):
    """As books have them, for boxes of any number of axes: with these the textbooks of all losses made from IoU begin. No formula uses them."""
    n = len(x) // 2
    both, mine, theirs = 1, 1, 1
    for i in range(n):
        both *= max(min(x[i + n], t[i + n]) - max(x[i], t[i]), 0)
        mine, theirs = mine * (x[i + n] - x[i]), theirs * (t[i + n] - t[i])
    union = mine + theirs - both
    return both / union if union else int(list(x) == list(t)), union


def textbook(mp, x, t, mode):
    value, _ = iou_and_union(x, t)
    if mode == "log":
        return -mp.log(max(value, mp.mpf(10) ** -18))
    return 1 - value**2 if mode == "square" else 1 - value


def iou(input: Tensor, target: Tensor, *, box_format: TurnedBoxFormat = "xyxy", degrees: bool = False) -> Tensor:
    """IoU of each box with its own: the overlap over the union, 1 for identical boxes, 0 for boxes apart; 1 - `iou_loss`, and differentiable like it.

    A box out of order lies below 0 by the cost of its disorder, see `iou_loss`. For every box of one list with every box of another, see `pairwise_iou`.

    >>> import torch
    >>> iou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
    tensor([0.3333])
    """
    return 1.0 - iou_loss(input, target, box_format=box_format, degrees=degrees, reduction="none")


@loss(
    textbook=textbook,
    module="IoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU  (square: 1 - IoU^2, log: -log IoU),  IoU = |A & B| / |A or B|",
    arguments=({"mode": "linear"}, {"mode": "square"}, {"mode": "log"}),
    scores=(iou,),
    chinese="""
    IoU 损失：输入与目标都是框，最后一维四个数，默认是左上角与右下角 (x1, y1, x2, y2)。损失为 1 减去交并比。
    何时用：两框总有重叠时（精修阶段），或作为与其他框损失比较的基准；square 看重低质量的框，log 即 UnitBox 的 -ln IoU。
    边界：不相交的框损失为 1，没有梯度，请改用 GIoU、DIoU 或 CIoU；相同的框损失与梯度恰好为 0，面积为零的框也一样；
    角点颠倒的框（x2 < x1）按其中点计算，另加 w / (w + 目标宽) 的代价，梯度会把角点拉回正确的次序。
    旋转框：box_format="cxcywha"，五个数（中心、宽、高、角度），角度以弧度计，图像中顺时针为正（与 OpenCV 一致），degrees=True 则以度计；
    任意角度下重叠面积都是精确的，对十个数都有梯度。
    """,
)
def iou_loss(
    input: Tensor,
    target: Tensor,
    *,
    mode: Literal["linear", "square", "log"] = "linear",
    box_format: TurnedBoxFormat = "xyxy",
    degrees: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """IoU loss between predicted and target boxes: 1 - intersection over union.

    Formula:
        IoU = |A & B| / |A or B|, the area of the overlap over that of the union. "linear": 1 - IoU; "square": 1 - IoU^2; "log": -log IoU. Derivatives by
        IoU: -1, -2 IoU, -1 / IoU; of IoU by an area, -IoU / U; by the overlap I, (1 + IoU) / U, with U the union.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis; turned boxes, (..., 5); or boxes in space, (..., 6).
        target: target boxes, the same shape; they get a gradient if they require one.
        mode: "linear", "square" or "log".
        box_format: "xyxy" (x1, y1, x2, y2), "xywh" (x1, y1, width, height) or "cxcywh" (centre, width, height), of both. In space, by the same names: both
            corners (x1, y1, z1, x2, y2, z2), or corner or centre and the three sizes. "cxcywha" (centre, width, height, angle) of turned boxes: the angle turns the x
            axis towards the y axis, which is clockwise in a picture, whose y points down, as in OpenCV.
        degrees: True: angles are in degrees. False: in radians.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...). Of boxes in order: linear and square in [0, 1], log in [0, 41.5].

    Raises:
        TypeError: `input` or `target` is not floating point. ValueError: shapes differ or do not end in 4, 5 or 6, `mode`, `box_format` or `reduction` is unknown,
        weights are not finite.

    When to use:
        Boxes that overlap their targets from the start, and as the baseline for other box losses. "square" gives poor boxes less weight, "log" (UnitBox) gives
        them more.

    Edge cases:
        Every finite input has a finite value and gradient. Boxes apart cost 1 and have no gradient: use `giou_loss`, `diou_loss` or `ciou_loss`. Identical
        boxes have loss 0 and gradient 0 exactly, at any size, also without area; no epsilon is added anywhere. Two different boxes without area cost 1.
        A predicted box out of order (x2 < x1) counts as the middle of its corners, without size, and costs w / (w + target's size) for each axis with w = x1
        - x2: never less than the box in order, and the gradient pulls the corners back into order. A target out of order is read as the box it spans. "log"
        is held, and flat, at an IoU of 1e-18. Lengths below 1e-37 count as 0. In space volumes take the place of areas, and nothing else changes.
        Turned boxes: the area that both share is exact at any angles, and differentiable in all ten numbers. Edges that coincide, corners that touch and angles a hair
        apart cost no digits. Any number of turns is the same box. A width or height below 0 counts as 0, at the cost above. Where edges coincide without the boxes being
        the same, the derivative is one between those of both sides.

    Differs from torchvision:
        torchvision has no aligned IoU loss; its GIoU, DIoU and CIoU losses add 1e-7 to every denominator, which distorts the loss of small normalised boxes.
        mmdetection's `IoULoss` is mode="log" by default, held at an IoU of 1e-6.

    Reference:
        Yu et al., UnitBox: An Advanced Object Detection Network, 2016.

    Example:
        >>> import torch
        >>> boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
        >>> iou_loss(boxes, torch.tensor([[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 1.0, 1.0]]), reduction="none")
        tensor([0.6667, 0.0000])
        >>> iou_loss(torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 2.0]))  # in space
        tensor(0.5000)
        >>> iou_loss(torch.tensor([0.0, 0.0, 2.0, 2.0, 45.0]), torch.tensor([0.0, 0.0, 2.0, 2.0, 0.0]), box_format="cxcywha", degrees=True)  # an octagon is shared
        tensor(0.2929)
    """
    checks.one_of("mode", mode, tuple(FORMULAS))
    return boxes(
        FORMULAS[mode], input, target, space=True, turned=TURNED[mode], degrees=degrees, box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer,
        reduction=reduction,
    )  # fmt: skip
