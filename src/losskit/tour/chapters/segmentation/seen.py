"""What is told more than once: the losses in order, and how they fare where nearly nothing is."""

import numpy as np

from losskit.tour.chapters.segmentation.data import NEARLY_EMPTY
from losskit.tour.chapters.segmentation.experiment import (
    ENTRIES,
    FOREGROUND,
    Findings,
    Objects,
    against,
    objects,
    shares,
)

NUMBER = {entry.name: number for number, entry in enumerate(ENTRIES)}  # a loss keeps its colour through the chapter


SMALL = FOREGROUND.index(10)  # the tile whose pulls explain the false alarms


class Seen:
    """What is told more than once: the losses in order, and how they fare on nearly empty tiles."""

    def __init__(self, found: Findings) -> None:
        self.found = found
        self.coins, self.galaxies = found.pictures
        self.results = found.results["galaxies"]
        self.names = sorted(NUMBER, key=lambda n: -float(sum(of[n].dice.mean() for of in found.results.values())))
        self.share = shares(self.galaxies)
        self.near, self.empty = self.share < NEARLY_EMPTY, self.share == 0.0
        self.false = {n: float(r.false[self.near].mean()) for n, r in self.results.items()}  # pixels in a nearly empty tile
        self.kept = {n: int((r.false[self.empty] == 0).sum()) for n, r in self.results.items()}  # empty tiles left empty
        self.objects: dict[str, Objects] = {n: objects(self.galaxies, r.found) for n, r in self.results.items()}
        self.order = {key: sorted(NUMBER, key=lambda n, of=of: -float(of[n].dice.mean())) for key, of in found.results.items()}  # type: ignore[misc]
        self.apart = {key: {n: against(of[self.order[key][0]].dice, of[n].dice) for n in NUMBER} for key, of in found.results.items()}
        false = np.stack([r.found & ~self.coins.mask for r in found.results["coins"].values()])
        self.common = float(false.all(0).sum() / max(1, false.any(0).sum()))  # of the pixels of coins found wrongly
        self.ratio = {n: float(p.missed[SMALL] / p.false[SMALL]) for n, p in found.pulls.items()}
