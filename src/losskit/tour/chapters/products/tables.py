"""The tables of this chapter."""

import numpy as np

from losskit.tour.chapter import Cell, Table
from losskit.tour.chapters.products import language, towers
from losskit.tour.chapters.products.experiment import LOSSES, Findings
from losskit.tour.chapters.products.language import Languages
from losskit.tour.chapters.products.towers import Pairings, firsts
from losskit.tour.figures import drawn
from losskit.tour.texts import texts

TEXTS = texts("products")

CALLS = ("F.cross_entropy", f"linear_cross_entropy(shift=True, chunk={language.CHUNK})", "clip_loss")


def megabytes(count: float) -> str:
    """Bytes, in millions."""
    return f"{count / 1e6:.1f} MB"


def table(found: Findings) -> Table:
    """Both ways of both models."""
    text, pairs = found.language, found.towers
    names = [TEXTS(f"table.{task}") for task in ("words", "pairs")]
    lines = [(names[0], CALLS[k], f"{side.train[-1]:.4f}", f"{side.test[-1]:.4f}", side.peak) for k, side in enumerate((text.whole, text.never))]
    score = [f"{shares[0]:.1%}, {shares[1]:.1%}" for shares in (side.course[-1] for side in (pairs.whole, pairs.never))]
    lines += [
        (names[1], CALLS[2 * k], f"{side.train[-1]:.4f}", right, side.peak)
        for k, (side, right) in enumerate(zip((pairs.whole, pairs.never), score, strict=True))
    ]
    rows = tuple((Cell(call, code=True), Cell(name), Cell(loss), Cell(right), Cell(megabytes(peak))) for name, call, loss, right, peak in lines)
    sizes = {"text": megabytes(text.scores), "pairs": megabytes(4 * towers.BATCH**2)}
    return Table(TEXTS.row("table.headings"), rows, TEXTS("table.caption", **sizes))


def samples(text: Languages) -> Table:
    """What the language model writes."""
    rows = (
        (Cell(TEXTS("samples.untrained")), Cell(text.untrained)),
        *((Cell(loss, code=True), Cell(side.text)) for loss, side in zip(LOSSES.values(), (text.whole, text.never), strict=True)),
    )
    same = text.whole.text == text.never.text
    return Table(
        TEXTS.row("samples.headings"),
        rows,
        TEXTS("samples.caption", same=same, temperature=language.TEMPERATURE, prompt=" ".join(language.PROMPT)),
        prose=True,
    )


def found_words(pairs: Pairings) -> Table:
    """Some held-out pictures, their words, and the words that are nearest to them."""
    data, names = pairs.data, pairs.held_out
    before, after = (np.asarray(c.argmax(1)) for c in (pairs.before, pairs.never.cosines))
    rows = []
    for place in firsts(pairs, 1):
        own, image = names[place], data.pixels[data.test[place]].view(8, 8).numpy()
        nearest = [Cell(names[c[place]], tone="good" if names[c[place]] == own else "bad") for c in (before, after)]
        rows.append((Cell(own), Cell("", picture=drawn(image, TEXTS("found.picture", words=own))), *nearest))
    return Table(TEXTS.row("found.headings"), tuple(rows), TEXTS("found.caption", count=len(names)))
