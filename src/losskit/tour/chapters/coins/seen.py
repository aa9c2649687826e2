"""What is told more than once: the losses in order, how far they are apart, and how they fare by the size of a box."""

import numpy as np

from losskit.tour.chapters.coins.data import FOLDS
from losskit.tour.chapters.coins.experiment import (
    CORNERS,
    ENTRIES,
    Findings,
    Result,
    against,
    fate,
)
from losskit.tour.compare import Numbers

NUMBER = {entry.name: number for number, entry in enumerate(ENTRIES)}  # a loss keeps its colour through the chapter
GOOD, FINE = 0.75, 0.9  # IoU from which a box is good, or very good
PARTS = 3  # of the test crops by the size of their boxes


class Seen:
    """What is told more than once: the losses in order, how far they are apart, and how they fare by the size of a box."""

    def __init__(self, found: Findings) -> None:
        self.found = found
        self.iou = {n: float(r.iou[-1].mean()) for n, r in found.middle.items()}
        self.names = sorted(NUMBER, key=lambda n: -self.iou[n])
        self.best = self.names[0]
        self.apart = {n: against(found.middle[self.best].scores, r.scores) for n, r in found.middle.items()}
        self.clear = [n for n in self.names if self.apart[n].clear]
        self.off = {n: float(np.abs(r.boxes[-1] - found.box).mean()) for n, r in found.middle.items()}  # pixels of the crop, by side of a box
        self.edges = np.quantile(found.size, np.arange(1, PARTS) / PARTS)
        self.part = np.searchsorted(self.edges, found.size)  # of each test crop, by the size of its box
        self.fates = {n: fate(found.middle[n], found.apart[n]) for n in NUMBER}

    def by_size(self, name: str) -> Numbers:
        """Mean IoU at the end of the small, the middling and the large boxes."""
        return np.array([self.found.middle[name].iou[-1][self.part == p].mean() for p in range(PARTS)])

    def lead(self, part: int) -> Numbers:
        """How far smooth L1 is ahead of the mean of the others on boxes of a size, of each fold."""
        ahead = self.found.middle[CORNERS].iou[-1] - np.mean([r.iou[-1] for n, r in self.found.middle.items() if n != CORNERS], 0)
        here = (self.part == part).reshape(FOLDS, -1)
        return np.asarray((ahead.reshape(FOLDS, -1) * here).sum(1) / here.sum(1))


def share(result: Result, level: float) -> float:
    """Test crops with an IoU of so much at the end."""
    return float((result.iou[-1] >= level).mean())
