"""Calls of every public function that takes tensors, out of the registry: what laws over all of them walk through."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

import losskit
from losskit.testing import boxes, inputs
from losskit.testing.overlap import variants
from losskit.testing.row_oracle import by_class
from losskit.testing.rows import is_rows

# what a second argument is beside an input of class scores: labels, sets of them, positions, distributions, their logarithms, numbers in [0, 1] or any; or what both are
Takes = Literal["labels", "sets", "positions", "distributions", "log_distributions", "numbers", "distances", "nothing", "elements", "boxes", "pairs"]

# one of each way through the contract and the engines, for each formula takes kernels of its own, of a second or two
WAYS = (
    "mse_loss",
    "cross_entropy",
    "entropy",
    "distribution_focal_loss",
    "giou_loss",
    "pairwise_iou",
    "best_match",
    "dice_loss",
    "dice_ce_loss",
    "lovasz_loss",
)


class Entry(NamedTuple):
    """A function with settings, and what it takes."""

    name: str
    function: Callable[..., Any]
    settings: Mapping[str, Any]
    takes: Takes
    scores: Literal["logit", "cosine", "probability", "log-probability", "real"] = "real"
    softmax: bool = False  # over the classes, of which there must be two
    classes: bool = True  # whether there is a class axis

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.settings.items())}) of {self.takes}"

    def offers(self, name: str) -> bool:
        """Whether it takes an argument of this name."""
        return name in inspect.signature(self.function).parameters

    def given(self, classes: int) -> dict[str, Any]:
        """Settings as arguments; lists of weights as long as there are classes."""
        lists = {k: (v * classes)[:classes] for k, v in self.settings.items() if isinstance(v, list) and self.classes}
        return inputs.as_arguments({**self.settings, **lists})

    def __call__(self, x: Tensor, t: Tensor | None = None, **more: Any) -> Any:
        """One call; the class axis is that of `more`, or the second."""
        dim = more.get("dim", 1 if x.dim() > 1 else 0)
        arguments = {**self.given(x.shape[dim] if self.classes and x.dim() else 1), **more}
        return self.function(x, **arguments) if t is None else self.function(x, t, **arguments)

    def tensors(self, shape: tuple[int, ...], dim: int = 1, seed: int = 0) -> tuple[Tensor, Tensor | None]:
        """An ordinary input of a shape, float64, and what stands beside it."""
        draw = torch.Generator().manual_seed(seed)

        def some(*shape: int) -> Tensor:
            return torch.randn(shape, generator=draw, dtype=torch.float64)

        if self.takes in ("boxes", "pairs"):
            x, t = boxes.ordinary(prod(shape[:-1]), seed, torch.float64)
            return x.reshape(shape), t.reshape(shape)
        dim = min(dim, len(shape) - 1)
        x = 2 * some(*shape)
        if self.scores in ("probability", "log-probability"):
            x = x.softmax(dim) if self.softmax else x.sigmoid()
            x = x.log() if self.scores == "log-probability" else x
        x = inputs.cosines(x) if self.scores == "cosine" else x
        items = tuple(n for d, n in enumerate(shape) if d != dim % max(len(shape), 1))
        if self.takes == "labels":
            return x, torch.randint(0, max(shape[dim], 1), items, generator=draw)
        if self.takes == "sets":
            return x, some(*shape) > 0
        if self.takes == "positions":
            return x, torch.rand(items, generator=draw, dtype=torch.float64) * (shape[dim] - 1)
        if self.takes == "distributions":
            return x, some(*shape).softmax(dim)
        if self.takes == "log_distributions":
            return x, some(*shape).log_softmax(dim)
        if self.takes == "numbers":
            return x, (some(*shape) > 0).double()
        if self.takes == "elements":
            t = torch.rand(shape, generator=draw, dtype=torch.float64) if self.scores in ("logit", "probability") else 2 * some(*shape)
            loss = losskit.LOSSES.get(self.name)
            if loss is None or not loss.ranges:
                return x, t
            return inputs.within(loss, x.clamp(min=-0.5), t.clamp(min=-0.5))  # away from -1, where a gradient is beyond float16
        return x, some(*shape) if self.takes == "distances" else None


def entries() -> Iterator[Entry]:
    """Every loss and score with every set of arguments that the registry names, for every task and kind of target."""
    for loss in losskit.LOSSES.values():
        for settings in (*loss.arguments, *loss.rows):
            probability = not settings.get("from_logits", True)
            form: Any = "log-probability" if settings.get("log_input") else "probability" if probability else loss.input
            name, function = loss.name, loss.function
            if loss.pattern == "windows":
                continue  # pictures of other sizes than these: test_ssim.py
            if loss.pattern == "vectors":
                continue  # other tensors than these: test_embedding.py
            if loss.pattern == "linear":
                continue  # likewise: test_products.py
            if loss.pattern == "boxes":
                yield Entry(name, function, settings, "boxes", classes=False)
            elif loss.pattern == "overlap":
                for given, soft in variants(loss, settings):
                    for scores in ("logit", "probability"):
                        more = given if scores == "logit" else {**given, "from_logits": False}
                        task = given["task"]
                        takes: Takes = "labels" if task == "multiclass" and not soft else "distributions" if task == "multiclass" else "numbers"
                        for one in (function, *loss.scores):
                            yield Entry(one.__name__, one, more, takes, scores, task == "multiclass", task != "binary")
            elif loss.pattern in ("ranked", "operations"):
                task = settings["task"]
                takes = "distances" if loss.target == "real" else "labels" if task == "multiclass" else "numbers"
                yield Entry(name, function, settings, takes, form, task == "multiclass", task != "binary")
            elif is_rows(loss, settings):
                kind = "distribution" if by_class(loss) else loss.target
                takes = {"label": "labels", "unit": "labels", "set": "sets", "position": "positions", "none": "nothing"}.get(kind, "distributions")  # type: ignore[assignment]
                takes = "log_distributions" if settings.get("log_target") else takes
                yield Entry(name, function, settings, takes, form, True)
                if takes == "labels" and loss.pattern == "rows" and "label_smoothing" in loss.settings:
                    yield Entry(name, function, settings, "distributions", form, True)
            else:
                yield Entry(name, function, settings, "elements", form, classes=False)
        if loss.pattern == "boxes":
            for one in loss.scores:
                yield Entry(one.__name__, one, {}, "boxes", classes=False)
    for kind in ("iou", "giou", "diou", "ciou"):
        yield Entry("pairwise_iou", losskit.pairwise_iou, {"kind": kind}, "pairs", classes=False)
        yield Entry("best_match", losskit.best_match, {"kind": kind}, "pairs", classes=False)
    for task, takes in (("multiclass", "labels"), ("multiclass", "distributions"), ("multilabel", "numbers"), ("binary", "numbers")):
        for extra in (None, "cross_entropy", "focal") if takes != "distributions" else (None,):
            yield Entry("overlap_sums", losskit.overlap_sums, {"task": task, "extra": extra}, takes, "logit", task == "multiclass", task != "binary")
    yield Entry("WIoUv3Loss", lambda x, t, **more: losskit.WIoUv3Loss(reduction=more.pop("reduction", "mean"))(x, t, **more), {}, "boxes", classes=False)


def ways() -> list[Entry]:
    """Of each way through the contract and the engines a loss that goes it, the first of its settings for each kind of tensors.

    Of probabilities one loss per pattern, and of two losses in one no distributions: they go the ways of the others, in loops of their own.
    """
    found = {(entry.name, entry.takes, entry.scores, entry.classes): entry for entry in reversed(list(entries())) if entry.name in WAYS}
    return [entry for entry in reversed(found.values()) if goes_its_own_way(entry)]


def goes_its_own_way(entry: Entry) -> bool:
    """Whether no other entry stands for it."""
    if entry.scores == "log-probability" or (entry.name, entry.takes) == ("dice_ce_loss", "distributions"):
        return False
    return entry.scores != "probability" or (entry.name in ("cross_entropy", "dice_loss") and entry.takes == "labels")
