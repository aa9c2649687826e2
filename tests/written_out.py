"""Losses of libraries that do not install here, from the formulas in their sources, for `test_switching.py`: values and gradients by PyTorch's autograd."""

import math
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn


def reduced(loss, weight=None, reduction="mean", avg_factor=None):
    """mmdetection: the mean over all items, or the sum over `avg_factor`."""
    loss = loss if weight is None else loss * weight
    if reduction != "mean":
        return loss.sum() if reduction == "sum" else loss
    return loss.mean() if avg_factor is None else loss.sum() / avg_factor


def sigmoid_focal(x, t, gamma, alpha):
    p = x.sigmoid()
    wrong = t * (1 - p) + (1 - t) * p
    return (alpha * t + (1 - alpha) * (1 - t)) * wrong**gamma * F.binary_cross_entropy_with_logits(x, t, reduction="none")


def corners(a, b):
    """Intersection, union, and the sides of the enclosing box."""
    inner = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - inner
    return inner, union, torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])


def centres(a, b):
    """The squared distance of the centres."""
    return ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) ** 2).sum(1) / 4


class Module:
    """Settings by name, with mmdetection's `weight`, `avg_factor` and `reduction_override`."""

    defaults: Mapping[str, object] = MappingProxyType({})

    def __init__(self, loss_weight=1.0, **given):
        self.loss_weight, self.set = loss_weight, SimpleNamespace(**{**self.defaults, **given})

    def __call__(self, x, t, weight=None, avg_factor=None, reduction_override=None):
        return self.loss_weight * reduced(self.items(x, t), weight, reduction_override or "mean", avg_factor)


class FocalLoss(Module):
    defaults = MappingProxyType({"gamma": 2.0, "alpha": 0.25})

    def items(self, x, t):
        hot = t if t.dim() == x.dim() else F.one_hot(t, x.shape[1] + 1)[:, : x.shape[1]].to(x.dtype)
        return sigmoid_focal(x, hot, self.set.gamma, self.set.alpha)


class IoULoss(Module):
    defaults = MappingProxyType({"mode": "log", "eps": 1e-6})

    def items(self, x, t):
        inner, union, _ = corners(x, t)
        iou = (inner / union.clamp(min=1e-6)).clamp(min=self.set.eps)
        return {"linear": 1 - iou, "square": 1 - iou**2, "log": -iou.log()}[self.set.mode]


class GIoULoss(Module):
    defaults = MappingProxyType({"eps": 1e-6})

    def items(self, x, t):
        inner, union, sides = corners(x, t)
        union, around = union.clamp(min=self.set.eps), sides.clamp(min=0).prod(1).clamp(min=self.set.eps)
        return 1 - inner / union + (around - union) / around


class DIoULoss(Module):
    defaults = MappingProxyType({"eps": 1e-6})

    def items(self, x, t):
        inner, union, sides = corners(x, t)
        return 1 - inner / (union + self.set.eps) + centres(x, t) / ((sides**2).sum(1) + self.set.eps)


class CIoULoss(Module):
    defaults = MappingProxyType({"eps": 1e-6})

    def items(self, x, t):
        eps = self.set.eps
        inner, union, sides = corners(x, t)
        iou = inner / (union + eps)
        (w, h), (v, k) = (x[:, 2:] - x[:, :2]).unbind(1), (t[:, 2:] - t[:, :2]).unbind(1)
        shape = 4 / math.pi**2 * (torch.atan(v / (k + eps)) - torch.atan(w / (h + eps))) ** 2
        alpha = ((iou > 0.5).float() * shape / (1 - iou + shape)).detach()
        return 1 - (iou - centres(x, t) / ((sides**2).sum(1) + eps) - alpha * shape).clamp(min=-1, max=1)


class SmoothL1Loss(Module):
    defaults = MappingProxyType({"beta": 1.0})

    def items(self, x, t):
        r = (x - t).abs()
        return torch.where(r < self.set.beta, 0.5 * r * r / self.set.beta, r - 0.5 * self.set.beta)


class L1Loss(Module):
    def items(self, x, t):
        return (x - t).abs()


class BalancedL1Loss(Module):
    defaults = MappingProxyType({"alpha": 0.5, "gamma": 1.5, "beta": 1.0})

    def items(self, x, t):
        alpha, gamma, beta, r = self.set.alpha, self.set.gamma, self.set.beta, (x - t).abs()
        b = math.e ** (gamma / alpha) - 1
        return torch.where(r < beta, alpha / b * (b * r + 1) * torch.log(b * r / beta + 1) - alpha * r, gamma * r + gamma / b - alpha * beta)


class QualityFocalLoss(Module):
    defaults = MappingProxyType({"beta": 2.0})

    def items(self, x, t):
        label, score = t
        hot = F.one_hot(label, x.shape[1]) * score[:, None]
        return (F.binary_cross_entropy_with_logits(x, hot, reduction="none") * (hot - x.sigmoid()).abs() ** self.set.beta).sum(1)


class VarifocalLoss(Module):
    defaults = MappingProxyType({"alpha": 0.75, "gamma": 2.0})

    def items(self, x, t):
        factor = torch.where(t > 0, t, self.set.alpha * x.sigmoid() ** self.set.gamma)
        return F.binary_cross_entropy_with_logits(x, t, reduction="none") * factor


def two_bins(x, t):
    low = t.long()
    share = t - low
    return F.cross_entropy(x, low, reduction="none") * (1 - share) + F.cross_entropy(x, low + 1, reduction="none") * share


class DistributionFocalLoss(Module):
    def items(self, x, t):
        return two_bins(x, t)


class CrossEntropyLoss(Module):
    defaults = MappingProxyType({"class_weight": None})

    def items(self, x, t):
        weight = None if self.set.class_weight is None else x.new_tensor(self.set.class_weight)
        return F.cross_entropy(x, t, weight=weight, reduction="none")


def bbox_iou(x, t, xywh=False, CIoU=True, eps=1e-7):
    assert CIoU and not xywh
    inner, _, sides = corners(x, t)
    (w, h), (v, k) = (x[:, 2:] - x[:, :2]).unbind(1), (t[:, 2:] - t[:, :2]).unbind(1)
    h, k = h + eps, k + eps
    iou = inner / (w * h + v * k - inner + eps)
    shape = 4 / math.pi**2 * (torch.atan(v / k) - torch.atan(w / h)) ** 2
    alpha = (shape / (shape - iou + 1 + eps)).detach()
    return (iou - centres(x, t) / ((sides**2).sum(1) + eps) - shape * alpha)[:, None]


def probiou(x, t, eps=1e-7):
    def covariance(box):
        a, b, c, s = box[:, 2] ** 2 / 12, box[:, 3] ** 2 / 12, box[:, 4].cos(), box[:, 4].sin()
        return a * c**2 + b * s**2, a * s**2 + b * c**2, (a - b) * c * s

    (a, b, c), (d, e, f) = covariance(x), covariance(t)
    dx, dy = (x[:, :2] - t[:, :2]).unbind(1)
    whole = (a + d) * (b + e) - (c + f) ** 2
    far = 0.25 * ((a + d) * dy**2 + (b + e) * dx**2) / (whole + eps) - 0.5 * (c + f) * dx * dy / (whole + eps)
    roots = 4 * ((a * b - c**2).clamp(0) * (d * e - f**2).clamp(0)).sqrt()
    distance = (far + 0.5 * (whole / (roots + eps) + eps).log()).clamp(eps, 100.0)
    return 1 - (1 - (-distance).exp() + eps).sqrt()


def df_loss(reg_max=16):
    def loss(x, t):
        t = t.clamp(0, reg_max - 1 - 0.01)
        return two_bins(x, t.view(-1)).view(t.shape).mean(-1, keepdim=True)

    return loss


def dice_of_channels(x, t, smooth):
    p = x.sigmoid()
    return (1 - (2 * (p * t).sum((2, 3)) + smooth) / (p.sum((2, 3)) + t.sum((2, 3)) + smooth)).mean()


def smoothed(x, t, smoothing):
    log_p = x.log_softmax(-1)
    return ((1 - smoothing) * -log_p.gather(-1, t[:, None])[:, 0] - smoothing * log_p.mean(-1)).mean()


def binary_of_timm(x, t, smoothing, threshold, summed):
    if t.shape != x.shape:
        off = smoothing / x.shape[-1]
        t = torch.full_like(x, off).scatter(1, t[:, None], 1 - smoothing + off)
    t = t if threshold is None else (t > threshold).to(x.dtype)
    return F.binary_cross_entropy_with_logits(x, t, reduction="none").sum(-1).mean() if summed else F.binary_cross_entropy_with_logits(x, t)


def liger_cross_entropy(weight=None, ignore_index=-100, lse_square_scale=0.0, label_smoothing=0.0, softcap=None):
    def loss(x, t):
        x = x if softcap is None else softcap * torch.tanh(x / softcap)
        lse, count = x.logsumexp(1), t != ignore_index
        right = lse - x.gather(1, t.clamp(min=0)[:, None])[:, 0]
        each = (1 - label_smoothing) * right + label_smoothing * (lse - x.mean(1)) + lse_square_scale * lse**2
        share = count.float() if weight is None else weight[t.clamp(min=0)] * count
        return (share * each.where(count, 0)).sum() / share.sum()

    return loss


class LigerFunction:
    """Its first result is the loss."""

    @staticmethod
    def apply(x, weight, t):
        return liger_cross_entropy()(x @ weight.T, t), None


def liger_kl(log_target=False, eps=1e-10):
    return lambda x, t: ((t.exp() * (t - x)) if log_target else t * (t.clamp(min=eps).log() - x)).sum() / len(x)


def liger_jsd(beta=0.5):
    def loss(x, t):
        p, q = t.exp(), x.exp()
        middle = (beta * p + (1 - beta) * q).log()
        return (beta * p * (t - middle) + (1 - beta) * q * (x - middle)).sum() / len(x)

    return loss


def nnunet_dice(apply_nonlin, batch_dice=False, do_bg=True, smooth=1.0):
    def loss(x, t):
        p = apply_nonlin(x)
        y = t if t.shape == x.shape else F.one_hot(t[:, 0], x.shape[1]).movedim(-1, 1)
        p, y = (p, y) if do_bg else (p[:, 1:], y[:, 1:])
        axes = tuple(range(2, p.dim()))
        both, found, truth = ((v.sum(axes).sum(0) if batch_dice else v.sum(axes)) for v in (p * y, p, y))
        return -((2 * both + smooth) / (found + truth + smooth).clamp(min=1e-8)).mean()

    return loss


def softmax_helper_dim1(x):
    return x.softmax(1)


def robust_cross_entropy(x, t):
    return F.cross_entropy(x, t[:, 0])


def nnunet_both(dice_first, cross_entropy):
    def made(*settings, weight_ce=1, weight_dice=1):
        dice_settings = settings[0] if dice_first else settings[1]
        dice = nnunet_dice(softmax_helper_dim1 if dice_first else torch.sigmoid, **dice_settings)
        return lambda x, t: weight_ce * cross_entropy(x, t) + weight_dice * dice(x, t)

    return made


WRITTEN_OUT = {
    "mmdetection": {
        c.__name__: c
        for c in (
            FocalLoss, IoULoss, GIoULoss, DIoULoss, CIoULoss, SmoothL1Loss, L1Loss, BalancedL1Loss, QualityFocalLoss, VarifocalLoss, DistributionFocalLoss, CrossEntropyLoss,
        )
    },
    "ultralytics": {
        "bbox_iou": bbox_iou,
        "probiou": probiou,
        "DFLoss": df_loss,
        "FocalLoss": lambda gamma, alpha: lambda x, t: sigmoid_focal(x, t, gamma, alpha).mean(1).sum(),
        "VarifocalLoss": lambda: lambda x, t, label: (
            (F.binary_cross_entropy_with_logits(x, t, reduction="none") * (0.75 * x.sigmoid() ** 2 * (1 - label) + t * label)).mean(1).sum()
        ),
        "MultiChannelDiceLoss": lambda: lambda x, t: dice_of_channels(x, t, 1e-6),
        "BCEDiceLoss": lambda: lambda x, t: 0.5 * F.binary_cross_entropy_with_logits(x, t) + 0.5 * dice_of_channels(x, t, 1.0),
    },
    "timm": {
        "LabelSmoothingCrossEntropy": lambda smoothing: lambda x, t: smoothed(x, t, smoothing),
        "SoftTargetCrossEntropy": lambda: lambda x, t: (-t * x.log_softmax(-1)).sum(-1).mean(),
        "BinaryCrossEntropy": lambda smoothing=0.1, target_threshold=None, sum_classes=False: lambda x, t: binary_of_timm(
            x, t, smoothing, target_threshold, sum_classes
        ),
    },
    "liger": {
        "LigerCrossEntropyLoss": liger_cross_entropy,
        "LigerFusedLinearCrossEntropyLoss": lambda **settings: lambda weight, x, t: liger_cross_entropy(**settings)(x @ weight.T, t),
        "LigerFusedLinearCrossEntropyFunction": LigerFunction,
        "LigerKLDIVLoss": liger_kl,
        "LigerJSD": liger_jsd,
    },
    "nnunet": {
        "MemoryEfficientSoftDiceLoss": nnunet_dice,
        "softmax_helper_dim1": softmax_helper_dim1,
        "RobustCrossEntropyLoss": lambda: robust_cross_entropy,
        "DC_and_CE_loss": nnunet_both(True, robust_cross_entropy),
        "DC_and_BCE_loss": nnunet_both(False, F.binary_cross_entropy_with_logits),
    },
}  # fmt: skip
USED = {"torch": torch, "F": F, "nn": nn}
