"""Written by `python -m losskit.contract.stubs` from the registry; not to be edited."""

import collections.abc
from typing import Generic, Literal, overload

import torch
from typing_extensions import TypeVar

import losskit.contract.groups
from losskit.compose.heads import PerHead as PerHead
from losskit.compose.sum import Sum as Sum
from losskit.compose.supervision import DeepSupervision as DeepSupervision
from losskit.compose.weights import UncertaintyWeight as UncertaintyWeight
from losskit.contract.boxes import degenerate_boxes as degenerate_boxes
from losskit.contract.checks import validate as validate
from losskit.contract.distance import distance_map as distance_map
from losskit.contract.engine import engine_for as engine_for
from losskit.contract.groups import Ranks as Ranks
from losskit.contract.module import LossModule as LossModule
from losskit.contract.module import OwnsHead as OwnsHead
from losskit.contract.passes import ByProducts
from losskit.contract.registry import LOSSES as LOSSES
from losskit.contract.registry import Loss as Loss
from losskit.contract.topk import TopK as TopK
from losskit.engines.dispatch import EngineError as EngineError
from losskit.engines.dispatch import use_engine as use_engine
from losskit.matching import Matches as Matches
from losskit.matching import assign as assign
from losskit.matching import matching_cost as matching_cost
from losskit.pairwise import BoxMatch as BoxMatch
from losskit.pairwise import best_match as best_match
from losskit.pairwise import pairwise_iou as pairwise_iou
from losskit.products import linear_log_prob as linear_log_prob
from losskit.products import linear_probabilities as linear_probabilities
from losskit.products import linear_scores as linear_scores
from losskit.compat import like as like
from losskit.contract.config import create as create
from losskit.contract.config import from_config as from_config
from losskit.sampling import SampledClasses as SampledClasses
from losskit.sampling import sampled_classes as sampled_classes
from losskit.sums_of_overlap import OverlapSums as OverlapSums
from losskit.sums_of_overlap import overlap_sums as overlap_sums
from losskit.losses.detection.wiou_v3 import WIoUv3Loss as WIoUv3Loss
from losskit.losses.classification.binary_cross_entropy import binary_cross_entropy as binary_cross_entropy
from losskit.losses.classification.binary_cross_entropy_with_logits import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from losskit.losses.classification.entropy import entropy as entropy
from losskit.losses.classification.focal import focal_loss as focal_loss
from losskit.losses.classification.hinge import hinge_loss as hinge_loss
from losskit.losses.classification.hinge_embedding import hinge_embedding_loss as hinge_embedding_loss
from losskit.losses.classification.js_divergence import js_divergence as js_divergence
from losskit.losses.classification.kl_divergence import kl_divergence as kl_divergence
from losskit.losses.classification.margin_ranking import margin_ranking_loss as margin_ranking_loss
from losskit.losses.classification.multi_margin import multi_margin_loss as multi_margin_loss
from losskit.losses.classification.multilabel_margin import multilabel_margin_loss as multilabel_margin_loss
from losskit.losses.classification.multilabel_soft_margin import multilabel_soft_margin_loss as multilabel_soft_margin_loss
from losskit.losses.classification.nll import nll_loss as nll_loss
from losskit.losses.classification.soft_margin import soft_margin_loss as soft_margin_loss
from losskit.losses.classification.squared_hinge import squared_hinge_loss as squared_hinge_loss
from losskit.losses.detection.alpha_iou import alpha_iou_loss as alpha_iou_loss
from losskit.losses.detection.ciou import ciou as ciou
from losskit.losses.detection.ciou import ciou_loss as ciou_loss
from losskit.losses.detection.diou import diou as diou
from losskit.losses.detection.diou import diou_loss as diou_loss
from losskit.losses.detection.distribution_focal import distribution_focal_loss as distribution_focal_loss
from losskit.losses.detection.eiou import eiou_loss as eiou_loss
from losskit.losses.detection.focal_eiou import focal_eiou_loss as focal_eiou_loss
from losskit.losses.detection.giou import giou as giou
from losskit.losses.detection.giou import giou_loss as giou_loss
from losskit.losses.detection.inner_iou import inner_iou_loss as inner_iou_loss
from losskit.losses.detection.iou import iou as iou
from losskit.losses.detection.iou import iou_loss as iou_loss
from losskit.losses.detection.mpdiou import mpdiou_loss as mpdiou_loss
from losskit.losses.detection.nwd import nwd_loss as nwd_loss
from losskit.losses.detection.probiou import probiou as probiou
from losskit.losses.detection.probiou import probiou_loss as probiou_loss
from losskit.losses.detection.quality_focal import quality_focal_loss as quality_focal_loss
from losskit.losses.detection.siou import siou_loss as siou_loss
from losskit.losses.detection.varifocal import varifocal_loss as varifocal_loss
from losskit.losses.detection.wiou import wiou_loss as wiou_loss
from losskit.losses.embedding.batch_hard_triplet import batch_hard_triplet_loss as batch_hard_triplet_loss
from losskit.losses.embedding.clip import clip_loss as clip_loss
from losskit.losses.embedding.cosine_embedding import cosine_embedding_loss as cosine_embedding_loss
from losskit.losses.embedding.info_nce import info_nce_loss as info_nce_loss
from losskit.losses.embedding.nt_xent import nt_xent_loss as nt_xent_loss
from losskit.losses.embedding.siglip import siglip_loss as siglip_loss
from losskit.losses.embedding.supcon import supcon_loss as supcon_loss
from losskit.losses.embedding.triplet_margin import triplet_margin_loss as triplet_margin_loss
from losskit.losses.image.l1_ssim import l1_ssim_loss as l1_ssim_loss
from losskit.losses.image.ssim import ssim_loss as ssim_loss
from losskit.losses.regression.balanced_l1 import balanced_l1_loss as balanced_l1_loss
from losskit.losses.regression.barron import barron_loss as barron_loss
from losskit.losses.regression.beta_nll import beta_nll_loss as beta_nll_loss
from losskit.losses.regression.cauchy import cauchy_loss as cauchy_loss
from losskit.losses.regression.charbonnier import charbonnier_loss as charbonnier_loss
from losskit.losses.regression.evidential_nll import evidential_nll_loss as evidential_nll_loss
from losskit.losses.regression.gamma_nll import gamma_nll_loss as gamma_nll_loss
from losskit.losses.regression.gaussian_nll import gaussian_nll_loss as gaussian_nll_loss
from losskit.losses.regression.geman_mcclure import geman_mcclure_loss as geman_mcclure_loss
from losskit.losses.regression.huber import huber_loss as huber_loss
from losskit.losses.regression.kl_normal import kl_normal_loss as kl_normal_loss
from losskit.losses.regression.l1 import l1_loss as l1_loss
from losskit.losses.regression.l2 import l2_loss as l2_loss
from losskit.losses.regression.laplace_nll import laplace_nll_loss as laplace_nll_loss
from losskit.losses.regression.log_cosh import log_cosh_loss as log_cosh_loss
from losskit.losses.regression.mape import mape_loss as mape_loss
from losskit.losses.regression.mse import mse_loss as mse_loss
from losskit.losses.regression.msle import msle_loss as msle_loss
from losskit.losses.regression.negative_binomial_nll import negative_binomial_nll_loss as negative_binomial_nll_loss
from losskit.losses.regression.poisson_nll import poisson_nll_loss as poisson_nll_loss
from losskit.losses.regression.quantile import quantile_loss as quantile_loss
from losskit.losses.regression.smooth_l1 import smooth_l1_loss as smooth_l1_loss
from losskit.losses.regression.student_t_nll import student_t_nll_loss as student_t_nll_loss
from losskit.losses.regression.tweedie import tweedie_loss as tweedie_loss
from losskit.losses.regression.welsch import welsch_loss as welsch_loss
from losskit.losses.regression.wing import wing_loss as wing_loss
from losskit.losses.segmentation.boundary import boundary_loss as boundary_loss
from losskit.losses.segmentation.dice import dice_loss as dice_loss
from losskit.losses.segmentation.dice import dice_score as dice_score
from losskit.losses.segmentation.dice_ce import DiceCEParts
from losskit.losses.segmentation.dice_focal import DiceFocalParts
from losskit.losses.segmentation.focal_tversky import focal_tversky_loss as focal_tversky_loss
from losskit.losses.segmentation.generalized_dice import generalized_dice_loss as generalized_dice_loss
from losskit.losses.segmentation.jaccard import jaccard_loss as jaccard_loss
from losskit.losses.segmentation.jaccard import jaccard_score as jaccard_score
from losskit.losses.segmentation.log_cosh_dice import log_cosh_dice_loss as log_cosh_dice_loss
from losskit.losses.segmentation.lovasz import lovasz_loss as lovasz_loss
from losskit.losses.segmentation.mcc import mcc_loss as mcc_loss
from losskit.losses.segmentation.tversky import tversky_loss as tversky_loss

__version__: str

_Result = TypeVar("_Result", default=torch.Tensor)

@overload
def arcface_loss(input: torch.Tensor, target: torch.Tensor, *, margin: float = 0.5, scale: float = 64.0, sub_centers: int = 1, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> torch.Tensor: ...
@overload
def arcface_loss(input: torch.Tensor, target: torch.Tensor, *, margin: float = 0.5, scale: float = 64.0, sub_centers: int = 1, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> tuple[torch.Tensor, ByProducts]: ...
@overload
def cosface_loss(input: torch.Tensor, target: torch.Tensor, *, margin: float = 0.35, scale: float = 64.0, sub_centers: int = 1, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> torch.Tensor: ...
@overload
def cosface_loss(input: torch.Tensor, target: torch.Tensor, *, margin: float = 0.35, scale: float = 64.0, sub_centers: int = 1, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> tuple[torch.Tensor, ByProducts]: ...
@overload
def cross_entropy(input: torch.Tensor, target: torch.Tensor, *, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, label_smoothing: float | torch.Tensor = 0.0, z_loss: float = 0.0, softcap: float | None = None, temperature: float | torch.Tensor = 1.0, dim: int = 1, from_logits: bool = True, log_input: bool = False, inplace: bool = False, return_parts: Literal[False] = False, class_group: torch.distributed.distributed_c10d.ProcessGroup | None = None, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> torch.Tensor: ...
@overload
def cross_entropy(input: torch.Tensor, target: torch.Tensor, *, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, label_smoothing: float | torch.Tensor = 0.0, z_loss: float = 0.0, softcap: float | None = None, temperature: float | torch.Tensor = 1.0, dim: int = 1, from_logits: bool = True, log_input: bool = False, inplace: bool = False, return_parts: Literal[True], class_group: torch.distributed.distributed_c10d.ProcessGroup | None = None, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> tuple[torch.Tensor, ByProducts]: ...
@overload
def generalized_cross_entropy(input: torch.Tensor, target: torch.Tensor, *, q: float = 0.7, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> torch.Tensor: ...
@overload
def generalized_cross_entropy(input: torch.Tensor, target: torch.Tensor, *, q: float = 0.7, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> tuple[torch.Tensor, ByProducts]: ...
@overload
def linear_cross_entropy(input: torch.Tensor, linear_weight: torch.Tensor, target: torch.Tensor, *, linear_bias: torch.Tensor | None = None, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, label_smoothing: float | torch.Tensor = 0.0, z_loss: float = 0.0, softcap: float | None = None, temperature: float | torch.Tensor = 1.0, shift: bool = False, chunk: int | None = None, accumulate: Literal["float32", "input"] = "float32", return_parts: Literal[False] = False, class_group: torch.distributed.distributed_c10d.ProcessGroup | None = None, sequence_dim: int | None = None, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> torch.Tensor: ...
@overload
def linear_cross_entropy(input: torch.Tensor, linear_weight: torch.Tensor, target: torch.Tensor, *, linear_bias: torch.Tensor | None = None, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, label_smoothing: float | torch.Tensor = 0.0, z_loss: float = 0.0, softcap: float | None = None, temperature: float | torch.Tensor = 1.0, shift: bool = False, chunk: int | None = None, accumulate: Literal["float32", "input"] = "float32", return_parts: Literal[True], class_group: torch.distributed.distributed_c10d.ProcessGroup | None = None, sequence_dim: int | None = None, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> tuple[torch.Tensor, ByProducts]: ...
@overload
def poly_loss(input: torch.Tensor, target: torch.Tensor, *, epsilon: float = 1.0, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> torch.Tensor: ...
@overload
def poly_loss(input: torch.Tensor, target: torch.Tensor, *, epsilon: float = 1.0, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> tuple[torch.Tensor, ByProducts]: ...
@overload
def symmetric_cross_entropy(input: torch.Tensor, target: torch.Tensor, *, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> torch.Tensor: ...
@overload
def symmetric_cross_entropy(input: torch.Tensor, target: torch.Tensor, *, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> tuple[torch.Tensor, ByProducts]: ...
@overload
def dice_ce_loss(input: torch.Tensor, target: torch.Tensor, *, task: Literal["binary", "multiclass", "multilabel"], dice_weight: float = 1.0, ce_weight: float = 1.0, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, return_parts: Literal[False] = False, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...
@overload
def dice_ce_loss(input: torch.Tensor, target: torch.Tensor, *, task: Literal["binary", "multiclass", "multilabel"], dice_weight: float = 1.0, ce_weight: float = 1.0, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, return_parts: Literal[True], mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> tuple[torch.Tensor, DiceCEParts]: ...
@overload
def dice_focal_loss(input: torch.Tensor, target: torch.Tensor, *, task: Literal["binary", "multiclass", "multilabel"], dice_weight: float = 1.0, focal_weight: float = 1.0, gamma: float = 2.0, alpha: float | torch.Tensor | collections.abc.Sequence[float] | None = None, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, return_parts: Literal[False] = False, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...
@overload
def dice_focal_loss(input: torch.Tensor, target: torch.Tensor, *, task: Literal["binary", "multiclass", "multilabel"], dice_weight: float = 1.0, focal_weight: float = 1.0, gamma: float = 2.0, alpha: float | torch.Tensor | collections.abc.Sequence[float] | None = None, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, return_parts: Literal[True], mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> tuple[torch.Tensor, DiceFocalParts]: ...

class AlphaIoULoss(LossModule):
    """Alpha-IoU loss between predicted and target boxes: 1 - IoU^power, which weighs good boxes more for a power above 1."""

    power: float
    box_format: Literal["xyxy", "xywh", "cxcywh"]
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, power: float = 3.0, box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy", reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class ArcFaceLoss(LossModule, Generic[_Result]):
    """ArcFace loss of cosines against class labels: cross-entropy after the angle to the label's centre has been made larger by `margin`."""

    margin: float
    scale: float
    sub_centers: int
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    return_parts: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    @overload
    def __init__(self: ArcFaceLoss[torch.Tensor], *, margin: float = 0.5, scale: float = 64.0, sub_centers: int = 1, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    @overload
    def __init__(self: ArcFaceLoss[tuple[torch.Tensor, ByProducts]], *, margin: float = 0.5, scale: float = 64.0, sub_centers: int = 1, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> _Result: ...  # type: ignore[override]

class BCELoss(LossModule):
    """Binary cross-entropy of probabilities, as torch's function of this name; binary and multi-label."""

    weight: torch.Tensor | None
    pos_weight: torch.Tensor | None
    label_smoothing: float
    ignore_index: int | None
    missing: float | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, pos_weight: torch.Tensor | collections.abc.Sequence[float] | None = None, label_smoothing: float = 0.0, ignore_index: int | None = None, missing: float | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class BCEWithLogitsLoss(LossModule):
    """Binary cross-entropy of logits; binary and multi-label."""

    weight: torch.Tensor | None
    pos_weight: torch.Tensor | None
    label_smoothing: float
    ignore_index: int | None
    missing: float | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, pos_weight: torch.Tensor | collections.abc.Sequence[float] | None = None, label_smoothing: float = 0.0, ignore_index: int | None = None, missing: float | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class BalancedL1Loss(LossModule):
    """Balanced L1 loss between real values `input` and `target`: a smooth L1 with a larger gradient for small errors."""

    alpha: float
    gamma: float
    beta: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, alpha: float = 0.5, gamma: float = 1.5, beta: float = 1.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class BarronLoss(LossModule):
    """Barron's general robust loss between real values `input` and `target`: `alpha` sets how much outliers count, and both it and `scale` can be learned."""

    alpha: float | torch.Tensor
    scale: float | torch.Tensor
    nll: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, alpha: float | torch.Tensor | collections.abc.Sequence[float] = 1.0, scale: float | torch.Tensor | collections.abc.Sequence[float] = 1.0, nll: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class BatchHardTripletLoss(LossModule):
    """Batch-hard triplet loss of embeddings (real values) and their labels: the farthest of the same label is to be nearer than the nearest of another."""

    margin: float | Literal["soft"]
    p: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, margin: float | Literal["soft"] = "soft", p: float = 2.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, embeddings: torch.Tensor, labels: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class BetaNLLLoss(LossModule):
    """Gaussian negative log-likelihood of real values `target`, each item times its variance to the power `beta`, so that uncertain items still teach the mean."""

    var: torch.Tensor | float | None
    log_var: torch.Tensor | float | None
    std: torch.Tensor | float | None
    beta: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, log_var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, std: torch.Tensor | collections.abc.Sequence[float] | float | None = None, beta: float = 0.5, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, log_var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, std: torch.Tensor | collections.abc.Sequence[float] | float | None = None, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class BinaryCrossEntropyLoss(LossModule):
    """Binary cross-entropy of logits or of probabilities: which, must be said."""

    from_logits: bool
    weight: torch.Tensor | None
    pos_weight: torch.Tensor | None
    label_smoothing: float
    ignore_index: int | None
    missing: float | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, from_logits: bool, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, pos_weight: torch.Tensor | collections.abc.Sequence[float] | None = None, label_smoothing: float = 0.0, ignore_index: int | None = None, missing: float | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class BoundaryLoss(LossModule):
    """Boundary loss of logits (default) or, with from_logits=False, of probabilities: probability times signed distance to the target's boundary."""

    task: Literal["binary", "multiclass", "multilabel"]
    from_logits: bool
    background: bool
    spacing: collections.abc.Sequence[float] | None
    ignore_index: int
    dim: int
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, task: Literal["binary", "multiclass", "multilabel"], from_logits: bool = True, background: bool = True, spacing: collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class CIoULoss(LossModule):
    """CIoU loss between predicted and target boxes: 1 - IoU, the distance of the centres, and the difference of the aspect ratios."""

    alpha_gradient: bool
    box_format: Literal["xyxy", "xywh", "cxcywh"]
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, alpha_gradient: bool = False, box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy", reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class CLIPLoss(LossModule):
    """CLIP's loss of image and text embeddings (real values): each picture is to find its text among those of the batch, and each text its picture."""

    logit_scale: float | torch.Tensor
    normalize: bool
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, logit_scale: float | torch.Tensor = 14.285714285714285, normalize: bool = False, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, image_features: torch.Tensor, text_features: torch.Tensor, logit_scale: float | torch.Tensor = 14.285714285714285, *, exclude: torch.Tensor | None = None, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class CauchyLoss(LossModule):
    """Cauchy (Lorentzian) loss between real values `input` and `target`: a square near 0 that grows like a logarithm far out."""

    scale: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, scale: float = 1.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class CharbonnierLoss(LossModule):
    """Charbonnier loss between real values `input` and `target`: an absolute error that is smooth at 0."""

    eps: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, eps: float = 0.001, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class CosFaceLoss(LossModule, Generic[_Result]):
    """CosFace loss (AM-softmax) of cosines against class labels: cross-entropy after the label's cosine has been lowered by `margin`."""

    margin: float
    scale: float
    sub_centers: int
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    return_parts: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    @overload
    def __init__(self: CosFaceLoss[torch.Tensor], *, margin: float = 0.35, scale: float = 64.0, sub_centers: int = 1, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    @overload
    def __init__(self: CosFaceLoss[tuple[torch.Tensor, ByProducts]], *, margin: float = 0.35, scale: float = 64.0, sub_centers: int = 1, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> _Result: ...  # type: ignore[override]

class CosineEmbeddingLoss(LossModule):
    """Cosine embedding loss of pairs of vectors (real values) against labels -1 and 1: one direction for pairs that belong together, another for the others."""

    margin: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, margin: float = 0.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input1: torch.Tensor, input2: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class CrossEntropyLoss(LossModule, Generic[_Result]):
    """Cross-entropy of class logits (default) or, with from_logits=False, of class probabilities, against class labels or probabilities."""

    weight: torch.Tensor | None
    ignore_index: int
    label_smoothing: float | torch.Tensor
    z_loss: float
    softcap: float | None
    temperature: float | torch.Tensor
    dim: int
    from_logits: bool
    log_input: bool
    inplace: bool
    return_parts: bool
    class_group: torch.distributed.distributed_c10d.ProcessGroup | None
    reduction: Literal["none", "mean", "sum"] | TopK

    @overload
    def __init__(self: CrossEntropyLoss[torch.Tensor], *, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, label_smoothing: float | torch.Tensor = 0.0, z_loss: float = 0.0, softcap: float | None = None, temperature: float | torch.Tensor = 1.0, dim: int = 1, from_logits: bool = True, log_input: bool = False, inplace: bool = False, return_parts: Literal[False] = False, class_group: torch.distributed.distributed_c10d.ProcessGroup | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    @overload
    def __init__(self: CrossEntropyLoss[tuple[torch.Tensor, ByProducts]], *, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, label_smoothing: float | torch.Tensor = 0.0, z_loss: float = 0.0, softcap: float | None = None, temperature: float | torch.Tensor = 1.0, dim: int = 1, from_logits: bool = True, log_input: bool = False, inplace: bool = False, return_parts: Literal[True], class_group: torch.distributed.distributed_c10d.ProcessGroup | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> _Result: ...  # type: ignore[override]

class DIoULoss(LossModule):
    """DIoU loss between predicted and target boxes: 1 - IoU + the squared distance of the centres over the squared diagonal of the enclosing box."""

    box_format: Literal["xyxy", "xywh", "cxcywh", "cxcywha"]
    degrees: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, box_format: Literal["xyxy", "xywh", "cxcywh", "cxcywha"] = "xyxy", degrees: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class DiceCELoss(LossModule, Generic[_Result]):
    """Dice loss plus cross-entropy of logits (default) or, with from_logits=False, of probabilities, from one pass over the logits."""

    task: Literal["binary", "multiclass", "multilabel"]
    dice_weight: float
    ce_weight: float
    smooth: float | tuple[float, float]
    power: int
    from_logits: bool
    over: Literal["sample", "batch"]
    average: Literal["macro", "micro", "weighted", "nested", "none"]
    background: bool
    empty: Literal["smooth", "skip", "zero", "mass"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None
    return_parts: bool

    @overload
    def __init__(self: DiceCELoss[torch.Tensor], *, task: Literal["binary", "multiclass", "multilabel"], dice_weight: float = 1.0, ce_weight: float = 1.0, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, return_parts: Literal[False] = False) -> None: ...
    @overload
    def __init__(self: DiceCELoss[tuple[torch.Tensor, DiceCEParts]], *, task: Literal["binary", "multiclass", "multilabel"], dice_weight: float = 1.0, ce_weight: float = 1.0, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, return_parts: Literal[True]) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> _Result: ...  # type: ignore[override]

class DiceFocalLoss(LossModule, Generic[_Result]):
    """Dice loss plus focal loss of logits (default) or, with from_logits=False, of probabilities, from one pass over the logits."""

    task: Literal["binary", "multiclass", "multilabel"]
    dice_weight: float
    focal_weight: float
    gamma: float
    alpha: float | torch.Tensor | None
    smooth: float | tuple[float, float]
    power: int
    from_logits: bool
    over: Literal["sample", "batch"]
    average: Literal["macro", "micro", "weighted", "nested", "none"]
    background: bool
    empty: Literal["smooth", "skip", "zero", "mass"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None
    return_parts: bool

    @overload
    def __init__(self: DiceFocalLoss[torch.Tensor], *, task: Literal["binary", "multiclass", "multilabel"], dice_weight: float = 1.0, focal_weight: float = 1.0, gamma: float = 2.0, alpha: float | torch.Tensor | collections.abc.Sequence[float] | None = None, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, return_parts: Literal[False] = False) -> None: ...
    @overload
    def __init__(self: DiceFocalLoss[tuple[torch.Tensor, DiceFocalParts]], *, task: Literal["binary", "multiclass", "multilabel"], dice_weight: float = 1.0, focal_weight: float = 1.0, gamma: float = 2.0, alpha: float | torch.Tensor | collections.abc.Sequence[float] | None = None, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, return_parts: Literal[True]) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> _Result: ...  # type: ignore[override]

class DiceLoss(LossModule):
    """Dice loss of logits (default) or, with from_logits=False, of probabilities: 1 minus twice the overlap over the two masses."""

    task: Literal["binary", "multiclass", "multilabel"]
    smooth: float | tuple[float, float]
    power: int
    from_logits: bool
    over: Literal["sample", "batch"]
    average: Literal["macro", "micro", "weighted", "nested", "none"]
    background: bool
    empty: Literal["smooth", "skip", "zero", "mass"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None

    def __init__(self, *, task: Literal["binary", "multiclass", "multilabel"], smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class DistributionFocalLoss(LossModule):
    """Distribution focal loss (DFL) of logits over bins 0, 1, ..., n - 1 against a real number between them: cross-entropy with its two nearest bins."""

    dim: int
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, dim: int = 1, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class EIoULoss(LossModule):
    """EIoU loss (efficient IoU) between predicted and target boxes: DIoU loss, and the differences of width and height."""

    box_format: Literal["xyxy", "xywh", "cxcywh"]
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy", reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class Entropy(LossModule):
    """Entropy of softmax(input), from class logits; there is no target."""

    dim: int
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, dim: int = 1, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class EvidentialNLLLoss(LossModule):
    """Deep evidential regression of real values `target`: negative log-likelihood under a predicted normal-inverse-gamma distribution, plus a price on evidence."""

    nu: torch.Tensor | float | None
    alpha: torch.Tensor | float | None
    beta: torch.Tensor | float | None
    coeff: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, nu: torch.Tensor | collections.abc.Sequence[float] | float | None = None, alpha: torch.Tensor | collections.abc.Sequence[float] | float | None = None, beta: torch.Tensor | collections.abc.Sequence[float] | float | None = None, coeff: float = 1.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, nu: torch.Tensor | collections.abc.Sequence[float] | float | None = None, alpha: torch.Tensor | collections.abc.Sequence[float] | float | None = None, beta: torch.Tensor | collections.abc.Sequence[float] | float | None = None, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class FocalEIoULoss(LossModule):
    """Focal-EIoU loss between predicted and target boxes: `eiou_loss` times IoU^gamma, so that good boxes count more."""

    gamma: float
    box_format: Literal["xyxy", "xywh", "cxcywh"]
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, gamma: float = 0.5, box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy", reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class FocalLoss(LossModule):
    """Focal loss of logits (default) or, with from_logits=False, of probabilities: cross-entropy that down-weights items already classified well."""

    task: Literal["binary", "multilabel", "multiclass"]
    alpha: float | torch.Tensor | None
    gamma: float | torch.Tensor
    from_logits: bool
    label_smoothing: float
    dim: int
    ignore_index: int | None
    missing: float | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, task: Literal["binary", "multilabel", "multiclass"] = "binary", alpha: float | torch.Tensor | collections.abc.Sequence[float] | None = None, gamma: float | torch.Tensor | collections.abc.Sequence[float] = 2.0, from_logits: bool = True, label_smoothing: float = 0.0, dim: int = 1, ignore_index: int | None = None, missing: float | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | Literal["positives"] | None = None) -> torch.Tensor: ...  # type: ignore[override]

class FocalTverskyLoss(LossModule):
    """Focal Tversky loss of logits (default) or, with from_logits=False, of probabilities: the Tversky loss of each class to a power."""

    task: Literal["binary", "multiclass", "multilabel"]
    gamma: float
    alpha: float
    beta: float
    smooth: float | tuple[float, float]
    power: int
    from_logits: bool
    over: Literal["sample", "batch"]
    average: Literal["macro", "micro", "weighted", "nested", "none"]
    background: bool
    empty: Literal["smooth", "skip", "zero", "mass"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None

    def __init__(self, *, task: Literal["binary", "multiclass", "multilabel"], gamma: float = 0.75, alpha: float = 0.3, beta: float = 0.7, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class GIoULoss(LossModule):
    """GIoU loss between predicted and target boxes: 1 - IoU + the empty share of the smallest enclosing box."""

    box_format: Literal["xyxy", "xywh", "cxcywh", "cxcywha"]
    degrees: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, box_format: Literal["xyxy", "xywh", "cxcywh", "cxcywha"] = "xyxy", degrees: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class GammaNLLLoss(LossModule):
    """Gamma negative log-likelihood of positive values `target` under log-means `input`, real values, and a concentration that can be learned."""

    concentration: torch.Tensor | float
    log_input: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, concentration: torch.Tensor | collections.abc.Sequence[float] | float = 1.0, log_input: bool = True, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, concentration: torch.Tensor | collections.abc.Sequence[float] | float = 1.0, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class GaussianNLLLoss(LossModule):
    """Gaussian negative log-likelihood of real values `target` under means `input` and a variance that is predicted, too, by its logarithm at best."""

    var: torch.Tensor | float | None
    log_var: torch.Tensor | float | None
    std: torch.Tensor | float | None
    full: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, log_var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, std: torch.Tensor | collections.abc.Sequence[float] | float | None = None, full: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, log_var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, std: torch.Tensor | collections.abc.Sequence[float] | float | None = None, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class GemanMcClureLoss(LossModule):
    """Geman-McClure loss between real values `input` and `target`: a square near 0 that saturates at 2."""

    scale: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, scale: float = 1.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class GeneralizedCrossEntropyLoss(LossModule, Generic[_Result]):
    """Generalized cross-entropy of class logits against class labels: bounded, for labels that may be wrong."""

    q: float
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    return_parts: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    @overload
    def __init__(self: GeneralizedCrossEntropyLoss[torch.Tensor], *, q: float = 0.7, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    @overload
    def __init__(self: GeneralizedCrossEntropyLoss[tuple[torch.Tensor, ByProducts]], *, q: float = 0.7, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> _Result: ...  # type: ignore[override]

class GeneralizedDiceLoss(LossModule):
    """Generalized Dice loss of logits (default) or, with from_logits=False, of probabilities: one Dice loss of all classes, weighted by inverse volume."""

    task: Literal["binary", "multiclass", "multilabel"]
    volume_weight: Literal["square", "simple", "uniform"]
    smooth: float | tuple[float, float]
    power: int
    from_logits: bool
    over: Literal["sample", "batch"]
    background: bool
    empty: Literal["smooth", "skip", "zero", "mass"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None

    def __init__(self, *, task: Literal["binary", "multiclass", "multilabel"], volume_weight: Literal["square", "simple", "uniform"] = "square", smooth: float | tuple[float, float] = 0.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class HingeEmbeddingLoss(LossModule):
    """Hinge embedding loss of distances (real values) against labels -1 and 1: near for pairs that belong together, at least `margin` for the others."""

    margin: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, margin: float = 1.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class HingeLoss(LossModule):
    """Hinge loss of scores (logits) against labels -1 and 1: what is missing to a margin of 1."""

    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class HuberLoss(LossModule):
    """Huber loss between real values `input` and `target`: half the square within `delta`, linear beyond."""

    delta: float | torch.Tensor
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, delta: float | torch.Tensor | collections.abc.Sequence[float] = 1.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class InfoNCELoss(LossModule):
    """InfoNCE (multiple negatives ranking) of query and key embeddings (real values): each query is to find its own key among those of the batch."""

    temperature: float | torch.Tensor
    normalize: bool
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, temperature: float | torch.Tensor = 0.07, normalize: bool = False, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, query: torch.Tensor, key: torch.Tensor, *, negatives: torch.Tensor | None = None, exclude: torch.Tensor | None = None, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class InnerIoULoss(LossModule):
    """Inner-IoU loss between predicted and target boxes: 1 - IoU of both boxes scaled about their centres."""

    ratio: float
    box_format: Literal["xyxy", "xywh", "cxcywh"]
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, ratio: float = 0.75, box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy", reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class IoULoss(LossModule):
    """IoU loss between predicted and target boxes: 1 - intersection over union."""

    mode: Literal["linear", "square", "log"]
    box_format: Literal["xyxy", "xywh", "cxcywh", "cxcywha"]
    degrees: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, mode: Literal["linear", "square", "log"] = "linear", box_format: Literal["xyxy", "xywh", "cxcywh", "cxcywha"] = "xyxy", degrees: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class JSDivergence(LossModule):
    """Jensen-Shannon divergence between softmax(input), from class logits, and the probabilities `target`: symmetric and bounded."""

    dim: int
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, dim: int = 1, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class JaccardLoss(LossModule):
    """Jaccard (IoU) loss of logits (default) or, with from_logits=False, of probabilities: 1 minus the overlap over the union."""

    task: Literal["binary", "multiclass", "multilabel"]
    smooth: float | tuple[float, float]
    power: int
    from_logits: bool
    over: Literal["sample", "batch"]
    average: Literal["macro", "micro", "weighted", "nested", "none"]
    background: bool
    empty: Literal["smooth", "skip", "zero", "mass"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None

    def __init__(self, *, task: Literal["binary", "multiclass", "multilabel"], smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class KLDivergence(LossModule):
    """Kullback-Leibler divergence KL(target || softmax(input / temperature)) of class logits against probabilities."""

    log_target: bool
    temperature: float | torch.Tensor
    dim: int
    reduction: Literal["none", "mean", "sum", "batchmean"] | TopK

    def __init__(self, *, log_target: bool = False, temperature: float | torch.Tensor = 1.0, dim: int = 1, reduction: Literal["none", "mean", "sum", "batchmean"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class KLNormalLoss(LossModule):
    """Kullback-Leibler divergence of a normal distribution from another, each a real mean and a log-variance; from N(0, 1) by default, as in a VAE."""

    log_var: torch.Tensor | float | None
    target_log_var: torch.Tensor | float | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, log_var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, target_log_var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor | None = None, log_var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, target_log_var: torch.Tensor | collections.abc.Sequence[float] | float | None = None, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class L1Loss(LossModule):
    """Absolute error (L1, MAE) between real values `input` and `target`."""

    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class L1SSIMLoss(LossModule):
    """SSIM beside L1 of two pictures of real values, `input` and `target`: the photometric loss of monocular depth."""

    data_range: float
    ssim_weight: float
    window: Literal["gaussian", "uniform"]
    window_size: int
    sigma: float
    k1: float
    k2: float
    multi_scale: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, data_range: float, ssim_weight: float = 0.85, window: Literal["gaussian", "uniform"] = "gaussian", window_size: int = 11, sigma: float = 1.5, k1: float = 0.01, k2: float = 0.03, multi_scale: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class L2Loss(LossModule):
    """Half the squared error (L2) between real values `input` and `target`."""

    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class LaplaceNLLLoss(LossModule):
    """Laplace negative log-likelihood of real values `target` under medians `input` and a scale that is predicted, too: an L1 loss that learns its weights."""

    scale: torch.Tensor | float | None
    log_scale: torch.Tensor | float | None
    full: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, scale: torch.Tensor | collections.abc.Sequence[float] | float | None = None, log_scale: torch.Tensor | collections.abc.Sequence[float] | float | None = None, full: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, scale: torch.Tensor | collections.abc.Sequence[float] | float | None = None, log_scale: torch.Tensor | collections.abc.Sequence[float] | float | None = None, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class LinearCrossEntropyLoss(OwnsHead, Generic[_Result]):
    """Cross-entropy of the logits input @ linear_weight^T + linear_bias, which are never whole: for large vocabularies."""

    weight: torch.Tensor | None
    ignore_index: int
    label_smoothing: float | torch.Tensor
    z_loss: float
    softcap: float | None
    temperature: float | torch.Tensor
    shift: bool
    chunk: int | None
    accumulate: Literal["float32", "input"]
    return_parts: bool
    class_group: torch.distributed.distributed_c10d.ProcessGroup | None
    sequence_dim: int | None
    reduction: Literal["none", "mean", "sum"] | TopK

    @overload
    def __init__(self: LinearCrossEntropyLoss[torch.Tensor], in_features: int | None = None, num_classes: int | None = None, *, bias: bool = False, device: torch.device | str | int | None = None, dtype: torch.dtype | None = None, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, label_smoothing: float | torch.Tensor = 0.0, z_loss: float = 0.0, softcap: float | None = None, temperature: float | torch.Tensor = 1.0, shift: bool = False, chunk: int | None = None, accumulate: Literal["float32", "input"] = "float32", return_parts: Literal[False] = False, class_group: torch.distributed.distributed_c10d.ProcessGroup | None = None, sequence_dim: int | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    @overload
    def __init__(self: LinearCrossEntropyLoss[tuple[torch.Tensor, ByProducts]], in_features: int | None = None, num_classes: int | None = None, *, bias: bool = False, device: torch.device | str | int | None = None, dtype: torch.dtype | None = None, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, label_smoothing: float | torch.Tensor = 0.0, z_loss: float = 0.0, softcap: float | None = None, temperature: float | torch.Tensor = 1.0, shift: bool = False, chunk: int | None = None, accumulate: Literal["float32", "input"] = "float32", return_parts: Literal[True], class_group: torch.distributed.distributed_c10d.ProcessGroup | None = None, sequence_dim: int | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, *tensors: torch.Tensor, input: torch.Tensor = ..., linear_weight: torch.Tensor = ..., target: torch.Tensor = ..., linear_bias: torch.Tensor | None = None, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> _Result: ...  # type: ignore[override]

class LogCoshDiceLoss(LossModule):
    """Log-cosh Dice loss of logits (default) or, with from_logits=False, of probabilities: log cosh of each class's Dice loss."""

    task: Literal["binary", "multiclass", "multilabel"]
    smooth: float | tuple[float, float]
    power: int
    from_logits: bool
    over: Literal["sample", "batch"]
    average: Literal["macro", "micro", "weighted", "nested", "none"]
    background: bool
    empty: Literal["smooth", "skip", "zero", "mass"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None

    def __init__(self, *, task: Literal["binary", "multiclass", "multilabel"], smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class LogCoshLoss(LossModule):
    """Log-cosh loss between real values `input` and `target`: about r^2 / 2 near 0 and |r| - log 2 far out, smooth everywhere."""

    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class LovaszLoss(LossModule):
    """Lovasz hinge ("binary", "multilabel") or Lovasz softmax ("multiclass") of logits, or of probabilities: a convex extension of 1 - IoU to errors."""

    task: Literal["binary", "multiclass", "multilabel"]
    classes: Literal["auto", "present", "all"]
    from_logits: bool
    over: Literal["sample", "batch"]
    average: Literal["nested", "macro", "none"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int

    def __init__(self, *, task: Literal["binary", "multiclass", "multilabel"], classes: Literal["auto", "present", "all"] = "auto", from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["nested", "macro", "none"] = "nested", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class MAPELoss(LossModule):
    """Mean absolute percentage error between real values `input` and `target`, which must not be 0: the error as a share of the target."""

    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class MCCLoss(LossModule):
    """Matthews correlation loss of logits (default) or, with from_logits=False, of probabilities: 1 minus the correlation with the target."""

    task: Literal["binary", "multiclass", "multilabel"]
    smooth: float | tuple[float, float]
    from_logits: bool
    over: Literal["sample", "batch"]
    average: Literal["macro", "micro", "weighted", "nested", "none"]
    background: bool
    empty: Literal["smooth", "skip", "zero", "mass"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None

    def __init__(self, *, task: Literal["binary", "multiclass", "multilabel"], smooth: float | tuple[float, float] = 0.0, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class MPDIoULoss(LossModule):
    """MPDIoU loss between predicted and target boxes: 1 - IoU + the squared distances of two corners over the squared diagonal of the image."""

    image_size: tuple[float, float]
    box_format: Literal["xyxy", "xywh", "cxcywh"]
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, image_size: tuple[float, float], box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy", reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class MSELoss(LossModule):
    """Squared error (MSE) between real values `input` and `target`."""

    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class MSLELoss(LossModule):
    """Mean squared logarithmic error between real values `input` and `target`, both > -1: the squared error of log(1 + x)."""

    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class MarginRankingLoss(LossModule):
    """Margin ranking loss of pairs of scores (real values) against labels -1 and 1: the score that is to rank higher is to be above the other by `margin`."""

    target: torch.Tensor | float
    margin: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, target: torch.Tensor | collections.abc.Sequence[float] | float = 1.0, margin: float = 0.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input1: torch.Tensor, input2: torch.Tensor, target: torch.Tensor | collections.abc.Sequence[float] | float = 1.0, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class MultiLabelMarginLoss(LossModule):
    """Multi-label margin (hinge) loss of class scores (logits) against a set of labels per item: every label's score is to be above every other class's by 1."""

    dim: int
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, dim: int = 1, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class MultiLabelSoftMarginLoss(LossModule):
    """Multi-label soft margin loss of class logits against 0/1 labels of every class: binary cross-entropy, averaged over the classes of an item."""

    weight: torch.Tensor | None
    dim: int
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, dim: int = 1, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class MultiMarginLoss(LossModule):
    """Multi-class margin (hinge) loss of class scores (logits) against class labels: the label's score is to be above every other by `margin`."""

    p: Literal[1, 2]
    margin: float
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, p: Literal[1, 2] = 1, margin: float = 1.0, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class NLLLoss(LossModule):
    """Negative log-likelihood of class log-probabilities (the output of log_softmax) against class labels."""

    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class NTXentLoss(LossModule):
    """NT-Xent, the loss of SimCLR, of the embeddings (real values) of two views of each sample: each view is to find the other among all other views of the batch."""

    temperature: float | torch.Tensor
    normalize: bool
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, temperature: float | torch.Tensor = 0.5, normalize: bool = True, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input1: torch.Tensor, input2: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class NWDLoss(LossModule):
    """NWD loss between predicted and target boxes: 1 - exp of minus the Wasserstein distance of the Gaussians that represent them."""

    constant: float
    box_format: Literal["xyxy", "xywh", "cxcywh"]
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, constant: float, box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy", reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class NegativeBinomialNLLLoss(LossModule):
    """Negative binomial negative log-likelihood of counts `target` under log-means `input`, real values: Poisson's, with a variance that can be learned."""

    total_count: torch.Tensor | float | None
    dispersion: torch.Tensor | float | None
    log_input: bool
    full: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, total_count: torch.Tensor | collections.abc.Sequence[float] | float | None = None, dispersion: torch.Tensor | collections.abc.Sequence[float] | float | None = None, log_input: bool = True, full: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, total_count: torch.Tensor | collections.abc.Sequence[float] | float | None = None, dispersion: torch.Tensor | collections.abc.Sequence[float] | float | None = None, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class PoissonNLLLoss(LossModule):
    """Poisson negative log-likelihood of counts `target` under means whose logarithms are `input`, real values (log_input=False: under means `input`)."""

    log_input: bool
    full: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, log_input: bool = True, full: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class PolyLoss(LossModule, Generic[_Result]):
    """Poly loss (Poly-1) of class logits against class labels: cross-entropy plus epsilon (1 - p_y)."""

    epsilon: float
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    return_parts: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    @overload
    def __init__(self: PolyLoss[torch.Tensor], *, epsilon: float = 1.0, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    @overload
    def __init__(self: PolyLoss[tuple[torch.Tensor, ByProducts]], *, epsilon: float = 1.0, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> _Result: ...  # type: ignore[override]

class ProbIoULoss(LossModule):
    """ProbIoU loss between predicted and target boxes: the Hellinger distance of the Gaussians that represent them, or their Bhattacharyya distance."""

    mode: Literal["l1", "l2"]
    box_format: Literal["xyxy", "xywh", "cxcywh", "cxcywha"]
    degrees: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, mode: Literal["l1", "l2"] = "l1", box_format: Literal["xyxy", "xywh", "cxcywh", "cxcywha"] = "xyxy", degrees: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class QualityFocalLoss(LossModule):
    """Quality focal loss (QFL) of logits against qualities in [0, 1]: binary cross-entropy, down-weighted as the score comes near the quality."""

    beta: float
    ignore_index: int | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, beta: float = 2.0, ignore_index: int | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class QuantileLoss(LossModule):
    """Quantile (pinball) loss between real values `input` and `target`: the best constant input is the quantile of the targets."""

    quantile: float | collections.abc.Sequence[float]
    crossing: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, quantile: float | collections.abc.Sequence[float] = 0.5, crossing: float = 0.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class SIoULoss(LossModule):
    """SIoU loss between predicted and target boxes: 1 - IoU, an angle-aware distance of the centres, and a cost of shape."""

    theta: float
    box_format: Literal["xyxy", "xywh", "cxcywh"]
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, theta: float = 4.0, box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy", reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class SSIMLoss(LossModule):
    """One minus the structural similarity (SSIM) of two pictures of real values, `input` and `target`."""

    data_range: float
    window: Literal["gaussian", "uniform"]
    window_size: int
    sigma: float
    k1: float
    k2: float
    multi_scale: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, data_range: float, window: Literal["gaussian", "uniform"] = "gaussian", window_size: int = 11, sigma: float = 1.5, k1: float = 0.01, k2: float = 0.03, multi_scale: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class SigLIPLoss(LossModule):
    """SigLIP's loss of image and text embeddings (real values): whether a picture and a text belong together, asked of each with each."""

    logit_scale: float | torch.Tensor
    logit_bias: float | torch.Tensor
    normalize: bool
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, logit_scale: float | torch.Tensor = 10.0, logit_bias: float | torch.Tensor = -10.0, normalize: bool = False, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, image_features: torch.Tensor, text_features: torch.Tensor, logit_scale: float | torch.Tensor = 10.0, logit_bias: float | torch.Tensor = -10.0, *, exclude: torch.Tensor | None = None, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class SmoothL1Loss(LossModule):
    """Smooth L1 between real values `input` and `target`: squared within `beta`, absolute beyond."""

    beta: float | torch.Tensor
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, beta: float | torch.Tensor | collections.abc.Sequence[float] = 1.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class SoftMarginLoss(LossModule):
    """Soft margin (logistic) loss of logits against labels -1 and 1: binary cross-entropy for that way to write labels."""

    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class SquaredHingeLoss(LossModule):
    """Squared hinge loss of scores (logits) against labels -1 and 1: the square of what is missing to a margin of 1."""

    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class StudentTNLLLoss(LossModule):
    """Student's t negative log-likelihood of real values `target` under locations `input`, with a scale and degrees of freedom that can be predicted or learned."""

    scale: torch.Tensor | float | None
    log_scale: torch.Tensor | float | None
    df: torch.Tensor | float
    full: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, scale: torch.Tensor | collections.abc.Sequence[float] | float | None = None, log_scale: torch.Tensor | collections.abc.Sequence[float] | float | None = None, df: torch.Tensor | collections.abc.Sequence[float] | float = 4.0, full: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, scale: torch.Tensor | collections.abc.Sequence[float] | float | None = None, log_scale: torch.Tensor | collections.abc.Sequence[float] | float | None = None, df: torch.Tensor | collections.abc.Sequence[float] | float = 4.0, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class SupConLoss(LossModule):
    """Supervised contrastive loss of embeddings (real values) and their labels: each vector is to find all others of its label among the batch."""

    temperature: float | torch.Tensor
    normalize: bool
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, temperature: float | torch.Tensor = 0.07, normalize: bool = False, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, embeddings: torch.Tensor, labels: torch.Tensor, *, exclude: torch.Tensor | None = None, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class SymmetricCrossEntropyLoss(LossModule, Generic[_Result]):
    """Symmetric cross-entropy of class logits against class labels: alpha H(t, p) + beta H(p, t)."""

    alpha: float
    beta: float
    log_zero: float
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    return_parts: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    @overload
    def __init__(self: SymmetricCrossEntropyLoss[torch.Tensor], *, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[False] = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    @overload
    def __init__(self: SymmetricCrossEntropyLoss[tuple[torch.Tensor, ByProducts]], *, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, return_parts: Literal[True], reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> _Result: ...  # type: ignore[override]

class TripletMarginLoss(LossModule):
    """Triplet margin loss of embeddings (real values): the anchor is to be nearer to the positive than to the negative, by `margin`."""

    margin: float
    p: float
    eps: float
    swap: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, margin: float = 1.0, p: float = 2.0, eps: float = 1e-06, swap: bool = False, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, anchor: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class TverskyLoss(LossModule):
    """Tversky loss of logits (default) or, with from_logits=False, of probabilities: overlap with separate weights for false positives and false negatives."""

    task: Literal["binary", "multiclass", "multilabel"]
    alpha: float
    beta: float
    smooth: float | tuple[float, float]
    power: int
    from_logits: bool
    over: Literal["sample", "batch"]
    average: Literal["macro", "micro", "weighted", "nested", "none"]
    background: bool
    empty: Literal["smooth", "skip", "zero", "mass"]
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None

    def __init__(self, *, task: Literal["binary", "multiclass", "multilabel"], alpha: float = 0.5, beta: float = 0.5, smooth: float | tuple[float, float] = 1.0, power: int = 1, from_logits: bool = True, over: Literal["sample", "batch"] = "sample", average: Literal["macro", "micro", "weighted", "nested", "none"] = "macro", background: bool = True, empty: Literal["smooth", "skip", "zero", "mass"] = "smooth", weight: torch.Tensor | collections.abc.Sequence[float] | None = None, ignore_index: int = -100, dim: int = 1, process_group: torch.distributed.distributed_c10d.ProcessGroup | Ranks | None = None) -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class TweedieLoss(LossModule):
    """Tweedie loss, a negative quasi-likelihood of amounts `target`, many of them 0, under means whose logarithms are `input`, real values."""

    power: float
    log_input: bool
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, power: float = 1.5, log_input: bool = True, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class VarifocalLoss(LossModule):
    """Varifocal loss (VFL) of logits against qualities in [0, 1]: cross-entropy weighted by the quality for objects, focal loss for the background."""

    alpha: float
    gamma: float
    iou_weighted: bool
    ignore_index: int | None
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, alpha: float = 0.75, gamma: float = 2.0, iou_weighted: bool = True, ignore_index: int | None = None, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class WIoULoss(LossModule):
    """WIoU loss (Wise-IoU, version 1) between predicted and target boxes: 1 - IoU times exp of the squared distance of the centres in diagonals."""

    box_format: Literal["xyxy", "xywh", "cxcywh"]
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, box_format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy", reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class WelschLoss(LossModule):
    """Welsch (Leclerc, correntropy) loss between real values `input` and `target`: a square near 0 that saturates at 1."""

    scale: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, scale: float = 1.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]

class WingLoss(LossModule):
    """Wing loss between real values `input` and `target`: logarithmic for small errors, which thus count more than in L1, and L1 beyond."""

    omega: float
    epsilon: float
    reduction: Literal["none", "mean", "sum"] | TopK

    def __init__(self, *, omega: float = 10.0, epsilon: float = 2.0, reduction: Literal["none", "mean", "sum"] | TopK = "mean") -> None: ...
    def __call__(self, input: torch.Tensor, target: torch.Tensor, *, mask: torch.Tensor | None = None, sample_weight: torch.Tensor | None = None, normalizer: float | torch.Tensor | Ranks | None = None) -> torch.Tensor: ...  # type: ignore[override]
