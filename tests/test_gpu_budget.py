"""No kernel of the Triton engine costs more than the table says, by its machine code; and docs/gpu.md predicts from that table."""

import json
import os
import subprocess
import sys

import gpu_budget
import pytest
from cases import thorough

TABLE = gpu_budget.known()
SHOWN = ("cross-entropy, 10 classes, float32",)


@pytest.mark.parametrize("names", [SHOWN, *thorough([tuple(name for name in TABLE["cases"] if name not in SHOWN)])], ids=["some", "others"])
def test_nothing_became_dearer(names):
    """In a process of its own: Triton decides once whether to interpret. `python tests/gpu_budget.py` renews the table."""
    triton = pytest.importorskip("triton", reason="Triton")
    if triton.__version__ != TABLE["triton"]:
        pytest.skip("release")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, gpu_budget.__file__, *names], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == set(names)
    assert not [line for name in names for line in gpu_budget.dearer(name, TABLE["cases"][name], found[name])]


def test_the_table_has_every_case():
    assert list(gpu_budget.cases()) == list(TABLE["cases"])


def test_what_became_dearer_is_told():
    was = {"launches": [2, 1], "kernels": [{"kernel": "k", "each": 30.0, "passes": 1, "registers": 40, "spilled": 0, "loads": [16], "stores": [16]}]}

    def told(**changes):
        return gpu_budget.dearer("case", was, {**was, "kernels": [was["kernels"][0] | changes]})

    assert not told() and not told(each=31.0, registers=30)
    assert told(each=32.0) == ["case, k: each 32.0, was 30.0"] and told(registers=48) and told(spilled=8) and told(passes=2)
    assert told(loads=[4, 16]) and told(stores=[8]) and told(kernel="other")
    assert gpu_budget.dearer("case", was, {**was, "launches": [2, 2]}) == ["case: backward launches 2, was 1"]


def test_the_predictions_follow_from_the_table():
    text = gpu_budget.PAGE.read_text(encoding="utf-8")
    assert "not measured" in text and text.endswith(gpu_budget.predicted(TABLE) + "\n")


def test_a_share_is_that_of_the_slower_of_bytes_and_instructions():
    kernel = {"each": 1.0, "passes": 1, "stores": [16]}
    assert gpu_budget.share(kernel, 8, 4, "H200") == 1
    assert gpu_budget.share(kernel | {"passes": 2}, 8, 4, "H200") == 12 / 20
    a_clock = 4.3e12 / (132 * 1.755e9)
    assert gpu_budget.share(kernel | {"each": 102.4}, 8, 4, "H200") == pytest.approx(12 / a_clock)


@pytest.mark.parametrize(("kernel", "programs"), [("pointwise", 8), ("boxwise", 5)])
def test_programs_of_a_fixed_number_run_at_once(kernel, programs):
    """A multiprocessor has 65,536 registers, and hands them out to a thread by eights."""
    found = [k for case in TABLE["cases"].values() for k in case["kernels"] if k["kernel"] == kernel]
    assert found and all(programs * 128 * -(-k["registers"] // 8) * 8 <= 1 << 16 for k in found)
