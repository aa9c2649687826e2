"""Pictures as inline SVG that take the page's colours and words: light and dark, English and Chinese."""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from losskit.tour.chapter import Text

# drawn in these colours, which the page's style sheet then owns under these names
INK, SOFT, GRID, PAPER = "#14181d", "#66707b", "#e1e4e8", "#fdfdfc"
SERIES = ("#2563a8", "#c2571a", "#2d8a57", "#8a4fa3", "#a8842c", "#4d8f9c", "#c04872", "#6b7280")
NAMES = {INK: "ink", SOFT: "soft", GRID: "grid", PAPER: "paper"} | {colour: f"c{number}" for number, colour in enumerate(SERIES)}
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # words stay words: the page's font, sharp at every size
    "svg.hashsalt": "losskit",  # the same identifiers run to run
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.unicode_minus": False,
}


def panel(draw: Callable[[Any], None], words: Iterable[Text] = (), *, width: float = 4.7, height: float = 3.3) -> str:
    """One picture: `draw` gets the axes; `words` are the labels that have a Chinese form."""
    with rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        sheet = io.StringIO()
        figure.savefig(sheet, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return page_svg(sheet.getvalue(), words)


def page_svg(svg: str, words: Iterable[Text] = ()) -> str:
    """Matplotlib's SVG as part of a page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")  # inside HTML both are understood
    svg = re.sub(r"font: (?:\S+ )?([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, name in NAMES.items():
        svg = svg.replace(colour, f"var(--{name})")
    for word in words:
        if word.en != word.zh:
            both = f'<tspan lang="en">{escape(word.en, quote=False)}</tspan><tspan lang="zh">{escape(word.zh, quote=False)}</tspan>'
            svg = svg.replace(f">{escape(word.en, quote=False)}</text>", f">{both}</text>")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def sparkline(x: Sequence[float], y: Sequence[float], limits: tuple[float, float], colour: int) -> str:
    """A small curve for a row of a table, over its two zero lines; what leaves the limits is cut off."""
    width, height, low, high = 96.0, 40.0, *limits
    across = [round((v - x[0]) / (x[-1] - x[0]) * width, 1) for v in x]
    down = [round(height - (min(max(v, low - 1), high + 1) - low) / (high - low) * height, 1) for v in y]
    zero, middle = height + low / (high - low) * height, -x[0] / (x[-1] - x[0]) * width
    points = " ".join(f"{a},{b}" for a, b in zip(across, down, strict=True))
    return (
        f'<svg class="spark" viewBox="0 0 {width:g} {height:g}" role="img" aria-hidden="true">'
        f'<path d="M0 {zero:.1f}H{width:g}M{middle:.1f} 0V{height:g}" stroke="var(--grid)" fill="none"/>'
        f'<polyline points="{points}" fill="none" stroke="var(--c{colour})" stroke-width="2"/></svg>'
    )


def ranges(axes: Any, names: Sequence[str], groups: Sequence[tuple[str, int, Sequence[tuple[float, float]]]], label: str) -> None:
    """Mean and spread of each loss as a dot on a bar, one row a loss; groups side by side in the row."""
    rows = range(len(names))
    for number, (title, colour, scores) in enumerate(groups):
        shift = (number - (len(groups) - 1) / 2) * 0.28
        means, sds = [m for m, _ in scores], [s for _, s in scores]
        axes.errorbar(means, [r + shift for r in rows], xerr=sds, fmt="o", color=SERIES[colour], markersize=5, elinewidth=2, label=title or None)
    axes.set_yticks(list(rows), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel(label)
