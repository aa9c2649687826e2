"""losskit: the loss functions of deep learning for PyTorch, each written once, fused on CPU and GPU, under one contract.

>>> import torch, losskit
>>> losskit.smooth_l1_loss(torch.tensor([0.0, 4.0]), torch.tensor([0.5, 1.0]))
tensor(1.3125)
>>> losskit.FocalLoss(alpha=0.25, gamma=2.0)(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0]))
tensor(0.0087)
"""

from losskit.binary import EITHER
from losskit.compat import like
from losskit.compose.heads import PerHead
from losskit.compose.sum import Sum
from losskit.compose.supervision import DeepSupervision
from losskit.compose.weights import UncertaintyWeight
from losskit.contract.boxes import degenerate_boxes
from losskit.contract.checks import validate
from losskit.contract.config import create, from_config
from losskit.contract.distance import distance_map
from losskit.contract.engine import engine_for
from losskit.contract.groups import Ranks
from losskit.contract.module import LossModule, make_module
from losskit.contract.registry import LOSSES, Loss
from losskit.contract.topk import TopK
from losskit.engines.dispatch import EngineError, use_engine
from losskit.losses.detection.wiou_v3 import WIoUv3Loss
from losskit.matching import Matches, assign, matching_cost
from losskit.pairwise import BoxMatch, best_match, pairwise_iou
from losskit.products import linear_log_prob, linear_probabilities, linear_scores
from losskit.sampling import SampledClasses, sampled_classes
from losskit.sums_of_overlap import OverlapSums, overlap_sums

__version__ = "0.2.0"

__all__ = [
    "LOSSES",
    "BoxMatch",
    "DeepSupervision",
    "EngineError",
    "Loss",
    "LossModule",
    "Matches",
    "OverlapSums",
    "PerHead",
    "Ranks",
    "SampledClasses",
    "Sum",
    "TopK",
    "UncertaintyWeight",
    "WIoUv3Loss",
    "assign",
    "best_match",
    "create",
    "degenerate_boxes",
    "distance_map",
    "engine_for",
    "from_config",
    "like",
    "linear_log_prob",
    "linear_probabilities",
    "linear_scores",
    "matching_cost",
    "overlap_sums",
    "pairwise_iou",
    "sampled_classes",
    "use_engine",
    "validate",
]

_scores = {score.__name__: score for loss in LOSSES.values() for score in loss.scores}
globals().update({name: loss.function for name, loss in LOSSES.items()} | _scores)
_modules = {loss.module: loss for loss in (*LOSSES.values(), EITHER)}
__all__ += sorted([*LOSSES, *_scores, *_modules])


def __getattr__(name: str) -> type[LossModule]:
    """Module classes are made when first asked for: `import losskit` stays cheap."""
    if name not in _modules:
        from losskit.contract.names import near

        meant = [] if name.startswith("_") else near(name, __all__)
        raise AttributeError(f"module 'losskit' has no attribute {name!r}" + (f"; did you mean {' or '.join(meant)}?" if meant else ""))
    globals()[name] = made = make_module(_modules[name])
    return made


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
