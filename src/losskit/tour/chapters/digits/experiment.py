"""Chapter 3, the experiment: handwritten digits when some training labels are wrong. Cross-entropy and its relatives, with and without the wrong labels."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

import losskit
from losskit.contract.registry import LOSSES
from losskit.curves import Curve, module
from losskit.tour.chapter import Advance, Effort
from losskit.tour.compare import Difference, Numbers, calibration_error, difference

CLASSES = 10
SHARE = 0.3  # of training labels that are wrong
TRAIN, BATCH = 1000, 100  # images; the other 797 are held out
FILTERS = (12, 16)
RATE = 0.02
POINTS = 15  # of a learning curve
MATTERS = 0.005  # a difference of accuracy below half a point is not worth a word


class Entry(NamedTuple):
    """A loss with its settings, as it is compared."""

    name: str
    loss: str
    settings: dict[str, Any]
    formula: str  # p: the probability of the label


ENTRIES = (
    Entry("cross_entropy", "cross_entropy", {}, "-log p"),
    Entry("cross_entropy(label_smoothing=0.1)", "cross_entropy", {"label_smoothing": 0.1}, "-0.9 log p - 0.1 mean log p_j"),
    Entry("focal_loss(gamma=2)", "focal_loss", {"task": "multiclass", "gamma": 2.0}, "-(1 - p)² log p"),
    Entry("poly_loss(epsilon=1)", "poly_loss", {"epsilon": 1.0}, "-log p + (1 - p)"),
    Entry("generalized_cross_entropy(q=0.7)", "generalized_cross_entropy", {"q": 0.7}, "(1 - p^0.7) / 0.7"),
    Entry("symmetric_cross_entropy(alpha=0.1)", "symmetric_cross_entropy", {"alpha": 0.1}, "-0.1 log p + 4 (1 - p)"),
)
PLAIN = ENTRIES[0].name


class Data(NamedTuple):
    """All seeds' splits; images stand seed by seed in the channels of one batch, labels likewise."""

    x: Tensor  # (train, seeds, 8, 8)
    label: Tensor  # (train, seeds): what training is told
    wrong: Tensor  # (wrong, seeds): where the label is another than the digit, or would be
    test: NDArray[np.int64]  # (test, seeds): which images are held out
    test_x: Tensor
    truth: Tensor  # (test, seeds)


class Result(NamedTuple):
    """How the networks of one loss read the test digits: one number per seed for each score."""

    accuracy: Numbers
    ece: Numbers
    nll: Numbers  # mean of -log p of the true digit
    probability: Numbers  # (test, seeds, classes)
    course: Numbers  # (points, seeds): accuracy while learning
    heart: Numbers  # (points, seeds): share of the wrong labels that the network gives back


def seeds(effort: Effort) -> int:
    """Fewer than elsewhere, for images cost more."""
    return max(3, effort.seeds // 3)


def steps(effort: Effort) -> int:
    """Optimiser steps, of one batch each."""
    return 2 * effort.steps


def points(count: int) -> list[int]:
    """After which of so many steps to look: closer together at the start."""
    return sorted({max(1, round(count * (n / POINTS) ** 1.5)) for n in range(1, POINTS + 1)})


@cache
def images() -> tuple[Numbers, Any]:
    """The 1,797 digits, ink from 0 to 1, and what they are."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8) / 16.0, y


def load(seed: int, count: int, corrupt: bool) -> Data:
    """Random splits. A wrong label is one of the nine others, all equally likely."""
    x, y = images()
    parts = []
    for number in range(count):
        draw = np.random.default_rng([seed, number])
        order = draw.permutation(len(y))
        train, test = order[:TRAIN], order[TRAIN:]
        wrong = draw.permutation(TRAIN)[: round(SHARE * TRAIN)]
        label = y[train].copy()
        if corrupt:
            label[wrong] = (label[wrong] + draw.integers(1, CLASSES, len(wrong))) % CLASSES
        parts.append((x[train], label, wrong, test, x[test], y[test]))
    pixels, label, wrong, test, test_x, truth = (np.stack([p[i] for p in parts], 1) for i in range(6))
    as_images: Callable[[Any], Tensor] = lambda a: torch.as_tensor(a.astype(np.float32)).contiguous(memory_format=torch.channels_last)  # noqa: E731
    return Data(as_images(pixels), torch.as_tensor(label), torch.as_tensor(wrong), test, as_images(test_x), torch.as_tensor(truth))


class Networks(nn.Module):
    """One small convolutional network for each seed, all in one grouped convolution; they share nothing."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        first, second = FILTERS
        shapes = ((first, 1, 3, 3), (second, first, 3, 3), (CLASSES, second, 2, 2))
        self.count = count
        self.weights = nn.ParameterList(
            torch.randn(count * shape[0], *shape[1:], generator=draw) * (2.0 / (shape[1] * shape[2] * shape[3])) ** 0.5 for shape in shapes
        )
        self.biases = nn.ParameterList(torch.zeros(count * shape[0]) for shape in shapes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (items, seeds, classes) for x (items, seeds, 8, 8)."""
        h = torch.relu(F.conv2d(x, self.weights[0], self.biases[0], stride=2, padding=1, groups=self.count))
        h = torch.relu(F.max_pool2d(F.conv2d(h, self.weights[1], self.biases[1], padding=1, groups=self.count), 2))
        return F.conv2d(h, self.weights[2], self.biases[2], groups=self.count).view(len(x), self.count, CLASSES)

    def size(self) -> int:
        """Parameters of one network."""
        return sum(p.numel() for p in self.parameters()) // self.count


def fit(entry: Entry, data: Data, *, count: int, seed: int, watch: Callable[[int, Networks], None] = lambda step, networks: None) -> Networks:
    """Train the networks of all seeds for `count` steps; `watch` is called after each. Initial weights and batches are the same for every loss.

    `normalizer` is the size of the batch of ONE network: each network's loss is its own mean, and they stay independent.
    """
    networks = Networks(data.x.shape[1], seed)
    loss = module(LOSSES[entry.loss], entry.settings)
    draw = torch.Generator().manual_seed(seed)
    adam = torch.optim.AdamW(networks.parameters(), lr=RATE, eps=1e-15, weight_decay=0.0, fused=True)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, count)
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, count + 1):
        if len(order) < BATCH:
            order = torch.randperm(len(data.x), generator=draw)
        batch, order = order[:BATCH], order[BATCH:]
        adam.zero_grad()
        loss(networks(data.x[batch]).flatten(0, 1), data.label[batch].flatten(), normalizer=BATCH).backward()
        adam.step()
        slower.step()
        watch(step, networks)
    return networks


def learn(entry: Entry, data: Data, *, count: int, seed: int) -> Result:
    """Train, looking at the test digits and at the wrong labels on the way, and score."""
    looks = set(points(count))
    told = data.label.gather(0, data.wrong)
    where = torch.arange(data.x.shape[1])
    wrong_x = data.x[data.wrong, where].contiguous(memory_format=torch.channels_last)
    course, heart = [], []

    def watch(step: int, networks: Networks) -> None:
        if step in looks:
            with torch.no_grad():
                course.append((networks(data.test_x).argmax(-1) == data.truth).double().mean(0).numpy())
                heart.append((networks(wrong_x).argmax(-1) == told).double().mean(0).numpy())

    networks = fit(entry, data, count=count, seed=seed, watch=watch)
    with torch.no_grad():
        logits = networks(data.test_x).double()
    probability = logits.softmax(-1).numpy()
    right = (logits.argmax(-1) == data.truth).double().numpy()
    with losskit.use_engine("torch"):  # one call in double precision is no reason to compile a loop
        nll = losskit.cross_entropy(logits, data.truth, dim=-1, reduction="none").mean(0).numpy()
    ece = [calibration_error(p, r, np.ones(len(p))) for p, r in zip(probability.max(-1).T, right.T, strict=True)]
    return Result(right.mean(0), np.array(ece), nll, probability, np.array(course), np.array(heart))


class Look(NamedTuple):
    """One network that reads most digits and has not yet learned the mistakes, seen by every loss."""

    pulls: dict[str, float]  # the wrong labels' share of all gradient
    wrong_below: float  # nine of ten wrong labels have a smaller probability
    right_above: float  # nine of ten right ones a larger one


def look(data: Data, *, count: int, seed: int) -> Look:
    """Train with plain cross-entropy for a fifth of the time, then ask every loss for its gradient by the logits: sum of |derivative| over the wrong labels by the sum over all."""
    networks = fit(ENTRIES[0], data, count=max(1, count // 5), seed=seed)
    with torch.no_grad():
        logits = networks(data.x)
    wrong = torch.zeros_like(data.label, dtype=torch.bool).scatter_(0, data.wrong, True)
    x, label = logits.flatten(0, 1).requires_grad_(), data.label.flatten()
    pulls = {}
    for entry in ENTRIES:
        (slope,) = torch.autograd.grad(module(LOSSES[entry.loss], entry.settings | {"reduction": "sum"})(x, label), x)
        size = slope.abs().sum(-1)
        pulls[entry.name] = float(size[wrong.flatten()].sum() / size.sum())
    p = logits.softmax(-1).gather(-1, data.label[..., None])[..., 0].double()
    return Look(pulls, float(p[wrong].quantile(0.9)), float(p[~wrong].quantile(0.1)))


def curve(entry: Entry, classes: int = CLASSES) -> Curve:
    """Value, and derivative by the label's logit, against the label's probability; the other classes share the rest equally."""
    p = torch.linspace(0.001, 0.999, 333, dtype=torch.float64)
    own = (torch.log(p / (1.0 - p)) + np.log(classes - 1)).requires_grad_()
    with losskit.use_engine("torch"):
        rows = F.pad(own[:, None], (0, classes - 1))
        value = module(LOSSES[entry.loss], entry.settings | {"reduction": "none"})(rows, torch.zeros(len(p), dtype=torch.long))
        (slope,) = torch.autograd.grad(value.sum(), own)
    return Curve(entry.name, p.tolist(), value.detach().tolist(), slope.tolist())


class Findings(NamedTuple):
    """Everything the chapter is written from."""

    order: list[Entry]  # best first
    dirty: dict[str, Result]
    clean: dict[str, Result]
    look: Look
    data: Data  # with wrong labels


def run(seed: int, effort: Effort, advance: Advance) -> Findings:
    """Train with every loss on wrong and on right labels."""
    count = steps(effort)
    sides = [load(seed, seeds(effort), True), load(seed, seeds(effort), False)]
    results: list[dict[str, Result]] = [{}, {}]
    for entry in ENTRIES:
        for data, found in zip(sides, results, strict=True):
            found[entry.name] = learn(entry, data, count=count, seed=seed)
            advance(f"digits: {entry.name}")
    seen = look(sides[0], count=count, seed=seed)
    advance("digits: gradients")
    order = sorted(ENTRIES, key=lambda e: -float(results[0][e.name].accuracy.mean()))
    return Findings(order, results[0], results[1], seen, sides[0])


def against(best: Numbers, other: Numbers, data: Data) -> Difference:
    """How much less accurate the other loss is."""
    return difference(best, other, train=len(data.x), test=len(data.test_x), matters=MATTERS)


class Hard(NamedTuple):
    """A test digit as the networks that did not train on it see it: their mean probabilities."""

    image: Numbers
    truth: int
    read: int
    probability: float


def hardest(result: Result, data: Data, count: int) -> list[Hard]:
    """The images of largest loss -log p."""
    x, y = images()
    total, times = np.zeros((len(y), CLASSES)), np.zeros(len(y))
    for number, places in enumerate(data.test.T):
        total[places] += result.probability[:, number]
        times[places] += 1.0
    mean = total / np.maximum(times, 1.0)[:, None]
    own = np.where(times > 0, mean[np.arange(len(y)), y], 1.0)
    return [Hard(x[i], int(y[i]), int(mean[i].argmax()), float(mean[i].max())) for i in np.argsort(own, kind="stable")[:count]]


def confusion(result: Result, data: Data) -> Numbers:
    """Row: the digit. Column: as what it is read. Shares of the row, all seeds together."""
    counts = np.zeros((CLASSES, CLASSES))
    np.add.at(counts, (data.truth.numpy().ravel(), result.probability.argmax(-1).ravel()), 1.0)
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), 1.0))


def missing(result: Result, data: Data) -> int:
    """Over all networks, the digits of which fewer than a tenth are read right."""
    truth, read = data.truth.numpy(), result.probability.argmax(-1)
    recall = np.array([[np.mean(r[t == digit] == digit) for digit in range(CLASSES)] for t, r in zip(truth.T, read.T, strict=True)])
    return int((recall < 0.1).sum())
