"""Chapter 1, the experiment: regression on `diabetes` when some training targets are wrong. Every regression loss, with and without the wrong targets."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from losskit.contract.registry import LOSSES, Loss
from losskit.curves import Curve, module, sample, show
from losskit.tour.chapter import Advance, Effort
from losskit.tour.compare import Difference, Numbers, difference
from losskit.tour.train import Models, fit

SHARE = 0.15  # of training targets that are wrong
SLIP = 10.0  # how: the decimal point slipped one place
TEST = 110  # patients held out
DECAY = 1.0  # strong, for the targets are noisy even where they are right
MATTERS = 0.02  # a difference of test error below 2 % is not worth a word

# errors are in units of the targets' robust spread, so 1 is a large ordinary error; losses not named here show their first listed setting
SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "barron_loss": ({"alpha": 0.0}, {"alpha": -2.0}, {"alpha": -math.inf}),
    "charbonnier_loss": ({"eps": 0.1},),
    "huber_loss": ({"delta": 1.0}, {"delta": 0.25}),
    "quantile_loss": ({"quantile": 0.5},),
    "smooth_l1_loss": ({"beta": 0.25},),
}


class Entry(NamedTuple):
    """A loss with its settings, as it is compared."""

    loss: Loss
    settings: dict[str, Any]
    curve: Curve

    @property
    def name(self) -> str:
        """As the call is written."""
        inside = ", ".join(f"{k}={show(v)}" for k, v in self.settings.items())
        return f"{self.loss.name}({inside})" if inside else self.loss.name


class Data(NamedTuple):
    """All seeds' splits: standardised inputs and targets for training, what is needed to score in the original units."""

    x: Tensor  # (seeds, train, inputs)
    target: Tensor  # (seeds, train)
    wrong: Tensor  # (seeds, train) bool
    test_x: Tensor
    test_y: Tensor
    middle: Tensor  # (seeds, 1)
    unit: Tensor  # (seeds, 1)


class Result(NamedTuple):
    """Test errors of one loss, one number per seed, in the original units."""

    mae: Numbers
    rmse: Numbers
    predicted: Numbers  # of the first seed's test set


def entries() -> list[Entry]:
    """Every regression loss of the registry that takes every number, with the settings shown."""
    found = []
    for loss in LOSSES.of("elementwise").values():
        if loss.task == "regression" and loss.target == "real" and not loss.ranges:
            for settings in SETTINGS.get(loss.name, (dict(loss.arguments[0]),)):
                found.append(Entry(loss, settings, sample(loss, settings, span=(-18.0, 4.0), points=331)))
    return found


def load(seed: int, seeds: int, corrupt: bool) -> Data:
    """Random splits of the 442 patients. The median and the median absolute deviation standardise the targets, since outliers hardly move them."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True, scaled=False)
    parts: list[tuple[Any, ...]] = []
    for number in range(seeds):
        draw = np.random.default_rng([seed, number])
        order = draw.permutation(len(y))
        test, train = order[:TEST], order[TEST:]
        wrong = np.zeros(len(train), bool)
        wrong[draw.permutation(len(train))[: round(SHARE * len(train))]] = True
        target = np.where(wrong, SLIP * y[train], y[train]) if corrupt else y[train]
        middle = np.median(target)
        unit = 1.4826 * np.median(np.abs(target - middle))  # the factor makes it the standard deviation of Gaussian data
        mean, deviation = x[train].mean(0), x[train].std(0)
        parts.append(((x[train] - mean) / deviation, (target - middle) / unit, wrong, (x[test] - mean) / deviation, y[test], [middle], [unit]))
    columns = [np.stack([np.asarray(p[i]) for p in parts]) for i in range(7)]
    return Data(*(torch.as_tensor(c if c.dtype == bool else c.astype(np.float32)) for c in columns))


def score(models: Models, data: Data) -> Result:
    """Errors on the clean test patients."""
    with torch.no_grad():
        predicted = models(data.test_x) * data.unit + data.middle
    error = (predicted - data.test_y).double()
    return Result(error.abs().mean(1).numpy(), error.square().mean(1).sqrt().numpy(), predicted[0].double().numpy())


def pull(entry: Entry, data: Data) -> float:
    """The wrong targets' share of all gradient when training starts from the median: sum of |derivative| over them by the sum over all."""
    x = torch.zeros_like(data.target, requires_grad=True)
    (slope,) = torch.autograd.grad(module(entry.loss, entry.settings)(x, data.target), x)
    return float(slope[data.wrong].abs().sum() / slope.abs().sum())


class Findings(NamedTuple):
    """Everything the chapter is written from."""

    order: list[Entry]  # best first
    dirty: dict[str, Result]
    clean: dict[str, Result]
    pulls: dict[str, float]
    data: Data  # with wrong targets


def run(seed: int, effort: Effort, advance: Advance) -> Findings:
    """Train with every loss on wrong and on right targets."""
    tried = entries()
    sides = [load(seed, effort.seeds, True), load(seed, effort.seeds, False)]
    results: list[dict[str, Result]] = [{}, {}]
    for entry in tried:
        for data, found in zip(sides, results, strict=True):
            loss = module(entry.loss, entry.settings)
            found[entry.name] = score(fit(loss, data.x, data.target, steps=effort.steps, decay=DECAY, seed=seed), data)
            advance(f"diabetes: {entry.name}")
    order = sorted(tried, key=lambda e: float(results[0][e.name].mae.mean()))
    return Findings(order, results[0], results[1], {e.name: pull(e, sides[0]) for e in tried}, sides[0])


def against(best: Numbers, other: Numbers, train: int) -> Difference:
    """How much worse the other loss is."""
    return difference(other, best, train=train, test=TEST, matters=MATTERS * float(best.mean()))
