"""The commands that people use beside a training: doctor, cache, eval, audit, compare. What they do stands in files of their own, imported when asked for."""

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from losskit.cli import stop

Json = Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")]


class AlsoFlags(TyperGroup):
    """Commands that may be written as flags: `losskit cache --info` is `losskit cache info`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The first argument without its dashes, if it is a command then."""
        if args and args[0].startswith("--") and args[0][2:] in self.commands:
            args = [args[0][2:], *args[1:]]
        return super().parse_args(ctx, args)


cache = typer.Typer(
    cls=AlsoFlags, help="Compiled kernels on disk: what there is, removed, made ahead. Example: losskit cache warm --loss focal,dice", rich_markup_mode=None
)


def add(app: typer.Typer) -> None:
    """Add the commands to those of the application."""
    app.command()(doctor)
    app.command("eval")(evaluate)
    app.command()(audit)
    app.command()(compare)
    app.add_typer(cache, name="cache")


def doctor(as_json: Json = False) -> None:
    """What would be slow on this machine and why, with the line that mends it. Example: losskit doctor"""
    from losskit.cli import doctor as examination
    from losskit.cli import machine

    found = examination.findings()
    if as_json:
        facts = {**machine.versions(), **machine.engines()}
        typer.echo(json.dumps({"facts": facts, "findings": [finding._asdict() for finding in found]}, ensure_ascii=False, indent=1))
    else:
        examination.show(found, Console())


@cache.callback(invoke_without_command=True)
def start(context: typer.Context) -> None:
    """Compiled kernels on disk: what there is, removed, made ahead. Example: losskit cache warm --loss focal,dice"""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@cache.command()
def info(as_json: Json = False) -> None:
    """Where compiled kernels lie, whether they are trusted, how many there are. Example: losskit cache info --json"""
    from losskit.cli import kept

    found = kept.info()
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    Console().print(found["state"], soft_wrap=True, highlight=False, markup=False)
    if found["left over"]:
        Console().print(f"{found['left over']} files of processes that were killed", highlight=False)
    if found["fix"]:
        Console().print(f"  {found['fix']}", soft_wrap=True, highlight=False, markup=False)


@cache.command()
def clear() -> None:
    """Remove compiled kernels, and nothing that is not losskit's; they are compiled again when needed. Example: losskit cache clear"""
    from losskit.cli import kept

    Console().print(kept.clear(), soft_wrap=True, highlight=False, markup=False)


@cache.command()
def warm(
    loss: Annotated[str | None, typer.Option(help="Losses, separated by commas; all by default.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16, float16, separated by commas.")] = "float32",
) -> None:
    """Compile kernels for CPUs ahead, for an image or a container. Example: losskit cache warm --loss focal,dice --dtype float32,bfloat16"""
    from losskit.cli import warm as ahead

    dtypes = [name.strip() for name in dtype.split(",")]
    if unknown := [name for name in dtypes if name not in ahead.DTYPES]:
        stop(f"--dtype takes {', '.join(ahead.DTYPES)}, separated by commas, got {unknown[0]!r}")
    ahead.warm(ahead.chosen(loss), dtypes, Console())


class Language(StrEnum):
    """The languages that headings are written in."""

    en = "en"
    zh = "zh"


Pred = Annotated[
    str,
    typer.Option(help="The prediction: .npy, .npz (file.npz:key), .safetensors (file.safetensors:key), .png, .tif, .nii, .nii.gz, or COCO's .json of boxes."),
]
Target = Annotated[str | None, typer.Option(help="The target, likewise.")]
Mask = Annotated[str | None, typer.Option(help="Which items count, likewise: 0 leaves an item out.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="A setting, name=value, or loss.name=value; may be given several times.")]
TaskOption = Annotated[str | None, typer.Option(help="binary, multilabel or multiclass, for losses that have tasks.")]
Ignore = Annotated[int | None, typer.Option(help="The target of items that do not count.")]


def shared(task: str | None, ignore_index: int | None) -> dict[str, Any]:
    """Settings that have options of their own."""
    return {name: value for name, value in (("task", task), ("ignore_index", ignore_index)) if value is not None}


def evaluate(
    pred: Pred,
    loss: Annotated[str, typer.Option(help="Losses, separated by commas, by any of their names.")],
    target: Target = None,
    mask: Mask = None,
    task: TaskOption = None,
    ignore_index: Ignore = None,
    settings: Settings = None,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(help="Write a page: where the loss sits in pictures, and what is worst.")] = None,
    lang: Annotated[Language, typer.Option(help="Language of headings.")] = Language.en,
) -> None:
    """Losses of saved predictions: values, gradients, what was left out, classes, the worst. Nothing is unpickled, nothing leaves this machine.

    Example: losskit eval --pred p.npy --target t.png --loss dice,focal --task binary --html out.html
    """
    from losskit.cli import evaluate as evaluation
    from losskit.cli import outputs, report
    from losskit.cli.batch import load

    losses = evaluation.losses_of(loss)
    given = evaluation.settings_of(losses, settings or [], shared(task, ignore_index))
    if html is not None:
        outputs.check(html, "--html")
    batch = load(pred, target, mask)
    outcomes = [evaluation.evaluate(batch, each, own) for (_, each), own in zip(losses, given, strict=True)]
    if html is not None:
        outputs.write(html, report.html(outcomes, pred, target, lang.value))
    if as_json:
        typer.echo(strict_json({"pred": pred, "target": target, "losses": [outcome.plain() for outcome in outcomes]}))
        return
    console = Console()
    report.show(outcomes, console, lang.value)
    if html is not None:
        console.print(str(html), soft_wrap=True, highlight=False, markup=False)


def strict_json(found: Any) -> str:
    """JSON as every program reads it: what is no finite number is text."""

    def plain(x: Any) -> Any:
        if isinstance(x, float) and not math.isfinite(x):
            return str(x)
        if isinstance(x, dict):
            return {key: plain(value) for key, value in x.items()}
        return [plain(value) for value in x] if isinstance(x, (list, tuple)) else x

    return json.dumps(plain(found), ensure_ascii=False, indent=1, allow_nan=False)


def audit(
    loss: Annotated[str, typer.Argument(help="Your loss: module:function, file.py:function, or a class that takes no arguments.")],
    like: Annotated[str, typer.Option(help="The loss that it should equal, by any of its names.")],
    task: TaskOption = None,
    settings: Settings = None,
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16, of inputs.")] = "float32",
    laws: Annotated[str | None, typer.Option(help="Laws, separated by commas; all by default.")] = None,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option(help="Write the findings as a page.")] = None,
) -> None:
    """Hold a loss of your own up to the laws of one of losskit's; exit status 1 where one fails. Example: losskit audit my_code:focal --like focal --set gamma=2"""
    from losskit.cli import outputs
    from losskit.cli.callables import located
    from losskit.cli.evaluate import losses_of, settings_of
    from losskit.cli.warm import DTYPES

    try:
        from losskit.cli import examine
    except ModuleNotFoundError as error:
        if error.name != "mpmath":
            raise
        stop("losskit audit needs mpmath: pip install 'losskit[testing]'")
    if dtype not in DTYPES:
        stop(f"--dtype takes {', '.join(DTYPES)}, got {dtype!r}")
    if html is not None:
        outputs.check(html, "--html")
    known = losses_of(like, "--like")
    if len(known) != 1:
        stop(f"--like takes one loss, got {like!r}")
    (given,) = settings_of(known, settings or [], shared(task, None))
    subject = located(loss)
    result = examine.examined(subject, known[0][1], given, DTYPES[dtype], None if laws is None else [law.strip() for law in laws.split(",")])
    if html is not None:
        outputs.write(html, examine.html(subject.name, result))
    if as_json:
        findings = [finding._asdict() for finding in result.findings]
        typer.echo(strict_json({"loss": subject.name, "like": result.like, "verdict": examine.verdict(result), "findings": findings}))
    else:
        examine.show(subject.name, result, Console())
    raise typer.Exit(1 if result.failures else 0)


def compare(
    a: Annotated[str, typer.Argument(help="A loss: a name of losskit's, module:function, or file.py:function.")],
    b: Annotated[str, typer.Argument(help="Another.")],
    pred: Pred,
    target: Target = None,
    mask: Mask = None,
    task: TaskOption = None,
    ignore_index: Ignore = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="A setting of both that have it, name=value; of one, a.name=value.")] = None,
    as_json: Json = False,
) -> None:
    """Two losses on your tensors: values, gradients, and where they part. Example: losskit compare dice my_code:dice --pred p.npy --target t.npy --task binary"""
    from losskit.cli import compare as comparison
    from losskit.cli.batch import load
    from losskit.cli.callables import located

    subjects = [located(text) for text in (a, b)]
    given = comparison.settings_of(subjects, settings or [], shared(task, ignore_index))
    found = comparison.compare(load(pred, target, mask), subjects, given)
    if as_json:
        typer.echo(strict_json(found.plain()))
    else:
        comparison.show(found, Console())
