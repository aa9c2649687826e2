"""NWD loss: boxes as Gaussians, and how far these lie apart."""

import math

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.axes import largest, total
from losskit.engines.language import absolute, exp_neg, expm1, sqrt, where
from losskit.geometry import axis, inverse_of


def formula(a0, a1, b0, b1, /, unit):
    """The distance is that of the corners over sqrt 2; `unit` is 1 / (sqrt 2 constant)."""
    _, _, u, v, _, _, _ = axis(a0, a1, b0, b1)
    low, high = a0 - u, a1 - v
    left, right = largest(absolute(low)), largest(absolute(high))
    far = where(left > right, left, right)
    scale = inverse_of(far)
    low, high = low * scale, high * scale
    length = total(low * low) + total(high * high)
    root = sqrt(where(length > 0.0, length, 1.0))
    far = where(length > 0.0, root * far, 0.0 * length) * unit
    slope = exp_neg(far) * unit * where(length > 0.0, 1.0 / root, 0.0)
    low, high = slope * low, slope * high
    return -expm1(-far), low, high, -where(b0 > b1, high, low), -where(b0 > b1, low, high)


def textbook(mp, x, t, constant):
    def gaussian(box):
        return [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, (box[2] - box[0]) / 2, (box[3] - box[1]) / 2]

    squared = sum((p - q) ** 2 for p, q in zip(gaussian(x), gaussian(t), strict=True))
    return 1 - mp.exp(-mp.sqrt(squared) / constant)


@loss(
    textbook=textbook,
    module="NWDLoss",
    task="detection",
    pattern="boxes",
    formula="1 - exp(-W / constant),  W^2 = m_x^2 + m_y^2 + ((w - w*)^2 + (h - h*)^2) / 4",
    arguments=({"constant": 12.8}, {"constant": 1.0}),
    tolerance=4e-6,
    chinese="""
    NWD（归一化 Wasserstein 距离）损失：输入与目标都是框，最后一维四个数，以像素为单位。把框看成高斯分布，损失为 1 - exp(-W / constant)。
    何时用：只有几个像素大的小目标，偏移一两个像素 IoU 就归零，而 NWD 仍平滑；必须给出 constant：数据集中目标的平均大小，论文在 AI-TOD 上取 12.8（像素）。
    边界：损失依赖坐标的单位，框缩放后值会变；很远的框梯度趋于 0；角点颠倒的框距离更大，梯度直接把角点拉回。
    """,
)
def nwd_loss(
    input: Tensor,
    target: Tensor,
    *,
    constant: float,
    box_format: BoxFormat = "xyxy",
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """NWD loss between predicted and target boxes: 1 - exp of minus the Wasserstein distance of the Gaussians that represent them.

    Formula:
        1 - exp(-W / C), W^2 = m_x^2 + m_y^2 + ((w - w*)^2 + (h - h*)^2) / 4, with m the difference of the centres and C the `constant`. That is half the
        squared distance of the corners, taken as four numbers: W = |A - B| / sqrt 2. Derivative by A: exp(-W / C) (A - B) / (2 C W).

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: target boxes, the same shape; they get a gradient if they require one.
        constant: C > 0, in the units of the boxes: about the size of the objects; 12.8 pixels in the paper, the mean size in AI-TOD. Required: of boxes
            normalised to [0, 1], 12.8 would leave next to no loss.
        box_format, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 1].

    Raises:
        TypeError: `input` or `target` is not floating point, `constant` is not a number. ValueError: shapes differ or do not end in 4, `constant` <= 0,
            `box_format` or `reduction` is
        unknown, weights are not finite.

    When to use:
        Objects of a few pixels, whose IoU is 0 after a shift by their own size.

    Edge cases:
        It depends on the units of the boxes: scaling both boxes changes the loss. Boxes many constants away have no gradient left. Identical boxes cost 0
        with gradient 0. Corners out of order are further from the target's than those in order, and are pulled towards them; there is no other cost.

    Differs from the paper:
        The paper's distance writes the sizes as w / 2 and h / 2, as here. Some code leaves out the square root, or the half.

    Reference:
        Wang et al., A Normalized Gaussian Wasserstein Distance for Tiny Object Detection, 2021.

    Example:
        >>> import torch
        >>> nwd_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]), constant=12.8)
        tensor(0.0752)
    """
    constant = checks.number("constant", constant, above=0.0)
    return boxes(
        formula,
        input,
        target,
        (1.0 / (math.sqrt(2.0) * constant),),
        box_format=box_format,
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
