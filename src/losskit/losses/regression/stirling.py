"""What Stirling's formula leaves of log-gamma, and differences of it, without a subtraction of large numbers: formulas that losses of this folder share.

Polynomials are interpolated at Chebyshev's nodes, to the digits of float64; below 4 the recurrence of gamma leads to them.
"""

from losskit.engines.language import log_floored, minimum, where


def tail(z):
    """(atanh(w) - w) / w^3 for z = w^2 up to 1/9."""
    high = 0.09091130554209872 + z * (0.07686637438179 + z * (0.06751171235878553 + z * (0.051613346352495246 + z * 0.0843535033054864)))
    return 0.33333333333333487 + z * (0.19999999999780063 + z * (0.14285714338330496 + z * (0.11111106278964857 + z * high)))


def above_share(a, log):
    """log(1 + a) - a / (1 + a), a >= 0, where `log` is log(1 + a)."""
    c = minimum(a, 1.0)
    w = c / (2.0 + c)
    return where(a < 1.0, c * w / (1.0 + c) + 2.0 * w * w * w * tail(w * w), log - 1.0 + 1.0 / (1.0 + a))


def half_step(h):
    """log Gamma(h + 1/2) - log Gamma(h) - log(h) / 2, and its derivative by h: both tend to 0 for large h."""
    small = h < 4.0
    y = 1.0 / where(small, h + 4.0, h)
    s = y * y
    high = 0.001681104245632405 + s * (-0.0037968219798454822 + s * (0.011684881225464175 + s * (-0.03705883805708576 + s * 0.07373394293568537)))
    level = 0.12499999999999996 + s * (-0.005208333333212989 + s * (0.00156249994795698 + s * (-0.0011858171195935708 + s * high)))
    high = 0.15956155364759209 + s * (-0.6975033800518057 + s * (2.6353151069183425 + s * -5.5264679036368305))
    high = -0.008300755782491938 + s * (0.015133956231120465 + s * (-0.04199916053304427 + s * high))
    slope = 0.12499999999999993 + s * (-0.015624999999773693 + s * (0.007812499878855513 + s * high))
    c = minimum(h, 4.0)
    whole = (c + 1.0) * (c + 2.0) * (c + 3.0)
    halves = (c + 0.5) * (c + 1.5) * (c + 2.5) * (c + 3.5)
    ratio = c * (c + 4.0) * whole * whole / (halves * halves)
    near = 1.0 / (c * (c + 0.5) * (c + 1.0)) + 1.0 / ((c + 1.0) * (c + 1.5) * (c + 2.0))
    near = near + (1.0 / ((c + 2.0) * (c + 2.5) * (c + 3.0)) + 1.0 / ((c + 3.0) * (c + 3.5) * (c + 4.0)))
    return where(small, 0.5 * log_floored(ratio), 0.0) - y * level, where(small, 0.25 * near, 0.0) + s * slope
