"""Numbers of items in loops of rows: temperatures, which divide the distances between an item's scores, and operands that the formula reads. Templates, put in as an instance needs them.

What a tile's items have is kept in SPARE rows of scratch behind all else: how far scores lie below the largest, added up with their exponentials as weights
(`gap`); the temperature; the derivative by it; two operands; the derivatives by them. A call without them compiles to what it would be without these names.
"""

from typing import NamedTuple

SPARE = 7


class Numbers(NamedTuple):
    """What an instance is compiled for: temperatures or none, how many operands the formula reads, and which derivatives by them are wanted."""

    tempered: bool = False
    count: int = 0
    by_temperature: bool = False
    by_operands: bool = False


NONE = Numbers()


# temperatures


def distance(top, s, temperature):
    """How far a score lies below the largest, in temperatures: divided after the subtraction, for x / T is rounded. A difference of halves does not overflow."""
    return (HALF * top - HALF * s) / (HALF * temperature)


def untempered_distance(top, s, temperature):
    """The same in units of the scores."""
    return top - s


def cool(top, temperature):
    """The largest score in temperatures; an infinite one is read as the largest number."""
    s = top / temperature
    return LARGEST if s > LARGEST else s


def uncooled(top, temperature):
    """As it is."""
    return top


def temperature_of(spare, i):
    """The temperature of an item of the tile."""
    return view(spare + ROW, i + 1, REAL)[i]


def no_temperature(spare, i):
    """Nothing divides the scores."""
    return ONE


def gap(e, below):
    """How far a score lies below the largest, times its exponential."""
    return ZERO if e == ZERO else e * below


def no_gap(e, below):
    """Of no use."""
    return ZERO


def add_gap(spare, i, number):
    """Adds to an item's sum of them."""
    view(spare, i + 1, REAL)[i] += number


def add_no_gap(spare, i, number):
    """Nothing is kept."""


def gap_of(spare, i):
    """An item's sum of them."""
    return view(spare, i + 1, REAL)[i]


def no_gap_of(spare, i):
    """There is none."""
    return ZERO


def moved_gap(gaps, rest, by):
    """The sum against a maximum that lies `by` higher, before the exponentials, whose sum is `rest`, are taken against it."""
    return gaps + by * rest if rest != 0.0 else gaps


def no_moved_gap(gaps, rest, by):
    """There is none."""
    return gaps


def add_fall(spare, i, number):
    """Adds to an item's sum of derivatives by log p, times how far their scores lie below the largest: in the place of the derivative by the temperature."""
    view(spare + 2 * ROW, i + 1, REAL)[i] += number


def add_no_fall(spare, i, number):
    """Nothing is kept."""


def fall_of(spare, i):
    """An item's sum of them."""
    return view(spare + 2 * ROW, i + 1, REAL)[i]


def by_temperature(by_nll, by_spread, by_lse, d, hit, miss, apart, below, total_share, m):
    """Minus the sum over j of s_j times the derivative by s_j: from differences of scores, so that a sure item keeps its digits."""
    mean = apart if hit == ZERO else hit * d + apart  # of how far scores lie below the largest, under p
    pulled = ZERO if by_nll == ZERO else by_nll * (d * miss - apart)
    shared = ZERO if by_spread == ZERO else by_spread * (below - total_share * mean)
    return -(pulled + shared + by_lse * (m - mean))


def by_no_temperature(by_nll, by_spread, by_lse, d, hit, miss, apart, below, total_share, m):
    """Of no use."""
    return ZERO


def warm(w, temperature):
    """What multiplies gradients by the scores, for gradients by what was divided; 0 of an item that is absent."""
    return ZERO if w == ZERO else w / temperature


def unwarmed(w, temperature):
    """The same."""
    return w


# what a call brings, and what it is given back


def take_temperature(c, item, k, spare):
    """Temperatures to scratch, NaN where they are not > 0; 1 beyond the last item."""
    gaps, temperatures = view(spare, MAX_WIDTH, REAL), view(spare + ROW, MAX_WIDTH, REAL)
    given = view(c[HEAT] + item * c[HEAT_STEP] * REAL_ITEM, (k - 1) * c[HEAT_STEP] + 1, REAL)
    for i in range(k):
        t = given[i * c[HEAT_STEP]]
        temperatures[i] = t if t > ZERO else NAN
    padded = (k + LANES - 1) // LANES * LANES
    for i in range(k, padded):
        temperatures[i] = ONE
    falls = view(spare + 2 * ROW, MAX_WIDTH, REAL)
    for i in range(padded):
        gaps[i], falls[i] = ZERO, ZERO


def take_no_temperature(c, item, k, spare):
    """There is none."""


def leave_by_temperature(spare, i, found, w, temperature):
    """The derivative by an item's temperature."""
    view(spare + 2 * ROW, i + 1, REAL)[i] = ZERO if w == ZERO else found * w / temperature


def leave_no_temperature(spare, i, found, w, temperature):
    """There is none."""


def give_by_temperature(c, item, k, spare):
    """Derivatives to where they belong."""
    to, found = view(c[BY_HEAT] + item * REAL_ITEM, k, REAL), view(spare + 2 * ROW, k, REAL)
    for i in range(k):
        to[i] = found[i]


def give_no_temperature(c, item, k, spare):
    """There are none."""


def take_operands(c, item, k, spare):
    """The formula's operands to scratch; 0 beyond the last item."""
    for q in range(OPERAND_COUNT):
        step, numbers = c[OPERAND_STEPS + q], view(spare + (3 + q) * ROW, MAX_WIDTH, REAL)
        given = view(c[OPERANDS + q] + item * step * REAL_ITEM, (k - 1) * step + 1, REAL)
        for i in range(k):
            numbers[i] = given[i * step]
        padded, found = (k + LANES - 1) // LANES * LANES, view(spare + (5 + q) * ROW, MAX_WIDTH, REAL)
        for i in range(k, padded):
            numbers[i] = ZERO
        for i in range(padded):
            found[i] = ZERO


def take_no_operands(c, item, k, spare):
    """There are none."""


def give_by_operands(c, item, k, spare):
    """Derivatives by them to where they belong."""
    for q in range(OPERAND_COUNT):
        if c[BY_OPERANDS + q] != 0:
            to, found = view(c[BY_OPERANDS + q] + item * REAL_ITEM, k, REAL), view(spare + (5 + q) * ROW, k, REAL)
            for i in range(k):
                to[i] = found[i]


def give_no_operands(c, item, k, spare):
    """There are none."""


# what a formula reads after a row's sums: its operands, then the parameters of the call; and where the derivatives by the operands go
READ = (
    lambda spare, i, p: p,
    lambda spare, i, p: (view(spare + 3 * ROW, i + 1, REAL)[i], *p),
    lambda spare, i, p: (view(spare + 3 * ROW, i + 1, REAL)[i], view(spare + 4 * ROW, i + 1, REAL)[i], *p),
)


def leave_by_none(spare, i, found, w):
    """No operands."""


def leave_by_one(spare, i, found, w):
    """The last result is the derivative by the only operand."""
    view(spare + 5 * ROW, i + 1, REAL)[i] = ZERO if w == ZERO else REAL(found[-1]) * w


def leave_by_two(spare, i, found, w):
    """The last two."""
    view(spare + 5 * ROW, i + 1, REAL)[i] = ZERO if w == ZERO else REAL(found[-2]) * w
    view(spare + 6 * ROW, i + 1, REAL)[i] = ZERO if w == ZERO else REAL(found[-1]) * w


def leave_summed(spare, i, first, second, w):
    """Derivatives that were added up over the classes."""
    for q in range(OPERAND_COUNT):
        view(spare + (5 + q) * ROW, i + 1, REAL)[i] = ZERO if w == ZERO else (first if q == 0 else second) * w


def leave_none_summed(spare, i, first, second, w):
    """No operands."""


LEAVE = (leave_by_none, leave_by_one, leave_by_two)
FIRST = (lambda found: ZERO, lambda found: REAL(found[3]), lambda found: REAL(found[3]))
SECOND = (lambda found: ZERO, lambda found: ZERO, lambda found: REAL(found[4]))


def add_by_none(spare, i, found):
    """No operands."""


def add_by_one(spare, i, found):
    """The derivative by the only operand, of one class."""
    view(spare + 5 * ROW, i + 1, REAL)[i] += REAL(found[3])


def add_by_two(spare, i, found):
    """Those by both."""
    view(spare + 5 * ROW, i + 1, REAL)[i] += REAL(found[3])
    view(spare + 6 * ROW, i + 1, REAL)[i] += REAL(found[4])


ADD = (add_by_none, add_by_one, add_by_two)


def variant(numbers):
    """The parts that a call with or without temperatures, with so many operands, and with derivatives by them or without, puts in, by the names that the loops call
    them by.
    """
    tempered, count, heated, derived = numbers
    chosen = dict(
        distance=distance, cool=cool, temperature_of=temperature_of, warm=warm, take_temperature=take_temperature,
    ) if tempered else dict(
        distance=untempered_distance, cool=uncooled, temperature_of=no_temperature, warm=unwarmed, take_temperature=take_no_temperature,
    )  # fmt: skip
    chosen |= dict(
        gap=gap, add_gap=add_gap, gap_of=gap_of, moved_gap=moved_gap, add_fall=add_fall, by_temperature=by_temperature,
        leave_by_temperature=leave_by_temperature, give_by_temperature=give_by_temperature,
    ) if heated else dict(
        gap=no_gap, add_gap=add_no_gap, gap_of=no_gap_of, moved_gap=no_moved_gap, add_fall=add_no_fall, by_temperature=by_no_temperature,
        leave_by_temperature=leave_no_temperature, give_by_temperature=give_no_temperature,
    )  # fmt: skip
    found = count if derived else 0
    return chosen | dict(
        read_operands=READ[count], leave_by_operands=LEAVE[found], take_operands=take_operands if count else take_no_operands,
        give_by_operands=give_by_operands if found else give_no_operands, by_first=FIRST[found], by_second=SECOND[found],
        leave_summed=leave_summed if found else leave_none_summed, add_by_operands=ADD[found],
    )  # fmt: skip
