"""What the benchmarks of whole cases (`rows`, `overlap`) share: the command's options, timing, memory, the table."""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from losskit.bench.run import machine, medians, status

console = Console()
LEAF = "losskit on a leaf"
Steps = Mapping[str, Callable[[], object]]


def options(name: str, description: str | None, losses: Sequence[str] = ()) -> argparse.Namespace:
    """The command line; `losses` are kinds of which one may be asked for alone."""
    parser = argparse.ArgumentParser(prog=f"python -m losskit.bench.{name}", description=description)
    parser.add_argument("--output", type=Path, default=Path(f"benchmarks/results/latest-{name}.json"))
    parser.add_argument("--memory", choices=("reused", "fresh"), default="reused", help="what the allocator does with large tensors")
    parser.add_argument("--quick", action="store_true", help="no torch.compile, fewer repeats, float32 only")
    if losses:
        parser.add_argument("--losses", choices=losses, help="these alone")
    return parser.parse_args()


def measured(name: str, dtype: torch.dtype, steps: Steps, targets: Mapping[str, float], quick: bool, at_a_time: int = 1) -> dict[str, Any]:
    """The medians of a case, of so many calls of each side at a time; targets (at most this share of another side's time) are for float32."""
    seconds = medians({side: repeated(step, at_a_time) for side, step in steps.items()}, lambda: None, 0.5 if quick else 3.0)
    console.print(name, dtype, {k: f"{v * 1e3:.2f} ms" for k, v in seconds.items()}, soft_wrap=True)
    return {"case": name, "dtype": str(dtype)[6:], "seconds": seconds, "targets": dict(targets) if dtype is torch.float32 else {}}


def repeated(step: Callable[[], object], times: int) -> Callable[[], object]:
    """The step, so many times. Of a small call taken in turns with others, all code has left the caches each time; of many in a row, none."""

    def steps() -> None:
        for _ in range(times):
            step()

    return step if times == 1 else steps


def training(value: Callable[[], Tensor], *leaves: Tensor) -> Callable[[], object]:
    """A step as users train: no gradient yet, forward, `.backward()`."""

    def step() -> None:
        for leaf in leaves:
            leaf.grad = None
        value().backward()

    return step


def extra_memory(steps: Steps, unit: int, *leaves: Tensor) -> dict[str, float]:
    """Bytes at the peak of one step beyond what it is given, in a unit, by the kernel's own high-water mark; Linux only."""
    result = {}
    for name, step in steps.items():
        step()
        for leaf in leaves:
            leaf.grad = None
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        step()
        result[name] = (status("VmHWM") - before) / unit
    return result


def memory_apart(name: str, index: int) -> dict[str, float]:
    """`extra_memory(index)` of a benchmark, in a process of its own."""
    code = f"import json; from losskit.bench import {name}; print(json.dumps({name}.extra_memory({index})))"
    found = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True).stdout
    return json.loads(found.splitlines()[-1])  # type: ignore[no-any-return]


def table(rows: Sequence[Mapping[str, Any]], what: str, sides: Sequence[str]) -> list[str]:
    """Ours in multiples of the floor, the others in multiples of ours; bold where a target is missed."""
    lines = [
        f"| {what} | dtype | losskit / floor | {' | '.join(f'{side} / losskit' for side in sides)} | wanted |",
        "|---|---|---|" + "---|" * (len(sides) + 1),
    ]
    for row in rows:
        s, wanted = row["seconds"], row["targets"]
        floor = s["losskit"] / s["floor"]
        cells = [f"{floor:.2f}" if floor <= wanted.get("floor", floor) else f"**{floor:.2f}**"]
        for side in sides:
            met = side not in wanted or side not in s or s["losskit"] <= wanted[side] * s[side]
            cells.append("" if side not in s else f"{s[side] / s['losskit']:.2f}" if met else f"**{s[side] / s['losskit']:.2f}**")
        goal = ", ".join(f"at most {limit:.3g}x the floor" if side == "floor" else f"{1 / limit:.3g}x {side}" for side, limit in wanted.items())
        lines.append(f"| {row['case']} | {row['dtype']} | {' | '.join(cells)} | {goal} |")
    return lines


def memory_lines(memory: Mapping[str, Mapping[str, float]], unit: str) -> list[str]:
    """The part on memory."""
    lines = ["", f"Peak memory of one step beyond what it is given, in multiples of the {unit}' own:", ""]
    for name, extra in memory.items():
        lines.append(f"- {name}: " + ", ".join(f"{side} {value:.2f}" for side, value in extra.items() if side != "floor"))
    return lines


def leaf_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The part on leaves."""
    found = [r for r in rows if LEAF in r["seconds"]]
    return [
        "",
        f"{LEAF}, in multiples of the time behind a layer:",
        "",
        *(f"- {r['case']}, {r['dtype']}: {r['seconds'][LEAF] / r['seconds']['losskit']:.2f}" for r in found),
    ]


def publish(name: str, options: argparse.Namespace, markdown: Callable[[dict[str, Any]], str], found: Mapping[str, Any]) -> None:
    """Results as JSON and as a page."""
    output = options.output
    about = machine() | {"command": f"OMP_WAIT_POLICY=PASSIVE python -m losskit.bench.{name} " + " ".join(sys.argv[1:])}
    results = {"machine": about, "memory": options.memory, **found}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1) + "\n")
    text = markdown(results)
    output.with_suffix(".md").write_text(text)
    console.print(text, markup=False, soft_wrap=True)
