"""Chapter on boxes, the judgement: what Zheng et al. (2020) say of their simulation, claim by claim, and whether it came out; by rules on the numbers."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from losskit.tour.boxes_simulation import EVERY, FEW, PATIENCE, PUBLISHED, STEPS, Course, Findings
from losskit.tour.chapter import Text

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
    return Text(
        f"Steps until a tenth of the error is left: {fast or 'never'}, against {slow or 'never'}; error at the end: {near:.4f}, against {far:.4f}.",
        f"误差降到十分之一所需步数：{fast or '从未'}，对 {slow or '从未'}；最终误差：{near:.4f}，对 {far:.4f}。",
    ), fast is not None and (slow is None or fast < slow) and near < far


def _iou(found: Findings, giou: str) -> tuple[Text, bool]:
    moved = found.courses["iou_loss"].moved
    return Text(
        f"{found.apart:.0%} of the boxes start apart from their target; the farthest that any of them came is {moved:.2g}.",
        f"{found.apart:.0%} 的框一开始与目标不相交，其中移动最远的一个移动了 {moved:.2g}。",
    ), moved == 0.0


def _basin(found: Findings, giou: str) -> tuple[Text, bool]:
    ours, theirs = basin(found, giou), basin(found, "iou_loss")
    return Text(
        f"Places where at most a tenth of the error is left: {ours:.0%} of all under GIoU, {theirs:.0%} under IoU.",
        f"最终误差不超过初始十分之一的位置：GIoU 占 {ours:.0%}，IoU 占 {theirs:.0%}。",
    ), ours > theirs


def _cross(found: Findings, giou: str) -> tuple[Text, bool]:
    axis, diagonal = (left(found, giou, where) for where in places(found))
    return Text(
        f"Of the error at far places {percent(axis)} is left on the axes, {percent(diagonal)} on the diagonals.",
        f"远处位置剩下的误差：坐标轴方向 {percent(axis)}，对角方向 {percent(diagonal)}。",
    ), axis > LARGE and axis > 2.0 * diagonal


def _growth(found: Findings, giou: str) -> tuple[Text, bool]:
    area, other = found.courses[giou].area, found.courses["diou_loss"].area
    top = int(area.argmax())
    return Text(
        f"The mean area of boxes that start apart goes from {area[0]:.2f} to {area[top]:.2f} at step {top * EVERY} (DIoU: to {other.max():.2f}).",
        f"一开始不相交的框，平均面积从 {area[0]:.2f} 涨到第 {top * EVERY} 步的 {area[top]:.2f}(DIoU：{other.max():.2f})。",
    ), bool(area[top] > GROWN * area[0])


def _patience(found: Findings, giou: str) -> tuple[Text, bool]:
    few, many = found.patient[giou]
    return Text(
        f"{STEPS} steps leave {few:.4f}, {PATIENCE * STEPS} leave {many:.4f} (at {min(FEW, len(found.offset))} places).",
        f"{STEPS} 步剩 {few:.4f}，{PATIENCE * STEPS} 步剩 {many:.4f}(取 {min(FEW, len(found.offset))} 个位置)。",
    ), many < 0.5 * LARGE * found.start.mean() and many < few


def _over_iou(found: Findings, giou: str) -> tuple[Text, bool]:
    return ahead(found.courses["diou_loss"], found.courses["iou_loss"])


def _over_giou(found: Findings, giou: str) -> tuple[Text, bool]:
    return ahead(found.courses["diou_loss"], found.courses[giou])


def _sideways(found: Findings, giou: str) -> tuple[Text, bool]:
    axis, _ = places(found)
    ours, theirs = left(found, "diou_loss", axis), left(found, giou, axis)
    return Text(
        f"Of the error at far places on the axes {percent(ours)} is left under DIoU, {percent(theirs)} under GIoU.",
        f"远处坐标轴方向剩下的误差：DIoU {percent(ours)}，GIoU {percent(theirs)}。",
    ), theirs > LARGE and ours < 0.5 * theirs


def _ciou(found: Findings, giou: str) -> tuple[Text, bool]:
    return ahead(found.courses["ciou_loss"], found.courses["diou_loss"])


RULES: tuple[tuple[Text, Text, Callable[[Findings, str], tuple[Text, bool]], bool], ...] = (
    (
        Text("IoU moves only what overlaps", "IoU 只移动相交的框"),
        Text("IoU loss only works for boxes that overlap their target; the others never move.", "IoU 损失只对与目标相交的框有效，其余的框一动不动。"),
        _iou,
        False,
    ),
    (
        Text("the larger basin of GIoU", "GIoU 的盆地更大"),
        Text("GIoU enlarges the basin, the places from which boxes arrive.", "GIoU 扩大了“盆地”，即能够收敛的起始位置。"),
        _basin,
        True,
    ),
    (
        Text("the cross of GIoU", "GIoU 的十字"),
        Text(
            "But under GIoU boxes straight beside, above or below their target are left with a large error: a cross.",
            "但在 GIoU 下，位于目标正左右或正上下的框仍有很大误差：形成一个十字。",
        ),
        _cross,
        True,
    ),
    (
        Text("GIoU makes boxes larger first", "GIoU 先把框拉大"),
        Text("GIoU first makes a box larger until it reaches its target, and only then fits it.", "GIoU 先把框拉大到碰到目标，然后才去贴合。"),
        _growth,
        True,
    ),
    (
        Text("GIoU arrives with patience", "GIoU 多走几步能到"),
        Text("GIoU would arrive with enough steps.", "只要步数足够，GIoU 也能收敛。"),
        _patience,
        True,
    ),
    (
        Text("DIoU before IoU", "DIoU 优于 IoU"),
        Text("DIoU converges faster than IoU, and to a smaller error.", "DIoU 比 IoU 收敛更快，误差更小。"),
        _over_iou,
        False,
    ),
    (
        Text("DIoU before GIoU", "DIoU 优于 GIoU"),
        Text("DIoU converges faster than GIoU, and to a smaller error.", "DIoU 比 GIoU 收敛更快，误差更小。"),
        _over_giou,
        True,
    ),
    (
        Text("DIoU on the axes", "坐标轴方向的 DIoU"),
        Text(
            "Straight beside, above or below the target, where GIoU is almost IoU again, DIoU is fast.",
            "在目标的正左右、正上下方向，GIoU 几乎退化为 IoU，而 DIoU 依然很快。",
        ),
        _sideways,
        True,
    ),
    (
        Text("CIoU before DIoU", "CIoU 优于 DIoU"),
        Text("CIoU converges faster than DIoU, and to a smaller error.", "CIoU 比 DIoU 收敛更快，误差更小。"),
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
