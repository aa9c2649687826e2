"""Triton's interpreter, without what it does again and again. The operations of a kernel are the same; what is left out is the work around them, which takes most of
the time: the language is prepared once for a kernel, not for every device function; what follows from a shape or a type is looked up; tensors of one shape are not
made to fit each other; one number in many places is not written out; and whether a sum of integers fits is not computed where nobody is told.
"""

import inspect
import sys
from types import FunctionType
from typing import Any

import numpy as np

NAMES = {  # what is used of the interpreter, by where it is, as it stands in Triton 3.9
    "triton.runtime.interpreter": ("InterpreterBuilder", "TensorHandle", "_LangPatchScope", "_get_np_dtype", "_patch_lang"),
    "triton.language.core": ("block_type", "constexpr", "is_builtin", "tensor", "tuple"),
    "triton.language.semantic": ("TritonSemantic",),
}


def prepare_once() -> None:
    """From now on, if Triton is there and its interpreter's parts have the names that are known."""
    modules = [sys.modules.get(name) for name in NAMES]
    if any(module is None or not all(hasattr(module, name) for name in names) for module, names in zip(modules, NAMES.values(), strict=True)):
        return
    interpreter, core, semantic = modules
    if not hasattr(interpreter, "_patch_each"):
        _prepare_kernels(interpreter, core)
        _look_up_types(interpreter, core)
        _leave_alone_what_fits(semantic.TritonSemantic)  # type: ignore[union-attr]
        _write_nothing_out(interpreter)


def _prepare_kernels(interpreter: Any, core: Any) -> None:
    whole, languages = interpreter._patch_lang, (interpreter.tl, core)
    seen: dict[FunctionType, list[Any]] = {}

    def patch(function: FunctionType) -> Any:
        if function not in seen:
            seen[function] = [value for value in function.__globals__.values() if inspect.ismodule(value) and value in languages]
        done = seen[function] and all(not core.is_builtin(module.load) for module in seen[function])  # a builtin no more: prepared, and not yet put back
        return interpreter._LangPatchScope() if done else whole(function)

    interpreter._patch_each, interpreter._patch_lang = whole, patch


def _look_up_types(interpreter: Any, core: Any) -> None:
    dtype, block, tensor = interpreter._get_np_dtype, core.block_type.__init__, core.tensor.__init__
    dtypes: dict[str, Any] = {}
    shapes: dict[tuple[int, ...], tuple[Any, int, str]] = {}
    sizes: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def np_dtype(of: Any) -> Any:
        found = dtypes.get(of.name)
        if found is None:
            found = dtypes[of.name] = dtype(of)
        return found

    def make_block_type(self: Any, element_ty: Any, shape: Any) -> None:
        key = tuple(getattr(shape, "values", shape))
        if key not in shapes:
            block(self, element_ty, shape)
            if all(type(size) is int for size in key):
                shapes[key] = self.shape, self.numel, str(self.shape)
        else:
            self.element_ty = element_ty
            self.shape, self.numel, text = shapes[key]
            self.name = f"<{text}, {element_ty}>"

    def make_tensor(self: Any, handle: Any, type: Any) -> None:
        key = tuple(type.shape.values) if type.is_block() else ()
        if key not in sizes:
            tensor(self, handle, type)
            sizes[key] = self.shape, self.numel
        else:
            self.handle, self.type, self.dtype = handle, type, type.scalar
            self.shape, self.numel = sizes[key]

    interpreter._get_np_dtype, core.block_type.__init__, core.tensor.__init__ = np_dtype, make_block_type, make_tensor


def _leave_alone_what_fits(semantic: Any) -> None:
    broadcast, sanitize = semantic.broadcast_impl_value, semantic.binary_op_sanitize_overflow_impl

    def to_one_shape(self: Any, lhs: Any, rhs: Any) -> Any:
        a, b = lhs.type, rhs.type
        return (lhs, rhs) if a.is_block() and b.is_block() and a.shape.values == b.shape.values else broadcast(self, lhs, rhs)

    def checked(self: Any, *given: Any) -> None:
        if self.builder.options.debug:  # else no assertion of a kernel speaks
            sanitize(self, *given)

    semantic.broadcast_impl_value, semantic.binary_op_sanitize_overflow_impl = to_one_shape, checked


def _write_nothing_out(interpreter: Any) -> None:
    def splat(self: Any, ret_ty: Any, arg: Any) -> Any:
        number = np.asarray(arg.data, dtype=interpreter._get_np_dtype(arg.dtype)).reshape(-1)[:1]
        shape = ret_ty.shape.values
        return interpreter.TensorHandle(np.ndarray(shape, number.dtype, number, strides=(0,) * len(shape)), arg.dtype.scalar)

    interpreter.InterpreterBuilder.create_splat = splat
