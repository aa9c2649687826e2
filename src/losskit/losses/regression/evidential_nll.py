"""Evidential regression: the likelihood under a normal-inverse-gamma distribution, and a price on evidence for a wrong prediction."""

import math
from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import absolute, log1p, minimum, positive, reciprocal, sign, sqrt
from losskit.losses.regression.gaussian_nll import log_of
from losskit.losses.regression.student_t_nll import member


def likelihood(x, t, nu, alpha, beta, constant):
    """Student's t, of 2 alpha degrees of freedom and a scale of sqrt(beta (1 + nu) / (nu alpha))."""
    n, a, b = positive(nu), minimum(positive(alpha), 5e29), positive(beta)
    few, inverse = reciprocal(n), reciprocal(b)
    level = 0.5 * (log_of(b, inverse) - log_of(a, 1.0 / a) + log1p(few))
    value, slope, by_level, by_df = member(x - t, sqrt(n / (1.0 + n)) * sqrt(a), 1.0 / sqrt(b), level, 2.0 * a)
    half = 0.5 * by_level
    return value + constant, slope, -slope, -half * few / (1.0 + n), 2.0 * by_df - half / a, half * inverse


def formula(x, t, nu, alpha, beta, constant, coeff):
    value, slope, _, by_nu, by_alpha, by_beta = likelihood(x, t, nu, alpha, beta, constant)
    error, evidence = coeff * absolute(x - t), 2.0 * nu + alpha
    pull = slope + coeff * sign(x - t) * evidence
    return value + error * evidence, pull, -pull, by_nu + 2.0 * error, by_alpha + error, by_beta


def textbook(mp, x, t, nu, alpha, beta, coeff):
    omega = 2 * beta * (1 + nu)
    value = mp.log(mp.pi / nu) / 2 - alpha * mp.log(omega) + (alpha + mp.mpf(1) / 2) * mp.log((t - x) ** 2 * nu + omega)
    return value + mp.loggamma(alpha) - mp.loggamma(alpha + mp.mpf(1) / 2) + coeff * abs(t - x) * (2 * nu + alpha)


CONSTANT = 0.5 * math.log(2.0 * math.pi)
ALPHA = (1e-3, 0.3, 1.0, 2.0, 3.9, 30.0, 1e4, 1e9, 4e29)


@loss(
    textbook=textbook,
    module="EvidentialNLLLoss",
    task="regression",
    formula="(alpha + 1/2) log(1 + z^2 / (2 alpha)) + log(s) + log(sqrt(2 pi alpha) Gamma(alpha) / Gamma(alpha + 1/2)) + coeff |x - t| (2 nu + alpha)\n"
    "z = (x - t) / s,  s = sqrt(beta (1 + nu) / (nu alpha))",
    arguments=(
        {"nu": 1.0, "alpha": 2.0, "beta": 1.0},
        {"nu": 0.3, "alpha": 1.5, "beta": 2.0, "coeff": 0.01},
        {"nu": 20.0, "alpha": 300.0, "beta": 30.0, "coeff": 0.0},
    ),
    operands=(OperandFacts("nu", "> 0", True), OperandFacts("alpha", "> 0", True, ALPHA), OperandFacts("beta", "> 0", True)),
    cancels="residual",
    tolerance=1e-5,
    chinese="""
    证据回归损失：网络为每个目标预测正态-逆伽马分布的四个参数，输入是均值 gamma，另给出 nu、alpha、beta（均大于 0）；损失是目标的负对数似然，加上 coeff 乘以误差与证据 2 nu + alpha 之积。
    何时用：只训练一个网络、一次前向，就想同时得到数据噪声 beta / (alpha - 1) 与模型不确定性 beta / (nu (alpha - 1))时。
    边界：这两个量在 alpha 大于 1 时才有意义，alpha 的最后一层用 softplus + 1，nu 和 beta 用 softplus；coeff 太大，拟合变差，太小，远离数据处仍然自信；损失可以为负。
    """,
)
def evidential_nll_loss(
    input: Tensor,
    target: Tensor,
    nu: Numbers | float | None = None,
    alpha: Numbers | float | None = None,
    beta: Numbers | float | None = None,
    *,
    coeff: float = 1.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Deep evidential regression of real values `target`: negative log-likelihood under a predicted normal-inverse-gamma distribution, plus a price on evidence.

    Formula:
        (alpha + 1/2) log(1 + z^2 / (2 alpha)) + log s + log(sqrt(2 pi alpha) Gamma(alpha) / Gamma(alpha + 1/2)) + coeff |x - t| (2 nu + alpha), with
        z = (x - t) / s and s = sqrt(beta (1 + nu) / (nu alpha)). Without the last term, derivative by x:
        (2 alpha + 1) z / (2 alpha + z^2) / s; by alpha: log(1 + z^2 / (2 alpha)) - digamma(alpha + 1/2) + digamma(alpha).

    Args:
        input: predicted means x (gamma in the paper), any shape, any real value.
        target: targets t, the same shape.
        nu: how many observations the mean is worth, > 0: of the input's shape, or of one that broadcasts to it; a vector holds one number per class; or one
            number for all. It must be given, as the next two must; each has its gradient.
        alpha: half of how many the variance is worth, > 0, likewise. The paper's networks end in softplus + 1, for the two variances below exist above 1.
        beta: half of the sum of their squared errors, > 0, likewise.
        coeff: price of evidence per unit of error, >= 0. 1 is the default of the authors' code.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; any real value: where s is small, less than 0.

    Raises:
        TypeError: `input`, or a tensor of parameters, is not floating point. ValueError: `nu`, `alpha` or `beta` is not given or not positive, `coeff` is negative,
        shapes do not fit, weights are not finite, `reduction` is unknown.

    When to use:
        One network, one forward, and two uncertainties: beta / (alpha - 1) is the variance of the data, beta / (nu (alpha - 1)) that of the predicted mean.

    Edge cases:
        With coeff=0 it is `student_t_nll_loss` with full=True, df = 2 alpha and scale = s. The likelihood alone feels `nu` and `beta` only through s, so it is
        the price that tells them apart. At an error of 0 the price has the gradient 0. More than 5e29 of `alpha` is read as 5e29 in the likelihood.

    Differs from torch:
        torch has no such loss. The authors' formula subtracts log-gammas: in float32 its derivative by `alpha` is off by a hundredth at an `alpha` of 1e4, and has
        no digit left at 1e6; here they are kept.

    Reference:
        Amini, Schwarting, Soleimany and Rus, Deep Evidential Regression, NeurIPS 2020. On what the uncertainties mean: Meinert, Gawlikowski and Lavin, The
        Unreasonable Effectiveness of Deep Evidential Regression, AAAI 2023.

    Example:
        >>> import torch
        >>> x, t = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 3.0])
        >>> evidential_nll_loss(x, t, nu=torch.tensor([1.0, 5.0]), alpha=2.0, beta=1.0, coeff=0.01, reduction="none")
        tensor([1.5787, 0.7254])
    """
    given = {"nu": nu, "alpha": alpha, "beta": beta}
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise ValueError(f"{missing[0]} must be given, got None: evidential_nll_loss(input, target, nu, alpha, beta) takes all four predicted numbers")
    coeff = checks.number("coeff", coeff, low=0.0)
    operands = tuple(Operand(name, value, "> 0") for name, value in given.items() if value is not None)
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(*((formula, input, target, (CONSTANT, coeff)) if coeff else (likelihood, input, target, (CONSTANT,))), operands=operands, **how)
