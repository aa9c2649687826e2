"""Turned boxes with 50 digits: corners, the polygon that two boxes share, and from it IoU, GIoU and DIoU with the enclosing box along the second box."""

from mpmath import mp, mpf

mp.dps = 50


def corners(box):
    x, y, w, h, a = box
    c, s = mp.cos(a), mp.sin(a)
    return [(x + c * i * w / 2 - s * j * h / 2, y + s * i * w / 2 + c * j * h / 2) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def cut(polygon, first, second):
    """What of a polygon lies to the left of a line."""
    (x0, y0), (x1, y1) = first, second
    sides = [(x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) for x, y in polygon]
    kept = []
    for k, ((x, y), side) in enumerate(zip(polygon, sides, strict=True)):
        (u, v), other = polygon[(k + 1) % len(polygon)], sides[(k + 1) % len(polygon)]
        if side >= 0:
            kept.append((x, y))
        if side * other < 0:
            t = side / (side - other)
            kept.append((x + t * (u - x), y + t * (v - y)))
    return kept


def area(polygon):
    following = polygon[1:] + polygon[:1]
    return abs(sum((x * v - u * y for (x, y), (u, v) in zip(polygon, following, strict=True)), mpf(0))) / 2


def shared(a, b):
    polygon, border = corners(a), corners(b)
    for k in range(4):
        polygon = cut(polygon, border[k], border[(k + 1) % 4])
    return area(polygon)


def iou(a, b):
    both = shared(a, b)
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def extents(a, b):
    """Sides of the smallest box along b that holds both, and the distance of the centres."""
    c, s = mp.cos(b[4]), mp.sin(b[4])
    seen = [(c * (x - b[0]) + s * (y - b[1]), c * (y - b[1]) - s * (x - b[0])) for x, y in corners(a)]
    sides = [max(*(p[k] for p in seen), b[2 + k] / 2) - min(*(p[k] for p in seen), -b[2 + k] / 2) for k in (0, 1)]
    return sides, mp.hypot(a[0] - b[0], a[1] - b[1])


def iou_loss(a, b, mode="linear"):
    value = iou(a, b)
    return {"linear": 1 - value, "square": 1 - value**2, "log": -mp.log(max(value, mpf(10) ** -18))}[mode]


def giou_loss(a, b):
    (ex, ey), _ = extents(a, b)
    union = a[2] * a[3] + b[2] * b[3] - shared(a, b)
    return 1 - iou(a, b) + 1 - union / (ex * ey)


def diou_loss(a, b):
    (ex, ey), d = extents(a, b)
    return 1 - iou(a, b) + d**2 / (ex**2 + ey**2)


def slopes(loss, a, b):
    """Derivatives by all ten numbers."""
    step, found = mpf(10) ** -20, []
    for k in range(10):
        high, low = list(a) + list(b), list(a) + list(b)
        high[k] += step
        low[k] -= step
        found.append((loss(high[:5], high[5:]) - loss(low[:5], low[5:])) / (2 * step))
    return found
