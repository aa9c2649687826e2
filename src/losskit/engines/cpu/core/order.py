"""Numbers as integers of the same order, for comparisons that a vector of integers makes cheaper."""

from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types

from losskit.engines.cpu.core.math import bitcast, scalar

key_of, key_64 = bitcast(types.float32, types.int32, ir.IntType(32)), bitcast(types.float64, types.int64, ir.IntType(64))
of_key, of_key_64 = bitcast(types.int32, types.float32, ir.FloatType()), bitcast(types.int64, types.float64, ir.DoubleType())


def ordered(real: Any, integer: Any, to_bits: Any, from_bits: Any) -> tuple[Any, Any]:
    """(key, from_key): numbers as integers of the same order; NaN is the largest."""
    shift, low = integer(8 * np.dtype(integer).itemsize - 1), integer(np.iinfo(integer).max)

    @scalar
    def key(x):
        i = to_bits(x)
        return integer(i ^ ((i >> shift) & low))

    @scalar
    def from_key(i):
        return from_bits(integer(i ^ ((i >> shift) & low)))

    return key, from_key


KEYS = {torch.float32: ordered(np.float32, np.int32, key_of, of_key), torch.float64: ordered(np.float64, np.int64, key_64, of_key_64)}
