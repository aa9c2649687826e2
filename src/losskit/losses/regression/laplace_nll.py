"""Laplace negative log-likelihood with a predicted scale."""

import math
from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import absolute, exp, non_negative, reciprocal, sign, where
from losskit.losses.regression.gaussian_nll import log_of


def of_log_scale(x, t, s, constant):
    """By halves of the exponent, whose powers neither overflow nor underflow before what they multiply."""
    r = x - t
    h = exp(-0.5 * s)
    z = where(r == 0.0, 0.0, absolute(r) * h * h)
    slope = where(r == 0.0, 0.0, sign(r) * h * h)
    return s + z + constant, slope, -slope, 1.0 - z


def of_scale(x, t, b, constant):
    r = x - t
    inverse = reciprocal(non_negative(b))
    z = absolute(r) * inverse
    slope = sign(r) * inverse
    return log_of(non_negative(b), inverse) + z + constant, slope, -slope, inverse * (1.0 - z)


def textbook(mp, x, t, scale, log_scale, full):
    b = scale if scale is not None else mp.exp(log_scale)
    return mp.log(b) + abs(x - t) / b + (mp.log(2) if full else 0)


FORMS = {"scale": of_scale, "log_scale": of_log_scale}
CONSTANT = math.log(2.0)


@loss(
    textbook=textbook,
    module="LaplaceNLLLoss",
    task="regression",
    formula="log b + |x - t| / b,  b = scale = exp(log_scale)\nfull=True: + log 2",
    arguments=({"log_scale": 0.7}, {"scale": 1.5}, {"scale": 2.5, "full": True}, {"log_scale": 40.0, "full": True}),
    operands=(OperandFacts("scale", ">= 0", True), OperandFacts("log_scale", "real", True)),
    cancels="residual",
    chinese="""
    拉普拉斯负对数似然：输入是预测的中位数，目标是实数，再给出预测的尺度 scale 或其对数 log_scale（逐元素、逐类别或单个数），二者都有梯度。
    何时用：噪声大小因样本而异，且误差的尾部比高斯分布重，例如光流、深度估计；相当于权重由模型自己学出的 L1 损失。首选 log_scale：任何实数都合法。
    边界：尺度为 0 时按最小的正数读，不加 eps；损失可以为负；误差恰为 0 时对输入的梯度为 0；scale 是平均绝对误差，不是标准差（标准差是它的 √2 倍）。
    """,
)
def laplace_nll_loss(
    input: Tensor,
    target: Tensor,
    scale: Numbers | float | None = None,
    *,
    log_scale: Numbers | float | None = None,
    full: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Laplace negative log-likelihood of real values `target` under medians `input` and a scale that is predicted, too: an L1 loss that learns its weights.

    Formula:
        log b + |x - t| / b, plus log 2 with `full`; derivative sign(x - t) / b by the median, 1 - |x - t| / b by log b.

    Args:
        input: predicted medians x, any shape, any real value.
        target: targets t, the same shape.
        scale: b >= 0, the mean absolute error to expect: of the input's shape, or of one that broadcasts to it; a vector holds one number per class; or one
            number for all.
        log_scale: its logarithm instead, any real value: no range to keep to, no digits lost to a tiny scale. Give exactly one of the two; each has its gradient.
        full: whether to add the constant log 2.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; any real value: where the scale is small, less than 0.

    Raises:
        TypeError: `input`, or a tensor of scales, is not floating point. ValueError: not exactly one of `scale` and `log_scale` is given, a scale is negative,
        shapes do not fit, weights are not finite, `reduction` is unknown.

    When to use:
        The noise differs from item to item and has heavier tails than a Gaussian's: optical flow, depth, prices. A far target pulls no harder than a near one.

    Edge cases:
        A scale of 0 is read as the smallest positive number in the logarithm, and 1 / b as the largest finite number, so that an item without error has a
        finite loss and gradient. Where the error is 0 the gradient to input and target is 0.

    Differs from torch:
        torch has no such loss; with full=True it is minus the log_prob of torch.distributions.Laplace(input, scale).

    Reference:
        Kendall and Gal, What Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?, NeurIPS 2017.

    Example:
        >>> import torch
        >>> x, t = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 3.0])
        >>> laplace_nll_loss(x, t, torch.tensor([1.0, 0.25]), reduction="none")
        tensor([ 1.0000, -1.3863])
        >>> laplace_nll_loss(x, t, log_scale=torch.tensor([0.0, -20.0]), reduction="none")
        tensor([  1., -20.])
    """
    checks.flag("full", full)
    name, value = checks.exactly_one(scale=scale, log_scale=log_scale)
    operand = Operand(name, value, "real" if name == "log_scale" else ">= 0")
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(FORMS[name], input, target, (CONSTANT if full else 0.0,), operands=(operand,), **how)
