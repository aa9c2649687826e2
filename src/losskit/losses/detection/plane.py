"""What losses of two boxes share: lengths along an axis, areas, and from a value and a few derivatives to the derivatives by all corners."""

from losskit.engines.language import maximum, where


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
    return where(x > 1e-37, 1.0 / where(x > 1e-37, x, 1.0), 0.0 * x)


def alone(i, j, u, v, overlap):
    """Of both boxes on one axis: the length outside their overlap, as sums of distances of neighbouring ends, so that nearly equal boxes keep the digits; and the gap."""
    low = where(i > u, i, u)
    high = where(j < v, j, v)
    meets = overlap > 0.0
    return where(meets, (low - i) + (j - high), j - i), where(meets, (low - u) + (v - high), v - u), where(overlap < 0.0, -overlap, 0.0)


def shared(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1):
    """Of two boxes, in units of the enclosing box, so that no size overflows: sizes of the overlap and of both boxes, their areas alone, union, its inverse; whether they are the same.

    A union below 1e-30 of the enclosing box is none: an overlap is then at most 4e-30 of it.
    """
    lx, hx, ux, vx, ox, ex, tx = axis(ax0, ax1, bx0, bx1)
    ly, hy, uy, vy, oy, ey, ty = axis(ay0, ay1, by0, by1)
    sx, sy = inverse_of(ex), inverse_of(ey)
    ax, bx, gx = alone(lx, hx, ux, vx, ox)
    ay, by, gy = alone(ly, hy, uy, vy, oy)
    ix, iy = maximum(ox, 0.0) * sx, maximum(oy, 0.0) * sy
    px, py, qx, qy = (hx - lx) * sx, (hy - ly) * sy, (vx - ux) * sx, (vy - uy) * sy
    rest = ax * sx * py + ix * (ay * sy) + (bx * sx * qy + ix * (by * sy))
    union = ix * iy + rest
    inverse = inverse_of(where(union < 1e-30, 0.0, union))
    same = ax + ay + (bx + by) + (gx + gy) + (tx + ty) == 0.0
    return ix, iy, px, py, qx, qy, rest, union, inverse, same


def measured(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1):
    """IoU, and 1 - IoU, which is no difference; exactly 1 for boxes apart (or NaN, where the rest is). IoU of identical boxes is 1, whatever their size."""
    ix, iy, _, _, _, _, rest, union, inverse, same = shared(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1)
    none, both = union < 1e-30, ix * iy
    lost = where(both == 0.0, where(rest == rest, 1.0, rest), rest * inverse)  # a NaN stays
    return where(none, where(same, 1.0, 0.0), both * inverse), where(none, where(same, 0.0, 1.0), lost)


def extents(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1):
    """Width and height of the enclosing box."""
    _, _, _, _, _, ex, _ = axis(ax0, ax1, bx0, bx1)
    _, _, _, _, _, ey, _ = axis(ay0, ay1, by0, by1)
    return ex, ey


def sizes(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1):
    """Widths and heights of both; 0 where a is out of order."""
    lx, hx, ux, vx, _, _, _ = axis(ax0, ax1, bx0, bx1)
    ly, hy, uy, vy, _, _, _ = axis(ay0, ay1, by0, by1)
    return hx - lx, hy - ly, vx - ux, vy - uy


def unlike(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1):
    """Width and height of a minus those of b; where they overlap, from the differences of their ends, which keeps the digits of nearly equal sizes."""
    lx, hx, ux, vx, ox, _, _ = axis(ax0, ax1, bx0, bx1)
    ly, hy, uy, vy, oy, _, _ = axis(ay0, ay1, by0, by1)
    return (
        where(ox > 0.0, (hx - vx) - (lx - ux), (hx - lx) - (vx - ux)),
        where(oy > 0.0, (hy - vy) - (ly - uy), (hy - ly) - (vy - uy)),
    )


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


def closed(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1, value, by_iou, by_empty, empty, by_ex, by_ey, by_mx, by_my, by_wx, by_wy, by_vx, by_vy):
    """A loss of two boxes from its value and its derivatives by IoU, by the empty share of the enclosing box (and that share), extents, distances of the
    centres, and sizes.

    Identical boxes have no derivative by IoU and empty share: there the loss has its minimum, and rounding would leave a rest of one.
    """
    lx, hx, ux, vx, ox, ex, tx = axis(ax0, ax1, bx0, bx1)
    ly, hy, uy, vy, oy, ey, ty = axis(ay0, ay1, by0, by1)
    sx, sy = inverse_of(ex), inverse_of(ey)
    ix, iy, px, py, qx, qy, _, union, inverse, same = shared(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1)
    by_iou, by_empty = where(same, 0.0, by_iou), where(same, 0.0, by_empty)
    iou = ix * iy * inverse
    by_area = -by_iou * iou * inverse
    by_i = by_iou * (1.0 + iou) * inverse + by_empty
    ax, bx, gx = alone(lx, hx, ux, vx, ox)
    ay, by, gy = alone(ly, hy, uy, vy, oy)
    along_x, along_y = by_empty * sx, by_empty * sy
    gax0, gax1, gbx0, gbx1 = along(
        ax0, ax1, bx0, bx1, by_i * iy * sx, by_area * py * sx + by_wx, by_area * qy * sx + by_vx, by_ex, by_mx,
        -along_x * py, along_x * spread((by + gy) * sy, py, empty, union), -along_x * qy, along_x * spread((ay + gy) * sy, qy, empty, union),
    )  # fmt: skip
    gay0, gay1, gby0, gby1 = along(
        ay0, ay1, by0, by1, by_i * ix * sy, by_area * px * sy + by_wy, by_area * qx * sy + by_vy, by_ey, by_my,
        -along_y * px, along_y * spread((bx + gx) * sx, px, empty, union), -along_y * qx, along_y * spread((ax + gx) * sx, qx, empty, union),
    )  # fmt: skip
    penalty_x, _, _ = disorder(tx, vx - ux)
    penalty_y, _, _ = disorder(ty, vy - uy)
    return value + (penalty_x + penalty_y), gax0, gay0, gax1, gay1, gbx0, gby0, gbx1, gby1


def steepest(slope, ex, ey):
    """A derivative by IoU, held where that by the coordinates would leave float32."""
    limit = 1e36 * where(ex < ey, ex, ey)
    return where(slope > limit, limit, slope)
