"""The geometry of two boxes that are turned: centre, width, height and angle, (x, y, w, h, a) of one and (u, v, p, q, b) of the other; an angle times
`radian` is in radians.

All is measured along the second box, in units of the largest length, so that no size overflows: there the second is the rectangle |x| <= p/2, |y| <= q/2. The area that
both share is the integral of y, held within the second box, along the edges of the first, from end to end, each end held within the second box, too. Held numbers are
shared by neighbouring edges, and no crossing is computed twice. So nothing is missing, or counted twice, however close two edges lie; an error of a crossing enters by
its square.

Derivatives are lengths: where an edge of one box lies inside the other, the area grows by its length times how fast the edge moves outward.
"""

from losskit.engines.language import absolute, cosine, maximum, minimum, sine, where
from losskit.geometry import disorder, inverse_of, step


def lower(a, b):
    """The smaller of two numbers."""
    return where(a < b, a, b)


def higher(a, b):
    """The larger."""
    return where(a > b, a, b)


def held(x, low, high):
    """x, or the end of the range that it lies beyond."""
    return where(x < low, low, where(x > high, high, x))


def apart(x):
    """A length that may be divided by: one below 1e-30 crosses nothing."""
    return where(absolute(x) < 1e-30, 1e-30, x)


def share(t):
    """A place on an edge, from 0 to 1."""
    return minimum(maximum(t, 0.0), 1.0)


def edge(x0, y0, x1, y1, ex, ey, left, right, bottom, top, level):
    """An edge of the first box, from end to end, along (ex, ey), beside the second box.

    Its part of the area, above `level`; how much of it lies inside, as a share, and how far the middle of that is from its own; and its parts of the lengths at which
    the four sides of the second box lie inside the first.
    """
    across, up = apart(ex), apart(ey)
    over_x, over_y = 1.0 / across, 1.0 / up
    at_left, at_right, at_bottom, at_top = (left - x0) * over_x, (right - x0) * over_x, (bottom - y0) * over_y, (top - y0) * over_y
    start, end = share(lower(at_left, at_right)), share(higher(at_left, at_right))
    enters, leaves = held(lower(at_bottom, at_top), start, end), held(higher(at_bottom, at_top), start, end)
    rises = up > 0.0
    first, last = where(rises, bottom, top), where(rises, top, bottom)
    inside = leaves - enters
    middle = 0.5 * (enters + leaves)
    area = -ex * ((enters - start) * (first - level) + inside * (y0 + middle * ey - level) + (end - leaves) * (last - level))

    eastward = across > 0.0
    a, b = held(y0, bottom, top), held(y1, bottom, top)
    on_left, on_right = held(y0 + share(at_left) * ey, bottom, top), held(y0 + share(at_right) * ey, bottom, top)
    c, d = held(x0, left, right), held(x1, left, right)
    on_bottom, on_top = held(x0 + share(at_bottom) * ex, left, right), held(x0 + share(at_top) * ex, left, right)
    by_left, by_right = where(eastward, a - on_left, on_left - b), where(eastward, b - on_right, on_right - a)
    by_bottom, by_top = where(rises, on_bottom - c, d - on_bottom), where(rises, on_top - d, c - on_top)
    return area, inside, middle - 0.5, by_left + by_right, by_bottom + by_top


def overlap(x, y, w, h, p, q, turn_x, turn_y):
    """The area that two boxes share, seen along the second, the first turned by the angle whose cosine and sine are given, at (x, y).

    And its derivatives by x, y, w, h, by p, q, and by the angle.
    """
    wx, wy, hx, hy = w * turn_x, w * turn_y, -h * turn_y, h * turn_x  # along the first box's sides
    ax, ay, bx, by = -0.5 * (wx + hx), -0.5 * (wy + hy), 0.5 * (wx - hx), 0.5 * (wy - hy)  # two of its corners; the others lie opposite
    left, right, bottom, top = -0.5 * p - x, 0.5 * p - x, -0.5 * q - y, 0.5 * q - y
    level = held(0.0 * y, bottom, top)
    s, in_s, at_s, p_s, q_s = edge(ax, ay, bx, by, wx, wy, left, right, bottom, top, level)
    e, in_e, at_e, p_e, q_e = edge(bx, by, -ax, -ay, hx, hy, left, right, bottom, top, level)
    n, in_n, at_n, p_n, q_n = edge(-ax, -ay, -bx, -by, -wx, -wy, left, right, bottom, top, level)
    i, in_w, at_w, p_w, q_w = edge(-bx, -by, ax, ay, -hx, -hy, left, right, bottom, top, level)
    area = maximum((s + n) + (e + i), 0.0)
    area = where(area > w * h, w * h, area)
    area = where(area > p * q, p * q, area)
    along_w, along_h = in_s - in_n, in_e - in_w
    by_x, by_y = wy * along_w + hy * along_h, -(wx * along_w + hx * along_h)
    by_w, by_h = 0.5 * h * (in_e + in_w), 0.5 * w * (in_s + in_n)
    by_angle = -(w * w * (at_s * in_s + at_n * in_n) + h * h * (at_e * in_e + at_w * in_w))
    return area, by_x, by_y, by_w, by_h, 0.5 * ((p_s + p_n) + (p_e + p_w)), 0.5 * ((q_s + q_n) + (q_e + q_w)), by_angle


def largest(x, y, w, h, u, v, p, q):
    """The largest length of two boxes: a size, or a distance of their centres along an axis."""
    return higher(higher(higher(absolute(w), absolute(h)), higher(absolute(p), absolute(q))), higher(absolute(x - u), absolute(y - v)))


def placed(x, y, w, h, a, u, v, p, q, b, radian):
    """The first box seen from the second: its centre, the sizes of both (0 of one that is negative), cosine and sine of the angle between, those of the second, and the
    unit that all lengths are in, as what they are multiplied by."""
    wide, high, long, tall = maximum(w, 0.0), maximum(h, 0.0), absolute(p), absolute(q)
    c, s = cosine(b * radian), sine(b * radian)
    right, down = x - u, y - v
    unit = inverse_of(largest(x, y, wide, high, u, v, long, tall))
    right, down = right * unit, down * unit
    turn = (a - b) * radian
    return c * right + s * down, c * down - s * right, wide * unit, high * unit, long * unit, tall * unit, cosine(turn), sine(turn), c, s, unit


def measured(x, y, w, h, a, u, v, p, q, b, radian):
    """IoU, and 1 - IoU. IoU of identical boxes is 1, whatever their size."""
    dx, dy, w, h, p, q, turn_x, turn_y, _, _, _ = placed(x, y, w, h, a, u, v, p, q, b, radian)
    both, _, _, _, _, _, _, _ = overlap(dx, dy, w, h, p, q, turn_x, turn_y)
    return ratio(both, w * h + p * q - both, alike(dx, dy, w - p, h - q, turn_y))


def ratio(both, union, same):
    """IoU, and 1 - IoU; a union below 1e-30 of the unit is none."""
    none = union < 1e-30
    inverse = inverse_of(where(none, 0.0, union))
    return where(none, where(same, 1.0, 0.0), both * inverse), where(none, where(same, 0.0, 1.0), where(same, 0.0, (union - both) * inverse))


def alike(x, y, w, h, turn_y):
    """Whether two boxes are the same, from their differences."""
    return absolute(x) + absolute(y) + absolute(w) + absolute(h) + absolute(turn_y) == 0.0


def enclosing(x, half, p):
    """The extent of both boxes along a side of the second, from the first's centre and half its extent; its derivatives by centre, half extent, and p."""
    first, last = step(x + half, 0.5 * p), step(-0.5 * p, x - half)
    extent = higher(x + half, 0.5 * p) - lower(x - half, -0.5 * p)
    return extent, first - last, first + last, 0.5 * (2.0 - first - last)


def extents(x, y, w, h, p, q, turn_x, turn_y):
    """The sides of the smallest box along the second that holds both."""
    turn_x, turn_y = absolute(turn_x), absolute(turn_y)
    ex, _, _, _ = enclosing(x, 0.5 * (w * turn_x + h * turn_y), p)
    ey, _, _, _ = enclosing(y, 0.5 * (w * turn_y + h * turn_x), q)
    return ex, ey


def outside(x, y, w, h, a, u, v, p, q, b, radian):
    """The share of the enclosing box that neither fills; 0 if it has no area."""
    dx, dy, w, h, p, q, turn_x, turn_y, _, _, _ = placed(x, y, w, h, a, u, v, p, q, b, radian)
    both, _, _, _, _, _, _, _ = overlap(dx, dy, w, h, p, q, turn_x, turn_y)
    ex, ey = extents(dx, dy, w, h, p, q, turn_x, turn_y)
    empty = maximum(ex * ey - (w * h + p * q - both), 0.0)
    return where(alike(dx, dy, w - p, h - q, turn_y), 0.0, empty * inverse_of(ex * ey))


def distance(x, y, w, h, a, u, v, p, q, b, radian):
    """The squared distance of the centres over that of the corners of the enclosing box, and its derivatives by the sides of that and by the distances along the second
    box, in units."""
    dx, dy, w, h, p, q, turn_x, turn_y, _, _, _ = placed(x, y, w, h, a, u, v, p, q, b, radian)
    ex, ey = extents(dx, dy, w, h, p, q, turn_x, turn_y)
    inverse = inverse_of(ex * ex + ey * ey)
    part = (dx * dx + dy * dy) * inverse
    return part, -2.0 * part * ex * inverse, -2.0 * part * ey * inverse, 2.0 * dx * inverse, 2.0 * dy * inverse


def closed(x, y, w, h, a, u, v, p, q, b, radian, value, by_iou, by_empty, by_ex, by_ey, by_dx, by_dy):
    """A loss of two turned boxes from its value and its derivatives by IoU, by the empty share of the enclosing box, by its sides, and by the distance of the centres
    along the second box, all in units.

    Identical boxes have no derivative by IoU and by the empty share: there the loss has its minimum.
    """
    dx, dy, wide, high, long, tall, turn_x, turn_y, c, s, unit = placed(x, y, w, h, a, u, v, p, q, b, radian)
    both, o_x, o_y, o_w, o_h, o_p, o_q, o_a = overlap(dx, dy, wide, high, long, tall, turn_x, turn_y)
    cosine_size, sine_size = absolute(turn_x), absolute(turn_y)
    ex, ex_x, ex_half, ex_p = enclosing(dx, 0.5 * (wide * cosine_size + high * sine_size), long)
    ey, ey_y, ey_half, ey_q = enclosing(dy, 0.5 * (wide * sine_size + high * cosine_size), tall)
    union = wide * high + long * tall - both
    none = union < 1e-30
    same = alike(dx, dy, wide - long, high - tall, turn_y)
    inverse = inverse_of(where(none, 0.0, union))
    by_iou, by_empty = where(none, 0.0, where(same, 0.0, by_iou)), where(same, 0.0, by_empty)
    over = inverse_of(ex * ey)
    lost = union * over
    by_both = by_iou * (1.0 + both * inverse) * inverse + by_empty * over
    by_area = -by_iou * both * inverse * inverse - by_empty * over
    by_ex, by_ey = by_ex + by_empty * lost * over * ey, by_ey + by_empty * lost * over * ex
    # how the half extents turn
    cosine_turns, sine_turns = where(turn_x > 0.0, -turn_y, turn_y), where(turn_y > 0.0, turn_x, -turn_x)
    half_x, half_y = 0.5 * by_ex * ex_half, 0.5 * by_ey * ey_half
    g_x = by_dx + by_both * o_x + by_ex * ex_x
    g_y = by_dy + by_both * o_y + by_ey * ey_y
    g_w = by_both * o_w + by_area * high + half_x * cosine_size + half_y * sine_size
    g_h = by_both * o_h + by_area * wide + half_x * sine_size + half_y * cosine_size
    g_p = by_both * o_p + by_area * tall + by_ex * ex_p
    g_q = by_both * o_q + by_area * long + by_ey * ey_q
    g_a = by_both * o_a + half_x * (wide * cosine_turns + high * sine_turns) + half_y * (wide * sine_turns + high * cosine_turns)
    g_b = g_x * dy - g_y * dx - g_a
    g_x, g_y = (c * g_x - s * g_y) * unit, (s * g_x + c * g_y) * unit
    w_cost, w_wrong, w_size = disorder(maximum(-w, 0.0), absolute(p))
    h_cost, h_wrong, h_size = disorder(maximum(-h, 0.0), absolute(q))
    g_p, g_q = g_p * unit + w_size, g_q * unit + h_size
    return (
        value + w_cost + h_cost,
        g_x, g_y, where(w < 0.0, -w_wrong, g_w * unit), where(h < 0.0, -h_wrong, g_h * unit), g_a * radian,
        -g_x, -g_y, where(p < 0.0, -g_p, g_p), where(q < 0.0, -g_q, g_q), g_b * radian,
    )  # fmt: skip
