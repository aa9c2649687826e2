"""Chapter 6, by hand: a box that grows without coming closer, what each loss says of it, and why some boxes run away."""

import torch

import losskit
from losskit.tour.chapter import Block, Cell, Heading, Paragraph, Table, Text
from losskit.tour.chapters.coins.experiment import APART, MIDDLE
from losskit.tour.texts import texts

TEXTS = texts("coins")

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
        (TEXTS("example.iou"), [s.iou for s in steps]),
        (TEXTS("example.penalty"), [s.distance for s in steps]),
        (TEXTS("example.iou_loss"), [1.0 - s.iou for s in steps]),
        (TEXTS("example.losskit_iou"), said[0]),
        (TEXTS("example.giou_loss"), [s.giou for s in steps]),
        (TEXTS("example.losskit_giou"), said[1]),
        (TEXTS("example.diou_loss"), [s.diou for s in steps]),
        (TEXTS("example.losskit_diou"), said[2]),
        (TEXTS("example.eiou_loss"), [s.eiou for s in steps]),
        (TEXTS("example.losskit_eiou"), said[3]),
    )
    return (
        Heading(TEXTS("example.heading")),
        Table(
            (TEXTS("example.side"), *(Text(f"{side:g}", f"{side:g}") for side in SIDES)),
            tuple((Cell(name), *(Cell(f"{v:.4f}") for v in numbers)) for name, numbers in lines),
            TEXTS("example.caption", target=MIDDLE[2] - MIDDLE[0], apart=apart),
        ),
        Paragraph(TEXTS("example.meaning", apart=apart, twice=2 * area)),
    )
