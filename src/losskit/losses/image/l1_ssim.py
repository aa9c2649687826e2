"""SSIM beside the absolute error: structure from the one, colour and brightness from the other."""

from torch import Tensor

from losskit.contract import checks, reduce, tensors
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.windows import SIGMA, Window, mean_of_positions, of_pictures, seen, taps_of
from losskit.losses.image import ssim
from losskit.losses.regression import l1


def beside_l1(dissimilarity):
    """The textbook's loss, given that of SSIM."""

    def textbook(mp, x, t, data_range, ssim_weight=0.85, window="gaussian", window_size=11, sigma=1.5, k1=0.01, k2=0.03, multi_scale=False):
        errors = [abs(a - b) for p, q in zip(x, t, strict=True) for a, b in zip(p, q, strict=True)]
        share = mp.mpf(ssim_weight)
        structure = dissimilarity(mp, x, t, data_range, window, window_size, sigma, k1, k2, multi_scale)
        return share * structure / 2 + (1 - share) * mp.fsum(errors) / len(errors) / data_range

    return textbook


@loss(
    textbook=beside_l1(ssim.textbook),
    module="L1SSIMLoss",
    task="regression",
    pattern="windows",
    formula="w (1 - SSIM) / 2 + (1 - w) |x - t| / data_range",
    arguments=(
        {"data_range": 1.0, "window_size": 5},
        {"data_range": 2.0, "window": "uniform", "window_size": 3, "k1": 0.02, "k2": 0.05, "ssim_weight": 0.5},
        {"data_range": 1.0, "window_size": 5, "sigma": 0.8},
        {"data_range": 1.0, "window_size": 2, "multi_scale": True},
    ),
    tolerance=2e-5,
    chinese="""
    SSIM 与 L1 之和：输入与目标均为图像 (N, C, H, W) 或体数据 (N, C, D, H, W)，取实数值；w (1 - SSIM) / 2 + (1 - w) |x - t| / data_range，w 默认 0.85。
    data_range 是像素取值范围的宽度（0 到 1 的图像为 1.0，8 位图像为 255），必须给出。
    何时用：自监督深度估计、图像复原；SSIM 管结构，L1 管颜色与亮度，单用 SSIM 时平坦区域容易偏色。
    边界：每个样本的每个通道给一个值；L1 对所有未被遮住的像素取平均，SSIM 只算完整的窗口；一个完整窗口也没有的通道不计。
    """,
)
def l1_ssim_loss(
    input: Tensor,
    target: Tensor,
    *,
    data_range: float,
    ssim_weight: float = 0.85,
    window: Window = "gaussian",
    window_size: int = 11,
    sigma: float = SIGMA,
    k1: float = 0.01,
    k2: float = 0.03,
    multi_scale: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """SSIM beside L1 of two pictures of real values, `input` and `target`: the photometric loss of monocular depth.

    Formula:
        w (1 - SSIM) / 2 + (1 - w) |x - t| / data_range, the first averaged over the windows of a picture, as in `ssim_loss`, the second over its positions.

    Args:
        input: pictures (N, C, H, W), or (N, C, D, H, W) in space, any real value. Each channel of a sample is a picture of its own.
        target: the pictures wanted, of the same shape.
        data_range: as in `ssim_loss`. The absolute error is divided by it, so that the loss does not depend on the units.
        ssim_weight: the share w of SSIM, 0 to 1.
        window, window_size, sigma, k1, k2, multi_scale: as in `ssim_loss`.
        mask: bool, True = counts, broadcasts to `input`. The absolute error is averaged over the positions that count, SSIM over the windows without a position left
            out.
        sample_weight: broadcasts to (N, C): for one number per sample give shape (N, 1).
        normalizer, reduction: as in every loss, see `losskit.contract`; an item is a picture, so "mean" divides by how many have a window that counts.

    Returns:
        A scalar, or with reduction="none" shape (N, C): a value per sample and channel; in [0, inf).

    Raises:
        As `ssim_loss`; ValueError also for an `ssim_weight` outside 0 to 1.

    When to use:
        Depth from video, restoring pictures. SSIM alone hardly sees a shift of colour in flat regions, L1 alone blurs.

    Edge cases:
        A picture with no whole window left by the mask is absent, its absolute error as well. Equal pictures cost exactly 0.

    Differs from Monodepth:
        Theirs is a uniform window of 3: window="uniform", window_size=3, data_range=1. Zhao et al. weigh MS-SSIM with 0.84, not
        halved, and L1 by the coarsest scale's Gaussian.

    Reference:
        Godard, Mac Aodha and Brostow, Unsupervised Monocular Depth Estimation with Left-Right Consistency, 2017. Zhao, Gallo, Frosio and Kautz, Loss Functions for
        Image Restoration with Neural Networks, 2017.

    Example:
        >>> import torch
        >>> target = torch.linspace(0, 1, 144).reshape(1, 1, 12, 12)
        >>> l1_ssim_loss(0.9 * target, target, data_range=1.0)
        tensor(0.0121)
    """
    data_range = checks.number("data_range", data_range, above=0.0)
    ssim_weight = checks.number("ssim_weight", ssim_weight, low=0.0, high=1.0)
    k1, k2 = checks.number("k1", k1, above=0.0), checks.number("k2", k2, above=0.0)
    checks.flag("multi_scale", multi_scale)
    taps = taps_of(window, window_size, sigma)
    reduce.check(reduction, normalizer)
    checks.both(input, target)
    given = seen(tensors.widened(input), tensors.widened(target), mask, sample_weight, normalizer, window_size, multi_scale)
    structure, present = of_pictures(ssim.formula, ssim.contrast, (2.0 * k1 * k1, 2.0 * k2 * k2), taps, 1.0 / data_range, given, multi_scale)
    each = 0.5 * ssim_weight * structure + (1.0 - ssim_weight) / data_range * mean_of_positions(l1.formula, given)
    return reduce.items(each, input, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction, absent=present, to="unreduced loss")
