"""Quantile (pinball) loss."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.reduction import Normalizer, elementwise
from losskit.contract.registry import loss
from losskit.engines.language import where


def formula(x, t, under, over):
    r = x - t
    slope = where(r > 0.0, over, where(r < 0.0, -under, r * 0.0))
    return where(r > 0.0, over * r, -under * r), slope, -slope


def textbook(mp, x, t, quantile):
    return quantile * (t - x) if x < t else (1 - quantile) * (x - t)


@loss(
    textbook=textbook,
    module="QuantileLoss",
    task="regression",
    formula="q (t - x)        where x < t\n(1 - q) (x - t)  elsewhere",
    arguments=({"quantile": 0.9}, {"quantile": 0.5}, {"quantile": 0.001}),
    chinese="""
    分位数损失(pinball)：输入是对目标的 q 分位数的预测，二者均为实数。
    何时用：要预测区间而不只是一个值(例如同时训练 q = 0.05 与 0.95)，或低估与高估代价不同时。
    边界：q = 0.5 是 L1 的一半，得到中位数；差为 0 处导数取 0。
    """,
)
def quantile_loss(
    input: Tensor,
    target: Tensor,
    *,
    quantile: float = 0.5,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Quantile (pinball) loss between real values `input` and `target`: the best constant input is the quantile of the targets.

    Formula:
        q (t - x) where x < t, else (1 - q) (x - t); derivative -q below the target, 1 - q above it, 0 at it.

    Args:
        input: predicted quantile x, any shape, any real value.
        target: targets t, the same shape.
        quantile: q, between 0 and 1, both excluded.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `quantile` is not a number. ValueError: `quantile` outside (0, 1), shapes differ, weights are not finite,
        `reduction` is unknown.

    When to use:
        Prediction intervals (one output for q = 0.05, one for 0.95), or when being too low and being too high cost differently.

    Edge cases:
        q = 0.5 is half of `l1_loss`. Outputs trained for several quantiles may cross; sort them at prediction.

    Differs from torch:
        torch has no quantile loss.

    Reference:
        Koenker and Bassett, Regression Quantiles, 1978.

    Example:
        >>> import torch
        >>> quantile_loss(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0]), quantile=0.9, reduction="none")
        tensor([0.0500, 2.7000])
    """
    q = checks.number("quantile", quantile, above=0.0, below=1.0)
    return elementwise(formula, input, target, (q, 1.0 - q), mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
