"""IoU, GIoU and DIoU losses of boxes in space: `plane.py` and the formulas in the plane with a third axis. Corners come as (x0, y0, z0, x1, y1, z1)."""

from losskit.engines.language import log1p, log_floored, maximum, where
from losskit.losses.detection.plane import alone, along, axis, disorder, inverse_of, spread, steepest


def shared(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1):
    """As in the plane, in units of the enclosing box: sizes of the overlap and of both boxes, their volumes alone, union, its inverse; whether they are the same."""
    lx, hx, ux, vx, ox, ex, tx = axis(ax0, ax1, bx0, bx1)
    ly, hy, uy, vy, oy, ey, ty = axis(ay0, ay1, by0, by1)
    lz, hz, uz, vz, oz, ez, tz = axis(az0, az1, bz0, bz1)
    sx, sy, sz = inverse_of(ex), inverse_of(ey), inverse_of(ez)
    ax, bx, gx = alone(lx, hx, ux, vx, ox)
    ay, by, gy = alone(ly, hy, uy, vy, oy)
    az, bz, gz = alone(lz, hz, uz, vz, oz)
    ix, iy, iz = maximum(ox, 0.0) * sx, maximum(oy, 0.0) * sy, maximum(oz, 0.0) * sz
    px, py, pz, qx, qy, qz = (hx - lx) * sx, (hy - ly) * sy, (hz - lz) * sz, (vx - ux) * sx, (vy - uy) * sy, (vz - uz) * sz
    mine = ax * sx * py * pz + ix * (ay * sy * pz + iy * (az * sz))
    theirs = bx * sx * qy * qz + ix * (by * sy * qz + iy * (bz * sz))
    union = ix * iy * iz + (mine + theirs)
    inverse = inverse_of(where(union < 1e-30, 0.0, union))
    same = ax + ay + az + (bx + by + bz) + (gx + gy + gz) + (tx + ty + tz) == 0.0
    return ix, iy, iz, px, py, pz, qx, qy, qz, mine + theirs, union, inverse, same


def measured(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1):
    """IoU, and 1 - IoU, which is no difference."""
    ix, iy, iz, _, _, _, _, _, _, rest, union, inverse, same = shared(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    none, both = union < 1e-30, ix * iy * iz
    lost = where(both == 0.0, where(rest == rest, 1.0, rest), rest * inverse)  # a NaN stays
    return where(none, where(same, 1.0, 0.0), both * inverse), where(none, where(same, 0.0, 1.0), lost)


def extents(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1):
    """Width, height and depth of the enclosing box."""
    _, _, _, _, _, ex, _ = axis(ax0, ax1, bx0, bx1)
    _, _, _, _, _, ey, _ = axis(ay0, ay1, by0, by1)
    _, _, _, _, _, ez, _ = axis(az0, az1, bz0, bz1)
    return ex, ey, ez


def outside(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1):
    """The share of the enclosing box that neither fills. 0 if it has no volume.

    Along each axis lie a alone, b alone, both, and the gap: where a alone is on the first axis, all is empty that a leaves free on the other two, and so on.
    """
    lx, hx, ux, vx, ox, ex, _ = axis(ax0, ax1, bx0, bx1)
    ly, hy, uy, vy, oy, ey, _ = axis(ay0, ay1, by0, by1)
    lz, hz, uz, vz, oz, ez, _ = axis(az0, az1, bz0, bz1)
    sx, sy, sz = inverse_of(ex), inverse_of(ey), inverse_of(ez)
    ax, bx, gx = alone(lx, hx, ux, vx, ox)
    ay, by, gy = alone(ly, hy, uy, vy, oy)
    az, bz, gz = alone(lz, hz, uz, vz, oz)
    ax, bx, gx, ix = ax * sx, bx * sx, gx * sx, maximum(ox, 0.0) * sx
    ay, by, gy, iy = ay * sy, by * sy, gy * sy, maximum(oy, 0.0) * sy
    az, bz, gz, iz = az * sz, bz * sz, gz * sz, maximum(oz, 0.0) * sz
    whole_y, whole_z = iy + (ay + by) + gy, iz + (az + bz) + gz
    not_a = (by + gy) * whole_z + (ay + iy) * (bz + gz)
    not_b = (ay + gy) * whole_z + (by + iy) * (az + gz)
    neither = ay * (bz + gz) + by * (az + gz) + iy * gz + gy * whole_z
    return ax * not_a + bx * not_b + ix * neither + gx * whole_y * whole_z


def apart(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1, ex, ey, ez):
    """The squared distance of the centres over that of the corners of the enclosing box, and its derivatives by the extents and by the distances."""
    lx, hx, ux, vx, _, _, _ = axis(ax0, ax1, bx0, bx1)
    ly, hy, uy, vy, _, _, _ = axis(ay0, ay1, by0, by1)
    lz, hz, uz, vz, _, _, _ = axis(az0, az1, bz0, bz1)
    unit = inverse_of(maximum(maximum(ex, ey), ez))
    mx = (0.5 * (lx - ux) + 0.5 * (hx - vx)) * unit
    my = (0.5 * (ly - uy) + 0.5 * (hy - vy)) * unit
    mz = (0.5 * (lz - uz) + 0.5 * (hz - vz)) * unit
    dx, dy, dz = ex * unit, ey * unit, ez * unit
    inverse = inverse_of(dx * dx + dy * dy + dz * dz)
    share = (mx * mx + my * my + mz * mz) * inverse
    double = 2.0 * unit * inverse
    return share, -share * dx * double, -share * dy * double, -share * dz * double, mx * double, my * double, mz * double


def closed(
    ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1, value, by_iou, by_empty, empty, by_ex, by_ey, by_ez, by_mx, by_my, by_mz
):  # fmt: skip
    """As in the plane, without sizes. What a box leaves free across an axis is what it leaves free of one of the two others, and of the rest of the second."""
    lx, hx, ux, vx, ox, ex, tx = axis(ax0, ax1, bx0, bx1)
    ly, hy, uy, vy, oy, ey, ty = axis(ay0, ay1, by0, by1)
    lz, hz, uz, vz, oz, ez, tz = axis(az0, az1, bz0, bz1)
    sx, sy, sz = inverse_of(ex), inverse_of(ey), inverse_of(ez)
    ix, iy, iz, px, py, pz, qx, qy, qz, _, union, inverse, same = shared(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    by_iou, by_empty = where(same, 0.0, by_iou), where(same, 0.0, by_empty)
    iou = ix * iy * iz * inverse
    by_volume = -by_iou * iou * inverse
    by_i = by_iou * (1.0 + iou) * inverse + by_empty
    ax, bx, gx = alone(lx, hx, ux, vx, ox)
    ay, by, gy = alone(ly, hy, uy, vy, oy)
    az, bz, gz = alone(lz, hz, uz, vz, oz)
    fx, fy, fz, rx, ry, rz = (
        (bx + gx) * sx,
        (by + gy) * sy,
        (bz + gz) * sz,
        (ax + gx) * sx,
        (ay + gy) * sy,
        (az + gz) * sz,
    )  # of the extents, what a leaves free, and b
    along_x, along_y, along_z = by_empty * sx, by_empty * sy, by_empty * sz
    gax0, gax1, gbx0, gbx1 = along(
        ax0, ax1, bx0, bx1, by_i * iy * iz * sx, by_volume * py * pz * sx, by_volume * qy * qz * sx, by_ex, by_mx,
        -along_x * py * pz, along_x * spread(fy + py * fz, py * pz, empty, union), -along_x * qy * qz, along_x * spread(ry + qy * rz, qy * qz, empty, union),
    )  # fmt: skip
    gay0, gay1, gby0, gby1 = along(
        ay0, ay1, by0, by1, by_i * ix * iz * sy, by_volume * px * pz * sy, by_volume * qx * qz * sy, by_ey, by_my,
        -along_y * px * pz, along_y * spread(fx + px * fz, px * pz, empty, union), -along_y * qx * qz, along_y * spread(rx + qx * rz, qx * qz, empty, union),
    )  # fmt: skip
    gaz0, gaz1, gbz0, gbz1 = along(
        az0, az1, bz0, bz1, by_i * ix * iy * sz, by_volume * px * py * sz, by_volume * qx * qy * sz, by_ez, by_mz,
        -along_z * px * py, along_z * spread(fx + px * fy, px * py, empty, union), -along_z * qx * qy, along_z * spread(rx + qx * ry, qx * qy, empty, union),
    )  # fmt: skip
    penalty_x, _, _ = disorder(tx, vx - ux)
    penalty_y, _, _ = disorder(ty, vy - uy)
    penalty_z, _, _ = disorder(tz, vz - uz)
    return value + (penalty_x + penalty_y + penalty_z), gax0, gay0, gaz0, gax1, gay1, gaz1, gbx0, gby0, gbz0, gbx1, gby1, gbz1


def linear(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1):
    _, lost = measured(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    return closed(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1, lost, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def square(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1):
    iou, lost = measured(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    return closed(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1, lost * (1.0 + iou), -2.0 * iou, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def logarithm(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1):
    iou, lost = measured(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    ex, ey, ez = extents(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    floored = maximum(iou, 1e-18)
    value = where(lost < 0.5, -log1p(-lost), -log_floored(floored))
    slope = where(iou > 1e-18, steepest(1.0 / floored, where(ex < ey, ex, ey), ez), 0.0 * iou)
    return closed(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1, value, -slope, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def giou(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1):
    _, lost = measured(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    empty = outside(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    return closed(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1, lost + empty, -1.0, 1.0, empty, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def diou(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1):
    _, lost = measured(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    ex, ey, ez = extents(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1)
    share, by_ex, by_ey, by_ez, by_mx, by_my, by_mz = apart(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1, ex, ey, ez)
    return closed(ax0, ay0, az0, ax1, ay1, az1, bx0, by0, bz0, bx1, by1, bz1, lost + share, -1.0, 0.0, 0.0, by_ex, by_ey, by_ez, by_mx, by_my, by_mz)
