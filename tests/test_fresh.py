"""Nothing depends on what ran before: the first call of a process, whatever it is."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from calls import all_settings, one_each
from cases import thorough

import losskit


def require(name: str, expected: list[str], *only: str) -> None:
    """A part of `fresh.py` tells of every call that it went well, and of what went wrong why."""
    result = subprocess.run([sys.executable, str(Path(__file__).with_name("fresh.py")), name, *only], capture_output=True, text=True)
    missing = [call for call in expected if call not in result.stdout.splitlines()]
    assert result.returncode == 0 and not missing, f"{missing}\n{result.stderr}"


SOME = (
    "huber_loss(",
    "cross_entropy(",
    "dice_loss(",
    "ssim_loss(",
)  # one per way into the compiler: of elements, of rows, of sums, in PyTorch operations


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.parametrize("chosen", [SOME, *thorough([("",)])], ids=["some", "all"])
def test_whatever_is_compiled_first(chosen):
    names = [call.name for call in one_each() if call.name.startswith(chosen)]
    assert len(names) >= len(chosen)
    require("compiled", names, *(names if chosen is SOME else ()))


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_whatever_the_default_device_and_dtype_are():
    """Constants made at the first call, results, by-products, messages."""
    require("defaults", ["meta", "torch.float64"])


def test_every_public_function_is_among_them():
    functions = {name for name in losskit.__all__ if inspect.isfunction(getattr(losskit, name))} - {"engine_for", "like", "use_engine", "validate"}
    functions -= {"create", "from_config"}  # these make modules
    functions -= {"sampled_classes", "matching_cost", "assign"}  # before a loss, with sizes that depend on labels: of no graph
    assert functions == {name for call in all_settings() if (name := getattr(call.function, "__name__", "")) in losskit.__all__}
    assert functions - {"distance_map"} <= {
        getattr(call.function, "__name__", "") for call in one_each()
    }  # SciPy makes the map, and no compiler looks into that


def test_modules_keep_the_numbers_they_are_made_with():
    with torch.device("meta"):  # as models too large to be made twice are made
        module, wise = losskit.CrossEntropyLoss(weight=[0.5, 2.0]), losskit.WIoUv3Loss()
    assert module.weight.tolist() == [0.5, 2.0] and wise.mean.item() == 1.0


def test_import_brings_nothing_else():
    """50 ms beside PyTorch is the promise; what breaks it is not our own files (25 ms, byte code kept) but what they import."""
    code = "import sys, torch; before = set(sys.modules); import losskit; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = result.stdout.split()
    assert "losskit.losses.regression.mse" in names
    later = r"losskit\.(bench|cli|curves|testing|tour|contract\.stubs|engines\.triton|engines\.cpu\.(?!arrays$))"
    early = [name for name in names if not re.match(r"losskit\b", name) or re.match(later, name)]
    assert not early, "imported although no call needs them yet"
