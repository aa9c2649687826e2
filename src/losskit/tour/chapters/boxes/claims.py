"""Chapter on boxes, the judgement: what Zheng et al. (2020) say of their simulation, claim by claim, and whether it came out; by rules on the numbers."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losskit.tour.chapter import Text
from losskit.tour.chapters.boxes.experiment import EVERY, FEW, PATIENCE, PUBLISHED, STEPS, Course, Findings
from losskit.tour.texts import texts

TEXTS = texts("boxes")

FAR = 2.0  # distance from which places are compared by direction: there hardly a box overlaps its target
AXIS, DIAGONAL = 10.0, 35.0  # degrees from the nearest axis: up to, and from
BASIN = 0.1  # boxes have converged, and a place belongs to a loss's basin, if at most this share of the error at the start is left
LARGE = 0.1  # ... and an error is large if more than this is left
GROWN = 1.5  # how many times its area a box is called grown from
Places = NDArray[np.bool_]


class Claim(NamedTuple):
    """A claim, its short name, and what came of it with GIoU as defined and with the published code's; the latter is None where GIoU plays no part."""

    name: Text
    words: Text
    measured: Text
    held: bool
    published: Text | None
    held_published: bool


def direction(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees from the nearest axis, 0 to 45."""
    angle = np.degrees(np.arctan2(offset[:, 1], offset[:, 0])) % 90.0
    return np.asarray(np.minimum(angle, 90.0 - angle))


def places(found: Findings) -> tuple[Places, Places]:
    """Far places on the axes, and on the diagonals."""
    far, fold = np.hypot(*found.offset.T) > FAR, direction(found.offset)
    return far & (fold <= AXIS), far & (fold >= DIAGONAL)


def left(found: Findings, name: str, where: Places) -> float:
    """The share of the error at the start that is left at the end, over these places; NaN if there are none."""
    return float(found.courses[name].final[where].sum() / found.start[where].sum()) if where.any() else math.nan


def percent(share: float) -> str:
    """A share as text."""
    return "-" if math.isnan(share) else f"{share:.1%}"


def steps_to(course: Course, share: float) -> int | None:
    """After how many steps the error is down to this share, if ever."""
    there = np.flatnonzero(course.error <= share * course.error[0])
    return int(there[0]) if len(there) else None


def basin(found: Findings, name: str) -> float:
    """The share of places from which the boxes arrive."""
    return float(np.mean(found.courses[name].final <= BASIN * found.start))


def ahead(a: Course, b: Course) -> tuple[Text, bool]:
    """Whether the first comes faster, and closer, than the second."""
    fast, slow = steps_to(a, BASIN), steps_to(b, BASIN)
    near, far = a.error[-1], b.error[-1]
    return TEXTS("claims.ahead", fast=fast, slow=slow, near=near, far=far), fast is not None and (slow is None or fast < slow) and near < far


def _iou(found: Findings, giou: str) -> tuple[Text, bool]:
    moved = found.courses["iou_loss"].moved
    return TEXTS("claims.iou.measured", apart=found.apart, moved=moved), moved == 0.0


def _basin(found: Findings, giou: str) -> tuple[Text, bool]:
    ours, theirs = basin(found, giou), basin(found, "iou_loss")
    return TEXTS("claims.basin.measured", ours=ours, theirs=theirs), ours > theirs


def _cross(found: Findings, giou: str) -> tuple[Text, bool]:
    axis, diagonal = (left(found, giou, where) for where in places(found))
    return TEXTS("claims.cross.measured", axis=percent(axis), diagonal=percent(diagonal)), axis > LARGE and axis > 2.0 * diagonal


def _growth(found: Findings, giou: str) -> tuple[Text, bool]:
    area, other = found.courses[giou].area, found.courses["diou_loss"].area
    top = int(area.argmax())
    return TEXTS("claims.growth.measured", first=area[0], top_area=area[top], step=top * EVERY, other=other.max()), bool(area[top] > GROWN * area[0])


def _patience(found: Findings, giou: str) -> tuple[Text, bool]:
    few, many = found.patient[giou]
    return TEXTS(
        "claims.patience.measured", steps=STEPS, few=few, many_steps=PATIENCE * STEPS, many=many, places=min(FEW, len(found.offset))
    ), many < 0.5 * LARGE * found.start.mean() and many < few


def _over_iou(found: Findings, giou: str) -> tuple[Text, bool]:
    return ahead(found.courses["diou_loss"], found.courses["iou_loss"])


def _over_giou(found: Findings, giou: str) -> tuple[Text, bool]:
    return ahead(found.courses["diou_loss"], found.courses[giou])


def _sideways(found: Findings, giou: str) -> tuple[Text, bool]:
    axis, _ = places(found)
    ours, theirs = left(found, "diou_loss", axis), left(found, giou, axis)
    return TEXTS("claims.sideways.measured", ours=percent(ours), theirs=percent(theirs)), theirs > LARGE and ours < 0.5 * theirs


def _ciou(found: Findings, giou: str) -> tuple[Text, bool]:
    return ahead(found.courses["ciou_loss"], found.courses["diou_loss"])


RULES: tuple[tuple[Text, Text, Callable[[Findings, str], tuple[Text, bool]], bool], ...] = (
    (
        TEXTS("claims.iou.name"),
        TEXTS("claims.iou.words"),
        _iou,
        False,
    ),
    (
        TEXTS("claims.basin.name"),
        TEXTS("claims.basin.words"),
        _basin,
        True,
    ),
    (
        TEXTS("claims.cross.name"),
        TEXTS("claims.cross.words"),
        _cross,
        True,
    ),
    (
        TEXTS("claims.growth.name"),
        TEXTS("claims.growth.words"),
        _growth,
        True,
    ),
    (
        TEXTS("claims.patience.name"),
        TEXTS("claims.patience.words"),
        _patience,
        True,
    ),
    (
        TEXTS("claims.over_iou.name"),
        TEXTS("claims.over_iou.words"),
        _over_iou,
        False,
    ),
    (
        TEXTS("claims.over_giou.name"),
        TEXTS("claims.over_giou.words"),
        _over_giou,
        True,
    ),
    (
        TEXTS("claims.sideways.name"),
        TEXTS("claims.sideways.words"),
        _sideways,
        True,
    ),
    (
        TEXTS("claims.ciou.name"),
        TEXTS("claims.ciou.words"),
        _ciou,
        False,
    ),
)


def claims(found: Findings) -> tuple[Claim, ...]:
    """Every claim, judged."""
    judged = []
    for name, words, rule, by_giou in RULES:
        measured, held = rule(found, "giou_loss")
        published, held_published = rule(found, PUBLISHED)
        judged.append(Claim(name, words, measured, held, published if by_giou else None, held_published))
    return tuple(judged)
