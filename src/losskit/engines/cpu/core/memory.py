"""Fresh buffers for gradients, on huge pages where Linux offers them.

A fresh 100 MB buffer costs more in page faults than the loss costs in arithmetic; with 2 MB pages there are 512 times fewer of them.
"""

import ctypes
import sys
from pathlib import Path

import torch
from torch import Tensor

PAGE = 4096
WORTH = 8 << 20  # bytes: below this the allocator mostly reuses memory it holds
MADV_HUGEPAGE = 14


def _offered() -> bool:
    """Whether the kernel gives huge pages on request."""
    try:
        modes = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return False
    return ("[madvise]" in modes or "[always]" in modes) and not _returned_to_host()


def _returned_to_host() -> bool:
    """Whether this is a virtual machine whose balloon gives freed memory back to the host at once (free page reporting, feature 5).

    Whole huge pages are what it gives back, and each comes again from the host: on such a machine the gradient of 1,024 x 131,072 logits (512 MB) took 620 ms
    with huge pages and 172 ms without.
    """
    try:
        balloons = [d for d in Path("/sys/bus/virtio/devices").iterdir() if (d / "device").read_text().strip() == "0x0005"]
        return any((d / "features").read_text()[5:6] == "1" for d in balloons)
    except OSError:
        return False


_madvise = ctypes.CDLL(None).madvise if sys.platform == "linux" and _offered() else None


def empty_like(x: Tensor, dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor with the shape and memory layout of `x`; advice that the kernel refuses changes nothing."""
    y = torch.empty_like(x) if x.dtype is dtype else torch.empty_like(x, dtype=dtype)  # naming the dtype costs a small call a third of a microsecond
    if _madvise is not None and y.nbytes >= WORTH:
        start = (y.data_ptr() + PAGE - 1) & -PAGE
        _madvise(ctypes.c_void_p(start), ctypes.c_size_t((y.data_ptr() + y.nbytes - start) & -PAGE), MADV_HUGEPAGE)
    return y
