"""The loop of the products pattern: a template, as in `core/loops.py`.

A bfloat16 number is the upper half of a float32. So a sum in float32 whose result is bfloat16 lies in two planes of 16 bits: the upper ones are where the result will
be, the lower ones are let go of. That is 4 bytes a number while it is added up, not 6, and nothing is converted in the end.
"""

from losskit.engines.cpu.core.context import Context

SPAN = 1 << 16  # numbers per task
CONTEXT = Context("upper:p lower:p x:p n span first last")


def carry(begin, end, context):
    """Adds x to the sums: the first time there is nothing yet, the last time they are rounded to the nearest bfloat16, ties to even."""
    c = view(context, PLACES, int64)
    for task in range(begin, end):
        start = task * c[SPAN]
        count = min(c[SPAN], c[N] - start)
        upper = view(c[UPPER] + start * 2, count, uint16)
        lower = view(c[LOWER] + start * 2, count, uint16)
        x = view(c[X] + start * ITEM, count, STORAGE)
        if c[FIRST] != 0:
            for i in range(count):
                bits = u32_of(read(x[i]))
                upper[i] = uint16(bits >> uint32(16))
                lower[i] = uint16(bits & uint32(0xFFFF))
        else:
            for i in range(count):
                bits = u32_of(f32_of((uint32(upper[i]) << uint32(16)) | uint32(lower[i])) + read(x[i]))
                upper[i] = uint16(bits >> uint32(16))
                lower[i] = uint16(bits & uint32(0xFFFF))
        if c[LAST] != 0:
            for i in range(count):
                upper[i] = narrow(f32_of((uint32(upper[i]) << uint32(16)) | uint32(lower[i])))
