"""SSIM: how alike two pictures are in brightness, contrast and structure, window by window."""

from torch import Tensor

from losskit.contract import checks, reduce
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.windows import SIGMA, Window, of_pictures, seen, taps_of


def formula(s, d, s_variance, d_variance, c1, c2):
    """One minus SSIM, from means and variances of x + t and x - t: the brightness lost, and of the rest what contrast and structure lose."""
    bright = s * s + d * d + c1
    varied = s_variance + d_variance + c2
    a = 2.0 * d * d / bright
    b = 2.0 * d_variance / varied
    left, kept = 1.0 - b, 1.0 - a
    return a + b * kept, -2.0 * a * s / bright * left, 2.0 * d * (2.0 - a) / bright * left, -b / varied * kept, (2.0 - b) / varied * kept


def contrast(s, d, s_variance, d_variance, c1, c2):
    """One minus contrast times structure, which the means do not enter."""
    varied = s_variance + d_variance + c2
    b = 2.0 * d_variance / varied
    return b, 0.0 * s, 0.0 * d, -b / varied, (2.0 - b) / varied


def textbook(mp, x, t, data_range, window="gaussian", window_size=11, sigma=1.5, k1=0.01, k2=0.03, multi_scale=False):
    """Of one picture, rows of numbers."""
    c1, c2 = (mp.mpf(k1) * data_range) ** 2, (mp.mpf(k2) * data_range) ** 2
    middle = mp.mpf(window_size - 1) / 2
    row = [mp.exp(-((k - middle) ** 2) / (2 * mp.mpf(sigma) ** 2)) if window == "gaussian" else mp.mpf(1) for k in range(window_size)]
    weights = [(i, j, a * b / mp.fsum(row) ** 2) for i, a in enumerate(row) for j, b in enumerate(row)]

    def means(x, t):
        """Of SSIM, and of contrast times structure, over the windows."""
        whole, structure = [], []
        for top in range(len(x) - window_size + 1):
            for side in range(len(x[0]) - window_size + 1):
                seen = [(w, x[top + i][side + j], t[top + i][side + j]) for i, j, w in weights]
                mx, mt = mp.fsum(w * a for w, a, _ in seen), mp.fsum(w * b for w, _, b in seen)
                vx, vt = mp.fsum(w * (a - mx) ** 2 for w, a, _ in seen), mp.fsum(w * (b - mt) ** 2 for w, _, b in seen)
                covariance = mp.fsum(w * (a - mx) * (b - mt) for w, a, b in seen)
                structure.append((2 * covariance + c2) / (vx + vt + c2))
                whole.append((2 * mx * mt + c1) / (mx**2 + mt**2 + c1) * structure[-1])
        return mp.fsum(whole) / len(whole), mp.fsum(structure) / len(structure)

    def halved(x):
        return [[(x[i][j] + x[i + 1][j] + x[i][j + 1] + x[i + 1][j + 1]) / 4 for j in range(0, len(x[0]) - 1, 2)] for i in range(0, len(x) - 1, 2)]

    if not multi_scale:
        return 1 - means(x, t)[0]
    product = mp.mpf(1)
    for scale, power in enumerate(("0.0448", "0.2856", "0.3001", "0.2363", "0.1333")):
        alike = means(x, t)[0 if scale == 4 else 1]
        product *= max(alike, 0) ** mp.mpf(power)
        x, t = halved(x), halved(t)
    return 1 - product


@loss(
    textbook=textbook,
    module="SSIMLoss",
    task="regression",
    pattern="windows",
    formula="1 - (2 mx mt + c1)(2 cov + c2) / ((mx^2 + mt^2 + c1)(vx + vt + c2)),  means and variances in a window",
    arguments=(
        {"data_range": 1.0, "window_size": 5},
        {"data_range": 2.0, "window": "uniform", "window_size": 3, "k1": 0.02, "k2": 0.05},
        {"data_range": 1.0, "window_size": 5, "sigma": 0.8},
        {"data_range": 1.0, "window_size": 2, "multi_scale": True},
    ),
    tolerance=2e-5,
    chinese="""
    结构相似度损失（1 - SSIM）：输入与目标均为图像 (N, C, H, W) 或体数据 (N, C, D, H, W)，取实数值；在滑动窗口内比较亮度、对比度与结构。
    data_range 是像素取值范围的宽度（0 到 1 的图像为 1.0，8 位图像为 255），必须给出；multi_scale=True 为五个尺度的 MS-SSIM。
    何时用：图像复原、超分辨率、自编码器、深度估计，关心看上去像不像，而不只是逐像素误差时；常与 L1 相加。
    边界：只算完整落在图像内、且没有被 mask 遮住的窗口；每个样本的每个通道给一个值；多尺度时某一尺度毫不相似，损失为 1 且没有梯度。
    """,
)
def ssim_loss(
    input: Tensor,
    target: Tensor,
    *,
    data_range: float,
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
    """One minus the structural similarity (SSIM) of two pictures of real values, `input` and `target`.

    Formula:
        1 - (2 mx mt + c1) / (mx^2 + mt^2 + c1) * (2 cov + c2) / (vx + vt + c2) in each window, with the window's weighted means mx, mt, variances vx, vt and
        covariance, c1 = (k1 data_range)^2, c2 = (k2 data_range)^2; then the mean over the windows of a picture. With multi_scale=True: 1 - product over five
        scales, each of half the size, of (second factor, averaged)^power; at the coarsest of the whole SSIM.

    Args:
        input: pictures (N, C, H, W), or (N, C, D, H, W) in space, any real value. Each channel of a sample is a picture of its own.
        target: the pictures wanted, of the same shape.
        data_range: how wide the range of the values is, largest less smallest that they may take: 1.0 for pictures in [0, 1], 2.0 for [-1, 1], 255 for 8 bits.
            Required: the constants hang on it.
        window: "gaussian", or "uniform": equal weights.
        window_size: positions of a window along each axis.
        sigma: the width of the Gaussian, in positions.
        k1, k2: what keeps the factors finite where a window is black, or flat; > 0.
        multi_scale: True for MS-SSIM, with the published powers 0.0448, 0.2856, 0.3001, 0.2363, 0.1333.
        mask: bool, True = counts, broadcasts to `input`: a window with a position left out does not count. Of a mask that leaves a rectangle the loss is that of the
            rectangle, cut out.
        sample_weight: broadcasts to (N, C): for one number per sample give shape (N, 1).
        normalizer, reduction: as in every loss, see `losskit.contract`; an item is a picture, so "mean" divides by how many have a window that counts.

    Returns:
        A scalar, or with reduction="none" shape (N, C): a value per sample and channel; in [0, 2] (multi_scale: at most 1).

    Raises:
        TypeError: `input` is not floating point, `window_size` is not an int. ValueError: shapes differ or are no pictures, pictures are smaller than the window
        (multi_scale: 16 times the window), `data_range`, `sigma`, `k1` or `k2` <= 0, `sigma` with a uniform window, `window` or `reduction` is unknown.

    When to use:
        Restoring, enlarging or compressing pictures, depth from video: where it counts what people see, not each pixel's error. Commonly beside L1, see
        `l1_ssim_loss`.

    Edge cases:
        Equal pictures cost exactly 0, with gradient 0. Only whole windows count: no border is made up. A picture with no whole window left by the mask is absent.
        With multi_scale, a scale on which pictures are not alike at all, or the opposite, makes the loss 1, without a gradient. Halving leaves out the last row of an odd
        number. Values a billion billion times `data_range` overflow in float32, and the loss is NaN.

    Differs from skimage:
        `structural_similarity` is one minus this with gaussian_weights=True, use_sample_covariance=False; its default is a uniform window of 7 and the variances of
        samples.

    Reference:
        Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment: From Error Visibility to Structural Similarity, 2004. multi_scale: Wang, Simoncelli and Bovik,
        Multiscale Structural Similarity for Image Quality Assessment, 2003.

    Example:
        >>> import torch
        >>> target = torch.linspace(0, 1, 144).reshape(1, 1, 12, 12)
        >>> ssim_loss(0.9 * target, target, data_range=1.0)
        tensor(0.0109)
        >>> ssim_loss(target.flip(3), target, data_range=1.0, window="uniform", window_size=7, reduction="none")
        tensor([[0.0151]])
    """
    data_range = checks.number("data_range", data_range, above=0.0)
    k1, k2 = checks.number("k1", k1, above=0.0), checks.number("k2", k2, above=0.0)
    checks.flag("multi_scale", multi_scale)
    taps = taps_of(window, window_size, sigma)
    reduce.check(reduction, normalizer)
    given = seen(input, target, mask, sample_weight, normalizer, window_size, multi_scale)
    each, present = of_pictures(formula, contrast, (2.0 * k1 * k1, 2.0 * k2 * k2), taps, 1.0 / data_range, given, multi_scale)
    return reduce.items(each, input, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction, absent=present, to="unreduced loss")
