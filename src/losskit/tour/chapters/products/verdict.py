"""What the numbers of this chapter say, whatever they turn out to be."""

from typing import Any

from losskit.tour.chapter import Text
from losskit.tour.chapters.products import language, towers
from losskit.tour.chapters.products.experiment import SAME, Findings
from losskit.tour.chapters.products.held import FAR, ITEMS, Held, formula
from losskit.tour.chapters.products.language import Languages
from losskit.tour.chapters.products.towers import Pairings, chance, found
from losskit.tour.texts import texts

TEXTS = texts("products")
NEAR = 0.05  # a formula that is off by less gives a measured number


def verdict(findings: Findings) -> tuple[Text, ...]:
    """The sentences that these findings make true."""
    return TEXTS.sentences("verdict", **_words(findings.language), **_pairs(findings.towers), **_memory(findings.held))


def _words(text: Languages) -> dict[str, Any]:
    """The language model."""
    theirs, ours = text.errors
    return {
        "steps": len(text.whole.train),
        "apart": text.apart,
        "fall": text.fall,
        "same": text.apart < SAME * text.fall,
        "end": text.whole.test[-1],
        "end_never": text.never.test[-1],
        "begin": text.begin,
        "frequency": text.frequency,
        "peak": text.whole.peak,
        "peak_never": text.never.peak,
        "scores": text.scores,
        "chunk": language.CHUNK,
        "places": language.BATCH * (language.LENGTH - 1),
        "vocabulary": len(text.prose.words),
        "theirs": theirs,
        "ours": ours,
    }


def _pairs(pairs: Pairings) -> dict[str, Any]:
    """The towers."""
    names = pairs.held_out
    before, after = found(pairs.before, names), found(pairs.never.cosines, names)
    return {
        "pairs_apart": pairs.apart,
        "pairs_fall": pairs.fall,
        "pairs_same": pairs.apart < SAME * pairs.fall,
        "held_out": len(names),
        "before": before[0],
        "after": after[0],
        "after_words": after[1],
        "guess": chance(names),
        "start": towers.START,
        "temperature": pairs.never.temperature,
    }


def _memory(held: Held) -> dict[str, Any]:
    """What is held, and by formula."""
    times = [a / b for a, b in zip(held.by_classes["F.cross_entropy"], held.by_classes["linear_cross_entropy"], strict=True)]
    most = {name: peaks[-1] for name, peaks in held.by_classes.items()}
    return {
        "items": ITEMS,
        "classes": held.classes[-1],
        "most": most,
        "off": held.off,
        "near": held.off < NEAR,
        "grows": 1.0 < times[0] < times[-1],
        "far": FAR,
        "far_whole": formula("F.cross_entropy", FAR),
        "far_never": formula("linear_cross_entropy", FAR),
        "pairs": held.pairs[-1],
        "most_pairs": {name: peaks[-1] for name, peaks in held.by_pairs.items()},
    }
