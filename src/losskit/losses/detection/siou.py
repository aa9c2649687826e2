"""SIoU loss: IoU, an angle-aware centre distance, and the shape."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.axes import largest, total
from losskit.engines.language import absolute, exp_neg, exp_product, expm1, log_floored, sign, where
from losskit.geometry import axis, closed, extents, inverse_of, measured, sizes, unlike
from losskit.losses.detection.iou import iou_and_union


def shape(w, v, difference, theta, less):
    """(1 - exp(-|w - v| / max(w, v)))^theta and its derivatives by both; `difference` is w - v, `less` is theta - 1."""
    inverse = inverse_of(where(w > v, w, v))
    omega = absolute(difference * inverse)
    root = -expm1(-omega)
    log = log_floored(root)
    slope = where(omega > 0.0, theta * exp_product(less, log) * exp_neg(omega), 0.0)
    return (
        where(omega > 0.0, exp_product(theta, log), 0.0 * omega),
        where(w > v, slope * v * inverse * inverse, -slope * inverse),
        where(w > v, -slope * inverse, slope * w * inverse * inverse),
    )


def formula(a0, a1, b0, b1, /, theta, less):
    _, lost = measured(a0, a1, b0, b1)
    e = extents(a0, a1, b0, b1)
    w, v = sizes(a0, a1, b0, b1)
    low, high, b_low, b_high, _, _, _ = axis(a0, a1, b0, b1)
    m = 0.5 * (low - b_low) + 0.5 * (high - b_high)
    far = absolute(m)
    unit = inverse_of(largest(far))
    px, py = far * unit
    inverse = inverse_of(px * px + py * py)
    gamma = 2.0 - 2.0 * px * py * inverse  # 2 - sin of twice the angle between the line of the centres and an axis
    turn = 2.0 * (py * py - px * px) * inverse * inverse * unit
    s = inverse_of(e)
    q = m * s
    near = exp_neg(gamma * q * q)
    by_q, by_gamma = gamma * q * near, 0.5 * total(q * q * near)
    distance = total(-expm1(-gamma * q * q))
    shapes, by_w, by_v = shape(w, v, unlike(a0, a1, b0, b1), theta, less)
    (by_x, by_y), (mx, my) = by_q * s, m
    return closed(
        a0, a1, b0, b1, -by_q * q * s, (by_x - by_gamma * turn * py * sign(mx), by_y + by_gamma * turn * px * sign(my)), 0.5 * by_w, 0.5 * by_v,
        lost + 0.5 * (distance + total(shapes)), -1.0, 0.0, 0.0,
    )  # fmt: skip


def textbook(mp, x, t, theta):
    iou, _ = iou_and_union(x, t)
    shift = [abs((x[i] + x[i + 2]) - (t[i] + t[i + 2])) / 2 for i in (0, 1)]
    far = mp.sqrt(shift[0] ** 2 + shift[1] ** 2)
    angle = 1 - 2 * mp.sin(mp.asin(shift[1] / far) - mp.pi / 4) ** 2 if far else 0
    distance = shape = 0
    for i in (0, 1):
        hull = max(x[i + 2], t[i + 2]) - min(x[i], t[i])
        distance += 1 - mp.exp(-(2 - angle) * (shift[i] / hull) ** 2) if hull else 0
        sides = x[i + 2] - x[i], t[i + 2] - t[i]
        shape += (1 - mp.exp(-abs(sides[0] - sides[1]) / max(sides))) ** theta if max(sides) else 0
    return 1 - iou + (distance + shape) / 2


@loss(
    textbook=textbook,
    module="SIoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU + (D + S) / 2,  D = sum(1 - exp(-(2 - L) (m / c)^2)),  L = sin 2a,  S = sum((1 - exp(-|w - w*| / max(w, w*)))^theta)",
    arguments=({"theta": 4.0}, {"theta": 1.5}),
    chinese="""
    SIoU 损失：输入与目标都是框，最后一维四个数。在 1 - IoU 之上，再加与连线角度有关的距离项和形状项，各乘 1/2。
    何时用：想让预测框先沿较近的坐标轴靠近目标时；YOLOv6 等检测器使用；theta 越大，形状项对小差别越宽容，论文建议 2 到 6。
    边界：中心重合时角度无定义，距离项为 0；宽或高都为 0 时形状项为 0；相同的框损失与梯度恰好为 0。
    """,
)
def siou_loss(
    input: Tensor,
    target: Tensor,
    *,
    theta: float = 4.0,
    box_format: BoxFormat = "xyxy",
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """SIoU loss between predicted and target boxes: 1 - IoU, an angle-aware distance of the centres, and a cost of shape.

    Formula:
        1 - IoU + (D + S) / 2. D = (1 - exp(-g q_x^2)) + (1 - exp(-g q_y^2)) with q_x = m_x / c_w, q_y = m_y / c_h, m the difference of the centres, c_w and c_h
        the extents of the smallest enclosing box, and g = 2 - L; L = 1 - 2 sin^2(asin(|m_y| / |m|) - pi / 4) = 2 |m_x m_y| / |m|^2, the sine of twice
        the angle. S = sum over width and height of (1 - exp(-|w - w*| / max(w, w*)))^theta.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: target boxes, the same shape; they get a gradient if they require one.
        theta: the exponent of the cost of shape, >= 1; the paper uses 2 to 6.
        box_format, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 2.6] for boxes in order.

    Raises:
        TypeError: `input` or `target` is not floating point, `theta` is not a number. ValueError: shapes differ or do not end in 4, `theta` is below 1,
            `box_format` or `reduction` is
        unknown, weights are not finite.

    When to use:
        Detectors of the YOLO family (YOLOv6). The closer the line between the centres is to 45 degrees, the less their distance counts.

    Edge cases:
        Identical boxes, zero area, boxes out of order: as `iou_loss`; a box out of order has the size 0. If the centres coincide the distance is 0, whatever
        its angle would be.

    Differs from mmdetection:
        mmdetection's `SIoULoss` with neg_gamma=True, and YOLOv6's, are the same up to their epsilons. With mmdetection's default, neg_gamma=False, boxes cost less the further
        they lie apart.

    Reference:
        Gevorgyan, SIoU Loss: More Powerful Learning for Bounding Box Regression, 2022.

    Example:
        >>> import torch
        >>> siou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]))
        tensor(0.7512)
    """
    theta = checks.number("theta", theta, low=1.0)
    return boxes(
        formula, input, target, (theta, theta - 1.0), box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction
    )
