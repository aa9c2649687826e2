"""The tables of this chapter."""

import math

import torch

from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Cell, Table, Text
from losskit.tour.chapters.imbalance.experiment import MEASURES, PLAIN, Scores
from losskit.tour.compare import Difference, spread
from losskit.tour.texts import texts

TEXTS = texts("imbalance")


def table(scores: dict[str, Scores], differences: dict[str, dict[str, Difference]]) -> Table:
    """One row per loss, in the order of the list."""
    rows = []
    for name, measured in scores.items():
        cells = [Cell(name, code=True)]
        for measure, about in MEASURES.items():
            mean, deviation = spread(measured[measure])
            apart = differences[name][measure] if name != PLAIN else None
            tone = "" if apart is None or not apart.clear else ("good" if (apart.mean > 0) == about.more else "bad")
            cells.append(Cell(f"{mean:.3f}", f"± {deviation:.3f}", tone))
        rows.append(tuple(cells))
    return Table(
        (TEXTS("table.loss"), *(m.title for m in MEASURES.values())),
        tuple(rows),
        TEXTS("table.caption"),
    )


def by_hand() -> Table:
    """Focal loss for a sure right and a sure wrong answer, step by step, and losskit's result."""
    right, wrong = 4.0, -4.0
    p = [1.0 / (1.0 + math.exp(-x)) for x in (right, wrong)]
    cross = [-math.log(q) for q in p]
    fade = [(1.0 - q) ** 2 for q in p]
    focal = module(LOSSES["focal_loss"], {"gamma": 2.0})
    said = [float(focal(torch.tensor([x]), torch.ones(1))) for x in (right, wrong)]
    lines: tuple[tuple[str | Text, ...], ...] = (
        ("p = 1 / (1 + exp(-x))", *(f"{q:.6f}" for q in p)),
        (TEXTS("by_hand.cross"), *(f"{c:.6f}" for c in cross)),
        (TEXTS("by_hand.fade"), *(f"{f:.6f}" for f in fade)),
        (TEXTS("by_hand.focal"), *(f"{f * c:.6g}" for f, c in zip(fade, cross, strict=True))),
        (TEXTS("by_hand.losskit"), *(f"{v:.6g}" for v in said)),
    )
    return Table(
        TEXTS.row("by_hand.headings"),
        tuple(tuple(Cell(entry) for entry in line) for line in lines),
        TEXTS("by_hand.caption", cross_ratio=cross[1] / cross[0], focal_ratio=said[1] / said[0]),
    )
