"""Welsch loss: an error that stops counting."""

import math

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.losses.regression import barron


def textbook(mp, x, t, scale):
    return 1 - mp.exp(-(((x - t) / scale) ** 2) / 2)


@loss(
    textbook=textbook,
    module="WelschLoss",
    task="regression",
    formula="1 - exp(-r^2 / 2),  r = (x - t) / scale",
    arguments=({"scale": 1.0}, {"scale": 0.3}),
    tolerance=2e-5,  # an exponent of 87, where float32 ends, doubles the roundings of r and multiplies them by itself
    chinese="""
    Welsch 损失（Leclerc 损失、相关熵损失）：输入与目标均为实数；误差远大于 scale 时趋于 1，即 `barron_loss` 取 alpha 为负无穷。
    何时用：离群值很多，想让它们完全不起作用时；scale 取正常误差的大小。
    边界：误差达到 scale 的几倍后梯度几乎为 0，初始预测离数据太远会学不动，可以先用 `cauchy_loss` 训练。
    """,
)
def welsch_loss(
    input: Tensor,
    target: Tensor,
    *,
    scale: float = 1.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Welsch (Leclerc, correntropy) loss between real values `input` and `target`: a square near 0 that saturates at 1.

    Formula:
        1 - exp(-r^2 / 2), with r = (x - t) / scale; derivative r / scale exp(-r^2 / 2).

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        scale: size of an ordinary error, > 0, in the units of the target; near 0 the loss is (x - t)^2 / (2 scale^2).
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, 1].

    Raises:
        TypeError: `input` is not floating point, `scale` is not a number. ValueError: `scale` <= 0, shapes differ, weights are not finite,
        `reduction` is unknown.

    When to use:
        Many outliers that should not count at all. With a little pull left for them: `cauchy_loss`, `geman_mcclure_loss`.

    Edge cases:
        The pull is greatest at an error of scale; at 6 scales less than a millionth of it is left: start near the data, or with another loss. It is
        `barron_loss` with alpha = -inf.

    Differs from torch:
        torch has no Welsch loss; kornia's is this one with scale = 1.

    Reference:
        Dennis and Welsch, Techniques for Nonlinear Least Squares and Robust Regression, 1978.

    Example:
        >>> import torch
        >>> welsch_loss(torch.tensor([1.0, 9.0]), torch.tensor([0.0, 0.0]), reduction="none")
        tensor([0.3935, 1.0000])
    """
    form, params = barron.member(-math.inf, checks.number("scale", scale, above=0.0))
    return elementwise(form, input, target, params, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
