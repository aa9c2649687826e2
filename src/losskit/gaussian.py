"""Two boxes as Gaussian distributions: centre, and a covariance of the sides' squares along the sides, over 12, which is that of a point anywhere in the box.

The Bhattacharyya distance of the two is a sum of squares, and the logarithm of 1 plus another: with the first box's sides w and h, the second's p and q, and the angle
between them, det((A + B) / 2) / sqrt(det A det B) is 1 + N / (4 w h p q), N = (w h - p q)^2 + cos^2 (q w - p h)^2 + sin^2 (q h - p w)^2. So nothing cancels,
and the distance of identical boxes is 0.

All is measured along the second box, in units of the largest side. A side below 2^-30 of that counts as that, and keeps the gradient that it has there.
"""

from losskit.engines.language import absolute, cosine, exp_neg, expm1, log1p, maximum, sine, sqrt, where
from losskit.geometry import disorder, inverse_of
from losskit.turned import held, higher


def longest(x, y, w, h, p, q):
    """The largest side, or a share of the distance of the centres, if that is larger by far."""
    side = higher(higher(w, h), higher(p, q))
    far = 2.0**-33 * higher(absolute(x), absolute(y))
    return higher(side, far)


def least(side):
    """A side in units, or the least that counts."""
    return maximum(side, 2.0**-30)


def longer(w, p, difference):
    """How much longer one side is than another, in units: the difference that is known to more digits, if both count as they are."""
    return where((w > 2.0**-30) & (p > 2.0**-30), difference, w - p)


def square(a):
    """a a."""
    return a * a


def bhattacharyya(x, y, w, h, p, q, wider, taller, c, s):
    """The Bhattacharyya distance, in units: the first box lies at (x, y) and is turned by the angle whose cosine and sine are given; by how much its sides are longer.

    And its derivatives by x, y, w, h, p, q and the angle. A distance beyond 1e20 is flat.
    """
    cc, ss = c * c, s * s
    area, along, across = wider * h + p * taller, q * wider - p * taller, q * h - p * w
    rest = (w * h) * (p * q)
    over = 1.0 / sqrt(rest)  # squares are of ratios, for those of lengths may vanish
    part = square(area * over) + (cc * square(along * over) + ss * square(across * over))
    whole = 1.0 + 0.25 * part
    inverse, n = 1.0 / (rest * whole), rest * part
    u, v = s * x - c * y, c * x + s * y
    m = (square(q * x * over) + square(p * y * over) + (square(w * u * over) + square(h * v * over))) / whole
    far = m > 1e20
    value = where(far, 7.5e19, 0.75 * m) + 0.5 * log1p(0.25 * part)
    x, y, u, v, m = where(far, 0.0, x), where(far, 0.0, y), where(far, 0.0, u), where(far, 0.0, v), where(far, 0.0, m)
    n_w = 2.0 * (h * area + (cc * q * along - ss * p * across))
    n_h = 2.0 * (w * area - (cc * p * along - ss * q * across))
    n_p = -2.0 * (q * area + (cc * h * along + ss * w * across))
    n_q = -2.0 * (p * area - (cc * w * along + ss * h * across))
    n_turn = 2.0 * s * c * ((q - p) * (q + p)) * ((h - w) * (h + w))
    by_x = 1.5 * (q * q * x + (w * w * s * u + h * h * c * v)) * inverse
    by_y = 1.5 * (p * p * y - (w * w * c * u - h * h * s * v)) * inverse
    by_w = (0.75 * (2.0 * w * u * u - m * (h * p * q + 0.25 * n_w)) + 0.125 * (n_w - n / w)) * inverse
    by_h = (0.75 * (2.0 * h * v * v - m * (w * p * q + 0.25 * n_h)) + 0.125 * (n_h - n / h)) * inverse
    by_p = (0.75 * (2.0 * p * y * y - m * (w * h * q + 0.25 * n_p)) + 0.125 * (n_p - n / p)) * inverse
    by_q = (0.75 * (2.0 * q * x * x - m * (w * h * p + 0.25 * n_q)) + 0.125 * (n_q - n / q)) * inverse
    by_turn = (1.5 * (w - h) * (w + h) * u * v + (0.125 - 0.1875 * m) * n_turn) * inverse
    return value, by_x, by_y, by_w, by_h, by_p, by_q, by_turn, x, y


def hellinger(distance):
    """The Hellinger distance of a Bhattacharyya distance, sqrt(1 - exp(-distance)), and its derivative; 0 at 0, where it has a kink."""
    gone = where(distance < 1e-18, distance, -expm1(-distance))
    tiny = gone < 1e-30  # square roots of numbers that are not normal lose digits
    root = sqrt(where(tiny, gone * 2.0**100, gone)) * where(tiny, 2.0**-50, 1.0)
    some = root > 0.0
    root = where(some, root, 1.0)
    return where(some, root, 0.0 * distance), where(some, 0.5 * exp_neg(where(some, distance, 0.0)) / root, 0.0 * distance)


def finite(slope):
    """A derivative that float32 can hold."""
    return held(slope, -1e37, 1e37)


def aligned(x0, y0, x1, y1, u0, v0, u1, v1):
    """Corners of two boxes as `bhattacharyya` takes them: the first seen from the second, sizes, and differences; and the unit. Out of order they are the box that they span."""
    i, j, k, o = where(x0 > x1, x1, x0), where(x0 > x1, x0, x1), where(y0 > y1, y1, y0), where(y0 > y1, y0, y1)
    m, n, r, t = where(u0 > u1, u1, u0), where(u0 > u1, u0, u1), where(v0 > v1, v1, v0), where(v0 > v1, v0, v1)
    x, y, w, h, p, q = 0.5 * (i - m) + 0.5 * (j - n), 0.5 * (k - r) + 0.5 * (o - t), j - i, o - k, n - m, t - r
    wider, taller = where(absolute(x) < p, (j - n) - (i - m), w - p), where(absolute(y) < q, (o - t) - (k - r), h - q)
    unit = inverse_of(longest(x, y, w, h, p, q))
    w, h, p, q = least(w * unit), least(h * unit), least(p * unit), least(q * unit)
    return x * unit, y * unit, w, h, p, q, longer(w, p, wider * unit), longer(h, q, taller * unit), unit


def turned(x, y, w, h, a, u, v, p, q, b, radian):
    """Two boxes with angles, likewise; cosine and sine of the angle between, those of the second, and the unit."""
    c, s = cosine(b * radian), sine(b * radian)
    right, down = x - u, y - v
    w, h, p, q = absolute(w), absolute(h), absolute(p), absolute(q)
    unit = inverse_of(longest(right, down, w, h, p, q))
    right, down, wider, taller = right * unit, down * unit, (w - p) * unit, (h - q) * unit
    w, h, p, q = least(w * unit), least(h * unit), least(p * unit), least(q * unit)
    turn = (a - b) * radian
    return (
        c * right + s * down, c * down - s * right, w, h, p, q, longer(w, p, wider), longer(h, q, taller), cosine(turn), sine(turn), c, s, unit
    )  # fmt: skip


def of_corners(x0, y0, x1, y1, u0, v0, u1, v1, value, slope, g_x, g_y, g_w, g_h, g_p, g_q, unit):
    """A loss and its derivatives by all corners, from that by the distance and those of the distance in units; with what a box out of order costs."""
    g_x, g_y, g_w, g_h = finite(0.5 * slope * g_x * unit), finite(0.5 * slope * g_y * unit), finite(slope * g_w * unit), finite(slope * g_h * unit)
    g_p, g_q = finite(slope * g_p * unit), finite(slope * g_q * unit)
    x_cost, x_wrong, x_size = disorder(maximum(x0 - x1, 0.0), absolute(u1 - u0))
    y_cost, y_wrong, y_size = disorder(maximum(y0 - y1, 0.0), absolute(v1 - v0))
    g_w, g_h, g_p, g_q = where(x1 < x0, -x_wrong, g_w), where(y1 < y0, -y_wrong, g_h), g_p + x_size, g_q + y_size
    g_p, g_q = where(u1 < u0, -g_p, g_p), where(v1 < v0, -g_q, g_q)
    return value + x_cost + y_cost, g_x - g_w, g_y - g_h, g_x + g_w, g_y + g_h, -g_x - g_p, -g_y - g_q, g_p - g_x, g_q - g_y


def of_turned(w, h, p, q, value, slope, g_x, g_y, g_w, g_h, g_p, g_q, g_turn, x, y, c, s, unit, radian):
    """The same by the ten numbers of two boxes with angles."""
    g_second = g_x * y - g_y * x - g_turn
    g_x, g_y = c * g_x - s * g_y, s * g_x + c * g_y
    g_turn, g_second = finite(slope * g_turn) * radian, finite(slope * g_second) * radian
    g_x, g_y, g_w, g_h = finite(slope * g_x * unit), finite(slope * g_y * unit), finite(slope * g_w * unit), finite(slope * g_h * unit)
    g_p, g_q = finite(slope * g_p * unit), finite(slope * g_q * unit)
    w_cost, w_wrong, w_size = disorder(maximum(-w, 0.0), absolute(p))
    h_cost, h_wrong, h_size = disorder(maximum(-h, 0.0), absolute(q))
    g_w, g_h, g_p, g_q = where(w < 0.0, -w_wrong, g_w), where(h < 0.0, -h_wrong, g_h), g_p + w_size, g_q + h_size
    return value + w_cost + h_cost, g_x, g_y, g_w, g_h, g_turn, -g_x, -g_y, where(p < 0.0, -g_p, g_p), where(q < 0.0, -g_q, g_q), g_second
