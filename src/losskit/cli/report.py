"""What `losskit eval` found, as a table in a terminal and as a page that needs nothing else."""

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from rich.console import Console
from rich.table import Table
from torch import Tensor

import losskit
from losskit.cli.evaluate import Item, Outcome, by_sample, descending

SIDE = 256  # pixels: pictures are made no larger
ROWS = 24  # classes in a terminal
SHOWN = 6  # samples with pictures
COLOURS = (
    (236, 239, 241),
    (230, 97, 1),
    (33, 102, 172),
    (27, 120, 55),
    (118, 42, 131),
    (191, 129, 45),
    (53, 151, 143),
    (197, 27, 125),
    (77, 77, 77),
    (255, 217, 47),
)
CHINESE = {
    "loss": "损失", "value": "值", "gradient norm": "梯度范数", "largest": "最大梯度", "items": "项数", "left out or empty": "忽略与空",
    "class": "类别", "worst first": "从最差开始", "where": "位置", "prediction": "预测", "target": "目标", "settings": "设置", "gradient": "梯度",
    "ignored": "忽略", "empty": "空样本", "degenerate": "退化框", "degenerate targets": "退化目标框", "Where the loss sits": "损失在图中的位置",
    "brightest": "最亮处", "Losses of saved predictions": "对已存预测计算的损失", "none": "无",
}  # fmt: skip


def word(text: str, language: str) -> str:
    """A heading in a language."""
    return CHINESE.get(text, text) if language == "zh" else text


def number(value: float) -> str:
    """A number as tables have it."""
    return f"{value:.6g}"


def told(outcome: Outcome, language: str) -> str:
    """What was left out, and what has nothing in it."""
    return ", ".join(f"{count:,} {word(name, language)}" for name, count in outcome.counts.items() if count) or word("none", language)


def show(outcomes: Sequence[Outcome], console: Console, language: str) -> None:
    """Tables: each loss, then each class, then the worst."""
    for note in dict.fromkeys(note for outcome in outcomes for note in outcome.notes):
        console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    table = Table()
    for position, heading in enumerate(("loss", "value", "gradient norm", "largest", "items", "left out or empty")):
        table.add_column(word(heading, language), justify="right" if 0 < position < 5 else "left", overflow="fold")
    for outcome in outcomes:
        table.add_row(outcome.name, number(outcome.value), number(outcome.gradient), number(outcome.steepest), f"{outcome.items:,}", told(outcome, language))
    console.print(table)
    classes = list(dict.fromkeys(name for outcome in outcomes for name in outcome.classes))
    if classes:
        with_classes = [outcome for outcome in outcomes if outcome.classes]
        count = len(classes)
        if count > ROWS:
            classes = sorted(classes, key=lambda name: -max(outcome.classes.get(name, -math.inf) for outcome in with_classes))[:ROWS]
        table = Table(word("class", language), title=f"{word('worst first', language)}: {ROWS} / {count}" if count > ROWS else None, title_justify="left")
        items = {name: f"{count:,}" for outcome in with_classes for name, count in outcome.class_items.items()}
        if items:
            table.add_column(word("items", language), justify="right")
        for outcome in with_classes:
            table.add_column(outcome.name, justify="right")
        for name in classes:
            table.add_row(
                name, *([items.get(name, "")] if items else []), *(number(outcome.classes[name]) if name in outcome.classes else "" for outcome in with_classes)
            )
        console.print(table)
    for outcome in outcomes:
        if len(outcome.worst) > 1:
            first = ", ".join(f"{item.place} {number(item.loss)}" for item in outcome.worst[:3])
            of = f" ({word('gradient', language)})" if outcome.worst_of == "gradient" else ""
            console.print(f"{outcome.name}{of}, {word('worst first', language)}: {first}", highlight=False, markup=False)


def html(outcomes: Sequence[Outcome], pred: str, target: str | None, language: str) -> str:
    """The page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "word": lambda text: word(text, language)}
    environment.globals |= {"told": lambda outcome: told(outcome, language), "pictures": pictures, "width": width}
    template = environment.from_string(files("losskit.cli").joinpath("eval.html").read_text(encoding="utf-8"))
    return template.render(outcomes=outcomes, pred=pred, target=target, version=losskit.__version__, language=language)


def width(item: Item, outcome: Outcome) -> float:
    """The length of a bar, in per cent of the longest."""
    largest = max((each.loss for each in outcome.worst if math.isfinite(each.loss)), default=0.0)
    return 100.0 if not math.isfinite(item.loss) else max(0.0, 100.0 * item.loss / largest) if largest > 0 else 0.0


def pictures(outcome: Outcome) -> list[dict[str, Any]]:
    """Target, prediction and loss of the worst samples, as pictures; of a volume, the slice where most of it is."""
    heat, batch = outcome.heat, outcome.batch
    if heat is None or batch is None:
        return []
    largest = float(heat[heat.isfinite()].max()) if bool(heat.isfinite().any()) else 0.0
    found = []
    sums = by_sample(heat)
    for sample in descending(sums)[:SHOWN]:
        hot, cut = slice_of(heat[sample])
        made = {"place": f"sample {sample}" + (f" {list(cut)}" if cut else ""), "loss": float(sums[sample]), "largest": float(hot.nan_to_num(0.0).max())}
        logits = outcome.settings.get("from_logits", True) is not False
        for name, x in (("target", batch.target), ("prediction", batch.input)):
            if x is not None:
                made[name] = png(painted(x, heat, sample, cut, logits and name == "prediction"))
        made["heat"] = png(glow(hot, largest))
        found.append(made)
    return found


def slice_of(heat: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The plane with most loss, and where it lies."""
    if heat.dim() == 2:
        return heat, ()
    planes = heat.nan_to_num(0.0).flatten(-2).sum(-1)
    cut = tuple(int(i) for i in torch.unravel_index(planes.argmax(), planes.shape))
    return heat[cut], cut


def painted(x: Tensor, heat: Tensor, sample: int, cut: tuple[int, ...], logits: bool) -> Tensor:
    """A sample as colours, (height, width, 3): labels in colours of their own, numbers in greys."""
    one = x[sample].detach()
    one = one.to(torch.uint8) if one.dtype is torch.bool else one
    if one.dim() > heat.dim() - 1:  # a class axis in front
        one = one.argmax(0) if one.shape[0] > 1 else one[0]
    one = smaller(one[cut].float(), largest=False)
    if not x.is_floating_point() or x.dim() > heat.dim():
        palette = torch.tensor(COLOURS, dtype=torch.uint8)
        labels = one.long().clamp(min=-1)
        colours = palette[torch.where(labels > 0, 1 + (labels - 1) % (len(COLOURS) - 1), 0)]
        colours[labels < 0] = 0
        return colours
    grey = one.sigmoid() if logits else (one - one.min()) / (one.max() - one.min()) if bool(((one < 0) | (one > 1)).any()) else one
    return (grey.nan_to_num(0.0) * 255).to(torch.uint8)[..., None].expand(*grey.shape, 3)


def glow(heat: Tensor, largest: float) -> Tensor:
    """Loss as light: black, red, yellow, white; NaN blue."""
    hot = smaller(heat, largest=True)
    share = (hot / largest if largest > 0 else hot * 0.0).clamp(0.0, 1.0)
    colours = torch.stack([(3 * share - shift).clamp(0.0, 1.0) for shift in (0.0, 1.0, 2.0)], -1)
    colours = torch.where(hot.isnan()[..., None], torch.tensor([0.2, 0.4, 1.0]), colours)
    return (colours.nan_to_num(1.0) * 255).to(torch.uint8)


def smaller(x: Tensor, largest: bool) -> Tensor:
    """A plane of at most so many pixels: of losses the largest is kept, of labels one of them."""
    step = max(1, math.ceil(max(x.shape) / SIDE))
    if step == 1:
        return x
    return torch.nn.functional.max_pool2d(x[None, None], step, ceil_mode=True)[0, 0] if largest else x[::step, ::step]


def png(pixels: Tensor) -> str:
    """A picture as a data: address."""
    height, across, _ = pixels.shape
    lines = b"".join(b"\0" + row.contiguous().numpy().tobytes() for row in pixels)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", across, height, 8, 2, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(whole).decode()
