"""Compiling the loop of the elementwise pattern."""

from collections.abc import Callable
from typing import Any

import torch

from losskit.engines.call import real_dtype
from losskit.engines.cpu.core import loops as core_loops
from losskit.engines.cpu.core.compiler import (
    LOOP,
    NUMPY_REAL,
    REASSOCIATE,
    STORED,
    bound,
    compiled,
    instance,
    reader,
    shared_names,
    stack_memory,
    unrolled,
    writer,
)
from losskit.engines.cpu.core.fission import split
from losskit.engines.cpu.core.store import Code
from losskit.engines.cpu.elementwise import GATHERED, ONCE, SUMMED, WANTED, WIDE, loops


def elementwise(
    formula: Callable[..., Any], params: int, dtypes: tuple[torch.dtype, ...], modes: tuple[int, ...], factored: bool, forward: bool, each: bool
) -> Code:
    """`loops.loop` for one formula, one dtype and mode (GATHERED, ONCE, WANTED, SUMMED) per operand, one set of outputs."""
    real_type = real_dtype(dtypes[0])
    real, count = NUMPY_REAL[real_type], len(dtypes)
    wanted = [k for k in range(count) if modes[k] & WANTED]
    summed = [k for k in wanted if modes[k] & SUMMED]
    row = {k: count + 4 + place for place, k in enumerate(summed)}  # of scratch
    names = shared_names(real) | loops.context(count, params).places
    names |= dict(FORWARD=forward, EACH=each, FACTORED=factored, GATHERED=factored or any(mode & GATHERED for mode in modes), FACTOR_ROW=count)
    for k, dtype in enumerate(dtypes):
        held = real_type if modes[k] & GATHERED else dtype
        names |= {f"READ_{k}": STORED[held][0], f"ITEM_{k}": dtype.itemsize, f"read_{k}": reader(held, real)}
        given = real_type if modes[k] & WIDE else dtype
        names |= {f"STORED_{k}": STORED[given][0], f"WRITTEN_{k}": given.itemsize, f"write_{k}": writer(given)}
    names["stack"] = stack_memory((count + 4 + len(summed)) * core_loops.BLOCK * names["ITEM"])
    where = [f"base + {k} * ROW" if modes[k] & GATHERED else f"c[OPERANDS + {k}] + b * ITEM_{k}" for k in range(count)]
    whither = {k: f"view(base + {row[k]} * ROW, m, REAL)" if k in row else f"view(c[GRADIENTS + {k}] + b * WRITTEN_{k}, m, STORED_{k})" for k in wanted}
    written = {k: f"((REAL(0) if absent else slopes[{i}]) * {'f' if k in row else 'w'})" for i, k in enumerate(wanted)}
    assign = [f"gs[{i}][i] = {written[k] if k in row else f'write_{k}{written[k]}'}" for i, k in enumerate(wanted)]
    places = {k: i for i, k in enumerate(wanted)}
    names["block_sum"] = instance(core_loops.block_sum, names, REASSOCIATE)
    names["keep_sum"] = instance(loops.keep_sum, names)
    for name, arguments, lines, result in (
        ("operands", "c, base, b, m", [], [f"view({at}, m, READ_{k})" for k, at in enumerate(where)]),
        ("gradients", "c, base, b, m", [], whither.values()),
        ("write_gradients", "gs, slopes, i, absent, w, f", assign, []),
        ("no_sums", "", [], ["0.0" for _ in summed]),
        ("added", "sums, gs, m", [], [f"sums[{i}] + block_sum(gs[{places[k]}], m)" for i, k in enumerate(summed)]),
        ("keep_sums", "c, sums, j", [f"keep_sum(c, sums[{i}], {i}, j)" for i in range(len(summed))], []),
    ):
        names[name] = instance(unrolled(name, arguments, lines, result), names)
    parts = split(formula)
    names["SPLIT"] = parts is not None
    single = [k for k in range(count) if modes[k] & ONCE]
    numbers = [f"p[{single.index(k)}]" if k in single else f"read_{k}(xs[{k}][i])" for k in range(count)] + [f"p[{len(single) + k}]" for k in range(params)]
    taken = [f"read_{k}(view(c[OPERANDS + {k}], 1, READ_{k})[0])" for k in single] + [f"REAL(real_of(c[PARAMS + {k}]))" for k in range(params)]
    head, tail = parts or (formula, formula)
    call = f"formula({', '.join(numbers)})"
    names["head"] = instance(unrolled("head", "xs, hs, i, p", [f"return {call}"]), names | dict(formula=bound(head, real)))
    late = call.replace("formula(", "formula(hs[i], ") if parts else call
    slopes = "".join(f"found[{k + 1}], " for k in wanted)
    names["point"] = instance(unrolled("point", "xs, hs, i, p", [f"found = {late}", f"return found[0], ({slopes})"]), names | dict(formula=bound(tail, real)))
    names["params"] = instance(unrolled("params", "c", [], taken), names)
    names["gather_blocks"] = instance(loops.gather_blocks, names)
    return compiled(loops.loop, names, LOOP)
