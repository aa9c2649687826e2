"""Triton's interpreter, without what it does again and again: it prepares `triton.language` for every call of a device function, though the kernel around it has
done so, and half of its time goes there. The operations that run are the same.
"""

import inspect
import sys
from typing import Any


def prepare_once() -> None:
    """From now on, if Triton is there and its interpreter's parts have the names that they have in Triton 3.6."""
    interpreter: Any = sys.modules.get("triton.runtime.interpreter")
    if interpreter is None or not all(hasattr(interpreter, name) for name in ("_patch_lang", "_LangPatchScope", "tl")) or hasattr(interpreter, "_patch_each"):
        return
    tl, whole = interpreter.tl, interpreter._patch_lang

    def patch(function: Any) -> Any:
        seen = [module for module in function.__globals__.values() if inspect.ismodule(module) and module in (tl, tl.core)]
        done = seen and all(not tl.core.is_builtin(module.load) for module in seen)  # a builtin function no more: it has been prepared, and not yet put back
        return interpreter._LangPatchScope() if done else whole(function)

    interpreter._patch_each, interpreter._patch_lang = whole, patch
