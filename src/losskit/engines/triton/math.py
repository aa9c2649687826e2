"""The formula language for Triton.

float32: exponentials by the hardware's 2**h, whose result is then corrected by what the rounding of h lost: of exp(-80) that is a digit. What is smaller than the
smallest normal number, 1.2e-38, may come out as 0. Where digits near 0 matter, expm1 and log1p, the same polynomials as on the CPU. float64: the vendors' exp and
log, made exact to rounding near 0 by the tricks of Kahan and Goldberg.

A function asks the dtype of its argument while it is being compiled, so one table serves both precisions. Every primitive is a jit function of its own:
the interpreter patches `tl` in each function it calls, and only there.
"""

from typing import Any

import triton
import triton.language as tl
from triton.language.extra import libdevice

from losskit.engines.dispatch import interpreted
from losskit.engines.language import ROUNDING

LOG2_E, LN2_HIGH, LN2_LOW = tl.constexpr(1.44269504), tl.constexpr(0.693359375), tl.constexpr(-2.12194440e-4)
LN2_FIRST, LN2_LAST = tl.constexpr(0.6931471824645996), tl.constexpr(-1.904654323148236e-9)  # of float32 the nearest, and the rest
MAGIC, MAGIC_BITS = tl.constexpr(12582912.0), tl.constexpr(0x4B400000)  # 1.5 * 2**23: adding it rounds to an integer
SQRT_HALF_BITS, MANTISSA = tl.constexpr(0x3F3504F3), tl.constexpr(0x7FFFFF)
INF = tl.constexpr(float("inf"))
EXACT = tl.constexpr(interpreted())  # the interpreter has none of the vendors' functions
EDGE = tl.constexpr(0.5 + ROUNDING)
SMALLEST, LOG_SMALLEST, NORMAL = tl.constexpr(2.0**-149), tl.constexpr(-103.27892990343184), tl.constexpr(2.0**-126)
SMALLEST_64, LOG_SMALLEST_64 = tl.constexpr(2.0**-1074), tl.constexpr(-744.4400719213812)
LARGEST, LARGEST_64 = tl.constexpr(3.4028234663852886e38), tl.constexpr(1.7976931348623157e308)
HALF_PI_HIGH, HALF_PI_LOW = tl.constexpr(1.5707963705062866), tl.constexpr(-4.371138828673793e-8)
QUARTER_1, QUARTER_2, QUARTER_3 = tl.constexpr(1.5703125), tl.constexpr(4.837512969970703e-4), tl.constexpr(7.549789954891882e-8)  # pi / 2
HALF_PI_HIGH_64, HALF_PI_LOW_64, EIGHTH = tl.constexpr(1.5707963267948966), tl.constexpr(6.123233995736766e-17), tl.constexpr(0.41421356237309503)


@triton.jit
def where(condition, a, b):
    return tl.where(condition, a, b)


@triton.jit
def absolute(x):
    return tl.abs(x)


@triton.jit
def sign(x):
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, x * 0.0))


@triton.jit
def minimum(a, b):
    return tl.where(a > b, b, a) if a.dtype == tl.float64 else tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)  # which holds numbers in float32


@triton.jit
def maximum(a, b):
    return tl.where(a < b, b, a) if a.dtype == tl.float64 else tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def sqrt(x):
    return tl.sqrt(x) if x.dtype == tl.float64 else tl.sqrt_rn(x)  # the former is an approximation in float32, which takes the smallest numbers for 0


@triton.jit
def reciprocal(p):
    largest = LARGEST_64 if p.dtype == tl.float64 else LARGEST
    q = 1.0 / p
    return tl.where((p == 0.0) | (q > largest), largest, q)


@triton.jit
def inverse(x):
    """1 / x in float32, by the GPU's own inverse: as exact as its division at a fraction of the cost, but 0 beyond 2**126, and infinite below 2**-126."""
    return 1.0 / x if EXACT else libdevice.fast_dividef(1.0, x)


@triton.jit
def one_over(x):
    return 1.0 / x if x.dtype == tl.float64 else 0.25 * inverse(0.25 * x)


@triton.jit
def unit(p):
    return tl.where(tl.abs(p - 0.5) <= EDGE, tl.minimum(tl.maximum(p, 0.0), 1.0), float("nan"))


@triton.jit
def positive(x):
    return tl.where(x > 0.0, x, float("nan"))


@triton.jit
def non_negative(x):
    return tl.where(x >= 0.0, x, float("nan"))


@triton.jit
def from_bits(i):
    return i.to(tl.float32, bitcast=True)


@triton.jit
def expm1_core(g):
    """expm1 for |g| <= log(2) / 2, relative error 1.4e-8 before rounding."""
    g2 = g * g
    q = (0.500000006227133 + g * 0.16666542545953006) + g2 * ((0.04166628063811025 + g * 0.00836664391888989) + g2 * 0.0013946553953622096)
    return g + g2 * q


@triton.jit
def reduced(x):
    """x = n log(2) + g, n an integer: (n, g)."""
    r = x * LOG2_E + MAGIC
    n = r.to(tl.int32, bitcast=True) - MAGIC_BITS
    r = r - MAGIC
    return n, (x - r * LN2_HIGH) - r * LN2_LOW


@triton.jit
def log1p_core(f):
    """log(1 + f) for f from -0.5 to 1 as 2 atanh(f / (2 + f)), relative error 5e-9 before rounding."""
    s = f * inverse(2.0 + f)
    z = s * s
    p = (0.33333206566331963 + z * 0.2001084953063875) + z * z * (0.13999570523920246 + z * 0.14012229485511032)
    s = s + s
    return s + s * (z * p)


@triton.jit
def log_positive(x, exponent):
    """log(x) + exponent * log(2), x a positive normal number."""
    i = x.to(tl.int32, bitcast=True) - SQRT_HALF_BITS
    e = (i >> 23).to(tl.float32) + exponent
    f = from_bits((i & MANTISSA) + SQRT_HALF_BITS) - 1.0
    return e * LN2_HIGH + (e * LN2_LOW + log1p_core(f))


@triton.jit
def power_of_two(h, x):
    """exp(x) for h, x / log(2) rounded: 2**h, and what the rounding took from x."""
    lost = tl.fma(h, -LN2_LAST, tl.fma(h, -LN2_FIRST, x))
    e = tl.exp2(h)
    return e, lost


@triton.jit
def exp_neg(a):
    if a.dtype == tl.float64:
        value = tl.exp(-a)
    else:
        x = -tl.minimum(a, 104.0, propagate_nan=tl.PropagateNan.ALL)
        e, lost = power_of_two(x * LOG2_E, x)
        value = tl.fma(e, lost, e)
    return value


@triton.jit
def exp(x):
    if x.dtype == tl.float64:
        value = tl.exp(x)
    else:
        x = tl.maximum(tl.minimum(x, 89.0, propagate_nan=tl.PropagateNan.ALL), -104.0, propagate_nan=tl.PropagateNan.ALL)
        e, lost = power_of_two(x * LOG2_E, x)
        value = tl.where(e < INF, tl.fma(e, lost, e), e)
    return value


@triton.jit
def expm1(x):
    if x.dtype == tl.float64:
        u = tl.exp(x)
        rest = u - 1.0
        ratio = x / tl.log(u)  # how much of x survived the rounding of u (Kahan)
        value = tl.where(u == 1.0, x, tl.where(rest == -1.0, -1.0, tl.where(u < INF, rest * ratio, u)))
    else:
        n, g = reduced(tl.where(x < -18.0, -18.0, tl.where(x > 89.0, 89.0, x)))
        h = from_bits((n + 126) << 23)  # half of 2**n, so that x = 88.7 does not overflow on the way
        value = 2.0 * (h * expm1_core(g) + (h - 0.5))
    return value


@triton.jit
def exp_product(a, b):
    h = a * b  # rounded in all its uses: the clamp in `exp` keeps the compiler from fusing this product into what follows
    e = exp(h)
    return tl.where((h > -1e30) & (e < INF), e + e * tl.fma(a, b, -h), e)


@triton.jit
def expm1_product(a, b):
    h = a * b
    e = expm1(h)
    return tl.where((h > -1e30) & (e < INF), e + (e + 1.0) * tl.fma(a, b, -h), e)


@triton.jit
def log1p(u):
    x = 1.0 + u
    if u.dtype == tl.float64:
        value = tl.where(x == 1.0, u, tl.log(x) * (u / (x - 1.0)))  # Goldberg
        value = tl.where(u > -1.0, value, LOG_SMALLEST_64)  # not by way of a local variable, which would hold the constant in float32
    else:
        value = log_positive(x, 0.0) + (u - (x - 1.0)) * inverse(x)  # beyond 2**126 it is too little to be seen
        value = tl.where(u > -1.0, value, LOG_SMALLEST)
    return tl.where(tl.abs(u) < INF, value, u)


@triton.jit
def log1p_unit(u):
    return log1p(u) if u.dtype == tl.float64 else log1p_core(u)


@triton.jit
def log_floored(p):
    if p.dtype == tl.float64:
        value = tl.log(tl.where(p < SMALLEST_64, SMALLEST_64, p))
    else:
        x = tl.where(p < SMALLEST, SMALLEST, p)
        small = x < NORMAL
        value = log_positive(tl.where(small, x * 33554432.0, x), tl.where(small, -25.0, 0.0))
        value = tl.where(p < INF, value, p)
    return value


@triton.jit
def log1m_floored(p):
    return log1p(-p)


@triton.jit
def atan_core(r):
    """atan(r) for r from 0 to 1, relative error 2.4e-9 before rounding."""
    z = r * r
    z2 = z * z
    low = (-0.3333328364164552 + z * 0.19998266040189627) + z2 * (-0.1426193309190256 + z * 0.10942030591506761)
    high = (-0.08377315220597625 + z * 0.057552097892387466) + z2 * (-0.030804592837782703 + z * 0.010726941686201483)
    z4 = z2 * z2
    return r + r * (z * (low + z4 * (high + z4 * -0.0017539296103853538)))


@triton.jit
def atan_core_64(r):
    """atan(r) for |r| <= tan(pi / 8), relative error 6e-18 before rounding."""
    z = r * r
    q = -0.05084610777582189 + z * (0.0392074453205456 + z * -0.01914726376323698)
    q = -0.09090904521500148 + z * (0.07692181876696624 + z * (-0.06664492955081326 + z * (0.058579884306572266 + z * q)))
    q = -0.3333333333333333 + z * (0.19999999999995438 + z * (-0.1428571428464918 + z * (0.1111111101386139 + z * q)))
    return r + r * (z * q)


@triton.jit
def atan2(y, x):
    steep = y > x
    small = tl.where(steep, x, y)
    large = tl.where(steep, y, x)
    large = tl.where(large == 0.0, 1.0, large)
    if y.dtype == tl.float64:
        wide = small > EIGHTH * large  # above pi / 8: pi / 4 and the angle from there
        angle = atan_core_64(tl.where(wide, small - large, small) / tl.where(wide, small + large, large))
        angle = tl.where(wide, 0.5 * HALF_PI_HIGH_64 + (angle + 0.5 * HALF_PI_LOW_64), angle)
        value = tl.where(steep, HALF_PI_HIGH_64 - (angle - HALF_PI_LOW_64), angle)
    else:
        angle = atan_core(small / large)
        value = tl.where(steep, HALF_PI_HIGH - (angle - HALF_PI_LOW), angle)
    return value


@triton.jit
def of_quarter(x, more: tl.constexpr):  # type: ignore[no-untyped-def]  # typed by Triton
    """The sine of x and so many quarters of a turn, as on the CPU."""
    r = x * 0.63661975 + MAGIC
    n = r.to(tl.int32, bitcast=True) - MAGIC_BITS + more
    r = r - MAGIC
    g = ((x - r * QUARTER_1) - r * QUARTER_2) - r * QUARTER_3
    g = tl.where(g > 1.0, 1.0, tl.where(g < -1.0, -1.0, g))
    z = g * g
    s = g + g * z * (-0.16666654611 + z * (8.3321608736e-3 + z * -1.9515295891e-4))
    c = (1.0 - 0.5 * z) + z * z * (0.041666645683 + z * (-1.3887316255e-3 + z * 2.4433157118e-5))
    value = tl.where((n & 1) != 0, c, s)
    return tl.where((n & 2) != 0, -value, value)


@triton.jit
def sine(x):
    return tl.sin(x) if x.dtype == tl.float64 else of_quarter(x, 0)


@triton.jit
def cosine(x):
    return tl.cos(x) if x.dtype == tl.float64 else of_quarter(x, 1)


NAMES: dict[str, Any] = {
    "tl": tl,
    "where": where,
    "absolute": absolute,
    "sign": sign,
    "minimum": minimum,
    "maximum": maximum,
    "sqrt": sqrt,
    "reciprocal": reciprocal,
    "one_over": one_over,
    "unit": unit,
    "positive": positive,
    "non_negative": non_negative,
    "exp": exp,
    "exp_neg": exp_neg,
    "expm1": expm1,
    "exp_product": exp_product,
    "expm1_product": expm1_product,
    "atan2": atan2,
    "sine": sine,
    "cosine": cosine,
    "log1p": log1p,
    "log1p_unit": log1p_unit,
    "log_floored": log_floored,
    "log1m_floored": log1m_floored,
}
