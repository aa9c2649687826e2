"""Numbers to test losses with, drawn from the domains that the registry declares: edges, extremes, denormals, infinities, -0.0, and random ones."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from losskit.contract.registry import TENSOR_ARGUMENTS, Loss

ENDS = {"real": 1e30, "logit": 1e4, "log-mean": 80.0}  # the error budget covers sizes up to here in float32


def domain(loss: Loss, settings: Mapping[str, Any]) -> str:
    """Where the input lives under these settings: "real", "logit", "log-mean" or "probability"."""
    if loss.input == "real" and settings.get("log_input", loss.settings.get("log_input", False)):
        return "log-mean"
    return "probability" if not settings.get("from_logits", True) else loss.input


def full_settings(loss: Loss, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of the loss, defaults included, without those that the contract takes care of."""
    return {k: v for k, v in (loss.settings | dict(settings)).items() if k != "reduction" and k not in TENSOR_ARGUMENTS}


def as_arguments(settings: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Settings as a loss function takes them: weights given as lists become tensors."""
    return {k: torch.tensor(v, dtype=dtype) if isinstance(v, list) else v for k, v in settings.items()}


def cosines(x: Tensor) -> Tensor:
    """Ordinary scores as cosines, which the usual scale of 64 makes scores of again."""
    return (0.1 * x).clamp(-1.0, 1.0)


def rounded(values: Any, dtype: torch.dtype) -> Tensor:
    """float64 numbers rounded to a dtype."""
    return torch.as_tensor(np.asarray(values, np.float64)).to(dtype)


def edges(where: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """The awkward numbers of a domain, infinities and NaN apart (see `infinities`)."""
    info = torch.finfo(dtype)
    small = [0.0, -0.0, info.tiny * info.eps, info.tiny / 2, info.tiny, info.eps / 2, info.eps, 1e-3]
    if where == "probability":
        return rounded([0.0, info.tiny / 4, *small[2:], 0.25, 0.5, 0.75, 1 - info.eps, 1 - info.eps / 2, 1.0], dtype)
    if where == "unit":
        return rounded([0.0, 1.0, 0.5, 0.25, 1 - info.eps / 2, info.eps, info.tiny], dtype)
    end = min(ENDS[where], info.max / 2)
    sizes = [*small[2:], 0.5, 1 - info.eps / 2, 1.0, 1 + info.eps, 2.0, 10.0, 50.0, 88.0, 89.0, 103.0, 104.0, 110.0, 709.0, 746.0, end]
    return torch.cat([rounded(small[:2], dtype), *(rounded([s, -s], dtype) for s in sizes if s <= end)])


def spread(where: str, count: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Random numbers over the whole of a domain: sizes spread evenly in the logarithm as well as ordinary ones."""
    draw = np.random.default_rng(seed)
    info = torch.finfo(dtype)
    half = count // 2
    if where == "probability":
        low = 10.0 ** draw.uniform(np.log10(info.tiny), 0, half)
        high = 1 - 10.0 ** draw.uniform(np.log10(info.eps), 0, half // 2)
        values = np.concatenate([low, high, draw.uniform(0, 1, count - half - half // 2)])
        return rounded(values, dtype).clamp(info.tiny, 1 - info.eps / 2)
    if where == "unit":
        return rounded(np.where(draw.uniform(size=count) < 0.6, draw.integers(0, 2, count), draw.uniform(size=count)), dtype)
    end = min(ENDS[where] if dtype is not torch.float64 or where != "real" else 1e150, info.max / 4)
    start = max(1 / end, info.tiny) if where == "real" else 1e-6
    sizes = 10.0 ** draw.uniform(np.log10(start), np.log10(end), half)
    ordinary = draw.normal(size=count - half) * (3.0 if where == "real" else 30.0)
    return rounded(np.concatenate([sizes * draw.choice([-1, 1], half), ordinary]), dtype)


def within(loss: Loss, x: Tensor, t: Tensor, settings: Mapping[str, Any] | None = None) -> tuple[Tensor, Tensor]:
    """Inputs and targets moved into the ranges that the registry names, where they lie outside; without settings, into the ranges under any."""
    ranges = loss.ranges if settings is None else loss.ranges_of(settings)
    inside = {name: INTO[range if name == "target" else range.replace(">=", ">")] for name, (range, _) in ranges.items()}  # an input has neighbours
    return tuple(inside[name](z) if name in inside else z for name, z in (("input", x), ("target", t)))  # type: ignore[return-value]


INTO: Mapping[str, Callable[[Tensor], Tensor]] = {
    "> -1": lambda x: torch.where(x <= -1, (x / (1 - x)).clamp(min=-1 + torch.finfo(x.dtype).eps / 2), x) if x.is_floating_point() else x.clamp(min=0),
    "!= 0": lambda x: torch.where(x == 0, torch.ones_like(x), x),
    ">= 0": torch.abs,
    "> 0": lambda x: torch.where(x == 0, torch.ones_like(x), x.abs()),
    "-1 or 1": lambda x: torch.where(x < 0, -torch.ones_like(x), torch.ones_like(x)),
}
BESIDE = {
    "> -1": (-1.0, -7.0),
    "!= 0": (0.0, -0.0),
    ">= 0": (-1e-6, -7.0),
    "> 0": (0.0, -7.0),
    "-1 or 1": (0.0, 2.0, -0.5),
}  # numbers just outside, and further


def infinities(where: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """The infinite members of a domain: none for probabilities."""
    return torch.tensor([] if where in ("probability", "unit") else [float("inf"), float("-inf")], dtype=dtype)


def pairs(loss: Loss, settings: Mapping[str, Any], dtype: torch.dtype = torch.float32, count: int = 180, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and targets over the whole finite range, edges included.

    Probabilities of exactly 0 and 1 are left out (they have a rule of their own), and those whose reciprocal overflows.
    """
    where = domain(loss, settings)
    edge = edges(where, dtype)
    if where == "probability":
        edge = edge[(edge > 1 / torch.finfo(dtype).max) & (edge < 1)]
    x = spread(where, count, dtype, seed)
    if loss.target == "unit":
        soft = edges("unit", dtype)
        some = soft[torch.arange(2 * len(edge)) % len(soft)]
        return torch.cat([x, edge, edge, edge, edge]), torch.cat([spread("unit", count, dtype, seed + 1), torch.zeros_like(edge), torch.ones_like(edge), some])
    # real targets: 0 (the residual is the input), close by (the residual is small beside both), and anywhere
    beside = x.exp() if where == "log-mean" else x
    near = beside * rounded(1 + 10.0 ** np.random.default_rng(seed).uniform(-6, -1, count), dtype)
    far = spread("real" if where == "log-mean" else where, count, dtype, seed + 1)
    place = torch.arange(count) % 3
    t = torch.where(place == 0, 0.0, torch.where(place == 1, near, far)).to(dtype)
    return within(loss, torch.cat([x, edge, edge, edge]), torch.cat([t, torch.zeros_like(edge), edge.flip(0), edge]), settings)


def batch(loss: Loss, settings: Mapping[str, Any], shape: tuple[int, ...] = (5, 7), dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """An ordinary batch: inputs and targets as training has them, away from kinks."""
    draw = torch.Generator().manual_seed(seed)
    where = domain(loss, settings)
    x = torch.randn(shape, generator=draw, dtype=torch.float64) * 2
    if where == "probability":
        x = torch.sigmoid(x)
    if loss.target == "unit":
        hard = torch.rand(shape, generator=draw) < 0.4
        t = torch.where(torch.rand(shape, generator=draw) < 0.7, hard.double(), torch.rand(shape, generator=draw, dtype=torch.float64))
    else:
        t = torch.randn(shape, generator=draw, dtype=torch.float64) * 2
    return within(loss, x.to(dtype), t.to(dtype), settings)
