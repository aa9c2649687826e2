"""What is being examined: a callable, the loss it claims to be, and how to call it."""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from losskit.contract.registry import Loss
from losskit.engines.dispatch import EngineName
from losskit.testing import inputs

GARBAGE = (math.nan, math.inf, -math.inf, 1e38, -7.0)
WRONG_LABELS = (99, -7, 1 << 20, -100)
Pair = tuple[Tensor, ...]  # the tensors of a call: input and target, as a rule
Change = Callable[[Tensor], Tensor]


class LawBroken(AssertionError):
    """A law does not hold; the message is one concrete counterexample."""


class NotOffered(Exception):
    """The callable lacks what the law is about."""


@contextmanager
def refusals() -> Iterator[None]:
    """What PyTorch says when a transform cannot go through the callable breaks the law."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        raise LawBroken(str(error).strip().splitlines()[0]) from None


class Result(NamedTuple):
    """A value and its gradients."""

    value: Tensor
    gradients: Sequence[Tensor]


def refused(call: Callable[[], object], kind: type[Exception], *told: str) -> None:
    """An error of a kind that says so much."""
    try:
        call()
    except kind as error:
        missing = [word for word in told if word not in str(error)]
        if missing:
            raise LawBroken(f"the message {str(error)!r} does not say {', '.join(missing)}") from None
    else:
        raise LawBroken(f"no {kind.__name__} that says {', '.join(told)}")


@dataclass(frozen=True)
class Subject:
    """A loss function with some settings, examined in one dtype: of elements here, of other kinds in the classes made from this one.

    `engine` is the one the call runs under, if it was forced (a few laws do not apply to every engine). What the shared laws ask of a subject: to make batches
    (`batch`), to spoil and to pick items (`spoil`, `pick`), what an item is (`spread`, `masses`, `flat`), and how close is close (`require`).
    """

    items: ClassVar[tuple[int, ...]] = (5, 7)  # of the batches that are masked, weighed and reduced
    long: ClassVar[tuple[int, ...]] = (12, 5)  # to be split along its first axis
    many: ClassVar[Sequence[tuple[int, ...]]] = ((70001, 3),)  # for every thread to have some
    multiplies: ClassVar[bool] = False  # whether what is compared is made by matrix products
    blocks: ClassVar[Sequence[tuple[int, ...]]] = ((5, 7),)  # for engines to agree on
    few: ClassVar[tuple[int, ...]] = (6,)  # for second derivatives
    slices: ClassVar[tuple[int, ...]] = (5, 7)  # for transforms, along the first axis

    function: Callable[..., Tensor]
    loss: Loss
    settings: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    engine: EngineName | None = None

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter] | None:
        """Names the callable takes; None if it takes any."""
        target = self.function.forward if isinstance(self.function, torch.nn.Module) else self.function
        try:
            found = inspect.signature(target).parameters
        except (TypeError, ValueError):
            return None
        return None if any(p.kind is p.VAR_KEYWORD for p in found.values()) else found

    def offers(self, name: str) -> bool:
        """Whether the callable takes an argument of this name."""
        return self.parameters is None or name in self.parameters

    def called(self, tensors: Pair, extra: Mapping[str, Any]) -> Tensor:
        """The loss of the tensors of a call; raises `NotOffered` where an argument is unknown."""
        for name in extra:
            if not self.offers(name):
                raise NotOffered(f"no argument {name}")
        given = {k: v for k, v in self.settings.items() if self.offers(k)}
        return self.function(*tensors, **inputs.as_arguments(given), **extra)

    def __call__(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """The loss of a batch; raises `NotOffered` where an argument is unknown."""
        return self.called((x, t), extra)

    def each(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """One loss per item."""
        if self.offers("reduction"):
            return self(x, t, reduction="none", **extra)
        result = self(x, t, **extra)
        if result.shape == x.shape and x.dim():
            return result
        if extra or result.dim():
            raise NotOffered('no reduction="none"')
        items = [self(a.reshape(1), b.reshape(1)) for a, b in zip(x.reshape(-1), t.reshape(-1), strict=True)]  # it only reduces: of one item, that is its loss
        return torch.stack(items).reshape(x.shape) if items else result.expand(x.shape)

    def mean(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """What training calls."""
        return self(x, t, **({"reduction": "mean"} if self.offers("reduction") else {}) | extra)

    def one(self, x: Tensor, t: Tensor, /) -> Tensor:
        """The losses of a slice, without the first axis."""
        return self.each(x, t)

    def ways(self) -> list[dict[str, Any]]:
        """Every way to reduce that the callable has."""
        return [{"reduction": r} for r in ("mean", "sum", "none")] if self.offers("reduction") else [{}]

    def batch(self, shape: tuple[int, ...] = (5, 7), seed: int = 0, dtype: torch.dtype | None = None) -> Pair:
        """An ordinary batch from the loss's domain."""
        return inputs.batch(self.loss, self.settings, shape, dtype or self.dtype, seed)

    def smooth(self) -> tuple[Pair, bool]:
        """A small batch away from kinks and edges, and whether the target has a second derivative."""
        x, t = self.batch(self.few, seed=5)
        labels = self.loss.ranges.get("target", ("", ""))[0] == "-1 or 1"  # which have no neighbours
        return (x, t.clamp(0.1, 0.9) if self.loss.target == "unit" else t), not labels

    def fresh(self, x: Tensor, t: Tensor, /) -> Pair:
        """The pair on the same memory, attached where laws look at the gradient."""
        return x.detach().requires_grad_(), t

    def with_dtype(self, dtype: torch.dtype) -> Self:
        """The same in another dtype."""
        return replace(self, dtype=dtype)

    def shape_of(self, x: Tensor) -> tuple[int, ...]:
        """The items of an input."""
        return tuple(x.shape)

    def spread(self, factor: Tensor, z: Tensor) -> Tensor:
        """One number per item, to stand beside an input or target."""
        return factor

    def chosen(self, z: Tensor, keep: Tensor) -> Tensor:
        """The items of an input, target or gradient where `keep` says so, as a list."""
        return z[keep]

    def pick(self, tensors: Pair, keep: Tensor) -> Pair:
        """The items of a batch where `keep` says so."""
        return tuple(self.chosen(z, keep) for z in tensors)

    def spoil(self, tensors: Pair, keep: Tensor) -> Pair:
        """Garbage where nothing counts: numbers that are NaN, infinite or out of domain, labels that are no class."""
        return tuple(torch.where(self.spread(keep, z), z, self.junk(z)) for z in tensors)

    @staticmethod
    def junk(z: Tensor) -> Tensor:
        """Numbers that are NaN, infinite or out of domain; labels that are none."""
        values = torch.tensor(GARBAGE if z.is_floating_point() else WRONG_LABELS)
        return values.repeat(z.numel() // len(values) + 1)[: z.numel()].reshape(z.shape).to(z.dtype)

    def mask(self, keep: Tensor) -> Tensor:
        """A mask of items as the callable takes it."""
        return keep

    def masses(self, t: Tensor, factor: Tensor | None = None) -> Tensor:
        """What each item adds to the denominator of "mean": its weight."""
        return torch.ones(self.shape_of(t), dtype=torch.float64) if factor is None else factor

    def superposed(self, each: Tensor, leaves: Pair, incoming: Tensor) -> list[Tensor]:
        """The gradients for an incoming one per item, out of those of single items: where an item's loss depends on no other, those of the sum, times it."""
        return [g.double() * self.spread(incoming, g) for g in gradient(each, *leaves, keep=True)]

    def denominator(self, t: Tensor) -> float:
        """That of a whole batch, of its last tensor."""
        return float(self.masses(t).sum())

    def nothing(self) -> Iterator[tuple[str, Pair, dict[str, Any]]]:
        """Batches in which nothing is left to count."""
        batch = self.batch(self.items)
        none = torch.zeros(self.items, dtype=torch.bool)
        bad = self.spoil(batch, none)
        yield "an empty batch", tuple(z[:0] for z in batch), {}
        if self.offers("mask"):
            yield "everything masked, over NaN", bad, {"mask": self.mask(none)}
        if self.offers("sample_weight"):
            yield "weights all 0, over NaN", bad, {"sample_weight": torch.zeros(self.items[-1])}
        if self.offers("normalizer"):
            x, *rest = batch
            over_nan = (torch.full_like(x, math.nan), *rest)
            for zero in (0.0, torch.tensor(0.0)):
                yield f"a normalizer of {zero!r}, over NaN", over_nan, {"normalizer": zero}
                if self.offers("sample_weight"):
                    weights = torch.ones(self.items[-1], requires_grad=True)
                    yield f"a normalizer of {zero!r}, over NaN, with learned weights", over_nan, {"normalizer": zero, "sample_weight": weights}

    def layouts(self) -> tuple[Pair, dict[str, Change]]:
        """A batch, and ways to lie in memory."""
        weighted = any(isinstance(v, list) for v in self.settings.values())  # a weight of shape (1,) does not fit an input without dimensions
        return self.batch((4, 6, 3, 5)), {
            "contiguous": lambda z: z,
            "transposed": lambda z: z.transpose(1, 3),
            "permuted copies": lambda z: z.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0),
            "channels-last": lambda z: z.contiguous(memory_format=torch.channels_last),
            "strided": lambda z: z[:, ::2, 1:, ::3],
            "expanded": lambda z: z[:1, :, :1].expand(4, 6, 3, 5),
            "one item": lambda z: z[1, 2, 1, 3].reshape((1,) if weighted else ()),
            "part of longer memory": lambda z: z.reshape(-1)[7:],
        }

    def relaid(self, change: Change, t: Tensor) -> Tensor:
        """A target laid out as the input is."""
        return change(t)

    def flat(self, x: Tensor, t: Tensor, /) -> Pair:
        """The same items as one list in plain memory."""
        return x.reshape(-1).contiguous(), t.reshape(-1).contiguous()

    def misfits(self) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, ...]]]:
        """Pairs whose shapes do not fit, and words that the message must hold."""
        x, t = self.batch((4, 4))
        yield "a target of shape (4,) for an input of (4, 1)", (x[:, :1], t[:, 0]), {}, ()
        yield "a target of shape (1, 4) for an input of (4, 4)", (x, t[:1]), {}, ()

    @property
    def loose(self) -> float:
        """The relative error allowed to gradients."""
        return self.tolerance

    def require_gradients(self, got: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
        """The same gradients; beside a narrow dtype's rounding, and twice, for those that are scaled after they were rounded."""
        for a, b in zip(got, expected, strict=True):
            require_close(a, b, max(self.loose, 2 * torch.finfo(a.dtype).eps), f"gradient {what}")

    def require_value(self, got: Tensor, expected: Tensor, what: str) -> None:
        """The same value."""
        require_close(got, expected, self.tolerance, f"value {what}")

    def require(self, got: Result, expected: Result, what: str) -> None:
        """The same value and gradients."""
        self.require_value(got.value, expected.value, what)
        self.require_gradients(got.gradients, expected.gradients, what)

    def require_deleted(self, pair: Pair, bad: Pair, keep: Tensor, extra: Mapping[str, Any], what: str, extra_kept: Mapping[str, Any] | None = None) -> None:
        """What is not kept is as good as deleted: value, denominator, gradients."""
        for reduction in ("mean", "sum", "none"):
            whole, left = self.fresh(*bad), self.fresh(*self.pick(pair, keep))
            got, expected = self(*whole, reduction=reduction, **extra), self(*left, reduction=reduction, **(extra_kept or {}))
            grads = gradient(got, *attached(whole))
            shown = f'with reduction="{reduction}" and {what}'
            if reduction == "none":
                require_close(got[~keep], torch.zeros_like(got[~keep]), 0.0, f"loss of what is left out {shown}")
                got = got[keep]
            kept, wanted = [self.chosen(g, keep) for g in grads], result(expected, left)
            wanted = Result(wanted.value.reshape(got.shape), [g.reshape(k.shape) for g, k in zip(wanted.gradients, kept, strict=True)])
            self.require(Result(got, kept), wanted, shown)
            for g in grads:
                out = self.chosen(g, ~keep)
                require_close(out, torch.zeros_like(out), 0.0, f"gradient of what is left out {shown}")

    @property
    def real(self) -> torch.dtype:
        """The dtype computed in."""
        return torch.float64 if self.dtype is torch.float64 else torch.float32

    @property
    def tolerance(self) -> float:
        """Relative error allowed: the registry's figure is for float32; float64 is allowed as many units in the last place.

        But losses with powers (those with more than 1e-6) eight times as many: the error of exp(y) grows with y, which ends at 709 there and at 89 here.
        """
        if self.real is torch.float32:
            return self.loss.tolerance
        return self.loss.tolerance * 2.0**-29 * (8 if self.loss.tolerance > 1e-6 else 1)


def attached(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Those that collect a gradient."""
    return tuple(z for z in tensors if z.requires_grad)


def result(value: Tensor, pair: Iterable[Tensor], incoming: Tensor | None = None) -> Result:
    """A value and its gradients to what is attached."""
    return Result(value, gradient(value, *attached(pair), incoming=incoming))


def leaf(x: Tensor) -> Tensor:
    """A fresh copy that collects a gradient."""
    return x.detach().clone().requires_grad_()


def gradient(value: Tensor, *leaves: Tensor, incoming: Tensor | None = None, keep: bool = False) -> tuple[Tensor, ...]:
    """Gradients of the (summed) value; a missing one is an error, for every loss depends on its input and target."""
    if not value.requires_grad:
        raise LawBroken("the result is not attached to the graph: it has no gradient")
    if incoming is None:
        incoming = torch.ones_like(value)
    found = torch.autograd.grad(value, leaves, incoming, allow_unused=True, retain_graph=keep)
    if any(g is None for g in found):
        raise LawBroken("the gradient is None")
    return found


def at(x: Tensor, i: int) -> str:
    """Item i as a reader can type it in again."""
    return repr(x.detach().reshape(-1)[i].item())


def require_close(got: Tensor, expected: Tensor, tolerance: float, what: str, x: Tensor | None = None, t: Tensor | None = None) -> None:
    """Equal shape and dtype-independent value within a relative tolerance; the message shows the first item that is off."""
    if got.shape != expected.shape:
        raise LawBroken(f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    a, b = got.detach().double().reshape(-1), expected.detach().double().reshape(-1)
    floor = torch.finfo(got.dtype).tiny if got.is_floating_point() else 0.0
    off = ~(((a - b).abs() <= tolerance * b.abs() + floor) | (a == b) | (a.isnan() & b.isnan()))
    if bool(off.any()):
        i = int(off.nonzero()[0])
        place = (
            f" at x = {at(x, i)}, t = {at(t, i)}" if x is not None and t is not None and x.numel() == a.numel() else f" at index {i}" if a.numel() > 1 else ""
        )
        raise LawBroken(f"{what}: {at(got, i)}, expected {at(expected, i)}{place}")


def require_same_bits(got: Tensor, expected: Tensor, what: str) -> None:
    """Equal bit for bit, NaN included."""
    if not torch.equal(got.detach().nan_to_num(12345.0), expected.detach().nan_to_num(12345.0)):
        i = int((got != expected).reshape(-1).nonzero()[0])
        raise LawBroken(f"{what}: {at(got, i)} and {at(expected, i)} at index {i}")


def require_raises(call: Callable[[], Any], what: str) -> None:
    """A bad argument is refused."""
    try:
        result = call()
    except (ValueError, TypeError, RuntimeError, IndexError):
        return
    shown = f" and gave {result.item():.6g}" if isinstance(result, Tensor) and result.numel() == 1 else ""
    raise LawBroken(f"{what} was accepted{shown}")


def require_message(call: Callable[[], Any], what: str, *words: str) -> None:
    """Refused, with a message that shows what came."""
    require_raises(call, what)
    try:
        call()
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        missing = [w for w in words if w not in str(error)]
        if missing:
            raise LawBroken(f"{what}: the message does not show {', '.join(missing)}: {str(error).strip().splitlines()[0]}") from None
