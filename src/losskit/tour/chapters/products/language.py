"""Chapter 7, the first experiment: a small language model trained twice from one start, with the scores of all words whole, and with scores that are never whole."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import losskit
from losskit.tour.chapter import Effort
from losskit.tour.chapters.digits.experiment import points
from losskit.tour.chapters.products.data import END, UNKNOWN, Prose, joined
from losskit.tour.compare import Numbers
from losskit.tour.memory import allocated

WIDTH = 64  # numbers for a word, and of the model's state
BATCH, LENGTH = 16, 48  # stretches of text in a step, and words of each
RATE = 0.01
CHUNK = 128  # places in the text whose scores exist at a time
PARTS = 3  # of a training, each told
PROMPT, WRITTEN, TEMPERATURE = ("Returns", "a"), 60, 0.6


def whole(hidden: Tensor, head: Tensor, bias: Tensor, tokens: Tensor) -> Tensor:
    """As it is commonly written: a score for each word of the vocabulary at each place, then the loss of the next words."""
    scores = F.linear(hidden[:, :-1], head, bias)
    return F.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())


def never(hidden: Tensor, head: Tensor, bias: Tensor, tokens: Tensor) -> Tensor:
    """The same loss, of the factors of the scores."""
    return losskit.linear_cross_entropy(hidden, head, tokens, linear_bias=bias, shift=True, chunk=CHUNK)


WAYS = (whole, never)
Way = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Model(nn.Module):
    """A vector for each word, a recurrent layer over them, and a score for each word that may come next: its vector times the state, plus a bias."""

    def __init__(self, words: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.vectors = nn.Parameter(torch.randn(words, WIDTH) / WIDTH**0.5)
            self.memory = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States (texts, words, WIDTH) after each word, and what the layer goes on from."""
        hidden, state = self.memory(F.embedding(tokens, self.vectors) * WIDTH**0.5, state)
        return hidden, state

    def loss(self, way: Way, tokens: Tensor) -> Tensor:
        """Of the next words."""
        return way(self(tokens)[0], self.vectors, self.bias, tokens)


def steps(effort: Effort) -> int:
    """Optimiser steps of one training."""
    return max(1, 2 * effort.steps // 3)


def looked(count: int) -> list[int]:
    """After which of so many steps to look at held-out text, which takes time."""
    return points(count)[::-2][::-1]


def batches(text: Tensor, count: int, seed: int) -> Tensor:
    """Stretches of the text from random places: (steps, BATCH, LENGTH)."""
    begin = torch.randint(len(text) - LENGTH, (count, BATCH, 1), generator=torch.Generator().manual_seed(seed))
    return text[begin + torch.arange(LENGTH)]


def tested(model: Model, text: Tensor) -> float:
    """Mean of -log p of the next word over the whole text, cut into stretches."""
    rows = text[: len(text) // LENGTH * LENGTH].view(-1, LENGTH)
    with torch.no_grad(), losskit.use_engine("torch"):
        return float(model.loss(whole, rows))


def by_frequency(prose: Prose) -> float:
    """The same for who knows only how often each word comes."""
    counts = torch.bincount(prose.train, minlength=len(prose.words)).double()
    return float(-(counts / counts.sum()).log()[prose.test].mean())


class Training(NamedTuple):
    """How one way went."""

    train: Numbers  # loss of each step's batch
    test: Numbers  # loss on text that is held out, after the steps of `looks`
    peak: int  # bytes that a step takes beyond model and optimiser
    text: str  # what the model writes


class Languages(NamedTuple):
    """The first experiment."""

    prose: Prose
    looks: list[int]
    whole: Training
    never: Training
    untrained: str
    begin: float  # loss on held-out text before any step
    frequency: float
    errors: tuple[float, float]  # of the head's gradient at the start, whole and never, relative to float64
    size: int  # parameters

    @property
    def scores(self) -> int:
        """Bytes of the scores of a step."""
        return BATCH * (LENGTH - 1) * len(self.prose.words) * 4

    @property
    def apart(self) -> float:
        """The largest difference of the two training losses."""
        return float(np.abs(self.whole.train - self.never.train).max())

    @property
    def fall(self) -> float:
        """By how much the loss on held-out text falls."""
        return self.begin - float(self.whole.test[-1])


def fit(way: Way, model: Model, prose: Prose, count: int, seed: int, say: Callable[[], None]) -> Training:
    """Train for `count` steps; the same batches for both ways."""
    looks, given = set(looked(count)), batches(prose.train, count, seed)
    adam = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, count)
    train, test = [], []
    for part in range(PARTS):
        for step in range(part * count // PARTS, (part + 1) * count // PARTS):
            adam.zero_grad()
            loss = model.loss(way, given[step])
            loss.backward()
            adam.step()
            slower.step()
            train.append(float(loss.detach()))
            if step + 1 in looks:
                test.append(tested(model, prose.test))
        say()
    adam.zero_grad()
    peak = allocated(lambda: model.loss(way, given[0]).backward()).peak
    return Training(np.array(train), np.array(test), peak, written(model, prose, seed))


def written(model: Model, prose: Prose, seed: int) -> str:
    """What the model goes on with: words drawn by its probabilities, sharpened a little; the same random numbers for every model."""
    draw = torch.Generator().manual_seed(seed)
    words, state = list(PROMPT), None
    token = torch.tensor([[prose.words.index(word) for word in words]])
    with torch.no_grad():
        while len(words) < WRITTEN:
            hidden, state = model(token, state)
            scores = F.linear(hidden[0, -1], model.vectors, model.bias).double() / TEMPERATURE
            scores[prose.words.index(UNKNOWN)] = -torch.inf
            reach = scores.softmax(0).cumsum(0)
            token = (reach < torch.rand((), generator=draw).double() * reach[-1]).sum().view(1, 1)
            words.append(prose.words[int(token)])
    return joined([word for word in words if word != END])


def errors(model: Model, tokens: Tensor) -> tuple[float, float]:
    """Of the head's gradient, both ways, against float64 on the same numbers: norm of the difference over norm."""
    with torch.no_grad():
        given = [model(tokens)[0], model.vectors.clone(), model.bias.clone()]

    def slope(way: Way, dtype: torch.dtype) -> Tensor:
        hidden, head, bias = (z.to(dtype).requires_grad_() for z in given)
        by: Tensor = torch.autograd.grad(way(hidden, head, bias, tokens), head)[0]
        return by.double()

    exact = slope(whole, torch.float64)
    found = [float((slope(way, torch.float32) - exact).norm() / exact.norm()) for way in WAYS]
    return found[0], found[1]


def run(prose: Prose, seed: int, effort: Effort, say: Callable[[str], None]) -> Languages:
    """Train both ways from one start."""
    count, start = steps(effort), Model(len(prose.words), seed)
    begin, first = tested(start, prose.test), batches(prose.train, count, seed)[0]
    size = sum(p.numel() for p in start.parameters())

    def side(way: Way) -> Training:
        return fit(way, copy.deepcopy(start), prose, count, seed, lambda: say(way.__name__))

    return Languages(prose, looked(count), side(whole), side(never), written(start, prose, seed), begin, by_frequency(prose), errors(start, first), size)
