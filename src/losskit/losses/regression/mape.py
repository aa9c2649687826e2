"""Mean absolute percentage error."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, nonzero, sign

RANGES = {"target": ("!= 0", "an error relative to it is infinite. To leave such items out, pass mask=target != 0")}


def formula(x, t):
    size = absolute(nonzero(t))
    side = sign(x - t)
    return absolute(x - t) / size, side / size, -side * (x / t) / size


def textbook(mp, x, t):
    return abs(x - t) / abs(t)


@loss(
    textbook=textbook,
    module="MAPELoss",
    task="regression",
    formula="|x - t| / |t|",
    ranges=RANGES,
    chinese="""
    平均绝对百分比误差（MAPE）：输入为实数，目标为不等于 0 的实数；误差按目标的大小计，返回的是比例，不是百分数。
    何时用：业务上以百分比考核误差，而目标都离 0 较远时；目标可能接近 0 时改用 `msle_loss` 或 `l1_loss`。
    边界：目标为 0 时相对误差无穷大，会报错，不会悄悄加一个小数；用 mask=target != 0 去掉这些项。预测偏低时误差最多为 1，因此它偏爱偏低的预测。
    """,
)
def mape_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean absolute percentage error between real values `input` and `target`, which must not be 0: the error as a share of the target.

    Formula:
        |x - t| / |t|; derivative sign(x - t) / |t|, and 0 at x = t.

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape, any real value but 0.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point. ValueError: a target of 0, shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Errors that are judged in percent, of targets far from 0. For targets near 0 take `msle_loss` or `l1_loss`.

    Edge cases:
        A target of 0 raises (on a GPU its item is NaN): no small number is added to it in secret. A target of 1e-6 weighs a million times as much as one of 1. For
        positive numbers a prediction too low costs at most 1, one too high any amount, so the loss favours low predictions.

    Differs from torch:
        torch has no such loss; Keras' is 100 times this one, and reads a target of 0 as 1e-7.

    Reference:
        Hyndman and Koehler, Another Look at Measures of Forecast Accuracy, 2006.

    Example:
        >>> import torch
        >>> mape_loss(torch.tensor([110.0, 1.0]), torch.tensor([100.0, 4.0]), reduction="none")
        tensor([0.1000, 0.7500])
    """
    return elementwise(formula, input, target, (), ranges=RANGES, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
