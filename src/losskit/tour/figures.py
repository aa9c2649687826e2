"""Pictures as inline SVG that take the page's colours and words: light and dark, English and Chinese."""

import base64
import io
import math
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from losskit.tour.chapter import Text

# drawn in these colours, which the page's style sheet then owns under these names
INK, SOFT, GRID, PAPER = "#14181d", "#66707b", "#e1e4e8", "#fdfdfc"
SERIES = ("#2563a8", "#ba5016", "#2d8a57", "#8a4fa3", "#a8842c", "#4d8f9c", "#c04872", "#6b7280")
NAMES = {INK: "ink", SOFT: "soft", GRID: "grid", PAPER: "paper"} | {colour: f"c{number}" for number, colour in enumerate(SERIES)}
REFERENCE = r'(href="#|url\(#)([^")]+)'  # of a part of an SVG to another
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
        axes = figure.add_subplot()
        draw(axes)
        sheet = io.StringIO()
        figure.savefig(sheet, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        return page_svg(sheet.getvalue(), words := tuple(words), told(axes, words))


def key(axes: Any) -> None:
    """The names of what is drawn, below the axes, where they cover nothing."""
    handles, names = axes.get_legend_handles_labels()
    figure = axes.figure
    letters = figure.get_figwidth() / 0.07  # of the legend's size, side by side
    columns = max(1, min(len(names), int(letters / (max(map(len, names)) + 8))))
    figure.set_figheight(figure.get_figheight() + 0.1 + 0.18 * -(-len(names) // columns))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=8)


def told(axes: Any, words: Iterable[Text]) -> Text:
    """What a drawing shows, in words: its axes, and where each line begins and ends."""
    chinese = {word.en: word.zh for word in words}
    rows = [tick.get_text().replace("\n", "") for tick in axes.get_yticklabels()]
    en, zh = [], []
    bars = [bar for bar in axes.containers if hasattr(bar, "has_xerr")]
    for bar in bars:
        label = "" if bar.get_label().startswith("_") else bar.get_label()
        pairs = [f"{name} {mean:.4g}" for name, mean in zip(rows, bar[0].get_xdata(), strict=True)]
        values = ", ".join(pairs if len(pairs) <= 9 else [*pairs[:3], "...", *pairs[-3:]])  # the table has them all
        en.append(f"{label}: {values}" if label else values)
        zh.append(f"{chinese.get(label, label)}：{values}" if label else values)
    for line in () if bars else axes.lines:
        name, heights = line.get_label(), [y for y in line.get_ydata() if math.isfinite(y)]
        if not name.startswith("_") and heights:
            en.append(f"{name} from {heights[0]:.3g} to {heights[-1]:.3g}")
            zh.append(f"{name} 由 {heights[0]:.3g} 到 {heights[-1]:.3g}")
    titles = [text for text in (axes.get_title("left"), axes.get_ylabel(), axes.get_xlabel()) if text]
    return Text(f"Chart: {'; '.join(titles)}. {'; '.join(en)}", f"图表：{'；'.join(chinese.get(t, t) for t in titles)}。{'；'.join(zh)}")


def picture(view: str, inside: str, alt: Text, more: str = "") -> str:
    """A picture of the page, with what it shows in words for those who do not see it; the page says them in its language."""
    return f'<svg{more} {label(alt)} viewBox="{view}">{inside}</svg>'


def label(alt: Text) -> str:
    """A picture's words, as attributes."""
    return f'role="img" aria-label="{escape(alt.en)}" data-zh="{escape(alt.zh)}"'


def page_svg(svg: str, words: Iterable[Text], alt: Text) -> str:
    """Matplotlib's SVG as part of a page."""
    svg = svg[svg.index("<svg") :].replace("<svg", f"<svg {label(alt)}", 1)
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")  # inside HTML both are understood
    svg = re.sub(r"font: (?:\S+ )?([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, name in NAMES.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = own_names(svg)
    for word in words:
        svg = svg.replace(f">{escape(word.en, quote=False)}</text>", f">{both(word)}</text>")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def own_names(svg: str) -> str:
    """A picture without the names of its parts but for those that it refers to, which become its own: a page has many pictures."""
    used = {name for _, name in re.findall(REFERENCE, svg)}
    own = f"-{zlib.crc32(svg.encode()):x}"
    svg = re.sub(r' id="([^"]*)"', lambda match: f' id="{match[1]}{own}"' if match[1] in used else "", svg)
    return re.sub(REFERENCE, rf"\1\2{own}", svg)


def both(word: Text) -> str:
    """Words inside a picture, in both languages."""
    en, zh = escape(word.en, quote=False), escape(word.zh, quote=False)
    return en if en == zh else f'<tspan lang="en">{en}</tspan><tspan lang="zh">{zh}</tspan>'


def sparkline(x: Sequence[float], y: Sequence[float], limits: tuple[float, float], colour: int, alt: Text) -> str:
    """A small curve for a row of a table, over its two zero lines; what leaves the limits is cut off."""
    width, height, low, high = 96.0, 40.0, *limits
    across = [round((v - x[0]) / (x[-1] - x[0]) * width, 1) for v in x]
    down = [round(height - (min(max(v, low - 1), high + 1) - low) / (high - low) * height, 1) for v in y]
    zero, middle = height + low / (high - low) * height, -x[0] / (x[-1] - x[0]) * width
    points = " ".join(f"{a},{b}" for a, b in zip(across, down, strict=True))
    zeros = f'<path d="M0 {zero:.1f}H{width:g}M{middle:.1f} 0V{height:g}" stroke="var(--grid)" fill="none"/>'
    line = f'<polyline points="{points}" fill="none" stroke="var(--c{colour})" stroke-width="2"/>'
    return picture(f"0 0 {width:g} {height:g}", zeros + line, alt, ' class="spark"')


def ranges(axes: Any, names: Sequence[str], groups: Sequence[tuple[str, int, Sequence[tuple[float, float]]]], label: str) -> None:
    """Mean and spread of each loss as a dot on a bar, one row per loss; groups side by side in the row."""
    rows = range(len(names))
    for number, (title, colour, scores) in enumerate(groups):
        shift = (number - (len(groups) - 1) / 2) * 0.28
        means, sds = [m for m, _ in scores], [s for _, s in scores]
        axes.errorbar(means, [r + shift for r in rows], xerr=sds, fmt="o", color=SERIES[colour], markersize=5, elinewidth=2, label=title or None)
    lines = [name.replace("(", "\n(", 1) if len(name) > 28 else name for name in names]
    axes.set_yticks(list(rows), lines)
    axes.figure.set_figheight(max(axes.figure.get_figheight(), 0.8 + 0.38 * len(lines) if "\n" in "".join(lines) else 0.0))  # no line on another
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel(label)


def fitting(size: float, room: float, *lines: str) -> float:
    """The size, or the one at which the longest of these lines in bold fits into so much room."""
    widest = max(sum(1.05 if letter > "\u2e7f" else 0.68 for letter in line) for line in lines)
    return min(size, math.floor(10 * room / widest) / 10)


def write(x: float, y: float, words: str, size: float, *, anchor: str = "start", colour: str = "ink", bold: bool = False) -> str:
    """A line of text in a picture drawn by hand."""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="var(--{colour})"{weight}>{words}</text>'


def gallery(title: Text, items: Sequence[tuple[Any, str, bool]], across: int = 4) -> str:
    """Small grey pictures (rows of numbers from 0 to 1) with a line of text under each, and whether it is a good one."""
    side, gap, line = 64.0, 14.0, 19.0
    rows = -(-len(items) // across)
    width, height = across * (side + gap) - gap, 26 + rows * (side + line + gap)
    parts = [write(0, 13, both(title), fitting(13, width, *title), bold=True)]
    for number, (image, words, good) in enumerate(items):
        x, y = (number % across) * (side + gap), 26 + (number // across) * (side + line + gap)
        parts += inked(image, x, y, side)
        parts.append(write(x + side / 2, y + side + 14, words, 12, anchor="middle", colour="good" if good else "bad"))
    told = "; ".join(words for _, words, _ in items)
    return picture(f"-2 0 {width + 4:g} {height:g}", "".join(parts), Text(f"{title.en}: {told}", f"{title.zh}：{told}"))


def inked(image: Any, x: float, y: float, side: float) -> list[str]:
    """A small grey picture (rows of numbers from 0 to 1) in the page's ink, inside an SVG, with a frame."""
    cell = side / len(image)
    strokes: dict[int, str] = {}
    for down, row in enumerate(image):
        for right, ink in enumerate(row):
            level = round(16 * float(ink))
            strokes[level] = strokes.get(level, "") + f"M{x + right * cell:g} {y + down * cell:g}h{cell:g}v{cell:g}h-{cell:g}z"
    frame = f'<rect x="{x - 1:g}" y="{y - 1:g}" width="{side + 2:g}" height="{side + 2:g}" fill="none" stroke="var(--grid)"/>'
    return [frame, *(f'<path d="{d}" fill="var(--ink)" fill-opacity="{level / 16:g}" shape-rendering="crispEdges"/>' for level, d in strokes.items() if level)]


def drawn(image: Any, alt: Text) -> str:
    """Such a picture for a row of a table."""
    return picture("-1 -1 42 42", "".join(inked(image, 0.0, 0.0, 40.0)), alt, ' class="inked"')


def photograph(image: Any, x: float, y: float, width: float, *, sharp: bool = True) -> str:
    """A grey picture (rows of numbers from 0 to 1) inside an SVG: pixel by pixel, or as a JPEG, a quarter of the size."""
    from PIL import Image

    sheet = io.BytesIO()
    Image.fromarray((255.0 * image).round().astype("uint8")).save(sheet, "PNG" if sharp else "JPEG", **({"optimize": True} if sharp else {"quality": 80}))
    kind, data = "png" if sharp else "jpeg", base64.b64encode(sheet.getvalue()).decode()
    height = width * image.shape[0] / image.shape[1]
    style = ' style="image-rendering:pixelated"' if sharp else ""
    return f'<image href="data:image/{kind};base64,{data}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{style}/>'


def region(mask: Any, x: float, y: float, width: float, colour: str, opacity: float = 1.0) -> str:
    """The pixels of a mask in one of the page's colours."""
    strokes = []
    for down, row in enumerate(mask):
        edges = [right for right, (a, b) in enumerate(zip((False, *row), (*row, False), strict=True)) if a != b]
        strokes += [f"M{start} {down}h{end - start}v1h-{end - start}z" for start, end in zip(edges[::2], edges[1::2], strict=True)]
    fill = f'fill="var(--{colour})" fill-opacity="{opacity:g}"'
    return f'<path transform="translate({x:g} {y:g}) scale({width / mask.shape[1]:.5g})" d="{"".join(strokes)}" {fill} shape-rendering="crispEdges"/>'


def matrix(title: Text, shares: Sequence[Sequence[float]], down: Text, across: Text) -> str:
    """A confusion table: the diagonal in one colour, mistakes in another, stronger the more there are; in per cent."""
    cell, left, top, n = 34.0, 40.0, 58.0, len(shares)
    parts = [
        write(0, 13, both(title), fitting(13, left + n * cell, *title), bold=True),
        write(left + n * cell / 2, 32, both(across), 12, anchor="middle", colour="soft"),
    ]
    parts.append(f'<g transform="rotate(-90)">{write(-(top + n * cell / 2), 12, both(down), 12, anchor="middle", colour="soft")}</g>')
    for i, row in enumerate(shares):
        middle = top + (i + 0.65) * cell
        parts += [write(left - 12, middle, str(i), 12, anchor="middle"), write(left + (i + 0.5) * cell, top - 8, str(i), 12, anchor="middle")]
        for j, share in enumerate(row):
            strength = share if i == j else min(1.0, 8.0 * share)
            colour, per_cent = "c2" if i == j else "c1", 100.0 * share
            parts.append(
                f'<rect x="{left + j * cell + 1:g}" y="{top + i * cell + 1:g}" width="{cell - 2:g}" height="{cell - 2:g}" rx="3" '
                f'fill="var(--{colour})" fill-opacity="{0.08 + 0.5 * strength if share else 0.03:.3g}"/>'
            )
            if per_cent >= 0.05:
                parts.append(write(left + (j + 0.5) * cell, middle, f"{per_cent:.0f}" if per_cent >= 10 else f"{per_cent:.1f}", 11, anchor="middle"))
    right = "; ".join(f"{i} {100.0 * row[i]:.0f} %" for i, row in enumerate(shares))
    alt = Text(f"{title.en}: read right, by digit: {right}", f"{title.zh}：各数字认对的比例：{right}")
    return picture(f"0 0 {left + n * cell:g} {top + n * cell + 2:g}", "".join(parts), alt)
