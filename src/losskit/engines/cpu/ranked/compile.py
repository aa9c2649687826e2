"""Compiling the loops of the ranked pattern (`compiler.py`)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from losskit.engines.cpu.core.compiler import LOOP, compiled, constants, instance, reader, stack_memory
from losskit.engines.cpu.core.math import NAMES, bits, from_bits
from losskit.engines.cpu.core.store import Code
from losskit.engines.cpu.ranked import loops as ranked_loops
from losskit.engines.cpu.rows import loops as row_loops
from losskit.engines.cpu.rows import tiles as tile_loops
from losskit.engines.cpu.rows.compile import row_names


def nothing(nll, hit, miss, spread, lse, weight):
    """There is no loss of the items."""
    return 0.0, 0.0, 0.0, 0.0


def shared(*dtypes: torch.dtype) -> dict[str, Any]:
    """The names of rows, and the places of this pattern's context."""
    input, target, factor = dtypes
    names = row_names(nothing, 0, None, input, target, factor)
    names |= constants(ranked_loops)
    names |= dict(ROW=ranked_loops.MAX_WIDTH * names["REAL_ITEM"], bits=bits, from_bits=from_bits)
    names |= dict(uint32=np.uint32, uint64=np.uint64, NAN=names["REAL"](np.nan))
    names["packed"] = instance(ranked_loops.packed, names)
    return names


def softmax(gradient: bool, *dtypes: torch.dtype) -> Code:
    """`ranked_loops.softmax_errors`, or `softmax_gradient`."""
    walk, names = ranked_loops, shared(*dtypes)
    parts: list[Callable[..., Any]] = [row_loops.labels_of, tile_loops.load_planes, tile_loops.ask_planes]
    parts += [walk.softmax_items, walk.exponentials_of_class, walk.exponentials_and_slopes, walk.chances, walk.leave]
    for part in parts:
        names[part.__name__] = instance(part, names)
    names["stack"] = stack_memory((walk.TILE + walk.SIDES * walk.MAX_WIDTH) * names["REAL_ITEM"])
    return compiled(walk.softmax_gradient if gradient else walk.softmax_errors, names, LOOP)


def points(link: str, number: bool, factored: bool, *dtypes: torch.dtype) -> Code:
    """`ranked_loops.point_errors`."""
    walk, names = ranked_loops, shared(*dtypes)
    target = np.float64 if dtypes[1] is torch.float64 else np.float32
    names |= dict(NUMBERS=number, FACTORED=factored, TARGET=target, read_t=reader(dtypes[1], target), unit=NAMES["float32"]["unit"])
    names["error"] = instance(walk.hinge if link == "hinge" else walk.distance, names)
    names["target_at"] = instance(walk.number_at if number else walk.label_at, names)
    return compiled(walk.point_errors, names, LOOP)


def ranks() -> Code:
    """`ranked_loops.ranks`, which reads nothing but errors."""
    walk, names = ranked_loops, shared(torch.float32, torch.int64, torch.bool)
    for part in (walk.look, walk.collect, walk.round_of_sorting, walk.sort, walk.spread_slopes):
        names[part.__name__] = instance(part, names)
    names["stack"] = stack_memory(walk.COUNTERS * 4)
    return compiled(walk.ranks, names, LOOP)
