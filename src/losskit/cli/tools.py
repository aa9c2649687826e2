"""The commands that people use beside a training: doctor, cache, eval, audit, compare. What they do stands in files of their own, imported when asked for."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

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
