"""Overlap of samples and classes: the subject of an examination, batches and extreme numbers to test it with, and its errors against the oracle."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from losskit.contract.registry import Loss
from losskit.engines.call import real_dtype
from losskit.testing import inputs
from losskit.testing.oracles import Number, worst_error
from losskit.testing.overlap_oracle import SECONDS, exact_overlap
from losskit.testing.row_oracle import listed
from losskit.testing.rows import Error, every_second
from losskit.testing.subject import Change, LawBroken, NotOffered, Pair, Subject, gradient, leaf

KINDS = ("value", "gradient")


def require_near(got: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """As `require_close`, relative to the largest number there is: a gradient is a difference, and may pass through 0."""
    if got.shape != expected.shape:
        raise LawBroken(f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    a, b = got.detach().double(), expected.detach().double()
    size = b[torch.isfinite(b)].abs().max().item() if bool(torch.isfinite(b).any()) else 0.0
    off = ~(((a - b).abs() <= tolerance * (size + b.abs())) | (a == b) | (a.isnan() & b.isnan()))
    if bool(off.any()):
        i = tuple(off.nonzero()[0].tolist())
        raise LawBroken(f"{what}: {a[i].item()!r}, expected {b[i].item()!r}" + (f" at index {i}" if i else ""))


def is_overlap(loss: Loss) -> bool:
    """Whether a loss is one of overlap."""
    return loss.pattern == "overlap"


@dataclass(frozen=True)
class OverlapSubject(Subject):
    """A loss of overlap, examined; its settings name the task. `soft`: targets are numbers in [0, 1] of the input's shape, with "multiclass" too."""

    items: ClassVar[tuple[int, ...]] = (2, 6)
    long: ClassVar[tuple[int, ...]] = (5, 6)
    many: ClassVar[Sequence[tuple[int, ...]]] = ((2, 150, 201),)
    blocks: ClassVar[Sequence[tuple[int, ...]]] = ((3, 7), (2, 41, 101))
    few: ClassVar[tuple[int, ...]] = (2, 3)
    slices: ClassVar[tuple[int, ...]] = (3, 5)
    soft: bool = False

    @property
    def task(self) -> str:
        """What is asked about an item."""
        return str(self.settings["task"])

    @property
    def kind(self) -> Literal["label", "number"]:
        """What a target is."""
        return "label" if self.task == "multiclass" and not self.soft else "number"

    @property
    def logits(self) -> bool:
        """Whether the input is logits."""
        return bool(self.settings.get("from_logits", True))

    @property
    def classes(self) -> int:
        """The number of classes of ordinary batches."""
        return 1 if self.task == "binary" else listed(self.settings) or 3

    @property
    def compound(self) -> bool:
        """Whether there is a second loss, whose mean ignores samples."""
        return any(name in self.loss.settings for name in SECONDS)

    @cached_property
    def per_class(self) -> bool:
        """Whether there is a loss for every sample and class."""
        try:
            return self.offers("average") and self(*self.batch((1, 2)), average="none").dim() == 2
        except (TypeError, ValueError, RuntimeError):
            return False

    @property
    def exactness(self) -> float:
        """The relative error allowed; in float64, where sums are made in the same precision as all else, that of their differences."""
        return self.tolerance if self.real is torch.float32 else 1e-10

    def needs(self, what: bool, missing: str) -> None:
        """The law applies to it."""
        if not what:
            raise NotOffered(missing)

    def given(self, **extra: Any) -> "OverlapSubject":
        """The same with further settings."""
        return replace(self, settings={**self.settings, **extra})

    def __call__(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """The loss of a batch; raises `NotOffered` where an argument is unknown."""
        for name in extra:
            if not self.offers(name):
                raise NotOffered(f"no argument {name}")
        settings = {k: v for k, v in self.settings.items() if self.offers(k)}
        return self.function(x, t, **inputs.as_arguments(settings | extra, real_dtype(x.dtype)))

    def each(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """One loss for every sample, and for every class too if there is one."""
        if self.per_class:
            return self(x, t, average="none", over="sample", **extra)
        found = [self(x[n : n + 1], t[n : n + 1], **{k: v[n : n + 1] if isinstance(v, Tensor) else v for k, v in extra.items()}) for n in range(len(x))]
        return torch.stack(found) if found else x.new_zeros(0)

    def batch(self, shape: tuple[int, ...] = (2, 7), seed: int = 0, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """An ordinary batch: samples and items, the class axis between them."""
        draw = torch.Generator().manual_seed(seed)
        x = torch.randn((shape[0], self.classes, *shape[1:]), generator=draw, dtype=torch.float64) * 2
        if not self.logits:
            x = x.softmax(1) if self.task == "multiclass" else torch.sigmoid(x)
        soft = torch.randn(x.shape, generator=draw, dtype=torch.float64)
        dtype = dtype or self.dtype
        if self.kind == "label":
            return x.to(dtype), torch.randint(0, self.classes, shape, generator=draw)
        t = soft.softmax(1) if self.task == "multiclass" else torch.sigmoid(soft) if self.soft else (soft > 0.3).double()
        return x.to(dtype), t.to(dtype)

    def mean(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """There is no reduction."""
        return self(x, t, **extra)

    def one(self, x: Tensor, t: Tensor) -> Tensor:
        """The loss of a sample."""
        return self(x[None], t[None])

    def ways(self) -> list[dict[str, Any]]:
        """Every way to sum and to average that the callable has."""
        over = [{"over": v} for v in ("sample", "batch")] if self.offers("over") else [{}]
        averages = ["macro", "micro", "weighted", "nested"] + ["none"] * self.per_class if self.offers("average") else [None]
        return [{**o, **({} if a is None else {"average": a})} for o in over for a in averages]

    def spread(self, factor: Tensor, z: Tensor) -> Tensor:
        """One number per item, along the classes."""
        return factor if factor.dim() == z.dim() else factor.unsqueeze(1).expand(z.shape)

    def mask(self, keep: Tensor) -> Tensor:
        """Where there are as many classes as samples, (N, L) beside (N, C, L) could be of the last axes as well."""
        return keep if self.task == "multiclass" else keep.unsqueeze(1)

    def denominator(self, t: Tensor) -> float:
        """The number of losses that are averaged."""
        self.needs(not self.compound, "the second loss has a mean of its own")
        return float(len(t) * (self.classes if self.per_class else 1))

    def smooth(self) -> tuple[Pair, bool]:
        """Targets between 0 and 1: beside those there are none."""
        x, t = self.batch(self.few, seed=5)
        both = self.kind == "number" and not (self.compound and self.task == "multiclass") and "volume_weight" not in self.loss.settings
        return (x, 0.1 + 0.8 * t if both else t), both

    def nothing(self) -> Iterator[tuple[str, Pair, dict[str, Any]]]:
        """No items; all ignored; class weights that are all 0."""
        yield from super().nothing()
        x, t = self.batch(self.items)
        yield "no items", (x[..., :0], t[..., :0]), {}
        if self.offers("ignore_index") and (self.task != "multiclass" or self.kind == "label"):
            bad, _ = self.spoil((x, t), torch.zeros(self.items, dtype=torch.bool))
            yield "everything ignored, over NaN", (bad, torch.full_like(t, -100)), {}
        if self.offers("weight") and not self.compound:
            yield "class weights all 0", (x, t), {"weight": [0.0] * self.classes}

    def layouts(self) -> tuple[Pair, dict[str, Change]]:
        """Every second class; no items' axes at all."""
        return self.batch((2, 4, 6)), {
            "contiguous": lambda z: z,
            "channels-last": lambda z: z.contiguous(memory_format=torch.channels_last),
            "transposed": lambda z: z.transpose(2, 3),
            "samples last": lambda z: z.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
            "strided": lambda z: z[::2, :, 1:, ::3],
            "expanded": lambda z: z[:1, :, :, :1].expand(3, -1, 4, 6),
            "flat": lambda z: z.flatten(2),
            "one row per sample": lambda z: z[..., 0, 0],
            "every second class": every_second,
        }

    def relaid(self, change: Change, t: Tensor) -> Tensor:
        """Labels have no class axis."""
        return change(t) if self.kind == "number" else change(t.unsqueeze(1)).select(1, 0)

    def flat(self, x: Tensor, t: Tensor) -> Pair:
        """Samples, classes and one axis of items."""
        x, t = (z.reshape(*z.shape[: 2 - (z.dim() < x.dim())], -1) for z in (x, t))
        return x.contiguous(), t.contiguous()

    def misfits(self) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, ...]]]:
        """A target too short, one without its last axis, a mask or class weights that fit nothing."""
        x, t = self.batch((2, 4, 5))
        yield "a target for 1 of 2 samples", (x, t[:1]), {}, ("(1, ",)
        yield "a target without the last axis", (x, t[..., 0]), {}, ()
        if self.offers("mask"):
            yield "a mask of shape (3,)", (x, t), {"mask": torch.ones(3, dtype=torch.bool)}, ("mask",)
            yield "a mask of numbers", (x, t), {"mask": torch.ones(5)}, ("mask",)
        if self.offers("weight"):
            yield "a weight too many", (x, t), {"weight": [1.0] * (self.classes + 1)}, ("weight",)
            yield "weights of NaN", (x, t), {"weight": [math.nan] * self.classes}, ("weight",)

    def require_gradients(self, got: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
        """Relative to the largest number."""
        for a, b in zip(got, expected, strict=True):
            require_near(a, b, max(self.exactness, 2 * torch.finfo(a.dtype).eps), f"gradient {what}")

    def require_value(self, got: Tensor, expected: Tensor, what: str) -> None:
        """Relative to the largest number."""
        require_near(got, expected, self.exactness, f"value {what}")


def variants(loss: Loss, settings: Mapping[str, Any]) -> list[tuple[dict[str, Any], bool]]:
    """Settings with each task, and whether the targets are soft."""
    return [({**settings, "task": task}, soft) for task, soft in (("multiclass", False), ("multiclass", True), ("multilabel", False), ("binary", True))]


def extreme(s: OverlapSubject) -> list[tuple[Tensor, Tensor]]:
    """Batches of three samples: numbers of every size, sure and right, sure and wrong, ties, ruled out; all but perfect; a class hardly seen."""
    draw = torch.Generator().manual_seed(7)
    c = s.classes
    gaps = [15.0, -15.0, 40.0, -40.0, 80.0, -80.0, 1.0, -1.0, 0.1, 3.0]
    end = min(1e4, torch.finfo(s.dtype).max / 4)
    m = len(gaps) + 6

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    labels = torch.randint(0, max(c, 2), (3, m), generator=draw)
    labels[1, :2], labels[2, 0] = torch.tensor([0, 1]), c - 1
    right = (
        torch.nn.functional.one_hot(labels, max(c, 2)).movedim(-1, 1).double()
        if s.task == "multiclass"
        else torch.stack([labels.roll(k, 1) % 2 for k in range(c)], 1).double()
    )
    side = right if s.task == "multiclass" else 2 * right - 1
    x = some(3, c, m)
    x[0, :, : len(gaps)] = 0.3 * x[0, :, : len(gaps)] + side[0, :, : len(gaps)] * torch.tensor(gaps)
    x[0, :, -6:-1] = torch.stack((torch.zeros(c), end * torch.sign(some(c)), end + some(c) / 8, 1e-40 * some(c), 30 * some(c)), 1)
    if s.logits and s.kind == "label" and c > 2:
        x[0, (labels[0, -1] + 1) % c, -1] = -math.inf
    x[1] = 0.3 * x[1] + 7.0 * side[1]
    x[2, -1] -= 12.0
    if not s.logits:
        x = x.softmax(1) if s.task == "multiclass" else torch.sigmoid(x)
        x = x.clamp(2 * torch.finfo(s.dtype).tiny, 1 - torch.finfo(s.dtype).eps)
    x = x.to(s.dtype)
    if s.kind == "label":
        return [(x, labels)]
    if s.soft:
        soft = some(3, c, m).softmax(1) if s.task == "multiclass" else torch.sigmoid(3 * some(3, c, m))
        right = torch.where(torch.rand((3, 1, m), generator=draw) < 0.6, soft, right)
    return [(x, right.to(s.dtype))]


def errors(s: OverlapSubject, x: Tensor, t: Tensor, tolerance: float | None = None, **extra: Any) -> list[Error]:
    """Value, gradient and, of numbers, gradient to the target against the oracle, on (samples, classes, items)."""
    number = s.kind == "number"
    exact = exact_overlap(s.loss, {**s.settings, **extra}, x, t, to_target=number)
    a, b = leaf(x), leaf(t) if number else t
    value = s(a, b, **extra)
    grads = gradient(value, a, b) if number else gradient(value, a)
    kinds: list[tuple[str, Tensor, list[Number | None], list[Number]]] = [
        ("value", value, exact.values, exact.value_scale),
        ("gradient", grads[0], exact.gradient, exact.gradient_scale),
    ]
    if number:
        kinds.append(("gradient to the target", grads[1], exact.by_target, exact.by_target_scale))
    result = []
    for what, got, expected, scale in kinds:
        if not bool(torch.isfinite(got).all()) and all(e is None or abs(e) < torch.finfo(got.dtype).max for e in expected):
            raise LawBroken(f"{what} is not finite: {got.tolist()}")
        floor = 1e-5 * max(scale, default=0)  # where nothing is left at all, rounding may leave something, as small as of what the others are made of
        worst = worst_error(got, expected, [v or floor for v in scale])
        shown = ", ".join(f"{k}={v!r}" for k, v in extra.items())
        if got.shape == x.shape:
            n, c, m = (int(i) for i in torch.unravel_index(torch.tensor(worst.place), x.shape))
            target = t[n, m] if s.kind == "label" else t[n, :, m]
            shown = f"{shown or 'plain'}, sample {n}, class {c}, item {m}: x = {x[n, :, m].tolist()}, t = {target.tolist()}"
        result.append(Error(what, worst, max(s.exactness if tolerance is None else tolerance, 0.51 * torch.finfo(got.dtype).eps), shown or "plain"))
    return result


def require_exact(
    s: OverlapSubject, batches: Sequence[tuple[Tensor, Tensor]], tolerance: float | None = None, only: Sequence[str] = KINDS, **extra: Any
) -> None:
    """Within the tolerance everywhere."""
    for x, t in batches:
        for what, worst, allowed, place in errors(s, x, t, tolerance, **extra):
            if not worst.error <= allowed and what in only:
                raise LawBroken(f"{what} {worst.got!r}, exact {worst.expected!r} with {place} (error {worst.error:.1e}, allowed {allowed:.1e})")
