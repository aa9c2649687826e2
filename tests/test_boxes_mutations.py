"""The suite notices: formulas of boxes are broken on purpose, one word at a time, and the textbook, a difference quotient or a promise must say so.

Formulas run on Python's numbers here. A broken file is the losses' own source with a word replaced, and so are the files that take parts from it.
"""

import inspect
import sys
from importlib import import_module
from types import ModuleType

import pytest

from losskit import LOSSES
from losskit.testing.boxes import combinations, exact_pair, in_order, ordinary

FOLDER = "losskit.losses.detection"
# name of the file, in the order in which they take parts from each other: the loss, its formulas with the settings they stand for, their parameters
FILES = {"plane": ("", {}, ()), "iou": ("iou_loss", {"linear": {}, "square": {"mode": "square"}, "logarithm": {"mode": "log"}}, ())} | {
    name: (f"{name}_loss", {"formula": settings}, params)
    for name, settings, params in (
        ("giou", {}, ()),
        ("diou", {}, ()),
        ("ciou", {"alpha_gradient": True}, (1.0,)),
        ("eiou", {}, ()),
        ("focal_eiou", {"gamma": 0.5}, (0.5, 0.0)),
        ("alpha_iou", {"power": 3.0}, (3.0, 2.0)),
        ("mpdiou", {"image_size": (3.0, 4.0)}, (0.2,)),
        ("inner_iou", {"ratio": 0.75}, (0.75,)),
        ("nwd", {"constant": 2.0}, (0.5**1.5,)),
        ("siou", {"theta": 4.0}, (4.0, 3.0)),
        ("wiou", {}, ()),
    )
}
CORNERS = ("mpdiou", "nwd")  # the distance of the corners itself draws those out of order back
HELD = ("ciou", "focal_eiou", "wiou")  # no derivative of their value, where it is compared


def broken(file="", old="", new=""):
    """The files' formulas, with one word of one file replaced."""
    held = {f"{FOLDER}.{name}": sys.modules[f"{FOLDER}.{name}"] for name in FILES}
    losses, found = dict(LOSSES.losses), {}
    try:
        for name, (_, formulas, params) in FILES.items():
            source = inspect.getsource(held[f"{FOLDER}.{name}"])
            if name == file:
                assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {name}.py"
                source = source.replace(old, new)
            module = ModuleType(f"{FOLDER}.{name}")
            sys.modules[module.__name__] = module
            exec(compile(source, f"{name}.py", "exec"), module.__dict__)
            for formula, settings in formulas.items():
                found[name, formula] = (getattr(module, formula), settings, params)
    finally:
        sys.modules.update(held)
        LOSSES.losses.clear()
        LOSSES.losses.update(losses)
    return found


ORDINARY = [x + t for x, t in zip(*(boxes.tolist() for boxes in ordinary(12)), strict=True)]
ORDINARY += [[0.0, 0.0, 1.0, 2.0, 5.0, 3.0, 6.0, 7.0], [0.0, 1.0, 1.0, 2.0, 5.0, 0.0, 6.0, 4.0]]  # apart along both axes, along one
EXACT = {
    (name, formula): [exact_pair(LOSSES[loss], settings, p[:4], p[4:]) for p in ORDINARY]
    for name, (loss, formulas, _) in FILES.items()
    for formula, settings in formulas.items()
}
A, B = combinations([0.0, 1.0, 1.5, 4.0], [0.0, 0.01, 3.0, 4.0])
EVERY_WAY = list(zip(A.tolist(), in_order(A).tolist(), B.tolist(), strict=True))
EVERY_WAY.append(([0.03, -0.001, -0.03, 0.001], [-0.03, -0.001, 0.03, 0.001], [-2.0, -300.0, 2.0, 300.0]))


def complaints(found):
    """What is wrong with formulas."""
    told = set()
    for key, (formula, _, params) in found.items():
        for p, exact in zip(ORDINARY, EXACT[key], strict=True):
            value, *slopes = formula(*p, *params)
            if abs(value - exact.value) > 1e-12 * exact.value:
                told.add("value")
            if any(abs(s - e) > 1e-9 for s, e in zip(slopes, exact.grad_input + exact.grad_target, strict=True)):
                told.add("gradient")
        for a, ordered, b in EVERY_WAY:
            value, *slopes = formula(*a, *b, *params)
            if value < formula(*ordered, *b, *params)[0] - 1e-12:
                told.add("disorder rewarded")
            if a == ordered == b and (value or any(slopes)):
                told.add("identical boxes")
            if any(a[i] > a[i + 2] and b[i] != b[i + 2] and slopes[i] <= slopes[i + 2] for i in (0, 1)):
                told.add("no way back to order")
            for i in (0, 1):
                size, wrong = abs(b[i + 2] - b[i]), a[i] - a[i + 2]
                if key[0] not in CORNERS and wrong > 0 and size and abs(slopes[i] - slopes[i + 2] - 2 * size / (wrong + size) ** 2) > 1e-9:
                    told.add("more than its price moves the corners of a box out of order")
            if (
                key[0] not in HELD
                and smooth(a, b)
                and any(abs(m - s) > 0.02 * (1 + abs(s)) for m, s in zip(quotients(formula, a, b, params), slopes[:4], strict=True))
            ):
                told.add("gradient at ties or out of order")
    return told


def quotients(formula, a, b, params):
    """The derivatives by the first box as differences to both sides: at a kink, half of each."""
    for k in range(4):
        low, high = list(a), list(a)
        low[k] -= 1e-6
        high[k] += 1e-6
        yield (formula(*high, *b, *params)[0] - formula(*low, *b, *params)[0]) / 2e-6


def smooth(a, b):
    """Whether differences show the derivative: targets with an area, boxes that do not touch, no size or length out of order of 0, nothing identical."""
    for i in (0, 1):
        first, last = (a[i], a[i + 2]) if a[i] <= a[i + 2] else ((a[i] + a[i + 2]) / 2,) * 2
        low, high = sorted((b[i], b[i + 2]))
        if min(abs(v) for v in (high - low, a[i + 2] - a[i], min(last, high) - max(first, low))) < 1e-3:
            return False
    return a != b


def test_unbroken_formulas_pass():
    assert complaints(broken()) == set()


MUTATIONS = [
    ("no half steps", "plane", "where(a > b, 1.0, where(a < b, 0.0, 0.5))", "where(a > b, 1.0, 0.0)"),
    ("sorted corners", "plane", "middle = 0.5 * a0 + 0.5 * a1", "middle = a1"),
    ("no price", "plane", "return value + (penalty_x + penalty_y), gax0", "return value, gax0"),
    ("price of one axis", "plane", "(penalty_x + penalty_y), gax0", "(penalty_x + penalty_x), gax0"),
    ("price leads away", "plane", "where(turned, both + by_wrong, gl), where(turned, both - by_wrong, gh)", "where(turned, both - by_wrong, gl), where(turned, both + by_wrong, gh)"),
    ("price has no gradient", "plane", "return share, size * inverse * inverse, -share * inverse", "return share, 0.0 * size, -share * inverse"),
    ("middle has no gradient", "plane", "both = 0.5 * (gl + gh)", "both = 0.0 * (gl + gh)"),
    ("extent is the overlap", "plane", "extent = where(j > v, j, v)", "extent = where(j < v, j, v)"),
    ("gap for overlap", "plane", "where(overlap < 0.0, -overlap, 0.0)", "where(overlap < 0.0, 0.0, overlap)"),
    ("alone from the wrong end", "plane", "(low - i) + (j - high)", "(low - i) + (high - j)"),
    ("intersection twice", "plane", "union = ix * iy + rest", "union = 2.0 * ix * iy + rest"),
    ("one side left out", "plane", "+ (bx * sx * qy + ix * (by * sy))", "+ bx * sx * qy"),
    ("1 / IoU of one", "plane", "return where(none, where(same, 1.0, 0.0)", "return where(none, where(same, 0.0, 1.0)"),
    ("sizes of the target", "plane", "by_area * qy * sx + by_vx", "by_area * py * sx + by_vx"),
    ("derivative by the union", "plane", "by_area = -by_iou", "by_area = by_iou"),
    ("derivative by the overlap", "plane", "by_iou * (1.0 + iou) * inverse", "by_iou * (1.0 - iou) * inverse"),
    ("derivative of apart boxes", "plane", "meets = where(overlap >= 0.0, by_o, 0.0)", "meets = by_o + where(overlap < 0.0, 1.0, 0.0)"),
    ("hull forgotten", "plane", "free - empty, union", "free, union"),
    ("hull of boxes far apart forgotten", "plane", "union - filled)", "union)"),
    ("free of the other", "plane", "spread((ay + gy) * sy", "spread((by + gy) * sy"),
    ("ends within", "plane", "-along_x * qy,", "along_x * qy,"),
    ("centre of one box", "plane", "gu = -centre - by_v", "gu = centre - by_v"),
    ("square", "iou", "lost * (1.0 + iou), -2.0 * iou", "lost * (1.0 + iou), -2.0"),
    ("logarithm", "iou", "-log1p(-lost)", "log1p(lost)"),
    ("empty corner", "giou", "ax * by + bx * ay", "ax * by"),
    ("gap along y", "giou", "gy * (maximum", "0.5 * gy * (maximum"),
    ("gap along both", "giou", "(ay + by) + gy)", "(ay + by))"),
    ("sign of the union", "giou", "-1.0, 1.0, empty", "-1.0, -1.0, empty"),
    ("distance of one axis", "diou", "(mx * mx + my * my) * inverse", "(mx * mx + mx * my) * inverse"),
    ("diagonal in the gradient", "diou", "-share * dx * double", "share * dx * double"),
    ("distance in the gradient", "diou", "my * double\n", "mx * double\n"),
    ("4 / pi^2", "ciou", "0.4052847345693511", "0.8105694691387022"),
    ("8 / pi^2", "ciou", "0.8105694691387022", "0.4052847345693511"),
    ("sign of the paper", "ciou", "return atan2(a, b), b * slope, -a * slope", "return atan2(a, b), -b * slope, a * slope"),
    ("alpha without IoU", "ciou", "inverse_of(lost + v)", "inverse_of(1.0 + v)"),
    ("alpha^2 forgotten", "ciou", "-1.0 + full * alpha * alpha", "-1.0 + 0.0 * full"),
    ("full derivative of v", "ciou", "alpha + full * alpha * (1.0 - alpha)", "alpha + full * alpha"),
    ("angle of the target", "ciou", "-by_off * by_vx", "by_off * by_vx"),
    ("angle of the middle", "ciou", "where(ax0 > ax1, ax0 - ax1, wx)", "wx"),
    ("size of the picture", "eiou", "dx, dy = dx * sx, dy * sy", "dx, dy = dx * sx, dy * sx"),
    ("extent in the size's term", "eiou", "by_ey - dy * by_wy", "by_ey"),
    ("digits of the sizes", "plane", "(hx - vx) - (lx - ux)", "(hx - vx) + (lx - ux)"),
    ("weight not constant", "focal_eiou", "k * value, -k, 0.0", "k * value, -k - k * value, 0.0"),
    ("weight of the box as it comes", "focal_eiou", "where(ax0 > ax1, ax1, ax0), where(ax0 > ax1, ax0, ax1)", "ax0, ax1"),
    ("apart counts", "focal_eiou", "exp_product(gamma, log), nothing)", "exp_product(gamma, log), 1.0)"),
    ("power of the derivative", "alpha_iou", "exp_product(less, log)", "exp_product(power, log)"),
    ("power forgotten", "alpha_iou", "steepest(power * exp", "steepest(exp"),
    ("corner of the other", "mpdiou", "(ax1 - vx) * unit", "(ax1 - ux) * unit"),
    ("corners of a target out of order", "mpdiou", "gbx0 - where(bx0 > bx1, x1, x0)", "gbx0 - where(bx0 > bx1, x0, x1)"),
    ("scaled twice", "inner_iou", "p, q = ratio * (j - i)", "p, q = ratio * ratio * (j - i)"),
    ("grown about the wrong ends", "inner_iou", "middle - grown, middle + grown", "middle + grown, middle - grown"),
    ("reach without the distance", "inner_iou", " - absolute(middle)", " - middle"),
    ("ends swapped", "inner_iou", "a_middle - a_size, a_middle + a_size", "a_middle + a_size, a_middle - a_size"),
    ("scale forgotten in the gradient", "inner_iou", "ratio * (by_v +", "(by_v +"),
    ("price of the scaled box", "inner_iou", "where(turned, -by_wrong, a_size)", "where(turned, -ratio * by_wrong, a_size)"),
    ("distance squared", "nwd", "root * largest", "length * largest"),
    ("slope of the target", "nwd", "-gbx0, -gby0", "gbx0, -gby0"),
    ("angle", "siou", "gamma = 2.0 - 2.0 * px", "gamma = 2.0 + 2.0 * px"),
    ("angle has no gradient", "siou", "- by_gamma * turn * py * sign(mx)", ""),
    ("shape of the larger", "siou", "slope * v * inverse * inverse, -slope * inverse)", "slope * inverse, -slope * inverse)"),
    ("half of shape and distance", "siou", "lost + 0.5 * (distance", "lost + (distance"),
    ("diagonal not constant", "wiou", "value, -factor, 0.0, 0.0, 0.0,", "value, -factor, 0.0, 0.0, -value,"),
    ("factor of IoU", "wiou", "value, -factor,", "value, -1.0,"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new"), [m[1:] for m in MUTATIONS], ids=[m[0] for m in MUTATIONS])
def test_a_broken_formula_is_noticed(file, old, new):
    assert complaints(broken(file, old, new))


def test_files_are_left_as_they_were():
    broken("giou", "ax * by + bx * ay", "ax * by")
    assert import_module(f"{FOLDER}.giou").giou_loss is LOSSES["giou_loss"].function
