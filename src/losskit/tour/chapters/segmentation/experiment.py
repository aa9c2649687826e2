"""Chapter 4, the experiment: a small U-Net finds coins and galaxies, trained with cross-entropy, Dice, both, focal and Tversky."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import losskit
from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Advance, Effort
from losskit.tour.chapters.segmentation.data import BANDS, NEARLY_EMPTY, TILE, Mask, Picture, batches, joined, pictures, tiles
from losskit.tour.compare import Difference, Numbers, difference

CHANNELS = 8
BATCH = 4
RATE = 0.02  # half of it leaves Dice and Tversky unfinished after so few steps
MATTERS = 0.01  # a difference of Dice below one point is not worth a word


class Entry(NamedTuple):
    """A loss with its settings, as it is compared."""

    name: str
    short: str
    loss: str
    settings: dict[str, Any]


ENTRIES = (
    Entry("binary_cross_entropy_with_logits", "cross-entropy", "binary_cross_entropy_with_logits", {}),
    Entry("dice_loss", "Dice", "dice_loss", {"task": "binary"}),
    Entry("dice_ce_loss", "Dice + CE", "dice_ce_loss", {"task": "binary"}),
    Entry('dice_loss(over="batch")', "Dice, batch", "dice_loss", {"task": "binary", "over": "batch"}),
    Entry("focal_loss(gamma=2)", "focal", "focal_loss", {"gamma": 2.0}),
    Entry("tversky_loss(alpha=0.3, beta=0.7)", "Tversky", "tversky_loss", {"task": "binary", "alpha": 0.3, "beta": 0.7}),
)


class UNet(nn.Module):
    """Three scales: down by pooling, up again by doubling pixels, each time beside the details from the way down."""

    def __init__(self) -> None:
        super().__init__()
        c = CHANNELS
        shapes = {"in1": (1, c), "in2": (c, c), "down1": (c, 2 * c), "down2": (2 * c, 2 * c), "low1": (2 * c, 2 * c), "low2": (2 * c, 2 * c)}
        shapes |= {"up": (4 * c, c), "out": (2 * c, c)}
        self.layers = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.1, inplace=True))
                for name, (a, b) in shapes.items()
            }
        )
        self.last = nn.Conv2d(c, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (items, 1, height, width) for pictures of that shape."""
        fine = self.through(x, "in1", "in2")
        middle = self.through(F.max_pool2d(fine, 2), "down1", "down2")
        low = self.through(F.max_pool2d(middle, 2), "low1", "low2")
        middle = self.through(torch.cat((F.interpolate(low, scale_factor=2.0), middle), 1), "up")
        fine = self.through(torch.cat((F.interpolate(middle, scale_factor=2.0), fine), 1), "out")
        logits: Tensor = self.last(fine)
        return logits

    def through(self, x: Tensor, *names: str) -> Tensor:
        """Layers, one after another."""
        for name in names:
            x = self.layers[name](x)
        return x


def steps(effort: Effort) -> int:
    """Optimiser steps of one training."""
    return max(5, effort.steps // 2)


def networks(seed: int) -> list[UNet]:
    """One for each band, with initial weights that depend on nothing but the seed; all losses start from these."""
    made = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(BANDS):
            net = UNet()
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's annotations lack it
            for name, weight in net.named_parameters():
                if weight.dim() == 4 and not name.startswith("last"):
                    nn.init.kaiming_normal_(weight, nonlinearity="relu")
            made.append(net)
    return made


def fit(entry: Entry, net: UNet, x: Tensor, target: Tensor) -> UNet:
    """Train for as many steps as there are batches."""
    loss = module(LOSSES[entry.loss], entry.settings)
    adam = torch.optim.AdamW(net.parameters(), lr=RATE, eps=1e-15, weight_decay=0.0, fused=True)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, len(x))
    for images, masks in zip(x, target, strict=True):
        adam.zero_grad()
        loss(net(images), masks).backward()
        adam.step()
        slower.step()
    return net.eval()


class Result(NamedTuple):
    """What the networks of one loss found in a picture, each in the band that it was not trained on."""

    found: Mask  # the picture put together from the held-out bands
    dice: Numbers  # one number a band, of its tiles together
    iou: Numbers
    by_tile: Numbers  # Dice of every tile alone
    false: Numbers  # pixels of every tile that are found and not there


def scores(picture: Picture, bands: Sequence[Tensor]) -> Result:
    """Of hard masks, the tiles of one band each."""
    truths = [tiles(picture, picture.mask, band) for band in range(BANDS)]
    dice, iou, by_tile, false = [], [], [], []
    for found, truth in zip(bands, truths, strict=True):
        dice.append(float(losskit.dice_score(found, truth, task="binary", from_logits=False, over="batch")))
        iou.append(float(losskit.jaccard_score(found, truth, task="binary", from_logits=False, over="batch")))
        by_tile.append(losskit.dice_score(found, truth, task="binary", from_logits=False, average="none").flatten().double().numpy())
        false.append((found * (1.0 - truth)).sum((1, 2, 3)).double().numpy())
    return Result(joined(picture, bands) > 0.5, np.array(dice), np.array(iou), np.concatenate(by_tile), np.concatenate(false))


class Objects(NamedTuple):
    """Connected spots: how many there are, how many of them are found by half or more, and how many are found where nothing is."""

    there: int
    found: int
    false: int


def objects(picture: Picture, found: Mask) -> Objects:
    """Spots of the mask and of what was found."""
    from skimage.measure import label

    def coverage(spots: Mask, covered: Mask) -> Numbers:
        names, count = label(spots, connectivity=2, return_num=True)
        sizes = np.bincount(names.ravel(), minlength=count + 1)[1:]
        return np.asarray(np.bincount(names.ravel(), covered.ravel(), minlength=count + 1)[1:] / sizes)

    there, made = coverage(picture.mask, found), coverage(found, picture.mask)
    return Objects(len(there), int((there >= 0.5).sum()), int((made == 0.0).sum()))


class Pull(NamedTuple):
    """How hard a loss pulls at a single pixel's logit, by the foreground of its tile."""

    foreground: tuple[int, ...]  # pixels
    false: Numbers  # at a pixel that is found and not there
    missed: Numbers  # at one that is there and not found; nothing can be missed of nothing


FOREGROUND = (0, 3, 10, 30, 100, 300, 1000)


def pull(entry: Entry, typical: int) -> Pull:
    """The derivative by one logit, of a tile among four; the other three hold a `typical` number of pixels of foreground.

    Foreground has the probability 0.9 and the rest 0.01, but for one false pixel of 0.9 and one missed one of 0.1.
    """
    loss = module(LOSSES[entry.loss], entry.settings)
    sizes = (0.9, 0.1, 0.01)
    high, low, rest = (float(np.log(p / (1.0 - p))) for p in sizes)
    false, missed = [], []
    for pixels in FOREGROUND:
        target = torch.zeros(BATCH, TILE * TILE, dtype=torch.float64)
        target[0, 1 : 1 + pixels] = 1.0
        target[1:, 1 : 1 + typical] = 1.0
        x = torch.where(target > 0, high, rest)
        x[0, 0] = high
        if pixels:
            x[0, 1] = low
        x.requires_grad_()
        with losskit.use_engine("torch"):  # a few calls in double precision are no reason to compile a loop
            (slope,) = torch.autograd.grad(loss(x[:, None], target[:, None]), x)
        false.append(float(slope[0, 0]))
        missed.append(float(-slope[0, 1]) if pixels else float("nan"))
    return Pull(FOREGROUND, np.array(false), np.array(missed))


class Findings(NamedTuple):
    """Everything the chapter is written from."""

    pictures: tuple[Picture, ...]
    results: dict[str, dict[str, Result]]  # by picture and loss
    pulls: dict[str, Pull]
    typical: int  # pixels of foreground of the average tile of galaxies


def run(seed: int, effort: Effort, advance: Advance) -> Findings:
    """Train with every loss on everything but a band, for every band of both pictures; two trainings at a time, each on one thread."""
    both = pictures(seed)
    results: dict[str, dict[str, Result]] = {}
    with ThreadPoolExecutor(2) as pool:
        for picture in both:
            given = [batches(picture, band, size=BATCH, count=steps(effort), seed=seed) for band in range(BANDS)]
            results[picture.key] = {}
            for entry in ENTRIES:

                def learn(band: int, net: UNet, entry: Entry = entry, picture: Picture = picture, given: list[tuple[Tensor, Tensor]] = given) -> Tensor:
                    fit(entry, net, *given[band])
                    with torch.no_grad():
                        logits: Tensor = net(tiles(picture, picture.image, band))
                    return (logits > 0).float()

                bands = list(pool.map(learn, range(BANDS), networks(seed)))
                results[picture.key][entry.name] = scores(picture, bands)
                advance(f"{picture.key}: {entry.name}")
    typical = round(float(both[-1].mask.mean()) * TILE * TILE)
    return Findings(both, results, {entry.name: pull(entry, typical) for entry in ENTRIES}, typical)


def against(best: Numbers, other: Numbers) -> Difference:
    """How much smaller the other loss's score is, band by band."""
    return difference(best, other, train=BANDS - 1, test=1, matters=MATTERS)


def nearly_empty(picture: Picture) -> NDArray[np.bool_]:
    """Which tiles hold next to nothing, in the order of `Result.by_tile`."""
    return shares(picture) < NEARLY_EMPTY


def shares(picture: Picture) -> Numbers:
    """Foreground of every tile, in the order of `Result.by_tile`."""
    whole = torch.cat([tiles(picture, picture.mask, band) for band in range(BANDS)])
    return whole.mean((1, 2, 3)).double().numpy()
