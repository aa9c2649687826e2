"""The loop of the elementwise pattern, over any number of operands: a template, as in `core/loops.py`.

What is done once per operand (a view of its memory, a read, a written gradient) is unrolled into functions when an instance is compiled (`compile.py`).
"""

from functools import cache

from losskit.engines.cpu.core.context import Context


@cache
def context(operands: int, params: int) -> Context:
    """The context of a loop over so many operands. `table` says where operands that do not lie as the output are gathered from; `parts` are the sums of chunks,
    `summed` those of gradients that are one number in all.
    """
    fields = f"value:p parts:p out:p n chunks summed:p table rows width scale:d params:{params}d operands:{operands}p gradients:{operands}"
    return Context(fields, full=("params", "operands", "gradients"))


def loop(lo, hi, context):
    """Chunks lo .. hi. Scratch holds one row per operand, the product of the factors, one factor more, values, what is computed ahead, gradients to be summed."""
    c = view(context, PLACES, int64)
    n = c[N]
    parts = view(c[PARTS], hi, float64)
    out = view(c[OUT], 1, REAL)
    scale = REAL(real_of(c[SCALE]))
    p = params(c)
    base = stack()
    for j in range(lo, hi):
        total = 0.0
        sums = no_sums()
        stop = min((j + 1) * CHUNK, n)
        for b in range(j * CHUNK, stop, BLOCK):
            e = min(b + BLOCK, stop)
            m = e - b
            if GATHERED:
                gather_blocks(c, base, b, m)
            xs = operands(c, base, b, m)
            fs = view(base + FACTOR_ROW * ROW, m, REAL)
            vs = view(c[VALUE] + b * ITEM if EACH else base + (FACTOR_ROW + 2) * ROW, m, REAL)
            hs = view(base + (FACTOR_ROW + 3) * ROW, m, REAL)
            gs = gradients(c, base, b, m)
            if SPLIT:
                for i in range(m):
                    hs[i] = head(xs, hs, i, p)
            for i in range(m):
                value, slopes = point(xs, hs, i, p)
                f = fs[i] if FACTORED else REAL(1)
                absent = FACTORED and f == REAL(0)
                if FACTORED:
                    value = REAL(0) if absent else value * f
                if FORWARD:
                    vs[i] = value
                write_gradients(gs, slopes, i, absent, f * scale if FACTORED else scale, f)
            if FORWARD:  # apart from the loop above, which would else run at the vector width of float64, half its own
                total += block_sum(vs, m)
            sums = added(sums, gs, m)
        keep_sums(c, sums, j)
        if c[PARTS] != 0:
            parts[j] = total
        elif FORWARD:  # the only chunk
            out[0] = REAL(total * scale if scale != REAL(0) else 0.0)


def gather_blocks(c, base, b, count):
    """Blocks of the operands that must be gathered, and of the product of the factors, into rows of scratch."""
    width = c[WIDTH]
    table = view(c[TABLE], c[ROWS] * width, int64)
    product = view(base + FACTOR_ROW * ROW, count, REAL)
    factor = view(base + (FACTOR_ROW + 1) * ROW, count, REAL)
    for k in range(c[ROWS]):
        kernel = table[k * width]
        if kernel != 0:
            call_gather(kernel, c[TABLE] + (k * width + 1) * 8, b, count, base + min(k, FACTOR_ROW + 1) * ROW)
        if k > FACTOR_ROW:  # what is absent stays so, whatever it is multiplied by
            for i in range(count):
                product[i] = REAL(0) if product[i] == REAL(0) else product[i] * factor[i]


def keep_sum(c, total, k, j):
    """The sum of a chunk's gradients, where the sum of all chunks will be made."""
    view(c[SUMMED] + 8 * k * c[CHUNKS], c[CHUNKS], float64)[j] = total
