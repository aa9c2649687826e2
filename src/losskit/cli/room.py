"""How much memory there is, asked before anything large is loaded."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from losskit.cli import stop

MEMINFO = Path("/proc/meminfo")
LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available() -> float:
    """Bytes that this process may still take: what the system has free, and no more than its container is allowed; infinite where nobody tells."""
    found = [float("inf")]
    with suppress(OSError, ValueError, StopIteration):
        line = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) * 1024)
    if len(found) == 1 and hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit, used in LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
    return min(found)


def check(files: Iterable[str], need: float) -> None:
    """Refuse what would not fit, before it is loaded."""
    if need > (free := available()):
        stop(f"{' and '.join(files)} need about {shown(need)} with gradients, and {shown(max(free, 0))} of memory are free: evaluate a part of them")


def shown(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.0f} TB"
