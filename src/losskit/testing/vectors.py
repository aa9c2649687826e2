"""Losses of vectors: the subjects of an examination, batches to test them with, the exact loss of an item, and errors against it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import mpmath
import torch
from torch import Tensor

from losskit.contract.registry import LOSSES, Loss
from losskit.testing import oracles
from losskit.testing.boxes import MOVES
from losskit.testing.oracles import Number, worst_error
from losskit.testing.rows import Error
from losskit.testing.subject import Change, LawBroken, NotOffered, Pair, Subject, gradient

WIDTH = 5  # numbers of a vector
LABELS = 3  # different ones, of losses that look for their own triplets
DIGITS = 120
INCOMING = (1.0, 0.5, 1.5)  # what comes in to the losses of a batch; to an item alone, the first


def is_mined(loss: Loss) -> bool:
    """Whether a loss of vectors looks for its triplets in the batch: then vectors along the last axis but one are compared with one another."""
    return bool(loss.compares)


@dataclass(frozen=True)
class VectorSubject(Subject):
    """A loss of vectors, examined: (..., D), and where it has labels one per vector."""

    slices: ClassVar[tuple[int, ...]] = (4, 3)
    many: ClassVar[Sequence[tuple[int, ...]]] = ((30_001,),)
    few: ClassVar[tuple[int, ...]] = (3,)

    @property
    def count(self) -> int:
        """How many tensors of a call hold vectors."""
        return len(self.loss.tensors) - (self.loss.target != "none")

    def __call__(self, *tensors: Tensor, **extra: Any) -> Tensor:
        """The loss of a batch; raises `NotOffered` where an argument is unknown."""
        return self.called(tensors, extra)

    def each(self, *tensors: Tensor, **extra: Any) -> Tensor:
        """One loss per item."""
        if self.offers("reduction"):
            return self(*tensors, reduction="none", **extra)
        items = self.shape_of(tensors[0])
        result = self(*tensors, **extra)
        if result.shape == items and items:
            return result
        if extra or result.dim() or is_mined(self.loss):
            raise NotOffered('no reduction="none"')
        flat = self.flat(*tensors)
        found = [self(*(z[i : i + 1] for z in flat)) for i in range(len(flat[0]))]  # it only reduces: of one item, that is its loss
        return torch.stack(found).reshape(items) if found else result.expand(items)

    def mean(self, *tensors: Tensor, **extra: Any) -> Tensor:
        """What training calls."""
        return self(*tensors, **({"reduction": "mean"} if self.offers("reduction") else {}) | extra)

    def one(self, *tensors: Tensor) -> Tensor:
        """The losses of a slice."""
        return self.each(*tensors)

    def batch(self, shape: tuple[int, ...] = (5, 7), seed: int = 0, dtype: torch.dtype | None = None) -> Pair:
        """Ordinary vectors, and labels where there are some."""
        draw = torch.Generator().manual_seed(seed)
        vectors = [torch.randn((*shape, WIDTH), generator=draw, dtype=torch.float64).to(dtype or self.dtype) for _ in range(self.count)]
        return *vectors, *self.labels(shape, draw)

    def labels(self, shape: tuple[int, ...], draw: torch.Generator) -> Pair:
        """Those of a batch."""
        if self.loss.target == "none":
            return ()
        return (torch.randint(0, LABELS, shape, generator=draw) if self.loss.target == "label" else 2 * torch.randint(0, 2, shape, generator=draw) - 1,)

    def smooth(self) -> tuple[Pair, bool]:
        """All vectors have second derivatives."""
        return self.batch(self.few, seed=5), True

    def fresh(self, *tensors: Tensor) -> Pair:
        """All vectors have gradients."""
        return tuple(z.detach().requires_grad_() if k < self.count else z for k, z in enumerate(tensors))

    def shape_of(self, x: Tensor) -> tuple[int, ...]:
        """The items of vectors."""
        return tuple(x.shape[:-1])

    def spread(self, factor: Tensor, z: Tensor) -> Tensor:
        """One number per item, along the vectors."""
        return factor.unsqueeze(-1) if z.is_floating_point() else factor

    def masses(self, t: Tensor, factor: Tensor | None = None) -> Tensor:
        """Of the last tensor of a batch, vectors or labels."""
        items = t.shape[:-1] if t.is_floating_point() else t.shape
        return torch.ones(items, dtype=torch.float64) if factor is None else factor

    def layouts(self) -> tuple[Pair, dict[str, Change]]:
        """Numbers apart in memory, part of longer rows; one item alone, items along three axes."""
        return self.batch((4, 6), seed=6), {
            "apart in memory, each place": lambda z: z.permute(2, 0, 1).contiguous().permute(1, 2, 0),
            "transposed": lambda z: z.transpose(0, 1),
            "every other one": lambda z: z[::2, 1:],
            "parts of longer rows": lambda z: torch.cat((z, z[..., :1]), -1)[..., :-1],
            "expanded": lambda z: z[:1].expand(5, -1, -1),
            "along three axes": lambda z: z.reshape(2, 2, 6, -1),
            "without other axes": lambda z: z[2] if is_mined(self.loss) else z[2, 3],
        }

    def relaid(self, change: Change, t: Tensor) -> Tensor:
        """Labels have no axis of numbers."""
        return change(t) if t.is_floating_point() else change(t.unsqueeze(-1)).select(-1, 0)

    def flat(self, *tensors: Tensor) -> Pair:
        """A list of items."""
        return tuple((z.reshape(-1, z.shape[-1]) if z.is_floating_point() else z.reshape(-1)).contiguous() for z in tensors)

    def misfits(self) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, ...]]]:
        """A tensor that would be broadcast; labels with an axis too many; masks of numbers, or of too few items."""
        batch = self.batch((5,))
        for k, name in enumerate(self.loss.tensors[1:], 1):
            yield f"{name} of one item for {self.loss.tensors[0]} of 5", (*batch[:k], batch[k][:1], *batch[k + 1 :]), {}, (name,)
        if self.loss.target != "none":
            yield "labels of shape (5, 1) for vectors of (5, 5)", (*batch[:-1], batch[-1][:, None]), {}, ()
        if self.offers("mask"):
            yield "a mask of the vectors' shape", batch, {"mask": torch.ones(5, WIDTH, dtype=torch.bool)}, ()
            yield "a mask of shape (3,) for vectors of (5, 5)", batch, {"mask": torch.ones(3, dtype=torch.bool)}, ()

    def require_gradients(self, got: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
        """Within a tolerance of the item's largest number: one number of a direction may pass through 0."""
        largest = torch.stack([e.double().abs().amax(-1) for e in expected]).amax(0).unsqueeze(-1)
        largest = torch.where(largest > 0, largest, largest.amax() if largest.numel() else 0.0)  # a 0 may be the difference of two that are equal
        for a, b, name in zip(got, expected, self.loss.tensors, strict=False):
            info = torch.finfo(a.dtype)
            off = ~(((a.double() - b.double()).abs() <= max(self.tolerance, 2 * info.eps) * largest + info.tiny) | (a == b) | (a.isnan() & b.isnan()))
            if bool(off.any()):
                i = tuple(off.nonzero()[0].tolist())
                raise LawBroken(f"gradient to {name} {what}: {a[i].item()!r}, expected {b[i].item()!r} at index {i}")


@dataclass(frozen=True)
class MinedSubject(VectorSubject):
    """A loss that compares the vectors of a batch: whoever is left out is neither anchor nor candidate. One batch in a row, so that a list of items is one as well."""

    items: ClassVar[tuple[int, ...]] = (1, 9)
    many: ClassVar[Sequence[tuple[int, ...]]] = ((2, 700),)
    multiplies: ClassVar[bool] = True
    few: ClassVar[tuple[int, ...]] = (5,)
    slices: ClassVar[tuple[int, ...]] = (3, 5)

    def masses(self, t: Tensor, factor: Tensor | None = None) -> Tensor:
        """Anchors without a positive or a negative are absent."""
        items = t.shape[:-1] if self.loss.target == "none" else t.shape
        counts = torch.ones(items, dtype=torch.float64) if factor is None else factor.expand(items)
        if self.loss.target == "none":
            return counts
        there = (counts != 0).unsqueeze(-2)
        alike = t.unsqueeze(-1) == t.unsqueeze(-2)
        others = ~torch.eye(t.shape[-1], dtype=torch.bool)
        some = (alike & others & there).any(-1)
        return torch.where(some & (~alike & there).any(-1) if self.loss.compares == "triplet" else some, counts, 0.0)

    def flat(self, *tensors: Tensor) -> Pair:
        """A list of batches."""
        return tuple((z.reshape(-1, *z.shape[-2:]) if z.is_floating_point() else z.reshape(-1, z.shape[-1])).contiguous() for z in tensors)

    def superposed(self, each: Tensor, leaves: Pair, incoming: Tensor) -> list[Tensor]:
        """Item by item: a vector is anchor, positive and negative at once."""
        total = [torch.zeros_like(z, dtype=torch.float64) for z in leaves]
        for place in torch.cartesian_prod(*map(torch.arange, each.shape)):
            one = torch.zeros_like(each).index_put(tuple(place), torch.ones((), dtype=each.dtype))
            for sum_of, g in zip(total, gradient(each, *leaves, incoming=one, keep=True), strict=True):
                sum_of += g.double() * incoming[tuple(place)].double()
        return total

    def require_gradients(self, got: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
        """Within a tolerance of the largest number of a batch, of which a vector's is a sum."""
        wide = [e.double().abs().amax((-1, -2), keepdim=True).expand(e.shape) for e in expected]
        for a, b, size in zip(got, expected, wide, strict=True):
            info = torch.finfo(a.dtype)
            off = ~(((a.double() - b.double()).abs() <= max(2 * self.tolerance, 2 * info.eps) * size + info.tiny) | (a.isnan() & b.isnan()))
            if bool(off.any()):
                i = tuple(off.nonzero()[0].tolist())
                raise LawBroken(f"gradient {what}: {a[i].item()!r}, expected {b[i].item()!r} at index {i}")


def subject_kind(loss: Loss) -> type[VectorSubject]:
    """The class that examines a loss of vectors."""
    return MinedSubject if is_mined(loss) else VectorSubject


class ExactGroup(NamedTuple):
    """The losses of vectors that belong together (an item; a batch that is searched), None where one is absent; derivatives by every number of their sum, in which each
    of a batch has a weight of its own (`INCOMING`).
    """

    values: list[Number | None]
    scales: list[Number]
    by: list[Number]
    scale: Number


@lru_cache(maxsize=20_000)
def exact_group(name: str, settings: tuple[tuple[str, Any], ...], vectors: tuple[tuple[float, ...], ...], labels: tuple[int, ...], eps: float) -> ExactGroup:
    """The textbook on one group, all of its vectors in one list; of a mined loss they are the batch, else the tensors of a call.

    Errors are measured against the number itself and what a rounding changes: of each vector's largest number, or, of a loss of differences, of the differences
    from the first vector.
    """
    loss, width = LOSSES[name], len(vectors[0])
    mp = mpmath.mp.clone()
    mp.dps = DIGITS
    fixed = oracles.number_settings(mp, loss, dict(settings))
    here = [mp.mpf(v) for row in vectors for v in row]
    step = mp.mpf(oracles.ROUNDINGS * eps)

    def losses(tape: Any, numbers: Sequence[Any]) -> list[Any]:
        split = [list(numbers[k : k + width]) for k in range(0, len(numbers), width)]
        if is_mined(loss):
            sides = len(loss.tensors) - bool(labels)
            sets = (split[k : k + len(split) // sides] for k in range(0, len(split), len(split) // sides))
            return list(loss.textbook(tape, *sets, *((list(labels),) if labels else ()), **fixed))
        return [loss.textbook(tape, *split, *labels, **fixed)]

    def worked_out(numbers: Sequence[Number]) -> tuple[list[Number | None], list[Number]]:
        """The losses, and the derivatives of their sum."""
        each: list[Any] = []

        def total(tape: Any, leaves: Sequence[Any]) -> Any:
            each[:] = losses(tape, leaves)
            return tape.fsum(INCOMING[k % len(INCOMING)] * v for k, v in enumerate(each) if v is not None)

        by = oracles.slopes(mp, total, numbers).by
        return [v.value if isinstance(v, oracles.Traced) else v for v in each], by

    def shaken(k: int, v: Number, step: Number) -> Number:
        if loss.cancels == "input":
            size = max(map(abs, here[k // width * width :][:width]))
        else:
            size = max(abs(v - here[k % width]), fixed.get("eps", 0)) if k >= width else 0
        return v + step * mp.mpf(MOVES[k % len(MOVES)]) * size

    def change(a: Number | None, others: Sequence[Number | None]) -> Number:
        return max(abs(b - a) for b in others) / step if a is not None else mp.mpf(0)

    there = [[shaken(k, v, way) for k, v in enumerate(here)] for way in (step, -step)]
    values, by = worked_out(here)
    moved, other = zip(*map(worked_out, there), strict=True)
    scales = [abs(a or mp.mpf(0)) + change(a, b) for a, *b in zip(values, *moved, strict=True)]
    return ExactGroup(values, scales, by, max(map(abs, by)) + max(change(a, b) for a, *b in zip(by, *other, strict=True)))


def groups(s: VectorSubject, tensors: Pair) -> list[tuple[tuple[tuple[float, ...], ...], tuple[int, ...]]]:
    """The vectors and labels of each group of a flat batch."""
    vectors = [z.double().tolist() for z in tensors[: s.count]]
    labels = tensors[s.count].tolist() if len(tensors) > s.count else None
    found = []
    for i in range(len(tensors[0])):
        rows = [row for side in vectors for row in side[i]] if is_mined(s.loss) else [side[i] for side in vectors]
        own = () if labels is None else tuple(labels[i]) if is_mined(s.loss) else (labels[i],)
        found.append((tuple(map(tuple, rows)), own))
    return found


def errors(s: VectorSubject, tensors: Pair, tolerance: float | None = None) -> list[Error]:
    """Values, and the gradient of their sum, against the textbook."""
    tensors = s.flat(*tensors)
    given = groups(s, tensors)
    settings = tuple(sorted(s.settings.items()))
    exact = [exact_group(s.loss.name, settings, *group, torch.finfo(s.real).eps) for group in given]
    leaves = s.fresh(*tensors)
    value = s.each(*tensors)
    each = s.each(*leaves)
    incoming = torch.tensor(INCOMING, dtype=each.dtype).repeat(each.shape[-1] // len(INCOMING) + 1)[: each.shape[-1]] if is_mined(s.loss) else 1.0
    slopes = gradient((each * incoming).sum(), *leaves[: s.count])
    beside = torch.stack(slopes, 1)  # as the numbers of a group lie
    wanted = [mpmath.mpf(0) if v is None else v for e in exact for v in e.values]
    checks: list[tuple[str, Tensor, list[Any], list[Any]]] = [
        ("value", value, wanted, [v for e in exact for v in e.scales]),
        ("gradient", beside, [g for e in exact for g in e.by], [e.scale for e in exact for _ in e.by]),
    ]
    result = []
    for what, got, expected, against in checks:
        worst = worst_error(got, expected, against)
        i = worst.place * len(exact) // max(got.numel(), 1)
        allowed = max(s.tolerance if tolerance is None else tolerance, 0.51 * torch.finfo(got.dtype).eps)
        result.append(Error(what, worst, allowed, f"vectors {[list(row) for row in given[i][0]]}, labels {list(given[i][1])}"))
    return result


def require_exact(s: VectorSubject, tensors: Pair, tolerance: float | None = None) -> None:
    """Within the tolerance everywhere."""
    for what, worst, allowed, row in errors(s, tensors, tolerance):
        if not worst.error <= allowed:
            raise LawBroken(f"{what} {worst.got!r}, exact {worst.expected!r} at {row} (error {worst.error:.1e}, allowed {allowed:.1e})")


def extreme(s: VectorSubject, items: int = 4) -> Pair:
    """Vectors of every size, far from the origin, a few units in the last place apart, nearly of one direction, tiny beside huge; of each `items`."""
    draw = torch.Generator().manual_seed(9)
    info = torch.finfo(s.dtype)
    end = min(1e30, info.max / 64) if s.real is torch.float32 else 1e150
    softmax = s.loss.compares in ("own", "alike")  # of a whole batch: each costs many exponentials
    shape = (s.count, 1, 5, WIDTH) if softmax else (s.count, items, 7, WIDTH) if is_mined(s.loss) else (s.count, items, WIDTH)

    def some() -> Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    first = some()[:1] if not is_mined(s.loss) else some()[:, :, :1]
    if softmax and not s.settings.get("normalize", s.loss.settings["normalize"]):  # products of large numbers leave no softmax any digit
        kinds = [some(), 4.0 * some(), 1e-3 * some(), first + 1e-3 * some(), -first * (1 + 1e-2 * some())]
        vectors = torch.cat(kinds, 1).to(s.dtype)
        return *vectors.unbind(0), *s.labels(tuple(vectors.shape[1:-1]), draw)
    kinds = [some(), 1e3 + some(), end * some() / 8, some() / min(end, 1e30 if s.real is torch.float32 else 1e150) if info.tiny < 1e-30 else 1e-3 * some()]
    kinds += [(first + 1e-3 * some()), first * (1 + 30 * info.eps * some()), -first * (1 + 1e-2 * some())]
    sizes = 10.0 ** torch.linspace(-6, 6, WIDTH, dtype=torch.float64) if info.max > 1e30 else torch.ones(WIDTH, dtype=torch.float64)
    kinds += [some() * sizes]
    vectors = torch.cat(kinds, 1).to(s.dtype)
    labels = s.labels(tuple(vectors.shape[1:-1]), draw)
    return *vectors.unbind(0), *labels
