"""Compiled loops on disk: only what is whole, in its own place, and written by whom the user trusts anyway is run; all else is compiled again."""

import ctypes
import math
import os
import pickle
import shlex
import stat
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch
from processes import python

from losskit.engines.cpu.core import compiler, files, store
from losskit.engines.cpu.core.context import ADD_UP
from losskit.engines.cpu.core.threads import BODY

resource = pytest.importorskip("resource", reason="POSIX")

SOMEBODY = 12345
NAMES = {dtype: f"add_up_{str(dtype)[6:]}" for dtype in (torch.float32, torch.float64)}


@pytest.fixture(scope="module")
def compiled():
    return {dtype: compiler.add_up(dtype) for dtype in NAMES}


@pytest.fixture
def loop(compiled, tmp_path, monkeypatch):
    """Asks for a loop as a new process would, sees that it is the right one, and says whether it was compiled."""
    monkeypatch.setenv("LOSSKIT_CACHE_DIR", str(tmp_path / "loops"))
    monkeypatch.setattr(files, "_told", set())

    def ask(dtype=torch.float32):
        builds = []
        monkeypatch.setattr(store, "_addresses", {})
        address = store.function(NAMES[dtype], b"", lambda: builds.append(dtype) or compiled[dtype])
        out, parts = torch.zeros(1, dtype=dtype), torch.tensor([1.0, 2.0], dtype=torch.float64)
        BODY(address)(0, 2, ADD_UP.pack(parts=parts, out=out, scale=1.0))
        assert out == 3.0
        return bool(builds)

    return ask


@pytest.fixture
def place(loop, tmp_path):
    """A folder with one loop in it."""
    assert loop()
    return tmp_path / "loops"


@pytest.fixture
def file(place):
    (found,) = place.iterdir()
    return found


def owned(monkeypatch, kind, uid):
    """From now on files, or folders, belong to that user."""
    look = os.fstat

    def fstat(descriptor):
        found = look(descriptor)
        if stat.S_IFMT(found.st_mode) != kind:
            return found
        return os.stat_result((found.st_mode, *found[1:4], uid, *found[5:]))

    monkeypatch.setattr(os, "fstat", fstat)


def test_a_loop_is_compiled_once(loop, file):
    assert not loop()
    assert stat.S_IMODE(file.stat().st_mode) & 0o133 == 0 and stat.S_IMODE(file.parent.stat().st_mode) & 0o022 == 0


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_whatever_the_umask(mask, loop, tmp_path):
    """What users of one group share, nobody else of it may change; an administrator's cache can be read by all."""
    before = os.umask(mask)
    try:
        assert loop()
    finally:
        os.umask(before)
    assert not loop()
    (found,) = (tmp_path / "loops").iterdir()
    assert stat.S_IMODE(found.stat().st_mode) == 0o644 & ~mask


def renamed(file, place, loop):
    """Another loop, whole and right, under this name."""
    assert loop(torch.float64)
    (other,) = set(place.iterdir()) - {file}
    os.replace(other, file)


def linked(file, place, loop):
    """The very same file, elsewhere."""
    os.replace(file, place.parent / "elsewhere")
    file.symlink_to(place.parent / "elsewhere")


def nowhere(file, place, loop):
    file.unlink()
    file.symlink_to(place / "nowhere")


def pipe(file, place, loop):
    file.unlink()
    os.mkfifo(file)


def damaged(change):
    return lambda file, place, loop: file.write_bytes(change(file.read_bytes()))


BAD = {
    "short": damaged(lambda b: b[:-100]),
    "a head alone": damaged(lambda b: b[:70]),
    "a flipped bit": damaged(lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]),
    "another symbol": damaged(lambda b: b[:70] + b"x" + b[71:]),
    "empty": damaged(lambda b: b""),
    "zeros at the end": damaged(lambda b: b[:200] + bytes(len(b) - 200)),
    "not ours": damaged(lambda b: b"\xff\n\xff\n\xff"),
    "renamed": renamed,
    "a link": linked,
    "a link to nowhere": nowhere,
    "a pipe": pipe,
    "writable by a group": lambda file, place, loop: file.chmod(0o664),
    "writable by all": lambda file, place, loop: file.chmod(0o646),
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_a_file_that_is_not_right_is_compiled_again_and_replaced(spoil, loop, file, place):
    spoil(file, place, loop)
    assert loop(), "it was run"
    assert not loop(), "it was not replaced"
    assert file.is_file() and not file.is_symlink()


def test_a_file_that_cannot_be_replaced(loop, file):
    file.unlink()
    file.mkdir()
    assert loop() and loop()


@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFDIR], ids=["file", "folder"])
def test_what_somebody_else_owns_is_not_run(kind, loop, place, monkeypatch):
    owned(monkeypatch, kind, SOMEBODY)
    assert loop()
    monkeypatch.setattr(files, "trustees", lambda: {0, os.geteuid(), SOMEBODY})
    assert not loop()


@pytest.mark.parametrize(("me", "admin", "trusted"), [(1, 2, {0, 1, 2}), (1, files.NOBODY, {0, 1}), (files.NOBODY, files.NOBODY, {0, files.NOBODY})])
def test_trustees(me, admin, trusted, monkeypatch):
    """This user, root, and the owner of losskit's own files, unless that is nobody: in a container, anybody."""
    look = os.stat
    monkeypatch.setattr(os, "geteuid", lambda: me)
    monkeypatch.setattr(os, "stat", lambda path, **how: os.stat_result((*[0] * 4, admin, *[0] * 5)) if path == files.__file__ else look(path, **how))
    assert files.trustees() == trusted


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_folder_that_others_can_write(mode, loop, place, caplog):
    before = {p: p.stat().st_mtime_ns for p in place.iterdir()}
    place.chmod(mode)
    assert loop() and loop()
    assert {p: p.stat().st_mtime_ns for p in place.iterdir()} == before
    (said,) = caplog.messages  # once per process
    assert said.startswith(f"{place} can be written by other users: losskit compiles, rather than run it. Try: ")
    subprocess.run(shlex.split(said.partition("Try: ")[2]), check=True)
    assert not loop(), "the advice does not help"


def test_a_folder_for_all(loop, place, caplog, monkeypatch):
    """Like /tmp: nobody should be told to change its mode."""
    place.chmod(0o1777)
    assert loop()
    (said,) = caplog.messages
    assert said.endswith("Set LOSSKIT_CACHE_DIR to a folder of your own")
    monkeypatch.setenv("LOSSKIT_CACHE_DIR", str(place / "own"))
    assert loop() and not loop()


def test_a_folder_of_somebody_else(loop, place, monkeypatch, caplog):
    owned(monkeypatch, stat.S_IFDIR, SOMEBODY)
    assert loop()
    (said,) = caplog.messages
    assert said == f"{place} belongs to another user (uid {SOMEBODY}): losskit compiles, rather than run it. Set LOSSKIT_CACHE_DIR to a folder of your own"


def test_a_folder_may_be_a_link(loop, place):
    place.rename(place.with_name("moved"))
    place.symlink_to(place.with_name("moved"))
    assert not loop()


@pytest.mark.parametrize("where", ["/dev/null/nowhere", "/proc/nowhere", "~nobody-of-that-name/loops"])
def test_no_place_for_the_cache_costs_only_time(where, loop, monkeypatch, caplog):
    monkeypatch.setenv("LOSSKIT_CACHE_DIR", where)
    assert loop() and loop() and not caplog.messages


def test_a_full_disk_costs_only_time(loop, place, file):
    file.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        assert loop()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(place.iterdir()), "something is left behind"
    assert loop() and not loop()


ASKED_AT_ONCE = """
import pickle, sys, time
from losskit.engines.cpu.core import files, store

symbol, content = pickle.load(sys.stdin.buffer)
files.PATIENCE = float(sys.argv[1])

def build():
    print("built", flush=True)
    time.sleep(float(sys.argv[2]))
    return store.Code(symbol, content, None, None)

assert store.function("loop", b"", build)
"""


def asking(code, patience, takes):
    """A process that needs a loop, which it takes some time to compile."""
    child = subprocess.Popen([sys.executable, "-c", ASKED_AT_ONCE, str(patience), str(takes)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdin.write(pickle.dumps((code.symbol, code.content)))
    child.stdin.close()
    return child


def said(child):
    with child:
        return child.stdout.read()


def test_processes_that_need_the_same_loop_compile_it_once(compiled, tmp_path, monkeypatch):
    """The ranks of a training, say. A process that dies keeps nobody waiting, nor does one that takes too long."""
    monkeypatch.setenv("LOSSKIT_CACHE_DIR", str(tmp_path))
    code = compiled[torch.float32]
    ranks = [asking(code, 60, 0.3) for _ in range(2)]
    assert sorted(map(said, ranks)) == [b"", b"built\n"]
    assert [p.suffix for p in tmp_path.iterdir()] == [".o"]
    for p in tmp_path.iterdir():
        p.unlink()
    slow = asking(code, 60, 60)
    assert slow.stdout.readline() == b"built\n"
    assert said(asking(code, 0.1, 0)) == b"built\n", "it has waited long enough"
    for p in tmp_path.glob("*.o"):
        p.unlink()
    waits = asking(code, 60, 0)
    slow.kill()
    assert said(waits) == b"built\n" and said(slow) == b""


BETWEEN_LARGE_TENSORS = """
import ctypes, os, torch, losskit
from losskit.engines.cpu.core import store

PAGE, GIGABYTE = 4096, 1 << 30
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

def reserved(size):
    return libc.mmap(None, size, 0, 0x4022, -1, 0)  # addresses alone: private, anonymous, no memory behind them

objects, linked = [], store._linked
store._linked = lambda *what: objects.append(what) or linked(*what)
losskit.binary_cross_entropy_with_logits(torch.zeros(5), torch.zeros(5))
for pages in (1, 2, 3, 4, 6, 8, 12, 16):
    child = os.fork()
    if not child:
        low = reserved(6 * GIGABYTE)
        while reserved(PAGE) > low:  # every hole above it is filled
            pass
        libc.munmap(low + 5 * GIGABYTE, pages * PAGE)  # here code may fit, and its constants no more
        libc.munmap(low + GIGABYTE, 1 << 20)
        for symbol, content in objects:
            linked(symbol, content)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux")
def test_code_and_its_constants_lie_near_each_other():
    """Code reaches its constants by distances of 32 bits. Where tensors of gigabytes leave small holes between them, LLVM's own manager of memory puts the two
    further apart, and then ends the process."""
    assert set(python(BETWEEN_LARGE_TENSORS).split()) == {"0"}


def test_what_cannot_be_stored_is_linked_by_numba():
    """A loop that calls what not every process has runs in this one."""

    def loop(begin, end, context):
        view(context, 1, float64)[0] = sinh(float64(begin))  # noqa: F821 - bound below

    code = compiler.compiled(loop, compiler.shared_names(np.float64) | {"sinh": math.sinh}, compiler.LOOP)
    assert code.content is None
    out = torch.zeros(1, dtype=torch.float64)
    BODY(code.address)(3, 0, ctypes.c_char_p(out.data_ptr()))
    assert out.item() == pytest.approx(math.sinh(3.0), rel=1e-15)


def test_numba_works_for_others_as_before(compiled):
    @numba.njit
    def twice(x):
        return [x, x + 1]

    assert compiled and twice(1) == [1, 2]
