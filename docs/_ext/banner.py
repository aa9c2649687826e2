"""The picture of the README and of the first page: what three families of losses do where it matters. Committed, and made anew by `make docs`."""

from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

import losskit
import pictures
from figures import STYLE, dark

PANELS: Mapping[str, Callable[[Axes], None]] = {
    "regression: how hard an error pulls": pictures.influence,
    "classification: how hard a positive pulls": pictures.focal(1),
    "boxes that move apart: the loss": pictures.sliding,
}
CHINESE = ("回归：误差的拉力", "分类：正例的拉力", "检测框分开时的损失")
WIDTH, HEIGHT = 11.4, 3.3


def drawn() -> str:
    """For light pages, in English."""
    with rc_context({**STYLE, "svg.hashsalt": "losskit"}):  # the same picture has the same bytes
        figure = Figure(figsize=(WIDTH, HEIGHT))
        FigureCanvasSVG(figure)
        for place, (title, draw) in enumerate(PANELS.items()):
            axes = figure.add_subplot(1, 3, place + 1)
            draw(axes)
            axes.set_title(title, fontsize=11.5, loc="left")
        figure.subplots_adjust(left=0.03, right=0.995, top=0.9, bottom=0.17, wspace=0.13)
        made = StringIO()
        figure.savefig(made, format="svg", transparent=True, metadata={"Date": None})
    return made.getvalue()


def made() -> Mapping[str, str]:
    """Each file's name and content."""
    with losskit.use_engine("torch"):
        english = drawn()
    chinese = english
    for title, words in zip(PANELS, CHINESE, strict=True):
        chinese = chinese.replace(f">{title}</text>", f">{words}</text>")
    chinese = pictures.chinese(chinese)
    return {
        "losses-light.svg": english,
        "losses-dark.svg": dark(english),
        "losses-light.zh_CN.svg": chinese,
        "losses-dark.zh_CN.svg": dark(chinese),
    }


def write(folder: Path) -> None:
    """What has changed."""
    for name, content in made().items():
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != content:
            file.write_text(content, encoding="utf-8")
