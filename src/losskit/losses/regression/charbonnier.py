"""Charbonnier: a differentiable absolute error."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, sqrt, where


def formula(x, t, eps):
    r = x - t
    a = absolute(r)
    near = a < eps
    large = where(near, eps, a)
    ratio = where(near, a, eps) / large
    root = sqrt(1.0 + ratio * ratio)  # large * root is the hypotenuse, and no square overflows
    sine = where(near, ratio, 1.0) / root
    slope = where(r > 0.0, sine, -sine)
    return large * root, slope, -slope


def textbook(mp, x, t, eps):
    return mp.sqrt((x - t) ** 2 + eps**2)


@loss(
    textbook=textbook,
    module="CharbonnierLoss",
    task="regression",
    formula="sqrt((x - t)^2 + eps^2)",
    arguments=({"eps": 1e-3}, {"eps": 1.0}, {"eps": 1e-30}),
    chinese="""
    Charbonnier 损失：sqrt(误差^2 + eps^2)，输入与目标均为实数；处处可导的 L1。
    何时用：超分辨率、光流等图像回归；eps 取可以忽略的误差大小。
    边界：完全正确时损失是 eps 而不是 0；误差 1e25 也不溢出（直接平方会）。
    """,
)
def charbonnier_loss(
    input: Tensor,
    target: Tensor,
    *,
    eps: float = 1e-3,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Charbonnier loss between real values `input` and `target`: an absolute error that is smooth at 0.

    Formula:
        sqrt(r^2 + eps^2), with r = x - t; derivative r / sqrt(r^2 + eps^2).

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        eps: width of the smooth part, > 0, in the units of the target.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [eps, inf).

    Raises:
        TypeError: `input` is not floating point, `eps` is not a number. ValueError: `eps` <= 0, shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Image restoration and optical flow: L1 without its kink. eps is the size of an error that is too small to matter.

    Edge cases:
        A perfect prediction costs eps, not 0. Some code adds eps, not its square, under the root: that is eps = sqrt(theirs) here.

    Differs from torch:
        torch has no Charbonnier loss; kornia's fixes eps = 1 and subtracts 1.

    Reference:
        Charbonnier et al., Two deterministic half-quadratic regularization algorithms for computed imaging, 1994.

    Example:
        >>> import torch
        >>> charbonnier_loss(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 0.0]), eps=4.0, reduction="none")
        tensor([5., 4.])
    """
    eps = checks.number("eps", eps, above=0.0)
    return elementwise(formula, input, target, (eps,), mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
