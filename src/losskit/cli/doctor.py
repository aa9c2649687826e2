"""What would be slow here, and why: each finding with the line that mends it."""

import math
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from losskit.cli import machine
from losskit.engines.cpu.core import files
from losskit.engines.cpu.core import memory as gradient

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
QUOTAS = Path("/sys/fs/cgroup/cpu.max")
ROOM = 50e6  # bytes: all loops of a training, with some to spare
FRESH = 64 << 20  # bytes whose pages are timed
STEPS = 12  # an allocator that keeps what is freed needs some until it has a place for everything
SLOW_PAGES = 4.0  # writing fresh memory takes this much longer than writing it again
SEVERAL = ("LOCAL_WORLD_SIZE", "SLURM_NTASKS_PER_NODE", "OMPI_COMM_WORLD_LOCAL_SIZE")  # how many processes share this machine, if a launcher says so

State = Literal["good", "note", "slow"]


class Finding(NamedTuple):
    """One thing looked at: what was found, and what to paste into a shell or a program where it is not good."""

    what: str
    state: State
    says: str
    fix: str = ""


def cores() -> int:
    """How many cores this process may use: those it is bound to, and no more than its container has time for."""
    found = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = QUOTAS.read_text().split()
        found = min(found, max(1, math.ceil(int(quota) / int(period))))  # "max" is no number: no quota
    return found


def processes(environment: Mapping[str, str]) -> int:
    """How many processes share the cores, as launchers tell it."""
    return max((int(value) for name in SEVERAL if (value := environment.get(name, "")).isdecimal()), default=1)


def threads(count: int, available: int, together: int) -> Iterator[Finding]:
    """More threads than cores wait for one another."""
    share = max(1, available // together)
    among = f" for each of {together} processes" if together > 1 else ""
    if count > share:
        fix = f"export OMP_NUM_THREADS={share}"
        yield Finding("threads", "slow", f"{count} threads on {share} core{'s' * (share > 1)}{among}: each loop waits for the last of its threads", fix)
    else:
        yield Finding("threads", "good", f"{count} on {available} core{'s' * (available > 1)}" + (f", {together} processes" if together > 1 else ""))


def waiting(count: int, available: int, together: int, load: float, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Workers that spin between loops take the cores of other processes."""
    if count == 1 or environment.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE":
        yield Finding("OpenMP's workers", "good", "one thread, so there are none" if count == 1 else "sleep between loops (OMP_WAIT_POLICY=PASSIVE)")
        return
    busy = load > available + 0.5
    why = f"{together} processes" if together > 1 else f"a load of {load:.1f} on {available} cores"
    says = "spin between loops, and take the time of other processes" + (f": here {why}" if together > 1 or busy else ", where several share the cores")
    yield Finding("OpenMP's workers", "slow" if together > 1 or busy else "note", says, "export OMP_WAIT_POLICY=PASSIVE")


def pages() -> float:
    """How many times as long a gradient's memory takes to write first as again, at best. Others were freed before, as in every step of a training."""
    like, best = torch.empty(FRESH, dtype=torch.uint8), math.inf
    for step in range(STEPS):
        buffer, times = gradient.empty_like(like, like.dtype), []
        for _ in range(3):
            began = time.perf_counter()
            buffer.fill_(1)
            times.append(time.perf_counter() - began)
        del buffer
        if step and (best := min(best, times[0] / max(min(times[1:]), 1e-9))) < SLOW_PAGES:
            break
    return best


def memory(slower: float) -> Iterator[Finding]:
    """Large gradients lie on fresh pages, which the system hands out one at a time."""
    says = f"writing a gradient of {FRESH >> 20} MB takes {slower:.1f} times as long the first time as again"
    modes = HUGE_PAGES.read_text() if HUGE_PAGES.is_file() else ""
    if "[never]" in modes:
        fix = f"echo madvise | sudo tee {HUGE_PAGES}"
        yield Finding("fresh pages", "slow" if slower >= SLOW_PAGES else "note", f"{says}, and the system gives no huge ones", fix)
    elif slower >= SLOW_PAGES and sys.platform == "linux":  # glibc gives freed memory back to the system unless told not to
        fix = "export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=2147483647"
        yield Finding("fresh pages", "slow", f"{says}; large gradients are fresh in each step, unless freed memory is kept", fix)
    else:
        yield Finding("fresh pages", "good", says)


def cache(folder: Path | None) -> Iterator[Finding]:
    """Loops that cannot be kept are compiled by each process anew."""
    cost = "each process compiles anew, 1 to 3 s per loop"
    elsewhere = 'export LOSSKIT_CACHE_DIR="$HOME/.cache/losskit"' if folder is None or str(folder) != str(Path("~/.cache/losskit").expanduser()) else ""
    elsewhere = elsewhere or "export LOSSKIT_CACHE_DIR=/path/of/your/own"
    if folder is None:
        yield Finding("cache folder", "slow", f"this user has no home folder: {cost}", "export LOSSKIT_CACHE_DIR=/path/of/your/own")
        return
    try:
        seen = folder.stat() if folder.exists() else None
        if seen is not None and not stat.S_ISDIR(seen.st_mode):
            yield Finding("cache folder", "slow", f"{folder} is no folder: {cost}", elsewhere)
            return
    except OSError as error:
        yield Finding("cache folder", "slow", f"{folder}: {error.strerror}: {cost}", elsewhere)
        return
    if seen is not None and (why := files.distrust(folder, seen)):
        _, mine, line = why.partition("Try: ")
        yield Finding("cache folder", "slow", f"{why.partition(': ')[0]}, so no loop is taken from it: {cost}", line if mine else elsewhere)
        return
    near = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        with TemporaryFile(dir=near):
            pass
        free = shutil.disk_usage(near).free
    except OSError as error:
        held = loops(folder)
        state: State = "note" if held else "slow"  # an administrator's cache is read only, on purpose
        yield Finding("cache folder", state, f"{folder} cannot be written ({error.strerror}); {held} loops in it: for others {cost}", elsewhere)
        return
    if free < ROOM:
        yield Finding("cache folder", "slow", f"{folder} has {free / 1e6:.0f} MB left: {cost}", elsewhere)
        return
    held = loops(folder)
    size = sum(file.stat().st_size for file in folder.glob("*.o")) / 1e6 if held else 0.0
    if held:
        yield Finding("cache folder", "good", f"{folder}: writable, trusted, {held} loops, {size:.1f} MB")
    else:
        yield Finding("cache folder", "note", f"{folder}: writable, trusted, empty: each loss compiles once, 1 to 3 s", "losskit cache warm --loss focal,dice")


def loops(folder: Path) -> int:
    """How many compiled loops lie in a folder."""
    return sum(1 for _ in folder.glob("*.o")) if folder.is_dir() else 0


def gpu(triton: bool) -> Iterator[Finding]:
    """On a GPU the fused passes are Triton's."""
    if torch.cuda.is_available():
        if not triton:
            says = "without Triton, losses run in PyTorch operations, which take more memory and time"
            yield Finding("GPU", "slow", says, "pip install triton" if sys.platform == "linux" else "pip install triton-windows")
        else:
            yield Finding("GPU", "good", f"{torch.cuda.get_device_name()}: Triton")
    elif Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists():
        yield Finding("GPU", "slow", f"there is one that torch {torch.__version__} cannot use", 'python -c "import torch; torch.cuda.init()"')
    else:
        yield Finding("GPU", "good", "none here")
    if os.environ.get("TRITON_INTERPRET") == "1":
        yield Finding("Triton", "slow", "TRITON_INTERPRET=1 runs its kernels in Python", "unset TRITON_INTERPRET")


def compiler() -> Iterator[Finding]:
    """Numba's own settings hold for losskit's loops, too."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        yield Finding("Numba", "slow", "NUMBA_DISABLE_JIT is set, and losskit cannot compile new loops", "unset NUMBA_DISABLE_JIT")
    else:
        yield Finding("Numba", "good", f"{machine.installed('numba')} compiles loops")


def findings() -> list[Finding]:
    """Everything that was looked at."""
    count, available, together = torch.get_num_threads(), cores(), processes(os.environ)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return [
        *threads(count, available, together),
        *waiting(count, available, together, load, os.environ),
        *memory(pages()),
        *cache(files.folder()),
        *compiler(),
        *gpu(machine.installed("triton") != "not installed"),
    ]


def show(found: list[Finding], console: Console) -> None:
    """Versions and engines, then what was found, then the lines to paste."""
    table = Table(title="losskit on this machine", title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for what, fact in {**machine.versions(), **machine.engines()}.items():
        table.add_row(what, fact)
    console.print(table)
    table = Table(show_header=False)
    for style in ("", "bold", ""):
        table.add_column(style=style, overflow="fold")
    colours = {"good": "green", "note": "yellow", "slow": "red"}
    for finding in found:
        table.add_row(Text(finding.state, style=colours[finding.state]), finding.what, Text(finding.says))
    console.print(table)
    fixes = [finding for finding in found if finding.fix]
    if not fixes:
        console.print("Nothing here makes losskit slow.")
    for finding in fixes:
        console.print(f"\n{finding.what}:", highlight=False, markup=False)
        console.print(f"  {finding.fix}", highlight=False, markup=False, soft_wrap=True)
