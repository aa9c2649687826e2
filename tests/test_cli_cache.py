"""`losskit cache`: kernels that are made ahead are those that a training needs, and only losskit's own files are removed."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from processes import python

import losskit
from losskit.cli import doctor, kept, main, warm
from losskit.engines.cpu.core import files

NAME = f"tiles_cross_entropy_formula_{'0' * 24}.o"
CONTENT = b"a" * 64 + b"\nsymbol\ncode"


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("LOSSKIT_CACHE_DIR", str(tmp_path))

    def call(*words):
        with pytest.raises(SystemExit) as end:
            main(("cache", *words))
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return call


@pytest.mark.parametrize("name", list(losskit.LOSSES))
def test_every_loss_has_calls(name):
    """Each has a value and a gradient to be warmed, in every task and form."""
    loss = losskit.LOSSES[name]
    with losskit.use_engine("torch"):
        warm.calls(loss, torch.float32)
        for settings in warm.settings_of(loss):
            for leaf, *others in warm.batches(loss, settings):
                value = loss.function(leaf.requires_grad_(), *others, **settings)
                value.backward()
                assert value.isfinite() and leaf.grad.isfinite().all() and leaf.grad.any(), settings


def test_rows_have_a_loop_for_every_width():
    """Tiles, bundles, long rows and planes, as `engines/cpu/rows` chooses."""
    from losskit.engines.cpu.rows.loops import BUNDLE, FEW

    widths = [shape[1] for shape in warm.ROWS if len(shape) == 2]
    assert widths[0] < FEW <= widths[1] <= BUNDLE < widths[2] and len(warm.ROWS[-1]) == 4


TRAINING = """
import sys, torch, losskit
x, t = torch.randn(500, 3), torch.rand(500, 3)
losskit.mse_loss(x.requires_grad_(), t).backward()
with torch.no_grad():
    losskit.mse_loss(x, t)
print("numba" in sys.modules)
"""


def test_what_is_warmed_is_not_compiled_again(tmp_path):
    environment = {"LOSSKIT_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "losskit", "cache", "warm", "--loss", "mse"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    assert ended.returncode == 0 and not ended.stderr
    assert "1/1  mse_loss, float32: 2 loops" in ended.stdout and "s; kept in" in ended.stdout.splitlines()[-1]
    assert python(TRAINING, **environment) == "False"
    found = list(kept.kept(tmp_path))
    assert len(found) == 2 == doctor.loops(tmp_path) and all(each.loop for each in found), "files of a real loop are its own"
    assert len(list(tmp_path.iterdir())) == 2


def test_info(run, tmp_path):
    assert json.loads(run("info", "--json")[1]) | {"state": ""} == {
        "folder": str(tmp_path), "state": "", "loops": 0, "bytes": 0, "left over": 0, "fix": "losskit cache warm --loss focal,dice",
    }  # fmt: skip
    (tmp_path / NAME).write_bytes(CONTENT)
    code, out, err = run("info")
    assert (code, err) == (0, "") and str(tmp_path) in out and "1 loops" in out
    assert run("--info") == (code, out, err) and run("--info", "--json") == run("info", "--json")
    assert json.loads(run("info", "--json")[1])["bytes"] == len(CONTENT)


@pytest.mark.skipif(not hasattr(os, "symlink") or sys.platform == "win32", reason="POSIX")
def test_only_its_own_files_are_removed(run, tmp_path):
    old = time.time() - 2 * files.PATIENCE
    own = [NAME, f"{NAME}.lock", f"{NAME}.{'1' * 16}.part"]
    others = ["notes.txt", "module.o", f"elf_{'2' * 24}.o", f"{NAME}.bak", f"new_{'3' * 24}.o.lock"]
    for name in (*own, *others):
        (tmp_path / name).write_bytes(CONTENT if name == NAME else b"\x7fELF")
        os.utime(tmp_path / name, (old, old) if not name.startswith("new") else None)
    target = tmp_path / "elsewhere"
    target.mkdir()
    (target / NAME).write_bytes(CONTENT)
    (tmp_path / f"link_{'4' * 24}.o").symlink_to(target / NAME)
    (tmp_path / f"folder_{'5' * 24}.o").mkdir()

    code, out, err = run("clear")
    assert (code, err) == (0, "") and f"removed 1 compiled loop and 2 that killed processes left (0.0 MB) from {tmp_path}" in out
    assert "8 other files there are not losskit's, and stay" in out
    assert {path.name for path in tmp_path.iterdir()} == {*others, "elsewhere", f"link_{'4' * 24}.o", f"folder_{'5' * 24}.o"}
    assert (target / NAME).exists() and "nothing to remove" in run("clear")[1] == run("--clear")[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("warm", "--loss", "focl"), "--loss: no loss is called 'focl'; did you mean focal_loss"),
        (("warm", "--loss", "focal,"), "--loss: no loss is called ''"),
        (("warm", "--dtype", "int8"), "--dtype takes float32, float64, bfloat16, float16, separated by commas, got 'int8'"),
        (("--warm", "--dtype", "int8"), "--dtype takes float32, float64, bfloat16, float16, separated by commas, got 'int8'"),
        (("warn",), "warn"),
        (("--warn",), "warn"),
    ],
)
def test_errors_are_one_line(run, words, told):
    code, out, err = run(*words)
    assert code == 2 and not out and err.startswith("losskit: ") and err.count("\n") == 1 and told in err


def test_a_folder_that_cannot_be_written_is_told(run, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LOSSKIT_CACHE_DIR", str(tmp_path / "file"))
    code, out, err = run("warm", "--loss", "mse")
    assert code == 2 and not out and "cannot be kept" in err and "export LOSSKIT_CACHE_DIR=" in err
    assert "nothing to remove" in run("clear")[1]
