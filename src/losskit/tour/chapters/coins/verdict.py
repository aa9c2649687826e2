"""What the numbers of this chapter say, whatever they turn out to be."""

from typing import Any

import numpy as np

from losskit.tour.chapter import Text
from losskit.tour.chapters.coins.data import FOLDS
from losskit.tour.chapters.coins.experiment import CORNERS, Fate, against
from losskit.tour.chapters.coins.seen import GOOD, PARTS, Seen, share
from losskit.tour.chapters.coins.tried import WARNING
from losskit.tour.texts import texts

TEXTS = texts("coins")


def verdict(seen: Seen) -> tuple[Text, ...]:
    """The sentences that these findings make true."""
    found, names, iou, best = seen.found, seen.names, seen.iou, seen.best
    worst = names[-1]
    constant = float(found.constant.mean())
    facts = {
        "best": best,
        "best_iou": iou[best],
        "best_share": share(found.middle[best], GOOD),
        "good": GOOD,
        "worst": worst,
        "worst_iou": iou[worst],
        "worst_share": share(found.middle[worst], GOOD),
        "behind": [f"{n} (-{seen.apart[n].mean:.3f})" for n in seen.clear],
        "equal": [n for n in names[1:] if n not in seen.clear],
        "constant": constant,
        "dull": [n for n in names if iou[n] <= constant],
        "untrained": found.middle[best].iou[0].mean(),
        "gain": min(iou.values()) - constant,
        "divided": iou[best] - min(iou.values()),
    }
    return (*TEXTS.sentences("verdict", **facts, **_corners(seen), **_sizes(seen), fates=_fates(seen), **_advice(seen)), WARNING)


def _corners(seen: Seen) -> dict[str, Any]:
    """Smooth L1, which ignores overlap, against the losses of overlap taken together."""
    rivals = [n for n in seen.names if n != CORNERS]
    gap = against(seen.found.middle[CORNERS].scores, np.mean([seen.found.middle[n].scores for n in rivals], 0))
    return {
        "corners": seen.iou[CORNERS],
        "rivals": seen.iou[CORNERS] - gap.mean,
        "gap": gap.mean,
        "margin": gap.margin,
        "gap_clear": gap.clear,
        "rival": rivals[0],
        "rival_iou": seen.iou[rivals[0]],
        "corners_off": seen.off[CORNERS],
        "rivals_off": np.mean([seen.off[n] for n in rivals]),
    }


def _sizes(seen: Seen) -> dict[str, Any]:
    """Whether smooth L1, which counts pixels, serves large boxes better than small ones, against losses of overlap, which count shares."""
    small, large = (seen.lead(p) for p in (0, PARTS - 1))
    turn = against(large, small)
    return {
        "small": small.mean(),
        "small_edge": seen.edges[0],
        "large": large.mean(),
        "large_edge": seen.edges[-1],
        "turn": turn.mean,
        "turn_clear": turn.clear,
    }


def _fates(seen: Seen) -> list[Text]:
    """What became of every loss that started apart."""
    apart, fates = seen.found.apart, seen.fates
    through, still, away, lost = ([n for n in seen.names if fates[n][way] == FOLDS] for way in range(len(Fate._fields)))
    longest = max((float(apart[n].sides[-1]) for n in away), default=0.0)
    groups = {
        "through": [f"{n} ({apart[n].iou[-1].mean():.3f})" for n in through],
        "still": still,
        "away": away,
        "lost": lost,
        "mixed": [f"{n} ({fates[n].through}/{FOLDS})" for n in seen.names if max(fates[n]) < FOLDS],
    }
    return [TEXTS(f"fates.{way}", names=names, longest=longest) for way, names in groups.items() if names]


def _advice(seen: Seen) -> dict[str, Any]:
    """What to take, as far as the numbers go."""
    level = [n for n in seen.names if n not in seen.clear]
    both = [n for n in level if seen.fates[n].through == FOLDS]
    return {
        "both": both,
        "middle_only": [n for n in level if n not in both],
        "start_first": max(float(r.iou[-1].mean()) for r in seen.found.apart.values()) < min(seen.iou.values()),
    }
