"""What Stirling's formula leaves of log-gamma and digamma, and differences of it, without a subtraction of large numbers: formulas that losses share.

log Gamma(z) = (z - 1/2) log z - z + log(2 pi) / 2 + rest(z), with rest(z) = y p(y^2) and digamma(z) = log z - y / 2 - y^2 q(y^2), y = 1 / z. The polynomials
p and q are interpolated at Chebyshev's nodes for z from 4, to the digits of float64; below 4 the recurrence of gamma leads there.
"""

from losskit.engines.language import log1p, log_floored, minimum, reciprocal, where
from losskit.losses.regression.gaussian_nll import log_of


def log_to_infinity(v):
    """log v, v >= 0; infinite for what is."""
    return where(v - v == 0.0, log_of(v, reciprocal(v)), v)


def tail(z):
    """(atanh(w) - w) / w^3 for z = w^2 up to 1/9."""
    high = 0.09091130554209872 + z * (0.07686637438179 + z * (0.06751171235878553 + z * (0.051613346352495246 + z * 0.0843535033054864)))
    return 0.33333333333333487 + z * (0.19999999999780063 + z * (0.14285714338330496 + z * (0.11111106278964857 + z * high)))


def above_share(a, log):
    """log(1 + a) - a / (1 + a), a >= 0, where `log` is log(1 + a)."""
    c = minimum(a, 1.0)
    w = c / (2.0 + c)
    return where(a < 1.0, c * w / (1.0 + c) + 2.0 * w * w * w * tail(w * w), log - 1.0 + 1.0 / (1.0 + a))


def below_line(a, log):
    """a - log(1 + a), likewise."""
    c = minimum(a, 1.0)
    w = c / (2.0 + c)
    return where(a < 1.0, c * w - 2.0 * w * w * w * tail(w * w), a - log)


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


def horner(c, f, g, level, other):
    """Horner's rule at `level`, and beside it for the divided difference between `level` and `other`."""
    return c + f * level, f + g * other


def rests(level, other):
    """p at `level` and its divided difference to `other`."""
    f, g = horner(0.036867391143848904, 0.0 * level, 0.0 * level, level, other)
    f, g = horner(-0.018529842349181265, f, g, level, other)
    f, g = horner(0.005842830219791369, f, g, level, other)
    f, g = horner(-0.0018988790775828657, f, g, level, other)
    f, g = horner(0.0008413741438814652, f, g, level, other)
    f, g = horner(-0.0005952337085914213, f, g, level, other)
    f, g = horner(0.0007936507676291937, f, g, level, other)
    f, g = horner(-0.0027777777777176055, f, g, level, other)
    return horner(0.08333333333333331, f, g, level, other)


def slopes(level, other):
    """q at `level` and its divided difference to `other`."""
    f, g = horner(-2.7632461440862492, 0.0 * level, 0.0 * level, level, other)
    f, g = horner(1.3176677498695593, f, g, level, other)
    f, g = horner(-0.34875835555351864, f, g, level, other)
    f, g = horner(0.07978585893774315, f, g, level, other)
    f, g = horner(-0.021004729764293822, f, g, level, other)
    f, g = horner(0.0075743763145022175, f, g, level, other)
    f, g = horner(-0.004166653932895407, f, g, level, other)
    f, g = horner(0.003968253907681641, f, g, level, other)
    f, g = horner(-0.00833333333322018, f, g, level, other)
    return horner(0.0833333333333333, f, g, level, other)


def rest(z):
    """log Gamma(z) - (z - 1/2) log z + z - log(2 pi) / 2, z > 0."""
    small = z < 4.0
    y = 1.0 / where(small, z + 4.0, z)
    p, _ = rests(y * y, y * y)
    c = minimum(z, 4.0)
    whole = c + 4.0
    bounded = whole / (c + 1.0) * (whole / (c + 2.0)) * (whole / (c + 3.0))
    return y * p + where(small, (c + 0.5) * log1p(4.0 / c) + log1p(bounded - 1.0) - 4.0, 0.0)


def lag(z):
    """digamma(z) - log z, z > 0."""
    small = z < 4.0
    y = 1.0 / where(small, z + 4.0, z)
    q, _ = slopes(y * y, y * y)
    c = minimum(z, 4.0)
    near = log1p(4.0 / c) - (1.0 / c + 1.0 / (c + 1.0) + (1.0 / (c + 2.0) + 1.0 / (c + 3.0)))
    return where(small, near, 0.0) - y * (0.5 + y * q)


def rise(t, r):
    """rest(t + r) - rest(r), and r (digamma(t + r) - digamma(r) - log(1 + t / r)), for t >= 0 and r > 0: to their digits for tiny t and for large r."""
    small = r < 4.0
    shift = where(small, 4.0, 0.0)
    low = r + shift
    high = low + t
    y, z = 1.0 / low, 1.0 / high
    step = t * y * z  # y - z
    p, by_p = rests(z * z, y * y)
    q, by_q = slopes(z * z, y * y)
    share = t / high
    log = log1p(shift * share / r)
    c = where(small, r, 4.0)
    w = where(small, share, 0.0)
    a, b, d = 3.0 * w / (c + 1.0), 2.0 * w / (c + 2.0), w / (c + 3.0)
    ab = a + b + a * b
    near = t * log1p(shift / (t + r)) - (r + 0.5) * log - log1p(ab + d + ab * d)
    v = where(small, t, 0.0)
    terms = v / ((c + 1.0) * (c + 1.0 + v)) + (v / ((c + 2.0) * (c + 2.0 + v)) + v / ((c + 3.0) * (c + 3.0 + v)))
    terms = terms + v / (v + c) / c
    by_r = t * z * (y * r) * ((y + z) * (q + y * y * by_q) + 0.5) + r * (terms - log)
    return near - step * (p + y * (y + z) * by_p), by_r


def excess(t):
    """log Gamma(1 + t) + t - t log t, t >= 0: what is left of log t! by the powers of t."""
    level, _ = rise(t, 1.0 + 0.0 * t)
    low = t < 1.0
    inverse = reciprocal(t)
    log = log1p(t)
    return t * where(low, log - log_floored(where(low, t, 1.0)), log1p(where(low, 0.0, inverse))) + 0.5 * log + level
