"""CIoU loss and score: DIoU, and how far the aspect ratios lie apart."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import atan2, where
from losskit.geometry import closed, extents, inverse_of, measured, sizes
from losskit.losses.detection.diou import apart
from losskit.losses.detection.iou import iou_and_union


def angle(w, h):
    """atan(w / h) and its derivatives by both, h / (w^2 + h^2) and -w / (w^2 + h^2); 0 for a point."""
    tall = where(h > 0.0, h, 0.0)  # no -0, whose angle is pi
    unit = inverse_of(where(w > tall, w, tall))
    a, b = w * unit, tall * unit
    slope = unit * inverse_of(a * a + b * b)
    return atan2(a, b), b * slope, -a * slope


def kept(a0, a1, size):
    """Out of order, a box keeps its angle, for that of its middle may be kinder; no gradient of it reaches its corners along that axis (`along`)."""
    return where(a0 > a1, a0 - a1, size)


def formula(a0, a1, b0, b1, /, full):
    _, lost = measured(a0, a1, b0, b1)
    e = extents(a0, a1, b0, b1)
    w, u = sizes(a0, a1, b0, b1)
    share, by_e, by_m = apart(a0, a1, b0, b1, e)
    mine, by_wx, by_wy = angle(*kept(a0, a1, w))
    theirs, by_ux, by_uy = angle(*u)
    off = mine - theirs
    v = 0.4052847345693511 * off * off  # 4 / pi^2
    alpha = v * inverse_of(lost + v)
    by_v = alpha + full * alpha * (1.0 - alpha)
    by_off = 0.8105694691387022 * off * by_v
    return closed(
        a0, a1, b0, b1, by_e, by_m, (by_off * by_wx, by_off * by_wy), (-by_off * by_ux, -by_off * by_uy),
        lost + share + alpha * v, -1.0 + full * alpha * alpha, 0.0, 0.0,
    )  # fmt: skip


def textbook(mp, x, t, alpha_gradient):
    iou, _ = iou_and_union(x, t)
    distance = sum(((x[i] + x[i + 2]) - (t[i] + t[i + 2])) ** 2 for i in (0, 1)) / 4
    diagonal = sum((max(x[i + 2], t[i + 2]) - min(x[i], t[i])) ** 2 for i in (0, 1))
    angles = [mp.atan2(b[2] - b[0], b[3] - b[1]) if b[2] > b[0] or b[3] > b[1] else 0 for b in (x, t)]
    v = 4 / mp.pi**2 * (angles[0] - angles[1]) ** 2
    alpha = v / (1 - iou + v) if v else 0
    return 1 - iou + (distance / diagonal if diagonal else 0) + alpha * v


def ciou(input: Tensor, target: Tensor, *, box_format: BoxFormat = "xyxy") -> Tensor:
    """CIoU of each box with its own, in (-1.5, 1] for boxes in order: IoU minus the terms of distance and of aspect ratio; 1 - `ciou_loss`, alpha held constant.

    >>> import torch
    >>> ciou(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0, 2.0]]))
    tensor([0.2371])
    """
    return 1.0 - ciou_loss(input, target, box_format=box_format, reduction="none")


@loss(
    textbook=textbook,
    module="CIoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU + d^2 / c^2 + alpha v,  v = (4 / pi^2) (atan(w / h) - atan(w* / h*))^2,  alpha = v / (1 - IoU + v)",
    arguments=({"alpha_gradient": False}, {"alpha_gradient": True}),
    scores=(ciou,),
    chinese="""
    CIoU 损失：输入与目标都是框，最后一维四个数。在 DIoU 损失之上，再加宽高比之差的一项 alpha v。
    何时用：一阶段检测器的框回归，希望重叠、中心与宽高比同时收敛时；是常用的默认选择。
    边界：宽高比相同时就是 DIoU；alpha 默认在求导时视为常数，与通行实现一致，alpha_gradient=True 给出完整导数；
    一个点的角度按 0 计，宽或高为零的框也有有限的值与梯度。
    """,
)
def ciou_loss(
    input: Tensor,
    target: Tensor,
    *,
    alpha_gradient: bool = False,
    box_format: BoxFormat = "xyxy",
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """CIoU loss between predicted and target boxes: 1 - IoU, the distance of the centres, and the difference of the aspect ratios.

    Formula:
        1 - IoU + d^2 / c^2 + alpha v, with d and c as in `diou_loss`, v = (4 / pi^2) (a - a*)^2 for a = atan(w / h) of the input and a* of the target, and
        alpha = v / (1 - IoU + v).

        From da/dw = h / (w^2 + h^2) and da/dh = -w / (w^2 + h^2) follow dv/dw = (8 / pi^2) (a - a*) h / (w^2 + h^2) and
        dv/dh = -(8 / pi^2) (a - a*) w / (w^2 + h^2); by the target's size the same with the other sign and its own angle.
        With alpha constant, d(alpha v) = alpha dv. In full, alpha v = v^2 / (1 - IoU + v), so d(alpha v) = (2 alpha - alpha^2) dv + alpha^2 dIoU: up to
        twice the pull on the aspect ratio, and alpha^2 less on IoU.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: target boxes, the same shape; they get a gradient if they require one.
        alpha_gradient: whether alpha counts in the derivative; False, the common practice, holds it constant. The value is the same.
        box_format, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 2.5) for boxes in order.

    Raises:
        TypeError: `input` or `target` is not floating point, `alpha_gradient` is not a bool. ValueError: shapes differ or do not end in 4, `box_format` or
        `reduction` is unknown, weights are not finite.

    When to use:
        Box regression of one-stage detectors: overlap, centre and aspect ratio at once.

    Edge cases:
        Identical boxes, zero area, boxes out of order: as `iou_loss`. The angle of a point is 0, of a box without height pi / 2. A box out of order keeps the
        angle of the box in order for its value, but on that axis only the cost of disorder moves its corners towards each other. The second derivative with
        alpha_gradient=False is that of the gradient as it is.

    Differs from torchvision:
        `torchvision.ops.complete_box_iou_loss` is the same with alpha constant, but adds 1e-7 to denominators and divides width by height, which is NaN for a
        box without either. The paper prints dv/dw and dv/dh with a* - a where its own v gives a - a*: the direction in which the size should move, not the
        derivative, so used as a gradient it leads uphill. It also sets w^2 + h^2, small for sizes in [0, 1], to 1. Common code leaves v to autograd, which has
        the right signs and the true denominator, and so does this. mmdetection's older code leaves alpha to autograd too: alpha_gradient=True. Its newer
        code, as the authors' own, holds alpha constant and sets it to 0 where IoU is at most 1/2; here alpha is that of the paper.

    Reference:
        Zheng et al., Distance-IoU Loss: Faster and Better Learning for Bounding Box Regression, 2020.

    Example:
        >>> import torch
        >>> ciou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[0.0, 0.0, 1.0, 2.0]]))
        tensor(0.7629)
    """
    checks.flag("alpha_gradient", alpha_gradient)
    params = (1.0 if alpha_gradient else 0.0,)
    return boxes(formula, input, target, params, box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
