"""What the numbers of this chapter say, whatever they turn out to be."""

import numpy as np

from losskit.tour.chapter import Text
from losskit.tour.chapters.segmentation.data import NEARLY_EMPTY, Picture
from losskit.tour.chapters.segmentation.experiment import ENTRIES, FOREGROUND, against
from losskit.tour.chapters.segmentation.seen import NUMBER, SMALL, Seen
from losskit.tour.compare import rank_correlation
from losskit.tour.texts import texts

TEXTS = texts("segmentation")
PER_SAMPLE, PER_BATCH = ENTRIES[1].name, ENTRIES[3].name


def verdict(seen: Seen) -> tuple[Text, ...]:
    """The sentences that these findings make true."""
    false, kept, ratio, spots = seen.false, seen.kept, seen.ratio, seen.objects
    least, most = min(NUMBER, key=lambda n: false[n]), max(NUMBER, key=lambda n: false[n])
    finder = max(NUMBER, key=lambda n: (spots[n].found, -spots[n].false))
    careful = min(NUMBER, key=lambda n: (spots[n].false, -spots[n].found))
    wrong = np.array([false[n] for n in NUMBER])
    return tuple(_best(seen, picture) for picture in seen.found.pictures) + TEXTS.sentences(
        "verdict",
        near=seen.near.sum(),
        tiles=len(seen.near),
        nearly_empty=NEARLY_EMPTY,
        empties=int(seen.empty.sum()),
        least=least,
        least_false=false[least],
        least_kept=kept[least],
        least_ratio=ratio[least],
        most=most,
        most_false=false[most],
        most_kept=kept[most],
        most_ratio=ratio[most],
        there=spots[least].there,
        finder=finder,
        finder_found=spots[finder].found,
        finder_false=spots[finder].false,
        careful=careful,
        careful_found=spots[careful].found,
        careful_false=spots[careful].false,
        before=seen.results[PER_SAMPLE].dice.mean(),
        after=seen.results[PER_BATCH].dice.mean(),
        change_clear=against(seen.results[PER_BATCH].dice, seen.results[PER_SAMPLE].dice).clear,
        before_false=false[PER_SAMPLE],
        after_false=false[PER_BATCH],
        pixels=FOREGROUND[SMALL],
        agreement=rank_correlation(np.array([ratio[n] for n in NUMBER]), wrong) if np.ptp(wrong) > 0 else 0.0,
    )


def _best(seen: Seen, picture: Picture) -> Text:
    """Who is best in a picture, and who is clearly not."""
    order, apart, of = seen.order[picture.key], seen.apart[picture.key], seen.found.results[picture.key]
    best, worst = order[0], order[-1]
    return TEXTS(
        "best",
        title=picture.title,
        best=best,
        best_dice=of[best].dice.mean(),
        best_iou=of[best].iou.mean(),
        worst=worst,
        worst_dice=of[worst].dice.mean(),
        worst_iou=of[worst].iou.mean(),
        behind=[f"{n} (-{apart[n].mean:.3f})" for n in order[1:] if apart[n].clear],
        equal=[n for n in order[1:] if not apart[n].clear],
    )
