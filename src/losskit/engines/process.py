"""What concerns the whole process: work that must not be broken off half way, and forks.

Numba half imported, or with half a function in its tables, is of no use until the process ends. And a forked child has one thread: it waits for ever for a lock
that another thread held, and for the threads of a pool that stayed behind.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")

_lock = threading.RLock()
_forked = False


def _in_child() -> None:
    global _forked
    _forked = True
    _lock.release()


if hasattr(os, "register_at_fork"):  # a fork waits until no work is under way
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_in_child)


def forked() -> bool:
    """Whether this process is a child that was forked after losskit was imported."""
    return _forked


def unbroken(work: Callable[[], Result]) -> Result:
    """The result of some work, one at a time (the work may not start such work itself).

    It is done in a thread of its own: the caller's signals, time limits, depth of recursion, default device and modes do not reach it. Ctrl-C ends the waiting;
    the work goes on, and the next call finds it done.
    """
    done: Future[Result] = Future()

    def run() -> None:
        with _lock:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

    try:
        threading.Thread(target=run, name="losskit").start()
    except RuntimeError:  # the process is ending, or has as many threads as it may
        run()
    return done.result()
