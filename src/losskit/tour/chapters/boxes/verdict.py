"""What the numbers of this chapter say, whatever they turn out to be."""

from collections.abc import Sequence

from losskit.tour.chapter import Text
from losskit.tour.chapters.boxes.claims import Claim
from losskit.tour.chapters.boxes.experiment import COMPARED, PAPER, PUBLISHED, Findings, title
from losskit.tour.texts import texts

TEXTS = texts("boxes")


def verdict(found: Findings, judged: Sequence[Claim]) -> tuple[Text, ...]:
    """The sentences that these findings make true."""
    end = {n: float(c.error[-1]) for n, c in found.courses.items()}
    start = float(found.courses["iou_loss"].error[0])

    def by_error(names: list[str], most_first: bool) -> list[Text]:
        return [TEXTS("left", name=title(n), error=end[n]) for n in sorted(names, key=lambda n: end[n], reverse=most_first)]

    return TEXTS.sentences(
        "verdict",
        count=len(judged),
        held=sum(c.held for c in judged),
        held_published=sum(c.held_published for c in judged),
        failed=[c.name for c in judged if not c.held],
        resting=any(c.held_published and not c.held for c in judged),
        giou=end["giou_loss"] / start,
        published=end[PUBLISHED] / start,
        overlap=by_error([n for n in PAPER if n != "smooth_l1_loss"], True),
        arrived=found.courses["iou_loss"].arrived,
        smooth=end["smooth_l1_loss"],
        smooth_first=end["smooth_l1_loss"] < min(v for n, v in end.items() if n != "smooth_l1_loss"),
        newer=by_error([n for n in found.courses if n not in COMPARED], False),
    )
