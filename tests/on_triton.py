"""Where kernels of Triton run in tests: on a machine with a GPU there; on any other, and wherever TRITON_INTERPRET=1 says so, under Triton's interpreter on CPU
tensors. Imported before anything imports Triton; a file that imports `surroundings` has it around each of its tests.
"""

import os
from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest
import torch

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")  # read when Triton is imported

triton = pytest.importorskip("triton", reason="Triton")
import triton.language as tl  # noqa: E402, F401

from losskit.engines import dispatch  # noqa: E402

DEVICE = "cpu" if dispatch.interpreted() else "cuda"
ROUNDING = {torch.float32: 2e-7, torch.float64: 1e-15} if DEVICE == "cpu" else {torch.float32: 5e-7, torch.float64: 2e-15}  # GPUs divide in a hurry


@pytest.fixture(autouse=True)
def surroundings() -> Iterator[None]:
    """Tensors on the device; and silence, for the interpreter computes with NumPy, which warns about what a GPU just does."""
    with np.errstate(all="ignore"), torch.device(DEVICE) if DEVICE == "cuda" else nullcontext():
        yield
