"""Compiling the loops of the rows pattern, and what the patterns share that are built on it."""

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
    bound,
    compiled,
    constants,
    instance,
    reader,
    real_of,
    shared_names,
    stack_memory,
    view,
    writer,
)
from losskit.engines.cpu.core.lines import prefetch, settle, stream_line
from losskit.engines.cpu.core.math import NAMES
from losskit.engines.cpu.core.order import KEYS
from losskit.engines.cpu.core.store import Code
from losskit.engines.cpu.core.transpose import turn_square
from losskit.engines.cpu.rows import loops as row_loops
from losskit.engines.cpu.rows import operands as row_operands
from losskit.engines.cpu.rows import points as row_points
from losskit.engines.cpu.rows import tiles as tile_loops
from losskit.engines.language import identity


def row_names(
    formula: Callable[..., Any],
    params: int,
    link: Callable[..., Any] | None,
    input: torch.dtype,
    label: torch.dtype,
    factor: torch.dtype,
    numbers: row_operands.Numbers = row_operands.NONE,
    margin: Callable[..., Any] | None = None,
) -> dict[str, Any]:
    """The names of the loops of the rows pattern."""
    dtype = real_dtype(input)
    real = NUMPY_REAL[dtype]
    table = NAMES[np.dtype(real).name]
    item = np.dtype(real).itemsize
    names: dict[str, Any] = constants(row_loops)
    names |= dict(view=view, real_of=real_of, min=min, max=max, range=range, float64=np.float64, int64=np.int64, int32=np.int32, uint8=np.uint8)
    names |= dict(REAL=real, REAL_ITEM=item, ROW=row_loops.MAX_WIDTH * item, ITEM=input.itemsize, STORED=STORED[input][0], LABEL=STORED[label][0])
    names |= dict(
        FACTOR_TYPE=STORED[factor][0],
        FACTOR_ITEM=factor.itemsize,
        LABEL_ITEM=label.itemsize,
        read_factor=reader(factor, real),
        read=reader(input, real),
        write=writer(input),
    )
    names |= dict(ZERO=real(0), ONE=real(1), HALF=real(0.5), INFINITY=real(np.inf), LARGEST=np.finfo(real).max, key=KEYS[dtype][0], from_key=KEYS[dtype][1])
    names |= dict(exp_neg=table["exp_neg"], log1p=table["log1p"], formula=bound(formula, real))
    names["STRAIGHT"] = link is None and input is dtype  # the scores are what lies in memory
    names |= dict(prefetch=prefetch, stream=stream_line(real), settle=settle)
    names["bound"] = bound(link or identity, real)
    names["params"] = instance(loops.PARAMETERS[params], names)
    names |= dict(NAN=real(np.nan), OPERAND_COUNT=numbers.count, SPARE=row_operands.SPARE if any(numbers) else 0)
    for name, chosen in row_operands.variant(numbers).items():
        names[name] = instance(chosen, names)
    for part in (
        row_points.link,
        row_points.score,
        row_points.link_slope,
        row_points.bent,
        row_loops.scores,
        row_points.point,
        row_points.points,
        row_points.bend,
        row_points.spend,
        row_points.send,
        row_loops.keep,
        row_points.spend_kept,
        row_loops.labels_of,
    ):
        names[part.__name__] = instance(part, names)
    if margin is not None:
        names["margin"] = bound(margin, real)
    lowering: dict[str, Any] = row_points.NO_MARGIN if margin is None else row_points.MARGIN
    for name, function in lowering.items():
        names[name] = instance(function, names)
    names["give"] = instance(row_loops.give, names, REASSOCIATE)
    names["exponentials"] = instance(row_loops.exponentials, names, REASSOCIATE)
    return names


def with_stack(names: dict[str, Any], numbers: int) -> None:
    """So much scratch, and what the operands of items need behind it."""
    names["stack"] = stack_memory((numbers + names["SPARE"] * row_loops.MAX_WIDTH) * names["REAL_ITEM"])


def bundles(*variant: Any) -> Code:
    """`row_loops.bundles` for one formula and one triple of dtypes."""
    names = row_names(*variant)
    with_stack(names, row_loops.TILE + row_loops.TILE_ROWS * row_loops.MAX_WIDTH)
    return compiled(row_loops.bundles, names, LOOP)


def long_rows(*variant: Any) -> Code:
    """`row_loops.long_rows` for one formula and one triple of dtypes."""
    names = row_names(*variant)
    with_stack(names, 2 * row_loops.ROW_BLOCK)
    return compiled(row_loops.long_rows, names, LOOP)


def squares(names: dict[str, Any]) -> dict[str, Any]:
    """How short rows are transposed."""
    real = names["REAL"]
    return dict(turn_square=turn_square(real), turn_scores=turn_square(real, capped=names["STRAIGHT"]), SQUARE=row_loops.LINE // names["REAL_ITEM"])


def tiles(planes: bool, *variant: Any) -> Code:
    """`tile_loops.tiles`, with classes apart in memory (`planes`) or next to each other."""
    names = row_names(*variant)
    names |= squares(names)
    names["leave"] = instance(tile_loops.leave, names)
    walk = (
        (tile_loops.load_planes, tile_loops.store_planes, tile_loops.ask_planes)
        if planes
        else (tile_loops.load_rows, tile_loops.store_rows, tile_loops.ask_rows)
    )
    names |= zip(("load_tile", "store_tile", "ask_ahead"), (instance(part, names) for part in walk), strict=True)
    names |= dict(right_labels=instance(tile_loops.right_labels, names))
    with_stack(names, row_loops.TILE + row_loops.TILE_ROWS * row_loops.MAX_WIDTH + 2 * row_loops.FLAT)
    return compiled(tile_loops.tiles, names, LOOP)


def census(label: torch.dtype, factor: torch.dtype, real: torch.dtype) -> Code:
    """`row_loops.census` for one pair of dtypes."""
    number = NUMPY_REAL[real]
    names = shared_names(number) | constants(row_loops) | row_loops.CENSUS.places
    names |= dict(LABEL=STORED[label][0], FACTOR_TYPE=STORED[factor][0], read_factor=reader(factor, number), ZERO=number(0))
    return compiled(row_loops.census, names, LOOP)
