"""What losskit uses of PyTorch that is not public: each part with what it is for, and what stands in for it in a version of PyTorch that lacks it.

Checked on PyTorch 2.13 (`tests/test_private.py` names each part and runs losskit with each stand-in). A stand-in is always right, and at worst slow: where
nobody can tell whether a transform is active, every call runs in PyTorch operations.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

MISSING: set[str] = set()  # parts that this version of PyTorch does not have


def part(owner: Any, path: str, instead: Any) -> Any:
    """A private part by its path; `instead` where there is none."""
    found = owner
    for name in path.split("."):
        found = getattr(found, name, None)
        if found is None:
            MISSING.add(path)
            return instead
    return found


def assumed(*_: Any) -> bool:
    """Nobody can tell: assume that it is so."""
    return True


def never(*_: Any) -> bool:
    """It cannot be so where nothing is there to make it so."""
    return False


def one_number(kind: type[Tensor], shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One number in all places."""
    return torch.zeros((), dtype=dtype, device=device).expand(shape).as_subclass(kind)


def tracing_state() -> object:
    """Something while torch.jit.trace records, else None."""
    return True if torch.jit.is_tracing() else None  # type: ignore[attr-defined, no-untyped-call]


# a transform of torch.func is active
transforming: Callable[[], bool] = part(torch._C, "_are_functorch_transforms_active", assumed)
# how many dispatch modes are (fake tensors, proxies, logging, ...)
dispatching: Callable[[], int] = part(torch._C, "_len_torch_dispatch_stack", assumed)
# torch.jit.trace records; torch.jit.is_tracing is public and takes longer
tracing: Callable[[], object] = part(torch._C, "_get_tracing_state", tracing_state)


def compiling() -> bool:
    """Whether this call is being compiled or exported: `torch.compiler.is_compiling()` is true in all threads while one of them compiles."""
    return torch.compiler.is_compiling() and (torch.compiler.is_dynamo_compiling() or dispatching() > 0)


# a tensor of a batch of gradients (`is_grads_batched=True`)
is_batched: Callable[[Tensor], bool] = part(torch._C, "_functorch.is_legacy_batchedtensor", assumed)
# zeros without memory, which forward-mode derivatives make
is_zero: Callable[[Tensor], bool] = part(Tensor, "_is_zerotensor", never)


# the level of forward-mode differentiation, `levels._current_level`: -1 outside, read without a call
levels: Any = forward_ad if hasattr(forward_ad, "_current_level") else SimpleNamespace(_current_level=0)


# whether this processor multiplies bfloat16 by instructions for it
multiplies_bfloat16: Callable[[], bool] = part(torch, "cpu._is_avx512_bf16_supported", never)
# what a subclass says whose operations are to reach its dispatch as they are
no_torch_function: Any = part(torch._C, "_disabled_torch_function_impl", Tensor.__torch_function__)
# a tensor of a class of ours that has a shape and no memory: (class, shape, dtype=, device=)
without_memory: Callable[..., Any] = part(Tensor, "_make_wrapper_subclass", one_number)


def certain(condition: Any) -> bool:
    """Whether a condition on sizes holds for all graphs: of a size that may vary it is not, and nothing is assumed about it."""
    if isinstance(condition, bool):
        return condition
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return statically_known_true(condition)


def quick_apply(function: type[torch.autograd.Function]) -> Callable[..., Any]:
    """`function.apply` without its preparations for torch.func, which take 3 of a small call's 45 microseconds: for calls outside every transform."""
    base = part(torch._C, "_FunctionBase", None)
    return function.apply if base is None else vars(base)["apply"].__get__(None, function)


def constant_to_the_compiler(function: Callable[..., Any]) -> Callable[..., Any]:
    """Has the compiler call a function while it traces, and take what it gives as a constant.

    It is torch.compiler.assume_constant_result without importing the compiler, which takes longer than all of losskit. A version that looks for another mark tries to
    trace the function, and says so.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function
