"""Balanced L1: a smooth L1 whose small errors count more."""

import math

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, log1p, minimum, where

STEEPEST = 80.0  # gamma / alpha: of more, the exponential is beyond float32


def area(v, level):
    """(1 + v) log(1 + v) - v for v >= 0, which is v^2 / 2 near 0; `level` is log(1 + v).

    Near 0 the two terms cancel. There log(1 + v) is 2 s (1 + tail) with s = v / (2 + v), and what cancels is left out on paper.
    """
    near = v < 0.5
    s = where(near, v, 0.5) / (2.0 + where(near, v, 0.5))
    q = s * s
    tail = q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q * (1 / 15 + q * (1 / 17 + q * (1 / 19 + q / 21)))))))))
    return where(near, 2.0 * s * (s + (1.0 + s) * tail) / (1.0 - s), (1.0 + v) * level - v)


def formula(x, t, alpha, beta, steepness, size):
    """`steepness` is b / beta, `size` is alpha beta / b. Beyond beta the loss goes on along its tangent there, whose slope is gamma."""
    r = x - t
    a = absolute(r)
    near = minimum(a, beta)
    v = steepness * near
    level = log1p(v)
    pull = alpha * level
    slope = where(r > 0.0, pull, -pull)
    return size * area(v, level) + pull * (a - near), slope, -slope


def textbook(mp, x, t, alpha, gamma, beta):
    b, a = mp.exp(gamma / alpha) - 1, abs(x - t)
    if a < beta:
        return alpha * beta / b * (b * a / beta + 1) * mp.log(b * a / beta + 1) - alpha * a
    return gamma * a + gamma * beta / b - alpha * beta


@loss(
    textbook=textbook,
    module="BalancedL1Loss",
    task="regression",
    formula="alpha beta / b (v + 1) log(v + 1) - alpha |r|  if |r| < beta,  else  gamma |r| + gamma beta / b - alpha beta\n"
    "r = x - t,  b = exp(gamma / alpha) - 1,  v = b |r| / beta",
    arguments=({"alpha": 0.5, "gamma": 1.5, "beta": 1.0}, {"alpha": 1.0, "gamma": 0.7, "beta": 0.1}, {"alpha": 0.2, "gamma": 1.5, "beta": 3.0}),
    chinese="""
    平衡 L1 损失（Libra R-CNN）：输入与目标均为实数，通常是框的回归偏移量；误差超过 beta 后斜率固定为 gamma，小误差的梯度比 smooth L1 更大。
    何时用：检测器的框回归，想让定位较准的样本贡献更多梯度，而离群样本的梯度不超过 gamma 时。
    边界：误差等于 beta 处值与梯度都连续，对任何 beta 都成立；gamma / alpha 超过 80 时指数超出 float32，会报错。
    """,
)
def balanced_l1_loss(
    input: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    gamma: float = 1.5,
    beta: float = 1.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Balanced L1 loss between real values `input` and `target`: a smooth L1 with a larger gradient for small errors.

    Formula:
        Its derivative by a = |x - t| is alpha log(b a / beta + 1) if a < beta, else gamma, with b = exp(gamma / alpha) - 1, so that the two meet. The loss is the
        integral: with v = b a / beta, alpha beta / b (v + 1) log(v + 1) - alpha a, beyond beta gamma a + gamma beta / b - alpha beta.

    Args:
        input: predictions x, any shape, any real value: as a rule the offsets of boxes.
        target: targets t, the same shape.
        alpha: how hard small errors pull, > 0: the smaller, the harder.
        gamma: the pull of errors from beta on, > 0 and at most 80 alpha.
        beta: where the pull stops growing, > 0, in the units of the target.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `alpha`, `gamma` or `beta` is not a number. ValueError: one of them <= 0, `gamma` > 80 `alpha`, shapes
        differ, weights are not finite, `reduction` is unknown.

    When to use:
        Offsets of boxes in detectors where the many well-placed ones should add more to the gradient than in smooth L1, and outliers no more.

    Edge cases:
        Value and gradient are continuous at an error of beta, whatever beta is. Small errors keep their digits: one of 1e-6 costs what it should, where the two
        terms of the formula cancel.

    Differs from mmdetection:
        The same for beta = 1; for other beta its value is not the integral of the paper's gradient.

    Reference:
        Pang et al., Libra R-CNN: Towards Balanced Learning for Object Detection, 2019.

    Example:
        >>> import torch
        >>> balanced_l1_loss(torch.tensor([0.5, 3.0]), torch.tensor([0.0, 0.0]), reduction="none")
        tensor([0.4006, 4.0786])
    """
    alpha, gamma, beta = (checks.number(name, value, above=0.0) for name, value in (("alpha", alpha), ("gamma", gamma), ("beta", beta)))
    if gamma > STEEPEST * alpha:
        raise ValueError(f"gamma must be at most {STEEPEST:g} times alpha, got gamma={gamma!r} and alpha={alpha!r}: exp(gamma / alpha) is beyond float32")
    b = math.expm1(gamma / alpha)
    params = (alpha, beta, b / beta, alpha * beta / b)
    return elementwise(formula, input, target, params, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
