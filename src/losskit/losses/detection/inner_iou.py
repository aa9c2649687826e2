"""Inner-IoU loss: IoU of both boxes shrunk, or grown, about their centres."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.boxes import BoxFormat, boxes
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.axes import later, nested, others, product, total
from losskit.engines.language import absolute, maximum, where
from losskit.geometry import axis, disorder, inverse_of, step
from losskit.losses.detection.iou import iou_and_union


def scaled(a0, a1, b0, b1, ratio):
    """One axis of both boxes about their middles: their sizes, how far the lower and the upper end of a lie above those of b, the overlap (negative: the gap); how far they differ as given.

    All from differences of the ends given, which keep the digits of nearly equal boxes; no scaled end is ever formed.
    """
    i, j, u, v, meets, _, _ = axis(a0, a1, b0, b1)
    low, high = i - u, j - v
    p, q = ratio * (j - i), ratio * (v - u)
    middle = 0.5 * low + 0.5 * high
    grown = 0.5 * ratio * where(meets > 0.0, high - low, (j - i) - (v - u))
    reach, least = 0.5 * p + 0.5 * q - absolute(middle), where(p < q, p, q)
    return p, q, middle - grown, middle + grown, where(reach < least, reach, least), absolute(low) + absolute(high)


def alone(p, q, low, high, overlap):
    """The lengths of a alone and of b alone."""
    meets = overlap > 0.0
    return where(meets, maximum(-low, 0.0) + maximum(high, 0.0), p), where(meets, maximum(low, 0.0) + maximum(-high, 0.0), q)


def back(a0, a1, b0, b1, ratio, low, high, overlap, by_o, by_w, by_v):
    """The cost of disorder, and from derivatives by the scaled boxes' overlap and sizes those by the four coordinates: half that by the middle, less and plus that by half the size."""
    _, _, u, v, _, _, wrong = axis(a0, a1, b0, b1)
    meets = where(overlap >= 0.0, by_o, 0.0)
    a_low, a_high = meets * step(low, 0.0), meets * step(0.0, high)
    b_low, b_high = meets * step(0.0, low), meets * step(high, 0.0)
    a_middle, b_middle = 0.5 * (a_high - a_low), 0.5 * (b_high - b_low)
    a_size, b_size = ratio * (by_w + 0.5 * (a_low + a_high)), ratio * (by_v + 0.5 * (b_low + b_high))
    price, by_wrong, by_size = disorder(wrong, v - u)
    turned, swapped = a0 > a1, b0 > b1
    a_size, b_size = where(turned, -by_wrong, a_size), by_size + b_size
    b_size = where(swapped, -b_size, b_size)
    return price, a_middle - a_size, a_middle + a_size, b_middle - b_size, b_middle + b_size


def formula(a0, a1, b0, b1, /, ratio):
    p, q, low, high, o, d = scaled(a0, a1, b0, b1, ratio)
    a, b = alone(p, q, low, high, o)
    s = inverse_of(where(p > q, p, q))  # units in which no size overflows
    i, p, q = maximum(o, 0.0) * s, p * s, q * s
    rest = nested(later(p, a * s), i) + nested(later(q, b * s), i)
    both = product(i)
    union = both + rest
    none = union < 1e-30
    inverse = inverse_of(where(none, 0.0, union))
    iou = both * inverse
    same = total(d) + total(where(a0 > a1, 1.0, 0.0)) == 0.0
    by_i, by_area = where(same, 0.0, -(1.0 + iou) * inverse), where(same, 0.0, iou * inverse)
    price, ga0, ga1, gb0, gb1 = back(
        a0, a1, b0, b1, ratio, low, high, o,
        others(product, i, first=by_i) * s, others(product, p, first=by_area) * s, others(product, q, first=by_area) * s,
    )  # fmt: skip
    lost = where(both == 0.0, 1.0 + 0.0 * rest, rest * inverse)  # exactly 1 for boxes apart; a NaN stays
    value = where(none, where(same, 0.0, 1.0), lost) + total(price)
    return value, ga0, ga1, gb0, gb1


def textbook(mp, x, t, ratio):
    def inner(box):
        half = [ratio * (box[i + 2] - box[i]) / 2 for i in (0, 1)]
        middle = [(box[i] + box[i + 2]) / 2 for i in (0, 1)]
        return [middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]]

    x, t = inner(x), inner(t)
    iou, _ = iou_and_union(x, t)
    return 1 - iou


@loss(
    textbook=textbook,
    module="InnerIoULoss",
    task="detection",
    pattern="boxes",
    formula="1 - IoU of both boxes scaled by ratio about their centres",
    arguments=({"ratio": 0.75}, {"ratio": 1.25}),
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
    """Inner-IoU loss between predicted and target boxes: 1 - IoU of both boxes scaled about their centres.

    Formula:
        1 - IoU(A', B'), where A' and B' have the centres of A and B and `ratio` times their widths and heights. An end of A' is (1 + ratio) / 2 times that end
        of A plus (1 - ratio) / 2 times the other; so are the derivatives put together.

    Args:
        input: predicted boxes, (..., 4), one box along the last axis.
        target: target boxes, the same shape; they get a gradient if they require one.
        ratio: the scale, > 0 and at most 100; the paper uses 0.5 to 1.5. Below 1 good boxes get more gradient, above 1 boxes further away get some.
        box_format, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape (...); in [0, 1] for boxes in order.

    Raises:
        TypeError: `input` or `target` is not floating point, `ratio` is not a number. ValueError: shapes differ or do not end in 4, `ratio` is out of range,
            `box_format` or `reduction` is
        unknown, weights are not finite.

    When to use:
        Together with another box loss: its paper adds IoU - IoU(A', B') to GIoU, DIoU, CIoU, ... losses, which is
        `ciou_loss(x, t) + inner_iou_loss(x, t) - iou_loss(x, t)`.

    Edge cases:
        ratio = 1 is `iou_loss`. Boxes that lie apart once scaled cost 1 and have no gradient. Identical boxes, zero area, boxes out of order: as `iou_loss`.

    Differs from the paper:
        Only that every finite input gives a finite result.

    Reference:
        Zhang et al., Inner-IoU: More Effective Intersection over Union Loss with Auxiliary Bounding Box, 2023.

    Example:
        >>> import torch
        >>> inner_iou_loss(torch.tensor([[0.0, 0.0, 2.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0]]))
        tensor(0.7899)
    """
    ratio = checks.number("ratio", ratio, above=0.0, high=100.0)
    return boxes(
        formula, input, target, (ratio,), box_format=box_format, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction
    )  # fmt: skip
