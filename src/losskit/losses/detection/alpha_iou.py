"""Alpha-IoU loss: 1 minus a power of IoU."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.axes import smallest
from losskit.engines.language import exp_product, expm1_product, where
from losskit.geometry import closed, extents, log_of, measured, steepest
from losskit.losses.detection.iou import iou_and_union


def formula(a0, a1, b0, b1, /, power, less):
    iou, lost = measured(a0, a1, b0, b1)
    e = extents(a0, a1, b0, b1)
    log = log_of(iou, lost)
    overlapping = iou > 1e-18
    value = where(overlapping, -expm1_product(power, log), 1.0 + 0.0 * iou)
    slope = where(overlapping, steepest(power * exp_product(less, log), smallest(e)), 0.0 * iou)
    return closed(a0, a1, b0, b1, 0.0, 0.0, 0.0, 0.0, value, -slope, 0.0, 0.0)


def textbook(mp, x, t, power):
    iou, _ = iou_and_union(x, t)
    return 1 - iou**power


@loss(
    textbook=textbook,
    module="AlphaIoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU^power",
    arguments=({"power": 3.0}, {"power": 0.5}, {"power": 1.0}),
    tolerance=4e-6,
    chinese="""
    Alpha-IoU 损失：输入与目标都是框，最后一维四个数。损失为 1 减去 IoU 的 power 次方。
    何时用：power 大于 1 时高 IoU 的框梯度更大，定位更精确，对少量标注噪声更稳健；论文推荐 power = 3。
    边界：power = 1 就是 IoU 损失，power = 2 即 square 模式；不相交的框损失为 1，没有梯度；power 小于 1 时 IoU 很小的框梯度很大。
    """,
)
def alpha_iou_loss(
    input: Tensor,
    target: Tensor,
    *,
    power: float = 3.0,
    box_format: BoxFormat = "xyxy",
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Alpha-IoU loss between predicted and target boxes: 1 - IoU^power, which weighs good boxes more for a power above 1.

    Formula:
        1 - IoU^power; derivative by IoU -power IoU^(power - 1).

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: target boxes, the same shape; they get a gradient if they require one.
        power: the paper's alpha, > 0; 3 there.
        box_format, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 1] for boxes in order.

    Raises:
        TypeError: `input` or `target` is not floating point, `power` is not a number. ValueError: shapes differ or do not end in 4, `power` <= 0,
            `box_format` or `reduction` is
        unknown, weights are not finite.

    When to use:
        Boxes that already overlap their targets, when the last few hundredths of IoU matter.

    Edge cases:
        power = 1 is `iou_loss`. Boxes apart, and those with an IoU below 1e-18, cost 1 and have no gradient. Identical boxes, zero area, boxes out of order:
        as `iou_loss`.

    Differs from the paper:
        The paper also raises the further terms of GIoU, DIoU and CIoU to the power; this is its first member, IoU alone.

    Reference:
        He et al., Alpha-IoU: A Family of Power Intersection over Union Losses for Bounding Box Regression, 2021.

    Example:
        >>> import torch
        >>> alpha_iou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]))
        tensor(0.9630)
    """
    power = checks.number("power", power, above=0.0)
    return boxes(
        formula, input, target, (power, power - 1.0), box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction
    )
