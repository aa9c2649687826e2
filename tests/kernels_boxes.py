"""The kernels of the boxes and pairs patterns, in their variants."""

import re
from typing import Any

from kernels import caught


def calls() -> list[Any]:
    """Every formula that the registry's settings reach, as the loss calls it."""
    import torch

    from losskit.contract.registry import LOSSES
    from losskit.engines.dispatch import use_engine
    from losskit.engines.torch import boxes as plain

    seen: dict[Any, Any] = {}
    total = plain.total

    def note(call: Any, *rest: Any) -> torch.Tensor:
        seen.setdefault(call.formula, call)
        return total(call, *rest)

    plain.total = note
    try:
        with use_engine("torch"):
            for loss in LOSSES.of("boxes").values():
                for settings in loss.arguments:
                    loss.function(torch.zeros(1, 4), torch.ones(1, 4), **settings)
    finally:
        plain.total = total
    return list(seen.values())


def variants(name: str) -> int:
    """Compiles the variants for one target; the number of kernels built."""
    import torch

    from losskit.engines.axes import written_out
    from losskit.engines.call import Boxes
    from losskit.engines.triton import boxes as engine
    from losskit.engines.triton import elementwise, pairs
    from losskit.losses.detection import ciou, diou, giou, iou, probiou
    from losskit.pairwise import FORMULAS

    def data(boxes: int, dtype: torch.dtype = torch.float32, numbers: int = 4) -> torch.Tensor:
        return torch.zeros((boxes, numbers), dtype=dtype)

    every = calls()
    log, full = (next(call for call in every if call.formula is written_out(formula, 2)) for formula in (iou.logarithm, ciou.formula))
    n = 4096
    with caught((engine.boxwise, elementwise.add_up), name) as built:
        engine.run(full, (data(n), data(n)), scale=1 / n, wants=(True, False))  # and `add_up`
        masked = log._replace(form="cxcywh", factor=torch.ones(n, dtype=torch.bool))
        engine.run(masked, (data(n, torch.bfloat16), data(n)), scale=torch.ones(()), wants=(True, True))
        for formula in (giou.turned_formula, probiou.turned_l1, probiou.turned_l2, diou.turned_formula, *iou.TURNED.values())[: 7 if name == "sm_90" else 2]:
            engine.run(Boxes(formula, (1.0,), "cxcywha"), (data(n, numbers=5), data(n, torch.bfloat16, numbers=5)), wants=(True, True))
        if name == "sm_90":
            for call in every:
                if call.formula not in (full.formula, log.formula):
                    engine.run(call, (data(n), data(n)), each=True, wants=(True, False))
            for form in (iou.linear, iou.square, iou.logarithm, giou.formula, diou.formula):
                engine.run(log._replace(formula=written_out(form, 3)), (data(n, numbers=6), data(n, numbers=6)), wants=(True, True))
            x, t = data(1, torch.float16), data(1, torch.float16)  # Triton treats sizes of 1 and of multiples of 16 apart
            gradients = torch.empty_like(x), None
            engine.rescaled(gradients, torch.ones(()), log, (x, t), torch.ones(()), (True, False))
    if name == "sm_90":
        with caught((engine.boxwise,), name) as wide:
            x = data(n, torch.float64)
            engine.run(full._replace(form="xywh"), (x, x), incoming=torch.rand(n), wants=(True, True))  # the angle is another polynomial
            engine.run(log, (x, x), each=True, wants=(True, False))
            x = data(n, torch.float64, numbers=5)
            engine.run(Boxes(giou.turned_formula, (1.0,), "cxcywha"), (x, x), each=True, wants=(True, False))
        for kernel in wide:  # Triton holds a constant that comes by way of a local variable in float32
            narrow = re.findall(r"arith.constant (?:dense<)?([^>:]*)>? : (?:tensor<[^>]*xf32>|f32)", kernel.asm["ttir"])
            assert "xf64>" in kernel.asm["ttir"] and all(2 * float(c) == round(2 * float(c)) for c in narrow), narrow
        built += wide
    with caught((pairs.matrix, pairs.gradients, pairs.largest), name) as matched:
        for formula, dtype in ((FORMULAS["giou"], torch.float32), (FORMULAS["ciou"], torch.float64))[: 2 if name == "sm_90" else 1]:
            a, b = data(300, dtype), data(100, dtype)
            call = full._replace(formula=written_out(formula, 2), params=())
            pairs.run(call, (a, b))
            pairs.run(call, (a, b), incoming=torch.ones(300, 100, dtype=dtype), wants=(True, True))
            pairs.best(call, a, b)
    assert len(matched) == (8 if name == "sm_90" else 4)
    built += matched
    return len(built)
