"""The benchmark: ours, torch's own, `torch.compile` of it, torchvision's focal and the floor, side by side in one run.

What is measured: forward and backward of "mean". Sides take turns (A B C A B C ...), each time is a median, and only ratios within one run are reported:
machines are shared and noisy. Every side runs with OpenMP's workers asleep between loops (`OMP_WAIT_POLICY=PASSIVE`): spinning workers of a busy machine
cost milliseconds per step. `torch.compile` is warmed up first, with dynamic shapes, one compilation per loss and dtype.

The floor is `torch.add(x, t)` into a fresh tensor: it reads and writes the bytes that any of these losses must.
"""

import os
import subprocess
import sys
from pathlib import Path

SIZES = (64, 4_096, 65_536, 1 << 20, 1 << 23, 1 << 26)


def main(sizes: list[int] | None = None, output: Path | None = None, quick: bool = False, losses: list[str] | None = None, memory: str = "reused") -> int:
    """Run the benchmark in a process of its own; `output` is the JSON file, beside which a table in markdown is written. Returns the exit code."""
    command = [sys.executable, "-m", "losskit.bench.run", "--memory", memory]
    if sizes:
        command += ["--sizes", *map(str, sizes)]
    if output:
        command += ["--output", str(output)]
    if losses:
        command += ["--losses", *losses]
    if quick:
        command += ["--quick"]
    return subprocess.run(command, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}, check=False).returncode
