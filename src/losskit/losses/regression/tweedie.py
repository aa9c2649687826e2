"""Tweedie loss: sums of a random number of positive amounts, zeros included."""

from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import exp_product, non_negative, where
from losskit.losses.regression.poisson_nll import by_mean, known
from losskit.losses.regression.stirling import log_to_infinity

RANGES = {
    "input": (">= 0", "the mean of an amount is not negative: pass its logarithm, log_input=True, or softplus(input)"),
    "target": (">= 0", "an amount is not negative. To leave such items out, pass mask=target >= 0"),
}


def powers(x, t, half_less, more, by_less, by_more):
    """Value, its derivative by x = log m, the root of m^(1 - p), which overflows before what it multiplies makes up for it, and the derivative by t."""
    root, rising = exp_product(half_less, x), exp_product(more, x)
    pulled = where(t == 0.0, 0.0, non_negative(t) * root * root)
    return by_less * pulled + by_more * rising, rising - pulled, root, by_less * root * root


def of_log(x, t, half_less, more, by_less, by_more):
    value, slope, _, by_t = powers(x, t, half_less, more, by_less, by_more)
    return value, slope, by_t


def of_mean(m, t, half_less, more, by_less, by_more):
    value, _, root, by_t = powers(log_to_infinity(non_negative(m)), t, half_less, more, by_less, by_more)
    return value, root * by_mean(m, t) * root, by_t


def textbook(mp, x, t, power, log_input):
    m = mp.exp(x) if log_input else x
    return m ** (2 - power) / (2 - power) - t * m ** (1 - power) / (1 - power)


@loss(
    textbook=textbook,
    module="TweedieLoss",
    task="regression",
    formula="m^(2 - p) / (2 - p) + t m^(1 - p) / (p - 1),  m = exp(x),  p = power\nlog_input=False: m = x",
    arguments=({}, {"power": 1.1}, {"power": 1.9, "log_input": False}, {"power": 1.5, "log_input": False}),
    ranges=RANGES,
    cancels="input",
    tolerance=1e-5,
    chinese="""
    Tweedie 损失：输入是均值的对数（log_input=False 时是均值本身），目标是非负实数，可以有很多个 0；方差与均值的 power 次方成正比。
    何时用：目标是若干笔正数金额之和、常常恰好为 0 时，例如保险赔付、降水量、客户消费额。power 在 1 与 2 之间：接近 1 像泊松分布，接近 2 像伽马分布。
    取负的拟对数似然，与 XGBoost、LightGBM 相同；scikit-learn 的偏差（deviance）是它减去最小值后的 2 倍，梯度只差 2 倍。
    边界：负的目标会报错；均值为 0 时其对数按最小的正数取；最小值不是 0，不同 power 的损失值不能互相比较。
    """,
)
def tweedie_loss(
    input: Tensor,
    target: Tensor,
    *,
    power: float = 1.5,
    log_input: bool = True,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Tweedie loss, a negative quasi-likelihood of amounts `target`, many of them 0, under means whose logarithms are `input`, real values.

    Formula:
        m^(2 - p) / (2 - p) + t m^(1 - p) / (p - 1), with m = exp(x) and p the power; derivative m^(1 - p) (m - t) by x. The variance is as m^p.

    Args:
        input: logarithms x of the predicted means, any shape, any real value; with log_input=False the means m themselves, >= 0.
        target: amounts t, the same shape: any real values >= 0.
        power: p, between 1 (Poisson's distribution) and 2 (gamma's), both excluded.
        log_input: whether `input` is the logarithm of the mean.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `power` is not a number, `log_input` is not True or False. ValueError: `power` is not between 1 and 2, a
        target, or with log_input=False an input, is negative, shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Sums of a random number of amounts, often none: insurance claims, rainfall, what customers spend. For counts use `poisson_nll_loss`, for positive
        amounts `gamma_nll_loss`.

    Edge cases:
        The least value is not 0, and depends on target and power: compare models at one power. A mean of 0 is read as the smallest positive number.

    Differs from torch:
        torch has no such loss. It is what XGBoost and LightGBM train on and report, the part of the likelihood that depends on the mean: the whole has no closed
        form. scikit-learn's deviance is twice this loss less its least value, so its gradient is twice as large.

    Reference:
        Jorgensen, Exponential Dispersion Models, 1987.

    Example:
        >>> import torch
        >>> tweedie_loss(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 4.0]), reduction="none")
        tensor([2.0000, 3.2974, 8.1497])
    """
    power = checks.number("power", power, above=1.0, below=2.0)
    checks.flag("log_input", log_input)
    params = (0.5 * (1.0 - power), 2.0 - power, 1.0 / (power - 1.0), 1.0 / (2.0 - power))
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(of_log if log_input else of_mean, input, target, params, ranges=known(RANGES, log_input), **how)
