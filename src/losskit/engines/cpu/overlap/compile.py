"""Compiling the loops of the overlap pattern (`compiler.py`)."""

from collections.abc import Callable
from typing import Any

import torch

from losskit.engines.cpu.core import loops
from losskit.engines.cpu.core.compiler import LOOP, REASSOCIATE, compiled, constants, instance, reader, stack_memory, writer
from losskit.engines.cpu.core.math import NAMES
from losskit.engines.cpu.core.store import Code
from losskit.engines.cpu.overlap import loops as overlap_loops
from losskit.engines.cpu.overlap import points as overlap_points
from losskit.engines.cpu.rows import loops as row_loops
from losskit.engines.cpu.rows import tiles as tile_loops
from losskit.engines.cpu.rows.compile import row_names, squares


def shared(number: bool, formula: Callable[..., Any] | None, params: int, squared: bool, *dtypes: torch.dtype) -> dict[str, Any]:
    """What both families of loops use: the names of rows, and the places of this pattern's context."""
    input, target, factor = dtypes
    names = row_names(formula or nothing, params, None, input, target, factor)
    names |= constants(overlap_loops)
    real = names["REAL"]
    names |= dict(NUMBERS=number, EXTRA=formula is not None, SQUARED=squared, TWO=real(2), ROW=overlap_loops.MAX_WIDTH * names["REAL_ITEM"], abs=abs)
    names |= dict(read_t=reader(target, real), write_t=writer(target), unit=NAMES["float32" if names["REAL_ITEM"] == 4 else "float64"]["unit"])
    names["params"] = instance(loops.PARAMETERS[params], names)
    return names


def nothing(nll, hit, miss, spread, lse, weight):
    """No loss of the items."""
    return 0.0, 0.0, 0.0, 0.0


def softmax(gradients: bool, planes: bool, number: bool, formula: Callable[..., Any] | None, params: int, squared: bool, *dtypes: torch.dtype) -> Code:
    """`overlap_loops.softmax_sums` or `softmax_gradients`, with classes apart in memory (`planes`) or next to each other."""
    walk = overlap_loops
    names = shared(number, formula, params, squared, *dtypes)
    names |= squares(names)
    names["labels_of"] = instance(row_loops.labels_of, names)
    names |= dict(
        items_of=instance(walk.factors_of if number else row_loops.labels_of, names), hit=instance(walk.hit_number if number else walk.hit_label, names)
    )
    names |= dict(
        pulled=instance(walk.pulled_by_number if number else walk.pulled_by_label, names), PLANES=planes, load_scores=instance(walk.load_scores, names)
    )
    load, store, ask = (
        (tile_loops.load_planes, tile_loops.store_planes, tile_loops.ask_planes)
        if planes
        else (tile_loops.load_rows, tile_loops.store_rows, tile_loops.ask_rows)
    )
    names |= zip(("load_tile", "store_tile", "ask_ahead"), (instance(part, names) for part in (load, store, ask)), strict=True)
    for part in (walk.softmax_items, walk.level_items, walk.chances, walk.leave, walk.exponentials_of_class, walk.look_ahead):
        names[part.__name__] = instance(part, names)
    names["sums_of_class"] = instance(walk.sums_of_class, names, REASSOCIATE)
    names["give_tile"] = instance(walk.give_planes if planes else walk.give_rows, names)
    names["give_target"] = instance(walk.leave_target if number else walk.no_leave_target, names)
    names["stack"] = stack_memory((walk.TILE + walk.SIDES * walk.MAX_WIDTH + 2 * row_loops.FLAT) * names["REAL_ITEM"])
    return compiled(walk.softmax_gradients if gradients else walk.softmax_sums, names, LOOP)


def points(
    gradients: bool, logits: bool, number: bool, formula: Callable[..., Any] | None, params: int, squared: bool, factored: bool, *dtypes: torch.dtype
) -> Code:
    """`overlap_points.point_sums` or `point_gradients`."""
    walk = overlap_points
    names = shared(number, formula, params, squared, *dtypes) | dict(FACTORED=factored)
    names["chance"] = instance(walk.chance_of_logit if logits else walk.chance_given, names)
    names["target_at"] = instance(walk.number_at if number else walk.label_at, names)
    names["stretch_sums"] = instance(walk.sums_of_stretch, names, REASSOCIATE)
    names["stretch_gradients"] = instance(walk.gradients_of_stretch, names)
    names["target_gradients"] = instance(walk.target_gradients_of_stretch if number else walk.no_target_gradients, names)
    names["stack"] = stack_memory(overlap_loops.MAX_WIDTH * names["REAL_ITEM"])
    return compiled(walk.point_gradients if gradients else walk.point_sums, names, LOOP)
