"""The pictures of the guides as SVG, for light and dark pages, in both languages. A page shows one by its name; what it shows stands there, as alternative text."""

import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, unescape

import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

import losskit
import training_pictures
from drawing import AXIS, GRID, INK, LINES, curves, each, named
from figures import STYLE, dark
from losskit.tour.chapters.boxes.experiment import trace
from losskit.tour.chapters.segmentation.example import FOUND, SOFT, TRUTH, sums

WORDS = {
    "loss": "损失",
    "derivative": "导数",
    "cat": "猫",
    "dog": "狗",
    "sheep": "羊",
    "pig": "猪",
    "loss -log q": "损失 -log q",
    "probability q of the label": "标签的概率 q",
    "derivative by the logits": "对 logits 的导数",
    "residual x - t": "残差 x - t",
    "half the square": "平方的一半",
    "square": "平方",
    "loss of a positive": "正例的损失",
    "size of the derivative": "导数的大小",
    "logit": "logit",
    "target": "目标",
    "prediction": "预测",
    "distance to the target": "到目标的距离",
    "distance of two unit squares": "两个单位正方形的距离",
    "step": "步",
    "reported probability": "给出的概率",
    "true share of positives": "正例的真实占比",
    "share of the pull of 1 positive, 999 negatives": "1 个正例对 999 个负例时所占的拉力",
    "logit of the negatives": "负例的 logit",
    "60 points, 9 of them wrong": "60 个点，其中 9 个有错",
    "x": "x",
    "angle in degrees": "角度（度）",
    **{name: name for name in ("IoU", "GIoU", "DIoU", "ProbIoU", "ProbIoU l2")},
    "side of the box": "框的边长",
    "pull of a missed pixel over that of a false one": "漏报像素与误报像素的拉力之比",
    "pixels of the target": "目标的像素数",
    "pull at a false pixel, no target": "没有目标时误报像素所受的拉力",
    "false pixels": "误报像素数",
    "cross-entropy": "交叉熵",
    "cross-entropy, pos_weight=19": "交叉熵，pos_weight=19",
    **training_pictures.WORDS,
}
START, GOAL = (12.5, 10.0, 1.4, 0.7), (10.0, 10.0, 0.7, 1.4)  # of the descent, centre and size
BOXES = ("iou", "giou", "diou", "ciou")
TITLES = ("IoU", "GIoU", "DIoU", "CIoU")


def cross_entropy(axes: Axes) -> None:
    """Minus the logarithm."""
    q = torch.linspace(0.01, 1.0, 200)
    axes.plot(q, -q.log(), color=LINES[0], linewidth=1.8)
    axes.plot([0.6, 0.6, 0.0], [0.0, 0.5108, 0.5108], color=AXIS, linewidth=0.9, linestyle=":")
    axes.plot([0.6], [0.5108], "o", color=LINES[1])
    axes.annotate("-log 0.6 = 0.511", (0.6, 0.5108), (0.62, 0.75), color=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 4.4)
    axes.grid(True, color=GRID, linewidth=0.8)
    named(axes, "loss -log q", "probability q of the label")


def cross_entropy_pull(axes: Axes) -> None:
    """Where each logit is pushed."""
    x = torch.tensor([[0.6, 0.2, 0.1, 0.1]]).log().requires_grad_()
    (slope,) = torch.autograd.grad(losskit.cross_entropy(x, torch.tensor([0])), x)
    heights = slope[0].tolist()
    axes.bar(range(4), heights, 0.6, color=[LINES[1] if h < 0 else LINES[0] for h in heights])
    for place, h in enumerate(heights):
        axes.annotate(f"{h:.1f}", (place, h), (0, 3 if h > 0 else -14), textcoords="offset points", ha="center", color=INK)
    axes.axhline(0, color=AXIS, linewidth=0.8)
    axes.set_ylim(-0.5, 0.3)
    axes.set_xticks(range(4), ["cat", "dog", "sheep", "pig"])
    named(axes, "derivative by the logits", "")


def residual(part: int) -> Callable[[Axes], None]:
    """The losses of a residual, or their derivatives."""

    def draw(axes: Axes) -> None:
        r = torch.linspace(-3, 3, 241)
        losses = {"L1": losskit.l1_loss, "half the square": losskit.l2_loss, "square": losskit.mse_loss, "smooth L1": losskit.smooth_l1_loss}
        lines = {name: each(loss, r, torch.zeros_like(r))[part] for name, loss in losses.items()}
        axes.axhline(0, color=AXIS, linewidth=0.8)
        curves(axes, r, lines, loc="upper center" if part == 0 else "upper left")
        axes.set_ylim(*((-0.2, 9.2) if part == 0 else (-6.2, 6.2)))
        named(axes, "derivative" if part else "loss", "residual x - t")

    return draw


def masks(found: Sequence[Sequence[float]]) -> Callable[[Axes], None]:
    """The example of the tour: products in the pixels, sums below."""

    def draw(axes: Axes) -> None:
        for row, (true, there) in enumerate(zip(TRUTH, found, strict=True)):
            for column, (t, p) in enumerate(zip(true, there, strict=True)):
                axes.add_patch(Rectangle((column, row), 1, 1, facecolor="none", edgecolor=GRID))
                axes.add_patch(Rectangle((column, row), 1, 1, facecolor=LINES[1], alpha=0.5 * p, linewidth=0))
                if t or p:
                    axes.text(column + 0.5, row + 0.55, f"{t * p:g}", ha="center", va="center", color=INK)
        axes.add_patch(Rectangle((0, 0), 3, 3, facecolor="none", edgecolor=LINES[0], linewidth=2.4))
        i, a, b = sums(found)
        for row, (line, colour) in enumerate(
            ((f"A∩B = {i:g}", INK), (f"|A| = {a:g}", LINES[0]), (f"|B| = {b:g}", LINES[1]), (f"2 · {i:g} / ({a:g} + {b:g}) = {2 * i / (a + b):.4f}", INK))
        ):
            axes.text((0.0, 2.2, 4.0, 0.0)[row], 4.55 if row < 3 else 5.15, line, color=colour, fontsize=11.5)
        axes.text(0.08, 0.32, "A", color=LINES[0], weight="bold")
        axes.text(3.72, 2.9, "B", color=LINES[1], weight="bold")
        axes.set(xlim=(-0.1, 5.6), ylim=(5.3, -0.1), aspect="equal")
        axes.set_axis_off()

    return draw


def focal(part: int) -> Callable[[Axes], None]:
    """Value or derivative for a positive."""

    def draw(axes: Axes) -> None:
        x = torch.linspace(-4, 6, 201)
        lines = {f"gamma={g:g}": each(losskit.focal_loss, x, torch.ones_like(x), gamma=g)[part].abs() for g in (0.0, 0.5, 2.0, 5.0)}
        curves(axes, x, lines, loc="lower left" if part == 0 else "upper right")
        if part == 0:
            axes.set_yscale("log")
            axes.set_ylim(1e-8, 10)
        named(axes, "size of the derivative" if part else "loss of a positive", "logit")

    return draw


def pair(box: Sequence[float]) -> Callable[[Axes], None]:
    """A box and the unit square, with the scores."""

    def draw(axes: Axes) -> None:
        for corners, colour, style in (((0.0, 0.0, 1.0, 1.0), LINES[0], "-"), (box, LINES[1], "--")):
            x0, y0, x1, y1 = corners
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor=colour, alpha=0.18, linewidth=0))
            axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, facecolor="none", edgecolor=colour, linestyle=style, linewidth=2))
        axes.text(0.04, 1.06, "target", color=LINES[0])
        axes.text(box[0] + 0.04, -0.18, "prediction", color=LINES[1])
        scores = [getattr(losskit, name)(torch.tensor([box]), torch.tensor([[0.0, 0.0, 1.0, 1.0]])).item() for name in BOXES]
        for place, (name, score) in enumerate(zip(TITLES, scores, strict=True)):
            axes.text(-0.1 + 0.84 * place, -0.5, f"{name} {score:.2f}", color=INK)
        axes.set(xlim=(-0.12, 3.2), ylim=(-0.6, 1.3), aspect="equal")
        axes.set_axis_off()

    return draw


def sliding(axes: Axes) -> None:
    """A unit square that moves away from its target."""
    x = torch.linspace(0, 5, 251)
    target = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(x), 4)
    moved = target + x[:, None] * torch.tensor([1.0, 0.0, 1.0, 0.0])
    lines = {title: getattr(losskit, f"{name}_loss")(moved, target, reduction="none") for name, title in zip(BOXES, TITLES, strict=True)}
    curves(axes, x, lines, loc="lower right")
    axes.set_ylim(0, 1.8)
    named(axes, "loss", "distance of two unit squares")


def descent(axes: Axes) -> None:
    """A box on its way to its target, with the paper's steps."""
    lines = {title: abs(trace(f"{name}_loss", START, GOAL) - torch.tensor(GOAL).numpy()).sum(1) for name, title in zip(BOXES, TITLES, strict=True)}
    curves(axes, range(201), lines, loc="lower left")
    axes.set_yscale("log")
    named(axes, "distance to the target", "step")


def believed(axes: Axes) -> None:
    """The logit of least expected loss for each share of positives."""
    share = torch.linspace(0, 1, 51, dtype=torch.float64)
    x = torch.linspace(-9, 9, 1801, dtype=torch.float64)
    losses = {
        "cross-entropy": losskit.BCEWithLogitsLoss(reduction="none"),
        "cross-entropy, pos_weight=19": losskit.BCEWithLogitsLoss(pos_weight=torch.tensor(19.0), reduction="none"),
        "focal, gamma=2": losskit.FocalLoss(gamma=2.0, reduction="none"),
        "focal, gamma=5": losskit.FocalLoss(gamma=5.0, reduction="none"),
        "focal, gamma=2, alpha=0.25": losskit.FocalLoss(gamma=2.0, alpha=0.25, reduction="none"),
    }
    expected = {name: loss(x.expand(51, -1).contiguous(), share[:, None].expand(-1, 1801).contiguous()) for name, loss in losses.items()}
    curves(axes, share, {name: x[e.argmin(1)].sigmoid() for name, e in expected.items()}, loc="upper left")
    axes.set(xlim=(0, 1), ylim=(0, 1.8), yticks=(0, 0.2, 0.4, 0.6, 0.8, 1.0))
    named(axes, "reported probability", "true share of positives")


def share(axes: Axes) -> None:
    """What one positive pulls among many negatives."""
    x = -torch.linspace(0, 8, 81, dtype=torch.float64)
    lines = {}
    for gamma in (0.0, 0.5, 2.0, 5.0):
        mine = each(losskit.focal_loss, torch.tensor([-1.0], dtype=torch.float64), torch.ones(1, dtype=torch.float64), gamma=gamma)[1].abs()
        other = each(losskit.focal_loss, x, torch.zeros_like(x), gamma=gamma)[1].abs()
        lines[f"gamma={gamma:g}"] = mine / (mine + 999 * other)
    curves(axes, x, lines, loc="upper left", ncols=2)
    axes.set(ylim=(0, 1.4), yticks=(0, 0.2, 0.4, 0.6, 0.8, 1.0))
    axes.invert_xaxis()
    named(axes, "share of the pull of 1 positive, 999 negatives", "logit of the negatives")


def points() -> tuple[Tensor, Tensor]:
    """Those of the page on outliers."""
    x = torch.linspace(0, 4, 60)
    y = 2 * x + 0.3 * torch.randn(60, generator=torch.Generator().manual_seed(0))
    y[51:] -= 20
    return x, y


def lines(axes: Axes) -> None:
    """The lines that losses find."""
    x, y = points()
    axes.plot(x, y, "o", color=AXIS, markersize=3.5)
    found = {}
    for name, loss in (("MSE", losskit.mse_loss), ("L1", losskit.l1_loss), ("Welsch", losskit.welsch_loss)):
        line = torch.zeros(2, requires_grad=True)
        search = torch.optim.Adam([line], lr=0.1)
        for step in range(600):
            search.param_groups[0]["lr"] = 0.1 * (1 - step / 600)
            search.zero_grad()
            loss(line[0] + line[1] * x, y).backward()
            search.step()
        found[name] = (line[0] + line[1] * x).detach()
    curves(axes, x, found, loc="lower left")
    named(axes, "60 points, 9 of them wrong", "x")


def influence(axes: Axes) -> None:
    """How hard a residual pulls."""
    r = torch.linspace(0, 8, 161)
    losses = {"MSE": losskit.mse_loss, "L1": losskit.l1_loss, "Huber": losskit.huber_loss, "Cauchy": losskit.cauchy_loss, "Welsch": losskit.welsch_loss}
    curves(axes, r, {name: each(loss, r, torch.zeros_like(r))[1] for name, loss in losses.items()}, loc="upper right")
    axes.set_ylim(-0.05, 3)
    named(axes, "derivative", "residual x - t")


def growing(axes: Axes) -> None:
    """A box that grows around its centre, 18 and 18 from that of a target of side 16."""
    side = torch.logspace(2, 10, 241, base=2.0)
    box = torch.stack((torch.zeros(241), torch.zeros(241), side, side), 1)
    goal = torch.tensor([18.0, 18.0, 16.0, 16.0]).expand(241, 4)
    names = ("iou", "giou", "diou", "eiou")
    curves(axes, side, {name[:-3].upper() + "IoU": getattr(losskit, f"{name}_loss")(box, goal, box_format="cxcywh", reduction="none") for name in names})
    axes.set_xscale("log", base=2)
    axes.set_xticks([4, 16, 64, 256, 1024], ["4", "16", "64", "256", "1024"])
    named(axes, "loss", "side of the box")


def turning(axes: Axes) -> None:
    """A box four times as long as wide, turned over its target."""
    angle = torch.linspace(0, 180, 361)
    box = torch.tensor([0.0, 0.0, 40.0, 10.0, 0.0]).repeat(361, 1)
    goal = box.clone()
    box[:, 4] = angle
    how: Any = {"box_format": "cxcywha", "degrees": True, "reduction": "none"}
    lines = {"IoU": losskit.iou_loss(box, goal, **how), "GIoU": losskit.giou_loss(box, goal, **how), "DIoU": losskit.diou_loss(box, goal, **how)}
    lines |= {"ProbIoU": losskit.probiou_loss(box, goal, **how), "ProbIoU l2": losskit.probiou_loss(box, goal, mode="l2", **how)}
    curves(axes, angle, lines)
    axes.set_xticks([0, 45, 90, 135, 180])
    named(axes, "loss", "angle in degrees")


def shift(axes: Axes) -> None:
    """A box one pixel off along both axes."""
    side = torch.linspace(2, 64, 249)
    box = torch.stack((torch.zeros(249), torch.zeros(249), side, side), 1)
    lines = {"IoU": losskit.iou_loss(box + 1, box, reduction="none"), "NWD": losskit.nwd_loss(box + 1, box, constant=12.8, reduction="none")}
    curves(axes, side, lines)
    axes.set_ylim(0, 1)
    named(axes, "loss", "side of the box")


def pixels(axes: Axes) -> None:
    """How much harder a missed pixel pulls than a false one."""
    sizes = (3, 5, 10, 20, 50, 100, 200, 500, 1000)
    losses = {
        "cross-entropy": losskit.BCEWithLogitsLoss(),
        "Dice": losskit.DiceLoss(task="binary"),
        "Tversky, alpha=0.3, beta=0.7": losskit.TverskyLoss(task="binary", alpha=0.3, beta=0.7),
    }
    lines: dict[str, list[float]] = {name: [] for name in losses}
    for name, loss in losses.items():
        for size in sizes:
            t = (torch.arange(4096) < size).float()[None]
            x = torch.where(t == 1, 3.0, -6.0)
            x[0, 0], x[0, -1] = -2.0, 2.0
            (slope,) = torch.autograd.grad(loss(x.requires_grad_(), t), x)
            lines[name].append(float((slope[0, 0] / slope[0, -1]).abs()))
    curves(axes, sizes, lines)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    named(axes, "pull of a missed pixel over that of a false one", "pixels of the target")


def nothing(axes: Axes) -> None:
    """The pull at a false pixel where there is no target."""
    counts = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    settings: dict[str, dict[str, Any]] = {"smooth=1": {"smooth": 1.0}, "smooth=1e-5": {"smooth": 1e-5}, 'empty="mass"': {"empty": "mass"}}
    lines: dict[str, list[float]] = {name: [] for name in settings}
    for name, how in settings.items():
        for count in counts:
            x = torch.where(torch.arange(4096) < count, 2.0, -20.0)[None].requires_grad_()
            (slope,) = torch.autograd.grad(losskit.dice_loss(x, torch.zeros(1, 4096), task="binary", **how), x)
            lines[name].append(float(slope[0, 0]))
    curves(axes, counts, lines, loc="lower left")
    axes.set_xscale("log")
    axes.set_yscale("log")
    named(axes, "pull at a false pixel, no target", "false pixels")


# name: drawing, and height in inches of a width of 5
PICTURES: Mapping[str, tuple[Callable[[Axes], None], float]] = {
    "cross-entropy": (cross_entropy, 3.2),
    "cross-entropy-pull": (cross_entropy_pull, 3.2),
    "residual-value": (residual(0), 3.2),
    "residual-slope": (residual(1), 3.2),
    "masks-hard": (masks(FOUND), 4.2),
    "masks-soft": (masks(SOFT), 4.2),
    "focal-value": (focal(0), 3.2),
    "focal-pull": (focal(1), 3.2),
    "pair-overlap": (pair((0.5, 0.0, 1.5, 1.0)), 2.7),
    "pair-apart": (pair((2.0, 0.0, 3.0, 1.0)), 2.7),
    "pair-inside": (pair((0.0, 0.0, 0.5, 0.5)), 2.7),
    "pair-shape": (pair((0.0, 0.375, 1.0, 0.625)), 2.7),
    "descent": (descent, 3.2),
    "sliding": (sliding, 3.2),
    "believed": (believed, 4.0),
    "share": (share, 4.0),
    "lines": (lines, 3.2),
    "influence": (influence, 3.2),
    "growing": (growing, 3.2),
    "turning": (turning, 3.4),
    "shift": (shift, 3.2),
    "pixels": (pixels, 3.2),
    "nothing": (nothing, 3.2),
    **training_pictures.PICTURES,
}


def drawn(name: str) -> str:
    """A picture for light pages, in English."""
    draw, height = PICTURES[name]
    with rc_context({**STYLE, "svg.hashsalt": name}):  # the same picture has the same bytes
        figure = Figure(figsize=(5.0, height))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        if axes.axison:
            figure.subplots_adjust(left=0.12, right=0.96, top=1 - 0.34 / height, bottom=0.6 / height)
        else:
            figure.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.01)
        made = StringIO()
        figure.savefig(made, format="svg", transparent=True, metadata={"Date": None})
    return made.getvalue()


def chinese(picture: str, words: Mapping[str, str] = WORDS) -> str:
    """The picture with Chinese words; an English one without is an error."""

    def word(match: re.Match[str]) -> str:
        text = unescape(match[1])
        if text in words:
            return f">{escape(words[text])}</text>"
        if re.search(
            r"[a-z]{3}", re.sub(r"\w+=|\w*_\w+|\"\w+\"|smooth L1|focal|Huber|Cauchy|Welsch|Dice|Tversky|b?float16|beta-NLL", "", text)
        ) and not re.match(r"-?log \d", text):
            raise ValueError(f"no Chinese for {text!r}: add it to WORDS in {__file__}")
        return match[0]

    return re.sub(r">([^<>]+)</text>", word, picture)


def files(name: str, light: str, words: Mapping[str, str] = WORDS) -> Mapping[str, str]:
    """A picture for light pages, in English, and what it is on dark pages and in Chinese: each file's name and content."""
    made = {f"{name}-light": light, f"{name}-dark": dark(light)}
    return {f"{theme}.svg": picture for theme, picture in made.items()} | {f"{theme}.zh_CN.svg": chinese(picture, words) for theme, picture in made.items()}


def write(root: Path, drawn_too: bool = True) -> None:
    """All of them, below guides/figures; empty files where they are not drawn."""
    folder = root / "guides" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    with losskit.use_engine("torch"):
        for name in PICTURES:
            for file, picture in files(name, drawn(name) if drawn_too else "").items():
                (folder / file).write_text(picture, encoding="utf-8")
