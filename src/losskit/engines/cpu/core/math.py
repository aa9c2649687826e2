"""The formula language for Numba: float32 versions that vectorise, float64 ones from the C library.

A call into the C library stops the vectoriser (20 times slower), hence the polynomials; their coefficients come from a Remez fit of the relative error.
Fast-math flags: `contract`, `nsz` and `arcp` only. With `reassoc` the compiler folds the round-to-nearest trick of `exp` away and results are
wrong by percents; with `nnan` or `ninf` it may assume away the very cases the formulas take care of.
Polynomials stand in Estrin's form, which shortens the chain of dependent operations that Horner's makes.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from losskit.engines.language import ROUNDING

f32, f64, i32 = np.float32, np.float64, np.int32
EXACT = {"contract", "nsz", "arcp"}


def inlined(flags: set[str]) -> Any:
    """Numba's compiler for the parts of a loop; no array is ever allocated, none is counted, and Python calls none of them: wrappers take a third of the time."""
    return nb.njit(fastmath=flags, error_model="numpy", forceinline=True, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)


scalar = inlined(EXACT)


def bitcast(source: Any, target: Any, llvm_type: Any) -> Any:
    """The same bits under another type."""

    @intrinsic
    def cast(typing_context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], llvm_type)

        return target(source), generate

    return cast


bits = bitcast(types.float32, types.int32, ir.IntType(32))
from_bits = bitcast(types.int32, types.float32, ir.FloatType())


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return a(a, b, c), generate


def common(real: Any) -> dict[str, Any]:
    """What reads the same in both precisions; `real` types the constants."""
    zero, one, half, edge, nan = real(0), real(1), real(0.5), real(0.5 + ROUNDING), real(math.nan)
    largest, least = real(np.finfo(real).max), real(1 / float(np.finfo(real).max))

    @scalar
    def where(condition, a, b):
        return a if condition else b

    @scalar
    def absolute(x):
        return abs(x)

    @scalar
    def sign(x):
        return one if x > zero else (-one if x < zero else x * zero)

    @scalar
    def minimum(a, b):
        return b if a > b else a

    @scalar
    def maximum(a, b):
        return b if a < b else a

    @scalar
    def sqrt(x):
        return math.sqrt(x)

    @scalar
    def reciprocal(p):
        return largest if p <= least else one / p

    @scalar
    def one_over(x):
        return one / x

    @scalar
    def unit(p):
        low = zero if zero > p else p  # each line one instruction
        clipped = one if low > one else low
        return clipped if abs(p - half) <= edge else nan

    @scalar
    def positive(x):
        return x if x > zero else nan

    @scalar
    def non_negative(x):
        return x if x >= zero else nan

    return {f.__name__: f for f in (where, absolute, sign, minimum, maximum, sqrt, reciprocal, one_over, unit, positive, non_negative)}


def products(exp: Callable[..., Any], expm1: Callable[..., Any], real: Any) -> dict[str, Any]:
    """exp and expm1 of a product, corrected by the product's own rounding error (exact by `fma`)."""
    low, high, one = real(-1e30), real(math.log(float(np.finfo(real).max)) - 0.02), real(1)  # beyond, e is infinite, or h is: nothing to correct

    @scalar
    def exp_product(a, b):
        h = a * b
        e = exp(h)
        return e + e * fma(a, b, -h) if low < h < high else e

    @scalar
    def expm1_product(a, b):
        h = a * b
        e = expm1(h)
        return e + (e + one) * fma(a, b, -h) if low < h < high else e

    return {"exp_product": exp_product, "expm1_product": expm1_product}


LOG2_E, LN2_HIGH, LN2_LOW = f32(1.44269504), f32(0.693359375), f32(-2.12194440e-4)
MAGIC, MAGIC_BITS = f32(12582912.0), i32(0x4B400000)  # 1.5 * 2**23: adding it rounds to an integer
SQRT_HALF_BITS, MANTISSA = i32(0x3F3504F3), i32(0x7FFFFF)
ZERO, ONE, TWO, HALF = f32(0), f32(1), f32(2), f32(0.5)
LOG_SMALLEST, NORMAL, SCALE_UP, SCALE_BITS = f32(-103.27893), f32(1.17549435e-38), f32(2.0**25), f32(25)
SMALLEST, SCALE_DOWN = f32(1e-45), f32(2.0**-23)
BIG = f32(3.4e38)
HALF_PI_HIGH, HALF_PI_LOW = f32(1.5707964), f32(-4.3711388e-8)
QUARTERS = f32(0.63661975)  # 2 / pi
QUARTER_1, QUARTER_2, QUARTER_3 = f32(1.5703125), f32(4.837512969970703e-4), f32(7.549789954891882e-8)  # pi / 2, in parts of few digits: products are exact


@scalar
def expm1_core(g):
    """expm1 for |g| <= log(2) / 2, relative error 1.4e-8 before rounding."""
    g2 = g * g
    q = (f32(0.500000006227133) + g * f32(0.16666542545953006)) + g2 * (
        (f32(0.04166628063811025) + g * f32(0.00836664391888989)) + g2 * f32(0.0013946553953622096)
    )
    return g + g2 * q


@scalar
def log1p_core(f):
    """log(1 + f) for f from -0.5 to 1 as 2 atanh(f / (2 + f)), relative error 5e-9 before rounding."""
    s = f / (TWO + f)
    z = s * s
    p = (f32(0.33333206566331963) + z * f32(0.2001084953063875)) + z * z * (f32(0.13999570523920246) + z * f32(0.14012229485511032))
    s = s + s
    return s + s * (z * p)


@scalar
def exp_neg(a):
    a = f32(104) if a > f32(104) else a
    r = MAGIC - a * LOG2_E
    n = bits(r) - MAGIC_BITS
    r = r - MAGIC
    g = (-a - r * LN2_HIGH) - r * LN2_LOW
    # 2**n in two steps, for results too small for a normal number: a weight may bring them back into range
    return (ONE + expm1_core(g)) * from_bits(i32((n + i32(150)) << i32(23))) * SCALE_DOWN


@scalar
def exp(x):
    x = f32(-104) if x < f32(-104) else (f32(89) if x > f32(89) else x)
    r = x * LOG2_E + MAGIC
    n = bits(r) - MAGIC_BITS
    r = r - MAGIC
    g = (x - r * LN2_HIGH) - r * LN2_LOW
    h = i32(n >> i32(1))  # in two steps: 2**128 and 2**-149 are no normal float32
    return (ONE + expm1_core(g)) * from_bits(i32((h + i32(127)) << i32(23))) * from_bits(i32((n - h + i32(127)) << i32(23)))


@scalar
def expm1(x):
    x = f32(-18) if x < f32(-18) else (f32(89) if x > f32(89) else x)
    r = x * LOG2_E + MAGIC
    n = bits(r) - MAGIC_BITS
    r = r - MAGIC
    g = (x - r * LN2_HIGH) - r * LN2_LOW
    h = from_bits(i32((n + i32(126)) << i32(23)))  # half of 2**n, so that x = 88.7 does not overflow on the way
    return TWO * (h * expm1_core(g) + (h - HALF))


@scalar
def log_positive(x, exponent):
    """log(x) + exponent * log(2), x a positive normal number."""
    i = i32(bits(x) - SQRT_HALF_BITS)
    e = f32(i32(i >> i32(23))) + exponent
    f = from_bits(i32((i & MANTISSA) + SQRT_HALF_BITS)) - ONE
    return e * LN2_HIGH + (e * LN2_LOW + log1p_core(f))


@scalar
def log1p_unit(u):
    return log1p_core(u)


@scalar
def log1p(u):
    x = ONE + u
    value = log_positive(x, ZERO) + (u - (x - ONE)) / x
    return (value if u > -ONE else LOG_SMALLEST) if abs(u) < BIG else u


@scalar
def log_floored(p):
    x = SMALLEST if p < SMALLEST else p
    small = x < NORMAL
    value = log_positive(x * SCALE_UP if small else x, -SCALE_BITS if small else ZERO)
    return value if p <= TWO else p


@scalar
def log1m_floored(p):
    return log1p(-p)


@scalar
def atan2(y, x):
    """Of the first quadrant, by the smaller over the larger: r + r^3 times a polynomial of r^2, relative error 2.4e-9 before rounding."""
    steep = y > x
    small, large = (x, y) if steep else (y, x)
    r = small / (ONE if large == ZERO else large)  # NaN stays NaN
    z = r * r
    z2 = z * z
    low = (f32(-0.3333328364164552) + z * f32(0.19998266040189627)) + z2 * (f32(-0.1426193309190256) + z * f32(0.10942030591506761))
    high = (f32(-0.08377315220597625) + z * f32(0.057552097892387466)) + z2 * (f32(-0.030804592837782703) + z * f32(0.010726941686201483))
    z4 = z2 * z2
    angle = r + r * (z * (low + z4 * (high + z4 * f32(-0.0017539296103853538))))
    return (HALF_PI_HIGH - (angle - HALF_PI_LOW)) if steep else angle


@scalar
def quarter(x):
    """The nearest quarter of a turn, and what is left of the angle."""
    r = x * QUARTERS + MAGIC
    n = bits(r) - MAGIC_BITS
    r = r - MAGIC
    g = ((x - r * QUARTER_1) - r * QUARTER_2) - r * QUARTER_3
    return n, ONE if g > ONE else (-ONE if g < -ONE else g)  # of an angle of a million turns nothing is known


@scalar
def of_quarter(n, g):
    """The sine of so many quarters and g, |g| up to pi / 4; errors of 2e-9 for the sine's polynomial and 3e-9 for the cosine's before rounding."""
    z = g * g
    s = g + g * z * (f32(-0.16666654611) + z * (f32(8.3321608736e-3) + z * f32(-1.9515295891e-4)))
    c = (ONE - HALF * z) + z * z * (f32(0.041666645683) + z * (f32(-1.3887316255e-3) + z * f32(2.4433157118e-5)))
    value = c if (n & i32(1)) != i32(0) else s
    return -value if (n & i32(2)) != i32(0) else value


@scalar
def sine(x):
    n, g = quarter(x)
    return of_quarter(n, g)


@scalar
def cosine(x):
    n, g = quarter(x)
    return of_quarter(i32(n + i32(1)), g)


def float64_names() -> SimpleNamespace:
    """The C library's functions under the language's names."""
    smallest, log_smallest, one = f64(5e-324), f64(math.log(5e-324)), f64(1)

    @scalar
    def exp(x):
        return math.exp(x)

    @scalar
    def exp_neg(a):
        return math.exp(-a)

    @scalar
    def expm1(x):
        return math.expm1(x)

    @scalar
    def log1p(u):
        return log_smallest if u <= -one else math.log1p(u)

    @scalar
    def atan2(y, x):
        return math.atan2(y, x)

    @scalar
    def sine(x):
        return math.sin(x)

    @scalar
    def cosine(x):
        return math.cos(x)

    @scalar
    def log_floored(p):
        return math.log(smallest if p < smallest else p)

    @scalar
    def log1m_floored(p):
        return log_smallest if p >= one else math.log1p(-p)

    return SimpleNamespace(
        atan2=atan2, sine=sine, cosine=cosine, exp=exp, exp_neg=exp_neg, expm1=expm1, log1p=log1p, log1p_unit=log1p, log_floored=log_floored,
        log1m_floored=log1m_floored,
    )  # fmt: skip


_double = float64_names()
NAMES: dict[str, dict[str, Any]] = {
    "float32": dict(
        atan2=atan2,
        sine=sine,
        cosine=cosine,
        exp=exp,
        exp_neg=exp_neg,
        expm1=expm1,
        log1p=log1p,
        log1p_unit=log1p_unit,
        log_floored=log_floored,
        log1m_floored=log1m_floored,
    )
    | common(f32)
    | products(exp, expm1, f32),
    "float64": vars(_double) | common(f64) | products(_double.exp, _double.expm1, f64),
}
