"""Compiling a loop around a formula with Numba. Imported only when the disk has no such loop yet (`store.py`).

Each instance of a loop is the same code object over its own table of names: the formula, how elements are read and written, and constants.
"""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from types import FunctionType
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba as nb
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import codegen
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numba.np import arrayobj

from losskit.engines.cpu.core import loops
from losskit.engines.cpu.core.context import ADD_UP
from losskit.engines.cpu.core.half import HALF
from losskit.engines.cpu.core.math import EXACT, NAMES, bitcast, inlined, scalar
from losskit.engines.cpu.core.store import C_LIBRARY, UNUSED, Code
from losskit.engines.language import bind

REASSOCIATE = EXACT | {"reassoc"}  # only for loops that accumulate; their formulas keep the flags they were compiled with

real_of = bitcast(types.int64, types.float64, ir.DoubleType())


@intrinsic
def view(typing_context: Any, address: Any, count: Any, number: Any) -> Any:
    """An array of `count` numbers at an address. It is neither owned nor reference-counted, so the loop needs no Numba at run time."""
    array = types.Array(number.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result = arrayobj.make_array(array)(context, builder)
        item = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(array.dtype)))
        arrayobj.populate_array(result, builder.inttoptr(args[0], result.data.type), [args[1]], [item], item, None)
        return result._getvalue()

    return array(types.int64, types.int64, number), generate


@cache
def converter(real: Any) -> Callable[..., Any]:
    """Any number to the dtype computed in."""

    @scalar
    def convert(x):
        return real(x)

    return convert  # type: ignore[no-any-return]


@cache
def truth(real: Any) -> Callable[..., Any]:
    """Any byte but 0 is 1, as to PyTorch."""
    one, zero = real(1), real(0)

    @scalar
    def convert(x):
        return one if x != 0 else zero

    return convert  # type: ignore[no-any-return]


# torch dtype -> (numpy dtype of its storage, how to read it, how to write it)
STORED: dict[torch.dtype, tuple[Any, Any, Any]] = {
    torch.float32: (np.float32, None, None),
    torch.float64: (np.float64, None, None),
    torch.bfloat16: (np.uint16, *HALF["bfloat16"]),
    torch.float16: (np.uint16, *HALF["float16"]),
    torch.bool: (np.uint8, None, None),
} | {
    dtype: (getattr(np, str(dtype).removeprefix("torch.")), None, None)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64)
}
NUMPY_REAL: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


def reader(dtype: torch.dtype, real: Any) -> Any:
    """Reads one stored element as the dtype computed in."""
    if dtype is torch.bool:
        return truth(real)
    read: Any = STORED[dtype][1]
    return read or converter(real)


def writer(dtype: torch.dtype) -> Any:
    """Writes one computed element as it is stored."""
    return STORED[dtype][2] or converter(STORED[dtype][0])


@intrinsic
def call_gather(typing_context: Any, kernel: Any, operand: Any, start: Any, count: Any, destination: Any) -> Any:
    """Calls a gather kernel by its address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(64)
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [integer] * 4).as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@cache
def stack_memory(size: int) -> Any:
    """The address of that many bytes on the stack: a loop with an array made by Numba could not be run from disk without Numba."""

    @intrinsic
    def address(typing_context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            with builder.goto_entry_block():  # not Numba's own helper: it fills with zeros, an element at a time
                room = builder.alloca(ir.ArrayType(ir.IntType(8), size))
            room.align = 64
            return builder.ptrtoint(room, ir.IntType(64))

        return types.int64(), generate

    return address


@cache
def bound(formula: FunctionType, real: Any) -> Any:
    """A formula on numbers of that type, for Numba to inline; once per process, so that what formulas share is compiled once."""
    return bind(formula, NAMES[np.dtype(real).name], scalar, literal=real, helper=partial(bound, real=real))


PARTS: dict[Any, Any] = {}
LOOP = types.void(*[types.int64] * 3)
GATHER = types.void(*[types.int64] * 4)


def instance(function: Callable[..., Any], names: dict[str, Any], flags: set[str] = EXACT) -> Any:
    """A part of a loop over its table of names, for Numba to inline; once per process for each choice of what it uses of the table: loops share most of their parts."""
    assert isinstance(function, FunctionType)
    used = tuple((name, type(names[name]), names[name]) for name in function.__code__.co_names if name in names)
    found = PARTS.get(key := (function.__code__, frozenset(flags), used))
    if found is None:
        found = PARTS[key] = inlined(flags)(FunctionType(function.__code__, names | {"__name__": __name__}, function.__name__))
    return found


@cache
def _unrolled(source: str) -> FunctionType:
    scope: dict[str, Any] = {}
    exec(source, scope)
    return scope["unrolled"]  # type: ignore[no-any-return]


def unrolled(name: str, arguments: str, lines: Iterable[str], result: Iterable[str] = ()) -> FunctionType:
    """A part of a loop that does the same for each of several operands, which no array can hold, for each has its own type: its lines, and a tuple."""
    given = "".join(f"{each}, " for each in result)
    body = "".join(f"    {line}\n" for line in (*lines, f"return ({given})"))
    return _unrolled(f"def unrolled({arguments}):\n{body}")


def compiled(loop: Callable[..., Any], names: dict[str, Any], signature: Any) -> Code:
    """A loop over its table of names, as a C function."""
    assert isinstance(loop, FunctionType)
    bound = FunctionType(loop.__code__, names | {"__name__": __name__}, loop.__name__)
    with whole() as finish:
        callback = nb.cfunc(signature, fastmath=REASSOCIATE, error_model="numpy", _nrt=False)(bound)
        name, library = callback._wrapper_name, callback._library
        finish.optimise(library)
        module = library._final_module
        called = {function.name for function in module.functions if function.is_declaration}
        raises = any("picklebuf" in variable.name for variable in module.global_variables)  # where Numba keeps the exceptions that a function may raise
        alone = not raises and all(each.startswith("llvm.") or each in C_LIBRARY | UNUSED for each in called)
        return Code(name, machine_code(module), None, None) if alone else Code(name, None, finish.link(library, name), callback)


class Finish(NamedTuple):
    """The last steps of Numba, taken once for a whole loop."""

    optimise: Callable[[Any], None]  # of a library
    link: Callable[[Any, str], int]  # of a library, its function's name: the address


@contextmanager
def whole() -> Iterator[Finish]:
    """Numba without its last steps for each part of a loop: a part is inlined, and optimised as a piece of the whole; and of machine code in Numba's own engine nobody
    needs any, for `machine_code` writes the loop's.

    Numba compiles under one lock, so that nothing of others is compiled meanwhile. The garbage collector rests: Numba leaves little garbage, and looking for it
    takes a seventh of the time.
    """
    library, engine = codegen.JITCodeLibrary, codegen.JITCPUCodegen
    optimise, step, add, set_env = library._optimize_final_module, library._finalize_specific, engine._add_module, engine.set_env

    def link(each: Any, name: str) -> int:
        add(each._codegen, each._final_module)
        step(each)
        return each.get_pointer_to_function(name)  # type: ignore[no-any-return]

    collects = gc.isenabled()
    with global_compiler_lock:
        gc.disable()
        library._optimize_final_module = library._finalize_specific = engine._add_module = engine.set_env = lambda *_: None
        try:
            yield Finish(optimise, link)
        finally:
            library._optimize_final_module, library._finalize_specific, engine._add_module, engine.set_env = optimise, step, add, set_env
            if collects:
                gc.enable()


def machine_code(module: Any) -> bytes:
    """An object file of optimised code, in the small code model: in Numba's own, a register holds the address of each constant, and none is loaded before the loop."""
    processor = dict(cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten())
    machine = llvm.Target.from_triple(module.triple).create_target_machine(**processor, opt=3, reloc="pic", codemodel="small")
    return machine.emit_object(module)  # type: ignore[no-any-return]


def constants(module: Any) -> dict[str, Any]:
    """What templates of a module may read: its numbers in capitals, and the places of its context."""
    found = {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, int)}
    context = getattr(module, "CONTEXT", None)
    return found if context is None else found | context.places


def shared_names(real: Any) -> dict[str, Any]:
    """What every loop may use."""
    tools = dict(view=view, real_of=real_of, call_gather=call_gather, min=min, range=range)
    item = np.dtype(real).itemsize
    return constants(loops) | tools | dict(float64=np.float64, int64=np.int64, REAL=real, ITEM=item, ROW=loops.BLOCK * item)


def add_up(dtype: torch.dtype) -> Code:
    """`loops.add_up` for one dtype."""
    return compiled(loops.add_up, shared_names(NUMPY_REAL[dtype]) | ADD_UP.places, LOOP)


def gather(dtype: torch.dtype, real: torch.dtype) -> Code:
    """`loops.gather` for one stored dtype."""
    number = NUMPY_REAL[real]
    return compiled(loops.gather, shared_names(number) | dict(STORAGE=STORED[dtype][0], read=reader(dtype, number)), GATHER)
