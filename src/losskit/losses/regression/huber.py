"""Huber: squared near zero, linear beyond delta."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import absolute, positive, sign, where


def formula(x, t, delta, half_delta):
    r = x - t
    a = absolute(r)
    inner = a < delta
    slope = where(inner, r, delta * sign(r))
    return where(inner, 0.5 * r * r, delta * (a - half_delta)), slope, -slope


def with_tensor(x, t, delta):
    """delta is read beside the input."""
    delta = positive(delta)
    value, slope, slope_t = formula(x, t, delta, 0.5 * delta)
    a = absolute(x - t)
    return value, slope, slope_t, where(a < delta, 0.0, a - delta)


def textbook(mp, x, t, delta):
    r = abs(x - t)
    return r**2 / 2 if r < delta else delta * (r - delta / 2)


@loss(
    textbook=textbook,
    module="HuberLoss",
    task="regression",
    formula="(x - t)^2 / 2               where |x - t| < delta\ndelta (|x - t| - delta / 2)  elsewhere",
    torch="huber_loss",
    arguments=({"delta": 1.0}, {"delta": 1.35}, {"delta": 50.0}),
    operands=(OperandFacts("delta", "> 0"),),
    chinese="""
    Huber 损失：误差小于 delta 时为平方的一半，之外为线性；输入与目标均为实数。
    何时用：大体高斯、夹有少量离群值的目标；delta 取"正常误差"的大小（标准化后常用 1.35）。
    边界：等于 beta 乘以 smooth L1(beta = delta)；delta 越大，离群值的拉力越大。
    """,
)
def huber_loss(
    input: Tensor,
    target: Tensor,
    *,
    delta: float | Numbers = 1.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Huber loss between real values `input` and `target`: half the square within `delta`, linear beyond.

    Formula:
        r^2 / 2 where |r| < delta, else delta (|r| - delta / 2), with r = x - t; derivative r inside, delta sign(r) outside.

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        delta: where the square ends, > 0, in the units of the target: a number; or a tensor, with or without a gradient, that broadcasts to the input (one number in
            all, per item or per element; a vector (C,) has one per class). A list becomes such a tensor.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `delta` is neither a number nor a tensor. ValueError: `delta` <= 0, shapes differ, weights are not finite, `reduction` is
            unknown.

    When to use:
        Errors that are Gaussian except for a few outliers; delta is the size of an ordinary error (1.35 standard deviations keeps 95 % of the efficiency of
        L2).

    Edge cases:
        delta times `smooth_l1_loss` with beta = delta: here inside is always r^2 / 2 and delta sets the pull of outliers, there it is the other way round.

    Differs from torch:
        The same values; float16 and bfloat16 give a float32 value; torch's functional `weight` has its own meaning, here it is `sample_weight`.

    Reference:
        Huber, Robust Estimation of a Location Parameter, 1964.

    Example:
        >>> import torch
        >>> huber_loss(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0]), delta=2.0, reduction="none")
        tensor([0.1250, 4.0000])
    """
    if checks.is_tensor_or_list("delta", delta):
        operands = (Operand("delta", delta, "> 0", weight=True),)
        return elementwise(
            with_tensor, input, target, (), operands=operands, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction
        )
    delta = checks.number("delta", delta, above=0.0)  # type: ignore[arg-type]
    params = (delta, 0.5 * delta)
    return elementwise(formula, input, target, params, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
