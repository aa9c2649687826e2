"""What `losskit explain` says about a loss: its docstring by sections, or the Chinese text, and its curve."""

import inspect
import json
import re
from functools import cache
from pathlib import Path

from rich import box
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from losskit.cli.braille import plot
from losskit.contract import arguments
from losskit.contract.names import ABBREVIATIONS, near, short
from losskit.contract.registry import LOSSES, Loss
from losskit.curves import PARTS, domain, sample

CHINESE_TASKS = {
    "regression": "回归",
    "binary classification": "二分类",
    "classification": "多分类",
    "segmentation": "分割",
    "detection": "检测",
    "embedding": "度量学习",
}
SHOWN = ("When to use", "Edge cases", "Differs from", "Reference")
OTHERS = {"the paper": "论文", "the paper's code": "论文代码", "the authors' code": "作者代码"}  # whom a loss differs from, where that is no name


def find(name: str) -> Loss:
    """The loss of this function or module name, in any case, with or without `_loss`, or abbreviated; `LookupError` with close matches otherwise."""
    wanted = name.casefold().removeprefix("losskit.")
    names = {n.casefold(): loss for loss in LOSSES.values() for n in (loss.name, loss.module)}
    brief = {short(n): loss for n, loss in names.items()}
    if found := names.get(wanted) or brief.get(short(wanted)) or LOSSES.get(ABBREVIATIONS.get(short(wanted), "")):
        return found
    matches = list(dict.fromkeys(names[n.casefold()].name for n in near(name, names)))
    hint = f"; did you mean {' or '.join(matches)}?" if matches else "; see `losskit list`"
    raise LookupError(f"no loss is called {name!r}{hint}")


def sections(loss: Loss) -> dict[str, str]:
    """The docstring's sections by heading; "Summary" is what stands before the first."""
    return arguments.sections(loss.function.__doc__ or "")


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
            ("   module: " if not zh else "   模块：", "dim"),
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
                heading = "出处" if kind == "Reference" else f"与{OTHERS.get(other := heading.removeprefix('Differs from '), f' {other} ')}的不同"
            block(console, heading, body(text, zh))
    block(console, "参数" if zh else "Arguments", described(loss, english.get("Args", ""), zh))
    if "Example" in english:
        block(console, "示例" if zh else "Example", Text(english["Example"], style="green"))
    if draw:
        block(console, "曲线" if zh else "Curve", curves(loss, console.width - 2, language))


def block(console: Console, title: str, body: RenderableType) -> None:
    """A heading and what belongs to it."""
    console.print()
    console.print(Text(title, style="bold"))
    console.print(Padding(body, (0, 0, 0, 2)), highlight=False)


@cache
def translations() -> dict[str, str]:
    """What docstrings say of arguments and differences, in Chinese: written by the site's build from its translations."""
    found: dict[str, str] = json.loads(Path(__file__).with_name("chinese.json").read_text(encoding="utf-8"))
    return found


def chinese(text: str) -> str:
    """A paragraph, or a cell, in Chinese; what is the same in both languages stays."""
    return translations().get(" ".join(text.split()), text)


def body(text: str, zh: bool = False) -> RenderableType:
    """Paragraphs, and tables as tables."""
    parts: list[RenderableType] = []
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text)):
        if number:
            parts.append(Text())
        if not paragraph.startswith("|"):
            parts.append(Text(chinese(paragraph) if zh else rejoin(paragraph)))
            continue
        head, _, *rows = ([cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in paragraph.splitlines())
        head, rows = ([chinese(cell) for cell in head], [[chinese(cell) for cell in row] for row in rows]) if zh else (head, rows)
        table = Table(*head, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*map(Text, row))
        parts.append(table)
    return Group(*parts)


def described(loss: Loss, text: str, zh: bool = False) -> RenderableType:
    """Every argument with its default, and what it means."""
    parameters = inspect.signature(loss.function).parameters
    made: list[RenderableType] = []
    for names, meaning in arguments.ENTRY.findall("\n".join("    " + line for line in text.splitlines())):
        shown = [n if n not in parameters or parameters[n].default is inspect.Parameter.empty else f"{n}={parameters[n].default!r}" for n in names.split(", ")]
        said = re.sub(r"\n +", "\n", meaning) if zh else inspect.cleandoc(meaning)
        told = "\n".join(map(chinese, re.split(r"\n\s*\n", said))) if zh else rejoin(said)
        made += [Text(", ".join(shown), style="cyan"), Padding(Text(told), (0, 0, 0, 2))]
    return Group(*made)


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
