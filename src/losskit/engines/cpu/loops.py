"""The loops Numba compiles: templates, each instance of which is this code over its own table of names (`compiler.py`).

Names not defined here come from that table. Names in capitals are constants of the instance: what they switch off is not compiled.
"""

CHUNK = 1 << 16  # elements a task: enough to forget the task's own cost, few enough to share out
BLOCK = 1 << 10  # elements of scratch an operand: four of them take half of a 32 KB cache
ROWS_OF_SCRATCH = 7  # input, target, field, product of the factors, one factor more, values, what is computed ahead
MAX_PARAMS = 5
X, T, V, GX, GT, PARTS, OUT, N, TABLE, ROWS, WIDTH, SCALE, PARAMS = range(13)  # places in the context
PLACES = PARAMS + MAX_PARAMS


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


def loop(lo, hi, context):
    """Chunks lo .. hi. Names in capitals are constants of the instance; what they switch off is not compiled."""
    c = view(context, PLACES, int64)
    n = c[N]
    parts = view(c[PARTS], hi, float64)
    out = view(c[OUT], 1, REAL)
    scale = REAL(real_of(c[SCALE]))
    p = params(c)
    base = stack()
    for j in range(lo, hi):
        total = 0.0
        stop = min((j + 1) * CHUNK, n)
        for b in range(j * CHUNK, stop, BLOCK):
            e = min(b + BLOCK, stop)
            m = e - b
            if STAGED:
                gather_blocks(c, base, b, m)
            xs = view(base if STAGED else c[X] + b * X_ITEM, m, X_TYPE)
            ts = view(base + ROW if STAGED else c[T] + b * T_ITEM, m, T_TYPE)
            ps, fs = view(base + 2 * ROW, m, REAL), view(base + 3 * ROW, m, REAL)
            vs = view(c[V] + b * ITEM if EACH else base + 5 * ROW, m, REAL)
            hs = view(base + 6 * ROW, m, REAL)
            gxs, gts = view(c[GX] + b * GX_ITEM, m, INPUT), view(c[GT] + b * GT_ITEM, m, TARGET)
            if SPLIT:
                for i in range(m):
                    hs[i] = head(xs, ts, ps, hs, i, p)
            for i in range(m):
                value, dx, dt = point(xs, ts, ps, hs, i, p)
                w = scale
                if FACTORED:
                    f = fs[i]
                    w = f * scale
                    absent = f == REAL(0)
                    value = REAL(0) if absent else value * f
                    dx = REAL(0) if absent else dx
                    dt = REAL(0) if absent else dt
                if FORWARD:
                    vs[i] = value
                if OUT_X:
                    gxs[i] = write_x(dx * w)
                if OUT_T:
                    gts[i] = write_t(dt * w)
            if FORWARD:  # apart from the loop above, which would else run at the vector width of float64, half its own
                total += block_sum(vs, m)
        if c[PARTS] != 0:
            parts[j] = total
        elif FORWARD:  # the only chunk
            out[0] = REAL(total * scale if scale != REAL(0) else 0.0)


def finish(lo, hi, context):
    """Adds the sums of chunks lo .. hi, in order, into the scalar that is returned."""
    c = view(context, PLACES, int64)
    parts = view(c[PARTS], hi, float64)
    out = view(c[OUT], 1, REAL)
    scale = real_of(c[SCALE])
    total = 0.0
    for j in range(lo, hi):
        total += parts[j]
    out[0] = REAL(total * scale if scale != 0.0 else 0.0)


def gather_blocks(c, base, b, count):
    """Blocks of input, target, field and of the product of the factors, into scratch rows 0 to 3."""
    width = c[WIDTH]
    table = view(c[TABLE], c[ROWS] * width, int64)
    product = view(base + 3 * ROW, count, REAL)
    factor = view(base + 4 * ROW, count, REAL)
    for k in range(c[ROWS]):
        kernel = table[k * width]
        if kernel != 0:
            call_gather(kernel, c[TABLE] + (k * width + 1) * 8, b, count, base + min(k, 4) * ROW)
        if k > 3:  # what is absent stays so, whatever it is multiplied by
            for i in range(count):
                product[i] = REAL(0) if product[i] == REAL(0) else product[i] * factor[i]


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


def point(xs, ts, ps, hs, i, p):
    """The formula on element i: its input, its target, what was computed ahead, the parameter that varies, the parameters that do not."""
    if AHEAD:
        if FIELD:
            return formula(read_x(xs[i]), read_t(ts[i]), hs[i], ps[i], *p)
        return formula(read_x(xs[i]), read_t(ts[i]), hs[i], *p)
    if FIELD:
        return formula(read_x(xs[i]), read_t(ts[i]), ps[i], *p)
    return formula(read_x(xs[i]), read_t(ts[i]), *p)


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
