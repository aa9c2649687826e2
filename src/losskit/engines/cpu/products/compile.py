"""Compiling the loop of the products pattern."""

import numpy as np
import torch

from losskit.engines.cpu.core.compiler import LOOP, STORED, compiled, reader, shared_names, writer
from losskit.engines.cpu.core.half import f32_of, u32_of
from losskit.engines.cpu.core.store import Code
from losskit.engines.cpu.products import loops


def carry(dtype: torch.dtype) -> Code:
    """`loops.carry` of sums of numbers of one dtype."""
    names = shared_names(np.float32) | loops.CONTEXT.places
    names |= dict(STORAGE=STORED[dtype][0], ITEM=dtype.itemsize, read=reader(dtype, np.float32), narrow=writer(torch.bfloat16), f32_of=f32_of, u32_of=u32_of)
    return compiled(loops.carry, names | dict(uint16=np.uint16, uint32=np.uint32, min=min), LOOP)
