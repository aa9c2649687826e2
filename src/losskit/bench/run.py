"""Runs the benchmark, prints ratios, writes JSON and markdown. `python -m losskit.bench.run --help`."""

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from losskit import LOSSES
from losskit.bench import SIZES
from losskit.bench.report import markdown
from losskit.bench.sides import Side, sides
from losskit.contract.registry import Loss
from losskit.testing.inputs import within

console = Console()


def settle_memory(regime: str, largest: int) -> None:
    """Fix what the C allocator does with large tensors, which otherwise depends on what ran before and moves every figure by a factor of 3.

    "reused": the heap is grown once and kept, so tensors land in memory that is already there; "fresh": every tensor of 4 MB and more is new pages.
    """
    if sys.platform != "linux":
        return
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, mmap_threshold, mmap_max = -1, -3, -4
    if regime == "fresh":
        mallopt(mmap_threshold, 4 << 20)
        return
    mallopt(trim_threshold, (1 << 31) - 1)
    mallopt(mmap_max, 0)  # the heap takes every size; by a threshold it would take 32 MB at most
    block = 4 << 20  # numbers
    blocks = [torch.zeros(block) for _ in range(1 + 20 * largest // block)]
    del blocks


def inputs(loss: Loss, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Input (a leaf that requires a gradient) and target; for classification 5 % positives."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size, generator=generator).mul_(2.0)
    if loss.input == "probability":
        x = x.sigmoid_()
    t = torch.rand(size, generator=generator).lt_(0.05) if loss.target == "unit" else torch.randn(size, generator=generator)
    x, t = within(loss, x.to(dtype), t.to(dtype))
    return x.requires_grad_(), t


def timed(step: Callable[[], object]) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def medians(steps: dict[str, Callable[[], object]], clear: Callable[[], None], budget: float) -> dict[str, float]:
    """Median seconds of each step, taken in turns for about `budget` seconds."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    started = time.perf_counter()
    for _ in range(2):
        for step in steps.values():
            clear()
            step()
    round_time = (time.perf_counter() - started) / 2
    least = 7 if round_time < 10.0 else 3  # rounds; of many seconds each, a disturbance lasts a small part
    for _ in range(max(least, min(2000, int(budget / max(round_time, 1e-6))))):
        for name, step in steps.items():
            clear()
            times[name].append(timed(step))
    return {name: statistics.median(values) for name, values in times.items()}


def measure(loss: Loss, candidates: dict[str, Side], size: int, dtype: torch.dtype, budget: float) -> dict[str, float]:
    """Median seconds of forward and backward for every side, and of the floor."""
    x, t = inputs(loss, size, dtype)
    plain = x.detach()

    def clear() -> None:
        x.grad = None

    def step(side: Side) -> Callable[[], object]:
        return lambda: side(x, t).backward()

    steps: dict[str, Callable[[], object]] = {name: step(side) for name, side in candidates.items()}
    steps["floor"] = lambda: torch.add(plain, t)
    return medians(steps, clear, budget)


def extra_memory(loss: Loss, candidates: dict[str, Side], size: int) -> dict[str, float] | None:
    """Bytes at the peak of one step beyond inputs and gradient, by the kernel's own high-water mark; Linux only."""
    reset = Path("/proc/self/clear_refs")
    if not os.access(reset, os.W_OK):
        return None
    x, t = inputs(loss, size, torch.float32)
    result = {}
    for name, side in candidates.items():
        side(x, t).backward()  # loads and compiles whatever is needed
        x.grad = None
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        reset.write_text("5")
        before = status("VmRSS")
        side(x, t).backward()
        result[name] = float(status("VmHWM") - before - x.nbytes)
    return result


def in_another_process(names: list[str]) -> dict[str, Any]:
    """`extra_memory` of some losses where no heap is kept, for what is kept cannot be seen to grow."""
    code = (
        "import json, sys; from losskit import LOSSES; from losskit.bench.run import extra_memory, settle_memory; from losskit.bench.sides import sides; "
        "settle_memory('fresh', 0); "
        "print(json.dumps({n: extra_memory(LOSSES[n], sides(LOSSES[n], compiled=True), 1 << 23) for n in sys.argv[1:]}))"
    )
    printed = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True)
    return json.loads(printed.stdout)  # type: ignore[no-any-return]


def status(field: str) -> int:
    """A figure of this process, in bytes."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(field + ":"))
    return int(line.split()[1]) * 1024


FIRST_CALL = """
import time, torch
x = torch.randn(1000, requires_grad=True); t = torch.rand(1000).round()
start = time.perf_counter()
import losskit; losskit.{name}(x, t).backward()
print(time.perf_counter() - start)
"""


def first_calls(names: list[str]) -> dict[str, dict[str, float]]:
    """Seconds from `import losskit` (after torch) to the first gradient: with an empty store of compiled loops, Numba's own import included; and later."""
    result = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"LOSSKIT_CACHE_DIR": folder}
            command = [sys.executable, "-c", FIRST_CALL.format(name=name)]
            runs = [float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout) for _ in range(6)]
        result[name] = {"cold": runs[0], "second process": statistics.median(runs[1:])}
    return result


def machine() -> dict[str, Any]:
    """What it ran on."""
    cpu = next((row.split(":")[1].strip() for row in Path("/proc/cpuinfo").read_text().splitlines() if row.startswith("model name")), platform.processor())
    return {
        "cpu": cpu, "threads": torch.get_num_threads(), "system": platform.platform(terse=True), "python": platform.python_version(), "torch": torch.__version__,
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"), "command": "OMP_WAIT_POLICY=PASSIVE python -m losskit.bench.run " + " ".join(sys.argv[1:]),
    }  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="losskit bench", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--losses", nargs="+", default=list(LOSSES.of("elementwise")), choices=list(LOSSES.of("elementwise")), metavar="LOSS")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest.json"))
    parser.add_argument("--memory", choices=("reused", "fresh"), default="reused", help=settle_memory.__doc__)
    parser.add_argument("--quick", action="store_true", help="no torch.compile, a tenth of the repeats")
    options = parser.parse_args()
    settle_memory(options.memory, max(options.sizes))
    rows: list[dict[str, Any]] = []
    memory: dict[str, Any] = {}
    cases = [(name, dtype) for name in options.losses for dtype in (torch.float32, torch.bfloat16)]
    for name, dtype in track(cases, "measuring", console=console):
        loss = LOSSES[name]
        candidates = sides(loss, compiled=not options.quick)
        for size in options.sizes:
            seconds = measure(loss, candidates, size, dtype, budget=(0.2 if options.quick else 0.7))
            rows.append({"loss": name, "dtype": str(dtype)[6:], "size": size, "seconds": seconds})
    if not options.quick:
        memory = in_another_process(options.losses)
    results = {"machine": machine(), "memory": options.memory, "rows": rows, "extra memory": memory}
    if not options.quick:
        results["first calls"] = first_calls([name for name in ("smooth_l1_loss", "focal_loss") if name in options.losses])
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    text = markdown(results)
    options.output.with_suffix(".md").write_text(text)
    console.print(text, markup=False, soft_wrap=True)
    console.print(f"written: {options.output} and {options.output.with_suffix('.md')}")


if __name__ == "__main__":
    main()
