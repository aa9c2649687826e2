"""MPDIoU loss: IoU, and the distance of two corners relative to the size of the image."""

import math
from collections.abc import Sequence

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.axes import total
from losskit.engines.language import where
from losskit.geometry import axis
from losskit.losses.detection.iou import iou_and_union, linear


def formula(a0, a1, b0, b1, /, unit):
    """`unit` is 1 over the diagonal of the image."""
    value, ga0, ga1, gb0, gb1 = linear(a0, a1, b0, b1)
    _, _, u, v, _, _, _ = axis(a0, a1, b0, b1)
    low, high = (a0 - u) * unit, (a1 - v) * unit
    value = value + (total(low * low) + total(high * high))
    low, high = 2.0 * unit * low, 2.0 * unit * high
    gb0, gb1 = gb0 - where(b0 > b1, high, low), gb1 - where(b0 > b1, low, high)
    return value, ga0 + low, ga1 + high, gb0, gb1


def textbook(mp, x, t, image_size):
    iou, _ = iou_and_union(x, t)
    return 1 - iou + sum((p - q) ** 2 for p, q in zip(x, t, strict=True)) / sum(mp.mpf(side) ** 2 for side in image_size)


@loss(
    textbook=textbook,
    module="MPDIoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU + (d_1^2 + d_2^2) / (W^2 + H^2),  d_1, d_2 between the corners, W and H of the picture",
    arguments=({"image_size": (1.0, 1.0)}, {"image_size": (480.0, 640.0)}),
    chinese="""
    MPDIoU 损失：输入与目标都是框，最后一维四个数。在 1 - IoU 之上，再加左上角与右下角距离的平方和除以图片对角线的平方。
    何时用：想用最简单的一项同时约束中心与大小；必须给出 image_size：框用像素坐标时填（高, 宽），归一化坐标时填 (1, 1)。
    边界：损失随距离的平方增长，没有上限，坐标超出 1e19 倍图片大小时 float32 会溢出；相同的框损失与梯度恰好为 0。
    """,
)
def mpdiou_loss(
    input: Tensor,
    target: Tensor,
    *,
    image_size: tuple[float, float],
    box_format: BoxFormat = "xyxy",
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """MPDIoU loss between predicted and target boxes: 1 - IoU + the squared distances of two corners over the squared diagonal of the image.

    Formula:
        1 - IoU + (d_1^2 + d_2^2) / (W^2 + H^2), with d_1 between the upper left corners, d_2 between the lower right ones, and W and H the sides of the image.
        Besides those of IoU, the derivative by a corner's coordinate is twice its difference over W^2 + H^2.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: target boxes, the same shape; they get a gradient if they require one.
        image_size: (height, width) of the picture, in the units of the boxes; (1, 1) for boxes normalised to [0, 1]. Required: boxes of pixels against a
            picture of size 1 cost thousands.
        box_format, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 3] for boxes in order within the picture.

    Raises:
        TypeError: `input` or `target` is not floating point, `image_size` is no pair of numbers. ValueError: shapes differ or do not end in 4, `image_size`
            is not above 0, `box_format` or `reduction` is
        unknown, weights are not finite.

    When to use:
        When one simple term for centre and size is enough. Unlike the terms of GIoU, DIoU and CIoU, its weight depends on the size of the box in the image.

    Edge cases:
        The loss grows with the square of the distance without bound, in float32 up to 1e19 image sizes away. Identical boxes, zero area, boxes out of order:
        as `iou_loss`; their corners are also pulled towards those of the target.

    Differs from the paper:
        Only that every finite input gives a finite result; the paper scores boxes by 1 minus this loss.

    Reference:
        Ma and Xu, MPDIoU: A Loss for Efficient and Accurate Bounding Box Regression, 2023.

    Example:
        >>> import torch
        >>> mpdiou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]), image_size=(10.0, 10.0))
        tensor(0.6767)
    """
    if not isinstance(image_size, Sequence) or len(image_size) != 2:
        raise TypeError(f"image_size must be (height, width), got {type(image_size).__name__}: {image_size!r}")
    height, width = (checks.number("image_size", side, above=0.0) for side in image_size)
    return boxes(
        formula,
        input,
        target,
        (1.0 / math.hypot(height, width),),
        box_format=box_format,
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
