"""Gamma negative log-likelihood with a predicted concentration."""

import math
from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import absolute, exp, log1p, maximum, positive, reciprocal, where
from losskit.losses.regression.poisson_nll import known
from losskit.losses.regression.stirling import above_share, below_line, lag, log_to_infinity, rest

RANGES = {
    "input": ("> 0", "a gamma distribution's mean is positive: pass its logarithm, log_input=True, or softplus(input)"),
    "target": ("> 0", "a gamma distribution has positive numbers only. To leave such items out, pass mask=target > 0; for zeros among them, see tweedie_loss"),
}


def parts(m, t, log, first, second, k, constant):
    """Value, t / m - 1, derivative by t and by k, where `log` is log m and 1 / m = first second: to its digits where m is about t."""
    t, k = positive(t), positive(k)
    low, high = where(m < t, m, t), where(m < t, t, m)
    near = high < 8.0 * low
    a = where(near, absolute(t - m), 0.0) / where(near, low, 1.0)
    level = log1p(a)
    of_target = log_to_infinity(t)
    gap = where(near, where(m < t, a, -a / (1.0 + a)), t * first * second - 1.0)
    distance = where(near, where(m < t, below_line(a, level), above_share(a, level)), gap - of_target + log)
    value = rest(k) - 0.5 * log_to_infinity(k) + constant + of_target + k * distance
    by_t = where(near, (k * where(near, gap, 0.0) + 1.0) / t, k * first * second + (1.0 - k) / t)
    return value, gap, by_t, lag(k) + distance


def of_log(x, t, k, constant):
    h = exp(-0.5 * x)  # by halves: exp(-x) overflows before what it multiplies makes up for it
    value, gap, by_t, by_k = parts(exp(x), t, maximum(x, -1e3), h, h, k, constant)
    return value, -k * gap, by_t, by_k


def of_mean(m, t, k, constant):
    m = positive(m)
    inverse = reciprocal(m)
    value, gap, by_t, by_k = parts(m, t, log_to_infinity(m), inverse, 1.0, k, constant)
    return value, -k * gap * inverse, by_t, by_k


def textbook(mp, x, t, concentration, log_input):
    m, k = mp.exp(x) if log_input else x, concentration
    return mp.loggamma(k) - k * mp.log(k / m) - (k - 1) * mp.log(t) + k * t / m


CONSTANT = 0.5 * math.log(2.0 * math.pi)
NUMBERS = (1e-6, 1e-3, 0.3, 1.0, 3.9, 4.1, 30.0, 1e4, 1e8)


@loss(
    textbook=textbook,
    module="GammaNLLLoss",
    task="regression",
    formula="k (t / m + log(m / k)) - (k - 1) log t + log Gamma(k),  m = exp(x),  k = concentration\nlog_input=False: m = x",
    arguments=({"concentration": 2.0}, {"concentration": 30.0, "log_input": False}, {"concentration": 0.3}),
    operands=(OperandFacts("concentration", "> 0", True, NUMBERS),),
    ranges=RANGES,
    cancels="input",
    tolerance=1e-5,
    chinese="""
    伽马分布的负对数似然：输入是均值的对数（log_input=False 时是均值本身），目标是正实数；concentration（形状参数 k）可以由模型预测，也可以作为参数学习。
    何时用：目标是金额、时长、降水量这类正数，误差大小与均值成正比时；标准差是均值除以 sqrt(k)。k=1 是指数分布；对输入的梯度与伽马回归（GLM）相差常数倍 k。
    边界：目标必须大于 0，否则报错；数据里有 0 请用 tweedie_loss；损失可以为负。
    """,
)
def gamma_nll_loss(
    input: Tensor,
    target: Tensor,
    concentration: Numbers | float = 1.0,
    *,
    log_input: bool = True,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Gamma negative log-likelihood of positive values `target` under log-means `input`, real values, and a concentration that can be learned.

    Formula:
        k (t / m + log(m / k)) - (k - 1) log t + log Gamma(k), with m = exp(x) and k the concentration. Derivative by x: k (1 - t / m). The standard deviation is
        m / sqrt(k).

    Args:
        input: logarithms x of the predicted means, any shape, any real value; with log_input=False the means m themselves, > 0.
        target: amounts t, the same shape, > 0.
        concentration: k > 0, the shape of the distribution, with or without a gradient: of the input's shape, or of one that broadcasts to it; a vector holds
            one number per class; or one number for all. 1 is the exponential distribution; the larger, the smaller the errors beside the mean.
        log_input: whether `input` is the logarithm of the mean.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; any real value: where densities are above 1, less than 0.

    Raises:
        TypeError: `input`, or a tensor of concentrations, is not floating point, `log_input` is not True or False. ValueError: a target, a concentration, or
        with log_input=False an input, is not positive, shapes do not fit, weights are not finite, `reduction` is unknown.

    When to use:
        Positive amounts whose errors grow with their size: claims, durations, rainfall. Relative errors count alike, whatever the size of the amount.

    Edge cases:
        Where the concentration is one number, the best means do not depend on it: it only scales their gradient. A target of 0 is refused, for its likelihood
        is 0 or infinite.

    Differs from torch:
        torch has no such loss; it is minus the log_prob of torch.distributions.Gamma(concentration, rate=concentration / m), which in float32 loses digits
        where the concentration is large.

    Reference:
        McCullagh and Nelder, Generalized Linear Models, 1989.

    Example:
        >>> import torch
        >>> gamma_nll_loss(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.5]), reduction="none")
        tensor([1.0000, 1.1839])
        >>> gamma_nll_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.5, 2.0]), torch.tensor([9.0, 1e6]), log_input=False, reduction="none")
        tensor([ 1.0859, -5.2957])
    """
    checks.flag("log_input", log_input)
    form = of_log if log_input else of_mean
    operands = (Operand("concentration", concentration, "> 0"),)
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(form, input, target, (CONSTANT,), operands=operands, ranges=known(RANGES, log_input), **how)
