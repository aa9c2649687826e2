"""A loss as a curve: value and derivative against the error (regression) or the logit (classification)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import losskit
from losskit.contract.registry import Loss

DISTINCT = 0.03  # two curves closer than this share of the height of the picture look the same in it


class Curve(NamedTuple):
    """A loss with fixed settings, sampled."""

    label: str  # the settings, as the call takes them
    x: list[float]
    value: list[float]
    slope: list[float]


def show(value: Any) -> str:
    """A setting as text: `1`, `0.25`, `-inf`, `[3]`."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(show, value)) + "]"
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else repr(value)


def label(settings: Mapping[str, Any]) -> str:
    """The settings as a call shows them."""
    return ", ".join(f"{name}={show(value)}" for name, value in settings.items())


def module(loss: Loss, settings: Mapping[str, Any]) -> losskit.LossModule:
    """The loss's module with these settings."""
    made = getattr(losskit, loss.module)(**settings)
    assert isinstance(made, losskit.LossModule)
    return made


def domain(loss: Loss, settings: Mapping[str, Any]) -> tuple[str, float, float]:
    """What the horizontal axis is, and where it starts and ends."""
    if loss.input == "real":
        return "error x - t", -4.0, 4.0
    if loss.input == "probability" or settings.get("from_logits") is False:
        return "probability p", 0.005, 0.995
    return "logit x", -6.0, 6.0


def sample(loss: Loss, settings: Mapping[str, Any] | None = None, *, points: int = 241, span: tuple[float, float] | None = None) -> Curve:
    """Value and derivative of a loss along its axis: for the target 0 where targets are real, for the target 1 where they are labels.

    In plain PyTorch: a picture is no reason to compile a loop.
    """
    settings = dict(loss.arguments[0] if settings is None else settings)
    low, high = span or domain(loss, settings)[1:]
    x = torch.linspace(low, high, points, dtype=torch.float64).round(decimals=9).requires_grad_()  # 0 is 0, where kinks are
    target = torch.full_like(x, 0.0 if loss.target == "real" else 1.0, requires_grad=False)
    with losskit.use_engine("torch"):
        value = module(loss, settings | {"reduction": "none"})(x, target)
        (slope,) = torch.autograd.grad(value.sum(), x)
    return Curve(label(settings), x.detach().tolist(), value.detach().tolist(), slope.tolist())


def distinct(loss: Loss) -> list[Curve]:
    """The curves of the loss's listed settings that share the first one's axis and can be told apart by eye."""
    axis = domain(loss, loss.arguments[0])
    kept: list[Curve] = []
    for settings in loss.arguments:
        if domain(loss, settings) == axis:
            curve = sample(loss, settings)
            if all(_differs(curve.value, k.value) or _differs(curve.slope, k.slope) for k in kept):
                kept.append(curve)
    return kept


def _differs(a: list[float], b: list[float]) -> bool:
    """Whether two curves can be told apart."""
    height = max(*map(abs, a), *map(abs, b), 1e-30)
    return max(abs(p - q) for p, q in zip(a, b, strict=True)) > DISTINCT * height


def chinese_font() -> str | None:
    """A font with Chinese characters that matplotlib can find."""
    from matplotlib import font_manager

    marks = ("CJK SC", "CJK", "Source Han Sans", "SimHei", "Microsoft YaHei", "PingFang", "Heiti", "WenQuanYi", "Songti")
    names = sorted({font.name for font in font_manager.fontManager.ttflist})
    return next((name for mark in marks for name in names if mark in name), None)


WORDS = {
    "value": ("value", "损失值"),
    "derivative": ("derivative", "导数"),
    "error x - t": ("error x - t", "误差 x - t"),
    "logit x": ("logit x, target 1", "logit x(目标为 1)"),
    "probability p": ("probability p, target 1", "概率 p(目标为 1)"),
}


def save_picture(loss: Loss, path: Path, language: str = "en") -> None:
    """Write a PNG: value and derivative side by side, one line for each listed setting that looks different."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # draws without a display, whatever backend is configured
    from matplotlib.figure import Figure

    font = chinese_font() if language == "zh" else None
    word = 1 if font else 0
    style: dict[str, Any] = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.unicode_minus": False}
    if font:
        style["font.family"] = [font, "DejaVu Sans"]
    with rc_context(style):
        figure = Figure(figsize=(9.6, 4.4), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"losskit.{loss.name}", fontsize=13, x=0.012, ha="left", fontweight="bold")
        curves = distinct(loss)
        axis = domain(loss, loss.arguments[0])[0]
        for place, part in enumerate(("value", "derivative")):
            axes = figure.add_subplot(1, 2, place + 1)
            axes.axhline(0, color="#999999", linewidth=0.8)
            if loss.target == "real":
                axes.axvline(0, color="#dddddd", linewidth=0.8)
            for number, curve in enumerate(curves):
                heights = curve.value if part == "value" else curve.slope
                colour = ("#2563a8", "#c2571a", "#2d8a57", "#8a4fa3", "#b0883a", "#4a4f57", "#c04872")[number % 7]
                axes.plot(curve.x, heights, color=colour, linewidth=2, label=curve.label or loss.name)
            axes.set_ylim(*window([c.value if part == "value" else c.slope for c in curves]))
            axes.set_title(WORDS[part][word], fontsize=11, loc="left")
            axes.set_xlabel(WORDS[axis][word])
            axes.grid(True, color="#eeeeee", linewidth=0.8)
            axes.set_axisbelow(True)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(curves)), frameon=False)
        figure.savefig(path, format="png")


def window(series: list[list[float]]) -> tuple[float, float]:
    """The height to draw: all of it, unless one curve would flatten the others."""
    tops = sorted(max(map(abs, heights)) for heights in series)
    limit = min(tops[-1], 4.0 * tops[len(tops) // 2])
    low = max(-limit, min(map(min, series)))
    high = min(limit, max(map(max, series)))
    room = 0.06 * (high - low if math.isfinite(high - low) and high > low else 1.0)
    return low - room, high + room
