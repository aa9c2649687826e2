"""Chapter 6, by hand: a box that grows without coming closer, what each loss says of it, and why some boxes run away."""

import torch

import losskit
from losskit.tour.chapter import Block, Cell, Heading, Paragraph, Table, Text
from losskit.tour.coins_run import APART, MIDDLE

SIDES = (4.0, 16.0, 64.0, 256.0, 1024.0)
LOSSES = (losskit.iou_loss, losskit.giou_loss, losskit.diou_loss, losskit.eiou_loss)


class Step:
    """The numbers of a square of a given side about the middle of the start apart, and of the target: both squares on the diagonal, so one axis tells all."""

    def __init__(self, side: float) -> None:
        middle, (low, _, high, _) = (APART[0] + APART[2]) / 2, MIDDLE
        self.box = (middle - side / 2, middle + side / 2)
        self.target = high - low
        overlap = max(0.0, min(self.box[1], high) - max(self.box[0], low)) ** 2
        self.around = max(self.box[1], high) - min(self.box[0], low)  # side of the square around both
        self.union = side**2 + self.target**2 - overlap
        self.iou = overlap / self.union
        self.giou = 1.0 - self.iou + (self.around**2 - self.union) / self.around**2
        self.distance = ((low + high) / 2 - middle) ** 2 / self.around**2  # d^2 / c^2: twice the square in both
        self.diou = 1.0 - self.iou + self.distance
        self.eiou = self.diou + 2.0 * (side - self.target) ** 2 / self.around**2


def by_hand() -> tuple[Block, ...]:
    """The example, step by step."""
    steps = [Step(side) for side in SIDES]
    middle, area = (APART[0] + APART[2]) / 2, (MIDDLE[2] - MIDDLE[0]) ** 2
    apart = 2.0 * ((MIDDLE[0] + MIDDLE[2]) / 2 - middle) ** 2
    boxes = torch.tensor([(step.box[0], step.box[0], step.box[1], step.box[1]) for step in steps])
    with losskit.use_engine("torch"):  # five boxes are no reason to compile a loop
        said = [loss(boxes, torch.tensor(MIDDLE).expand_as(boxes), reduction="none").tolist() for loss in LOSSES]
    lines = (
        (Text("IoU", "IoU"), [s.iou for s in steps]),
        (Text("d² / c²", "d² / c²"), [s.distance for s in steps]),
        (Text("IoU loss: 1 - IoU", "IoU 损失：1 - IoU"), [1.0 - s.iou for s in steps]),
        (Text("losskit.iou_loss", "losskit.iou_loss"), said[0]),
        (Text("GIoU: 1 - IoU + (C - U) / C", "GIoU：1 - IoU + (C - U) / C"), [s.giou for s in steps]),
        (Text("losskit.giou_loss", "losskit.giou_loss"), said[1]),
        (Text("DIoU: 1 - IoU + d² / c²", "DIoU：1 - IoU + d² / c²"), [s.diou for s in steps]),
        (Text("losskit.diou_loss", "losskit.diou_loss"), said[2]),
        (Text("EIoU: DIoU + 2 (s - t)² / e²", "EIoU：DIoU + 2 (s - t)² / e²"), [s.eiou for s in steps]),
        (Text("losskit.eiou_loss", "losskit.eiou_loss"), said[3]),
    )
    return (
        Heading(Text("By hand: a box that grows and comes no closer", "手算：只长大、不靠近的框")),
        Table(
            (Text("Side s of the box", "框的边长 s"), *(Text(f"{side:g}", f"{side:g}") for side in SIDES)),
            tuple((Cell(name), *(Cell(f"{v:.4f}") for v in numbers)) for name, numbers in lines),
            Text(
                f"A square of side s about the middle of the start apart; the target is the box in the middle, of side t = {MIDDLE[2] - MIDDLE[0]:g}. U: union; C: area of the enclosing box, e its side, c its diagonal; d: distance of the middles, d² = {apart:g}.",
                f"以远处起点的中心为中心、边长 s 的正方形；目标为中央的框，边长 t = {MIDDLE[2] - MIDDLE[0]:g}。U：并集；C：外接框的面积，e 为其边长，c 为其对角线；d：中心距离，d² = {apart:g}。",
            ),
        ),
        Paragraph(
            Text(
                "IoU says 1 of every box that does not overlap, whatever its size: no slope, no step. DIoU and CIoU add d² / c², and there are two ways to make that smaller: come closer, or grow, for c grows along. "
                f"Once the box holds the target, of area A, its IoU is A / s² and its penalty d² / 2s²: to grow gives up the one and saves the other, and pays for ever where d² is more than 2 A, here {apart:g} against {2 * area:g}. The slope becomes tiny, but AdamW divides its size out and goes on. Where steps are as small as the slope, as in chapter 5, "
                "a box may well come back. GIoU's loss is smallest at a certain size (which does not always save it, see below), EIoU also counts how far widths and heights are apart, WIoU holds c constant in its gradient.",
                f"只要不相交，无论多大，IoU 损失都是 1：没有斜率，就没有脚步。DIoU 与 CIoU 加上 d² / c²，要减小它有两条路：靠近，或者长大，因为 c 跟着变大。一旦框住目标(面积为 A)，IoU 为 A / s²，惩罚为 d² / 2s²：再长大，放弃前者、省下后者，只要 d² 大于 2A(这里 {apart:g} 比 {2 * area:g})就永远划算。"
                "斜率会变得极小，但 AdamW 会除掉它的大小，继续走。步长与斜率成正比时(如第 5 章)，框可能自己回来。GIoU 的损失在某个大小处最小(也并非总能得救，见下文)，EIoU 还要算宽高差多少，WIoU 求导时把 c 当作常数。",
            )
        ),
    )
