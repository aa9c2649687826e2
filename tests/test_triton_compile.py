"""Every kernel, with every formula and in its variants, becomes machine code for NVIDIA and AMD GPUs, on a machine that has none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cases import thorough
from kernels import TARGETS

# pattern -> how many kernels there are: for sm_90, in every variant, and for each other target
KERNELS = {
    "elementwise": (41, 18),
    "rows": (17, 5),
    "distributions": (13, 4),
    "overlap": (22, 7),
    "boxes": (15, 4),
}
BY_FORMULA = ("elementwise", "boxes")  # with every formula of the registry: at least so many


@pytest.mark.parametrize("pattern", ["rows", *thorough(pattern for pattern in KERNELS if pattern != "rows")])
def test_they_compile(pattern):
    """In one process for all targets: half of what each would take is the start."""
    pytest.importorskip("triton", reason="Triton")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    code = [sys.executable, "-W", "error", str(Path(__file__).with_name("kernels.py")), pattern]
    done = subprocess.run(code, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {name: int(kernels) for name, kernels in map(str.split, done.stdout.splitlines())}
    assert built.keys() == TARGETS.keys()
    wanted = dict.fromkeys(TARGETS, KERNELS[pattern][1]) | {"sm_90": KERNELS[pattern][0]}
    assert built == wanted or (pattern in BY_FORMULA and all(built[name] >= wanted[name] for name in TARGETS)), built


def test_every_pattern_is_among_them():
    assert {path.stem.removeprefix("kernels_") for path in Path(__file__).parent.glob("kernels_*.py")} == KERNELS.keys()
