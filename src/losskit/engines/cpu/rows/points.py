"""A row's numbers on their way through its formula: from the input to the scores, from its sums to value and derivatives, and from those to its gradient.

Templates, as in `loops.py`, where it stands what the sums are.
"""


def point(m, own, rest, gaps, spread, total_share, own_share, weight, temperature, p):
    """From a row's sums to: value, log-sum-exp, the factors of E_j and of a class's share in the gradient, the label's gradient, and what operands need."""
    d = INFINITY if m == LARGEST and own < LARGEST else distance(m, own, temperature)
    m = cool(m, temperature)
    hit = exp_neg(d)
    level = log1p(rest if d == ZERO else rest + hit - ONE)
    inverse = ONE / (rest + hit)
    hit = hit * inverse
    miss = rest * inverse
    far = ZERO if weight == ZERO else d + level  # a class of weight 0 may be ruled out
    found = formula(far, hit, miss, spread + total_share * level, m + level, weight, *p)
    value, by_nll, by_spread, by_lse = found[0], found[1], found[2], found[3]
    common = total_share * by_spread + by_lse
    heat = by_temperature(by_nll, by_spread, by_lse, d, hit, miss, gaps * inverse, spread, total_share, m)
    return value, m + level, (by_nll + common) * inverse, by_spread, common * hit - by_nll * miss - own_share * by_spread, heat, found


def link(x, parameter):
    """What stands between the input and the scores (a soft cap, a temperature), its value."""
    return bound(x, parameter)[0]


def score(x, parameter):
    """The score of an input; an infinite one is read as the largest number."""
    v = link(x, parameter)
    return LARGEST if v > LARGEST else v


def link_slope(x, parameter):
    """Its derivative."""
    return bound(x, parameter)[1]


def with_margin(s, p):
    """The label's score, lowered by its margin."""
    return margin(s, *p)[0]


def own_slope_by(x, parameter, p):
    """The derivative of the label's score by its input."""
    return margin_slope(x, parameter, p) * link_slope(x, parameter)


def margin_slope(x, parameter, p):
    """... of the score with its margin by the one without."""
    return margin(score(x, parameter), *p)[1]


def no_margin(s, p):
    """As it is."""
    return s


def own_slope_by_link(x, parameter, p):
    """The derivative of the label's score by its input."""
    return link_slope(x, parameter)


def lower(s, y, top, floor, p):
    """Lowers the label's score in scratch; the larger of `floor` and the largest score then."""
    before = s[y]
    s[y] = with_margin(before, p)
    if before < top and s[y] <= top:
        return top
    found = key(floor)
    for j in range(s.size):
        found = max(found, key(s[j]))
    return from_key(found)


def lower_nothing(s, y, top, floor, p):
    """There is no margin."""
    return top


def lower_in_tile(tile, ys, k, pitch, p):
    """Lowers the labels' scores of a tile."""
    for i in range(k):
        place = int64(ys[i]) * pitch + i
        tile[place] = with_margin(tile[place], p)


def lower_nothing_in_tile(tile, ys, k, pitch, p):
    """There is no margin."""


def bend_own(own_slopes, address, ys, k, class_step, item_step, parameter, p):
    """The labels' gradients of a tile, by the scores with their margins, to those by the scores without."""
    xs = view(address, 1 << 60, STORED)
    for i in range(k):
        if own_slopes[i] != ZERO:
            own_slopes[i] *= margin_slope(read(xs[int64(ys[i]) * class_step + i * item_step]), parameter, p)


def bend_nothing(own_slopes, address, ys, k, class_step, item_step, parameter, p):
    """There is no margin."""


# what stands between the label's score and the softmax, by the names that the loops call it by
MARGIN = dict(with_margin=with_margin, margin_slope=margin_slope, own_slope_by=own_slope_by, lower=lower, lower_in_tile=lower_in_tile, bend_own=bend_own)
NO_MARGIN = dict(with_margin=no_margin, own_slope_by=own_slope_by_link, lower=lower_nothing, lower_in_tile=lower_nothing_in_tile, bend_own=bend_nothing)


def bent(g, x, parameter):
    """A gradient by the score to one by the input; that of an absent item is 0, whatever the input is."""
    return ZERO if g == ZERO else g * link_slope(x, parameter)


def bend(source, scores, to, count, parameter):
    """Gradients by the scores, in scratch, to gradients by the input."""
    s, x, g = view(source, count, REAL), view(scores, count, STORED), view(to, count, STORED)
    for i in range(count):
        g[i] = write(bent(s[i], read(x[i]), parameter))


def spend(s, scores, to, slope, shares, by_share, parameter):
    """Exponentials of a row to its gradient, but for the label's."""
    x, g = view(scores, s.size, STORED), view(to, s.size, STORED)
    if shares.size > 0:
        for j in range(s.size):
            g[j] = write((s[j] * slope - shares[j] * by_share) * link_slope(read(x[j]), parameter))
    else:
        for j in range(s.size):
            g[j] = write(s[j] * slope * link_slope(read(x[j]), parameter))


def spend_kept(s, slope, shares, by_share):
    """`spend` in place, where input and scores are the same."""
    if shares.size > 0:
        for j in range(s.size):
            s[j] = s[j] * slope - shares[j] * by_share
    else:
        for j in range(s.size):
            s[j] *= slope


def send(source, destination, count):
    """Numbers to where a line of memory starts, past the caches."""
    lines = count * REAL_ITEM // LINE
    for line in range(lines):
        stream(source + line * LINE, destination + line * LINE)
    rest = count - lines * LINE // REAL_ITEM
    s, g = view(source + lines * LINE, rest, REAL), view(destination + lines * LINE, rest, REAL)
    for i in range(rest):
        g[i] = s[i]


def points(m, own, rest, spread, total_share, own_share, weight, by_share, f, scale, p, spare):
    """`point` of many items, in place: m becomes the factor of E_j, spread the value, own the log-sum-exp, weight the label's gradient."""
    for i in range(m.size):
        numbers, temperature = read_operands(spare, i, p), temperature_of(spare, i)
        value, lse, slope, shared, own_slope, heat, found = point(
            m[i], own[i], rest[i], gap_of(spare, i), spread[i], total_share, own_share[i], weight[i], temperature, numbers
        )
        absent = f[i] == ZERO
        w = f[i] * scale
        leave_by_operands(spare, i, found, w)
        leave_by_temperature(spare, i, heat, w, temperature)
        w = warm(w, temperature)
        spread[i] = ZERO if absent else value * f[i]
        own[i] = ZERO if absent else lse
        m[i] = ZERO if absent else slope * w
        by_share[i] = ZERO if absent else shared * w
        weight[i] = ZERO if absent else own_slope * w
