"""Geman-McClure loss: an error that saturates, with a tail."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.losses.regression import barron


def textbook(mp, x, t, scale):
    r = (x - t) / scale
    return 2 * r**2 / (r**2 + 4)


@loss(
    textbook=textbook,
    module="GemanMcClureLoss",
    task="regression",
    formula="2 r^2 / (r^2 + 4),  r = (x - t) / scale",
    arguments=({"scale": 1.0}, {"scale": 0.3}),
    chinese="""
    Geman-McClure 损失：输入与目标均为实数；误差远大于 scale 时趋于 2，不再增长，即 `barron_loss` 取 alpha = -2。
    何时用：离群值很多，想让它们几乎不起作用，但仍留一点拉力时；scale 取正常误差的大小。
    边界：误差远大于 scale 时梯度按三次方衰减，初始预测要离数据近一些。
    """,
)
def geman_mcclure_loss(
    input: Tensor,
    target: Tensor,
    *,
    scale: float = 1.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Geman-McClure loss between real values `input` and `target`: a square near 0 that saturates at 2.

    Formula:
        2 r^2 / (r^2 + 4), with r = (x - t) / scale; derivative 16 r / scale / (r^2 + 4)^2.

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        scale: size of an ordinary error, > 0, in the units of the target; near 0 the loss is (x - t)^2 / (2 scale^2).
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, 2].

    Raises:
        TypeError: `input` is not floating point, `scale` is not a number. ValueError: `scale` <= 0, shapes differ, weights are not finite,
        `reduction` is unknown.

    When to use:
        Many outliers that should hardly count, yet pull a little. Without any pull far out: `welsch_loss`.

    Edge cases:
        The pull is greatest at an error of 2 scale / sqrt(3) and falls with the cube of the error far out: start near the data. It is `barron_loss`
        with alpha = -2.

    Differs from torch:
        torch has no Geman-McClure loss; kornia's is this one with scale = 1. Books also write e^2 / (e^2 + s^2) with e = x - t: that is half of this
        loss with scale = s / 2.

    Reference:
        Geman and McClure, Bayesian Image Analysis: An Application to Single Photon Emission Tomography, 1985.

    Example:
        >>> import torch
        >>> geman_mcclure_loss(torch.tensor([2.0, 6.0]), torch.tensor([0.0, 0.0]), reduction="none")
        tensor([1.0000, 1.8000])
    """
    form, params = barron.member(-2.0, checks.number("scale", scale, above=0.0))
    return elementwise(form, input, target, params, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
