"""Kullback-Leibler divergence between normal distributions."""

from typing import Any

import torch
from torch import Tensor

from losskit.contract import tensors
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import absolute, exp, expm1, where


def tail(d):
    """(exp(d) - 1 - d) / d^2 by its series, for |d| up to 1/2."""
    far = 1.0 / 3628800.0 + d * (1.0 / 39916800.0 + d * (1.0 / 479001600.0 + d * (1.0 / 6227020800.0 + d * 1.0 / 87178291200.0)))
    middle = 1.0 / 720.0 + d * (1.0 / 5040.0 + d * (1.0 / 40320.0 + d * (1.0 / 362880.0 + d * far)))
    return 0.5 + d * (1.0 / 6.0 + d * (1.0 / 24.0 + d * (1.0 / 120.0 + d * middle)))


def beyond(d, growth):
    """exp(d) - 1 - d, from d and exp(d) - 1: near 0 a square, of which a difference would leave no digit."""
    near = where(absolute(d) < 0.5, d, 0.0)
    return where(absolute(d) < 0.5, near * near * tail(near), growth - d)


def of_two(x, t, a, b):
    """By quarters of the exponent, whose powers neither overflow nor underflow before what they multiply; with the rounding of a - b, which exp would magnify."""
    r = x - t
    h = exp(-0.25 * b)
    z = where(r == 0.0, 0.0, r * h * h)
    slope = where(r == 0.0, 0.0, z * h * h)
    d = a - b
    part = a - d
    lost = where(absolute(d) < 1e3, (part - b) + (a - (part + d)), 0.0)
    growth = expm1(d)
    growth = growth + where(growth - growth == 0.0, (growth + 1.0) * lost, 0.0)  # none to an infinite one
    return 0.5 * (beyond(d, growth) + z * z), slope, -slope, 0.5 * growth, -0.5 * (growth + z * z)


def of_unit(x, t, a):
    """The other's variance is 1."""
    r = x - t
    growth = expm1(a)
    return 0.5 * (beyond(a, growth) + r * r), r, -r, 0.5 * growth


def of_standard(x, t, a):
    """The other is N(0, 1); there is no target."""
    growth = expm1(a)
    return 0.5 * (beyond(a, growth) + x * x), x, 0.0, 0.5 * growth


def textbook(mp, x, t, log_var, target_log_var):
    b = target_log_var or 0
    return (b - log_var + (mp.exp(log_var) + (x - t) ** 2) / mp.exp(b) - 1) / 2


@loss(
    textbook=textbook,
    module="KLNormalLoss",
    task="regression",
    formula="(b - a + (exp(a) + (x - t)^2) / exp(b) - 1) / 2,  a = log_var,  b = target_log_var",
    arguments=({"log_var": 0.7}, {"log_var": -0.3, "target_log_var": 0.5}, {"log_var": 2.0, "target_log_var": -1.5}),
    operands=(OperandFacts("log_var", "real", True), OperandFacts("target_log_var", "real", True)),
    cancels="residual",
    chinese="""
    两个正态分布之间的 KL 散度：输入是前一个分布的均值，log_var 是它的对数方差；目标与 target_log_var 是后一个的，省略时后一个为标准正态 N(0, 1)。
    何时用：变分自编码器（VAE）的正则项：kl_normal_loss(mean, log_var=log_var, reduction="none").sum(-1).mean()；也用于先验由网络预测的模型、策略之间的距离。
    边界：两个分布相同时为 0，梯度也为 0；相近时按级数计算，不丢精度，也不会变成负数。先后次序不能交换。默认对所有元素求平均，VAE 通常要对潜变量各维求和。
    """,
)
def kl_normal_loss(
    input: Tensor,
    target: Tensor | None = None,
    log_var: Numbers | float | None = None,
    target_log_var: Numbers | float | None = None,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Kullback-Leibler divergence of a normal distribution from another, each a real mean and a log-variance; from N(0, 1) by default, as in a VAE.

    Formula:
        (b - a + (exp(a) + (x - t)^2) / exp(b) - 1) / 2; derivative (x - t) / exp(b) by x, (exp(a - b) - 1) / 2 by a.

    Args:
        input: means x of the first distribution, any shape, any real value.
        target: means t of the second, the same shape. None: 0.
        log_var: logarithm a of the first variance, any real value: of the input's shape, or of one that broadcasts to it; a vector holds one number per class;
            or one number for all. It must be given.
        target_log_var: logarithm b of the second variance, likewise. None: 0, a variance of 1. Means and log-variances of both have gradients.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input`, or a tensor of log-variances, is not floating point. ValueError: `log_var` is not given, shapes do not fit, weights are not finite,
        `reduction` is unknown.

    When to use:
        The regulariser of a VAE, kl_normal_loss(mean, log_var=log_var, reduction="none").sum(-1).mean(); priors that are learned; a policy kept near another.

    Edge cases:
        It is 0 with zero gradients where both are the same; nearby it is computed by a series, keeps its digits, and is never less than 0. "mean" is over all
        elements: a VAE sums over the latent axis, as above. The order matters: a narrow distribution is nearer to a wide one than the wide one to it.

    Differs from torch:
        torch has it in torch.distributions.kl_divergence(Normal(x, s), Normal(t, u)), of standard deviations.

    Reference:
        Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, appendix B.

    Example:
        >>> import torch
        >>> mean, log_var = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, -2.0])
        >>> kl_normal_loss(mean, log_var=log_var, reduction="none")
        tensor([0.0000, 0.5000, 0.5677])
        >>> kl_normal_loss(mean, mean, log_var, -2.0, reduction="none")
        tensor([2.1945, 2.1945, 0.0000])
    """
    tensors.check("input", input)
    if log_var is None:
        raise ValueError("log_var must be given, got None: for variances of 1, try log_var=0.0")
    operands: tuple[Operand, ...] = (Operand("log_var", log_var),)
    formula: Any = of_standard if target is None else of_unit
    if target_log_var is not None:
        formula, operands = of_two, (*operands, Operand("target_log_var", target_log_var))
        target = torch.zeros_like(input) if target is None else target
    other = input.detach() if target is None else target  # which `of_standard` does not read
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(formula, input, other, (), operands=operands, **how)
