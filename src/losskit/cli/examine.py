"""The audit kit from the command line: which laws hold, a verdict, and counterexamples."""

from collections.abc import Sequence
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from rich.console import Console
from rich.table import Table
from rich.text import Text

from losskit.cli import stop
from losskit.cli.callables import Subject, told
from losskit.contract.registry import Loss
from losskit.testing import AuditResult, audit

MARKS = {"fails": "red", "holds": "green", "not offered": "dim"}  # failures first
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{ result.name }} as {{ result.like }}</title>
<style>
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; color-scheme: light dark; }
td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8886; vertical-align: top; overflow-wrap: anywhere; } td:first-child { white-space: nowrap; }
.fails { color: #c62828; } .holds { color: #2e7d32; }
</style></head><body>
<h1>{{ name }}, examined as {{ result.like }}</h1>
<p>{{ verdict }}</p>
<table>
{% for finding in findings %}
<tr><td class="{{ finding.verdict }}">{{ finding.verdict }}</td><td>{{ finding.says }}</td><td>{{ finding.detail }}</td></tr>
{% endfor %}
</table>
</body></html>
"""


def examined(subject: Subject, like: Loss, settings: dict[str, Any], dtype: torch.dtype, laws: Sequence[str] | None) -> AuditResult:
    """The result of an audit; what the kit refuses is one line."""
    missing = [name for name in like.required if name not in settings]
    if missing:
        example = next((each[missing[0]] for each in like.arguments if missing[0] in each), "binary" if missing[0] == "task" else "...")
        stop(f"{like.name} needs a setting: add --set {missing[0]}={example}")
    try:
        return audit(subject.function, like.name, dtype=dtype, laws=laws, show=False, **settings)
    except (TypeError, ValueError) as error:
        stop(f"audit: {told(error)}")


def verdict(result: AuditResult) -> str:
    """One sentence."""
    counts = {mark: sum(finding.verdict == mark for finding in result.findings) for mark in MARKS}
    offered = counts["holds"] + counts["fails"]
    absent = f", {counts['not offered']} are about what it does not offer" if counts["not offered"] else ""
    if not offered:
        return f"No law could be tried{absent}."
    if counts["fails"]:
        return f"{counts['fails']} of {offered} laws fail{absent}: it is not {result.like} as the textbook and the contract have it."
    return f"All {offered} laws hold{absent}."


def ordered(result: AuditResult) -> list[Any]:
    """Findings, failures first."""
    return sorted(result.findings, key=lambda finding: list(MARKS).index(finding.verdict))


def show(name: str, result: AuditResult, console: Console) -> None:
    """The table and the verdict."""
    table = Table(title=f"{name}, examined as {result.like}", title_justify="left", show_header=False, show_lines=True)
    for ratio in (None, 2, 3):
        table.add_column(overflow="fold", ratio=ratio, no_wrap=ratio is None)
    for finding in ordered(result):
        table.add_row(Text(finding.verdict, style=MARKS[finding.verdict]), Text(finding.says), Text(finding.detail))
    console.print(table)
    console.print(verdict(result), highlight=False, markup=False)


def html(name: str, result: AuditResult) -> str:
    """The same as a page that needs nothing else."""
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(PAGE)
    return template.render(name=name, result=result, verdict=verdict(result), findings=ordered(result))
