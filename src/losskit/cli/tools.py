"""The commands that people use beside a training: doctor, cache, eval, audit, compare. What they do stands in files of their own, imported when asked for."""

import json
from typing import Annotated

import typer
from rich.console import Console

from losskit.cli import stop

Json = Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")]
cache = typer.Typer(help="Compiled kernels on disk: what there is, removed, made ahead. Example: losskit cache warm --loss focal,dice", rich_markup_mode=None)


def add(app: typer.Typer) -> None:
    """Add the commands to those of the application."""
    app.command()(doctor)
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
