"""What a loss of overlap should give: sums, averages and the textbook's formula in arithmetic of 100 digits, and the derivatives by every input and target.

Nothing of the losses or of their contract is used. Probabilities, sums, what an empty target means, averages and the second loss of a compound are written
out here from the documentation; the derivatives of the textbook by its sums are difference quotients, and the chain rule from there on is exact.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import mpmath
from torch import Tensor

from losskit.contract.registry import Loss
from losskit.testing.inputs import full_settings
from losskit.testing.oracles import Number, derivative
from losskit.testing.row_oracle import RULED_OUT

DIGITS, POWER = 100, 24  # of the arithmetic; of ten, of the relative step of difference quotients
SECONDS = ("ce_weight", "focal_weight")  # settings that say how much of a second loss there is


class ExactOverlap(NamedTuple):
    """What a loss of overlap should give, and what an error is measured against; gradients (of the summed values) sample by sample, class by class.

    A value is 1 minus a ratio, a gradient the difference of what a number adds above and below the fraction bar; sure numbers leave little of either. So an
    error is measured against the sizes of these terms, and against what they change by when each sum does by its own size: of the value, the same for the probabilities.
    """

    values: list[Number]
    value_scale: list[Number]
    gradient: list[Number | None]
    gradient_scale: list[Number]
    by_target: list[Number | None]
    by_target_scale: list[Number]


@dataclass
class Slope:
    """A derivative being added up, and the sizes of its terms; `exists` is False at a kink."""

    total: Number = 0
    size: Number = 0
    exists: bool = True

    def add(self, factor: Number, slope: Number | None, doubt: Number = 0) -> None:
        """A slope times a factor; a factor of 0 is no term."""
        if not factor:
            return
        if slope is None:
            self.exists = False
        else:
            self.total += factor * slope
            self.size += abs(factor) * (abs(slope) + doubt)


@dataclass
class Pool:
    """Samples and classes that share one ratio: (weight, sample, class)."""

    cells: list[tuple[Number, int, int]]
    share: Number = 1  # of the average
    unit: int = 0  # the sample; all are one over the batch
    value: Number = 0
    slopes: Sequence[Number | None] = (0, 0, 0)  # by intersection, prediction, target
    doubt: Sequence[Number] = (0, 0, 0)  # of the slopes
    counts: bool = True


@dataclass
class Batch:
    """One batch: inputs and targets as nested lists (samples, classes, items), and what counts."""

    loss: Loss
    settings: Mapping[str, Any]
    x: Sequence[Sequence[Sequence[float]]]
    t: Sequence[Any]  # labels (samples, items), or numbers like x
    keep: Sequence[Sequence[Sequence[bool]]] | None
    mp: Any = field(init=False)

    def __post_init__(self) -> None:
        mp = self.mp = mpmath.mp.clone()
        mp.dps = DIGITS
        self.all = full_settings(self.loss, self.settings)
        self.samples, self.classes = len(self.x), len(self.x[0])
        self.items = len(self.x[0][0])
        self.softmax = self.all["task"] == "multiclass"
        self.labelled = self.softmax and not (self.items and isinstance(self.t[0][0], tuple))
        self.power = self.all.get("power", 1)
        self.places = [(n, c, m) for n in range(self.samples) for c in range(self.classes) for m in range(self.items)]
        weight = self.all.get("weight")
        self.weight = [mp.mpf(1)] * self.classes if weight is None else [mp.mpf(w) for w in weight]
        names = list(inspect.signature(self.loss.textbook).parameters)[5:]
        self.joined = "volume_weight" in names  # the textbook takes lists over the classes
        self.numbers = {name: self.number(self.all[name]) if name != "second" else mp.mpf(0) for name in names}
        self.read()

    def number(self, v: Any) -> Any:
        """A setting as the textbook takes it."""
        if isinstance(v, (list, tuple)):
            return tuple(self.mp.mpf(w) for w in v)
        return self.mp.mpf(v) if isinstance(v, (int, float)) and not isinstance(v, bool) else v

    def read(self) -> None:
        """Probabilities p and what is left to 1, targets t, and which numbers count."""
        mp = self.mp
        self.p, self.q, self.target, self.counts = {}, {}, {}, {}
        for n, c, m in self.places:
            t = self.t[n][m] if self.labelled else self.t[n][c][m]
            kept = (self.keep is None or self.keep[n][c][m]) and not (t == self.all["ignore_index"] and (self.labelled or not self.softmax))
            self.counts[n, c, m] = kept
            self.target[n, c, m] = mp.mpf(t == c if self.labelled else t) if kept else mp.mpf(0)
        for n in range(self.samples):
            for m in range(self.items):
                rows = [self.x[n][c][m] for c in range(self.classes)]
                row = [mp.mpf(RULED_OUT if v == float("-inf") else v) for v in rows]
                if not self.all.get("from_logits", True):
                    both = [(v, 1 - v) for v in row]
                elif self.softmax:
                    e = [mp.exp(v - max(row)) for v in row] if self.counts[n, 0, m] else [mp.mpf(1)] * self.classes
                    both = [(v / mp.fsum(e), mp.fsum(e[:c] + e[c + 1 :]) / mp.fsum(e)) for c, v in enumerate(e)]
                else:
                    both = [(1 / (1 + mp.exp(-v)), 1 / (1 + mp.exp(v))) if self.counts[n, c, m] else (mp.mpf(0), mp.mpf(0)) for c, v in enumerate(row)]
                for c, (p, q) in enumerate(both):
                    self.p[n, c, m], self.q[n, c, m] = p, q

        self.sums = {(n, c): self.summed(n, c) for n in range(self.samples) for c in range(self.classes)}

    def summed(self, n: int, c: int) -> tuple[Number, ...]:
        """Intersection, prediction, target, count, and the plain mass of the target."""
        kept = [(self.p[n, c, m], self.target[n, c, m]) for m in range(self.items) if self.counts[n, c, m]]
        mp, k = self.mp, self.power
        return mp.fsum(p * t for p, t in kept), mp.fsum(p**k for p, _ in kept), mp.fsum(t**k for _, t in kept), mp.mpf(len(kept)), mp.fsum(t for _, t in kept)

    def pools(self) -> list[Pool]:
        """What is summed up before there is a ratio."""
        first = 0 if self.all.get("background", True) else 1
        classes = range(first, self.classes)
        units = [[n] for n in range(self.samples)] if self.all.get("over", "sample") == "sample" else [list(range(self.samples))]
        if not self.joined and self.all.get("average") != "micro":
            return [Pool([(self.mp.mpf(1), n, c) for n in unit], self.weight[c], unit[0]) for unit in units for c in classes]
        found = []
        for unit in units:
            weight = self.weight
            if self.joined:
                weight = [
                    a * b
                    for a, b in zip(weight, self.volumes([self.mp.fsum(self.sums[n, c][4] for n in unit) for c in range(self.classes)], first), strict=True)
                ]
            found.append(Pool([(weight[c], n, c) for n in unit for c in classes]))
        return found

    def volumes(self, masses: list[Number], first: int) -> list[Number]:
        """1 over the mass, its square, or 1; of an absent class that of the rarest one that is there."""
        exponent = {"uniform": 0, "simple": 1, "square": 2}[self.all["volume_weight"]]
        rarest = min((v for v in masses[first:] if v), default=self.mp.mpf(1))
        return [1 / (v or rarest) ** exponent for v in masses]

    def book(self, *sums: Number) -> Number:
        """The textbook's value, of intersection, prediction, target and count."""
        if self.joined:
            return self.loss.textbook(self.mp, *([v] for v in sums), **self.numbers | {"volume_weight": "uniform"})
        return self.loss.textbook(self.mp, *sums, **self.numbers)

    def slopes(self, sums: tuple[Number, ...], to_target: bool) -> list[Number | None]:
        """Derivatives by intersection, prediction and, where it is asked for, target."""
        which = range(3 if to_target else 2)
        found = [derivative(self.mp, lambda v, j=j: self.book(*sums[:j], v, *sums[j + 1 :]), sums[j], POWER) for j in which]
        return [None if v is None else v.real for v in found] + [0] * (3 - len(which))  # the side below 0 may be complex

    def doubt(self, sums: tuple[Number, ...], slopes: list[Number | None], to_target: bool) -> list[Number]:
        """How much the derivatives change with each of the sums, per relative change of it."""
        found = [self.mp.mpf(0)] * 3
        small = self.mp.mpf(10) ** (-POWER // 3)
        for j in range(3):
            near = self.slopes((*sums[:j], sums[j] * (1 + small), *sums[j + 1 :]), to_target)
            found = [a if b is None or c is None else a + abs(b - c) / small for a, b, c in zip(found, near, slopes, strict=True)]
        return found

    def settle(self, pool: Pool, to_target: bool) -> None:
        """The ratio of a pool, its derivatives by the sums, and its share."""
        mp, empty = self.mp, self.all.get("empty", "smooth")
        i, p, t, k = (mp.fsum(w * self.sums[n, c][which] for w, n, c in pool.cells) for which in range(4))
        pool.counts = bool(k) and not (empty == "skip" and not t) and bool(pool.share)
        if not pool.counts:
            return
        if t == 0 and empty != "smooth":
            much = mp.mpf(self.all.get("dice_weight", 1)) if empty == "mass" else mp.mpf(0)  # of a compound, the ratio's part
            pool.value, pool.slopes = much * p / k, (0, much / k, 0)
        else:
            pool.value = self.book(i, p, t, k)
            pool.slopes = self.slopes((i, p, t, k), to_target)
            pool.doubt = self.doubt((i, p, t, k), pool.slopes, to_target)
        if self.all.get("average") == "weighted":
            pool.share *= t
            pool.counts = bool(pool.share)

    def second(self) -> tuple[Number, dict[Any, Number], dict[Any, Number]]:
        """The mean of the second loss, -alpha (1 - p)^gamma log p of the right side of every question; its derivatives by p and by the target."""
        mp = self.mp
        focal = "focal_weight" in self.all
        gamma = mp.mpf(self.all["gamma"]) if focal else mp.mpf(0)
        alpha = self.all.get("alpha") if focal else None
        by_class = list(alpha) if isinstance(alpha, (list, tuple)) else [1 if alpha is None else alpha] * self.classes
        yes = [mp.mpf(v) for v in by_class] if focal and self.softmax else [mp.mpf(1 if alpha is None else alpha)] * self.classes
        no = mp.mpf(0) if self.softmax else mp.mpf(1) if alpha is None else 1 - mp.mpf(alpha)
        own = [mp.mpf(1)] * self.classes if focal else self.weight

        def nll(p: Number, q: Number) -> tuple[Number, Number]:
            log = mp.log(p) if p < 0.5 else mp.log1p(-q)
            fade = q**gamma
            return -fade * log, (gamma * q ** (gamma - 1) * log if gamma else 0) - fade / p

        total, by_p, by_t = mp.mpf(0), {}, {}
        for place in self.places:
            if self.counts[place]:
                t, w = self.target[place], own[place[1]]
                up, down = nll(self.p[place], self.q[place]), nll(self.q[place], self.p[place]) if no else (0, 0)
                a, b = w * yes[place[1]], w * no
                total += a * t * up[0] + b * (1 - t) * down[0]
                by_p[place] = a * t * up[1] - b * (1 - t) * down[1]
                by_t[place] = a * up[0] - b * down[0]
        if not self.softmax:
            count = sum(self.counts.values())
        elif self.labelled and not focal:
            count = mp.fsum(self.weight[c] * self.target[n, c, m] for n, c, m in self.places)
        else:
            count = sum(self.counts[n, 0, m] for n in range(self.samples) for m in range(self.items))
        inverse = 1 / mp.mpf(count) if count else mp.mpf(0)
        return total * inverse, {k: v * inverse for k, v in by_p.items()}, {k: v * inverse for k, v in by_t.items()}

    def exact(self, to_target: bool) -> ExactOverlap:
        """The answer."""
        mp = self.mp
        pools = self.pools()
        for pool in pools:
            self.settle(pool, to_target)
        if self.all.get("average") == "nested":  # every sample that counts has the same share
            whole = {unit: mp.fsum(pool.share for pool in pools if pool.counts and pool.unit == unit) for unit in range(self.samples)}
            for pool in pools:
                pool.share = pool.share / whole[pool.unit] if pool.counts else 0
        self.agrees_with_book(pools)
        each = self.all.get("average") == "none"
        normalizer = self.settings.get("normalizer")
        bottom = mp.fsum(pool.share for pool in pools if pool.counts) if normalizer is None else mp.mpf(normalizer)
        by_p, by_t = ({place: Slope() for place in self.places} for _ in range(2))
        values, scales = [], []
        for pool in pools:
            factor = (mp.mpf(1) if each else pool.share / bottom if bottom else mp.mpf(0)) if pool.counts else mp.mpf(0)
            scale = factor * abs(pool.value)
            for w, n, c in pool.cells:
                for m in range(self.items):
                    place = n, c, m
                    if factor and self.counts[place]:
                        p, t, k = self.p[place], self.target[place], self.power
                        for slope, sum_by_p, sum_by_t, doubt in zip(pool.slopes, (t, k * p ** (k - 1), 0), (p, 0, k * t ** (k - 1)), pool.doubt, strict=True):
                            by_p[place].add(factor * w * sum_by_p, slope, doubt)
                            by_t[place].add(factor * w * sum_by_t if to_target else 0, slope, doubt)
                        scale += by_p[place].size * p
            values.append(factor * pool.value)
            scales.append(scale)
        if not each:
            values, scales = [mp.fsum(values)], [mp.fsum(scales)]
        gradient = self.by_input(by_p, False)
        how_much = next((mp.mpf(self.all[name]) for name in SECONDS if name in self.all), None)
        if how_much is not None:
            value, slopes, to_t = self.second()
            values[0] += how_much * value
            scales[0] += how_much * value
            by_second = {place: Slope() for place in self.places}
            for place in slopes:
                by_second[place].add(how_much, slopes[place])
                by_t[place].add(how_much, to_t[place])
            for place, more in self.by_input(by_second, True).items():
                gradient[place].total += more.total
                gradient[place].size += more.size
        return ExactOverlap(values, scales, *self.listed(gradient), *self.listed(by_t))

    def by_input(self, by_p: dict[Any, Slope], sure: bool) -> dict[Any, Slope]:
        """From the probabilities to what they are made of. `sure`: the loss's own part of a number and what the others take from it are one term, so that
        a sure number must keep the digits of what little is left; the ratios, made of sums over all numbers, do not ask for that."""
        if not self.all.get("from_logits", True):
            return by_p
        found = {place: Slope() for place in self.places}
        for n, c, m in self.places:
            mine, p, q = by_p[n, c, m], self.p[n, c, m], self.q[n, c, m]
            here = found[n, c, m]
            others = [k for k in range(self.classes) if k != c] if self.softmax else []
            here.total = p * q * mine.total - p * self.mp.fsum(self.p[n, k, m] * by_p[n, k, m].total for k in others)
            here.size = p * (q if sure else 1 + p) * mine.size + p * self.mp.fsum(self.p[n, k, m] * by_p[n, k, m].size for k in others)
            here.exists = mine.exists and all(by_p[n, k, m].exists for k in others)
        return found

    def listed(self, slopes: dict[Any, Slope]) -> tuple[list[Number | None], list[Number]]:
        """In the order of the tensors."""
        return [slopes[place].total if slopes[place].exists else None for place in self.places], [slopes[place].size for place in self.places]

    def agrees_with_book(self, pools: list[Pool]) -> None:
        """A textbook that joins the classes itself must say the same."""
        plain = self.joined and self.all.get("weight") is None and (self.power == 1 or self.labelled)
        for pool in pools if plain else ():
            classes = sorted({c for _, _, c in pool.cells})
            columns = [[self.mp.fsum(self.sums[n, c][which] for _, n, k in pool.cells if k == c) for c in classes] for which in range(4)]
            if pool.counts and any(columns[2]):
                book = self.loss.textbook(self.mp, *columns, **self.numbers)
                assert abs(book - pool.value) < 1e-60, "the textbook and the oracle differ in how classes are joined"


@lru_cache(maxsize=4096)
def _exact(name: str, settings: tuple[tuple[str, Any], ...], x: Any, t: Any, keep: Any, to_target: bool) -> ExactOverlap:
    from losskit import LOSSES

    return Batch(LOSSES[name], dict(settings), x, t, keep).exact(to_target)


def frozen(x: Any) -> Any:
    """Nested lists as nested tuples, which can be looked up."""
    return tuple(frozen(v) for v in x) if isinstance(x, list) else x


def exact_overlap(loss: Loss, settings: Mapping[str, Any], x: Tensor, t: Tensor, keep: Tensor | None = None, *, to_target: bool = False) -> ExactOverlap:
    """The oracle on an input (samples, classes, items), with labels (samples, items) or numbers of its shape; `keep` says which numbers of it count.

    Settings of the contract (`over`, `average`, `empty`, `weight`, `normalizer`, ...) are understood too. Results are kept for the next engine.
    """
    held = tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in settings.items()))
    kept = None if keep is None else frozen(keep.expand(x.shape).tolist())
    return _exact(loss.name, held, frozen(x.tolist()), frozen(t.tolist()), kept, to_target)
