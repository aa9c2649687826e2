"""A loss as a curve: value and derivative against the error (regression) or the logit (classification)."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import losskit
from losskit.contract.registry import Loss

MASK = (0, 0, 1, 1, 1, 0, 0, 0, 0, 0)  # a picture of ten pixels, for the losses of masks
DISTANCES = (2.0, 1.0, -1.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0)  # of its boundary
QUALITY, POSITION = 0.7, 0.25  # the targets that a detector's scores and bins are drawn against
PICTURE = 32  # rows and columns, for losses of windows
BASE = 4.0  # the target of errors, where a loss does not take every number
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


class Axis(NamedTuple):
    """What is drawn along the horizontal: its name, where it starts and ends; of rows, one number of each, and how many classes stand beside it."""

    name: str
    low: float
    high: float
    others: int = 0

    def title(self, language: str) -> str:
        """The name in words."""
        return AXES[self.name][language == "zh"].format(others=self.others)


def is_probability(loss: Loss, settings: Mapping[str, Any]) -> bool:
    """Whether the input is a probability under these settings."""
    return loss.input == "probability" or settings.get("from_logits") is False


def axis_of_elements(loss: Loss, settings: Mapping[str, Any]) -> Axis:
    """An error, a logit or a probability."""
    if loss.tensors[0] == "input1":
        return Axis("score", -4.0, 4.0)
    if loss.input == "real" and loss.task != "regression":
        return Axis("distance", -1.0, 5.0)
    if loss.input == "real":
        low = -3.75 if "log_input" in loss.settings else -4.0  # at a mean of 0 the slope is infinite
        return Axis("error from 4" if loss.ranges else "error", low, 4.0)
    if loss.task == "detection":
        return Axis("score's logit", -6.0, 6.0)
    return Axis("probability", 0.005, 0.995) if is_probability(loss, settings) else Axis("logit", -6.0, 6.0)


def axis_of_masks(loss: Loss, settings: Mapping[str, Any]) -> Axis:
    """How right every pixel of a small picture is."""
    others = MASK.count(0)
    return Axis("mask's probability", 0.005, 0.995, others) if is_probability(loss, settings) else Axis("mask's logit", -6.0, 6.0, others)


def axis_of_rows(loss: Loss, settings: Mapping[str, Any]) -> Axis:
    """One number of a row, the other classes alike."""
    listed = (s["weight"] for s in (settings, *loss.arguments) if s.get("weight") is not None)
    others = len(next(listed, range(4))) - 1  # one number of classes for all curves of a loss
    if loss.target == "none":
        return Axis("row's logit", -6.0, 6.0, others)
    if loss.target == "position":
        return Axis("bin's logit", -6.0, 6.0, others)
    if loss.input == "cosine":
        return Axis("row's right cosine", -0.995, 0.995, others)
    if loss.input == "log-probability" or settings.get("log_input"):
        return Axis("row's log-probability", -6.0, -0.005, others)
    return Axis("row's probability", 0.005, 0.995, others) if is_probability(loss, settings) else Axis("row's right logit", -6.0, 6.0, others)


def domain(loss: Loss, settings: Mapping[str, Any]) -> Axis:
    """The axis of a loss under these settings."""
    return DRAWN[loss.pattern].axis(loss, settings)


def sample(loss: Loss, settings: Mapping[str, Any] | None = None, *, points: int = 241, span: tuple[float, float] | None = None) -> Curve:
    """Value and derivative of a loss along its axis: for the target 0 where targets are real, 1 or the first class where they are labels.

    In plain PyTorch: a picture is no reason to compile a loop.
    """
    settings = shown = dict(loss.arguments[0] if settings is None else settings)
    axis = domain(loss, settings)
    low, high = span or (axis.low, axis.high)
    x = torch.linspace(low, high, points, dtype=torch.float64, device="cpu").round(decimals=9).requires_grad_()  # 0 is 0, where kinks are
    with losskit.use_engine("torch"):
        if DRAWN[loss.pattern].at_once:
            value = module(loss, settings | {"reduction": "none"})(*arguments(loss, settings, x)).reshape(points, -1).sum(-1)
        else:
            shown = {k: v for k, v in settings.items() if k not in ("weight", "background")} | ({"task": "binary"} if "task" in settings else {})
            made = module(loss, shown | {"task": "binary"})
            value = torch.stack([made(*arguments(loss, settings, point)) for point in x])
        (slope,) = torch.autograd.grad(value.sum(), x)
    return Curve(label(shown), x.detach().tolist(), value.detach().tolist(), slope.tolist())


def arguments(loss: Loss, settings: Mapping[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Input and target at points of the axis: errors against 0, logits or probabilities of the label 1 or of a quality, or rows whose first class is the target's."""
    return DRAWN[loss.pattern].points(loss, settings, x)


def elements_at(loss: Loss, settings: Mapping[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Elements beside one target."""
    if loss.ranges and loss.task == "regression":
        return x + BASE, torch.full_like(x, BASE, requires_grad=False)
    target = QUALITY if loss.task == "detection" else 0.0 if loss.task == "regression" or loss.tensors[0] == "input1" else -1.0 if loss.input == "real" else 1.0
    return x, torch.full_like(x, target, requires_grad=False)


def pictures_at(loss: Loss, settings: Mapping[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Pictures whose every other column is off."""
    picture = torch.linspace(0.0, 1.0, PICTURE * PICTURE, dtype=x.dtype, device=x.device).reshape(1, 1, PICTURE, PICTURE).expand(len(x), 1, -1, -1)
    every_other = torch.arange(PICTURE, dtype=torch.int64, device=x.device) % 2
    return picture + every_other * x[:, None, None, None], picture


def boxes_at(loss: Loss, settings: Mapping[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Boxes that pass one of unit size."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack((x, zero, x + 1.5, one), -1), torch.stack((zero, zero, one, one), -1).detach()


def axis_of_vectors(loss: Loss, settings: Mapping[str, Any]) -> Axis:
    """The way that one of two vectors points, or where a third lies on a line with them."""
    if loss.compares in ("own", "alike"):
        return Axis("pair's angle", -math.pi, math.pi)
    return Axis("angle", -math.pi, math.pi) if loss.target == "real" else Axis("negative's place", -4.0, 4.0)


def vectors_at(loss: Loss, settings: Mapping[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Two vectors in a plane that do not belong together; two that do, and another; or an anchor, a positive and a negative on a line."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    turned, still = torch.stack((x.cos(), x.sin()), -1), torch.stack((one, zero), -1).detach()
    if loss.compares == "own":  # batches of two pairs
        return torch.stack((turned, -still), -2), torch.stack((still, -still), -2)
    if loss.target == "real":
        return turned, still, -one.detach()
    labels = torch.tensor([0, 0, 1], dtype=torch.long, device=x.device).expand(len(x), 3)
    if loss.compares == "alike":
        return torch.stack((turned, still, -still), -2), labels
    if loss.target == "label":  # batches of three
        return torch.stack((zero, one, x), -1).unsqueeze(-1), labels
    return zero[:, None], one[:, None], x[:, None]


def masks_at(loss: Loss, settings: Mapping[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A small picture whose pixels are all as right as the axis says, beside its labels or distances."""
    mask = torch.tensor([MASK], dtype=torch.int64, device=x.device)
    right = torch.where(mask == 1, x, 1.0 - x if is_probability(loss, settings) else -x)
    return right, torch.tensor([DISTANCES], dtype=torch.float32, device=x.device) if loss.target == "real" else mask


def rows_at(loss: Loss, settings: Mapping[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rows whose first class is the target's."""
    axis = axis_of_rows(loss, settings)
    rest = torch.zeros_like(x)
    if axis.name == "row's log-probability":
        rest = torch.log(-torch.expm1(x.detach()) / axis.others)
    elif axis.name == "row's probability":
        rest = (1.0 - x.detach()) / axis.others
    rows = torch.cat([x[:, None], rest.detach()[:, None].expand(-1, axis.others)], 1)
    if loss.target == "none":
        return (rows,)
    if loss.target == "position":
        return rows, torch.full_like(x, POSITION, requires_grad=False)
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
    if loss.target == "label":
        return rows, labels
    wanted = torch.nn.functional.one_hot(labels, axis.others + 1)
    if loss.target == "set":
        return rows, wanted.bool()
    wanted = wanted.double()
    return rows, wanted.log() if settings.get("log_target") else wanted


def products_at(loss: Loss, settings: Mapping[str, Any], x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Hidden states that are the rows, for the head is the identity."""
    rows, labels = rows_at(loss, settings, x)
    return rows, torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device), labels


class Drawn(NamedTuple):
    """How the losses of a pattern are drawn: along which axis, what stands at its points, and whether all points go in one call."""

    axis: Callable[[Loss, Mapping[str, Any]], Axis]
    points: Callable[[Loss, Mapping[str, Any], torch.Tensor], tuple[torch.Tensor, ...]]
    at_once: bool = True


_masks = Drawn(axis_of_masks, masks_at, at_once=False)
DRAWN: Mapping[str, Drawn] = {
    "elementwise": Drawn(axis_of_elements, elements_at),
    "rows": Drawn(axis_of_rows, rows_at),
    "boxes": Drawn(lambda loss, settings: Axis("box's offset", -3.0, 3.0), boxes_at),
    "windows": Drawn(lambda loss, settings: Axis("columns' error", -1.0, 1.0), pictures_at),
    "linear": Drawn(axis_of_rows, products_at),
    "vectors": Drawn(axis_of_vectors, vectors_at),
    "overlap": _masks,
    "ranked": _masks,
    "operations": _masks,
}


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
    """A font with Chinese characters that matplotlib can find, also one installed since it last listed the system's fonts."""
    from matplotlib import font_manager

    manager = font_manager.fontManager
    marks = ("CJK SC", "CJK", "Source Han Sans", "SimHei", "Microsoft YaHei", "PingFang", "Heiti", "WenQuanYi", "Songti")

    def found() -> str | None:
        names = sorted({font.name for font in manager.ttflist})
        return next((name for mark in marks for name in names if mark in name), None)

    if found() is None:
        for file in font_manager.findSystemFonts():
            if any(mark.replace(" ", "").lower() in Path(file).stem.lower() for mark in marks):
                manager.addfont(file)
    return found()


PARTS = {"value": ("value", "损失值"), "derivative": ("derivative", "导数")}
AXES = {
    "error": ("error x - t", "误差 x - t"),
    "error from 4": (f"error x - t, target {BASE:g}", f"误差 x - t（目标为 {BASE:g}）"),
    "score": ("score x beside one of 0, label 1", "得分 x（另一个得分为 0，标签为 1）"),
    "distance": ("distance x, label -1", "距离 x（标签为 -1）"),
    "logit": ("logit x, target 1", "logit x（目标为 1）"),
    "score's logit": (f"logit x, quality {QUALITY}", f"logit x（质量为 {QUALITY}）"),
    "bin's logit": (f"logit of bin 0, the other {{others}} at 0, position {POSITION}", f"第 0 格的 logit（其余 {{others}} 格为 0，目标为 {POSITION}）"),
    "probability": ("probability p, target 1", "概率 p（目标为 1）"),
    "row's logit": ("logit of one class, the other {others} at 0", "一个类别的 logit（其余 {others} 类为 0）"),
    "row's right logit": ("logit of the right class, the other {others} at 0", "正确类别的 logit（其余 {others} 类为 0）"),
    "row's right cosine": ("cosine of the right class, the other {others} at 0", "正确类别的余弦（其余 {others} 类为 0）"),
    "row's probability": ("probability of the right class, the other {others} equal", "正确类别的概率（其余 {others} 类相等）"),
    "columns' error": ("error x of every other column of a picture", "图中每隔一列的误差 x"),
    "angle": ("angle x between two vectors, label -1", "两个向量的夹角 x（标签为 -1）"),
    "pair's angle": ("angle x of a pair, other vectors opposite", "成对的两个向量的夹角 x（其余向量方向相反）"),
    "negative's place": ("place x of the negative on a line, anchor at 0, positive at 1", "负样本在直线上的位置 x（锚点在 0，正样本在 1）"),
    "box's offset": ("left edge x of a box 1.5 wide and 1 high, target from 0 to 1", "宽 1.5、高 1 的框的左边 x（目标从 0 到 1）"),
    "mask's logit": ("logit x on 3 pixels of a target, -x on {others} others", "目标 3 个像素的 logit 为 x，其余 {others} 个为 -x"),
    "mask's probability": ("probability p on 3 pixels of a target, 1 - p on {others} others", "目标 3 个像素的概率为 p，其余 {others} 个为 1 - p"),
    "row's log-probability": ("log-probability of the right class, the other {others} equal", "正确类别的对数概率（其余 {others} 类相等）"),
}
FORMATS = ("png", "svg", "pdf")
LINE = 130  # characters that fit across the picture


def picture_format(path: Path) -> str:
    """The image format, by the suffix of the path."""
    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        raise ValueError(f"a picture ends in .png, .svg or .pdf, got {str(path)!r}: try curve.png")
    return kind


def save_picture(loss: Loss, path: Path, language: str = "en") -> None:
    """Write a PNG, SVG or PDF, by the suffix of the path: value and derivative side by side, one line for each listed setting that looks different.

    Without a font that has Chinese characters the words are English.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # draws without a display, whatever backend is configured
    from matplotlib.figure import Figure

    kind = picture_format(path)
    font = chinese_font() if language == "zh" else None
    language = "zh" if font else "en"
    style: dict[str, Any] = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.unicode_minus": False}
    if font:
        style["font.family"] = [font, "DejaVu Sans"]
    with rc_context(style):
        figure = Figure(figsize=(9.6, 4.4), dpi=130, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"losskit.{loss.name}", fontsize=13, x=0.012, ha="left", fontweight="bold")
        curves = distinct(loss)
        axis = domain(loss, loss.arguments[0])
        for place, (part, words) in enumerate(PARTS.items()):
            axes = figure.add_subplot(1, 2, place + 1)
            axes.axhline(0, color="#999999", linewidth=0.8)
            if loss.target == "real":
                axes.axvline(0, color="#dddddd", linewidth=0.8)
            for number, curve in enumerate(curves):
                heights = curve.value if part == "value" else curve.slope
                colour = ("#2563a8", "#c2571a", "#2d8a57", "#8a4fa3", "#b0883a", "#4a4f57", "#c04872")[number % 7]
                axes.plot(curve.x, heights, color=colour, linewidth=2, label=curve.label or loss.name)
            axes.set_ylim(*window([c.value if part == "value" else c.slope for c in curves]))
            axes.set_title(words[language == "zh"], fontsize=11, loc="left")
            axes.set_xlabel(axis.title(language))
            axes.grid(True, color="#eeeeee", linewidth=0.8)
            axes.set_axisbelow(True)
        columns = max(1, min(4, len(curves), LINE // (9 + max(len(curve.label) for curve in curves))))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
        figure.savefig(path, format=kind)


def window(series: list[list[float]]) -> tuple[float, float]:
    """The height to draw: all of it, unless one curve would flatten the others."""
    tops = sorted(max(map(abs, heights)) for heights in series)
    limit = min(tops[-1], 4.0 * tops[len(tops) // 2])
    low = max(-limit, min(map(min, series)))
    high = min(limit, max(map(max, series)))
    room = 0.06 * (high - low if math.isfinite(high - low) and high > low else 1.0)
    return low - room, high + room
