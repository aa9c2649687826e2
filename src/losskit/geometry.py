"""The geometry of two boxes, of any number of axes: lengths along an axis, overlap and union, and from derivatives by those to the derivatives by all corners.

Formulas of one axis come first; those with a slash are over axes (`engines/axes.py`): a0 and a1, b0 and b1 are the corners of both boxes, one number per axis each.
What is said of areas is said of volumes, where there are three.
"""

from losskit.engines.axes import later, nested, others, product, total
from losskit.engines.language import log1p, log_floored, maximum, one_over, where


def step(a, b):
    """1 where a is larger, 1/2 at a tie: identical boxes, where the loss has its minimum, thus have the gradient 0."""
    return where(a > b, 1.0, where(a < b, 0.0, 0.5))


def axis(a0, a1, b0, b1):
    """One axis of two boxes: ends of both, in order, their overlap (negative: the gap), their extent together, how far the corners of a are out of order.

    A box out of order counts as its middle, without size; the cost of that is `disorder`.
    """
    turned = a0 > a1
    middle = 0.5 * a0 + 0.5 * a1
    i = where(turned, middle, a0)
    j = where(turned, middle, a1)
    u = where(b0 > b1, b1, b0)
    v = where(b0 > b1, b0, b1)
    overlap = where(j < v, j, v) - where(i > u, i, u)
    extent = where(j > v, j, v) - where(i < u, i, u)
    return i, j, u, v, overlap, extent, where(turned, a0 - a1, 0.0)


def disorder(wrong, size):
    """What corners out of order cost: w / (w + size of the target), and its derivatives by both. It only falls on the way to order, and nothing else pushes the two corners apart."""
    inverse = where(wrong > 0.0, inverse_of(wrong + size), 0.0)
    share = wrong * inverse
    return share, size * inverse * inverse, -share * inverse


def inverse_of(x):
    """1 / x; 0 where there is nothing to divide by: a length below 1e-37 is none, for its inverse, which gradients are made of, would leave float32."""
    return where(x > 1e-37, one_over(where(x > 1e-37, x, 1.0)), 0.0 * x)


def alone(i, j, u, v, overlap):
    """Of both boxes on one axis: the length outside their overlap, as sums of distances of neighbouring ends, so that nearly equal boxes keep the digits; and the gap."""
    low = where(i > u, i, u)
    high = where(j < v, j, v)
    meets = overlap > 0.0
    return where(meets, (low - i) + (j - high), j - i), where(meets, (low - u) + (v - high), v - u), where(overlap < 0.0, -overlap, 0.0)


def along(a0, a1, b0, b1, by_o, by_w, by_v, by_e, by_m, a_in, a_out, b_in, b_out):
    """From derivatives by overlap, sizes of both, extent and distance of the centres on one axis to those by the four coordinates, disorder included.

    The last four are derivatives by the sizes once more: of an end within the enclosing box, and of one that is an end of that box.
    """
    i, j, u, v, overlap, _, wrong = axis(a0, a1, b0, b1)
    meets = where(overlap >= 0.0, by_o, 0.0)
    centre = 0.5 * by_m
    first, last = step(u, i), step(j, v)  # how far the ends of a are those of the enclosing box
    gl = centre - by_w - meets * (1.0 - first) - by_e * first - (a_in * (1.0 - first) + a_out * first)
    gh = centre + by_w + meets * (1.0 - last) + by_e * last + (a_in * (1.0 - last) + a_out * last)
    gu = -centre - by_v - meets * first - by_e * (1.0 - first) - (b_in * first + b_out * (1.0 - first))
    gv = -centre + by_v + meets * last + by_e * (1.0 - last) + (b_in * last + b_out * (1.0 - last))
    _, by_wrong, by_size = disorder(wrong, v - u)
    turned = a0 > a1
    both = 0.5 * (gl + gh)
    gu = gu - by_size
    gv = gv + by_size
    swapped = b0 > b1
    return where(turned, both + by_wrong, gl), where(turned, both - by_wrong, gh), where(swapped, gv, gu), where(swapped, gu, gv)


def spread(free, filled, empty, union):
    """How fast the empty share grows with the enclosing box, whose end an end of a box is: `free` of that box across it, less the share; or what is not empty
    less what is filled, the same, where those are the smaller numbers."""
    return where(empty < union, free - empty, union - filled)


def steepest(slope, least):
    """A derivative by IoU, held where that by the coordinates would leave float32; `least` is the smallest extent."""
    limit = 1e36 * least
    return where(slope > limit, limit, slope)


def log_of(iou, lost):
    """log IoU, of 1 - IoU where that is small; held at an IoU of 1e-18."""
    return where(lost < 0.5, log1p(-lost), log_floored(maximum(iou, 1e-18)))


def shared(a0, a1, b0, b1, /):
    """Of two boxes, in units of the enclosing box, so that no size overflows: sizes of the overlap and of both boxes, their areas alone, union, its inverse; whether they are the same.

    A union below 1e-30 of the enclosing box is none: an overlap is then at most 4e-30 of it.
    """
    low, high, u, v, o, e, t = axis(a0, a1, b0, b1)
    s = inverse_of(e)
    a, b, g = alone(low, high, u, v, o)
    i, p, q = maximum(o, 0.0) * s, (high - low) * s, (v - u) * s
    rest = nested(later(p, a * s), i) + nested(later(q, b * s), i)  # a box is alone where it is on the first axis, and where both are, alone on the next
    union = product(i) + rest
    inverse = inverse_of(where(union < 1e-30, 0.0, union))
    same = total(a) + total(b) + total(g) + total(t) == 0.0
    return i, p, q, rest, union, inverse, same


def measured(a0, a1, b0, b1, /):
    """IoU, and 1 - IoU, which is no difference; exactly 1 for boxes apart (or NaN, where the rest is). IoU of identical boxes is 1, whatever their size."""
    i, _, _, rest, union, inverse, same = shared(a0, a1, b0, b1)
    none, both = union < 1e-30, product(i)
    lost = where(both == 0.0, where(rest == rest, 1.0, rest), rest * inverse)  # a NaN stays
    return where(none, where(same, 1.0, 0.0), both * inverse), where(none, where(same, 0.0, 1.0), lost)


def extents(a0, a1, b0, b1, /):
    """The sides of the enclosing box."""
    _, _, _, _, _, e, _ = axis(a0, a1, b0, b1)
    return e


def sizes(a0, a1, b0, b1, /):
    """The sides of both; 0 where a is out of order."""
    low, high, u, v, _, _, _ = axis(a0, a1, b0, b1)
    return high - low, v - u


def unlike(a0, a1, b0, b1, /):
    """The sides of a minus those of b; where they overlap, from the differences of their ends, which keeps the digits of nearly equal sizes."""
    low, high, u, v, o, _, _ = axis(a0, a1, b0, b1)
    return where(o > 0.0, (high - v) - (low - u), (high - low) - (v - u))


def closed(a0, a1, b0, b1, by_e, by_m, by_w, by_v, /, value, by_iou, by_empty, empty):
    """A loss of two boxes from its value and its derivatives by extents, distances of the centres, and sizes, by IoU, and by the empty share of the enclosing box
    (and that share).

    Identical boxes have no derivative by IoU and empty share: there the loss has its minimum, and rounding would leave a rest of one.
    """
    low, high, u, v, o, e, t = axis(a0, a1, b0, b1)
    s = inverse_of(e)
    i, p, q, _, union, inverse, same = shared(a0, a1, b0, b1)
    by_iou, by_empty = where(same, 0.0, by_iou), where(same, 0.0, by_empty)
    iou = product(i) * inverse
    by_area = -by_iou * iou * inverse
    by_i = by_iou * (1.0 + iou) * inverse + by_empty
    a, b, g = alone(low, high, u, v, o)
    across = by_empty * s
    ga0, ga1, gb0, gb1 = along(
        a0, a1, b0, b1, others(product, i, first=by_i) * s, others(product, p, first=by_area) * s + by_w, others(product, q, first=by_area) * s + by_v, by_e, by_m,
        others(product, p, first=-across), across * spread(others(nested, (b + g) * s, p), others(product, p), empty, union),
        others(product, q, first=-across), across * spread(others(nested, (a + g) * s, q), others(product, q), empty, union),
    )  # fmt: skip
    penalty, _, _ = disorder(t, v - u)
    return value + total(penalty), ga0, ga1, gb0, gb1
