"""Chapter 7, the third experiment: what the scores cost, as classes and pairs grow: measured where that is cheap, and by formula."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import losskit
from losskit.engines import laid
from losskit.engines.cpu import products
from losskit.tour.chapter import Effort
from losskit.tour.memory import allocated

ITEMS, WIDTH, SIZE = 4096, 32, 4  # places in a text, numbers of a hidden state, bytes of a number
SPACE, LEAST = products.WAYS.chunk[0], laid.ITEMS  # bytes of a chunk, unless the head or so many places take more
FAR = 1 << 17  # a vocabulary that nobody trains in a minute
Way = Callable[[Tensor, Tensor, Tensor], Tensor]


def shared(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Whole scores and the loss of PyTorch."""
    return F.cross_entropy(F.linear(hidden, head), labels)


def fused(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Whole scores and the loss of losskit."""
    return losskit.cross_entropy(F.linear(hidden, head), labels)


def softmaxes(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """CLIP's loss of whole scores."""
    scores = scale * a @ b.t()
    own = torch.arange(len(a))
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.t(), own)) / 2


def factors(classes: int) -> int:
    """Bytes of both factors' gradients."""
    return SIZE * WIDTH * (ITEMS + classes)


def scores(classes: int) -> int:
    """Bytes of all scores."""
    return SIZE * ITEMS * classes


def chunk(classes: int) -> int:
    """Bytes of the scores that `linear_cross_entropy` makes at a time."""
    head = torch.empty(classes, WIDTH, device="meta")
    return SIZE * classes * laid.items_of_chunk(ITEMS, head, SIZE, products.WAYS.chunk, None)


# each way, and by formula what it takes at its peak: whole scores are more than the gradients of both factors, which are made when most of them is released
WAYS: dict[str, tuple[Way, Callable[[int], int]]] = {
    "F.cross_entropy": (shared, lambda classes: 3 * scores(classes)),
    "cross_entropy": (fused, lambda classes: 2 * scores(classes)),
    "linear_cross_entropy": (losskit.linear_cross_entropy, lambda classes: chunk(classes) + factors(classes)),
}


class Held(NamedTuple):
    """The third experiment: bytes at the peak of a step."""

    classes: list[int]
    by_classes: dict[str, list[int]]
    pairs: list[int]
    by_pairs: dict[str, list[int]]

    @property
    def off(self) -> float:
        """The largest distance of a measured number from its formula, as a share of it."""
        return max(abs(bytes_ / formula(name, c) - 1.0) for name, found in self.by_classes.items() for c, bytes_ in zip(self.classes, found, strict=True))


def formula(way: str, classes: int) -> int:
    """Bytes that a way takes by its formula."""
    return WAYS[way][1](classes)


def sizes(effort: Effort, most: int) -> list[int]:
    """Powers of 2 up to `most`, which a quick tour does not reach."""
    return [most >> k for k in (3, 2, 1, 0)] if effort.steps >= 100 else [most >> k for k in (6, 5, 4)]


def of_classes(classes: int, way: Way) -> int:
    """The peak of forward and backward."""
    draw = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(ITEMS, WIDTH, generator=draw, requires_grad=True), torch.randn(classes, WIDTH, generator=draw, requires_grad=True)
    labels = torch.randint(classes, (ITEMS,), generator=draw)
    return allocated(lambda: way(hidden, head, labels).backward()).peak


def of_pairs(pairs: int, way: Way) -> int:
    """Likewise, of so many pairs."""
    draw = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(pairs, WIDTH, generator=draw, requires_grad=True) for _ in range(2))
    scale = torch.tensor(1.0, requires_grad=True)
    return allocated(lambda: way(images, texts, scale).backward()).peak


def run(effort: Effort, say: Callable[[str], None]) -> Held:
    """Measure, a small one first: what is made once is no part of it."""
    classes, pairs = sizes(effort, 8192), sizes(effort, 4096)
    by_classes = {name: [of_classes(c, way) for c in (64, *classes)][1:] for name, (way, _) in WAYS.items()}
    say("memory by classes")
    by_pairs = {name: [of_pairs(n, way) for n in (64, *pairs)][1:] for name, way in (("F.cross_entropy", softmaxes), ("clip_loss", losskit.clip_loss))}
    say("memory by pairs")
    return Held(classes, by_classes, pairs, by_pairs)
