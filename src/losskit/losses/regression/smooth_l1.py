"""Smooth L1: squared near zero, absolute beyond beta."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import absolute, non_negative, sign, where
from losskit.losses.regression import l1


def formula(x, t, beta, half_beta):
    r = x - t
    a = absolute(r)
    inner = a < beta
    steepness = r / beta
    slope = where(inner, steepness, sign(r))
    return where(inner, 0.5 * r * steepness, a - half_beta), slope, -slope


def with_tensor(x, t, beta):
    """beta is read beside the input; 0 is L1. The derivative by beta needs only the slope, which is r / beta inside."""
    beta = non_negative(beta)
    value, slope, slope_t = formula(x, t, beta, 0.5 * beta)
    return value, slope, slope_t, -0.5 * slope * slope


def textbook(mp, x, t, beta):
    r = abs(x - t)
    return r**2 / (2 * beta) if r < beta else r - beta / 2


@loss(
    textbook=textbook,
    module="SmoothL1Loss",
    task="regression",
    formula="(x - t)^2 / (2 beta)   where |x - t| < beta\n|x - t| - beta / 2      elsewhere",
    torch="smooth_l1_loss",
    arguments=({"beta": 1.0}, {"beta": 0.11}, {"beta": 0.0}, {"beta": 1e-20}),
    operands=(OperandFacts("beta", ">= 0"),),
    chinese="""
    平滑 L1：误差小于 beta 时为平方，之外为绝对值；输入与目标均为实数。
    何时用：检测框回归的经典选择（Fast R-CNN）；对离群值像 L1 一样不敏感，在最优点附近像 L2 一样平稳收敛。
    边界：等于 Huber(delta = beta) 除以 beta；beta = 0 就是 L1；beta 越大越接近 L2 / beta。
    """,
)
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    *,
    beta: float | Numbers = 1.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Smooth L1 between real values `input` and `target`: squared within `beta`, absolute beyond.

    Formula:
        r^2 / (2 beta) where |r| < beta, else |r| - beta / 2, with r = x - t; derivative r / beta inside, sign(r) outside.

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        beta: where the square ends, >= 0, in the units of the target; 0 gives L1: a number; or a tensor, with or without a gradient, that broadcasts to the input
            (one number in all, per item or per element; a vector (C,) has one per class). A list becomes such a tensor.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `beta` is neither a number nor a tensor. ValueError: `beta` < 0, shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        Box regression, and any target with outliers: the gradient of an item never exceeds 1, and it shrinks near the optimum.

    Edge cases:
        `huber_loss` with delta = beta is beta times this. Far out the slope is 1 whatever beta is, so changing beta does not change the pull of outliers.

    Differs from torch:
        The same values. torch's square loses small errors to underflow (0.5 r^2 / beta with r = 1e-25, beta = 1e-20 is 0 there, 5e-31 here).

    Reference:
        Girshick, Fast R-CNN, 2015.

    Example:
        >>> import torch
        >>> smooth_l1_loss(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0]), reduction="none")
        tensor([0.1250, 2.5000])
    """
    if checks.is_tensor_or_list("beta", beta):
        operands = (Operand("beta", beta, ">= 0", weight=True),)
        return elementwise(
            with_tensor, input, target, (), operands=operands, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction
        )
    beta = checks.number("beta", beta, low=0.0)  # type: ignore[arg-type]
    form, params = (formula, (beta, 0.5 * beta)) if beta > 0 else (l1.formula, ())
    return elementwise(form, input, target, params, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
