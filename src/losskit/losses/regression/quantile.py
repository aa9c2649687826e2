"""Quantile (pinball) loss, of one quantile or of several."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks, tensors
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, where


def formula(x, t, under, over):
    r = x - t
    slope = where(r > 0.0, over, where(r < 0.0, -under, r * 0.0))
    return where(r > 0.0, over * r, -under * r), slope, -slope


def several(x, t, side):
    """`side` is q up to 1/2, and q - 1 above: of two numbers that add up to 1 the smaller keeps its digits, and so does the larger that is derived from it."""
    small = absolute(side)
    large = 1.0 - small
    low = side > 0.0
    return formula(x, t, where(low, small, large), where(low, large, small))


def crossed(x, t, following, side, price):
    """`following` is the next quantile's prediction. Only where it is the lower of the two, it costs their distance."""
    value, slope, slope_t = several(x, t, side)
    above = x > following
    push = where(above, price, 0.0 * slope)  # of the dtype of what it is beside
    return value + where(above, price * (x - following), 0.0), slope + push, slope_t, -push


def textbook(mp, x, t, quantile):
    return quantile * (t - x) if x < t else (1 - quantile) * (x - t)


@loss(
    textbook=textbook,
    module="QuantileLoss",
    task="regression",
    formula="q (t - x)        where x < t\n(1 - q) (x - t)  elsewhere",
    arguments=({"quantile": 0.9}, {"quantile": 0.5}, {"quantile": 0.001}),
    chinese="""
    分位数损失（pinball）：输入是对目标的 q 分位数的预测，二者均为实数。
    quantile 可以是列表，此时输入的最后一轴是各分位数的预测，目标没有这一轴；crossing > 0 时，相邻分位数的预测若次序颠倒，按其差值乘以 crossing 计入损失。
    何时用：要预测区间而不只是一个值（例如 quantile=[0.05, 0.5, 0.95]），或低估与高估代价不同时。
    边界：q = 0.5 是 L1 的一半，得到中位数；差为 0 处导数取 0。
    """,
)
def quantile_loss(
    input: Tensor,
    target: Tensor,
    *,
    quantile: float | Sequence[float] = 0.5,
    crossing: float = 0.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Quantile (pinball) loss between real values `input` and `target`: the best constant input is the quantile of the targets.

    Formula:
        q (t - x) where x < t, else (1 - q) (x - t); derivative -q below the target, 1 - q above it, 0 at it.
        With `crossing`, of several quantiles: plus crossing * max(0, x_i - x_{i+1}) for each but the last, where x_{i+1} is the next quantile's prediction.

    Args:
        input: predicted quantile x, any shape, any real value; for several quantiles (..., Q).
        target: targets t, the same shape; for several quantiles (...), one for all of them, or (..., Q).
        quantile: q, between 0 and 1, both excluded; or Q of them, a list or a tensor without gradient, for the last axis of the input.
        crossing: the price >= 0 of quantiles that cross, per unit of the target; only with several quantiles, which must then rise. It is part of the loss of the lower
            quantile, x_i, under every reduction, and has that element's weight. Where an element or the next one is absent nothing is added.
        normalizer, reduction, mask, sample_weight: as in every loss, see `losskit.contract`. With a target (...) mask and weights broadcast to its shape and
            hold for all quantiles of an item at once.

    Returns:
        A scalar, "mean" over items and quantiles, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `quantile` is neither a number nor a list of them. ValueError: `quantile` outside (0, 1), or not one for each
        place of the input's last axis, `crossing` < 0, or with quantiles that do not rise, shapes do not fit, weights are not finite, `reduction` is unknown.

    When to use:
        Prediction intervals (quantile=[0.05, 0.5, 0.95] of three outputs), or when being too low and being too high cost differently.

    Edge cases:
        q = 0.5 is half of `l1_loss`. Outputs trained for several quantiles may cross; sort them at prediction, or price it by `crossing`, which leaves outputs in order as
        they are. A quantile near 1 loses digits of 1 - q in a
        float32 tensor, not in a list.

    Differs from torch:
        torch has no quantile loss.

    Reference:
        Koenker and Bassett, Regression Quantiles, 1978.

    Example:
        >>> import torch
        >>> quantile_loss(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 1.0]), quantile=0.9, reduction="none")
        tensor([0.0500, 2.7000])
        >>> quantile_loss(torch.tensor([[1.0, 2.0, 5.0]]), torch.tensor([3.0]), quantile=[0.1, 0.5, 0.9], reduction="none")
        tensor([[0.2000, 0.5000, 0.2000]])
    """
    how: dict[str, Any] = dict(normalizer=normalizer, reduction=reduction)
    price = checks.number("crossing", crossing, low=0.0)
    if type(quantile) is float or isinstance(quantile, Real):  # isinstance with Real is slow
        q = checks.number("quantile", quantile, above=0.0, below=1.0)  # type: ignore[arg-type]
        if price:
            raise ValueError(f"crossing is between several quantiles, and quantile is the number {q:g}: leave crossing out, or give a list")
        return elementwise(formula, input, target, (q, 1.0 - q), mask=mask, sample_weight=sample_weight, **how)
    side = sides(quantile, input)
    tensors.check("target", target)
    if target.shape == input.shape[:-1]:
        for name, x in (("mask", mask), ("sample_weight", sample_weight)):
            if x is not None:
                checks.broadcastable(name, x, target, "target")
        mask, sample_weight = (None if x is None else x.unsqueeze(-1) for x in (mask, sample_weight))
        target = target.unsqueeze(-1)
    elif target.shape != input.shape:
        fix = ": try target.squeeze(-1)" if target.shape == (*input.shape[:-1], 1) else ""
        raise ValueError(
            f"target has shape {checks.shown(target.shape)}, expected the input's without its axis of quantiles, {checks.shown(input.shape[:-1])}, or with it, "
            f"{checks.shown(input.shape)}{fix}"
        )
    how |= dict(mask=mask, sample_weight=sample_weight, shared=True)
    operand = Operand("quantile", side, weight=True)
    if not price:
        return elementwise(several, input, target, (), operands=(operand,), **how)
    if checks.readable(side) and not bool((side % 1.0).diff().gt(0.0).all()):  # q - 1 is q again
        raise ValueError("quantile must rise from each to the next where crossing has a price: sort quantile, and the input's last axis alike")
    input = tensors.widened(input)  # read as itself and as what its neighbour may cross
    return elementwise(crossed, input, target, (price,), operands=(Operand("input", following(input, mask, sample_weight)), operand), **how)


def following(input: Tensor, mask: Tensor | None, sample_weight: Tensor | None) -> Tensor:
    """The next quantile's prediction; of the last one its own, and infinity where it is absent: neither can be crossed."""
    found = torch.cat((input[..., 1:], input[..., -1:]), -1)
    for name, x in (("mask", mask), ("sample_weight", sample_weight)):
        if x is not None:
            checks.broadcastable(name, x, input)
            if x.dim() and x.shape[-1] > 1:  # else all quantiles of an item are absent or none
                found = torch.where(torch.cat((x[..., 1:], x[..., -1:]), -1) != 0, found, torch.inf)
    return found


def sides(quantile: Any, input: Tensor) -> Tensor:
    """For each place of the input's last axis q, or q - 1 above 1/2, where the difference is exact."""
    tensors.check("input", input)
    real = torch.promote_types(input.dtype, torch.float32)
    if isinstance(quantile, Tensor):
        tensors.check("quantile", quantile)
        if checks.readable(quantile) and not bool(((quantile > 0.0) & (quantile < 1.0)).all()):
            raise ValueError(f"quantile must be > 0 and < 1, got {quantile.tolist()}")
        side = torch.where(quantile <= 0.5, quantile, quantile - 1.0).to(real)
    else:
        given = checks.row("quantile", quantile, "a number or ")
        each = [checks.number(f"quantile[{i}]", q, above=0.0, below=1.0) for i, q in enumerate(given)]
        side = torch.tensor([q if q <= 0.5 else q - 1.0 for q in each], dtype=real, device=input.device)
    if not side.numel() or side.shape != input.shape[-1:]:
        raise ValueError(
            f"quantile has shape {checks.shown(side.shape)}, expected one number for each place of the last axis of the input, whose shape is "
            f"{checks.shown(input.shape)}. For one quantile of all, give a number"
        )
    return side.reshape((1,) * (input.dim() - 1) + (-1,))  # a bare vector would lie along a class axis
