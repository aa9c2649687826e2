"""The benchmark of losses on rows: ours, torch's own, `torch.compile` of it and the floor, side by side in one run. `python -m losskit.bench.rows --help`.

As in `losskit.bench`: forward and backward of "mean", sides in turns, medians, ratios only. The logits are no leaf, as behind a layer. The floor is
`torch.add(x, 1.0)`: it reads the logits once and writes as many bytes.
"""

import argparse
import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor

import losskit
from losskit.bench.report import MEMORY
from losskit.bench.run import machine, medians, settle_memory, status

console = Console()
Side = Callable[[Tensor, Tensor], Tensor]


class Case(NamedTuple):
    """Logits of a shape (classes along axis 1), and what is to be reached: at most this share of another side's time."""

    name: str
    shape: tuple[int, ...]
    labels: torch.dtype
    targets: dict[str, float]
    loss: str = "cross_entropy"


CASES = (
    Case("262,144 x 10", (262_144, 10), torch.int64, {"torch": 1 / 12, "torch.compile": 1 / 4}),
    Case("65,536 x 100", (65_536, 100), torch.int64, {"torch": 1 / 1.6, "torch.compile": 1 / 1.6}),
    Case("8,192 x 4,096", (8_192, 4_096), torch.int64, {"torch": 1 / 2.5, "torch.compile": 1 / 1.8}),
    Case("1,024 x 131,072", (1_024, 131_072), torch.int64, {"torch": 1 / 2.5, "torch.compile": 1 / 1.5}),
    Case("1,024 x 131,072, inplace=True", (1_024, 131_072), torch.int64, {"torch": 1 / 4}, "inplace"),
    Case("(2, 14, 96, 96, 96), uint8 labels", (2, 14, 96, 96, 96), torch.uint8, {"torch": 1 / 3.5, "torch.compile": 1 / 2}),
    Case("softmax focal, 65,536 x 100", (65_536, 100), torch.int64, {"torch": 1 / 3, "torch.compile": 1 / 2.5}, "focal"),
    Case("32 x 10", (32, 10), torch.int64, {"torch": 1.25}),
)


def focal_composite(x: Tensor, t: Tensor) -> Tensor:
    """The softmax focal loss as it is commonly written."""
    log_p = F.log_softmax(x, 1).gather(1, t[:, None])[:, 0]
    return (-((1 - log_p.exp()) ** 2) * log_p).mean()


def torch_cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    """torch's own; it takes labels of int64 only."""
    return F.cross_entropy(x, t)


OURS: dict[str, Side] = {
    "cross_entropy": lambda x, t: losskit.cross_entropy(x, t),
    "inplace": lambda x, t: losskit.cross_entropy(x, t, inplace=True),
    "focal": lambda x, t: losskit.focal_loss(x, t, task="multiclass", gamma=2.0),
}


def inputs(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Logits, a leaf, and labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.shape, generator=generator).mul_(2.0).to(dtype).requires_grad_()
    return x, torch.randint(0, min(case.shape[1], 256), (case.shape[0], *case.shape[2:]), generator=generator).to(case.labels)


def steps(case: Case, x: Tensor, t: Tensor, compiled: bool) -> dict[str, Callable[[], object]]:
    """One forward and backward of every side."""
    theirs = focal_composite if case.loss == "focal" else torch_cross_entropy
    wide = t.long()

    def step(side: Side, labels: Tensor) -> Callable[[], object]:
        def run() -> object:
            return torch.autograd.grad(side(x.view_as(x), labels), x)

        return run

    found = {"losskit": step(OURS[case.loss], t), "torch": step(theirs, wide)}
    if compiled and case.loss != "inplace":
        torch._dynamo.reset()
        found["torch.compile"] = step(torch.compile(theirs, fullgraph=True), wide)
    plain = x.detach()
    return found | {"floor": lambda: torch.add(plain, 1.0)}


def extra_memory(case: Case) -> dict[str, float]:
    """Bytes at the peak of one step beyond logits and labels, in units of the logits, by the kernel's own high-water mark; Linux only."""
    x, t = inputs(case, torch.float32)
    result = {}
    for name, step in steps(case, x, t, compiled=False).items():
        step()
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        step()
        result[name] = (status("VmHWM") - before) / x.nbytes
    return result


def memory_apart(index: int) -> dict[str, float]:
    """`extra_memory` in a process of its own."""
    code = f"import json; from losskit.bench.rows import CASES, extra_memory; print(json.dumps(extra_memory(CASES[{index}])))"
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)  # type: ignore[no-any-return]


def markdown(results: dict[str, Any]) -> str:
    """The page's part on rows."""
    about = results["machine"]
    lines = [
        "# Benchmark: rows",
        "",
        f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, torch {about['torch']}, {about['system']}.",
        f"Command: `{about['command']}`.",
        'Forward and backward of "mean"; medians of interleaved repeats; every figure is a ratio within this run. `floor` is `torch.add(x, 1.0)`.',
        f"Memory: {MEMORY[results['memory']]}",
        "",
        "| logits | dtype | losskit / floor | torch / losskit | torch.compile / losskit | wanted |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        s, wanted = row["seconds"], row["targets"]
        cells = [f"{s['losskit'] / s['floor']:.2f}"]
        for side in ("torch", "torch.compile"):
            met = side not in wanted or side not in s or s["losskit"] <= wanted[side] * s[side]
            cells.append("" if side not in s else f"{s[side] / s['losskit']:.2f}" if met else f"**{s[side] / s['losskit']:.2f}**")
        goal = ", ".join(f"{1 / limit:.3g}x {side}" for side, limit in wanted.items())
        lines.append(f"| {row['case']} | {row['dtype']} | {' | '.join(cells)} | {goal} |")
    halves = {r["case"]: r["seconds"]["losskit"] for r in results["rows"] if r["dtype"] == "bfloat16"}
    lines += ["", "Bold: missed. bfloat16 in multiples of float32's time (wanted: at most 1):", ""]
    lines += [f"- {r['case']}: {halves[r['case']] / r['seconds']['losskit']:.2f}" for r in results["rows"] if r["dtype"] == "float32" and r["case"] in halves]
    lines += ["", "Peak memory of one step beyond logits and labels, in multiples of the logits' own:", ""]
    for name, extra in results["extra memory"].items():
        lines.append(f"- {name}: " + ", ".join(f"{side} {value:.2f}" for side, value in extra.items() if side != "floor"))
    return "\n".join([*lines, ""])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m losskit.bench.rows", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-rows.json"))
    parser.add_argument("--quick", action="store_true", help="no torch.compile, fewer repeats, no half precision")
    options = parser.parse_args()
    settle_memory("reused", 1 << 26)
    rows = []
    for case in CASES:
        for dtype in (torch.float32,) if options.quick or case.loss == "inplace" else (torch.float32, torch.bfloat16):
            x, t = inputs(case, dtype)
            seconds = medians(steps(case, x, t, compiled=not options.quick), lambda: None, 0.5 if options.quick else 3.0)
            rows.append({"case": case.name, "dtype": str(dtype)[6:], "seconds": seconds, "targets": case.targets if dtype is torch.float32 else {}})
            console.print(case.name, dtype, {k: f"{v * 1e3:.2f} ms" for k, v in seconds.items()}, soft_wrap=True)
    memory = {} if options.quick else {CASES[i].name: memory_apart(i) for i in (3, 4, 5)}
    about = machine() | {"command": "OMP_WAIT_POLICY=PASSIVE python -m losskit.bench.rows " + " ".join(sys.argv[1:])}
    results = {"machine": about, "memory": "reused", "rows": rows, "extra memory": memory}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    text = markdown(results)
    options.output.with_suffix(".md").write_text(text)
    console.print(text, markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
