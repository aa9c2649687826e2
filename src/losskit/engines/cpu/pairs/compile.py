"""Compiling the loops of the boxes pattern on all pairs (`compiler.py`)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from losskit.engines.call import real_dtype
from losskit.engines.cpu.boxes.compile import FORMS
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
    real_of,
    stack_memory,
    view,
    writer,
)
from losskit.engines.cpu.core.order import key_64, key_of, of_key, of_key_64
from losskit.engines.cpu.core.store import Code
from losskit.engines.cpu.pairs import loops as pair_loops


def shared(form: str, apart: torch.dtype, one: torch.dtype) -> dict[str, Any]:
    """What every loop uses: the boxes that are taken apart, block by block, and those that are looked at one at a time."""
    real = NUMPY_REAL[real_dtype(apart)]
    names: dict[str, Any] = constants(pair_loops)
    names |= dict(view=view, real_of=real_of, min=min, range=range, float64=np.float64, int64=np.int64, int32=np.int32)
    names |= dict(REAL=real, REAL_ITEM=np.dtype(real).itemsize, ZERO=real(0), HALF=real(0.5), INFINITY=real(np.inf))
    names |= dict(STORED=STORED[apart][0], ITEM=apart.itemsize, read=reader(apart, real), write=writer(apart))
    names |= dict(STORED_ONE=STORED[one][0], ITEM_ONE=one.itemsize, read_one=reader(one, real))
    to_integer, of_integer, integer = (key_of, of_key, np.int32) if real is np.float32 else (key_64, of_key_64, np.int64)
    names |= dict(to_integer=to_integer, of_integer=of_integer, INTEGER=integer)
    names |= zip(("corners", "given"), (instance(part, names) for part in FORMS[4][form]), strict=True)
    for part in (pair_loops.corners_apart, pair_loops.corners_of, pair_loops.tile_of, pair_loops.shares):
        names[part.__name__] = instance(part, names)
    names["stack"] = stack_memory(pair_loops.WIDTH * pair_loops.BLOCK * names["REAL_ITEM"])
    return names


def pairs(loop: str, formula: Callable[..., Any], form: str, grad_a: bool, grad_b: bool, a: torch.dtype, b: torch.dtype) -> Code:
    """`pair_loops.matrix`, `gradients` or `best` for one formula, one way to write boxes, one pair of dtypes."""
    names = shared(form, a, b) if loop == "best" else shared(form, b, a)
    names |= dict(OUT_A=grad_a, OUT_B=grad_b)
    names["formula"] = bound(formula, names["REAL"])
    names["block_sum"] = instance(loops.block_sum, names, REASSOCIATE)
    return compiled(getattr(pair_loops, loop), names, LOOP)


def add_tiles(form: str, dtype: torch.dtype) -> Code:
    """`pair_loops.add_tiles` for the gradients of one side."""
    return compiled(pair_loops.add_tiles, shared(form, dtype, dtype) | pair_loops.ADD_TILES.places, LOOP)
