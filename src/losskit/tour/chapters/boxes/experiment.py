"""Chapter on boxes, the experiment: the simulation of Zheng et al. (2020), boxes that descend to their targets by the gradient of a loss and nothing else.

Everything goes through the public losses. The boxes of a few points (`CHUNK`), which stay in the processor's last cache, take all their steps before the next.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import losskit
from losskit.contract.boxes import boxes
from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Advance
from losskit.tour.chapters.boxes.published import published_giou
from losskit.tour.compare import Numbers

POINTS, RADIUS, CENTRE = 5000, 3.0, 10.0
RATIOS = (1 / 4, 1 / 3, 1 / 2, 1.0, 2.0, 3.0, 4.0)  # width to height, of targets and of anchors
SCALES = (0.5, 0.67, 0.75, 1.0, 1.33, 1.5, 2.0)  # areas of anchors; targets have area 1
CASES = len(RATIOS) * len(SCALES) * len(RATIOS)  # regressions of a point
STEPS = 200
PATIENCE, FEW = 10, 50  # for the claim about more iterations: how many times as many, for how many points at most
CHUNK = 500  # points at a time: 171,500 boxes, 2.7 MB for each of boxes, targets and gradient. 100 take twice the time, which then goes into calls
EVERY = 10  # steps between looks at the areas
ON_TARGET = 0.9  # IoU from which a box has arrived
PUBLISHED = "published_giou"  # no loss of this package: see `published`
PAPER = ("smooth_l1_loss", "iou_loss", "giou_loss", "diou_loss", "ciou_loss")
COMPARED = (*PAPER, PUBLISHED)
# settings of newer losses that carry a length: the scene is 20 wide, boxes are about 1 wide
SETTINGS: dict[str, dict[str, Any]] = {"mpdiou_loss": {"image_size": (20, 20)}, "nwd_loss": {"constant": 1.0}}
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Problem(NamedTuple):
    """Where the boxes start and where they should go: (points, cases, 4), centre and size; point by point over scale, anchor's ratio, target's ratio."""

    start: Tensor
    target: Tensor

    @property
    def offset(self) -> Numbers:
        """From the targets' centre to each point, (points, 2)."""
        return self.start[:, 0, :2].double().numpy() - CENTRE


class Course(NamedTuple):
    """How the boxes fared under one loss."""

    error: Numbers  # mean L1 distance of (x, y, w, h) at the start and after each step
    area: Numbers  # mean area of the boxes that started apart from their target, every `EVERY` steps
    final: Numbers  # mean error at the end, by point
    iou: Numbers  # mean IoU at the end, by point
    arrived: float  # share of boxes with an IoU of `ON_TARGET` at the end
    moved: float  # the farthest that any box apart from its target at the start has come, in L1


class Findings(NamedTuple):
    """Everything the chapter is written from."""

    offset: Numbers  # of each point from the targets' centre
    start: Numbers  # mean error at the start, by point
    apart: float  # share of boxes that do not overlap their target at the start
    courses: dict[str, Course]  # by the loss's function
    patient: dict[str, tuple[float, float]]  # final error under both GIoUs for a few points, after STEPS and after PATIENCE * STEPS


def newer() -> tuple[str, ...]:
    """The losses of boxes beyond the paper's that this version has."""
    return tuple(name for name, loss in LOSSES.items() if loss.pattern == "boxes" and name not in PAPER)


def title(name: str) -> str:
    """How a loss is called here: as in the library."""
    return "giou_loss (published code)" if name == PUBLISHED else name


def problem(points: int, seed: int) -> Problem:
    """The paper's anchors and targets, at `points` random places, uniform in the disc."""
    draw = torch.Generator().manual_seed(seed)
    radius = RADIUS * torch.rand(points, generator=draw, dtype=torch.float64).sqrt()
    angle = 2.0 * torch.pi * torch.rand(points, generator=draw, dtype=torch.float64)
    place = CENTRE + radius[:, None] * torch.stack((angle.cos(), angle.sin()), -1)
    ratio, scale = (torch.tensor(v, dtype=torch.float64) for v in (RATIOS, SCALES))
    shape = torch.stack((ratio.sqrt(), 1.0 / ratio.sqrt()), -1)  # of area 1
    sizes = scale.sqrt()[:, None, None] * shape  # (scale, ratio, 2)
    start = torch.cat((place[:, None, None, None].expand(-1, 7, 7, 7, 2), sizes[None, :, :, None].expand(points, -1, -1, 7, 2)), -1)
    goal = torch.cat((torch.full_like(shape, CENTRE), shape), -1)
    return Problem(start.reshape(points, CASES, 4).float(), goal.expand(points, 7, 7, 7, 4).reshape(points, CASES, 4).float())


def rate(step: int, steps: int) -> float:
    """The paper's: 0.1 for the first 80 %, 0.01 up to 90 %, then 0.001."""
    return 0.1 if 10 * step < 8 * steps else 0.01 if 10 * step < 9 * steps else 0.001


def loss_of(name: str) -> Loss:
    """The sum of a loss over boxes, each times its weight."""
    if name == PUBLISHED:
        return lambda x, target, weight: boxes(
            published_giou, x, target, box_format="cxcywh", mask=None, sample_weight=weight, normalizer=None, reduction="sum"
        )  # fmt: skip
    loss = LOSSES[name]
    settings = SETTINGS.get(name, loss.arguments[0] if name not in PAPER else {})
    if loss.pattern == "boxes":
        made = module(loss, {**settings, "box_format": "cxcywh", "reduction": "sum"})
        return lambda x, target, weight: made(x, target, sample_weight=weight)
    each = module(loss, {**settings, "reduction": "sum"})  # of the four numbers
    return lambda x, target, weight: each(x, target, sample_weight=weight[:, None])


def overlap_loss(x: Tensor, target: Tensor) -> Tensor:
    """1 - IoU of each box."""
    with torch.no_grad():
        return losskit.iou_loss(x, target, box_format="cxcywh", reduction="none")


def descend(loss: Loss, x: Tensor, target: Tensor, steps: int, look: Callable[[int], None] = lambda done: None) -> None:
    """Move boxes (n, 4) in place, each by rate * (2 - IoU) along its own gradient; `look` is called before the first step and after every one.

    2 - IoU is a sample weight: the fused loss multiplies it in while it writes the gradient.
    """
    x.requires_grad_()
    look(0)
    for step in range(steps):
        (slope,) = torch.autograd.grad(loss(x, target, overlap_loss(x, target).add_(1.0)), x)
        with torch.no_grad():
            x.add_(slope, alpha=-rate(step, steps))
        look(step + 1)
    x.requires_grad_(False)


def course(name: str, given: Problem, steps: int = STEPS, tick: Callable[[], None] = lambda: None) -> Course:
    """Run all regressions under one loss; `tick` is called after every chunk."""
    loss = loss_of(name)
    error, area = np.zeros(steps + 1), np.zeros(steps // EVERY + 1)
    final, iou, arrived, moved, outside = [], [], 0, 0.0, 0
    for start, goal in zip(given.start.split(CHUNK), given.target.split(CHUNK), strict=True):
        points = len(start)
        x, target = start.reshape(-1, 4).clone(), goal.reshape(-1, 4)
        apart = overlap_loss(x, target) == 1.0
        counted = apart.float()

        def look(done: int, x: Tensor = x, target: Tensor = target, counted: Tensor = counted) -> None:
            with torch.no_grad():
                error[done] += float(losskit.l1_loss(x, target, reduction="sum"))
                if done % EVERY == 0:
                    area[done // EVERY] += float((x[:, 2] * x[:, 3] * counted).sum(dtype=torch.float64))

        descend(loss, x, target, steps, look)
        overlap = 1.0 - overlap_loss(x, target)
        final.append((x - target).abs().view(points, -1).sum(1, dtype=torch.float64).numpy() / CASES)
        iou.append(overlap.view(points, -1).mean(1, dtype=torch.float64).numpy())
        arrived += int((overlap >= ON_TARGET).sum())
        outside += int(apart.sum())
        moved = max(moved, float(((x - start.reshape(-1, 4)).abs().sum(1) * counted).max()))
        tick()
    count = len(given.start) * CASES
    return Course(error / count, area / max(outside, 1), np.concatenate(final), np.concatenate(iou), arrived / count, moved)


@cache
def trace(name: str, start: tuple[float, ...], target: tuple[float, ...], steps: int = STEPS) -> Numbers:
    """The path of a single box, (steps + 1, 4)."""
    x, path = torch.tensor([start]), []
    descend(loss_of(name), x, torch.tensor([target]), steps, lambda done: path.append(x.detach()[0].double().numpy()))
    return np.stack(path)


def run(points: int, seed: int, names: Sequence[str] = COMPARED, advance: Advance = lambda done: None, tick: Callable[[], None] = lambda: None) -> Findings:
    """The experiment for every loss; `advance` is told of each, `tick` is called after each chunk."""
    given = problem(points, seed)
    courses = {}
    for name in names:
        courses[name] = course(name, given, tick=tick)
        advance(f"boxes: {title(name)}")
    few = Problem(given.start[:FEW], given.target[:FEW])
    patient = {n: (float(courses[n].final[:FEW].mean()), float(course(n, few, PATIENCE * STEPS).error[-1])) for n in ("giou_loss", PUBLISHED)}
    advance("boxes: GIoU, more steps")
    start = (given.start - given.target).abs().sum((1, 2), dtype=torch.float64).numpy() / CASES
    return Findings(given.offset, start, float((overlap_loss(*given) == 1.0).double().mean()), courses, patient)


def ticks(points: int, names: Sequence[str] = COMPARED) -> int:
    """How many times `run` calls `tick`."""
    return len(names) * -(-points // CHUNK)
