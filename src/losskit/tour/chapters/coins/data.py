"""Chapter 6, the data: boxes of the coins from the regions of chapter 4's watershed, and crops that keep the coins of training and of test apart."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from losskit.tour.chapters.segmentation.data import standard, traced, turned
from losskit.tour.compare import Numbers

SIDE = 32  # pixels of a crop, as the network sees it
WINDOWS = (80, 160)  # pixels of the picture that a crop's side takes in
REACH = 0.4  # how far a crop's middle is from its coin's at most, along each axis, in sizes of the coin
FOLDS = 6  # of the coins; each is held out once
LEARNED, TESTED = 96, 24  # crops of a coin


class Crops(NamedTuple):
    """Crops of every coin, and the coin's box in each: left, top, right, bottom, in pixels of the crop."""

    pixels: Tensor  # (coins, crops, SIDE, SIDE), mean 0 and standard deviation 1 over the whole picture
    box: Tensor  # (coins, crops, 4)
    window: NDArray[np.int64]  # (coins, crops, 3): left, top and side in the picture; it may reach beyond


@cache
def coin_boxes() -> Numbers:
    """The box around each labelled region, in pixels of the picture: (coins, 4)."""
    from skimage.measure import label, regionprops

    regions = regionprops(label(traced().mask, connectivity=2))
    return np.array([(left, top, right, bottom) for top, left, bottom, right in (r.bbox for r in regions)], dtype=np.float64)


def windows(coin: int, count: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Squares of random size and place that hold the whole coin, and whose middle is nearer to its middle than to any other coin's."""
    boxes = coin_boxes()
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[coin, 2:] - boxes[coin, :2]
    found: list[tuple[int, int, int]] = []
    while len(found) < count:
        side = round(float(np.exp(draw.uniform(*np.log(WINDOWS)))))
        left, top = (round(float(v)) for v in middle[coin] + draw.uniform(-REACH, REACH, 2) * size - side / 2)
        whole = left <= boxes[coin, 0] and top <= boxes[coin, 1] and boxes[coin, 2] <= left + side and boxes[coin, 3] <= top + side
        if whole and np.hypot(*(middle - (left + side / 2, top + side / 2)).T).argmin() == coin:
            found.append((left, top, side))
    return np.array(found)


def turned_box(box: tuple[float, float, float, float], turn: int) -> tuple[float, float, float, float]:
    """Where a box of a crop lies once the crop is `turned`."""
    left, top, right, bottom = box
    if turn >= 4:
        left, right = SIDE - right, SIDE - left
    for _ in range(turn % 4):
        left, top, right, bottom = top, SIDE - right, bottom, SIDE - left
    return left, top, right, bottom


def crops(count: int, draw: np.random.Generator, *, turn: bool) -> Crops:
    """So many crops of every coin, each laid down in one of eight ways at random or as it is; beyond the picture its border goes on."""
    boxes, edge = coin_boxes(), WINDOWS[1]
    wide = torch.as_tensor(np.pad(standard(traced().grey.astype(np.float64)), edge, mode="edge").astype(np.float32))
    pixels: list[NDArray[Any]] = []
    targets: list[tuple[float, float, float, float]] = []
    places = np.stack([windows(coin, count, draw) for coin in range(len(boxes))])
    for coin, windows_of_coin in enumerate(places):
        for (left, top, side), way in zip(windows_of_coin, draw.integers(0, 8, count) if turn else np.zeros(count, np.int64), strict=True):
            part = wide[top + edge : top + edge + side, left + edge : left + edge + side]
            small = F.interpolate(part[None, None], (SIDE, SIDE), mode="bilinear", antialias=True)[0, 0]
            x0, y0, x1, y1 = (boxes[coin] - (left, top, left, top)) * (SIDE / side)
            pixels.append(turned(small.numpy(), way))
            targets.append(turned_box((x0, y0, x1, y1), way))
    shape = (len(boxes), count)
    return Crops(torch.as_tensor(np.stack(pixels)).view(*shape, SIDE, SIDE), torch.tensor(targets).view(*shape, 4), places)


def folds(seed: int) -> NDArray[np.int64]:
    """Which coins are held out together: (folds, coins)."""
    return np.random.default_rng([seed, 6]).permutation(len(coin_boxes())).reshape(FOLDS, -1)
