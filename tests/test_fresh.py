"""Nothing depends on what ran before: the first call of a process, whatever it is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from calls import one_each


def require(name: str, expected: list[str]) -> None:
    """A part of `fresh.py` tells of every call that it went well, and of what went wrong why."""
    result = subprocess.run([sys.executable, str(Path(__file__).with_name("fresh.py")), name], capture_output=True, text=True)
    missing = [call for call in expected if call not in result.stdout.splitlines()]
    assert result.returncode == 0 and not missing, f"{missing}\n{result.stderr}"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="without fork, each function would take seconds of imports")
def test_whatever_is_compiled_first():
    require("compiled", [call.name for call in one_each()])


def test_import_brings_nothing_else():
    """50 ms beside PyTorch is the promise; what breaks it is not our own files (25 ms, byte code kept) but what they import."""
    code = "import sys, torch; before = set(sys.modules); import losskit; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = result.stdout.split()
    assert "losskit.losses.regression.mse" in names
    later = r"losskit\.(bench|cli|curves|testing|tour|contract\.stubs|engines\.triton|engines\.cpu\.(?!arrays$))"
    early = [name for name in names if not re.match(r"losskit\b", name) or re.match(later, name)]
    assert not early, "imported although no call needs them yet"
