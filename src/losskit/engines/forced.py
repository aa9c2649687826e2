"""The engine that `use_engine` forces: a context variable, so that a block in one thread or task does not affect the others.

It is read as `forced.engine`, an attribute that the module does not have and `__getattr__` finds: torch.compile cannot read a context variable, but it looks
an attribute up as Python does, and guards it likewise at each call. So what was compiled in a block holds in such blocks only, in every thread and task.
"""

from contextvars import ContextVar
from typing import Literal

EngineName = Literal["cpu", "triton", "torch"]

current: ContextVar[EngineName | None] = ContextVar("losskit_engine", default=None)


def __getattr__(name: str) -> EngineName | None:
    if name != "engine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return current.get()
