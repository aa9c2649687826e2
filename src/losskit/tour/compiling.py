"""Says when loops are compiled: the first time on a machine, and after a change of losskit, Numba or processor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from losskit.engines.cpu.core import files


def stored() -> int:
    """How many compiled loops this machine keeps."""
    folder = files.folder()
    return 0 if folder is None else sum(1 for _ in folder.glob("*.o"))


@contextmanager
def announced(say: Callable[[str], None]) -> Iterator[None]:
    """While this lasts, the first compilation is announced as it begins, and their number is told when all is done; nothing where none is needed."""
    from numba.core.event import Listener, install_listener

    class First(Listener):  # type: ignore[misc]
        """Hears Numba's compiler begin, in whatever thread."""

        def __init__(self) -> None:
            self.lock, self.heard = Lock(), False

        def on_start(self, event: Any) -> None:
            with self.lock:
                first, self.heard = not self.heard, True
            if first:
                say("compiling kernels for this processor, once per machine: 1 to 3 s each")

        def on_end(self, event: Any) -> None:
            pass

    before, first = stored(), First()
    with install_listener("numba:compiler_lock", first):
        yield
    if first.heard and (made := stored() - before) > 0:
        say(f"compiled {made} kernel{'s' if made > 1 else ''}; kept in {files.folder()}")
