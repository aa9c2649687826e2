"""Chapter 4, the pictures: two that scikit-image brings along, how their masks are made, and tiles that keep training and test apart."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from losskit.tour.chapter import Text
from losskit.tour.compare import Numbers
from losskit.tour.texts import texts

TEXTS = texts("segmentation")

TILE = 48
BANDS = 4  # of columns; each is held out once
DARK, LIGHT = 30, 150  # grey levels of 255: surely table, surely coin
HOLE, SMALLEST_COIN = 1000, 64  # pixels of the full picture
BRIGHT = 60  # grey level of a galaxy's smoothed picture
SMALLEST_GALAXY = 24  # pixels of the halved picture
NOISE = 25.0  # grey levels, of the exposure that the network sees
STRETCH = 40.0  # grey levels up to which arcsinh is nearly a straight line
NEARLY_EMPTY = 0.01  # a tile with a smaller share of foreground
Mask = NDArray[np.bool_]


class Stage(NamedTuple):
    """One step from picture to mask: what it shows (0 to 1, or a mask) in the frame of the picture."""

    title: Text
    picture: NDArray[Any]


class Picture(NamedTuple):
    """A picture as the network sees it, and its mask; sides are whole numbers of tiles."""

    key: str
    title: Text
    image: Numbers  # (height, width), mean 0 and standard deviation 1
    shown: Numbers  # the same, 0 to 1
    mask: Mask
    stages: tuple[Stage, ...]

    @property
    def band(self) -> int:
        """Width of a held-out band."""
        return int(self.mask.shape[1]) // BANDS


def halved(image: Numbers, height: int, width: int) -> Numbers:
    """Means of 2 by 2 pixels, of the top left part that the tiles cover."""
    return np.asarray(image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3)))


def standard(image: Numbers) -> Numbers:
    """Mean 0 and standard deviation 1."""
    return np.asarray((image - image.mean()) / image.std())


class Traced(NamedTuple):
    """The coins in the whole picture, and the steps to their mask: all (303, 384)."""

    grey: NDArray[np.uint8]
    sure: NDArray[np.int32]  # 1: table, 2: coin, 0: neither
    edges: Numbers
    mask: Mask


@cache
def traced() -> Traced:
    """Greek coins from Pompeii. Their light is uneven, so no one threshold finds them; the procedure is that of scikit-image's user guide.

    What is darker than 30 is table and what is lighter than 150 is coin; a watershed on the Sobel edges decides between the two, holes are filled and specks dropped.
    """
    from skimage import data, filters, morphology, segmentation  # type: ignore[attr-defined]  # loaded when asked for

    grey = data.coins()
    edges = filters.sobel(grey)
    sure = np.zeros(grey.shape, np.int32)
    sure[grey < DARK], sure[grey > LIGHT] = 1, 2
    flooded = segmentation.watershed(edges, sure) == 2
    clean = morphology.remove_small_objects(morphology.remove_small_holes(flooded, max_size=HOLE), max_size=SMALLEST_COIN)
    return Traced(grey, sure, edges, np.asarray(clean))


@cache
def coins() -> Picture:
    """The coins at half their resolution, without the rows at the bottom that would be part of a tile."""
    grey, sure, edges, clean = traced()
    height, width = 3 * TILE, BANDS * TILE
    small = halved(grey / 255.0, height, width)
    mask = halved(clean.astype(np.float64), height, width) > 0.5
    stages = (
        Stage(TEXTS("stages.picture"), small),
        Stage(TEXTS("stages.coins_markers", dark=DARK, light=LIGHT), halved(sure / 2.0, height, width)),
        Stage(TEXTS("stages.coins_edges"), halved(np.minimum(4.0 * edges, 1.0), height, width)),
        Stage(TEXTS("stages.coins_mask"), mask),
    )
    return Picture("coins", TEXTS("stages.coins"), standard(small), small, mask, stages)


@cache
def galaxies(seed: int) -> Picture:
    """The Hubble eXtreme Deep Field, 872 by 1,000 pixels: what is brighter than 60 after smoothing, at least 24 pixels together, is a galaxy.

    The mask comes from the picture as it is, the network sees it as after a much shorter exposure: with noise of its own, and the usual arcsinh.
    """
    from skimage import data, filters, morphology  # type: ignore[attr-defined]

    height, width = 9 * TILE, 2 * BANDS * TILE
    grey = halved(data.hubble_deep_field().mean(2), height, width)
    smooth = filters.gaussian(grey, 1.0, preserve_range=True)
    bright = smooth > BRIGHT
    mask = np.asarray(morphology.remove_small_objects(bright, max_size=SMALLEST_GALAXY - 1))
    noisy = grey + NOISE * np.random.default_rng([seed, 4]).standard_normal(grey.shape)
    image = np.arcsinh(noisy / STRETCH)
    shown = np.clip((image - np.quantile(image, 0.01)) / (np.quantile(image, 0.998) - np.quantile(image, 0.01)), 0.0, 1.0)
    stages = (
        Stage(TEXTS("stages.picture"), np.clip(np.arcsinh(grey / STRETCH) / 2.0, 0.0, 1.0)),
        Stage(TEXTS("stages.galaxies_bright", bright=BRIGHT), bright),
        Stage(TEXTS("stages.galaxies_mask", smallest_galaxy=SMALLEST_GALAXY), mask),
        Stage(TEXTS("stages.galaxies_seen"), shown),
    )
    return Picture("galaxies", TEXTS("stages.galaxies"), standard(image), shown, mask, stages)


def pictures(seed: int) -> tuple[Picture, ...]:
    """Both; the seed draws the noise."""
    return coins(), galaxies(seed)


def batches(picture: Picture, held_out: int, *, size: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Training crops from everywhere but the held-out band, turned over at random: (count, size, 1, TILE, TILE) of image and mask. No crop reaches into the band."""
    draw = np.random.default_rng([seed, held_out])
    height, width = picture.mask.shape
    first, last = held_out * picture.band, (held_out + 1) * picture.band
    left = np.array([x for x in range(width - TILE + 1) if x + TILE <= first or x >= last])
    down, right = draw.integers(0, height - TILE + 1, count * size), left[draw.integers(0, len(left), count * size)]
    turns = draw.integers(0, 8, count * size)
    both = np.stack([picture.image, picture.mask.astype(np.float64)])
    crops = [turned(both[:, y : y + TILE, x : x + TILE], turn) for y, x, turn in zip(down, right, turns, strict=True)]
    stacked = torch.as_tensor(np.stack(crops).astype(np.float32)).view(count, size, 2, 1, TILE, TILE)
    return stacked[:, :, 0], stacked[:, :, 1]


def turned(crop: NDArray[Any], turn: int) -> NDArray[Any]:
    """One of the eight ways to lay down a square."""
    flipped = crop[..., ::-1] if turn >= 4 else crop
    return np.rot90(flipped, turn % 4, (-2, -1))


def tiles(picture: Picture, whole: NDArray[Any], held_out: int) -> Tensor:
    """The tiles of a band of something in the picture's frame: (tiles, 1, TILE, TILE), row by row."""
    part = whole[:, held_out * picture.band : (held_out + 1) * picture.band].astype(np.float32)
    height, width = part.shape
    cut = part.reshape(height // TILE, TILE, width // TILE, TILE).transpose(0, 2, 1, 3)
    return torch.as_tensor(cut.reshape(-1, 1, TILE, TILE))


def joined(picture: Picture, bands: Sequence[Tensor]) -> Numbers:
    """The picture that these bands of tiles make."""
    rows, across = picture.mask.shape[0] // TILE, picture.band // TILE
    parts = [b.view(rows, across, TILE, TILE).transpose(1, 2).reshape(rows * TILE, across * TILE) for b in bands]
    return torch.cat(parts, 1).double().numpy()
