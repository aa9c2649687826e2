"""Chapter on boxes: GIoU as the simulation code its authors published computes it (Zheng et al., repository Zzh-tju/DIoU), in losskit's language of formulas.

There the sides of the overlap are not cut off at 0. Of boxes apart they are negative, so the "overlap" is a negative area beside each other, and a positive
one diagonally; the union that GIoU needs is off by as much. Everything else is GIoU. It shows what this package's formulas are proof against, and is no loss.
"""

from losskit.engines.language import where


def signed(a0: float, a1: float, b0: float, b1: float) -> tuple[float, float, float]:
    """Along one axis: the overlap, negative where there is a gap, and its derivatives by both ends of a."""
    return where(a1 < b1, a1, b1) - where(a0 > b0, a0, b0), where(a0 > b0, -1.0, 0.0), where(a1 < b1, 1.0, 0.0)


def around(a0: float, a1: float, b0: float, b1: float) -> tuple[float, float, float]:
    """Along one axis: the extent of both together, and its derivatives by both ends of a."""
    return where(a1 > b1, a1, b1) - where(a0 < b0, a0, b0), where(a0 < b0, -1.0, 0.0), where(a1 > b1, 1.0, 0.0)


def published_giou(
    ax0: float, ay0: float, ax1: float, ay1: float, bx0: float, by0: float, bx1: float, by1: float
) -> tuple[float, float, float, float, float, float, float, float, float]:
    """Value and derivatives by the eight corners; those by the target are not needed here."""
    ix, ix0, ix1 = signed(ax0, ax1, bx0, bx1)
    iy, iy0, iy1 = signed(ay0, ay1, by0, by1)
    ex, ex0, ex1 = around(ax0, ax1, bx0, bx1)
    ey, ey0, ey1 = around(ay0, ay1, by0, by1)
    w, h = ax1 - ax0, ay1 - ay0
    union = w * h + (bx1 - bx0) * (by1 - by0) - ix * iy
    hull = ex * ey
    meets = where(ix > 0.0, where(iy > 0.0, 1.0, 0.0), 0.0)
    safe = where(meets > 0.0, union, 1.0)
    iou = meets * ix * iy / safe
    by_area = iou / safe - 1.0 / hull
    by_overlap = 1.0 / hull - meets * (1.0 + iou) / safe
    by_hull = union / (hull * hull)
    ox, oy, cx, cy = by_overlap * iy, by_overlap * ix, by_hull * ey, by_hull * ex  # by the sides of the overlap, and of the hull
    return (
        2.0 - iou - union / hull,
        ox * ix0 + cx * ex0 - by_area * h,
        oy * iy0 + cy * ey0 - by_area * w,
        ox * ix1 + cx * ex1 + by_area * h,
        oy * iy1 + cy * ey1 + by_area * w,
        0.0,
        0.0,
        0.0,
        0.0,
    )
