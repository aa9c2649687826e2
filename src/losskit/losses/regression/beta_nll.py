"""Gaussian negative log-likelihood, weighted by a power of the variance so that uncertain items keep their gradient."""

from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import exp_product, non_negative, reciprocal, where
from losskit.losses.regression.gaussian_nll import log_of


def parts(x, t, s, half, quarter):
    """Of log v = s: value, slope, and two factors of its derivative by s; the powers of v are joined before they can overflow."""
    r = x - t
    root = exp_product(half, s)
    g = exp_product(quarter, s)
    z = where(r == 0.0, 0.0, r * g * g)
    slope = where(r == 0.0, 0.0, z * g * g)
    return 0.5 * (root * root * s + z * z), slope, 0.5 * (root - z), root + z


def of_log_var(x, t, s, half, quarter):
    value, slope, less, more = parts(x, t, s, half, quarter)
    return value, slope, -slope, less * more


def of_var(x, t, v, half, quarter):
    inverse = reciprocal(non_negative(v))
    value, slope, less, more = parts(x, t, log_of(non_negative(v), inverse), half, quarter)
    return value, slope, -slope, less * inverse * more


def of_std(x, t, d, half, quarter):
    inverse = reciprocal(non_negative(d))
    value, slope, less, more = parts(x, t, 2.0 * log_of(non_negative(d), inverse), half, quarter)
    return value, slope, -slope, 2.0 * less * inverse * more


def textbook(mp, x, t, var, log_var, std, beta, held_var=None, held_log_var=None, held_std=None):
    v = var if var is not None else mp.exp(log_var) if log_var is not None else std**2
    constant = v
    if held_var is not None or held_log_var is not None or held_std is not None:
        constant = held_var if held_var is not None else mp.exp(held_log_var) if held_log_var is not None else held_std**2
    return constant**beta * (mp.log(v) + (x - t) ** 2 / v) / 2


FORMS = {"var": of_var, "log_var": of_log_var, "std": of_std}


@loss(
    textbook=textbook,
    module="BetaNLLLoss",
    task="regression",
    formula="v^beta (log v + (x - t)^2 / v) / 2,  v = var = exp(log_var) = std^2,  v^beta a constant",
    arguments=({"log_var": 0.7}, {"var": 1.7, "beta": 1.0}, {"std": 1.7, "beta": 0.25}, {"log_var": 0.3, "beta": 0.3}),
    operands=(OperandFacts("var", ">= 0", True), OperandFacts("log_var", "real", True), OperandFacts("std", ">= 0", True)),
    cancels="residual",
    tolerance=1e-5,
    chinese="""
    beta 加权的高斯负对数似然：输入是预测的均值，目标是实数，再给出方差 var、方差的对数 log_var 或标准差 std 三者之一；每一项乘以方差的 beta 次方，这个权重不参与求导。
    何时用：用 gaussian_nll_loss 训练时均值学不动、方差却越来越大时。beta=0 就是 gaussian_nll_loss；beta=1 时均值的梯度与平方误差相同；论文推荐 0.5。
    边界：方差为 0 时按最小的正数读，不加 eps；权重不是常数，不同训练步的损失值不能直接比较，验证时请看 gaussian_nll_loss。
    """,
)
def beta_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Numbers | float | None = None,
    *,
    log_var: Numbers | float | None = None,
    std: Numbers | float | None = None,
    beta: float = 0.5,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Gaussian negative log-likelihood of real values `target`, each item times its variance to the power `beta`, so that uncertain items still teach the mean.

    Formula:
        w (log v + (x - t)^2 / v) / 2 with w = v^beta, through which no gradient flows; derivative w (x - t) / v by the mean, w (1 - (x - t)^2 / v) / 2 by log v.

    Args:
        input: predicted means x, any shape, any real value.
        target: targets t, the same shape.
        var, log_var, std: as in `gaussian_nll_loss`. Give exactly one.
        beta: from 0, where it is `gaussian_nll_loss`, to 1, where the mean has the gradient of half a squared error.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; any real value: where the variance is below 1, often less than 0.

    Raises:
        TypeError: `input`, or a tensor of variances, is not floating point. ValueError: not exactly one of `var`, `log_var` and `std` is given, a variance or
        deviation is negative, `beta` is not in [0, 1], shapes do not fit, weights are not finite, `reduction` is unknown.

    When to use:
        `gaussian_nll_loss` explains errors by a large variance in place of learning the mean. The authors recommend 0.5.

    Edge cases:
        The gradient is not the derivative of the value: the weight counts as a constant. Compare models by `gaussian_nll_loss`, for the weights move the value. A
        variance of 0 is read as the smallest positive number.

    Differs from torch:
        torch has no such loss; with beta=0 it is `gaussian_nll_loss`.

    Reference:
        Seitzer et al., On the Pitfalls of Heteroscedastic Uncertainty Estimation with Probabilistic Neural Networks, ICLR 2022.

    Example:
        >>> import torch
        >>> x, t = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 3.0])
        >>> beta_nll_loss(x, t, torch.tensor([4.0, 0.25]), reduction="none")
        tensor([ 1.6363, -0.3466])
    """
    name, value = checks.exactly_one(var=var, log_var=log_var, std=std)
    beta = checks.number("beta", beta, low=0.0, high=1.0)
    operand = Operand(name, value, "real" if name == "log_var" else ">= 0")
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(FORMS[name], input, target, (0.5 * beta, 0.25 * (beta - 1.0)), operands=(operand,), **how)
