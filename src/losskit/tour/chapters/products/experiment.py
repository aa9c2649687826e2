"""Chapter 7, the experiments: scores that are a product, whole and never whole."""

from typing import NamedTuple

from losskit.tour.chapter import Advance, Effort
from losskit.tour.chapters.products import held, language, towers
from losskit.tour.chapters.products.data import described, prose
from losskit.tour.chapters.products.held import Held
from losskit.tour.chapters.products.language import Languages
from losskit.tour.chapters.products.towers import Pairings

TICKS = 2 * language.PARTS + 2 + 2  # how often a run says that something is done
LOSSES = {"whole": "F.cross_entropy", "never": "linear_cross_entropy"}
SAME = 1e-3  # two losses that are never further apart than this share of what training gains lie on each other


class Findings(NamedTuple):
    """Everything the chapter is written from."""

    language: Languages
    towers: Pairings
    held: Held


def run(seed: int, effort: Effort, advance: Advance) -> Findings:
    """All three."""
    text = language.run(prose(seed), seed, effort, lambda way: advance(f"products: words, {LOSSES[way]}"))
    pairs = towers.run(described(seed), seed, effort, lambda way: advance(f"products: pairs, {'clip_loss' if way == 'never' else LOSSES[way]}"))
    return Findings(text, pairs, held.run(effort, lambda what: advance(f"products: {what}")))
