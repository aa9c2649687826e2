"""Which engine runs a loss: a function of what the tensors are and of what is being done with them, never of environment variables or failed imports.

In order: whatever traces, compiles, transforms or subclasses goes to `torch`; CPU tensors to `cpu`; CUDA and ROCm tensors to `triton`; all else to `torch`.
An engine forced by `use_engine` runs or raises; nothing falls back in silence.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import get_args

import torch
from torch import Tensor
from torch.nn import Buffer, Parameter

from losskit.engines import forced, private
from losskit.engines.forced import EngineName as EngineName
from losskit.engines.private import compiling
from losskit.engines.process import unbroken
from losskit.engines.protocol import PatternName

ENGINES: tuple[EngineName, ...] = get_args(EngineName)
FUSED = frozenset(
    {torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
    | {torch.uint16, torch.uint32, torch.uint64}
)


class EngineError(RuntimeError):
    """A forced engine cannot run this."""


@contextmanager
def use_engine(name: EngineName) -> Iterator[None]:
    """Force an engine inside the block, in this thread or task alone: `"cpu"`, `"triton"` or `"torch"`. Where it cannot run, the loss raises `EngineError`.

    >>> import torch, losskit
    >>> with losskit.use_engine("torch"):
    ...     losskit.mse_loss(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0]))
    tensor(2.5000)
    """
    if name not in ENGINES:
        raise ValueError(f"use_engine: name must be one of {', '.join(map(repr, ENGINES))}, got {name!r}")
    token = forced.current.set(name)
    try:
        yield
    finally:
        forced.current.reset(token)


@cache
def pattern(engine: EngineName, name: PatternName) -> ModuleType:
    """A pattern of an engine; its compiler (Numba, Triton) is imported with the first loss that needs it."""
    return imported(f"losskit.engines.{engine}.{name}")


@cache
def imported(name: str) -> ModuleType:
    """A module that brings a compiler with it."""
    return unbroken(partial(import_module, name))


PLAIN = (Tensor, Parameter, Buffer)
STRIDED, is_zero = torch.strided, private.is_zero  # a small call looks each of them up several times


def watched() -> str | None:
    """Why every step must be a PyTorch operation just now: operations are being recorded or transformed. None if they are not."""
    if compiling():
        return "the call is being compiled or exported, where all but passes that become operators is PyTorch operations"
    if private.transforming():
        return "inside a torch.func transform"
    if private.dispatching():
        return "a dispatch mode is active (tracing, fake tensors, ...)"
    if private.levels._current_level >= 0:
        return "forward-mode differentiation is on"
    if private.tracing() is not None:
        return "torch.jit.trace records PyTorch operations only"
    return None


def unreadable(*tensors: Tensor) -> str | None:
    """Why the memory of a tensor cannot be read as its numbers; None if that of each can."""
    for x in tensors:
        if type(x) not in PLAIN:
            return f"{type(x).__name__} is a tensor subclass"
        if x.dtype not in FUSED:
            return f"no fused reader for {x.dtype}"
        if x.layout is not STRIDED or x.is_neg() or is_zero(x):
            return "a tensor is not plain strided memory"
    return None


def obstacle(operands: Sequence[Tensor], weights: Sequence[Tensor] = ()) -> str | None:
    """Why no fused engine takes these tensors, here and now; None if one may. Passes give gradients to operands, and to no weights.

    The first two operands are on one device. A call on 64 elements costs some 30 microseconds in all, so this is written to cost one.
    """
    why = watched() or unreadable(*operands, *weights)
    if why is not None:
        return why
    for x in weights:
        if x.requires_grad and torch.is_grad_enabled():
            return "a weight requires a gradient, and the fused passes give none to weights"
    if weights or len(operands) > 2:
        for x in (*operands[2:], *weights):
            if x.device != operands[0].device:
                return "the tensors are on several devices"
    return None


def usual(x: Tensor, t: Tensor) -> bool:
    """Whether these are what nearly every call on a CPU brings: two plain tensors, and nobody who looks on or forces an engine. Then `obstacle`, `choice` and the
    checks of what a tensor is all find nothing, and a call of 64 elements, which takes 45 microseconds, need not spend three of them on asking.
    """
    return (
        watched() is None and forced.current.get() is None and not _asking.get()  # the first comes first: while compiling, the rest has no answers
        and type(x) in PLAIN and type(t) in PLAIN and x.is_cpu and t.is_cpu and x.dtype in FUSED and t.dtype in FUSED and x.layout is STRIDED and t.layout is STRIDED
        and not (x.is_nested or t.is_nested or x.is_neg() or t.is_neg() or is_zero(x) or is_zero(t) or x.is_inference() or t.is_inference())
    )  # fmt: skip


@cache
def triton_installed() -> bool:
    """Whether there is a Triton to import."""
    return find_spec("triton") is not None


def interpreted() -> bool:
    """Whether Triton runs under its interpreter, which takes CPU tensors."""
    if not triton_installed():
        return False
    return bool(imported("triton").knobs.runtime.interpret)


ON_CPU: tuple[EngineName, str] = ("cpu", "plain CPU tensors")
NO_TRITON = "Triton is not installed, and without its fused pass PyTorch operations take more memory and time on a GPU: try pip install triton (on Linux)"


class Answer(Exception):  # no error: it carries the answer to `asking` out of a call
    """The engine that a call would take, and why."""


_asking: ContextVar[bool] = ContextVar("losskit_asking", default=False)


def asked() -> bool:
    """Whether a call is made for the answer alone."""
    return not compiling() and _asking.get()


def asking(call: Callable[[], object]) -> tuple[EngineName, str]:
    """The engine that a call of a loss would take, and why; it stops before anything is computed."""
    token = _asking.set(True)
    try:
        call()
    except Answer as answer:
        engine, reason = answer.args
        return engine, reason
    finally:
        _asking.reset(token)
    raise TypeError("the call ran no loss of losskit")


def choice(operands: Sequence[Tensor], weights: Sequence[Tensor] = (), plain: str | None = None) -> tuple[EngineName, str]:
    """The engine for these tensors, and why; `plain` is the reason why this very call has no fused pass, if it has none."""
    why_not = plain or obstacle(operands, weights)
    traced = why_not is not None and compiling()
    name = forced.engine if traced else forced.current.get()  # the first costs a microsecond
    if traced and name == "cpu" and plain is None and operands[0].is_cpu and not torch.compiler.is_exporting():
        return "torch", "what surrounds the pass is compiled, and the pass itself is an operator"
    found = ON_CPU if why_not is None and name is None and operands[0].is_cpu else _choice(name, operands, why_not)
    if not traced and _asking.get():
        raise Answer(*found)
    return found


def _choice(name: EngineName | None, operands: Sequence[Tensor], why_not: str | None) -> tuple[EngineName, str]:
    if name == "torch":
        return "torch", "forced by use_engine"
    if name is None:
        if why_not is not None:
            return "torch", why_not
        if not operands[0].is_cuda:
            return "torch", f"no fused engine for device {operands[0].device.type!r}"
        if not triton_installed():
            return "torch", NO_TRITON
        return "triton", "plain tensors on a GPU"
    device = operands[0].device.type
    if why_not is None and name == "triton" and not triton_installed():
        why_not = NO_TRITON
    if why_not is None and device != ("cuda" if name == "triton" else "cpu") and not (name == "triton" and device == "cpu" and interpreted()):
        why_not = f"the tensors are on device {device!r}" + ("; TRITON_INTERPRET=1 would run it there" if device == "cpu" else "")
    if why_not is not None:
        raise refused(name, why_not)
    return name, "forced by use_engine"


def refused(name: EngineName, why: str) -> EngineError:
    """The error of an engine that is forced and cannot run."""
    return EngineError(f"use_engine({name!r}) cannot run this loss: {why}. Leave use_engine out to let losskit choose")
