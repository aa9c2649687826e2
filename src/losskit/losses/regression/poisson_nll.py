"""Poisson negative log-likelihood of counts."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, exp, log1p, minimum, non_negative, reciprocal, where
from losskit.losses.regression.gaussian_nll import log_of
from losskit.losses.regression.stirling import above_share, below_line, excess, lag

RANGES = {
    "input": (">= 0", "the mean of a count is not negative: pass its logarithm, log_input=True, or softplus(input)"),
    "target": (">= 0", "a count is not negative. To leave such items out, pass mask=target >= 0"),
}


def known(ranges: Mapping[str, tuple[str, str]], log_input: bool) -> dict[str, tuple[str, str]]:
    """The ranges of a call: a logarithm has none."""
    return {name: range for name, range in ranges.items() if name == "target" or not log_input}


def of_log(x, t):
    t = non_negative(t)
    m = exp(x)
    known = where(t == 0.0, 0.0, t * minimum(x, 1e3))  # beyond, m alone is infinite
    return m - known, m - t, -x


def by_mean(m, t):
    """1 - t / m; to its digits where m is about t."""
    inverse = reciprocal(m)
    return where(m < 2.0 * t, (m - t) * inverse, 1.0 - t * inverse)


def of_mean(m, t):
    m = non_negative(m)
    level = log_of(m, reciprocal(m))
    return m - non_negative(t) * level, by_mean(m, t), -level


def deviance(m, t, log):
    """m - t + t log(t / m), where `log` is log m: to its digits where m is about t."""
    low, high = where(m < t, m, t), where(m < t, t, m)
    near = high < 8.0 * low
    a = where(near, absolute(m - t), 0.0) / where(near, low, 1.0)
    level = log1p(a)
    distance = where(t == 0.0, 0.0, t * (log_of(t, reciprocal(t)) - minimum(log, 1e3)))
    return where(near, t * where(m < t, above_share(a, level), below_line(a, level)), m - t + distance)


def of_log_full(x, t):
    t = non_negative(t)
    m = exp(x)
    whole = 1.0 + t
    return deviance(m, t, x) + excess(t), m - t, log1p(t) + lag(whole) - x


def of_mean_full(m, t):
    _, slope, by_t = of_mean(m, t)
    t = non_negative(t)
    return deviance(m, t, -by_t) + excess(t), slope, by_t + (log1p(t) + lag(1.0 + t))


def textbook(mp, x, t, log_input, full):
    m = mp.exp(x) if log_input else x
    return m - t * (x if log_input else mp.log(x)) + (mp.loggamma(t + 1) if full else 0)


FORMS = {(True, False): of_log, (True, True): of_log_full, (False, False): of_mean, (False, True): of_mean_full}


@loss(
    textbook=textbook,
    module="PoissonNLLLoss",
    task="regression",
    formula="exp(x) - t x\nlog_input=False: x - t log(x)\nfull=True: + log(t!)",
    torch="poisson_nll_loss",
    arguments=({}, {"full": True}, {"log_input": False}, {"log_input": False, "full": True}),
    ranges=RANGES,
    cancels="input",
    tolerance=1e-5,
    chinese="""
    泊松负对数似然：输入是计数均值的对数（log_input=False 时是均值本身），目标是非负实数，通常是计数。
    何时用：预测次数、人数、销量、点击数等计数，且方差与均值大致相当时；方差明显大于均值请用 negative_binomial_nll_loss。
    边界：负的目标会报错；均值为 0 时其对数按最小的正数取；full=True 加上 log(t!)，用准确的对数伽马函数，不是 Stirling 近似；不加 full 时损失可以为负。
    """,
)
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    *,
    log_input: bool = True,
    full: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Poisson negative log-likelihood of counts `target` under means whose logarithms are `input`, real values (log_input=False: under means `input`).

    Formula:
        exp(x) - t x, with log_input=False x - t log x; plus log t! = log Gamma(t + 1) with `full`. Derivative exp(x) - t, with log_input=False 1 - t / x.

    Args:
        input: logarithms x of the predicted means, any shape, any real value; with log_input=False the means themselves, >= 0.
        target: counts t, the same shape: any real values >= 0, or integers.
        log_input: whether `input` is the logarithm of the mean.
        full: whether to add log t!, which depends on the target alone: the loss is then the whole negative log-likelihood.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; any real value.

    Raises:
        TypeError: `input` is not floating point, `log_input` or `full` is not True or False. ValueError: a target, or with log_input=False an input, is
        negative, shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Counts of people, clicks, sales or photons, whose variance is about their mean. Where it is larger, use `negative_binomial_nll_loss`.

    Edge cases:
        A mean of 0 is read as the smallest positive number in the logarithm. A mean that overflows gives an infinite loss: keep log-means below 88 in float32.
        Between whole counts t! is Gamma(t + 1).

    Differs from torch:
        torch adds `eps` (1e-8) to a mean before it takes the logarithm; here it is not needed. With full=True torch adds Stirling's formula for counts above 1,
        which is off by 0.04 at a count of 2; here log t! is exact. torch takes negative targets.

    Reference:
        Cameron and Trivedi, Regression Analysis of Count Data, 1998.

    Example:
        >>> import torch
        >>> poisson_nll_loss(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 12.0]), reduction="none")
        tensor([  1.0000,   1.7183, -16.6109])
        >>> poisson_nll_loss(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 12.0]), full=True, reduction="none")
        tensor([1.0000, 1.7183, 3.3763])
    """
    checks.flags(log_input=log_input, full=full)
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(FORMS[log_input, full], input, target, (), ranges=known(RANGES, log_input), **how)
