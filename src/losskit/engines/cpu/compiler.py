"""Compiling a loop around a formula with Numba. Imported only when the disk has no such loop yet (`store.py`).

Each instance of a loop is the same code object over its own table of names: the formula, how elements are read and written, and constants.
"""

import gc
import re
from collections.abc import Callable
from functools import cache, partial
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
import numba as nb
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

from losskit.engines.call import real_dtype
from losskit.engines.cpu import loops, row_loops, tile_loops
from losskit.engines.cpu.fission import split
from losskit.engines.cpu.half import HALF
from losskit.engines.cpu.lines import prefetch, settle, stream_line
from losskit.engines.cpu.math import EXACT, NAMES, bitcast, inlined, scalar
from losskit.engines.cpu.store import C_LIBRARY, UNUSED, Code
from losskit.engines.cpu.transpose import turn_square
from losskit.engines.language import bind, identity

SUMS = EXACT | {"reassoc"}  # only for loops that accumulate; their formulas keep the flags they were compiled with

real_of = bitcast(types.int64, types.float64, ir.DoubleType())


@intrinsic
def view(typing_context: Any, address: Any, count: Any, number: Any) -> Any:
    """An array of `count` numbers at an address. Nobody owns it and nothing is counted, so the loop needs nothing of Numba's at run time."""
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
    """The address of that many bytes on the stack: a loop that asked Numba for an array could not be kept on disk without Numba."""

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
    """A formula on numbers of that type, for Numba to inline; once a process, so that what formulas share is compiled once."""
    return bind(formula, NAMES[np.dtype(real).name], scalar, literal=real, helper=partial(bound, real=real))


PARTS: dict[Any, Any] = {}
LOOP = types.void(*[types.int64] * 3)
GATHER = types.void(*[types.int64] * 4)


def instance(function: Callable[..., Any], names: dict[str, Any], flags: set[str] = EXACT) -> Any:
    """A part of a loop over its table of names, for Numba to inline; once a process for each choice of what it uses of the table: loops share most of their parts."""
    assert isinstance(function, FunctionType)
    used = tuple((name, type(names[name]), names[name]) for name in function.__code__.co_names if name in names)
    found = PARTS.get(key := (function.__code__, frozenset(flags), used))
    if found is None:
        found = PARTS[key] = inlined(flags)(FunctionType(function.__code__, names | {"__name__": __name__}, function.__name__))
    return found


def compiled(loop: Callable[..., Any], names: dict[str, Any], signature: Any) -> Code:
    """A loop over its table of names, as a C function."""
    assert isinstance(loop, FunctionType)
    bound = FunctionType(loop.__code__, names | {"__name__": __name__}, loop.__name__)
    collects = gc.isenabled()
    gc.disable()  # Numba leaves little garbage, and looking for it takes a seventh of the time
    try:
        callback = nb.cfunc(signature, fastmath=SUMS, error_model="numpy", _nrt=False)(bound)
    finally:
        if collects:
            gc.enable()
    library = callback._library
    text = library.get_llvm_str()
    called = set(re.findall(r'^declare .*@"?([^\s"(]+)', text, re.MULTILINE))
    raises = "picklebuf" in text  # where Numba keeps the exceptions that a function may raise
    alone = not raises and all(name.startswith("llvm.") or name in C_LIBRARY | UNUSED for name in called)
    if not alone:
        return Code(callback._wrapper_name, None, callback.address, callback)
    return Code(callback._wrapper_name, machine_code(text), None, None)


def machine_code(text: str) -> bytes:
    """An object file of optimised code. Numba's own have an address of 64 bits in a register for each constant, so none of them is loaded before the loop."""
    module = llvm.parse_assembly(text)
    processor = dict(cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten())
    machine = llvm.Target.from_triple(module.triple).create_target_machine(**processor, opt=3, reloc="pic", codemodel="small")
    return machine.emit_object(module)  # type: ignore[no-any-return]


def shared_names(real: Any) -> dict[str, Any]:
    """What every loop may use."""
    constants = {name: value for name, value in vars(loops).items() if name.isupper() and isinstance(value, int)}
    tools = dict(view=view, real_of=real_of, call_gather=call_gather, min=min, range=range)
    item = np.dtype(real).itemsize
    return constants | tools | dict(float64=np.float64, int64=np.int64, REAL=real, ITEM=item, ROW=loops.BLOCK * item)


def elementwise(
    formula: Callable[..., Any],
    params: int,
    field: bool,
    factored: bool,
    staged: bool,
    input: torch.dtype,
    target: torch.dtype,
    forward: bool,
    each: bool,
    grad_input: bool,
    grad_target: bool,
) -> Code:
    """`loops.loop` for one formula, one pair of dtypes and one set of outputs."""
    dtype = real_dtype(input)
    real = NUMPY_REAL[dtype]
    names = shared_names(real)
    stored_x, stored_t = STORED[input][0], STORED[target][0]
    types_read = dict(X_TYPE=real, T_TYPE=real) if staged else dict(X_TYPE=stored_x, T_TYPE=stored_t)
    names |= types_read | dict(INPUT=stored_x, TARGET=stored_t, write_x=writer(input), write_t=writer(target))
    names |= dict(X_ITEM=input.itemsize, T_ITEM=target.itemsize, GX_ITEM=input.itemsize, GT_ITEM=target.itemsize)
    names |= dict(FORWARD=forward, EACH=each, OUT_X=grad_input, OUT_T=grad_target, FACTORED=factored, STAGED=staged)
    names["stack"] = stack_memory(loops.ROWS_OF_SCRATCH * loops.BLOCK * names["ITEM"])
    stored = (dtype, dtype) if staged else (input, target)
    reads = dict(read_x=reader(stored[0], real), read_t=reader(stored[1], real), FIELD=field)
    parts = split(formula)
    names["SPLIT"] = parts is not None
    head, tail = parts or (formula, formula)
    for name, part, late in (("head", head, False), ("point", tail, parts is not None)):
        names[name] = instance(loops.point, reads | dict(formula=bound(part, real), AHEAD=late))
    names["params"] = instance(loops.PARAMETERS[params], names)
    names["gather_blocks"] = instance(loops.gather_blocks, names)
    names["block_sum"] = instance(loops.block_sum, names, SUMS)
    return compiled(loops.loop, names, LOOP)


def finish(dtype: torch.dtype) -> Code:
    """`loops.finish` for one dtype."""
    return compiled(loops.finish, shared_names(NUMPY_REAL[dtype]), LOOP)


def gather(dtype: torch.dtype, real: torch.dtype) -> Code:
    """`loops.gather` for one stored dtype."""
    number = NUMPY_REAL[real]
    return compiled(loops.gather, shared_names(number) | dict(STORAGE=STORED[dtype][0], read=reader(dtype, number)), GATHER)


key_of, key_64 = bitcast(types.float32, types.int32, ir.IntType(32)), bitcast(types.float64, types.int64, ir.IntType(64))
of_key, of_key_64 = bitcast(types.int32, types.float32, ir.FloatType()), bitcast(types.int64, types.float64, ir.DoubleType())


def ordered(real: Any, integer: Any, to_bits: Any, from_bits: Any) -> tuple[Any, Any]:
    """(key, from_key): numbers as integers of the same order; NaN is the largest."""
    shift, low = integer(8 * np.dtype(integer).itemsize - 1), integer(np.iinfo(integer).max)

    @scalar
    def key(x):
        i = to_bits(x)
        return integer(i ^ ((i >> shift) & low))

    @scalar
    def from_key(i):
        return from_bits(integer(i ^ ((i >> shift) & low)))

    return key, from_key


KEYS = {torch.float32: ordered(np.float32, np.int32, key_of, of_key), torch.float64: ordered(np.float64, np.int64, key_64, of_key_64)}


def row_names(
    formula: Callable[..., Any], params: int, link: Callable[..., Any] | None, input: torch.dtype, label: torch.dtype, factor: torch.dtype
) -> dict[str, Any]:
    """The names of the loops of the rows pattern."""
    dtype = real_dtype(input)
    real = NUMPY_REAL[dtype]
    table = NAMES[np.dtype(real).name]
    item = np.dtype(real).itemsize
    names: dict[str, Any] = {name: value for name, value in vars(row_loops).items() if name.isupper() and isinstance(value, int)}
    names |= dict(view=view, real_of=real_of, min=min, max=max, range=range, float64=np.float64, int64=np.int64, int32=np.int32, uint8=np.uint8)
    names |= dict(REAL=real, REAL_ITEM=item, ROW=row_loops.MAX_WIDTH * item, ITEM=input.itemsize, STORED=STORED[input][0], LABEL=STORED[label][0])
    names |= dict(
        FACTOR_TYPE=STORED[factor][0],
        FACTOR_ITEM=factor.itemsize,
        LABEL_ITEM=label.itemsize,
        read_factor=reader(factor, real),
        read=reader(input, real),
        write=writer(input),
    )
    names |= dict(ZERO=real(0), ONE=real(1), INFINITY=real(np.inf), LARGEST=np.finfo(real).max, key=KEYS[dtype][0], from_key=KEYS[dtype][1])
    names |= dict(exp_neg=table["exp_neg"], log1p=table["log1p"], formula=bound(formula, real))
    names["STRAIGHT"] = link is None and input is dtype  # the scores are what lies in memory
    names |= dict(prefetch=prefetch, stream=stream_line(real), settle=settle)
    names["bound"] = bound(link or identity, real)
    names["params"] = instance(loops.PARAMETERS[params], names)
    for part in (
        row_loops.link,
        row_loops.score,
        row_loops.link_slope,
        row_loops.bent,
        row_loops.scores,
        row_loops.point,
        row_loops.points,
        row_loops.bend,
        row_loops.spend,
        row_loops.send,
        row_loops.keep,
        row_loops.spend_kept,
        row_loops.labels_of,
    ):
        names[part.__name__] = instance(part, names)
    names["give"] = instance(row_loops.give, names, SUMS)
    names["exponentials"] = instance(row_loops.exponentials, names, SUMS)
    return names


def bundles(*variant: Any) -> Code:
    """`row_loops.bundles` for one formula and one triple of dtypes."""
    names = row_names(*variant)
    names["stack"] = stack_memory((row_loops.TILE + row_loops.TILE_ROWS * row_loops.MAX_WIDTH) * names["REAL_ITEM"])
    return compiled(row_loops.bundles, names, LOOP)


def long_rows(*variant: Any) -> Code:
    """`row_loops.long_rows` for one formula and one triple of dtypes."""
    names = row_names(*variant)
    names["stack"] = stack_memory(2 * row_loops.ROW_BLOCK * names["REAL_ITEM"])
    return compiled(row_loops.long_rows, names, LOOP)


def squares(names: dict[str, Any]) -> dict[str, Any]:
    """How short rows are transposed."""
    real = names["REAL"]
    return dict(turn_square=turn_square(real), turn_scores=turn_square(real, capped=names["STRAIGHT"]), SQUARE=row_loops.LINE // names["REAL_ITEM"])


def tiles(planes: bool, *variant: Any) -> Code:
    """`tile_loops.tiles`, with classes apart in memory (`planes`) or next to each other."""
    names = row_names(*variant)
    names |= squares(names)
    names["leave"] = instance(tile_loops.leave, names)
    walk = (
        (tile_loops.load_planes, tile_loops.store_planes, tile_loops.ask_planes)
        if planes
        else (tile_loops.load_rows, tile_loops.store_rows, tile_loops.ask_rows)
    )
    names |= zip(("load_tile", "store_tile", "ask_ahead"), (instance(part, names) for part in walk), strict=True)
    names |= dict(right_labels=instance(tile_loops.right_labels, names))
    names["stack"] = stack_memory((row_loops.TILE + row_loops.TILE_ROWS * row_loops.MAX_WIDTH + 2 * row_loops.FLAT) * names["REAL_ITEM"])
    return compiled(tile_loops.tiles, names, LOOP)


def census(label: torch.dtype, factor: torch.dtype, real: torch.dtype) -> Code:
    """`row_loops.census` for one pair of dtypes."""
    number = NUMPY_REAL[real]
    names = shared_names(number) | {name: value for name, value in vars(row_loops).items() if name.isupper() and isinstance(value, int)}
    names |= dict(LABEL=STORED[label][0], FACTOR_TYPE=STORED[factor][0], read_factor=reader(factor, number), ZERO=number(0))
    return compiled(row_loops.census, names, LOOP)
