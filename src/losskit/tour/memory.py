"""How much memory a step takes: what PyTorch allocates for it, byte by byte, which is the same on every run."""

import os
from collections.abc import Callable
from typing import NamedTuple

from torch.profiler import ProfilerActivity, profile


class Allocated(NamedTuple):
    """Bytes that PyTorch allocates for a step: at its peak, and afterwards, with what it returns kept."""

    peak: int
    left: int


def allocated(step: Callable[[], object]) -> Allocated:
    """Of a step that was done before: what is compiled, loaded and made once is there."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's recorder reads this once, and else writes a line at each start and end
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        kept = step()
    peak = now = 0
    for event in sorted(record.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    del kept
    return Allocated(peak, now)
