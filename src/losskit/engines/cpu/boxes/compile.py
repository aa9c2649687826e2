"""Compiling the loop of the boxes pattern (`compiler.py`)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from losskit.engines.call import real_dtype
from losskit.engines.cpu.boxes import loops as box_loops
from losskit.engines.cpu.core import loops
from losskit.engines.cpu.core.compiler import (
    LOOP,
    NUMPY_REAL,
    REASSOCIATE,
    STORED,
    bound,
    compiled,
    constants,
    instance,
    reader,
    shared_names,
    stack_memory,
    writer,
)
from losskit.engines.cpu.core.store import Code

FORMS = {
    4: {
        "xyxy": (box_loops.as_they_are, box_loops.as_they_are),
        "xywh": (box_loops.from_corner4, box_loops.to_corner4),
        "cxcywh": (box_loops.from_centre4, box_loops.to_centre4),
    },
    5: {"cxcywha": (box_loops.as_they_are, box_loops.as_they_are)},
    6: {
        "xyxy": (box_loops.as_they_are, box_loops.as_they_are),
        "xywh": (box_loops.from_corner6, box_loops.to_corner6),
        "cxcywh": (box_loops.from_centre6, box_loops.to_centre6),
    },
}
WALKS = {
    4: (box_loops.parts4, box_loops.load4, box_loops.store4),
    5: (box_loops.parts5, box_loops.load5, box_loops.store5),
    6: (box_loops.parts6, box_loops.load6, box_loops.store6),
}


def boxes(
    formula: Callable[..., Any],
    params: int,
    numbers: int,
    form: str,
    gradients: int,
    input: torch.dtype,
    target: torch.dtype,
    factor: torch.dtype | None,
) -> Code:
    """`box_loops.boxes` for one formula, boxes of so many numbers written in one way, one set of dtypes, none to two gradients."""
    real = NUMPY_REAL[real_dtype(input)]
    names = shared_names(real) | constants(box_loops)
    names |= dict(ZERO=real(0), ONE=real(1), HALF=real(0.5), REAL_ITEM=np.dtype(real).itemsize, NUMBERS=numbers, GRADIENTS=gradients)
    names |= dict(STORED=STORED[input][0], ITEM=input.itemsize, STORED_T=STORED[target][0], T_ITEM=target.itemsize)
    names["corners"], names["given"] = (instance(part, names) for part in FORMS[numbers][form])
    parts, load, store = WALKS[numbers]
    names["parts"] = instance(parts, names)
    for side, dtype in (("x", input), ("t", target)):
        names[f"load_{side}"] = instance(load, {**names, "read": reader(dtype, real)})
        names[f"store_{side}"] = instance(store, {**names, "write": writer(dtype)})
    weights = factor or torch.bool
    names |= dict(FACTOR_TYPE=STORED[weights][0], FACTOR_ITEM=weights.itemsize)
    names["factor"] = instance(box_loops.weighed if factor else box_loops.counted, {**names, "read": reader(weights, real)})
    names["formula"] = bound(formula, real)
    names["params"] = instance(loops.PARAMETERS[params], names)
    names["block_sum"] = instance(loops.block_sum, names, REASSOCIATE)
    names["stack"] = stack_memory(box_loops.BLOCK * names["REAL_ITEM"])
    return compiled(box_loops.boxes, names, LOOP)
