"""The loops Numba compiles: templates, each instance of which is this code over its own table of names (`kernels.py`, `elementwise.py`).

Names not defined here come from that table. Names in capitals are constants of the instance: what they switch off is not compiled.
"""

CHUNK = 1 << 16  # elements a task: enough to forget the task's own cost, few enough to share out
BLOCK = 1 << 10  # elements of scratch an operand: four of them take half of a 32 KB cache
MAX_PARAMS = 5
X, T, V, GX, GT, PARTS, OUT, N, TABLE, ROWS, WIDTH, SCALE, PARAMS = range(13)  # places in the context
PLACES = PARAMS + MAX_PARAMS


def gather(operand, start, count, destination):
    """Elements start .. start + count of an operand, in walking order, to a contiguous scratch array."""
    head = carray(operand, 2)
    n = head[1]
    shape_strides = carray(operand, 2 + 2 * n)[2:]
    source = carray(as_pointer(head[0], STORAGE), 1 << 60)
    out = carray(as_pointer(destination, REAL), count)
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
    c = carray(context, PLACES)
    n = c[N]
    v = carray(as_pointer(c[V], REAL), n)
    gx = carray(as_pointer(c[GX], INPUT), n)
    gt = carray(as_pointer(c[GT], TARGET), n)
    parts = carray(as_pointer(c[PARTS], float64), hi)
    out = carray(as_pointer(c[OUT], REAL), 1)
    scale = REAL(real_of(c[SCALE]))
    p = params(c)
    scratch = new_scratch()
    values = empty(BLOCK, REAL)
    ahead = empty(BLOCK, REAL)
    for j in range(lo, hi):
        total = 0.0
        stop = min((j + 1) * CHUNK, n)
        for b in range(j * CHUNK, stop, BLOCK):
            e = min(b + BLOCK, stop)
            xs, ts, ps, fs = blocks(c, scratch, b, e)
            gxs, gts = gx[b:e], gt[b:e]
            vs = v[b:e] if EACH else values[: e - b]
            hs = ahead[: e - b]
            if SPLIT:
                for i in range(e - b):
                    hs[i] = head(xs, ts, ps, hs, i, p)
            for i in range(e - b):
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
                part = 0.0
                for i in range(e - b):
                    part += float64(vs[i])
                total += part
        if c[PARTS] != 0:
            parts[j] = total
        elif FORWARD:  # the only chunk
            out[0] = REAL(total * scale if scale != REAL(0) else 0.0)


def finish(lo, hi, context):
    """Adds the sums of chunks lo .. hi, in order, into the scalar that is returned."""
    c = carray(context, PLACES)
    parts = carray(as_pointer(c[PARTS], float64), hi)
    out = carray(as_pointer(c[OUT], REAL), 1)
    scale = real_of(c[SCALE])
    total = 0.0
    for j in range(lo, hi):
        total += parts[j]
    out[0] = REAL(total * scale if scale != 0.0 else 0.0)


def scratch_rows():
    """Room for a block of input, target, field, product of the factors, and one factor more."""
    return empty((5, BLOCK), REAL)


def no_scratch():
    """Operands read in place need none."""
    return 0


def in_place(c, scratch, b, e):
    """Blocks of input and target where they lie; no field, no factors."""
    xs = carray(as_pointer(c[X], INPUT), c[N])[b:e]
    return xs, carray(as_pointer(c[T], TARGET), c[N])[b:e], xs, xs


def gathered(c, scratch, b, e):
    """Blocks of input, target, field and of the product of the factors, in scratch rows 0 to 3."""
    count = e - b
    width = c[WIDTH]
    table = carray(as_pointer(c[TABLE], int64), c[ROWS] * width)
    product, factor = scratch[3], scratch[4]
    for k in range(c[ROWS]):
        kernel = table[k * width]
        if kernel != 0:
            call_gather(kernel, c[TABLE] + (k * width + 1) * 8, b, count, scratch.ctypes.data + min(k, 4) * BLOCK * scratch.itemsize)
        if k > 3:  # what is absent stays so, whatever it is multiplied by
            for i in range(count):
                product[i] = REAL(0) if product[i] == REAL(0) else product[i] * factor[i]
    return scratch[0, :count], scratch[1, :count], scratch[2, :count], product[:count]


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
