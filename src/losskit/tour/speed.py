"""The engine and its speed on this machine: forward and backward against plain PyTorch, side by side."""

import platform
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import losskit
from losskit.tour.chapter import Advance, Effort, Text


class Timing(NamedTuple):
    """One loss, timed both ways, in milliseconds."""

    loss: str
    plain: str  # what plain PyTorch means here: names of functions, which both languages share
    plain_ms: float
    ours_ms: float

    @property
    def times(self) -> float:
        """How many times faster."""
        return self.plain_ms / self.ours_ms


class Speed(NamedTuple):
    """What was measured, and where."""

    engine: str
    reason: str
    elements: int
    threads: int
    processor: str
    rounds: int
    timings: tuple[Timing, ...]

    @property
    def line(self) -> Text:
        """The result in a sentence."""
        en = ", ".join(f"{t.times:.1f} times on {t.loss} ({t.ours_ms:.1f} against {t.plain_ms:.1f} ms)" for t in self.timings)
        zh = "，".join(f"{t.loss} {t.times:.1f} 倍（{t.ours_ms:.1f} 比 {t.plain_ms:.1f} 毫秒）" for t in self.timings)
        return Text(f"Fused CPU engine against plain PyTorch: {en}. {self.conditions.en}", f"融合 CPU 引擎与普通 PyTorch 的速度比：{zh}。{self.conditions.zh}")

    @property
    def conditions(self) -> Text:
        """What the times are of."""
        size = f"{self.elements / 2**20:.3g}M" if self.elements >= 1 << 20 else f"{self.elements:,}"
        return Text(
            f"Forward and backward on this machine, {size} float32 elements, {self.threads} threads; both sides in turn, median of {self.rounds}.",
            f"本机实测，前向加反向，{size} 个 float32 元素，{self.threads} 线程；两边交替运行，取 {self.rounds} 次的中位数。",
        )


def plain_focal(x: Tensor, target: Tensor) -> Tensor:
    """Focal loss out of PyTorch operations, as torchvision writes it."""
    p = torch.sigmoid(x)
    cross = F.binary_cross_entropy_with_logits(x, target, reduction="none")
    p_t = p * target + (1 - p) * (1 - target)
    alpha_t = 0.25 * target + 0.75 * (1 - target)
    return (alpha_t * cross * (1 - p_t) ** 2).mean()


def work() -> int:
    """How many times `measure` calls `advance`."""
    return 2


def measure(effort: Effort, advance: Advance) -> Speed:
    """Time both sides in turn, A B A B, so that a busy machine slows both; medians."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(effort.elements, generator=draw, requires_grad=True)
    label = (torch.rand(effort.elements, generator=draw) < 0.05).float()
    value = torch.randn(effort.elements, generator=draw)
    focal: Callable[[Tensor, Tensor], Tensor] = losskit.FocalLoss(alpha=0.25, gamma=2.0)
    smooth: Callable[[Tensor, Tensor], Tensor] = losskit.SmoothL1Loss()
    pairs = (
        ("focal_loss", "sigmoid, binary_cross_entropy_with_logits, pow", plain_focal, focal, label),
        ("smooth_l1_loss", "torch.nn.functional", F.smooth_l1_loss, smooth, value),
    )
    timings = []
    for name, plain, theirs, ours, target in pairs:
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(effort.rounds + 1):
            for side, call in enumerate((theirs, ours)):
                x.grad = None
                began = time.perf_counter()
                call(x, target).backward()
                if turn:  # the first turn warms up
                    seconds[side].append(time.perf_counter() - began)
        timings.append(Timing(name, plain, *(1e3 * statistics.median(s) for s in seconds)))
        advance(f"speed: {name}")
    engine, reason = losskit.engine_for(losskit.LOSSES["focal_loss"].function, x, label)
    return Speed(engine, reason, effort.elements, torch.get_num_threads(), processor(), effort.rounds, tuple(timings))


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
