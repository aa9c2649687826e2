"""Barron's family where alpha and scale are tensors: one formula for every alpha, with derivatives by both; and the constant that makes a density of it."""

import math

import torch
from torch import Tensor

from losskit.contract.checks import shown
from losskit.contract.elementwise import Operand, elementwise
from losskit.engines.language import absolute, expm1_product, log1p, log_floored, maximum, minimum, non_negative, positive, sqrt, where

NODES = 593  # of the quadrature: log x from -37 to 37 in steps of 1/8
MOST = 4096  # numbers of alpha in one call that the constant is computed for


def step(c, f, g, level, power):
    """Horner's rule for a polynomial at `level`, and beside it for the divided difference between `level` and `power`."""
    f = c + f * level
    return f, f + g * power


def difference(level, power):
    """The sum over n of (-1)^n h_n / (n + 3)!, with h_n = sum_k level^k power^(n - k): 16 terms, for numbers up to 1."""
    f, g = step(-1.0 / 6402373705728000.0, 0.0 * level, 0.0 * level, level, power)
    f, g = step(1.0 / 355687428096000.0, f, g, level, power)
    f, g = step(-1.0 / 20922789888000.0, f, g, level, power)
    f, g = step(1.0 / 1307674368000.0, f, g, level, power)
    f, g = step(-1.0 / 87178291200.0, f, g, level, power)
    f, g = step(1.0 / 6227020800.0, f, g, level, power)
    f, g = step(-1.0 / 479001600.0, f, g, level, power)
    f, g = step(1.0 / 39916800.0, f, g, level, power)
    f, g = step(-1.0 / 3628800.0, f, g, level, power)
    f, g = step(1.0 / 362880.0, f, g, level, power)
    f, g = step(-1.0 / 40320.0, f, g, level, power)
    f, g = step(1.0 / 5040.0, f, g, level, power)
    f, g = step(-1.0 / 720.0, f, g, level, power)
    f, g = step(1.0 / 120.0, f, g, level, power)
    f, g = step(-1.0 / 24.0, f, g, level, power)
    f, g = step(1.0 / 6.0, f, g, level, power)
    return g


def excess(y):
    """(1 + (y - 1) e^y) / y^2 for |y| up to 1/8."""
    high = 1.0 / 144.0 + y * (1.0 / 840.0 + y * (1.0 / 5760.0 + y * (1.0 / 45360.0 + y * (1.0 / 403200.0 + y * (1.0 / 3991680.0)))))
    return 0.5 + y * (1.0 / 3.0 + y * (0.125 + y * (1.0 / 30.0 + y * high)))


def size(r, alpha, scale):
    """Of a residual: its size, the divisor b and its root, whether the square may overflow, the square of u / root, and of what the logarithm is taken."""
    u = absolute(r) / scale
    b = maximum(absolute(alpha - 2.0), 1e-16)  # at alpha = 2 the true derivative by alpha is infinite
    root = sqrt(b)
    far = u > 1e18 * root  # then the logarithm of the number itself, divided by 1e9
    near = minimum(u / root, 1e18)
    square = near * near
    return u, b, root, far, square, where(far, u * 1e-9 / root - 1.0, square)


def member(log, r, alpha, scale):
    """Value and derivatives by r, alpha and scale, given the logarithm.

    With b = |alpha - 2|, u = |r| / scale, level = log(1 + u^2 / b), power = alpha level / 2 and rest = (2 - alpha) / 2, the value is
    b / alpha expm1(power) and the slope u / scale exp(-rest level). The derivative by alpha has three forms, each where it does not cancel.
    """
    u, b, root, far, square, above = size(r, alpha, scale)
    rest = 0.5 * (2.0 - alpha)
    steep = alpha > 1.0
    from_1 = maximum(alpha, 1.0)
    whole_level = where(far, 2.0 * log + 41.44653167389282, log)
    level = minimum(whole_level, 1e4)  # finite for an infinite u
    power = 0.5 * alpha * level
    exponent = where(steep, -0.5 * rest, 0.25 * alpha)
    rising = exponent > 0.0
    grown = expm1_product(absolute(exponent), level)
    up = 1.0 + grown
    down = 1.0 / up
    root_growth = where(rising, up, down)  # exp(exponent level)
    half = where(rising, grown, where(grown > 1.0, down - 1.0, -grown * down))  # root_growth - 1
    growth = root_growth * root_growth  # exp(-rest level) if steep, else exp(power)
    whole = half * (half + 2.0)  # growth - 1

    inverse = 1.0 / (1.0 + above)  # the logarithm has this division, too: the compiler makes one of both
    left = where(far, 0.0, inverse)  # exp(-level)
    lost = where(far, 1.0, square * left)
    share = where(steep, u, where(far, 1e-9 * root * inverse, u * left))
    pull = share * root_growth * root_growth / scale
    energy = where(steep, (u * root_growth) * (u * root_growth), b * lost * growth)  # u^2 exp(-rest level)
    limit = absolute(power) < 1e-30  # alpha = 0, or no error
    over_power = 1.0 / where(limit, 1.0, power)
    flat_value = 0.5 * b * where(limit, whole_level, level * whole * over_power)
    value = where(u < 1e-9, 0.5 * u * u, where(steep, (energy + b * whole) / from_1, flat_value))

    low = minimum(level, 1.0)
    series = where(steep, 1.0 + minimum(square, 2.0), 1.0) * growth * difference(low, maximum(minimum(power, 1.0), -1.0))
    series = 0.25 * b * low * low * low * series

    shrunk = minimum(where(rising, down, up), 1e15)  # 1 / root_growth
    lost_growth = left * shrunk * shrunk
    d = rest * level
    same = absolute(d) < 1e-30
    mean = where(same, left, -lost_growth * whole / where(same, 1.0, d))
    bracket = (2.0 + alpha) / (from_1 * from_1) * (lost_growth - 1.0 + power) + 0.5 * level * (mean - 1.0)
    steep_part = 0.5 * (b * growth + energy) * bracket

    small = absolute(power) < 0.125
    numerator = where(absolute(power) < 1.0, power + (power - 1.0) * whole, 1.0 + (power - 1.0) * growth)
    first = where(small, excess(where(small, power, 0.0)), numerator * over_power * over_power)
    flat_part = 0.5 * (level * level * first - growth * (level - lost))

    otherwise = where(steep, steep_part, flat_part)
    by_alpha = where(level < 1.0, where(absolute(power) < 1.0, series, otherwise), otherwise)
    return value, where(r > 0.0, pull, -pull), by_alpha, -energy / scale


def argument(r, alpha, scale):
    """Of what the logarithm is taken."""
    _, _, _, _, _, above = size(r, alpha, scale)
    return above


def formula(x, t, alpha, scale):
    """alpha from -10 to 4."""
    alpha = where(absolute(alpha + 3.0) <= 7.0, alpha, non_negative(-absolute(alpha)))
    log = log1p(argument(x - t, alpha, positive(scale)))
    value, slope, by_alpha, by_scale = member(log, x - t, alpha, positive(scale))
    return value, slope, -slope, by_alpha, by_scale


def likelihood(x, t, alpha, scale, constant):
    """alpha from 0 to 2; the constant is log Z(alpha)."""
    alpha = where(absolute(alpha - 1.0) <= 1.0, alpha, non_negative(-absolute(alpha)))
    log = log1p(argument(x - t, alpha, positive(scale)))
    value, slope, by_alpha, by_scale = member(log, x - t, alpha, positive(scale))
    return value + log_floored(scale) + constant, slope, -slope, by_alpha, by_scale + 1.0 / scale, 1.0


def log_partition(alpha: Tensor) -> Tensor:
    """log Z, the logarithm of the integral of exp(-loss) over every residual at scale 1, for alpha from 0 to 2: of alpha's shape, in float64, with its graph.

    The trapezoidal rule in log x, exact to rounding; what lies outside the range, or is NaN, is for others to find.
    """
    if alpha.numel() > MOST:
        raise ValueError(
            f"alpha has shape {shown(alpha.shape)}, but nll=True integrates the density of each alpha: give at most {MOST} numbers, or leave nll=False"
        )
    inside = torch.nan_to_num(alpha.double(), nan=1.0).clamp(0.0, 2.0).unsqueeze(-1)
    places = torch.linspace(-37.0, 37.0, NODES, dtype=torch.float64, device=alpha.device)
    x = places.exp().expand(*alpha.shape, NODES)
    operands = (Operand("alpha", inside), Operand("scale", 1.0))
    each = elementwise(formula, x, torch.zeros_like(x), (), operands=operands, mask=None, sample_weight=None, normalizer=None, reduction="none")
    return math.log(0.25) + torch.logsumexp(places - each, -1)
