"""Squared hinge loss: the square of what is missing to a margin of 1."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import maximum, signed_label, where
from losskit.losses.classification import hinge


def formula(x, t):
    short = maximum(1.0 - signed_label(t) * x, 0.0)
    return short * short, -2.0 * t * short, where(short == 0.0, 0.0, -2.0 * x * short)


def textbook(mp, x, t):
    return max(1 - t * x, mp.mpf(0)) ** 2


@loss(
    textbook=textbook,
    module="SquaredHingeLoss",
    task="binary classification",
    formula="max(1 - t x, 0)^2,  t = -1 or 1",
    input="logit",
    ranges=hinge.RANGES,
    chinese="""
    平方合页损失（L2-SVM）：输入是得分（logits），目标是 -1 或 1；得分在正确一侧超过 1 时损失为 0，不足的部分取平方。
    何时用：想要合页损失的间隔，又要处处连续的梯度时；离群样本多时用 `hinge_loss`，它不会放大大的误差。
    边界：目标为其他数（如 0）会报错，0/1 标签用 target * 2 - 1 转换；间隔为 1 处值与梯度都连续。
    """,
)
def squared_hinge_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Squared hinge loss of scores (logits) against labels -1 and 1: the square of what is missing to a margin of 1.

    Formula:
        max(1 - t x, 0)^2; derivative -2 t max(1 - t x, 0).

    Args:
        input: scores x, any shape, any real value; the predicted label is the sign.
        target: labels t, -1 or 1, the same shape, of any dtype.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: a target that is neither -1 nor 1, shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        The margin of `hinge_loss` with a gradient that has no jump (L2-SVM). Outliers count more than there.

    Edge cases:
        A target of 0, as in labels of 0 and 1, raises, and so does any number but -1 and 1 (on a GPU the item is NaN): try target * 2 - 1. The gradient is continuous at a margin of 1.

    Differs from torch:
        torch has no squared hinge loss; scikit-learn's `LinearSVC` trains with this one.

    Reference:
        Tang, Deep Learning using Linear Support Vector Machines, 2013.

    Example:
        >>> import torch
        >>> squared_hinge_loss(torch.tensor([0.5, -2.0, 3.0]), torch.tensor([1, 1, 1]), reduction="none")
        tensor([0.2500, 9.0000, 0.0000])
    """
    return elementwise(formula, input, target, (), ranges=hinge.RANGES, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
