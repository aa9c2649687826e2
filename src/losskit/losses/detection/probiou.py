"""ProbIoU loss and score: boxes as Gaussians, and their Hellinger or Bhattacharyya distance."""

from typing import Literal

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import TurnedBoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.gaussian import aligned, bhattacharyya, hellinger, of_corners, of_turned, turned


def l1(x0, y0, x1, y1, u0, v0, u1, v1):
    x, y, w, h, p, q, wider, taller, unit = aligned(x0, y0, x1, y1, u0, v0, u1, v1)
    distance, g_x, g_y, g_w, g_h, g_p, g_q, _, _, _ = bhattacharyya(x, y, w, h, p, q, wider, taller, 1.0, 0.0)
    value, slope = hellinger(distance)
    return of_corners(x0, y0, x1, y1, u0, v0, u1, v1, value, slope, g_x, g_y, g_w, g_h, g_p, g_q, unit)


def l2(x0, y0, x1, y1, u0, v0, u1, v1):
    x, y, w, h, p, q, wider, taller, unit = aligned(x0, y0, x1, y1, u0, v0, u1, v1)
    distance, g_x, g_y, g_w, g_h, g_p, g_q, _, _, _ = bhattacharyya(x, y, w, h, p, q, wider, taller, 1.0, 0.0)
    return of_corners(x0, y0, x1, y1, u0, v0, u1, v1, distance, 1.0, g_x, g_y, g_w, g_h, g_p, g_q, unit)


def turned_l1(x, y, w, h, a, u, v, p, q, b, radian):
    right, down, wide, high, long, tall, wider, taller, turn_x, turn_y, c, s, unit = turned(x, y, w, h, a, u, v, p, q, b, radian)
    distance, g_x, g_y, g_w, g_h, g_p, g_q, g_turn, right, down = bhattacharyya(right, down, wide, high, long, tall, wider, taller, turn_x, turn_y)
    value, slope = hellinger(distance)
    return of_turned(w, h, p, q, value, slope, g_x, g_y, g_w, g_h, g_p, g_q, g_turn, right, down, c, s, unit, radian)


def turned_l2(x, y, w, h, a, u, v, p, q, b, radian):
    right, down, wide, high, long, tall, wider, taller, turn_x, turn_y, c, s, unit = turned(x, y, w, h, a, u, v, p, q, b, radian)
    distance, g_x, g_y, g_w, g_h, g_p, g_q, g_turn, right, down = bhattacharyya(right, down, wide, high, long, tall, wider, taller, turn_x, turn_y)
    return of_turned(w, h, p, q, distance, 1.0, g_x, g_y, g_w, g_h, g_p, g_q, g_turn, right, down, c, s, unit, radian)


FORMULAS = {"l1": l1, "l2": l2}
TURNED = {"l1": turned_l1, "l2": turned_l2}


def gaussian(mp, box):
    """Centre and covariance (xx, yy, xy) of corners, or of centre, sizes and angle."""
    if len(box) == 4:
        box = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1], mp.mpf(0))
    x, y, w, h, a = box
    along, across, c, s = w**2 / mp.mpf(12), h**2 / mp.mpf(12), mp.cos(a), mp.sin(a)
    return (x, y), (along * c**2 + across * s**2, along * s**2 + across * c**2, (along - across) * c * s)


def textbook(mp, x, t, mode):
    (m, mine), (n, theirs) = gaussian(mp, x), gaussian(mp, t)
    both = [a + b for a, b in zip(mine, theirs, strict=True)]
    dx, dy = m[0] - n[0], m[1] - n[1]
    det, det_mine, det_theirs = (a * b - c * c for a, b, c in (both, mine, theirs))
    if not det_mine * det_theirs:
        return 0 if list(x) == list(t) else mp.mpf(1)
    far = (both[1] * dx**2 + both[0] * dy**2 - 2 * both[2] * dx * dy) / det / 4
    distance = far + mp.log(det / (4 * mp.sqrt(det_mine * det_theirs))) / 2
    return distance if mode == "l2" else mp.sqrt(1 - mp.exp(-distance))


def probiou(input: Tensor, target: Tensor, *, box_format: TurnedBoxFormat = "xyxy", degrees: bool = False) -> Tensor:
    """ProbIoU of each box with its own, in [0, 1] for boxes in order: 1 minus the Hellinger distance of the Gaussians that represent them; 1 - `probiou_loss`.

    >>> import torch
    >>> probiou(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[1.0, 0.0, 3.0, 2.0]]))
    tensor([0.4408])
    """
    return 1.0 - probiou_loss(input, target, box_format=box_format, degrees=degrees, reduction="none")


@loss(
    textbook=textbook,
    module="ProbIoULoss",
    task="detection",
    pattern="boxes",
    formula="sqrt(1 - exp(-B)),  B the Bhattacharyya distance of the boxes as Gaussians, with variances w^2 / 12 and h^2 / 12\nl2: B",
    arguments=({"mode": "l1"}, {"mode": "l2"}),
    scores=(probiou,),
    tolerance=4e-6,
    chinese="""
    ProbIoU 损失：输入与目标都是框，可以带角度。把每个框看成高斯分布（协方差取边长平方的 1/12），损失是两个分布的 Hellinger 距离；mode="l2" 时是 Bhattacharyya 距离。
    何时用：旋转框检测，希望损失处处光滑、框不相交时仍有梯度；Ultralytics 的 OBB 检测头用的就是它。
    边界：正方形的高斯分布没有方向，因此角度没有梯度；相同的框损失与梯度恰好为 0；相距很远时 l1 趋于 1、梯度消失，论文先用 l2 再用 l1；
    边长不到两框最长边的 2^-30 时按该长度计算。
    """,
)
def probiou_loss(
    input: Tensor,
    target: Tensor,
    *,
    mode: Literal["l1", "l2"] = "l1",
    box_format: TurnedBoxFormat = "xyxy",
    degrees: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """ProbIoU loss between predicted and target boxes: the Hellinger distance of the Gaussians that represent them, or their Bhattacharyya distance.

    Formula:
        A box is a Gaussian about its centre, with the covariance A = R diag(w^2, h^2) R^T / 12, that of a point anywhere in the box. With d the difference of the
        centres, B = d^T (A + A*)^-1 d / 4 + log(det((A + A*) / 2) / sqrt(det A det A*)) / 2. "l1": sqrt(1 - exp(-B)), Hellinger's distance; "l2": B, Bhattacharyya's.
        Derivative of "l1" by B: exp(-B) / (2 sqrt(1 - exp(-B))).

    Args:
        input: predicted boxes, (..., 4), one box along the last axis; turned boxes, (..., 5).
        target: target boxes, the same shape; they get a gradient if they require one.
        mode: "l1" or "l2", as the paper calls them.
        box_format, degrees: as in `iou_loss`.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...). Of boxes in order: l1 in [0, 1], l2 in [0, inf).

    Raises:
        TypeError: `input` or `target` is not floating point. ValueError: shapes differ or do not end in 4 or 5, `mode`, `box_format` or `reduction` is unknown,
        weights are not finite.

    When to use:
        Turned boxes, where a loss that is smooth everywhere trains more steadily than an exact overlap with its edges. The paper starts with "l2", whose gradient does
        not fade with the distance, and ends with "l1".

    Edge cases:
        The Gaussian of a square has no direction: between two squares the angle has no gradient. A half turn is the same box, and a quarter turn with the sides exchanged.
        Identical boxes have loss 0 and gradient 0 exactly, at any size, also without area. A side shorter than 2^-30 of the longest of both boxes counts as that. A box out
        of order, or with a width or height below 0, counts as the box that it spans, at the cost that `iou_loss` has. Far boxes have no gradient in "l1"; "l2" is flat beyond
        7.5e19.

    Differs from Ultralytics:
        Its function of that name adds 1e-7 to denominators and to the root, and holds B within [1e-7, 100], so that identical boxes have an IoU of 0.9995.

    Reference:
        Murrugarra-Llerena, Kirsten and Jung, Gaussian Bounding Boxes and Probabilistic Intersection-over-Union for Object Detection, 2021.

    Example:
        >>> import torch
        >>> probiou_loss(torch.tensor([0.0, 0.0, 4.0, 2.0, 30.0]), torch.tensor([0.0, 0.0, 4.0, 2.0, 0.0]), box_format="cxcywha", degrees=True)
        tensor(0.2523)
    """
    checks.one_of("mode", mode, tuple(FORMULAS))
    return boxes(
        FORMULAS[mode], input, target, turned=TURNED[mode], degrees=degrees, box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer,
        reduction=reduction,
    )  # fmt: skip
