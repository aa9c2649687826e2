"""Hinge loss: what is missing to a margin of 1."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import maximum, sign, signed_label, where

RANGES = {"target": ("-1 or 1", "for labels of 0 and 1, try target * 2 - 1")}


def formula(x, t):
    short = maximum(1.0 - signed_label(t) * x, 0.0)
    inside = sign(short)
    return short, -t * inside, where(inside == 0.0, 0.0, -x * inside)


def textbook(mp, x, t):
    return max(1 - t * x, mp.mpf(0))


@loss(
    textbook=textbook,
    module="HingeLoss",
    task="binary classification",
    formula="max(1 - t x, 0),  t = -1 or 1",
    input="logit",
    ranges=RANGES,
    chinese="""
    合页损失（支持向量机）：输入是得分（logits），目标是 -1 或 1；得分在正确一侧超过 1 时损失为 0。
    何时用：只关心分类边界、不需要概率时，如支持向量机、GAN 的判别器；需要概率时用 `binary_cross_entropy_with_logits`。
    边界：目标为其他数（如 0）会报错，0/1 标签用 target * 2 - 1 转换；间隔恰为 1 处梯度取 0。
    """,
)
def hinge_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Hinge loss of scores (logits) against labels -1 and 1: what is missing to a margin of 1.

    Formula:
        max(1 - t x, 0); derivative -t where t x < 1, else 0.

    Args:
        input: scores x, any shape, any real value; the predicted label is the sign.
        target: labels t, -1 or 1, the same shape, of any dtype.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: a target that is neither -1 nor 1, shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Classifiers that need no probability, only the side: linear support vector machines, discriminators. For probabilities take `binary_cross_entropy_with_logits`.

    Edge cases:
        A target of 0, as in labels of 0 and 1, raises, and so does any number but -1 and 1 (on a GPU the item is NaN): try target * 2 - 1. At a margin of exactly 1 the gradient is 0.

    Differs from torch:
        torch has no binary hinge loss: `hinge_embedding_loss` there is one of distances, and `multi_margin_loss` one of classes. scikit-learn's `hinge_loss` is this one.

    Reference:
        Cortes and Vapnik, Support-Vector Networks, 1995.

    Example:
        >>> import torch
        >>> hinge_loss(torch.tensor([0.5, -2.0, 3.0]), torch.tensor([1, 1, 1]), reduction="none")
        tensor([0.5000, 3.0000, 0.0000])
    """
    return elementwise(formula, input, target, (), ranges=RANGES, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
