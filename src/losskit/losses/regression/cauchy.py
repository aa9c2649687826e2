"""Cauchy loss: an error whose price grows with its logarithm."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.losses.regression import barron


def textbook(mp, x, t, scale):
    return mp.log(1 + ((x - t) / scale) ** 2 / 2)


@loss(
    textbook=textbook,
    module="CauchyLoss",
    task="regression",
    formula="log(1 + r^2 / 2),  r = (x - t) / scale",
    arguments=({"scale": 1.0}, {"scale": 0.3}),
    chinese="""
    Cauchy 损失（Lorentz 损失）：输入与目标均为实数；误差小时是平方，误差大时只按对数增长，即 `barron_loss` 取 alpha = 0。
    何时用：误差分布的尾部很重，又希望离群值仍保留一点拉力时；scale 取正常误差的大小。
    边界：误差超过 scale 的 1.41 倍后，误差越大拉力越小，所以初始预测要离数据近一些。
    """,
)
def cauchy_loss(
    input: Tensor,
    target: Tensor,
    *,
    scale: float = 1.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cauchy (Lorentzian) loss between real values `input` and `target`: a square near 0 that grows like a logarithm far out.

    Formula:
        log(1 + r^2 / 2), with r = (x - t) / scale; derivative r / scale / (1 + r^2 / 2).

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        scale: size of an ordinary error, > 0, in the units of the target; near 0 the loss is (x - t)^2 / (2 scale^2).
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `scale` is not a number. ValueError: `scale` <= 0, shapes differ, weights are not finite,
        `reduction` is unknown.

    When to use:
        Errors with heavy tails, where outliers should keep a little pull. Without any pull far out: `welsch_loss`.

    Edge cases:
        The pull is greatest at an error of sqrt(2) scale and fades beyond it: start near the data. It is `barron_loss` with alpha = 0. An error of
        1e30 costs what it should: no square overflows.

    Differs from torch:
        torch has no Cauchy loss; kornia's is this one with scale = 1.

    Reference:
        Black and Anandan, The Robust Estimation of Multiple Motions, 1996.

    Example:
        >>> import torch
        >>> cauchy_loss(torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0]), reduction="none")
        tensor([1.7047, 0.0000])
    """
    form, params = barron.member(0.0, checks.number("scale", scale, above=0.0))
    return elementwise(form, input, target, params, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
