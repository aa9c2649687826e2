"""What the numbers of this chapter say, whatever they turn out to be."""

from losskit.tour.chapter import Text
from losskit.tour.chapters.imbalance.experiment import ENTRIES, MEASURES, PLAIN, SHARE, Scores
from losskit.tour.compare import Difference, Numbers, spread
from losskit.tour.texts import texts

TEXTS = texts("imbalance")


def pm(scores: Numbers) -> str:
    """Mean and spread."""
    mean, deviation = spread(scores)
    return f"{mean:.3f} ± {deviation:.3f}"


def verdict(scores: dict[str, Scores], differences: dict[str, dict[str, Difference]]) -> tuple[Text, ...]:
    """The sentences that these scores, and their differences from plain cross-entropy, make true."""
    mean = {m: {n: float(s[m].mean()) for n, s in scores.items()} for m in MEASURES}

    def changed(measure: str, better: bool) -> list[str]:
        more = MEASURES[measure].more
        return [n for n, d in differences.items() if d[measure].clear and (d[measure].mean > 0) == (more == better)]

    recall, ece = mean["recall"], mean["ece"]
    found, off = changed("recall", True), changed("ece", False)
    top = max(found or scores, key=lambda n: recall[n])
    gammas = [e.name for e in ENTRIES if e.loss == "focal_loss" and "alpha" not in e.settings]
    best, worst = min(ece, key=lambda n: ece[n]), max(ece, key=lambda n: ece[n])
    return TEXTS.sentences(
        "verdict",
        plain=PLAIN,
        plain_recall=recall[PLAIN],
        found=[f"{n} ({recall[n]:.0%})" for n in found],
        top=top,
        top_recall=recall[top],
        plain_precision=mean["precision"][PLAIN],
        top_precision=mean["precision"][top],
        costs=bool(set(found) & set(changed("precision", False))),
        lost=changed("recall", False),
        helped=[n for n in gammas if n in found],
        weights_help=any("alpha" in n or "weight" in n for n in found),
        least=min(recall[n] for n in gammas),
        most=max(recall[n] for n in gammas),
        low=min(mean["accuracy"].values()),
        high=max(mean["accuracy"].values()),
        all_common=1.0 - SHARE,
        better=sorted({n for m in ("auc", "ap") for n in changed(m, True)}),
        worse=sorted({n for m in ("auc", "ap") for n in changed(m, False)}),
        best=best,
        best_ece=ece[best],
        worst=worst,
        worst_ece=ece[worst],
        off=off,
        all_off=len(off) == len(differences),
    )
