"""The kernel of the elementwise pattern, for every formula."""

from collections.abc import Callable
from typing import Any

from kernels import caught


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


def variants(name: str) -> int:
    """Compiles everything for one target; the number of kernels built."""
    import torch

    from losskit.engines.language import derivatives
    from losskit.engines.triton import elementwise as engine

    n = 4096
    formulas = calls()
    parametric = next(f for f in formulas if f.__module__.endswith("binary_cross_entropy_with_logits") and f.__name__ == "formula")

    def data(dtype: torch.dtype) -> torch.Tensor:
        return torch.full((n,), 0.5, dtype=dtype)

    with caught((engine.pointwise, engine.add_up, engine.invert), name) as built:
        engine.scale_of(torch.ones(()), torch.float32)
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
    return len(built)
