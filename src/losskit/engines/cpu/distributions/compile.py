"""Compiling the loops of rows with distributions (`compiler.py`)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from losskit.engines.call import real_dtype
from losskit.engines.cpu.core import loops
from losskit.engines.cpu.core.compiler import (
    LOOP,
    NUMPY_REAL,
    REASSOCIATE,
    STORED,
    compiled,
    constants,
    converter,
    instance,
    reader,
    shared_names,
    stack_memory,
    writer,
)
from losskit.engines.cpu.core.math import NAMES
from losskit.engines.cpu.core.store import Code
from losskit.engines.cpu.core.transpose import turn_square
from losskit.engines.cpu.distributions import loops as distribution_loops
from losskit.engines.cpu.distributions import tiles as tiles_of_distributions
from losskit.engines.cpu.rows import loops as row_loops
from losskit.engines.cpu.rows import operands as row_operands
from losskit.engines.cpu.rows.compile import row_names, with_stack
from losskit.engines.language import ROUNDING


def shared(
    kind: str,
    shift: bool,
    formula: Callable[..., Any],
    params: int,
    link: Callable[..., Any] | None,
    input: torch.dtype,
    target: torch.dtype,
    factor: torch.dtype,
    numbers: row_operands.Numbers,
) -> dict[str, Any]:
    """The names of the loops of rows with distributions: those of rows, and what stands for the kind of target."""
    walk = distribution_loops
    names = row_names(formula, params, link, input, target if kind == "label" else torch.int64, factor, numbers)
    names |= constants(walk)
    real = names["REAL"]
    names |= dict(STORED_T=STORED[target][0], T_ITEM=target.itemsize, read_t=reader(target, real), write_t=writer(target))
    names |= dict(ROW=walk.MAX_WIDTH * names["REAL_ITEM"], TWO=real(2), NAN=real(np.nan), ROUNDING=real(ROUNDING))
    names["PLACE"] = real if kind == "position" else np.int32
    given = kind == "distribution"
    names["shift"] = instance(walk.shifted if shift else walk.unshifted, names)
    masses = {"distribution": walk.mass_given, "label": walk.mass_of_label, "position": walk.mass_of_position, "none": walk.no_mass}
    names["mass"] = instance(masses[kind], names)
    names["keep_by_target"] = instance(walk.keep if given else walk.drop, names)
    for name, chosen in row_operands.variant(numbers).items():
        names[name] = instance(chosen, names)
    for part in (walk.apart, walk.levels, walk.log_chance, walk.slope, walk.placed):
        names[part.__name__] = instance(part, names)
    names |= dict(params=instance(loops.PARAMETERS[params], names), give=instance(row_loops.give, names, REASSOCIATE))
    return names


def rows(kind: str, shift: bool, *variant: Any) -> Code:
    """`distribution_loops.row_walk` for one formula, kind of target and triple of dtypes."""
    walk, names, given = distribution_loops, shared(kind, shift, *variant), kind == "distribution"
    names |= dict(
        label_of=instance({"label": walk.row_label, "position": walk.row_position}.get(kind, walk.no_row_label), names),
        within=instance(walk.position_within if kind == "position" else walk.label_within, names),
        base_of=instance(walk.row_base if shift else walk.no_row_base, names),
        load_target=instance(walk.load_row if given else walk.no_load_row, names),
        store_target=instance(walk.store_row if given else walk.no_store_row, names),
        exponentials=instance(walk.exponentials, names, REASSOCIATE),
        classes_of_row=instance(walk.classes_of_row, names, REASSOCIATE),
        masses_of_row=instance(walk.masses_of_row, names, REASSOCIATE),
    )
    for part in (walk.clear_row, walk.fill, walk.without_one, walk.slopes):
        names[part.__name__] = instance(part, names)
    with_stack(names, 3 * walk.BLOCK)
    return compiled(walk.row_walk, names, LOOP)


def tiles(planes: bool, kind: str, shift: bool, *variant: Any) -> Code:
    """`distribution_tiles.tile_walk`, with classes apart in memory (`planes`) or next to each other."""
    walk, names, given = tiles_of_distributions, shared(kind, shift, *variant), kind == "distribution"
    names |= dict(turn_square=turn_square(names["REAL"]), SQUARE=row_loops.LINE // names["REAL_ITEM"])
    items: row_operands.Numbers = variant[-1]
    names |= dict(fall_of=instance(row_operands.fall_of, names))
    names |= dict(
        finish_temperature=instance(walk.finish_temperature if items.by_temperature else walk.finish_no_temperature, names),
        finish_operands=instance(walk.finish_operands if items.by_operands else walk.finish_no_operands, names),
        warm_factors=instance(walk.warm_factors if items.tempered else walk.leave_factors, names),
        return_factors=instance(walk.return_factors if items.tempered else walk.leave_factors, names),
    )
    names["bend_rows"] = instance(walk.bend_shifted_rows if shift else walk.bend_rows, names)
    for part in (
        walk.link_class,
        walk.exponentials_of_class,
        walk.levels_of_tile,
        walk.class_of_tile,
        walk.masses_of_class,
        walk.sums,
        walk.leave,
        walk.leave_target,
        walk.turn_back,
    ):
        names[part.__name__] = instance(part, names)
    of_target = names | dict(read=names["read_t"], write=names["write_t"], ITEM=names["T_ITEM"], STORED=names["STORED_T"])
    load, store, store_t = (
        (walk.load_planes, walk.store_planes, walk.store_target_planes) if planes else (walk.load_rows, walk.store_rows, walk.store_target_rows)
    )
    numbers = 3 * row_loops.TILE + distribution_loops.SIDES * distribution_loops.MAX_WIDTH + row_loops.FLAT
    names["factors_of"] = instance(walk.factors_of, names)
    names |= dict(
        items_of=instance({"label": row_loops.labels_of, "position": walk.positions_of}.get(kind, walk.factors_of), names),
        base_of=instance(walk.tile_base if shift else walk.no_tile_base, names),
        load_tile=instance(load, names),
        store_tile=instance(store, names),
        load_target=instance(load if given else walk.no_load_target, of_target),
        store_target=instance(store_t if given else walk.no_store_target, of_target),
    )
    with_stack(names, numbers)
    return compiled(walk.tile_walk, names, LOOP)


def look(planes: bool, logs: bool, input: torch.dtype, factor: torch.dtype) -> Code:
    """`distribution_loops.look_at_planes` or `look_at_rows` for one pair of dtypes; of the numbers, or of their exponentials."""
    walk, real = distribution_loops, NUMPY_REAL[real_dtype(input)]
    names = shared_names(real) | constants(walk)
    names |= dict(
        abs=abs, ITEM=input.itemsize, STORED=STORED[input][0], FACTOR_TYPE=STORED[factor][0], read=reader(input, real), read_factor=reader(factor, real)
    )
    names |= dict(ZERO=real(0), EDGE=real(1 + 1e-6), INFINITY=real(np.inf), stack=stack_memory(8 * walk.MAX_WIDTH))
    names["chance"] = NAMES[np.dtype(real).name]["exp"] if logs else converter(real)
    names["checked"] = instance(walk.checked, names)
    names["summed"] = instance(walk.summed, names, REASSOCIATE)
    return compiled(walk.look_at_planes if planes else walk.look_at_rows, names, LOOP)
