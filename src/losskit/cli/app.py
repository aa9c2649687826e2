"""The commands: list, info, explain, bench, tour, simulate-boxes; those of `tools.py` are added to them."""

import json
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import losskit
from losskit.cli import machine, stop, tools
from losskit.cli.explain import explain as explain_loss
from losskit.cli.explain import find

app = typer.Typer(
    help="The loss functions of deep learning, for PyTorch: explain, measure and try them.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Language(StrEnum):
    """The languages losses are explained in."""

    en = "en"
    zh = "zh"


def run(words: Sequence[str]) -> int:
    """Run a command line; errors of usage are one line."""
    try:
        code = app(list(words), standalone_mode=False, prog_name="losskit")
    except ModuleNotFoundError:
        raise
    except SystemExit as end:
        if end.code != 1:
            raise
        return 0  # `losskit explain focal | head`: the reader has seen enough, for which rich and click exit with 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        stop(f"{where}{error.strerror or error}")
    except Exception as error:
        if type(error).__name__ == "Abort":
            stop("stopped", 130)
        tell = getattr(error, "format_message", None)  # click's errors, wherever typer keeps its click
        if tell is None:
            raise
        stop(f"{tell()} See `losskit --help`.")
    return code if isinstance(code, int) else 0


@app.callback(invoke_without_command=True)
def start(context: typer.Context, show_version: Annotated[bool, typer.Option("--version", help="The version of losskit.")] = False) -> None:
    """The loss functions of deep learning, for PyTorch: explain, measure and try them."""
    if show_version:
        typer.echo(f"losskit {losskit.__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_losses(as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON array.")] = False) -> None:
    """Every loss: function, module, task, formula."""
    if as_json:
        facts = [
            {"name": x.name, "module": x.module, "task": x.task, "formula": x.formula, "summary": x.summary, "torch": x.torch} for x in losskit.LOSSES.values()
        ]
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=1))
        return
    console = Console()
    narrow = console.width < 110  # then the module stands under the function
    table = Table(title=f"losskit {losskit.__version__}: {len(losskit.LOSSES)} losses", title_justify="left", show_lines=True)
    table.add_column("function\nmodule" if narrow else "function", style="bold", no_wrap=True)
    if not narrow:
        table.add_column("module", no_wrap=True)
    table.add_column("task", max_width=14)
    table.add_column("formula", style="cyan")
    for loss in losskit.LOSSES.values():
        names = [f"{loss.name}\n{loss.module}"] if narrow else [loss.name, loss.module]
        table.add_row(*names, loss.task, Text(loss.formula))
    console.print(table)


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")] = False) -> None:
    """Versions, threads, and which engine would run here, and why."""
    facts = machine.facts()
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False, indent=1))
        return
    table = Table(title="losskit on this machine", title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for what, fact in facts.items():
        table.add_row(what, fact)
    Console().print(table)


def beginning(incomplete: str) -> list[tuple[str, str]]:
    """The losses whose names begin so, for a shell that completes."""
    return [(name, loss.summary) for name, loss in losskit.LOSSES.items() if name.startswith(incomplete)]


@app.command()
def explain(
    name: Annotated[str, typer.Argument(help="Function or module name, in any case: focal_loss, FocalLoss, focal.", autocompletion=beginning)],
    lang: Annotated[Language, typer.Option(help="Language of the text.")] = Language.en,
    plot: Annotated[Path | None, typer.Option(help="Save value and derivative as a .png, .svg or .pdf instead of drawing them here.")] = None,
) -> None:
    """Formula, use, edge cases and curve of a loss."""
    try:
        loss = find(name)
    except LookupError as error:
        stop(str(error.args[0]))
    if plot is not None:  # before the text, so that what is wrong with it does not stand below a page of text
        from losskit.curves import picture_format, save_picture

        try:
            picture_format(plot)
        except ValueError as error:
            stop(f"--plot: {error}")
        save_picture(loss, plot, lang.value)
    console = Console()
    explain_loss(loss, console, lang.value, draw=plot is None)
    if plot is not None:
        from losskit.curves import chinese_font

        console.print(f"\n{plot}", soft_wrap=True, highlight=False, markup=False)
        if lang is Language.zh and chinese_font() is None:
            console.print("（没有找到中文字体，图中的文字是英文；可安装 Noto Sans CJK）", soft_wrap=True, highlight=False)


@app.command()
def bench(
    sizes: Annotated[str | None, typer.Option(help="Numbers of elements, separated by commas.")] = None,
    output: Annotated[Path | None, typer.Option(help="The JSON file to write.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes, few repeats.")] = False,
) -> None:
    """Speed against PyTorch, torch.compile and torchvision."""
    from losskit.bench import main as measure

    try:
        numbers = None if sizes is None else [int(size) for size in sizes.split(",")]
    except ValueError:
        numbers = []
    if numbers is not None and min(numbers, default=0) < 1:
        stop(f"--sizes takes whole numbers above 0, separated by commas, got {sizes!r}: try --sizes 4096,65536")
    raise typer.Exit(measure(sizes=numbers, output=output, quick=quick))


@app.command()
def tour(
    output: Annotated[Path, typer.Option(help="Folder for index.html.")] = Path("report"),
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the report in a browser.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed, other splits and initial weights.", min=0)] = 0,
    lang: Annotated[Language, typer.Option(help="Language of the verdicts printed here; the report has both.")] = Language.en,
    quick: Annotated[bool, typer.Option("--quick", help="A quick look: few models, few steps; the numbers mean little.")] = False,
) -> None:
    """Train small models on real data with every loss and write a report."""
    from losskit.cli.tour import conduct

    began = time.perf_counter()
    page = conduct(output, seed, quick, lang.value)
    console = Console()
    console.print(f"\nThe report: [bold]{page}[/bold]  ({time.perf_counter() - began:.0f} s)", soft_wrap=True, highlight=False)
    if show:
        import webbrowser

        if not webbrowser.open(page.resolve().as_uri()):
            print("losskit: no browser to open it with", file=sys.stderr)


@app.command("simulate-boxes")
def simulate_boxes(
    points: Annotated[int, typer.Option(help="How many places boxes start from, with 343 regressions each; the paper uses 5,000.", min=1)] = 5000,
    output: Annotated[Path, typer.Option(help="Folder for boxes.html.")] = Path("report"),
    seed: Annotated[int, typer.Option(help="Another seed, other places.", min=0)] = 0,
    lang: Annotated[Language, typer.Option(help="Language of what is printed here; the page has both.")] = Language.en,
    newer: Annotated[bool, typer.Option("--newer", help="Also the box losses that are newer than the paper.")] = False,
) -> None:
    """Zheng et al.'s simulation (DIoU, 2020): boxes optimised towards their targets, and a check of the paper's claims."""
    from losskit.cli.tour import simulate

    began = time.perf_counter()
    page = simulate(output, points, seed, newer, lang.value)
    Console().print(f"\nThe page: [bold]{page}[/bold]  ({time.perf_counter() - began:.0f} s)", soft_wrap=True, highlight=False)


tools.add(app)
