"""`losskit doctor`: every cause of slowness is found, and its line, pasted, mends it."""

import json
import os
import subprocess
import sys

import pytest
import torch

from losskit.cli import doctor


def found(findings):
    (one,) = findings
    return one


def shell(line, then, **environment):
    """The output of a command after a line was pasted."""
    ended = subprocess.run(["sh", "-c", f"{line}; {then}"], capture_output=True, text=True, env={**os.environ, **environment})
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize(("count", "available", "together", "line"), [(8, 4, 1, "4"), (4, 4, 2, "2"), (2, 1, 8, "1")])
def test_too_many_threads(count, available, together, line):
    one = found(doctor.threads(count, available, together))
    assert one.state == "slow" and one.fix == f"export OMP_NUM_THREADS={line}"
    assert found(doctor.threads(int(line), available, together)).state == "good"
    assert shell(one.fix, "echo $OMP_NUM_THREADS") == line


@pytest.mark.parametrize(
    ("count", "together", "load", "environment", "state"),
    [
        (4, 1, 0.5, {}, "note"),
        (4, 2, 0.5, {}, "slow"),
        (4, 1, 9.0, {}, "slow"),
        (4, 2, 9.0, {"OMP_WAIT_POLICY": "ACTIVE"}, "slow"),
        (4, 2, 9.0, {"OMP_WAIT_POLICY": "passive"}, "good"),
        (1, 2, 9.0, {}, "good"),
    ],
)
def test_spinning_workers(count, together, load, environment, state):
    one = found(doctor.waiting(count, 4, together, load, environment))
    assert one.state == state
    assert one.fix == ("" if state == "good" else "export OMP_WAIT_POLICY=PASSIVE")


def test_launchers_tell_how_many_processes_there_are():
    assert doctor.processes({}) == 1
    assert doctor.processes({"LOCAL_WORLD_SIZE": "4", "SLURM_NTASKS_PER_NODE": "2"}) == 4
    assert doctor.processes({"SLURM_NTASKS_PER_NODE": "4(x2)"}) == 1


def test_a_quota_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "QUOTAS", tmp_path / "cpu.max")
    whole = doctor.cores()
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert doctor.cores() == whole
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert doctor.cores() == 1


@pytest.mark.parametrize(
    ("modes", "slower", "state", "fix"),
    [
        ("always [madvise] never", 1.5, "good", ""),
        ("always [madvise] never", 20.0, "slow", "export MALLOC_MMAP_MAX_=0"),
        ("always madvise [never]", 20.0, "slow", "echo madvise | sudo tee"),
        ("always madvise [never]", 1.5, "note", "echo madvise | sudo tee"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="Linux")
def test_fresh_pages(monkeypatch, tmp_path, modes, slower, state, fix):
    monkeypatch.setattr(doctor, "HUGE_PAGES", tmp_path / "enabled")
    (tmp_path / "enabled").write_text(modes)
    one = found(doctor.memory(slower))
    assert one.state == state and one.fix.startswith(fix) and bool(fix) == bool(one.fix)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux")
def test_the_line_against_fresh_pages_keeps_them():
    """Pages that the process gets from the system: none any more, once there is a place for everything."""
    count = (
        "import resource, torch\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    torch.empty(64 << 20, dtype=torch.uint8).fill_(1)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "all = [faults() for _ in range(24)]\n"
        "print(sum(all[16:]))"
    )
    (fix,) = (finding.fix for finding in doctor.memory(100.0))
    if "MALLOC" in fix:
        kept, fresh = (int(shell(line, f"'{sys.executable}' -c '{count}'")) for line in (fix, ":"))
        assert 10 * kept < fresh


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX")
def test_cache_folders(tmp_path, monkeypatch):
    """Each line, pasted, gives a folder that is good."""
    empty = tmp_path / "empty"
    one = found(doctor.cache(empty))
    assert one.state == "note" and one.fix == "losskit cache warm --loss focal,dice" and not empty.exists()
    empty.mkdir()
    (empty / "x.o").write_bytes(b"code")
    assert found(doctor.cache(empty)).state == "good" and "1 loops" in found(doctor.cache(empty)).says

    empty.chmod(0o777)
    one = found(doctor.cache(empty))
    assert one.state == "slow" and "can be written by other users" in one.says and one.fix.startswith("chmod go-w ")
    shell(one.fix, ":")
    assert found(doctor.cache(empty)).state == "good"

    (tmp_path / "file").touch()
    for folder in (None, tmp_path / "file", tmp_path / "file" / "below"):
        one = found(doctor.cache(folder))
        assert one.state == "slow" and one.fix.startswith("export LOSSKIT_CACHE_DIR="), folder
    monkeypatch.setattr(doctor, "ROOM", 1e30)
    assert "MB left" in found(doctor.cache(empty)).says


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX")
def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    def denied(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "TemporaryFile", denied)
    assert found(doctor.cache(tmp_path)).state == "slow"
    (tmp_path / "x.o").write_bytes(b"code")
    assert found(doctor.cache(tmp_path)).state == "note", "an administrator fills it"


def test_a_gpu_without_triton(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H200")
    one = found(doctor.gpu(False))
    assert one.state == "slow" and one.fix.startswith("pip install triton")
    assert found(doctor.gpu(True)).state == "good"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert list(doctor.gpu(True))[1].fix == "unset TRITON_INTERPRET"


def test_the_command(tmp_path):
    environment = os.environ | {"LOSSKIT_CACHE_DIR": str(tmp_path), "OMP_WAIT_POLICY": "PASSIVE"}
    ended = subprocess.run([sys.executable, "-m", "losskit", "doctor", "--json"], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    whats = {finding["what"]: finding for finding in told["findings"]}
    assert {"threads", "OpenMP's workers", "fresh pages", "cache folder", "Numba", "GPU"} <= set(whats)
    assert whats["OpenMP's workers"]["state"] == "good" and str(tmp_path) in whats["cache folder"]["says"]
    assert {"losskit", "python", "torch", "numba", "triton", "CPU tensors"} <= set(told["facts"])
    assert all((finding["state"] == "good") == (not finding["fix"]) for finding in told["findings"])
