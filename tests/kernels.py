"""What `test_triton_compile.py` runs in a process of its own: `python tests/kernels.py PATTERN` compiles what `kernels_PATTERN.py` names, for every target or for
those named.

Triton decides once, when it is imported, whether to interpret. The engine runs on CPU tensors; each kernel is caught with its arguments just before the launch, and
compiled for the target as the launch would have done: same signature, same specialisation, same options.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from math import prod
from typing import Any

TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "sm_100": ("cuda", 100, 32), "gfx942": ("hip", "gfx942", 64)}


@contextmanager
def caught(kernels: Any, name: str) -> Iterator[list[Any]]:
    """Compiles each kernel for a target in place of launching it; collects the results, all of which must be machine code, with how many programs were to run."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, make_backend
    from triton.compiler import compile as build
    from triton.runtime.jit import create_function_from_signature

    target = GPUTarget(*TARGETS[name])
    backend = make_backend(target)
    built: list[Any] = []

    def instead(kernel: Any) -> Callable[..., None]:
        def run(*args: Any, grid: Any, warmup: bool, **options: Any) -> None:
            binder = create_function_from_signature(kernel.signature, kernel.params, backend)
            arguments, specialization, chosen = binder(*args, **options, debug=False)
            chosen, signature, constants, attributes = kernel._pack_args(backend, options, arguments, specialization, chosen)
            built.append(build(ASTSource(kernel, signature, constants, attributes), target=target, options=chosen.__dict__))
            built[-1].programs = prod(grid)

        return run

    for kernel in kernels:
        kernel.run = instead(kernel)
    yield built
    for kernel in kernels:
        del kernel.run
    code = "cubin" if TARGETS[name][0] == "cuda" else "hsaco"
    assert built and all(len(kernel.asm[code]) > 1000 for kernel in built)


if __name__ == "__main__":
    variants = import_module(f"kernels_{sys.argv[1]}").variants
    for target in sys.argv[2:] or TARGETS:
        print(target, variants(target), flush=True)
