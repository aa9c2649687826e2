"""Wing loss: small errors count more than in L1."""

import math

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, log1p, sign, where


def formula(x, t, omega, epsilon, inverse_epsilon, height):
    """`height` is the loss of an error of omega."""
    r = x - t
    a = absolute(r)
    inner = a < omega
    near = where(inner, a, omega)  # a far error stays out of the branch that is not taken
    value = where(inner, omega * log1p(near * inverse_epsilon), (a - omega) + height)
    slope = sign(r) * where(inner, omega / (epsilon + near), 1.0)
    return value, slope, -slope


def textbook(mp, x, t, omega, epsilon):
    a = abs(x - t)
    return omega * mp.log(1 + a / epsilon) if a < omega else a - omega + omega * mp.log(1 + omega / epsilon)


@loss(
    textbook=textbook,
    module="WingLoss",
    task="regression",
    formula="omega log(1 + |x - t| / epsilon)  if |x - t| < omega,  else  |x - t| - omega + omega log(1 + omega / epsilon)",
    arguments=({"omega": 10.0, "epsilon": 2.0}, {"omega": 5.0, "epsilon": 0.5}, {"omega": 0.1, "epsilon": 3.0}),
    chinese="""
    Wing 损失：输入与目标均为实数，通常是以像素为单位的关键点坐标；误差小于 omega 时取对数，越接近目标拉力越大，超过 omega 后与 L1 相同。
    何时用：人脸等关键点回归，想让中小误差也有足够的梯度时；omega 与 epsilon 的单位与目标相同，坐标归一化到 [0, 1] 时要按比例缩小。
    边界：误差为 0 处有尖角，梯度取 0，两侧为 omega / epsilon；误差等于 omega 处值连续，梯度有跳变。
    """,
)
def wing_loss(
    input: Tensor,
    target: Tensor,
    *,
    omega: float = 10.0,
    epsilon: float = 2.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Wing loss between real values `input` and `target`: logarithmic for small errors, which thus count more than in L1, and L1 beyond.

    Formula:
        With a = |x - t|: omega log(1 + a / epsilon) if a < omega, else a - omega + omega log(1 + omega / epsilon); derivative by a:
        omega / (epsilon + a), beyond omega 1.

    Args:
        input: predictions x, any shape, any real value: coordinates of landmarks, as a rule in pixels.
        target: targets t, the same shape.
        omega: the error at which the logarithm ends, > 0, in the units of the target.
        epsilon: how sharp the loss is at 0, > 0, in the units of the target: the smaller, the more small errors count.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `omega` or `epsilon` is not a number. ValueError: `omega` or `epsilon` <= 0, shapes differ, weights are
        not finite, `reduction` is unknown.

    When to use:
        Landmarks (faces, hands, bodies) whose small and middling errors shall be brought down further. The defaults are the paper's and meant for pixels; for
        coordinates in [0, 1] divide both by the size of the image.

    Edge cases:
        At x = t there is a cusp, with slopes of -omega / epsilon and omega / epsilon beside it, and the gradient is 0. At an error of omega the value is
        continuous, but the slope jumps from omega / (epsilon + omega) to 1.

    Differs from torch:
        torch has no wing loss; mmpose's is this one summed over the landmarks of an image.

    Reference:
        Feng et al., Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks, 2018.

    Example:
        >>> import torch
        >>> wing_loss(torch.tensor([1.0, 20.0]), torch.tensor([0.0, 0.0]), reduction="none")
        tensor([ 4.0547, 27.9176])
    """
    omega = checks.number("omega", omega, above=0.0)
    epsilon = checks.number("epsilon", epsilon, above=0.0)
    params = (omega, epsilon, 1.0 / epsilon, omega * math.log1p(omega / epsilon))
    return elementwise(formula, input, target, params, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
