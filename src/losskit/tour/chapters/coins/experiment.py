"""Chapter 6, the experiment: a small convolutional network says where a coin's box is, trained with smooth L1 and with losses of overlap, from two starts."""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import losskit
from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Advance, Effort
from losskit.tour.chapters.coins.data import FOLDS, LEARNED, SIDE, TESTED, Crops, crops, folds
from losskit.tour.chapters.digits.experiment import points
from losskit.tour.compare import Difference, Numbers, difference

BATCH = 24
WIDTHS = (16, 32, 64)  # channels of both convolutions, and of the layer after them
RATE, WARM = 0.01, 0.1  # the largest step size, and the share of the steps in which it is reached
MATTERS = 0.01  # a difference of mean IoU below one point is not worth a word
MIDDLE, APART = (8.0, 8.0, 24.0, 24.0), (-4.0, -4.0, 0.0, 0.0)  # what the network answers before it has learned anything
FAR = 4.0 * SIDE  # a box with longer sides has run away


class Entry(NamedTuple):
    """A loss as it is compared."""

    name: str


ENTRIES = (
    Entry("smooth_l1_loss"),
    Entry("iou_loss"),
    Entry("giou_loss"),
    Entry("diou_loss"),
    Entry("ciou_loss"),
    Entry("eiou_loss"),
    Entry("wiou_loss"),
)
CORNERS = ENTRIES[0].name  # the one that knows no overlap


class Networks(nn.Module):
    """One small convolutional network for each fold, all at once in grouped convolutions; they share nothing. Each says how far the sides of a box are from where they start."""

    start: Tensor

    def __init__(self, start: tuple[float, ...], seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        first, second, dense = WIDTHS

        def uniform(*shape: int, inputs: int, share: float = 1.0) -> nn.Parameter:
            return nn.Parameter((2.0 * torch.rand(shape, generator=draw) - 1.0) * (share / inputs**0.5))

        self.first, self.first_bias = (uniform(FOLDS * first, *kernel, inputs=36) for kernel in ((1, 6, 6), ()))
        self.second, self.second_bias = (uniform(FOLDS * second, *kernel, inputs=first * 9) for kernel in ((first, 3, 3), ()))
        pixels = second * (SIDE // 8) ** 2
        self.dense, self.dense_bias = (uniform(FOLDS, rows, dense, inputs=pixels) for rows in (pixels, 1))
        self.last = uniform(FOLDS, dense, 4, inputs=dense, share=0.1)
        self.last_bias = nn.Parameter(torch.zeros(FOLDS, 1, 4))
        self.register_buffer("start", torch.tensor(start))

    def forward(self, x: Tensor) -> Tensor:
        """Boxes (items, FOLDS, 4) for crops (items, FOLDS, SIDE, SIDE). Nothing keeps their sides in order."""
        h = F.conv2d(x.contiguous(memory_format=torch.channels_last), self.first, self.first_bias, stride=4, padding=2, groups=FOLDS).relu_()
        h = F.conv2d(h, self.second, self.second_bias, stride=2, padding=1, groups=FOLDS).relu_()
        h = torch.baddbmm(self.dense_bias, h.reshape(len(x), FOLDS, -1).transpose(0, 1), self.dense).relu_()
        moved = torch.baddbmm(self.last_bias, h, self.last).transpose(0, 1)
        return self.start + 0.25 * SIDE * moved

    def size(self) -> int:
        """Parameters of one network."""
        return sum(p.numel() for p in self.parameters()) // FOLDS


def steps(effort: Effort) -> int:
    """Optimiser steps of one training, of one batch each."""
    return 4 * effort.steps // 3


class Data(NamedTuple):
    """What the networks of all folds learn from, in which order, and what they are asked."""

    x: Tensor  # (crops, SIDE, SIDE)
    box: Tensor  # (crops, 4)
    order: Tensor  # (steps, BATCH, FOLDS): crops of the coins that a fold does not hold out
    test_x: Tensor  # (crops of a fold, FOLDS, SIDE, SIDE)
    test_box: Tensor  # (crops of a fold, FOLDS, 4)


def load(learned: Crops, tested: Crops, held_out: NDArray[np.int64], count: int, seed: int) -> Data:
    """Crops of training, shared by all folds, and batches of them, the same for every loss; crops of test, fold by fold."""
    draw, coins = np.random.default_rng([seed, count]), np.arange(len(learned.box))
    of_fold = [np.setdiff1d(coins, out)[draw.integers(0, len(coins) - len(out), (count, BATCH))] for out in held_out]
    order = LEARNED * np.stack(of_fold, -1) + draw.integers(0, LEARNED, (count, BATCH, FOLDS))
    test_x, test_box = (part[held_out].flatten(1, 2).transpose(0, 1).contiguous() for part in (tested.pixels, tested.box))
    return Data(learned.pixels.flatten(0, 1), learned.box.flatten(0, 1), torch.as_tensor(order), test_x, test_box)


def drawn(seed: int, count: int) -> tuple[Crops, Crops, NDArray[np.int64], Data]:
    """The crops of training and of test, the coins that each fold holds out, and what `count` steps learn from."""
    learned, tested = (crops(n, np.random.default_rng([seed, n]), turn=turn) for n, turn in ((LEARNED, True), (TESTED, False)))
    held_out = folds(seed)
    return learned, tested, held_out, load(learned, tested, held_out, count, seed)


def fit(entry: Entry, start: tuple[float, ...], data: Data, seed: int, warm: float = WARM) -> Tensor:
    """Train, and answer the test crops before, on the way and at the end: (looks, crops of a fold, FOLDS, 4)."""
    networks, loss = Networks(start, seed), module(LOSSES[entry.name], {})
    count = len(data.order)
    looks, path = set(points(count)), []

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / max(warm * count, 1.0)) * 0.5 * (1.0 + math.cos(math.pi * step / count))

    adam = torch.optim.AdamW(networks.parameters(), lr=RATE, eps=1e-15, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, rate)

    def look() -> None:
        with torch.no_grad():
            path.append(networks(data.test_x))

    look()
    for step, batch in enumerate(data.order, 1):
        adam.zero_grad()
        loss(networks(data.x[batch]), data.box[batch]).backward()
        adam.step()
        schedule.step()
        if step in looks:
            look()
    return torch.stack(path)


class Result(NamedTuple):
    """What the networks of one loss answered on the way, each on the coins that it was not trained on, fold by fold."""

    boxes: Numbers  # (looks, crops, 4)
    iou: Numbers  # (looks, crops)

    @property
    def scores(self) -> Numbers:
        """Mean IoU at the end, of each fold."""
        return np.asarray(self.iou[-1].reshape(FOLDS, -1).mean(1))

    @property
    def sides(self) -> Numbers:
        """Mean length of the sides of all answers, at each look."""
        return np.asarray(np.abs(self.boxes[..., 2:] - self.boxes[..., :2]).mean((1, 2)))


class Findings(NamedTuple):
    """Everything the chapter is written from; test crops stand fold by fold."""

    held_out: NDArray[np.int64]  # (folds, coins)
    pixels: Numbers  # (crops, SIDE, SIDE) of the test
    box: Numbers  # (crops, 4)
    window: NDArray[np.int64]  # (crops, 3)
    looks: tuple[int, ...]  # after how many steps
    constant: Numbers  # (crops,): IoU of the mean box of training
    middle: dict[str, Result]
    apart: dict[str, Result]

    @property
    def size(self) -> Numbers:
        """Of each test crop's box, in pixels of the crop: the side of a square of its area."""
        return np.sqrt((self.box[:, 2] - self.box[:, 0]) * (self.box[:, 3] - self.box[:, 1]))


def run(seed: int, effort: Effort, advance: Advance) -> Findings:
    """Train with every loss from both starts, holding out every coin once; two losses at a time, each on one thread."""
    count = steps(effort)
    learned, tested, held_out, data = drawn(seed, count)

    def by_fold(x: Tensor) -> Tensor:  # (..., crops of a fold, FOLDS, n) to (..., crops, n)
        return x.transpose(-3, -2).flatten(-3, -2)

    box = by_fold(data.test_box)
    found: list[dict[str, Result]] = []
    with ThreadPoolExecutor(2) as pool:
        for start in (MIDDLE, APART):
            results = {}
            paths = pool.map(partial(fit, start=start, data=data, seed=seed), ENTRIES)
            for entry, path in zip(ENTRIES, paths, strict=True):
                boxes = by_fold(path)
                results[entry.name] = Result(boxes.double().numpy(), losskit.iou(boxes, box.expand_as(boxes)).double().numpy())
                advance(f"coins: {entry.name}")
            found.append(results)
    means = torch.stack([learned.box[np.setdiff1d(np.arange(len(learned.box)), out)].mean((0, 1)) for out in held_out])
    constant = losskit.iou(by_fold(means.expand_as(data.test_box)), box)
    window = tested.window[held_out.ravel()].reshape(-1, 3)
    pixels, answers, constants = (x.double().numpy() for x in (tested.pixels[held_out].reshape(-1, SIDE, SIDE), box, constant))
    return Findings(held_out, pixels, answers, window, (0, *points(count)), constants, found[0], found[1])


def against(best: Numbers, other: Numbers) -> Difference:
    """How much smaller the other loss's score is, fold by fold."""
    return difference(best, other, train=FOLDS - 1, test=1, matters=MATTERS)


class Fate(NamedTuple):
    """What became of the folds of a loss that started apart."""

    through: int  # at least half the IoU that the loss has from the middle
    still: int  # has not moved by a pixel
    away: int  # sides have grown beyond all measure
    lost: int  # something else


def fate(middle: Result, apart: Result) -> Fate:
    """How a loss fared apart, fold by fold."""
    counts = [0, 0, 0, 0]
    first, last = (apart.boxes[k].reshape(FOLDS, -1, 4) for k in (0, -1))
    sides = np.abs(last[..., 2:] - last[..., :2]).mean((1, 2))
    moved = np.abs(last - first).mean((1, 2))
    for good, score, side, way in zip(middle.scores, apart.scores, sides, moved, strict=True):
        counts[0 if score >= 0.5 * good else 1 if way < 1.0 else 2 if side > FAR else 3] += 1
    return Fate(*counts)
