"""Chapter 7, the second experiment: two towers learn which description belongs to which digit, and at which temperature."""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import losskit
from losskit.tour.chapter import Effort
from losskit.tour.chapters.digits.experiment import points
from losskit.tour.chapters.products.data import DIGITS, Described
from losskit.tour.compare import Numbers
from losskit.tour.memory import allocated

HIDDEN, WIDTH = 64, 32
BATCH = 256
RATE = 0.005
START = 0.07  # temperature, where CLIP's begins


def whole(images: Tensor, texts: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """As it is commonly written: all cosines, then a softmax over texts and one over images."""
    scores = (scale * F.normalize(images, dim=1) @ F.normalize(texts, dim=1).t()).masked_fill(same, -torch.inf)
    own = torch.arange(len(images))
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.t(), own)) / 2


def never(images: Tensor, texts: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """The same loss, of the vectors."""
    return losskit.clip_loss(images, texts, scale, exclude=same, normalize=True)


WAYS = (whole, never)
Way = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Towers(nn.Module):
    """A tower for pictures and one for descriptions, each two layers, and a scale for their cosines that is learned, too.

    GELU has no corner: at that of a ReLU rounding switches a unit on or off, and trainings that differ by nothing else part.
    """

    def __init__(self, words: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.pictures, self.texts = (nn.Sequential(nn.Linear(inputs, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH)) for inputs in (64, words))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(START)))

    def loss(self, way: Way, data: Described, some: Tensor) -> Tensor:
        """Of these digits; who has the same words as another is no wrong answer."""
        kinds = data.kinds[some]
        same = (kinds[:, None] == kinds).fill_diagonal_(False)
        return way(self.pictures(data.pixels[some]), self.texts(data.bags[some]), self.log_scale.exp(), same)

    def cosines(self, data: Described, some: NDArray[np.int64]) -> Numbers:
        """Of each of these pictures with each of their descriptions."""
        with torch.no_grad():
            a, b = (F.normalize(tower(z[some]), dim=1) for tower, z in ((self.pictures, data.pixels), (self.texts, data.bags)))
            return (a @ b.t()).double().numpy()


def steps(effort: Effort) -> int:
    """Optimiser steps of one training."""
    return 4 * effort.steps // 3


def found(cosines: Numbers, descriptions: list[str]) -> tuple[float, float]:
    """How many pictures are nearest to their own words, and how many words to a picture that they describe."""
    names = np.array(descriptions)
    return float((names[cosines.argmax(1)] == names).mean()), float((names[cosines.argmax(0)] == names).mean())


def chance(descriptions: list[str]) -> float:
    """The same for who guesses."""
    _, counts = np.unique(descriptions, return_counts=True)
    return float(((counts / len(descriptions)) ** 2).sum())


class Pairing(NamedTuple):
    """How one way went."""

    train: Numbers  # loss of each step's batch
    course: Numbers  # (looks, 2): both shares of `found` on held-out digits
    cosines: Numbers  # of the held-out digits, at the end
    temperature: float
    peak: int  # bytes that a step takes


class Pairings(NamedTuple):
    """The second experiment."""

    data: Described
    looks: list[int]
    whole: Pairing
    never: Pairing
    before: Numbers  # cosines of the held-out digits, untrained

    @property
    def held_out(self) -> list[str]:
        """The descriptions of the held-out digits."""
        return [self.data.descriptions[i] for i in self.data.test]

    @property
    def apart(self) -> float:
        """The largest difference of the two training losses."""
        return float(np.abs(self.whole.train - self.never.train).max())

    @property
    def fall(self) -> float:
        """By how much the training loss falls."""
        return float(self.whole.train[0] - self.whole.train[-1])


def firsts(pairs: Pairings, each: int) -> NDArray[np.int64]:
    """Of the held-out digits the first of each kind, in order."""
    digit = pairs.data.digit[pairs.data.test]
    return np.concatenate([np.flatnonzero(digit == kind)[:each] for kind in range(len(DIGITS))])


def fit(way: Way, towers: Towers, data: Described, count: int, seed: int) -> Pairing:
    """Train for `count` steps; the same batches for both ways."""
    looks, draw = set(points(count)), torch.Generator().manual_seed(seed)
    pool = torch.as_tensor(data.train)
    names = [data.descriptions[i] for i in data.test]
    adam = torch.optim.AdamW(towers.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, count)
    train, course = [], []
    for step in range(1, count + 1):
        some = pool[torch.randperm(len(pool), generator=draw)[:BATCH]]
        adam.zero_grad()
        loss = towers.loss(way, data, some)
        loss.backward()
        adam.step()
        slower.step()
        train.append(float(loss.detach()))
        if step in looks:
            course.append(found(towers.cosines(data, data.test), names))
    adam.zero_grad()
    peak = allocated(lambda: towers.loss(way, data, pool[:BATCH]).backward()).peak
    return Pairing(np.array(train), np.array(course), towers.cosines(data, data.test), float((-towers.log_scale).exp().detach()), peak)


def run(data: Described, seed: int, effort: Effort, say: Callable[[str], None]) -> Pairings:
    """Train both ways from one start."""
    count, start = steps(effort), Towers(data.bags.shape[1], seed)

    def side(way: Way) -> Pairing:
        made = fit(way, copy.deepcopy(start), data, count, seed)
        say(way.__name__)
        return made

    return Pairings(data, points(count), side(whole), side(never), start.cosines(data, data.test))
