"""Losses of windows over pictures: the subject of an examination, pictures to test them with, the exact loss of a picture, and errors against it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import mpmath
import torch
from torch import Tensor

from losskit.contract.registry import LOSSES, Loss
from losskit.testing import oracles
from losskit.testing.oracles import Number, worst_error
from losskit.testing.rows import Error
from losskit.testing.subject import Change, LawBroken, Pair, Subject, gradient

PICTURE, WIDE = (7, 6), (33, 32)  # rows and columns; for losses over scales
DIGITS = 60


def size_of(settings: Mapping[str, Any]) -> tuple[int, int]:
    """A picture large enough for these settings."""
    return WIDE if settings.get("multi_scale") else PICTURE


@dataclass(frozen=True)
class WindowSubject(Subject):
    """A loss of windows, examined: input and target are pictures, (N, C, H, W), and an item is one of them, a channel of a sample."""

    items: ClassVar[tuple[int, ...]] = (4, 5)
    long: ClassVar[tuple[int, ...]] = (12, 2)
    many: ClassVar[Sequence[tuple[int, ...]]] = ((2, 2, 200, 301),)  # with the size of the pictures
    blocks: ClassVar[Sequence[tuple[int, ...]]] = ((4, 5),)
    few: ClassVar[tuple[int, ...]] = (1, 2)
    slices: ClassVar[tuple[int, ...]] = (3, 2)

    def batch(self, shape: tuple[int, ...] = (3, 2), seed: int = 0, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor]:
        """Pictures as networks draw them, more or less alike; of a shape (N, C), or (N, C, H, W)."""
        draw = torch.Generator().manual_seed(seed)
        shape = shape if len(shape) > 2 else (*shape, *size_of(self.settings))
        t = torch.rand(shape, generator=draw, dtype=torch.float64)
        noise = 0.3 * torch.rand(shape[:2], generator=draw, dtype=torch.float64)[..., None, None]
        x = t + noise * torch.randn(shape, generator=draw, dtype=torch.float64)
        return x.to(dtype or self.dtype), t.to(dtype or self.dtype)

    def one(self, x: Tensor, t: Tensor, /) -> Tensor:
        """The losses of a sample."""
        return self.each(x[None], t[None])[0]

    def smooth(self) -> tuple[Pair, bool]:
        """Pictures that differ everywhere."""
        return self.batch(self.few, seed=5), True

    def fresh(self, x: Tensor, t: Tensor, /) -> Pair:
        """Both have gradients."""
        return x.detach().requires_grad_(), t.detach().requires_grad_()

    def shape_of(self, x: Tensor) -> tuple[int, ...]:
        """A value per sample and channel."""
        return tuple(x.shape[:2])

    def spread(self, factor: Tensor, z: Tensor) -> Tensor:
        """One number per picture, over its positions."""
        return factor[..., None, None]

    def chosen(self, z: Tensor, keep: Tensor) -> Tensor:
        """Pictures, one channel each."""
        return z[keep].unsqueeze(1)

    def mask(self, keep: Tensor) -> Tensor:
        """A mask is one of positions."""
        return keep[..., None, None]

    def masses(self, t: Tensor, factor: Tensor | None = None) -> Tensor:
        """Pictures count alike."""
        return torch.ones(t.shape[:2], dtype=torch.float64) if factor is None else factor

    def nothing(self) -> Iterator[tuple[str, Pair, dict[str, Any]]]:
        """No channels; no whole window."""
        yield from super().nothing()
        x, t = self.batch(self.items)
        yield "no channels", (x[:, :0], t[:, :0]), {}
        if self.offers("mask"):
            yield "every other row masked", (x, t), {"mask": torch.arange(x.shape[-2])[:, None] % 2 > 0}

    def layouts(self) -> tuple[Pair, dict[str, Change]]:
        """Rows and columns, samples and channels in another order in memory."""
        return self.batch((4, 2)), {
            "channels-last": lambda z: z.contiguous(memory_format=torch.channels_last),
            "columns first": lambda z: z.mT.contiguous().mT,
            "samples last": lambda z: z.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
            "channels as samples": lambda z: z.transpose(0, 1),
            "strided": lambda z: z[::2, 1:],
            "parts of longer rows": lambda z: torch.cat((z, z[..., :1]), -1)[..., :-1],
            "expanded": lambda z: z[:1].expand(3, -1, -1, -1),
        }

    def flat(self, x: Tensor, t: Tensor, /) -> Pair:
        """A list of pictures."""
        x, t = (z.reshape(-1, 1, *z.shape[2:]).contiguous() for z in (x, t))
        return x, t

    def misfits(self) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any], tuple[str, ...]]]:
        """One target for all samples, or channels; no pictures; masks and weights that fit nothing."""
        x, t = self.batch((4, 2))
        yield "a target of one sample for 4", (x, t[:1]), {}, ("target", "(1, 2")
        yield "a target of one channel for 2", (x, t[:, :1]), {}, ("target",)
        yield "pictures without channels", (x[:, 0], t[:, 0]), {}, ("input",)
        yield "pictures smaller than a window", (x[..., :1, :1], t[..., :1, :1]), {}, ("input",)
        if self.offers("mask"):
            yield "a mask of shape (3,)", (x, t), {"mask": torch.ones(3, dtype=torch.bool)}, ("mask",)
            yield "a mask of numbers", (x, t), {"mask": torch.ones(x.shape)}, ("mask",)
        if self.offers("sample_weight"):
            yield "weights of shape (4,) for items (4, 2)", (x, t), {"sample_weight": torch.ones(4)}, ("sample_weight",)
            yield "weights of positions", (x, t), {"sample_weight": torch.ones(x.shape)}, ("sample_weight",)

    def require_gradients(self, got: Sequence[Tensor], expected: Sequence[Tensor], what: str) -> None:
        """Within a tolerance of the picture's largest number: a position's is a difference, and may pass through 0."""
        for a, b, name in zip(got, expected, ("", " to the target"), strict=False):
            info = torch.finfo(a.dtype)
            largest = b.double().abs().amax((-2, -1), keepdim=True) if b.numel() else b.double()
            off = ~(((a.double() - b.double()).abs() <= max(self.tolerance, 2 * info.eps) * largest + info.tiny) | (a == b) | (a.isnan() & b.isnan()))
            if bool(off.any()):
                i = tuple(off.nonzero()[0].tolist())
                raise LawBroken(f"gradient{name} {what}: {a[i].item()!r}, expected {b[i].item()!r} at index {i}")


class ExactPicture(NamedTuple):
    """The loss of two pictures, and its derivatives by every number of each."""

    value: Number
    by_input: list[Number]
    by_target: list[Number]


@lru_cache(maxsize=2_000)
def exact_picture(name: str, settings: tuple[tuple[str, Any], ...], x: tuple[float, ...], t: tuple[float, ...], columns: int) -> ExactPicture:
    """The textbook on two pictures, row after row."""
    loss = LOSSES[name]
    mp = mpmath.mp.clone()
    mp.dps = DIGITS
    fixed = oracles.number_settings(mp, loss, dict(settings)) | {k: v for k, v in settings if k == "window_size"}
    fixed["window_size"] = int(fixed["window_size"])

    def rows(numbers: Sequence[Any]) -> list[list[Any]]:
        return [list(numbers[k : k + columns]) for k in range(0, len(numbers), columns)]

    def book(tape: Any, numbers: Sequence[Any]) -> Any:
        return loss.textbook(tape, rows(numbers[: len(x)]), rows(numbers[len(x) :]), **fixed)

    found = oracles.slopes(mp, book, [mp.mpf(v) for v in (*x, *t)])
    return ExactPicture(found.value, found.by[: len(x)], found.by[len(x) :])


def errors(s: WindowSubject, x: Tensor, t: Tensor, tolerance: float | None = None) -> list[Error]:
    """Value and gradients to both pictures against the textbook; errors of a gradient are relative to its largest number."""
    x, t = s.flat(x, t)
    settings = tuple(sorted(s.settings.items()))
    pairs = list(zip(x.flatten(1).tolist(), t.flatten(1).tolist(), strict=True))
    exact = [exact_picture(s.loss.name, settings, tuple(a), tuple(b), x.shape[-1]) for a, b in pairs]
    leaves = s.fresh(x, t)
    value = s.each(x, t)
    slopes = gradient(s(*leaves, reduction="sum") if s.offers("reduction") else s.each(*leaves), *leaves)
    result = []
    sides: list[list[list[Number]]] = [[e.by_input for e in exact], [e.by_target for e in exact]]
    checks: list[tuple[str, Tensor, list[Number], list[Number] | None]] = [("value", value, [e.value for e in exact], None)]
    for what, got, by in zip(("gradient", "gradient to the target"), slopes, sides, strict=True):
        checks.append((what, got, [g for each in by for g in each], [max(map(abs, each)) for each in by for _ in each]))
    for what, got, expected, against in checks:
        worst = worst_error(got, expected, against)
        i = worst.place * len(x) // max(got.numel(), 1)
        allowed = max(s.tolerance if tolerance is None else tolerance, 0.51 * torch.finfo(got.dtype).eps)
        result.append(Error(what, worst, allowed, f"input = {x[i, 0].tolist()}, target = {t[i, 0].tolist()}"))
    return result


def require_exact(s: WindowSubject, x: Tensor, t: Tensor, tolerance: float | None = None) -> None:
    """Within the tolerance everywhere."""
    for what, worst, allowed, pictures in errors(s, x, t, tolerance):
        if not worst.error <= allowed:
            raise LawBroken(f"{what} {worst.got!r}, exact {worst.expected!r} at {pictures} (error {worst.error:.1e}, allowed {allowed:.1e})")


def extreme(s: WindowSubject) -> tuple[Tensor, Tensor]:
    """Pictures in units of `data_range`: nearly equal, opposite, dark, bright and nearly flat, one of them flat, a shift of brightness, far too large."""
    draw = torch.Generator().manual_seed(11)
    size, scale = size_of(s.settings), float(s.settings.get("data_range", 1.0))

    def some() -> Tensor:
        return torch.rand((1, 1, *size), generator=draw, dtype=torch.float64)

    t = some()
    kinds = [(t + 1e-5 * some(), t), (0.999 + 1e-3 * some(), 0.999 + 1e-3 * t)]
    if not s.settings.get("multi_scale"):  # of which the textbook takes seconds per picture
        kinds += [
            (some().round(), t.round()),
            (t + 1e-3 * some(), t),
            (1 - t, t),
            (1e-3 * some(), 1e-3 * t),
            (some(), 0.5 + 0 * t),
            (t + 0.4, t),
            (0.9 * t, t),
            (50 * some(), 50 * t),
        ]
    x, t = (scale * torch.cat(side).to(s.dtype) for side in zip(*kinds, strict=True))
    return x, t


def is_windows(loss: Loss) -> bool:
    """Whether a loss is one of windows."""
    return loss.pattern == "windows"
