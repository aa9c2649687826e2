"""Every kernel, with every formula and in its variants, becomes machine code for NVIDIA and AMD GPUs, on a machine that has none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cases import thorough_rows
from kernels import TARGETS

# pattern -> how many kernels there are: for sm_90, in every variant, and for each other target
KERNELS = {
    "elementwise": (42, 19),
    "rows": (25, 10),
    "distributions": (13, 4),
    "overlap": (30, 9),
    "boxes": (21, 5),
    "ranked": (23, 7),
}
BY_FORMULA = ("elementwise", "boxes")  # with every formula of the registry: at least so many


# in one process for all targets, for half of what each would take is the start; with every formula, in one for each
CASES = [("elementwise", [target]) for target in TARGETS] + [(pattern, [*TARGETS]) for pattern in KERNELS if pattern != "elementwise"]
# `make test` compiles what `test_gpu_budget.py` counts


@pytest.mark.parametrize(("pattern", "targets"), thorough_rows(CASES))
def test_they_compile(pattern, targets):
    pytest.importorskip("triton", reason="Triton")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    code = [sys.executable, "-W", "error", str(Path(__file__).with_name("kernels.py")), pattern, *targets]
    done = subprocess.run(code, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {name: int(kernels) for name, kernels in map(str.split, done.stdout.splitlines())}
    wanted = {target: KERNELS[pattern][target != "sm_90"] for target in targets}
    assert built == wanted or (pattern in BY_FORMULA and built.keys() == wanted.keys() and all(built[name] >= wanted[name] for name in wanted)), built


def test_every_pattern_is_among_them():
    assert {path.stem.removeprefix("kernels_") for path in Path(__file__).parent.glob("kernels_*.py")} == KERNELS.keys()
