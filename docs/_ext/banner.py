"""The picture of the README and of the first page: what three families of losses do where it matters."""

from collections.abc import Callable, Mapping
from io import StringIO

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

import losskit
import pictures
from figures import STYLE

PANELS: Mapping[str, Callable[[Axes], None]] = {
    "regression: how hard an error pulls": pictures.influence,
    "classification: how hard a positive pulls": pictures.focal(1),
    "boxes that move apart: the loss": pictures.sliding,
}
WORDS = {**pictures.WORDS, **dict(zip(PANELS, ("回归：误差的拉力", "分类：正例的拉力", "检测框分开时的损失"), strict=True))}
WIDTH, HEIGHT = 11.4, 3.3


def drawn() -> str:
    """For light pages, in English."""
    with losskit.use_engine("torch"), rc_context({**STYLE, "svg.hashsalt": "losskit"}):  # the same picture has the same bytes
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
