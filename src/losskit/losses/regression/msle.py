"""Mean squared logarithmic error."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, log1p, minimum, positive, where

RANGES = {name: ("> -1", "the loss takes log(1 + {name}). To leave such items out, pass mask={name} > -1") for name in ("input", "target")}


def formula(x, t):
    """log(1 + x) - log(1 + t) is log(1 + (x - t) / (1 + t)), of the smaller one as t: near each other nothing cancels."""
    r = x - t
    low = positive(1.0 + where(r > 0.0, t, x))
    ratio = absolute(r) * 2.0**-64 / low  # at a ratio of 2^126, where float32 ends soon, the 1 beside it is long lost
    far = ratio > 2.0**62
    level = log1p(where(far, ratio, absolute(r) / low))
    d = where(far, level + 64.0 * 0.6931471805599453, level)
    pull = 2.0 * minimum(where(r > 0.0, d, -d), 1e30)
    return d * d, pull / (1.0 + x), -pull / (1.0 + t)


def textbook(mp, x, t):
    return (mp.log(1 + x) - mp.log(1 + t)) ** 2


@loss(
    textbook=textbook,
    module="MSLELoss",
    task="regression",
    formula="(log(1 + x) - log(1 + t))^2",
    ranges=RANGES,
    chinese="""
    均方对数误差（MSLE）：输入与目标均为大于 -1 的实数，通常是销量、人数、价格等非负数；比较的是 log(1 + x)，误差大致按相对值计。
    何时用：目标跨越几个数量级，大数与小数的相对误差要同等看待，并且低估要比高估罚得更重时。
    边界：小于等于 -1 的数没有对数，会报错，不会悄悄截断；模型可能输出负数时先用 softplus；值很大时梯度很小，可以改为让模型直接预测 log(1 + t)。
    """,
)
def msle_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean squared logarithmic error between real values `input` and `target`, both > -1: the squared error of log(1 + x).

    Formula:
        (log(1 + x) - log(1 + t))^2; derivative 2 (log(1 + x) - log(1 + t)) / (1 + x).

    Args:
        input: predictions x, any shape, > -1.
        target: targets t, the same shape, > -1: as a rule counts, sizes or prices, which are >= 0.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: a number <= -1 in `input` or `target`, shapes differ, weights are not finite, `reduction` is
        unknown.

    When to use:
        Targets over several orders of magnitude, where errors should count in proportion to the target, and too little more than too much.

    Edge cases:
        A number <= -1 has no logarithm and raises, where other code clips it; for a model that gives such numbers, take softplus of its output. Large predictions
        have a small gradient, so a model that starts far off learns faster if it predicts log(1 + t) under `mse_loss`. Nearly equal numbers keep their digits.

    Differs from torch:
        torch has no such loss; Keras' clips both arguments at 1e-7.

    Reference:
        Hyndman and Koehler, Another Look at Measures of Forecast Accuracy, 2006.

    Example:
        >>> import torch
        >>> msle_loss(torch.tensor([99.0, 3.0]), torch.tensor([9.0, 3.0]), reduction="none")
        tensor([5.3019, 0.0000])
    """
    return elementwise(formula, input, target, (), ranges=RANGES, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
