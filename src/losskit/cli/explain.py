"""What `losskit explain` says about a loss: its docstring by sections, or the Chinese text, and its curve."""

import difflib
import inspect
import re

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from losskit.cli.braille import plot
from losskit.contract.registry import LOSSES, Loss
from losskit.curves import PARTS, domain, sample

OTHER_NAMES = {
    "bce": "binary_cross_entropy_with_logits",
    "mae": "l1_loss",
    "pinball": "quantile_loss",
    "pseudo_huber": "charbonnier_loss",
    "cauchy": "barron_loss",
    "welsch": "barron_loss",
    "qfl": "quality_focal_loss",
    "vfl": "varifocal_loss",
    "dfl": "distribution_focal_loss",
}
CHINESE_TASKS = {"regression": "回归", "binary classification": "二分类", "classification": "多分类", "segmentation": "分割", "detection": "检测"}
SHOWN = ("When to use", "Edge cases", "Differs from", "Reference")
OTHERS = {"the paper": "论文", "the paper's code": "论文代码", "the authors' code": "作者代码"}  # whom a loss differs from, where that is no name


def find(name: str) -> Loss:
    """The loss of this function or module name, in any case, with or without `_loss`; `LookupError` with close matches otherwise."""
    wanted = name.casefold().removeprefix("losskit.")
    names = {n.casefold(): loss for loss in LOSSES.values() for n in (loss.name, loss.module)}
    short = {re.sub(r"_?loss$", "", n): loss for n, loss in names.items()}
    if found := names.get(wanted) or short.get(wanted) or LOSSES.get(OTHER_NAMES.get(wanted, "")):
        return found
    near = difflib.get_close_matches(wanted, [*names, *short], n=5, cutoff=0.5)
    matches = list(dict.fromkeys((names | short)[n].name for n in near))[:3]
    hint = f"; did you mean {' or '.join(matches)}?" if matches else "; see `losskit list`"
    raise LookupError(f"no loss is called {name!r}{hint}")


def sections(loss: Loss) -> dict[str, str]:
    """The docstring's sections by heading; "Summary" is what stands before the first."""
    found, heading = {"Summary": ""}, "Summary"
    for line in (inspect.getdoc(loss.function) or "").splitlines():
        if match := re.fullmatch(r"([A-Z][\w' ]*):", line):
            heading = match[1]
            found[heading] = ""
        else:
            found[heading] += line + "\n"
    return {heading: inspect.cleandoc(text).strip() for heading, text in found.items()}


def chinese_sections(loss: Loss) -> dict[str, str]:
    """The Chinese text by headings; "Summary" is what stands before the first."""
    found, heading = {"Summary": ""}, "Summary"
    for line in loss.chinese.splitlines():
        if match := re.match(r"(\S{2,6})：(?=\S)", line) if found["Summary"] else None:
            heading, line = match[1], line[match.end() :]
        found[heading] = (found.get(heading, "") + line + "\n").lstrip("\n")
    return {heading: text.strip() for heading, text in found.items()}


def explain(loss: Loss, console: Console, language: str = "en", *, draw: bool = True) -> None:
    """Print everything known about a loss, and `draw` its curve."""
    english = sections(loss)
    zh = language == "zh"
    about = chinese_sections(loss) if zh else english
    console.print()
    console.print(
        Text.assemble(
            (f"losskit.{loss.name}", "bold"),
            ("   module: " if not zh else "   模块: ", "dim"),
            loss.module,
            f"   {CHINESE_TASKS.get(loss.task, loss.task) if zh else loss.task}",
            style="default",
        )
    )
    console.print(about["Summary"], highlight=False, markup=False)
    block(console, "公式" if zh else "Formula", Text(loss.formula, style="cyan"))
    if zh:
        for heading, text in about.items():
            if heading != "Summary":
                block(console, heading, Text(text))
    else:
        block(console, "In full", Text(rejoin(english.get("Formula", ""))))
    for heading, text in english.items():
        kind = next((s for s in SHOWN if heading.startswith(s)), None)
        if kind and not (zh and kind in ("When to use", "Edge cases")):
            if zh:
                heading = "出处" if kind == "Reference" else f"与{OTHERS.get(other := heading.removeprefix('Differs from '), f' {other} ')}的不同(英文)"
            block(console, heading, Text(rejoin(text)))
    block(
        console,
        "参数(默认值)" if zh else "Arguments (defaults)",
        Text(", ".join(k if v is inspect.Parameter.empty else f"{k}={v!r}" for k, v in loss.settings.items())),
    )
    if draw:
        block(console, "曲线" if zh else "Curve", curves(loss, console.width - 2, language))


def block(console: Console, title: str, body: RenderableType) -> None:
    """A heading and what belongs to it."""
    console.print()
    console.print(Text(title, style="bold"))
    console.print(Padding(body, (0, 0, 0, 2)), highlight=False)


def rejoin(text: str) -> str:
    """A paragraph without its source's line breaks, so that the terminal wraps it."""
    return re.sub(r"(?<!\n)\n(?![\n\s])", " ", text)


def curves(loss: Loss, width: int, language: str = "en") -> RenderableType:
    """Value and derivative, side by side where the terminal is wide enough."""
    curve = sample(loss)
    axis = domain(loss, loss.arguments[0]).title(language)
    beside = width >= 84
    size = min(44, (width - 25) // 2) if beside else max(20, min(60, width - 10))
    pictures = []
    for part, heights, colour in (("value", curve.value, "green"), ("derivative", curve.slope, "magenta")):
        lines = plot(curve.x, heights, width=size, height=9)
        setting = f"({curve.label})" if curve.label else ""
        head = Text(f"{PARTS[part][language == 'zh']} {setting}", style="bold " + colour)
        below = Constrain(Text(axis, justify="center"), len(lines[0]))
        pictures.append(Group(head, Text("\n".join(lines), style=colour), below))
    if not beside:
        return Group(*pictures)
    grid = Table.grid(padding=(0, 3))
    grid.add_row(*pictures)
    return grid
