"""Rows of class scores: the subject of an examination, batches and extreme rows to test it with, and its errors against the oracle."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from losskit.contract.registry import Loss
from losskit.engines.call import real_dtype
from losskit.testing import inputs
from losskit.testing.oracles import Number, Worst, worst_error
from losskit.testing.row_oracle import by_class, exact_rows, listed, logs_in_target
from losskit.testing.subject import Change, LawBroken, NotOffered, Pair, Subject, gradient, leaf

SMALL = 1e-3  # losses below, and gradients, may be off by 1e-5
WIDTHS = (2, 3, 10)
OFF = (0.25, 0.0, 1e-10, 0.9, 0.5)  # of a position from the label
WIDE = (40, 300, 5000)  # rows that the CPU engine takes one at a time; the last one in blocks


def every_second(z: Tensor) -> Tensor:
    """The same classes, each beside one that is NaN."""
    return torch.stack((z, torch.full_like(z, math.nan)), 2).flatten(1, 2)[:, ::2] if z.is_floating_point() else z


MARGINS = ("multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss")  # sums over classes, without a softmax


SCORES = ("logit", "cosine")  # inputs that go through a softmax as they come
COSINES = 64.0  # scores are divided by it to make cosines of them: what the usual scale multiplies them by


def is_rows(loss: Loss, settings: Mapping[str, Any]) -> bool:
    """Whether a loss under these settings is one of rows: `focal_loss` is, with task="multiclass"."""
    return loss.pattern == "rows" or any(settings.get("task") == chosen["task"] for chosen in loss.rows)


def form(loss: Loss, settings: Mapping[str, Any]) -> str:
    """What the input is under these settings: "logit", "cosine", "probability" or "log-probability"."""
    if settings.get("from_logits", True):
        return loss.input
    return "log-probability" if settings.get("log_input") else "probability"


@dataclass(frozen=True)
class RowSubject(Subject):
    """A loss of rows, examined; `soft`: with distributions for targets although labels are what it is registered with."""

    items: ClassVar[tuple[int, ...]] = (4, 3)
    long: ClassVar[tuple[int, ...]] = (12,)
    many: ClassVar[Sequence[tuple[int, ...]]] = ((30001,), (2, 150, 101))  # as rows and as images
    blocks: ClassVar[Sequence[tuple[int, ...]]] = ((4, 3),)
    few: ClassVar[tuple[int, ...]] = (3,)
    slices: ClassVar[tuple[int, ...]] = (4,)
    infinite: ClassVar[bool] = True  # whether scores may be
    soft: bool = False

    @property
    def kind(self) -> Literal["label", "set", "position", "distribution", "none"]:
        """What a target is."""
        if self.loss.target in ("none", "position", "set"):
            return self.loss.target
        return "distribution" if self.soft or by_class(self.loss) else "label"

    @property
    def by_class(self) -> bool:
        """Whether a target has the class axis, too."""
        return self.kind in ("distribution", "set")

    @property
    def form(self) -> str:
        """What the input is."""
        return form(self.loss, self.settings)

    @property
    def classes(self) -> int:
        """The number of classes of ordinary batches."""
        return listed(self.settings) or 5

    @property
    def loose(self) -> float:
        """The relative error allowed to gradients and to small losses."""
        return self.tolerance * max(1.0, 1e-5 / self.loss.tolerance)

    def needs(self, *kinds: str) -> None:
        """The law applies to targets of these kinds."""
        if self.kind not in kinds:
            raise NotOffered(f"the target is {'no ' if self.kind == 'none' else 'a '}{'target' if self.kind == 'none' else self.kind}")

    def __call__(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """The loss of a batch; raises `NotOffered` where an argument is unknown."""
        for name in extra:
            if not self.offers(name):
                raise NotOffered(f"no argument {name}")
        given = inputs.as_arguments({k: v for k, v in self.settings.items() if self.offers(k)}, real_dtype(x.dtype))
        return self.function(x, **given, **extra) if self.kind == "none" else self.function(x, t, **given, **extra)

    def each(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """One loss per item."""
        if self.offers("reduction"):
            return self(x, t, reduction="none", **extra)
        result = self(x, t, **extra)
        if result.dim() == x.dim() - 1:
            return result
        if extra or result.dim() or x.dim() != 2:
            raise NotOffered('no reduction="none"')
        return torch.stack([self(x[i : i + 1], t[i : i + 1]) for i in range(len(x))])  # it only reduces: of one item, that is its loss

    def batch(self, shape: tuple[int, ...] = (6,), seed: int = 0, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """An ordinary batch of items of a shape, the class axis where `dim` = 1 expects it."""
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn((*shape, self.classes), generator=draw, dtype=torch.float64) * 2
        t = torch.randint(0, self.classes, shape, generator=draw)
        if self.form == "cosine":
            x = inputs.cosines(x)
        elif self.form != "logit":
            x = x.softmax(-1) if self.form == "probability" else x.log_softmax(-1)
        x = self.classes_first(x).to(dtype or self.dtype)
        if self.kind == "position":  # a third of them on a class
            y = torch.rand(shape, generator=draw, dtype=torch.float64) * (self.classes - 1)
            return x, torch.where(torch.rand(shape, generator=draw) < 0.3, t, y).to(real_dtype(x.dtype))
        if self.kind == "set":
            return x, self.classes_first(lists(shape, self.classes, draw))
        if self.kind != "distribution":
            return x, t
        soft = torch.randn((*shape, self.classes), generator=draw, dtype=torch.float64).softmax(-1)
        return x, self.classes_first(soft.log() if logs_in_target(self.settings) else soft).to(dtype or self.dtype)

    @staticmethod
    def classes_first(x: Tensor) -> Tensor:
        """The last axis to place 1, in a tensor of its own."""
        return x.movedim(-1, min(1, x.dim() - 1)).contiguous()

    def shape_of(self, x: Tensor) -> tuple[int, ...]:
        """The items of an input: all axes but that of the classes."""
        return (*x.shape[:1], *x.shape[2:]) if x.dim() > 1 else ()

    def spread(self, factor: Tensor, z: Tensor) -> Tensor:
        """One number per item, along the classes."""
        return factor.unsqueeze(1) if z.dim() > factor.dim() else factor

    def chosen(self, z: Tensor, keep: Tensor) -> Tensor:
        """The items where `keep` says so: a list of rows, or of labels."""
        return z.movedim(1, -1)[keep] if z.dim() > keep.dim() else z[keep]

    def smooth(self) -> tuple[Pair, bool]:
        """Distributions have a second derivative."""
        return self.batch(self.few, seed=5), self.kind == "distribution"

    def nothing(self) -> Iterator[tuple[str, Pair, dict[str, Any]]]:
        """All labels ignored, too."""
        yield from super().nothing()
        if self.kind == "label" and self.offers("ignore_index"):
            x, t = self.batch(self.items)
            none = torch.full_like(t, -100)
            yield "all labels ignored", (x, none), {}
            yield "all labels ignored, over NaN", (self.spoil((x, t), torch.zeros_like(t, dtype=torch.bool))[0], none), {}

    def layouts(self) -> tuple[Pair, dict[str, Change]]:
        """A slice of the classes, no batch."""
        return self.batch((4, 3, 6)), {
            "contiguous": lambda z: z,
            "channels-last": lambda z: z.contiguous(memory_format=torch.channels_last),
            "transposed": lambda z: z.transpose(2, 3),
            "samples last": lambda z: z.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
            "strided": lambda z: z[::2, :, 1:, ::3],
            "expanded": lambda z: z[:1, :, :, :1].expand(4, -1, 3, 6),
            "one item": lambda z: z[1:2, :, 2:, 3:4],
            "flat rows": lambda z: z.movedim(1, -1).reshape(-1, z.shape[1]),
            "every second class": every_second,
            "without a batch": lambda z: z[1, :, 2, 3],
        }

    def relaid(self, change: Change, t: Tensor) -> Tensor:
        """Labels have no class axis."""
        return change(t) if self.by_class else (u := change(t.unsqueeze(1))).select(min(1, u.dim() - 1), 0)

    def flat(self, x: Tensor, t: Tensor) -> Pair:
        """A list of rows."""
        x, t = (z.movedim(min(1, z.dim() - 1), -1).reshape(-1, x.shape[min(1, x.dim() - 1)]) if z.dim() == x.dim() else z.reshape(-1) for z in (x, t))
        return x.contiguous(), t.contiguous()

    def misfits(self) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, ...]]]:
        """A target too short, one with an axis too many or too few, scores without classes."""
        x, t = self.batch(self.items)
        if self.kind == "none":
            raise NotOffered("no target")
        yield "a target for 3 of 4 items", (x, t[:3]), {}, ("3",)
        yield "a target without the last axis", (x, t[..., 0]), {}, ()
        if self.kind == "label":
            yield "labels with a class axis of 1", (x, t.unsqueeze(1)), {}, ()
            yield "one-hot integers", (x, torch.nn.functional.one_hot(t, self.classes).movedim(-1, 1)), {}, ()
        else:
            yield f"a {self.kind} of one class", (x, t[:, :1]), {}, ()
        for name in ("mask", "sample_weight"):
            if self.offers(name):
                extra = {name: torch.ones(4, dtype=torch.bool if name == "mask" else torch.float32)}
                yield f"a {name} of shape (4,) for items (4, 3)", (x, t), extra, (name,)

    def masses(self, t: Tensor, factor: Tensor | None = None) -> Tensor:
        """What each item adds to the denominator of "mean": its weight, times that of its label's class (torch's rule; not for `alpha`, margins, distributions)."""
        each = torch.ones(t.select(1, 0).shape if self.by_class else t.shape, dtype=torch.float64)
        weight = self.settings.get("weight")
        if weight is not None and self.kind == "label" and self.loss.name not in MARGINS:
            each = torch.tensor(weight, dtype=torch.float64)[t.long().clamp(0, self.classes - 1)]
        return each if factor is None else torch.where(factor != 0, each * factor, 0.0)

    def softened(self) -> "RowSubject":
        """The same with distributions for targets; raises `NotOffered` if the callable takes labels only."""
        if self.kind != "label":
            return self
        other = replace(self, soft=True)
        try:
            other(*other.batch())
        except (TypeError, ValueError, RuntimeError):
            raise NotOffered("targets are labels") from None
        return other


def lists(shape: tuple[int, ...], classes: int, draw: torch.Generator) -> Tensor:
    """Sets of classes, of none to all, as lists that end at -1; some hold a class twice, and some a class after their end."""
    order = torch.rand((*shape, classes), generator=draw).argsort(-1)
    size = torch.randint(0, classes + 1, (*shape, 1), generator=draw)
    place = torch.arange(classes)
    twice = (torch.rand((*shape, 1), generator=draw) < 0.3) & (size > 1) & (size < classes)
    return torch.where(place == size, -1, torch.where(twice & (place == size - 1), order[..., :1], order))


def extreme(s: RowSubject, widths: Sequence[int] = WIDTHS) -> list[tuple[Tensor, Tensor]]:
    """Rows over the whole range, (items, classes) of several widths: sure and right, sure and wrong, ties, +-1e4, denormals, classes that are ruled out."""
    given = listed(s.settings)
    found = []
    for n in (given,) if given else widths:
        draw = np.random.default_rng(n)
        scores, labels = hard_rows(s, n, draw)
        x = torch.from_numpy(np.stack(scores))
        t = torch.tensor(labels)
        if s.form == "cosine":  # where the label's is 1 its derivative has no limit
            x = torch.where(x == -math.inf, x, (x / COSINES).clamp(-1.0, 1.0 - 2.0**-24))
        elif s.form != "logit":
            x = x.log_softmax(1).clamp(min=-2e4) if s.form == "log-probability" else x.softmax(1).clamp(min=2 * torch.finfo(s.real).tiny)
        if s.kind == "distribution":
            t = torch.from_numpy(np.stack([soft_row(n, y, x[i].numpy(), i, draw) for i, y in enumerate(labels)]))
            t = (t.log() if logs_in_target(s.settings) else t).to(s.dtype)
        elif s.kind == "set":
            t = torch.tensor([set_row(n, y, x[i].isfinite(), i) for i, y in enumerate(labels)])
        elif s.kind == "position":  # beside the label, little and much; not where a class is ruled out
            off = torch.tensor(OFF, dtype=torch.float64).repeat(len(t) // len(OFF) + 1)[: len(t)] * (1 - 2 * (t == n - 1).double())
            t = torch.where(x.isinf().any(1), t, t + off).to(s.real)
        found.append((x.to(s.dtype), t))
    return found


def hard_rows(s: RowSubject, n: int, draw: np.random.Generator) -> tuple[list[Any], list[int]]:
    """Scores and labels of one width. Wide rows hold few different numbers where the oracle must take each class for the label in turn."""
    few = n in WIDE and (s.settings.get("label_smoothing") or s.settings.get("z_loss"))
    scores, labels = [], []

    def put(row: Any, label: int) -> None:
        scores.append(np.asarray(row, np.float64))
        labels.append(label)

    def some(size: float = 1.0) -> Any:
        return size * (draw.choice([-1.3, 0.1, 1.7], n) if few else draw.normal(size=n))

    def lifted(row: Any, place: int, gap: float) -> Any:
        row[place] = np.delete(row, place).max() + gap
        return row

    def right(gap: float) -> None:
        y = int(draw.integers(n))
        put(lifted(some(), y, gap), y)

    def wrong(gap: float) -> None:
        y = int(draw.integers(n))
        put(lifted(some(), (y + 1) % n, gap), y)

    put(np.sort(some(30.0)), n - 1)  # in a wide row the maximum moves on from block to block
    if n in WIDE:
        right(20.0)
        wrong(80.0)
        return scores, labels
    for gap in (5.0, 20.0, 40.0, 80.0):
        right(gap)
        wrong(gap)
    put(some(30.0), 0)
    put(np.zeros(n), n - 1)
    put(lifted(lifted(some(), 0, 3.0), n - 1, 0.0), 0)
    put(draw.choice([-1e4, 1e4], n), int(draw.integers(n)))
    put(np.where(np.arange(n) == 1, 1e4, -1e4), 1)
    put(np.where(np.arange(n) == 1, 1e4, -1e4), 0)
    put(some(1e-40), n - 1)
    put(1e4 + some(), n // 2)
    if (
        s.form == "cosine"
    ):  # the label beside 1, where an angle changes fast, and beside that of pi - margin, among others that are as near (not in float64: what a
        # margin's cosine is rounded to there is the last digit that there is)
        turn = -math.cos(s.settings.get("margin", s.loss.settings["margin"]))
        beside = () if s.real is torch.float64 else (turn + 1e-3, turn + 1e-5, turn - 1e-3)
        for own in (1 - 2.0**-22, 1 - 2.0**-12, 1 - 2.0**-5, 0.6, -0.6, *beside):
            y, others = int(draw.integers(n)), own - 0.5 * draw.random(n)
            put(np.where(np.arange(n) == y, own, others) * COSINES, y)
    if s.loss.name in MARGINS:  # whole numbers: some at exactly the margin, where the gradient is 0
        put(np.arange(n) % 4, 1)
        put(np.arange(n) % 3, 2 % n)
    if n > 2 and not s.settings.get("label_smoothing") and s.form in SCORES and s.infinite:  # smoothing puts mass on what is ruled out
        put(np.where(np.arange(n) % 3 == 1, -math.inf, some(3.0)), 0)
        put(np.where(np.arange(n) == n - 1, some(), -math.inf), n - 1)
    return scores, labels


def soft_row(n: int, label: int, x: Any, kind: int, draw: np.random.Generator) -> Any:
    """A distribution: random, all on the label, on two classes, uniform, or that of the scores themselves; nothing where a score is -inf."""
    open_ = np.isfinite(x)
    rows = (draw.dirichlet(np.full(n, 0.5)), np.arange(n) == label, np.isin(np.arange(n), (label, (label + 1) % n)), np.ones(n), np.exp(x - x.max()))
    row = np.where(open_, rows[kind % len(rows)], 0.0)
    return row / row.sum()


def set_row(n: int, label: int, open_: Tensor, kind: int) -> list[int]:
    """A set of classes as a list: the label, that and the next, nearly all, none; nothing whose score is -inf, and in long rows few."""
    rest = [j % n for j in range(label + 1, label + n)]
    row = ([label], [label, rest[0]], [label, *rest[1:]] if n not in WIDE else [label, *rest[7:9]], [])[kind % 4]
    row = [j for j in row if open_[j]]
    return row + [-1] * (n - len(row))


class Error(NamedTuple):
    """The worst error of one kind, what is allowed, and the row it came from."""

    what: str
    worst: Worst
    allowed: float
    row: str


def errors(s: RowSubject, x: Tensor, t: Tensor, tolerance: float | None = None) -> list[Error]:
    """Value, gradient (of the sum: the pass that training runs) and, of distributions, gradient to the target against the oracle."""
    found = exact_rows(s.loss, s.settings, x, None if s.kind == "none" else t)
    a, b = leaf(x), leaf(t) if s.kind == "distribution" else t
    values = s.each(x, t)
    total = s(a, b, reduction="sum") if s.offers("reduction") else s.each(a, b)
    grads = gradient(total, a, b) if s.kind == "distribution" else gradient(total, a)
    large = [abs(e.value) > SMALL for e in found]
    kinds: list[tuple[str, Tensor, list[Number | None], list[Number], float]] = [
        ("value", values, [e.value if big else None for e, big in zip(found, large, strict=True)], [e.value_scale for e in found], s.tolerance),
        ("small value", values, [None if big else e.value for e, big in zip(found, large, strict=True)], [e.value_scale for e in found], s.loose),
        ("gradient", grads[0], [g for e in found for g in e.gradient], [g for e in found for g in e.gradient_scale], s.loose),
    ]
    if s.kind == "distribution":
        by_target = [g for e in found for g in e.by_target or ()]
        kinds += [("gradient to the target", grads[1], by_target, [g for e in found for g in e.by_target_scale or ()], s.loose)]
    result = []
    for what, got, expected, scale, allowed in kinds:
        worst = worst_error(got, expected, scale)
        i = worst.place // (got.numel() // len(x) or 1)
        shown = f"x = {row_text(x[i])}, t = {row_text(t[i])}" + (f", class {worst.place % x.shape[1]}" if got.dim() == 2 else "")
        result.append(Error(what, worst, max(allowed if tolerance is None else tolerance, 0.51 * torch.finfo(got.dtype).eps), shown))
    return result


def row_text(x: Tensor) -> str:
    """A row as a reader can type it in again, a long one shortened."""
    if x.dim() == 0 or len(x) <= 12:
        return repr(x.tolist())
    return f"[{', '.join(map(repr, x[:3].tolist()))}, ... {len(x)} numbers, the largest {x.max().item()!r} at {int(x.argmax())}]"


def require_exact(s: RowSubject, batches: Sequence[tuple[Tensor, Tensor]], tolerance: float | None = None, only: Sequence[str] = ()) -> None:
    """Within the tolerance everywhere."""
    for x, t in batches:
        for what, worst, allowed, row in errors(s, x, t, tolerance):
            if not worst.error <= allowed and (not only or what in only):
                raise LawBroken(f"{what} {worst.got!r}, exact {worst.expected!r} at {row} (error {worst.error:.1e}, allowed {allowed:.1e})")
