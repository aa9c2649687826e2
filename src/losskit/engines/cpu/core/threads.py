"""PyTorch's own thread pool, through the plain-C `torch_parallel_for` that libtorch_cpu exports (stable ABI, torch >= 2.10).

No second pool: `torch.set_num_threads` governs these loops too, and two pools never fight over the cores.
"""

import ctypes
import sys
from pathlib import Path
from typing import Any

import torch

from losskit.engines.process import forked

_NAME = {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}.get(sys.platform, "libtorch_cpu.so")
_library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / _NAME))

# void parallel_for(begin, end, grain, void (*body)(begin, end, context), context)
_parallel_for = _library.torch_parallel_for
_parallel_for.argtypes = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p]
_parallel_for.restype = ctypes.c_int32

BODY = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_char_p)


def parallel_for(begin: int, end: int, grain: int, body: Any, context: bytes) -> None:
    """Runs a loop on the pool; in a forked child on the calling thread, for the pool's threads stayed behind, and OpenMP would wait for them for ever."""
    if forked():
        body(begin, end, context)
    else:
        _parallel_for(begin, end, grain, body, context)
