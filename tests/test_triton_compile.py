"""Every formula becomes machine code for NVIDIA and AMD GPUs, on a machine that has none.

A subprocess (Triton decides once, when it is imported, whether to interpret) runs the engine on CPU tensors, catches each kernel with its arguments just
before the launch, and compiles it for the target as the launch would have done: same signature, same specialisation, same options.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}


def compiled(file: str) -> dict[str, int]:
    """How many kernels a file of this kind built for each target, in one process for all: half of what each would take is the start."""
    pytest.importorskip("triton", reason="Triton")
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run([sys.executable, "-W", "error", file], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    built = {name: int(kernels) for name, kernels in map(str.split, done.stdout.splitlines())}
    assert built.keys() == TARGETS.keys()
    return built


def every_target(main: Callable[[str], int]) -> None:
    """What that process runs."""
    for name in TARGETS:
        print(name, main(name), flush=True)


def test_every_formula_compiles():
    built = compiled(__file__)
    assert all(kernels > (40 if name == "sm_90" else 17) for name, kernels in built.items()), built


def calls() -> dict[Callable[..., Any], Any]:
    """Every formula that the registry's settings reach, as the loss calls it."""
    import torch

    from losskit.contract.registry import LOSSES
    from losskit.engines.dispatch import use_engine
    from losskit.engines.torch import elementwise as plain
    from losskit.testing.inputs import within

    seen: dict[Callable[..., Any], Any] = {}
    total = plain.total

    def note(call: Any, operands: tuple[torch.Tensor, ...], scale: Any) -> torch.Tensor:
        seen.setdefault(call.formula, (call._replace(factors=()), len(operands)))
        return total(call, operands, scale)

    plain.total = note
    try:
        x = torch.full((2,), 0.5)
        for loss in LOSSES.of("elementwise").values():
            for settings in loss.arguments:
                tensors = {k: torch.tensor(v) if isinstance(v, list) else v for k, v in settings.items()}
                with use_engine("torch"):
                    loss.function(*within(loss, x, x), **tensors)
    finally:
        plain.total = total
    return seen


@contextmanager
def caught(kernels: Any, target: Any) -> Iterator[list[Any]]:
    """Compiles each kernel in place of launching it; collects the results."""
    from triton.compiler import ASTSource, make_backend
    from triton.compiler import compile as build
    from triton.runtime.jit import create_function_from_signature

    backend = make_backend(target)
    built: list[Any] = []

    def instead(kernel: Any) -> Callable[..., None]:
        def run(*args: Any, grid: Any, warmup: bool, **options: Any) -> None:
            binder = create_function_from_signature(kernel.signature, kernel.params, backend)
            arguments, specialization, chosen = binder(*args, **options, debug=False)
            chosen, signature, constants, attributes = kernel._pack_args(backend, options, arguments, specialization, chosen)
            built.append(build(ASTSource(kernel, signature, constants, attributes), target=target, options=chosen.__dict__))

        return run

    for kernel in kernels:
        kernel.run = instead(kernel)
    yield built
    for kernel in kernels:
        del kernel.run


def main(name: str) -> int:
    """Compiles everything for one target; the number of kernels built."""
    import torch
    from triton.backends.compiler import GPUTarget

    from losskit.engines.language import derivatives
    from losskit.engines.triton import elementwise as engine

    n = 4096
    formulas = calls()
    parametric = next(f for f in formulas if f.__module__.endswith("binary_cross_entropy_with_logits") and f.__name__ == "formula")

    def data(dtype: torch.dtype) -> torch.Tensor:
        return torch.full((n,), 0.5, dtype=dtype)

    with caught((engine.pointwise, engine.add_up), GPUTarget(*TARGETS[name])) as built:
        for call, count in formulas.values():
            engine.run(call, (data(torch.float32),) * count, scale=1 / n, wants=(True,) + (False,) * (count - 1))
        if name == "sm_90":
            for call, count in formulas.values():
                engine.run(call, (data(torch.float64),) * count, wants=tuple(k < derivatives(call.formula) for k in range(count)))
            for call in (formulas[parametric][0], *(call for call, count in list(formulas.values())[-2:] if count == 2)):
                for dtype in (torch.float32, torch.float16, torch.bfloat16):
                    x, target, weight = data(dtype), torch.ones(n, dtype=torch.bool), torch.ones(())
                    mask = torch.ones(n, dtype=torch.bool)
                    engine.run(call, (x, x), each=True)
                    engine.run(call, (x, x), incoming=data(torch.float32), wants=(True, True))
                    masked = call._replace(factors=(mask,))
                    engine.run(masked, (x, target), scale=weight, wants=(True, False))
                    gradients = torch.empty_like(x), None
                    engine.rescaled(gradients, torch.ones(()), masked, (x, target), weight, (True, False))
            for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64):
                engine.run(formulas[parametric][0], (data(torch.float32), torch.ones(n, dtype=dtype)), wants=(True, False))
            call, _ = formulas[parametric]
            engine.run(call._replace(params=call.params[1:]), (data(torch.float32), data(torch.float32), torch.ones(n)), wants=(True, False, False))
            odd = torch.full((1,), 0.5)  # Triton treats sizes of 1 and of multiples of 16 apart
            engine.run(call, (odd, odd), wants=(True, False))
    code = "cubin" if TARGETS[name][0] == "cuda" else "hsaco"
    assert all(len(kernel.asm[code]) > 1000 for kernel in built)
    return len(built)


if __name__ == "__main__":
    every_target(main)
