"""Loops, and parts of loops, that several patterns use. Numba compiles them: templates, each instance of which is this code over its own table of names (`compiler.py`).

Names not defined here come from that table. Names in capitals are constants of the instance: what they switch off is not compiled.
"""

CHUNK = 1 << 16  # elements per task: enough to forget the task's own cost, few enough to share out
BLOCK = 1 << 10  # elements of scratch an operand: four of them take half of a 32 KB cache
SHORT = 16  # neighbours that share a number are so few that counting them costs more than writing it so many times


def gather(operand, start, count, destination):
    """Elements start .. start + count of an operand, in walking order, to a contiguous scratch array."""
    head = view(operand, 2, int64)
    n = head[1]
    shape_strides = view(operand + 16, 2 * n, int64)
    source = view(head[0], 1 << 60, STORAGE)
    out = view(destination, count, REAL)
    inner = shape_strides[n - 1]
    step = shape_strides[2 * n - 1]
    done = 0
    if n == 2 and shape_strides[2] == 0 and inner < count:  # the same numbers again and again: once from where they lie, then twice as many at a time
        column = start % inner
        for i in range(inner):
            out[i] = read(source[column * step])
            column = column + 1 if column + 1 < inner else 0
        done = inner
        while done < count:
            run = min(done, count - done)
            o = out[done : done + run]
            for i in range(run):
                o[i] = out[i]
            done += run
    elif n == 2 and step == 0 and inner <= SHORT:  # each number serves a few neighbours: it is written too often, and the next one over it
        first = start // inner * shape_strides[2]
        run = inner - start % inner
        while done + SHORT <= count:
            value = read(source[first])
            o = out[done : done + SHORT]
            for i in range(SHORT):
                o[i] = value
            done += run
            run = inner
            first += shape_strides[2]
    while done < count:
        offset = 0
        rest = start + done
        column = rest % inner
        rest = rest // inner
        for k in range(n - 2, -1, -1):
            offset += (rest % shape_strides[k]) * shape_strides[n + k]
            rest = rest // shape_strides[k]
        run = min(inner - column, count - done)
        o = out[done : done + run]
        first = offset + column * step
        if step == 1:
            s = source[first : first + run]
            for i in range(run):
                o[i] = read(s[i])
        elif step == 0:
            value = read(source[first])
            for i in range(run):
                o[i] = value
        else:
            for i in range(run):
                o[i] = read(source[first + i * step])
        done += run


def add_up(lo, hi, context):
    """Adds the sums of tasks lo .. hi, in order, into the scalar that is returned."""
    c = view(context, PLACES, int64)
    parts = view(c[PARTS], hi, float64)
    out = view(c[OUT], 1, REAL)
    scale = real_of(c[SCALE])
    total = 0.0
    for j in range(lo, hi):
        total += parts[j]
    out[0] = REAL(total * scale if scale != 0.0 else 0.0)


def block_sum(vs, m):
    """The sum of a block in float64, of pairs added in float32: half the conversions, and an error of half a unit in the last place."""
    half = m // 2
    low, high = vs[:half], vs[half : 2 * half]
    total = 0.0
    for i in range(half):
        total += float64(low[i] + high[i])
    if m % 2 == 1:
        total += float64(vs[m - 1])
    if total - total != 0.0:  # infinite: perhaps only a pair was too large for float32
        total = 0.0
        for i in range(m):
            total += float64(vs[i])
    return total


# the formula's parameters out of the context, as a tuple of the right length
PARAMETERS = (
    lambda c: (),
    lambda c: (REAL(real_of(c[PARAMS])),),
    lambda c: (REAL(real_of(c[PARAMS])), REAL(real_of(c[PARAMS + 1]))),
    lambda c: (REAL(real_of(c[PARAMS])), REAL(real_of(c[PARAMS + 1])), REAL(real_of(c[PARAMS + 2]))),
    lambda c: (REAL(real_of(c[PARAMS])), REAL(real_of(c[PARAMS + 1])), REAL(real_of(c[PARAMS + 2])), REAL(real_of(c[PARAMS + 3]))),
    lambda c: (
        REAL(real_of(c[PARAMS])), REAL(real_of(c[PARAMS + 1])), REAL(real_of(c[PARAMS + 2])), REAL(real_of(c[PARAMS + 3])), REAL(real_of(c[PARAMS + 4]))
    ),
)  # fmt: skip
