"""The drawing of the architecture: what a call goes through, from top to bottom, and what comes back."""

from collections.abc import Mapping
from io import StringIO

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from figures import LIGHT, STYLE

INK, AXIS, LINES = LIGHT["ink"], LIGHT["axis"], LIGHT["lines"]
WORDS: Mapping[str, str] = {
    "value and gradients": "值和梯度",
    "loss": "损失",
    "chooses a formula, checks its settings": "选定公式，检查自己的设置",
    "contract": "约定",
    "looks once at arguments, mask and weights;": "参数、掩码、权重各检查一次；",
    "none, sum and mean: written once for all losses": "none、sum、mean 只写一次，供所有损失使用",
    "a call: formula, parameters, factors": "一次调用：公式、参数、因子",
    "dispatch": "分派",
    "answers which engine, and why": "决定用哪个引擎，并说明理由",
    "forward keeps the gradients,": "前向时保留梯度，",
    "backward hands them over": "反向时直接交出",
    "engine": "引擎",
    "one pass over memory: losses, sum, gradients": "扫描一遍内存：损失、总和、梯度",
    "CPU, by Numba": "CPU（Numba）",
    "GPU, by Triton": "GPU（Triton）",
    "everything else": "其余一切",
    **{name: name for name in ("autograd", "losses/", "contract/", "engines/", "dispatch.py", "fused.py", "cpu/", "triton/", "torch/")},
    "dice_loss(input, target)": "dice_loss(input, target)",
}
WIDTH, HEIGHT = 360, 468  # points: a phone shows them as pixels


def box(axes: Axes, left: float, top: float, width: float, height: float, colour: str, ground: float = 0.0) -> None:
    """A frame with round corners, on a tint of its colour."""
    place, shape = ((left + 3, top + 3), width - 6, height - 6), "round,pad=3"
    if ground:
        axes.add_patch(FancyBboxPatch(*place, boxstyle=shape, facecolor=colour, alpha=ground, linewidth=0))
    axes.add_patch(FancyBboxPatch(*place, boxstyle=shape, facecolor="none", edgecolor=colour, linewidth=1.4))


def stage(axes: Axes, left: float, top: float, width: float, title: str, folder: str, lines: tuple[str, ...], colour: str, ground: float = 0.0) -> None:
    """A box with a name, where it stands in the package, and what it does."""
    box(axes, left, top, width, 28 + 15 * len(lines), colour, ground)
    axes.text(left + 9, top + 17, title, color=colour, weight="bold", fontsize=12.5)
    axes.text(left + width - 9, top + 17, folder, color=INK, family="monospace", ha="right")
    for number, line in enumerate(lines):
        axes.text(left + 9, top + 34 + 15 * number, line, color=INK)


def arrow(axes: Axes, *way: tuple[float, float], colour: str = AXIS) -> None:
    """Along corners, with a head at the end."""
    axes.plot(*zip(*way, strict=True), color=colour, linewidth=1.6, solid_joinstyle="round")
    axes.annotate("", way[-1], way[-2], arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 11})


def draw(axes: Axes) -> None:
    """One column of boxes; at their right the way back."""
    loss, contract, engines = LINES[1], LINES[3], LINES[0]
    axes.text(4, 14, "dice_loss(input, target)", color=INK, family="monospace")
    axes.text(356, 14, "value and gradients", color=INK, ha="right")
    arrow(axes, (40, 20), (40, 38))
    stage(axes, 4, 39, 328, "loss", "losses/", ("chooses a formula, checks its settings",), loss, 0.08)
    arrow(axes, (40, 83), (40, 101))
    promises = ("looks once at arguments, mask and weights;", "none, sum and mean: written once for all losses")
    stage(axes, 4, 102, 328, "contract", "contract/", promises, contract, 0.08)
    arrow(axes, (40, 161), (40, 187))
    axes.text(52, 178, "a call: formula, parameters, factors", color=INK, style="italic")
    box(axes, 4, 188, 328, 276, engines, 0.08)
    axes.text(323, 207, "engines/", color=INK, family="monospace", ha="right")
    stage(axes, 12, 214, 312, "dispatch", "dispatch.py", ("answers which engine, and why",), engines)
    arrow(axes, (40, 258), (40, 274))
    stage(axes, 12, 275, 312, "autograd", "fused.py", ("forward keeps the gradients,", "backward hands them over"), engines)
    arrow(axes, (40, 334), (40, 350))
    stage(axes, 12, 351, 312, "engine", "", ("one pass over memory: losses, sum, gradients",), engines)
    for number, (folder, where) in enumerate((("cpu/", "CPU, by Numba"), ("triton/", "GPU, by Triton"), ("torch/", "everything else"))):
        left = 12 + 106 * number
        box(axes, left, 400, 100, 56, engines)
        axes.text(left + 50, 424, folder, color=INK, family="monospace", ha="center")
        axes.text(left + 50, 442, where, color=INK, ha="center", fontsize=10.5)
    arrow(axes, (325, 373), (346, 373), (346, 20))


def drawn() -> str:
    """For light pages, in English."""
    with rc_context({**STYLE, "svg.hashsalt": "house"}):  # the same picture has the same bytes
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        FigureCanvasSVG(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
        axes.set_axis_off()
        draw(axes)
        made = StringIO()
        figure.savefig(made, format="svg", transparent=True, metadata={"Date": None})
    return made.getvalue()
