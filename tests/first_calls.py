"""First calls under bad conditions. Run by `test_first_calls.py`, in a process where nothing is imported or compiled yet but torch and losskit.

Each case runs in a fork of this process with a cache folder of its own, so that its first call is one; what it prints is what went wrong.
"""

import ctypes
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.nn import functional

import losskit

PATIENCE = 90  # seconds; then a case hangs
X, T = torch.linspace(-3, 3, 100), torch.linspace(1, -1, 100)
HALF_WAY = "numba.core.types"  # a module of Numba's; without it the rest is broken
LOSSES = ("mse_loss", "l1_loss")


def check(name: str = "mse_loss", x: torch.Tensor = X, t: torch.Tensor = T) -> None:
    """A loss and its gradient are right."""
    x = x.detach().requires_grad_()
    value = getattr(losskit, name)(x, t)
    expected = getattr(functional, name)(x, t)
    for ours, theirs in ((value, expected), [torch.autograd.grad(y, x)[0] for y in (value, expected)]):
        assert torch.allclose(ours, theirs), f"{name} is wrong"  # assert_close would import 700 modules of its own


def fork(work: Callable[[], None]) -> int:
    """A child that does this and ends; its number."""
    child = os.fork()
    if child:
        return child
    signal.alarm(PATIENCE)
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(child: int) -> int:
    """How it ended: 0, or what was wrong."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class At:
    """Does something when a module is about to be imported. (An import hook that finds nothing.)"""

    def __init__(self, module: str, what: Callable[[], None]) -> None:
        self.module, self.what = module, what
        sys.meta_path.insert(0, self)  # type: ignore[arg-type]

    def find_spec(self, name: str, *_: object) -> None:
        if name == self.module:
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            self.what()


def interrupt() -> None:
    """Ctrl-C; it is felt at once where the main thread runs, and soon where it waits."""
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)


def half_imported() -> None:
    """Ctrl-C half way through losskit's own import: the next import knows all losses."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "losskit"]:
        del sys.modules[name]
    At("losskit.losses.regression.mse", interrupt)
    try:
        importlib.import_module("losskit")
        raise AssertionError("not interrupted")
    except KeyboardInterrupt:
        pass
    assert importlib.import_module("losskit").LOSSES.keys() == losskit.LOSSES.keys()


def interrupted() -> None:
    """Ctrl-C half way through Numba's import."""
    At(HALF_WAY, interrupt)
    try:
        check()
        raise AssertionError("not interrupted")
    except KeyboardInterrupt:
        pass
    check()


def timed_out() -> None:
    """A time limit by SIGALRM, as test runners set one."""

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    At(HALF_WAY, lambda: (signal.raise_signal(signal.SIGALRM), time.sleep(0.05)))
    try:
        check()
        raise AssertionError("no time limit")
    except TimeoutError:
        pass
    check()


def ended_from_outside() -> None:
    """An exception set in the calling thread by another, as some time limits do."""
    caller = ctypes.c_ulong(threading.get_ident())
    At(HALF_WAY, lambda: ctypes.pythonapi.PyThreadState_SetAsyncExc(caller, ctypes.py_object(TimeoutError)))
    try:
        check()
        time.sleep(0.1)
        raise AssertionError("no time limit")
    except TimeoutError:
        pass
    check()


def deep() -> None:
    """A first call with hardly any recursion left."""

    def down(levels: int) -> None:
        down(levels - 1) if levels else losskit.mse_loss(X, T)

    down(sys.getrecursionlimit() - 120)
    check()


def forked_meanwhile() -> None:
    """A fork while another thread is at its first call."""
    begun = threading.Event()
    At(HALF_WAY, begun.set)
    thread = threading.Thread(target=check)
    thread.start()
    assert begun.wait(PATIENCE)
    child = fork(lambda: check(LOSSES[1]))
    thread.join()
    check()
    assert ended(child) == 0, "the child"


def at_once(work: Callable[[str], None]) -> None:
    """Eight threads, two losses."""
    wrong: list[BaseException] = []
    start = threading.Barrier(8)

    def one(name: str) -> None:
        try:
            start.wait()
            work(name)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=one, args=(LOSSES[k % 2],)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def threaded() -> None:
    """Each loop is compiled once."""
    from losskit.engines.cpu.core import files

    written: list[str] = []
    write = files.write
    files.write = lambda place, name, content: (written.append(name), write(place, name, content))[1]  # type: ignore[func-returns-value]
    at_once(check)
    assert len(written) == len(set(written)) > 0, f"compiled twice: {written}"


def killed() -> None:
    """Killed when a file is written and not yet in its place."""

    def dies() -> None:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        check()

    assert ended(fork(dies)) == -signal.SIGKILL
    check()


def crowd() -> None:
    """Processes that start at once with an empty cache; then threads that start at once with a full one."""
    children = [fork(lambda name=name: check(name)) for name in (*LOSSES, LOSSES[0])]  # type: ignore[misc]
    assert [ended(child) for child in children] == [0] * len(children)
    assert {p.suffix for p in Path(os.environ["LOSSKIT_CACHE_DIR"]).iterdir()} == {".o"}
    at_once(check)
    assert "numba" not in sys.modules, "compiled again"


def pool_left_behind() -> None:
    """A child of a process whose pool has worked: the pool's threads are not in the child."""
    torch.set_num_threads(2)
    x, t = torch.randn(2, 1 << 18)
    x.exp().sum()
    check(x=x, t=t)

    def work() -> None:
        value = losskit.mse_loss(x, t)
        assert value == expected, (value, expected)

    expected = losskit.mse_loss(x, t)
    assert ended(fork(work)) == 0


def modules_made() -> None:
    """Making a module is no reason to import anything: not the compiler, nor what PyTorch reasons about shapes with (a second)."""
    before = set(sys.modules)
    for loss in losskit.LOSSES.values():
        for settings in (*loss.arguments[:2], *loss.rows[:1]):
            getattr(losskit, loss.module)(**({"task": "multiclass"} | settings if "task" in loss.required else settings))
    losskit.CrossEntropyLoss(weight=torch.ones(3))
    assert not {"numba", "sympy", "scipy"} & (sys.modules.keys() - before)


CASES = {
    "modules": modules_made,
    "Ctrl-C in the import": half_imported,
    "Ctrl-C": interrupted,
    "a time limit": timed_out,
    "a time limit by another thread": ended_from_outside,
    "deep recursion": deep,
    "a fork meanwhile": forked_meanwhile,
    "eight threads": threaded,
    "killed while it writes": killed,
    "a crowd": crowd,
    "a pool left behind": pool_left_behind,
}

if __name__ == "__main__":
    assert not {"numba", "llvmlite"} & sys.modules.keys(), "nothing is left to be first"
    for name in sys.argv[1:] or CASES:
        with TemporaryDirectory() as folder:
            os.environ["LOSSKIT_CACHE_DIR"] = folder
            outcome = ended(fork(CASES[name]))
        print(name, "works" if outcome == 0 else f"fails ({outcome})", sep=": ", flush=True)
