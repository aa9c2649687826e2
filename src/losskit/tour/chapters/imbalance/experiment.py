"""Chapter 2, the experiment: binary classification on `breast_cancer` with malignant cases made rare. Cross-entropy, weighted, smoothed, and focal loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Advance, Effort, Text
from losskit.tour.compare import Difference, Numbers, calibration_error, difference
from losskit.tour.train import fit

RARE, COMMON = 12, 228  # training cases of either kind: 5 % malignant
TEST_RARE = 100  # malignant cases held out
SHARE = RARE / (RARE + COMMON)
DECAY = 0.1  # the classes are nearly separable: little needs to be held back


class Entry(NamedTuple):
    """A loss with its settings, as it is compared."""

    name: str
    loss: str
    settings: dict[str, Any]


ENTRIES = (
    Entry("binary_cross_entropy_with_logits", "binary_cross_entropy_with_logits", {}),
    Entry("binary_cross_entropy_with_logits(pos_weight=[19])", "binary_cross_entropy_with_logits", {"pos_weight": [COMMON / RARE]}),
    Entry("binary_cross_entropy_with_logits(label_smoothing=0.1)", "binary_cross_entropy_with_logits", {"label_smoothing": 0.1}),
    Entry("focal_loss(gamma=0.5)", "focal_loss", {"gamma": 0.5}),
    Entry("focal_loss(gamma=1)", "focal_loss", {"gamma": 1.0}),
    Entry("focal_loss(gamma=2)", "focal_loss", {"gamma": 2.0}),
    Entry("focal_loss(gamma=5)", "focal_loss", {"gamma": 5.0}),
    Entry("focal_loss(gamma=2, alpha=0.25)", "focal_loss", {"gamma": 2.0, "alpha": 0.25}),
    Entry("focal_loss(gamma=2, alpha=0.95)", "focal_loss", {"gamma": 2.0, "alpha": 0.95}),
)
PLAIN = ENTRIES[0].name


class Measure(NamedTuple):
    """A score: its name, whether more is better, and the smallest difference worth a word."""

    title: Text
    more: bool
    matters: float


MEASURES = {
    "accuracy": Measure(Text("Accuracy", "准确率"), True, 0.005),
    "balanced": Measure(Text("Balanced accuracy", "平衡准确率"), True, 0.01),
    "recall": Measure(Text("Recall of malignant", "恶性召回率"), True, 0.01),
    "precision": Measure(Text("Precision", "精确率"), True, 0.01),
    "auc": Measure(Text("AUC", "AUC"), True, 0.005),
    "ap": Measure(Text("Average precision", "平均精确率"), True, 0.01),
    "ece": Measure(Text("Calibration error", "校准误差 ECE"), False, 0.005),
    "brier": Measure(Text("Brier score", "Brier 分数"), False, 0.002),
}
Scores = dict[str, Numbers]  # one number per seed for each measure


class Data(NamedTuple):
    """All seeds' splits; `weight` makes malignant cases as rare in the test as they are in training."""

    x: Tensor  # (seeds, train, inputs)
    target: Tensor  # (seeds, train)
    test_x: Tensor
    truth: Numbers  # (seeds, test)
    weight: Numbers  # (test,), the same for every seed


def load(seed: int, seeds: int) -> Data:
    """Random splits: 12 malignant and 228 benign cases to learn from, 100 malignant and the other benign ones to test on."""
    from sklearn.datasets import load_breast_cancer

    x, benign = load_breast_cancer(return_X_y=True)
    y = 1 - benign  # malignant is the class to find
    parts = []
    for number in range(seeds):
        draw = np.random.default_rng([seed, number])
        rare, common = draw.permutation(np.flatnonzero(y == 1)), draw.permutation(np.flatnonzero(y == 0))
        train, test = np.concatenate([rare[:RARE], common[:COMMON]]), np.concatenate([rare[-TEST_RARE:], common[COMMON:]])
        mean, deviation = x[train].mean(0), x[train].std(0)
        parts.append(((x[train] - mean) / deviation, y[train], (x[test] - mean) / deviation, y[test]))
    inputs, target, test_x, truth = (np.stack([p[i] for p in parts]) for i in range(4))
    others = truth.shape[1] - TEST_RARE
    weight = np.where(truth[0] == 1, SHARE / (1 - SHARE) * others / TEST_RARE, 1.0)
    as_tensor: Callable[[Any], Tensor] = lambda a: torch.as_tensor(a.astype(np.float32))  # noqa: E731
    return Data(as_tensor(inputs), as_tensor(target), as_tensor(test_x), truth.astype(np.float64), weight)


def score(probability: Numbers, data: Data) -> Scores:
    """Every measure for every seed."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    rows = []
    w = data.weight
    for p, y in zip(probability, data.truth, strict=True):
        found = p > 0.5
        recall, false_alarms = found[y == 1].mean(), found[y == 0].mean()
        hits = (w * found * y).sum()
        rows.append(
            {
                "accuracy": (w * (found == y)).sum() / w.sum(),
                "balanced": (recall + 1.0 - false_alarms) / 2.0,
                "recall": recall,
                "precision": hits / (w * found).sum() if found.any() else 0.0,
                "auc": roc_auc_score(y, p),
                "ap": average_precision_score(y, p, sample_weight=w),
                "ece": calibration_error(p, y, w),
                "brier": (w * (p - y) ** 2).sum() / w.sum(),
            }
        )
    return {name: np.array([row[name] for row in rows], np.float64) for name in MEASURES}


class Findings(NamedTuple):
    """Everything the chapter is written from."""

    scores: dict[str, Scores]
    differences: dict[str, dict[str, Difference]]  # from plain cross-entropy, by loss and measure
    probabilities: dict[str, Numbers]
    data: Data


def run(seed: int, effort: Effort, advance: Advance) -> Findings:
    """Train with every loss, and compare each with plain cross-entropy."""
    data = load(seed, effort.seeds)
    scores: dict[str, Scores] = {}
    probabilities: dict[str, Numbers] = {}
    for entry in ENTRIES:
        models = fit(module(LOSSES[entry.loss], entry.settings), data.x, data.target, steps=2 * effort.steps, decay=DECAY, seed=seed)
        with torch.no_grad():
            probabilities[entry.name] = torch.sigmoid(models(data.test_x)).double().numpy()
        scores[entry.name] = score(probabilities[entry.name], data)
        advance(f"breast cancer: {entry.name}")
    differences = {name: {measure: _against_plain(scores, name, measure, data) for measure in MEASURES} for name in scores if name != PLAIN}
    return Findings(scores, differences, probabilities, data)


def _against_plain(scores: dict[str, Scores], name: str, measure: str, data: Data) -> Difference:
    """A loss against plain cross-entropy."""
    train, test = data.x.shape[1], data.truth.shape[1]
    return difference(scores[name][measure], scores[PLAIN][measure], train=train, test=test, matters=MEASURES[measure].matters)
