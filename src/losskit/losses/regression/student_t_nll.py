"""Student's t negative log-likelihood with a predicted scale and predicted degrees of freedom."""

import math
from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import absolute, exp, log1p, minimum, positive, reciprocal, sqrt, where
from losskit.losses.regression.gaussian_nll import log_of
from losskit.losses.regression.stirling import above_share, half_step


def member(r, first, second, level, df):
    """Value, slope by r, derivatives by level = log scale and by df; 1 / scale = first second.

    With u^2 = z^2 / df, z = r / scale, each quantity has a form for u near 0, where df drops out, and one for large u, where a square or u itself overflows.
    """
    df = minimum(positive(df), 1e30)
    step, by_step = half_step(0.5 * df)
    a = absolute(r)
    root = 1.0 / sqrt(df)
    z = where(r == 0.0, 0.0, a * first * second)
    u = z * root
    far = u > 1e18
    near = minimum(u, 1e18)
    square = near * near
    b = where(far, a * root, 1.0)
    distance = where(b - b == 0.0, log_of(b, 1.0 / b) - level, b)  # infinite, if the error is
    log = where(far, 2.0 * distance, log1p(square))
    still = u < 1e-9
    small = where(still, z, 0.0)
    limit = (1.0 + 1.0 / df) * small * small
    rest = where(far, 0.0, 1.0 / (1.0 + square))
    share = where(far, 1.0, square * rest)
    value = level - step + where(still, 0.5 * limit, 0.5 * (df + 1.0) * log)
    inner = u < 1.0
    steep = where(r == 0.0, 0.0, where(inner, z, 0.0) * first * second)
    pull = where(inner, (1.0 + 1.0 / df) * steep * rest, (df + 1.0) * share / where(inner, 1.0, a))
    by_level = rest - where(still, small * small, df * share)
    by_df = 0.5 * (above_share(square, log) - share / df - by_step)
    return value, where(r > 0.0, pull, -pull), by_level, by_df


def of_log_scale(x, t, s, df, constant):
    """By halves of the exponent, whose powers neither overflow nor underflow before what they multiply."""
    h = exp(-0.5 * s)
    value, slope, by_level, by_df = member(x - t, h, h, s, df)
    return value + constant, slope, -slope, by_level, by_df


def of_scale(x, t, b, df, constant):
    inverse = reciprocal(positive(b))
    value, slope, by_level, by_df = member(x - t, inverse, 1.0, log_of(b, inverse), df)
    return value + constant, slope, -slope, by_level * inverse, by_df


def textbook(mp, x, t, scale, log_scale, df, full):
    b = scale if scale is not None else mp.exp(log_scale)
    half = mp.mpf(1) / 2
    value = mp.loggamma(df / 2) - mp.loggamma(df / 2 + half) + mp.log(df * mp.pi) / 2 + mp.log(b) + (df + 1) / 2 * mp.log(1 + ((x - t) / b) ** 2 / df)
    return value - (0 if full else mp.log(2 * mp.pi) / 2)


FORMS = {"scale": of_scale, "log_scale": of_log_scale}
CONSTANT = 0.5 * math.log(2.0 * math.pi)
DF = (1e-3, 0.3, 1.0, 4.0, 7.9, 30.0, 1e4, 1e9, 1e30)


@loss(
    textbook=textbook,
    module="StudentTNLLLoss",
    task="regression",
    formula="(df + 1) / 2 log(1 + z^2 / df) + log(scale) + log(sqrt(df / 2) Gamma(df / 2) / Gamma((df + 1) / 2)),  z = (x - t) / scale\nfull=True: + log(2 pi) / 2",
    arguments=(
        {"log_scale": 0.0, "df": 4.0},
        {"scale": 1.5, "df": 1.0},
        {"scale": 0.3, "df": 30.0, "full": True},
        {"log_scale": -2.0, "df": 1e-3},
        {"log_scale": 40.0, "df": 1e6, "full": True},
    ),
    operands=(OperandFacts("scale", "> 0", True), OperandFacts("log_scale", "real", True), OperandFacts("df", "> 0", True, DF)),
    cancels="residual",
    tolerance=1e-5,
    chinese="""
    学生 t 分布的负对数似然：输入是预测的位置，目标是实数，再给出尺度 scale 或其对数 log_scale，以及自由度 df（逐元素、逐类别或单个数）；三者都可以由模型预测，也可以作为参数学习。
    何时用：数据里有离群值，又想同时学到误差的大小和尾部的轻重时。df 小则尾部重，df=1 是柯西分布，df 很大时就是 gaussian_nll_loss。
    边界：误差越大拉力越小，初始预测太远会学得慢；scale 是尺度，不是标准差（df > 2 时标准差是 scale * sqrt(df / (df - 2))）；损失可以为负。
    """,
)
def student_t_nll_loss(
    input: Tensor,
    target: Tensor,
    scale: Numbers | float | None = None,
    *,
    log_scale: Numbers | float | None = None,
    df: Numbers | float = 4.0,
    full: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Student's t negative log-likelihood of real values `target` under locations `input`, with a scale and degrees of freedom that can be predicted or learned.

    Formula:
        (df + 1) / 2 log(1 + z^2 / df) + log scale + log(sqrt(df / 2) Gamma(df / 2) / Gamma((df + 1) / 2)), with z = (x - t) / scale, plus log(2 pi) / 2 with
        `full`. Derivative by x: (df + 1) z / (df + z^2) / scale; by log scale: 1 - (df + 1) z^2 / (df + z^2).

    Args:
        input: predicted locations x, any shape, any real value.
        target: targets t, the same shape.
        scale: the size of an ordinary error, > 0: of the input's shape, or of one that broadcasts to it; a vector holds one number per class; or one number for
            all.
        log_scale: its logarithm instead, any real value: no range to keep to. Give exactly one of the two; each has its gradient.
        df: degrees of freedom, > 0: a number, or a tensor likewise, with or without a gradient. Few mean heavy tails: 1 is Cauchy's distribution, and from
            some hundreds on it is a Gaussian. The default is what Lange, Little and Taylor take where it is not learned.
        full: whether to add the constant log(2 pi) / 2.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; any real value: where the scale is small, less than 0.

    Raises:
        TypeError: `input`, or a tensor of scales or degrees of freedom, is not floating point. ValueError: not exactly one of `scale` and `log_scale` is given,
        a scale or `df` is not positive, shapes do not fit, weights are not finite, `reduction` is unknown.

    When to use:
        Some targets are far off, and the loss is to find out how many: learn one `df` for all, as torch.nn.functional.softplus of a free parameter, and predict
        the scale.

    Edge cases:
        The farther the target, the weaker its pull: start near the data. For large `df` it is `gaussian_nll_loss`, to the last digit and with the same
        meaning of `full`; more than 1e30 is read as 1e30. The scale is not the standard deviation, which is scale sqrt(df / (df - 2)), and infinite up to 2.

    Differs from torch:
        torch has no such loss; with full=True it is minus the log_prob of torch.distributions.StudentT(df, input, scale), which in float32 loses all digits of
        the derivative by `df` where that is large.

    Reference:
        Lange, Little and Taylor, Robust Statistical Modeling Using the t Distribution, 1989.

    Example:
        >>> import torch
        >>> x, t = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 3.0])
        >>> student_t_nll_loss(x, t, torch.tensor([1.0, 0.25]), df=2.0, reduction="none")
        tensor([ 0.7290, -1.2655])
        >>> student_t_nll_loss(x, t, log_scale=torch.tensor([0.0, -20.0]), df=torch.tensor([1e9, 2.0]), reduction="none")
        tensor([  0.5000, -19.8792])
    """
    checks.flag("full", full)
    name, value = checks.exactly_one(scale=scale, log_scale=log_scale)
    operands = (Operand(name, value, "real" if name == "log_scale" else "> 0"), Operand("df", df, "> 0"))
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(FORMS[name], input, target, (CONSTANT if full else 0.0,), operands=operands, **how)
