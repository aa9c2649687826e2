"""The curves of a loss as SVG, for light and dark pages, in both languages: words stay text, so that the page's reader finds and enlarges them."""

from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from textwrap import wrap
from typing import Any
from xml.sax.saxutils import escape

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from losskit import curves
from losskit.contract.registry import Loss

# colours that people with any colour vision tell apart, on white and on near black (Okabe and Ito, darker or lighter by theme)
LIGHT: Mapping[str, Any] = {
    "ink": "#3b4048",
    "grid": "#e6e8eb",
    "axis": "#9aa0a8",
    "lines": ("#0b66b3", "#c14b00", "#00805a", "#9a3f80", "#8a6d00", "#4f5660", "#b0303a"),
}
DARK: Mapping[str, Any] = {
    "ink": "#d5d9de",
    "grid": "#33383f",
    "axis": "#7d848d",
    "lines": ("#5cb3f5", "#f59a57", "#43c59e", "#d993c4", "#d9b93d", "#b4bac2", "#f08088"),
}
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))


STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "font.family": ["sans-serif"],
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LIGHT["axis"],
    "text.color": LIGHT["ink"],
    "axes.labelcolor": LIGHT["ink"],
    "xtick.color": LIGHT["ink"],
    "ytick.color": LIGHT["ink"],
    "axes.unicode_minus": False,
}


def draw(loss: Loss, sampled: Sequence[curves.Curve], part: str) -> str:
    """Value or derivative, one line per setting that looks different; for light pages, in English."""
    labels = ["\n".join(wrap(curve.label or loss.name, 60)) for curve in sampled]
    legend = len(sampled) > 1 and part == "value"
    columns = 2 if max(map(len, labels)) < 28 else 1
    below = 0.24 * legend * (sum(label.count("\n") + 1 for label in labels) if columns == 1 else -(-len(labels) // 2))  # inches
    height = 3.2 + below
    with rc_context({**STYLE, "svg.hashsalt": loss.name}):  # the same picture has the same bytes
        figure = Figure(figsize=(5.0, height))
        FigureCanvasSVG(figure)
        figure.subplots_adjust(left=0.12, right=0.96, top=1 - 0.34 / height, bottom=(0.6 + below) / height)
        axes = figure.add_subplot()
        axes.axhline(0, color=LIGHT["axis"], linewidth=0.8)
        for number, curve in enumerate(sampled):
            heights = curve.value if part == "value" else curve.slope
            axes.plot(curve.x, heights, color=LIGHT["lines"][number % 7], linestyle=STYLES[number % 7], linewidth=1.8, label=labels[number])
        axes.set_ylim(*curves.window([c.value if part == "value" else c.slope for c in sampled]))
        axes.set_title(part, fontsize=11.5, loc="left")
        axes.set_xlabel(curves.domain(loss, loss.arguments[0]).title("en"), fontsize=10)
        axes.grid(True, color=LIGHT["grid"], linewidth=0.8)
        axes.set_axisbelow(True)
        if legend:
            figure.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=columns, frameon=False, fontsize=9.5)
        drawn = StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
    return drawn.getvalue()


def dark(picture: str) -> str:
    """The picture in the colours of dark pages."""
    pairs = [(LIGHT[k], DARK[k]) for k in ("ink", "grid", "axis")] + list(zip(LIGHT["lines"], DARK["lines"], strict=True))
    for light, other in pairs:
        picture = picture.replace(light, other)
    return picture


def chinese(loss: Loss, picture: str) -> str:
    """The picture with Chinese words."""
    axis = curves.domain(loss, loss.arguments[0])
    words = {**{part: both[1] for part, both in curves.PARTS.items()}, axis.title("en"): axis.title("zh")}
    for english, other in words.items():
        picture = picture.replace(f">{escape(english)}</text>", f">{escape(other)}</text>")
    return picture


def alternative(loss: Loss, sampled: Sequence[curves.Curve], part: str) -> str:
    """What a picture shows, in words."""
    axis = curves.domain(loss, loss.arguments[0]).title("en")
    first = sampled[0]
    heights = first.value if part == "value" else first.slope
    settings = f" with {first.label}" if first.label else ""
    ends = f"{heights[0]:.3g} at {first.x[0]:.3g}, {heights[len(heights) // 2]:.3g} in the middle, {heights[-1]:.3g} at {first.x[-1]:.3g}"
    return f"{part.capitalize()} of {loss.name}{settings} against the {axis}: {ends}."


def write(loss: Loss, folder: Path, drawn: bool = True) -> Mapping[str, str]:
    """The pictures of a loss, value and derivative; what each shows. Empty files where they are not drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    sampled = curves.distinct(loss)
    for part in curves.PARTS:
        light = draw(loss, sampled, part) if drawn else ""
        for theme, picture in (("light", light), ("dark", dark(light))):
            (folder / f"{loss.name}-{part}-{theme}.svg").write_text(picture, encoding="utf-8")
            (folder / f"{loss.name}-{part}-{theme}.zh_CN.svg").write_text(chinese(loss, picture), encoding="utf-8")
    return {part: alternative(loss, sampled, part) for part in curves.PARTS}
