"""Compiled loops on disk, and their way back into a process without the compiler.

Numba and what it pulls in take most of a second to wake up, also to load something it compiled before. A loop is plain machine code that calls nothing but
the C library, so it is kept as an object file and handed to LLVM's linker (llvmlite) directly: a second process makes its first call in milliseconds and never
imports Numba.

A file's name carries a digest of all that decides the code (formula, kernel sources, versions, processor), its first line a digest of its name and content:
what is stale, renamed, truncated or damaged is compiled again, and so is what others may have written (`files.py`). Where no folder can be written, each process
compiles for itself.
"""

import ctypes
import hashlib
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from losskit.engines.cpu.core import files
from losskit.engines.process import unbroken

# what stored code may call: the C library, which every process has
C_LIBRARY = frozenset({"atan2", "sin", "cos", "sincos", "exp", "expm1", "log", "log1p", "sqrt", "memcpy", "memset", "memmove"})
# what the frame that Numba puts around a callback names for the case of an exception; loops raise none (the compiler checks)
UNUSED = frozenset(
    {"PyErr_Clear", "PyErr_SetNone", "PyErr_SetString", "PyErr_WriteUnraisable", "PyUnicode_FromString", "Py_DecRef", "numba_gil_ensure", "numba_gil_release"}
)


class Code(NamedTuple):
    """A compiled function: its symbol in an object file; or, not fit to be stored, where it lies now and what keeps it there."""

    symbol: str
    content: bytes | None
    address: int | None
    keep: Any


_alive: list[Any] = []
_addresses: dict[tuple[Path | None, str], int] = {}


@cache
def circumstances() -> bytes:
    """What, besides the formula, decides the machine code."""
    here = Path(__file__).parents[1]
    sources = b"".join(p.read_bytes() for p in [*sorted(here.rglob("*.py")), here.parent / "language.py"])
    versions = f"{sys.version_info[:2]} {version('numba')} {version('llvmlite')}"
    processor = f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    return hashlib.sha256(sources + versions.encode() + processor.encode()).digest()


def function(label: str, key: bytes, build: Callable[[], Code]) -> int:
    """The address of a compiled loop: from disk, else built now and stored."""
    return unbroken(partial(_function, label, key, build))


def _function(label: str, key: bytes, build: Callable[[], Code]) -> int:
    place, name = files.folder(), f"{label}_{hashlib.sha256(circumstances() + key).hexdigest()[:24]}.o"
    address = _addresses.get((place, name)) or _load(place, name)  # threads may need the same loop at once
    if not address:
        with files.turn(place, name):
            address = _load(place, name) or _built(place, name, build)  # another process may have built it meanwhile
    _addresses[place, name] = address
    return address


def _built(place: Path | None, name: str, build: Callable[[], Code]) -> int:
    """The address of a loop that is compiled now, and stored if it is fit for that."""
    code = build()
    _alive.append(code.keep)
    if code.content is None:
        assert code.address
        return code.address
    if place is not None:
        files.write(place, name, _digest(name, code.symbol, code.content) + f"\n{code.symbol}\n".encode() + code.content)
    return _linked(code.symbol, code.content)


def _digest(name: str, symbol: str, content: bytes) -> bytes:
    return hashlib.sha256(f"{name}\n{symbol}\n".encode() + content).hexdigest().encode()


def _load(place: Path | None, name: str) -> int | None:
    stored = None if place is None else files.read(place, name)
    if stored is None:
        return None
    try:
        digest, symbol, content = stored.split(b"\n", 2)
        if digest != _digest(name, symbol.decode(), content):
            return None
        return _linked(symbol.decode(), content)
    except (ValueError, RuntimeError):
        return None


def _linked(symbol: str, content: bytes) -> int:
    """The address of a function of an object file, brought into memory."""
    linker = _linker()  # one per object: symbols of different loops may be alike
    _alive.append(linker)
    linker.add_object_file(llvm.object_file.ObjectFileRef.from_data(content))
    linker.finalize_object()
    return linker.get_function_address(symbol)  # type: ignore[no-any-return]


def _linker() -> Any:
    """A linker of LLVM's, in this process."""
    # llvmlite's manager of memory, unlike LLVM's own, keeps the parts of an object together: code reaches its constants by distances of 32 bits
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target().create_target_machine(), use_lmm=True)


@cache
def _target() -> Any:
    """This machine, to LLVM."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    c_library = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
    abort = ctypes.cast(c_library.abort, ctypes.c_void_p).value
    for name in UNUSED:  # the linker needs an address for each
        if not llvm.address_of_symbol(name):
            llvm.add_symbol(name, abort)
    return llvm.Target.from_default_triple()
