"""Soft margin loss: cross-entropy for labels -1 and 1."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, exp_neg, log1p_unit, maximum, signed_label, where
from losskit.losses.classification import hinge


def formula(x, t):
    m = signed_label(t) * x
    e = exp_neg(absolute(m))
    miss = where(m > 0.0, e, 1.0) / (1.0 + e)  # the probability of the other label
    return maximum(-m, 0.0) + log1p_unit(e), -t * miss, where(miss == 0.0, 0.0, -x * miss)


def textbook(mp, x, t):
    return mp.log(1 + mp.exp(-t * x))


@loss(
    textbook=textbook,
    module="SoftMarginLoss",
    task="binary classification",
    formula="log(1 + exp(-t x)),  t = -1 or 1",
    input="logit",
    torch="soft_margin_loss",
    ranges=hinge.RANGES,
    chinese="""
    软间隔损失：输入是 logits，目标是 -1 或 1；与 0/1 标签的 `binary_cross_entropy_with_logits` 是同一个损失，只是标签写法不同。
    何时用：标签本来就是 -1 和 1 时，如逻辑回归、成对比较；标签是 0 和 1 时用 `binary_cross_entropy_with_logits`。
    边界：logit 很大时不溢出（torch 的实现会得到 inf）；目标为其他数（如 0）会报错，0/1 标签用 target * 2 - 1 转换。
    """,
)
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Soft margin (logistic) loss of logits against labels -1 and 1: binary cross-entropy for that way to write labels.

    Formula:
        log(1 + exp(-t x)); derivative -t sigmoid(-t x).

    Args:
        input: scores x, any shape, any real value; the predicted label is the sign.
        target: labels t, -1 or 1, the same shape, of any dtype.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: a target that is neither -1 nor 1, shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Labels that are -1 and 1 as they come: logistic regression, comparisons of pairs. For labels 0 and 1 take `binary_cross_entropy_with_logits`.

    Edge cases:
        A target of 0, as in labels of 0 and 1, raises, and so does any number but -1 and 1 (on a GPU the item is NaN): try target * 2 - 1. It is `binary_cross_entropy_with_logits` of the labels (t + 1) / 2.

    Differs from torch:
        The same values where torch's are right: there a logit of -100 on the wrong side is inf in float32. torch takes
        any target: one of 0 costs log 2 whatever the input is.

    Reference:
        Cox, The Regression Analysis of Binary Sequences, 1958.

    Example:
        >>> import torch
        >>> soft_margin_loss(torch.tensor([2.0, -2.0]), torch.tensor([1, 1]), reduction="none")
        tensor([0.1269, 2.1269])
    """
    return elementwise(formula, input, target, (), ranges=hinge.RANGES, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
