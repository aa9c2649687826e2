"""Names that people try: abbreviations, spellings, close matches."""

import difflib
import re
from collections.abc import Iterable

ABBREVIATIONS = {
    "ce": "cross_entropy",
    "softmax": "cross_entropy",
    "sigmoid": "binary_cross_entropy_with_logits",
    "kl": "kl_divergence",
    "kld": "kl_divergence",
    "kl_div": "kl_divergence",
    "js": "js_divergence",
    "jsd": "js_divergence",
    "gce": "generalized_cross_entropy",
    "sce": "symmetric_cross_entropy",
    "mae": "l1_loss",
    "l2": "l2_loss",
    "pinball": "quantile_loss",
    "pseudo_huber": "charbonnier_loss",
    "gnll": "gaussian_nll_loss",
    "gdl": "generalized_dice_loss",
    "iou_seg": "jaccard_loss",
    "ftl": "focal_tversky_loss",
    "mcc": "mcc_loss",
    "qfl": "quality_focal_loss",
    "vfl": "varifocal_loss",
    "dfl": "distribution_focal_loss",
    "wiou": "wiou_loss",
    "nwd": "nwd_loss",
}


def short(name: str) -> str:
    """A name in small letters, without `losskit.` and without the ending that losses share."""
    return re.sub(r"_?loss$", "", name.casefold().removeprefix("losskit."))


def near(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names that a name may be meant for: what it abbreviates, then close spellings."""
    known = list(known)
    spellings: dict[str, str] = {}
    for one in known:
        spellings.setdefault(one.casefold(), one)
        spellings.setdefault(short(one), one)
    meant = [m for m in (ABBREVIATIONS.get(short(name)),) if m in known]
    close = difflib.get_close_matches(name.casefold().removeprefix("losskit."), spellings, n=2 * count, cutoff=0.6)
    close += difflib.get_close_matches(short(name), spellings, n=2 * count, cutoff=0.6)
    return list(dict.fromkeys([*meant, *(spellings[c] for c in close)]))[:count]
