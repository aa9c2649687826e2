"""Barron's general robust loss: one family from L2 to Welsch, chosen by a number."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks, labels
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import absolute, exp_product, expm1_product, log1p, maximum, minimum, sqrt, where
from losskit.losses.regression import adaptive


def log1p_square(u):
    """log(1 + u^2) for u >= 0; beyond 1e18, where the square could overflow, it is 2 log(u) to the last digit."""
    far = u > 1e18
    level = log1p(where(far, u, u * u))
    return where(far, 2.0 * level, level)


def formula(x, t, inverse_width, height, quarter_alpha, steepness, half_rest):
    r = x - t
    u = absolute(r) * inverse_width
    level = log1p_square(u)
    ratio = where(u > 1e18, 1.0, u / sqrt(1.0 + u * u))
    pull = steepness * ratio * exp_product(half_rest, minimum(level, 1e30))
    slope = where(r > 0.0, pull, -pull)
    root = expm1_product(quarter_alpha, level)  # expm1(2 y) = root (root + 2): the height comes in before the power can overflow
    near = u * (2.0 * height * quarter_alpha) * u  # the square alone would underflow
    return where(u < 1e-9, near, height * root * (root + 2.0)), slope, -slope


def quadratic(x, t, inverse_scale):
    """alpha = 2."""
    z = (x - t) * inverse_scale
    slope = z * inverse_scale
    return 0.5 * z * z, slope, -slope


def cauchy(x, t, inverse_width, steepness):
    """alpha = 0."""
    r = x - t
    u = absolute(r) * inverse_width
    pull = steepness * where(u > 1e18, 1.0 / maximum(u, 1e18), u / (1.0 + u * u))
    slope = where(r > 0.0, pull, -pull)
    return log1p_square(u), slope, -slope


def welsch(x, t, inverse_scale):
    """alpha = -infinity."""
    z = (x - t) * inverse_scale
    near = maximum(minimum(z, 1e6), -1e6)
    slope = near * inverse_scale * exp_product(-0.5 * near, near)
    return -expm1_product(-0.5 * z, z), slope, -slope


def geman_mcclure(x, t, inverse_width, steepness):
    """alpha = -2."""
    r = x - t
    u = absolute(r) * inverse_width
    far = u > 1.0
    w = where(far, 1.0 / maximum(u, 1.0), u)  # at most 1: no square overflows
    share = 1.0 / (1.0 + w * w)
    pull = steepness * where(far, w * w * w, w) * share * share
    slope = where(r > 0.0, pull, -pull)
    return 2.0 * where(far, share, w * w * share), slope, -slope


def textbook(mp, x, t, alpha, scale, nll):
    def rho(z):
        if alpha == 2:
            return z / 2
        if alpha == 0:
            return mp.log(z / 2 + 1)
        if alpha == -mp.inf:
            return 1 - mp.exp(-z / 2)
        b = abs(alpha - 2)
        return b / alpha * ((z / b + 1) ** (alpha / 2) - 1)

    value = rho(((x - t) / scale) ** 2)
    if not nll:
        return value
    known = {0: mp.pi * mp.sqrt(2), 2: mp.sqrt(2 * mp.pi)}  # Cauchy's and the normal distribution's
    mass = known[int(alpha)] if alpha in known else 2 * mp.quad(lambda r: mp.exp(-rho(r**2)), [0, 1, 10, mp.inf])
    return value + mp.log(scale) + mp.log(mass)


@loss(
    textbook=textbook,
    module="BarronLoss",
    task="regression",
    formula="b/alpha ((r^2 / b + 1)^(alpha/2) - 1),  r = (x - t) / scale,  b = |alpha - 2|\nalpha = 2: r^2 / 2    alpha = 0: log(r^2 / 2 + 1)    alpha = -inf: 1 - exp(-r^2 / 2)\nnll=True: + log scale + log Z(alpha)",
    arguments=(
        *(
            {"alpha": a, "scale": s}
            for a, s in ((1.0, 1.0), (2.0, 0.5), (0.0, 1.0), (-math.inf, 1.0), (-2.0, 0.3), (1.5, 2.0), (0.3, 1.0), (1e-6, 1.0), (-1e4, 1.0))
        ),
        {"alpha": 0.0, "scale": 2.0, "nll": True},
    ),
    tolerance=1e-5,
    chinese="""
    Barron 通用稳健损失：用一个形状参数 alpha 连接 L2(2)、Charbonnier(1)、Cauchy(0)、Geman-McClure(-2)、Welsch（负无穷）；输入与目标均为实数。
    何时用：离群值多少未知，想把"稳健程度"当作一个可调的旋钮时；scale 取正常误差的大小。
    alpha 与 scale 也可以是张量（整体一个、按类别、按样本或逐元素），并可求梯度；要从数据中学习它们，请用 nll=True（负对数似然，alpha 取 0 到 2）。
    边界：alpha < 0 时损失有上界，很大的误差几乎没有梯度，初始预测太远会学不动；0 与 2 处按极限计算。
    """,
)
def barron_loss(
    input: Tensor,
    target: Tensor,
    *,
    alpha: float | Numbers = 1.0,
    scale: float | Numbers = 1.0,
    nll: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Barron's general robust loss between real values `input` and `target`: `alpha` sets how much outliers count, and both it and `scale` can be learned.

    Formula:
        b/alpha ((r^2/b + 1)^(alpha/2) - 1), with r = (x - t)/scale and b = |alpha - 2|; its limits r^2/2 at alpha = 2, log(r^2/2 + 1) at 0 and
        1 - exp(-r^2/2) at -inf. Derivative r/scale (r^2/b + 1)^(alpha/2 - 1). With nll=True plus log(scale) + log Z(alpha), where Z is the integral of
        exp(-loss) over every r: the negative log-likelihood of the target.

    Args:
        input: predictions x, any shape, any real value.
        target: targets t, the same shape.
        alpha: shape, any real number or -inf. 2: L2; 1: Charbonnier (pseudo-Huber); 0: Cauchy; -2: Geman-McClure; -inf: Welsch.
            Or a tensor from -10 to 4, with or without a gradient, that broadcasts to the input (one number in all, per item or per element; a vector (C,)
            has one per class). A list becomes such a tensor.
        scale: size of an ordinary error, > 0, in the units of the target; near 0 every member is (x - t)^2 / (2 scale^2). A number, or a tensor likewise;
            beside a tensor, `alpha` as a number keeps to -10 to 4, too.
        nll: True gives the negative log-likelihood, for which alpha is from 0 to 2. A learned `alpha` or `scale` needs it: without, the loss only falls as alpha falls or
            scale grows. At most 4,096 numbers of alpha, each of which costs an integral.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf), bounded by b / |alpha| for alpha < 0. With nll=True any real value.

    Raises:
        TypeError: `input` is not floating point, `alpha` or `scale` is neither a number nor a tensor of real numbers. ValueError: `scale` <= 0, `alpha` is NaN, +inf or, as a
        tensor or with nll=True, out of its range, shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        When the share of outliers is unknown and robustness should be adjustable, or learned with the model: give 2 * torch.sigmoid(a) and
        torch.nn.functional.softplus(s) of free parameters a and s, with nll=True.

    Edge cases:
        For alpha < 1 the gradient of large errors shrinks as they grow, and for alpha < 0 it all but vanishes: start near the data or with a larger alpha.
        At alpha = 2 the derivative by alpha is infinite: a large number stands for it.

    Differs from torch:
        torch has none of the family but L2.

    Reference:
        Barron, A General and Adaptive Robust Loss Function, 2019.

    Example:
        >>> import torch
        >>> barron_loss(torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0]), alpha=0.0, reduction="none")
        tensor([1.7047, 0.0000])
    """
    checks.flag("nll", nll)
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    if checks.is_tensor_or_list("alpha", alpha) | checks.is_tensor_or_list("scale", scale) | nll:
        return learned(input, target, alpha, scale, nll, how)
    scale = checks.number("scale", scale, above=0.0)  # type: ignore[arg-type]
    alpha = checks.number("alpha", alpha, below=math.inf, infinite=True)  # type: ignore[arg-type]
    form, params = member(alpha, scale)
    return elementwise(form, input, target, params, **how)


def learned(input: Tensor, target: Tensor, alpha: float | Numbers, scale: float | Numbers, nll: bool, how: dict[str, Any]) -> Tensor:
    """With alpha and scale as operands."""
    checks.pair(input, target)
    low, high = (0.0, 2.0) if nll else (-10.0, 4.0)
    if not checks.is_tensor_or_list("alpha", alpha):
        alpha = checks.number("alpha", alpha, low=low, high=high)  # type: ignore[arg-type]
    if not checks.is_tensor_or_list("scale", scale):
        scale = checks.number("scale", scale, above=0.0)  # type: ignore[arg-type]
    operands = (
        Operand("alpha", alpha, "from 0 to 2" if nll else "from -10 to 4", weight=not isinstance(alpha, float)),
        Operand("scale", scale, "> 0", weight=not isinstance(scale, float)),
    )
    if not nll:
        return elementwise(adaptive.formula, input, target, (), operands=operands, **how)
    each = torch.tensor(alpha, dtype=torch.float64, device=input.device) if isinstance(alpha, float) else labels.class_vector("alpha", alpha, input)
    constant = Operand("alpha", adaptive.log_partition(each))
    return elementwise(adaptive.likelihood, input, target, (), operands=(*operands, constant), **how)


def member(alpha: float, scale: float) -> tuple[Callable[..., Any], tuple[float, ...]]:
    """The formula for a shape, and its parameters; very near a limit, the limit's. The family's named losses take theirs from here."""
    if alpha == 2.0:
        return quadratic, (1.0 / scale,)
    if abs(alpha) < 1e-16:
        return cauchy, (1.0 / (scale * math.sqrt(2.0)), math.sqrt(2.0) / scale)
    if alpha == -2.0:
        return geman_mcclure, (0.5 / scale, 2.0 / scale)
    if alpha < -1e10:
        return welsch, (1.0 / scale,)
    b = abs(alpha - 2.0)
    return formula, (1.0 / (scale * math.sqrt(b)), b / alpha, alpha / 4.0, math.sqrt(b) / scale, (alpha - 1.0) / 2.0)
