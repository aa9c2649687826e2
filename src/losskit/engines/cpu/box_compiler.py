"""Compiling the loop of the boxes pattern (`compiler.py`)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from losskit.engines.call import real_dtype
from losskit.engines.cpu import box_loops, loops
from losskit.engines.cpu.compiler import LOOP, NUMPY_REAL, STORED, SUMS, compiled, instance, reader, shared_names, stack_memory, writer
from losskit.engines.cpu.math import NAMES, scalar
from losskit.engines.cpu.store import Code
from losskit.engines.language import bind

FORMS = {
    "xyxy": (box_loops.from_corners, box_loops.to_corners),
    "xywh": (box_loops.from_corner, box_loops.to_corner),
    "cxcywh": (box_loops.from_centre, box_loops.to_centre),
}


def boxes(
    formula: Callable[..., Any],
    params: int,
    form: str,
    factored: bool,
    forward: bool,
    each: bool,
    grad_input: bool,
    grad_target: bool,
    input: torch.dtype,
    target: torch.dtype,
    factor: torch.dtype,
) -> Code:
    """`box_loops.boxes` for one formula, one way to write boxes, one set of dtypes and outputs."""
    real = NUMPY_REAL[real_dtype(input)]
    names = shared_names(real) | {name: value for name, value in vars(box_loops).items() if name.isupper() and isinstance(value, int)}
    names |= dict(
        ZERO=real(0), HALF=real(0.5), REAL_ITEM=np.dtype(real).itemsize, FACTORED=factored, FORWARD=forward, EACH=each, OUT_X=grad_input, OUT_T=grad_target
    )
    names |= dict(STORED=STORED[input][0], ITEM=input.itemsize, read=reader(input, real), write=writer(input))
    names |= dict(STORED_T=STORED[target][0], T_ITEM=target.itemsize, read_t=reader(target, real), write_t=writer(target))
    names |= dict(FACTOR_TYPE=STORED[factor][0], FACTOR_ITEM=factor.itemsize, read_factor=reader(factor, real))
    names["formula"] = bind(formula, NAMES[np.dtype(real).name], scalar, literal=real)
    names |= zip(("corners", "given"), (instance(part, names) for part in FORMS[form]), strict=True)
    names["params"] = instance(loops.PARAMETERS[params], names)
    names["block_sum"] = instance(loops.block_sum, names, SUMS)
    names["stack"] = stack_memory(box_loops.BLOCK * names["REAL_ITEM"])
    return compiled(box_loops.boxes, names, LOOP)
