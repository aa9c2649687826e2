"""Negative binomial negative log-likelihood of counts, with a predicted total count: Poisson's with more variance."""

from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import absolute, exp, log1p, minimum, non_negative, positive, reciprocal, where
from losskit.losses.regression.poisson_nll import RANGES, by_mean, known
from losskit.losses.regression.stirling import above_share, below_line, excess, lag, log_to_infinity, rise


def parts(m, t, r, log):
    """Value, less what depends on t alone; derivative by log m; derivatives by t, without and with log t!; derivative by log r.

    q = (r + m) / (r + t) tells the mean from the count, and t log(t q / m) is what is left of the powers of t: each is formed from m - t where m is about
    t, and from logarithms where it is far, and m may have overflowed or underflowed.
    """
    t, r = non_negative(t), positive(r)
    whole = r + t
    share = r / whole
    up = m > 8.0 * whole
    over = where(up, 0.0, m)
    r_to_m = where(up, r / where(up, m, 1.0), 0.0)
    least = r + where(over < t, over, t)
    a = where(up, r_to_m, absolute(over - t) / least)
    level = log1p(a)
    reach = t * share
    inside = over > 0.125 * reach
    other = log_to_infinity(where(up, whole, reach - share * over + over))
    known = where(over < t, -level, level)
    log_q = where(up, log - other + level, known)
    gap = where(inside, (t - over) / where(inside, over, 1.0), 0.0)
    gap = where(up, t / where(up, m, 1.0) - 1.0, gap)
    rho = share * gap
    near = log1p(rho)
    power = where(inside, near, where(up, near, other - log))
    of_count = where(t == 0.0, 0.0, t * power)
    lift, by_rise = rise(t, r)
    of_rest = where(a < 1e-18, (over - t) * (r / least), r * log_q)  # the ratio may underflow before the total count makes up for it
    value = where(up, r * log_q, of_rest) + of_count + 0.5 * log1p(t / r) - lift
    by_log = where(up, r * (1.0 - t / where(up, m, 1.0)) / (1.0 + r_to_m), (over - t) * (r / (r + over)))
    far_gap = log_q - 1.0 + where(up, whole / where(up, m, 1.0), 0.0) / (1.0 + r_to_m)
    bend = where(up, far_gap, where(over < t, below_line(a, level), above_share(a, level)))
    by_t = log_q - log - lag(whole)
    many = where(rho < -0.5, 0.0, t) > 1.0
    by_power = where(many, power, 0.0) + log1p(1.0 / where(many, t, 1.0)) - lag(whole)
    return value, by_log, by_t, where(many, by_power, by_t + log1p(t)) + lag(1.0 + t), r * bend - by_rise


def of_log(x, t, r):
    value, by_x, by_t, _, by_log_r = parts(exp(x), t, r, x)
    return value + t - t * log_to_infinity(t), by_x, by_t, by_log_r


def of_log_full(x, t, r):
    value, by_x, _, by_t, by_log_r = parts(exp(x), t, r, x)
    return value + excess(t), by_x, by_t, by_log_r


def of_mean(m, t, r):
    value, _, by_t, _, by_log_r = parts(m, t, r, log_to_infinity(non_negative(m)))
    return value + t - t * log_to_infinity(t), by_mean(m, t) * (r / (r + m)), by_t, by_log_r


def of_mean_full(m, t, r):
    value, _, _, by_t, by_log_r = parts(m, t, r, log_to_infinity(non_negative(m)))
    return value + excess(t), by_mean(m, t) * (r / (r + m)), by_t, by_log_r


def total_count_of(d):
    """1 / d; no dispersion at all stands for very little."""
    return minimum(reciprocal(non_negative(d)), 1e15)


def counted_log(x, t, r):
    value, by_x, by_t, by_log_r = of_log(x, t, r)
    return value, by_x, by_t, by_log_r / r


def dispersed_log(x, t, d):
    r = total_count_of(d)
    value, by_x, by_t, by_log_r = of_log(x, t, r)
    return value, by_x, by_t, -by_log_r * r


def counted_log_full(x, t, r):
    value, by_x, by_t, by_log_r = of_log_full(x, t, r)
    return value, by_x, by_t, by_log_r / r


def dispersed_log_full(x, t, d):
    r = total_count_of(d)
    value, by_x, by_t, by_log_r = of_log_full(x, t, r)
    return value, by_x, by_t, -by_log_r * r


def counted_mean(m, t, r):
    value, by_m, by_t, by_log_r = of_mean(m, t, r)
    return value, by_m, by_t, by_log_r / r


def dispersed_mean(m, t, d):
    r = total_count_of(d)
    value, by_m, by_t, by_log_r = of_mean(m, t, r)
    return value, by_m, by_t, -by_log_r * r


def counted_mean_full(m, t, r):
    value, by_m, by_t, by_log_r = of_mean_full(m, t, r)
    return value, by_m, by_t, by_log_r / r


def dispersed_mean_full(m, t, d):
    r = total_count_of(d)
    value, by_m, by_t, by_log_r = of_mean_full(m, t, r)
    return value, by_m, by_t, -by_log_r * r


def textbook(mp, x, t, total_count, dispersion, log_input, full):
    m, r = mp.exp(x) if log_input else x, total_count if total_count is not None else 1 / dispersion
    value = mp.loggamma(r) - mp.loggamma(t + r) + (r + t) * mp.log(r + m) - r * mp.log(r) - t * (x if log_input else mp.log(x))
    return value + (mp.loggamma(t + 1) if full else 0)


COUNTED = {(True, False): counted_log, (True, True): counted_log_full, (False, False): counted_mean, (False, True): counted_mean_full}
DISPERSED = {(True, False): dispersed_log, (True, True): dispersed_log_full, (False, False): dispersed_mean, (False, True): dispersed_mean_full}
FORMS = {"total_count": COUNTED, "dispersion": DISPERSED}
NUMBERS = (1e-6, 1e-3, 0.3, 1.0, 3.9, 4.1, 30.0, 1e4, 1e8, 1e15, 1e30)


@loss(
    textbook=textbook,
    module="NegativeBinomialNLLLoss",
    task="regression",
    formula="(r + t) log(r + m) - r log r - t log m - log(Gamma(r + t) / Gamma(r)),  m = exp(x),  r = total_count = 1 / dispersion\n"
    "log_input=False: m = x\nfull=True: + log(t!)",
    arguments=(
        {"total_count": 2.0},
        {"total_count": 30.0, "full": True},
        {"total_count": 0.3, "log_input": False},
        {"total_count": 1e6, "log_input": False, "full": True},
        {"dispersion": 0.5},
        {"dispersion": 1e-9, "full": True},
        {"dispersion": 2.0, "log_input": False},
        {"dispersion": 0.1, "log_input": False, "full": True},
    ),
    operands=(OperandFacts("total_count", "> 0", True, NUMBERS), OperandFacts("dispersion", ">= 0", True, (1e-9, *NUMBERS[:-3]))),
    ranges=RANGES,
    cancels="input",
    tolerance=1e-5,
    chinese="""
    负二项负对数似然：输入是计数均值的对数（log_input=False 时是均值本身），目标是非负实数，通常是计数；再给出 total_count（记作 r）或离散度 dispersion = 1 / r，
    逐元素、逐类别或单个数，可以由模型预测，也可以作为参数学习。均值为 m 时方差是 m + m^2 / r。
    何时用：计数的方差大于均值（过度离散）时，例如销量、单细胞测序、事故次数；方差约等于均值时用 poisson_nll_loss。
    边界：dispersion=0 就是泊松分布，r 很大时不丢精度；负的目标会报错；均值为 0 时其对数按最小的正数取；不加 full 时损失可以为负。
    """,
)
def negative_binomial_nll_loss(
    input: Tensor,
    target: Tensor,
    total_count: Numbers | float | None = None,
    *,
    dispersion: Numbers | float | None = None,
    log_input: bool = True,
    full: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative binomial negative log-likelihood of counts `target` under log-means `input`, real values: Poisson's, with a variance that can be learned.

    Formula:
        (r + t) log(r + m) - r log r - t log m - log(Gamma(r + t) / Gamma(r)), with m = exp(x), plus log t! with `full`. The variance is m + m^2 / r.
        Derivative by x: r (m - t) / (r + m).

    Args:
        input: logarithms x of the predicted means, any shape, any real value; with log_input=False the means m themselves, >= 0.
        target: counts t, the same shape: any real values >= 0, or integers.
        total_count: r > 0, with or without a gradient: of the input's shape, or of one that broadcasts to it; a vector holds one number per class; or one
            number for all. The smaller, the more the counts spread.
        dispersion: 1 / r >= 0 instead, as econometrics and genomics write it. Give exactly one of the two; each has its gradient.
        log_input: whether `input` is the logarithm of the mean.
        full: whether to add log t!, which depends on the target alone: the loss is then the whole negative log-likelihood.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; any real value.

    Raises:
        TypeError: `input`, or a tensor of total counts or dispersions, is not floating point, `log_input` or `full` is not True or False. ValueError: not
        exactly one of `total_count` and `dispersion` is given, one is out of range, a target, or with log_input=False an input, is negative, shapes do not fit,
        weights are not finite, `reduction` is unknown.

    When to use:
        Counts whose variance is larger than their mean: sales, reads of genes, accidents. Learn one `dispersion` for all, as torch.nn.functional.softplus of a
        free parameter, or predict one per item.

    Edge cases:
        A dispersion of 0 is Poisson's distribution: value and gradients are those of `poisson_nll_loss`, and the gradient to the dispersion is its limit,
        (t - (m - t)^2) / 2. A mean of 0 is read as the smallest positive number in the logarithm. Between whole counts t! is Gamma(t + 1).

    Differs from torch:
        torch has no such loss; with full=True it is minus the log_prob of torch.distributions.NegativeBinomial(total_count, logits=x - log(total_count)), whose
        logits say the mean only together with the total count.

    Reference:
        Cameron and Trivedi, Regression Analysis of Count Data, 1998.

    Example:
        >>> import torch
        >>> x, t = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 12.0])
        >>> negative_binomial_nll_loss(x, t, 2.0, reduction="none")
        tensor([  0.8109,   1.5749, -16.5848])
        >>> negative_binomial_nll_loss(x, t, dispersion=torch.tensor([0.0, 1e-9, 0.5]), full=True, reduction="none")
        tensor([1.0000, 1.7183, 3.4024])
    """
    checks.flags(log_input=log_input, full=full)
    name, value = checks.exactly_one(total_count=total_count, dispersion=dispersion)
    operands = (Operand(name, value, "> 0" if name == "total_count" else ">= 0"),)
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(FORMS[name][log_input, full], input, target, (), operands=operands, ranges=known(RANGES, log_input), **how)
