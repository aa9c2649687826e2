"""Gaussian negative log-likelihood with a predicted variance."""

import math
from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import exp, log_floored, non_negative, reciprocal, sqrt, where


def of_log_var(x, t, s, constant):
    """By quarters of the exponent, whose powers neither overflow nor underflow before what they multiply."""
    r = x - t
    h = exp(-0.25 * s)
    z = where(r == 0.0, 0.0, r * h * h)
    slope = where(r == 0.0, 0.0, z * h * h)
    return 0.5 * (s + z * z) + constant, slope, -slope, 0.5 * (1.0 - z) * (1.0 + z)


def log_of(v, inverse):
    """log v; `log_floored` is one of probabilities, up to 1, so that of a larger number is minus that of its reciprocal."""
    small = v < 1.0
    level = log_floored(where(small, v, inverse))
    return where(small, level, -level)


def of_var(x, t, v, constant):
    inverse = reciprocal(non_negative(v))
    level = log_of(non_negative(v), inverse)
    root = sqrt(inverse)
    z = (x - t) * root
    slope = z * root
    return 0.5 * (level + z * z) + constant, slope, -slope, 0.5 * inverse * (1.0 - z) * (1.0 + z)


def of_std(x, t, s, constant):
    inverse = reciprocal(non_negative(s))
    z = (x - t) * inverse
    slope = z * inverse
    return log_of(non_negative(s), inverse) + 0.5 * z * z + constant, slope, -slope, inverse * (1.0 - z) * (1.0 + z)


def textbook(mp, x, t, var, log_var, std, full):
    v = var if var is not None else mp.exp(log_var) if log_var is not None else std**2
    return (mp.log(v) + (x - t) ** 2 / v) / 2 + (mp.log(2 * mp.pi) / 2 if full else 0)


FORMS = {"var": of_var, "log_var": of_log_var, "std": of_std}
CONSTANT = 0.5 * math.log(2.0 * math.pi)


@loss(
    textbook=textbook,
    module="GaussianNLLLoss",
    task="regression",
    formula="(log v + (x - t)^2 / v) / 2,  v = var = exp(log_var) = std^2\nfull=True: + log(2 pi) / 2",
    torch="gaussian_nll_loss",
    arguments=({"log_var": -0.7}, {"var": 0.3}, {"std": 1.7}, {"var": 2.5, "full": True}, {"log_var": 40.0, "full": True}),
    operands=(OperandFacts("var", ">= 0", True), OperandFacts("log_var", "real", True), OperandFacts("std", ">= 0", True)),
    cancels="residual",
    chinese="""
    高斯负对数似然：输入是预测的均值，目标是实数，再给出预测的方差 var、方差的对数 log_var 或标准差 std 三者之一（逐元素、逐类别或单个数），三者都有梯度。
    何时用：噪声大小因样本而异，希望模型同时给出自己的不确定度时。首选 log_var：任何实数都合法，极小的方差也不丢精度。
    边界：方差为 0 时按最小的正数读，不加 eps；损失可以为负；不确定的样本梯度小，训练初期均值可能学得慢，可改用 beta_nll_loss。
    """,
)
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Numbers | float | None = None,
    *,
    log_var: Numbers | float | None = None,
    std: Numbers | float | None = None,
    full: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Gaussian negative log-likelihood of real values `target` under means `input` and a variance that is predicted, too, by its logarithm at best.

    Formula:
        (log v + (x - t)^2 / v) / 2, plus log(2 pi) / 2 with `full`; derivative (x - t) / v by the mean, (1 - (x - t)^2 / v) / 2 by log v.

    Args:
        input: predicted means x, any shape, any real value.
        target: targets t, the same shape.
        var: variance v >= 0: of the input's shape, or of one that broadcasts to it; a vector holds one number per class; or one number for all.
        log_var: its logarithm instead, any real value: no range to keep to, no digits lost to a tiny variance.
        std: the standard deviation instead, >= 0. Give exactly one of the three; each has its gradient.
        full: whether to add the constant log(2 pi) / 2.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; any real value: where the variance is small, less than 0.

    Raises:
        TypeError: `input`, or a tensor of variances, is not floating point. ValueError: not exactly one of `var`, `log_var` and `std` is given, a variance or
        deviation is negative, shapes do not fit, weights are not finite, `reduction` is unknown.

    When to use:
        The noise differs from item to item, and the model is to say how sure it is. If the mean learns too slowly where errors are large, try `beta_nll_loss`.

    Edge cases:
        A variance of 0 is read as the smallest positive number in the logarithm, and 1 / v as the largest finite number, so that an item without error has a
        finite loss and gradient. The gradient to a tiny variance is as large as the exact one, up to infinity: prefer `log_var`.

    Differs from torch:
        torch raises variances below `eps` (1e-6) to it, and gives them a gradient all the same; here there is no eps. torch takes neither `log_var` nor `std`.
        Its `var` may also lack the last axis; here it broadcasts as everything does: try var.unsqueeze(-1).

    Reference:
        Nix and Weigend, Estimating the Mean and Variance of the Target Probability Distribution, 1994.

    Example:
        >>> import torch
        >>> x, t = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 3.0])
        >>> gaussian_nll_loss(x, t, torch.tensor([1.0, 0.25]), reduction="none")
        tensor([ 0.5000, -0.6931])
        >>> gaussian_nll_loss(x, t, log_var=torch.tensor([0.0, -20.0]), reduction="none")
        tensor([  0.5000, -10.0000])
    """
    checks.flag("full", full)
    name, value = checks.exactly_one(var=var, log_var=log_var, std=std)
    operand = Operand(name, value, "real" if name == "log_var" else ">= 0")
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(FORMS[name], input, target, (CONSTANT if full else 0.0,), operands=(operand,), **how)
