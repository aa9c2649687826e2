"""What the pages on switching say of libraries that are asked themselves: torch, torchvision, MONAI, segmentation_models.pytorch, kornia."""

from switching import Apart, Library, Row
from switching_read import LIGER, MMDETECTION, NNUNET, TIMM, ULTRALYTICS

TORCH = Library(
    name="torch",
    title="torch",
    against="torch 2.13.0",
    intro=(
        "A name that torch has means what it means in torch, with the same arguments and defaults: write `losskit.` for `F.` or `nn.`, and pass settings by "
        "name. What torch calls legacy (`size_average`, `reduce`) is refused."
    ),
    rows=(
        Row("F.cross_entropy(x, t, label_smoothing=0.1)", "losskit.cross_entropy(x, t, label_smoothing=0.1)", "classes"),
        Row(
            "nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0]))(x, t)",
            "losskit.CrossEntropyLoss(weight=[1.0, 2.0, 0.5, 1.0])(x, t)",
            "classes",
            "A list will do.",
        ),
        Row("F.cross_entropy(x, t)", "losskit.cross_entropy(x, t)", "distributions", "Of a distribution per row."),
        Row(
            "F.linear_cross_entropy(x, x[:3], t[:, 0].bool().long())",
            "losskit.linear_cross_entropy(x, x[:3], t[:, 0].bool().long())",
            "binary",
            "Never makes all logits. `chunk` is what `options` is for. The module owns its head as torch's does, and takes its checkpoints.",
        ),
        Row("F.nll_loss(x.log_softmax(1), t)", "losskit.cross_entropy(x, t)", "classes", "`nll_loss` is there, too; from logits is exact."),
        Row("F.binary_cross_entropy_with_logits(x, t)", "losskit.binary_cross_entropy_with_logits(x, t)", "binary"),
        Row("nn.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))(x, t)", "losskit.BCEWithLogitsLoss(pos_weight=torch.tensor(3.0))(x, t)", "binary"),
        Row("F.binary_cross_entropy(x, t)", "losskit.binary_cross_entropy(x, t)", "probabilities"),
        Row("F.soft_margin_loss(x, t)", "losskit.soft_margin_loss(x, t)", "signs"),
        Row("F.hinge_embedding_loss(x, t, margin=0.5)", "losskit.hinge_embedding_loss(x, t, margin=0.5)", "signs"),
        Row(
            "F.margin_ranking_loss(x, x.flip(0), t, margin=0.5)",
            "losskit.margin_ranking_loss(x, x.flip(0), t, margin=0.5)",
            "signs",
            "The label may be one number for all.",
        ),
        Row("F.multi_margin_loss(x, t, p=2)", "losskit.multi_margin_loss(x, t, p=2)", "labels"),
        Row(
            "F.multilabel_margin_loss(x, t)",
            "losskit.multilabel_margin_loss(x, t)",
            "sets",
            "`target.bool()` will do, where it holds a 0 or 1 per class.",
        ),
        Row("F.multilabel_soft_margin_loss(x, t)", "losskit.multilabel_soft_margin_loss(x, t)", "binary", "Items are rows; `mask` leaves some out."),
        Row("F.l1_loss(x, t)", "losskit.l1_loss(x, t)", "real"),
        Row("F.mse_loss(x, t)", "losskit.mse_loss(x, t)", "real", "`l2_loss` is half of it."),
        Row("F.smooth_l1_loss(x, t, beta=0.5)", "losskit.smooth_l1_loss(x, t, beta=0.5)", "real"),
        Row("nn.HuberLoss(delta=0.5)(x, t)", "losskit.HuberLoss(delta=0.5)(x, t)", "real"),
        Row("F.mse_loss(x, t, weight=t.abs())", "losskit.mse_loss(x, t, sample_weight=t.abs())", "real", "Both divide by the sum of the weights."),
        Row(
            "F.huber_loss(x, t, weight=t.abs())",
            "losskit.huber_loss(x, t, sample_weight=t.abs(), normalizer=t.numel())",
            "real",
            "Here torch does not divide by the weights.",
        ),
        Row(
            "F.gaussian_nll_loss(x, t, var=t.abs() + 1)",
            "losskit.gaussian_nll_loss(x, t, t.abs() + 1)",
            "real",
            "`log_var` and `std` are new; `eps` is refused.",
        ),
        Row('F.kl_div(x.log_softmax(1), t, reduction="batchmean")', "losskit.kl_divergence(x, t)", "distributions", 'From logits. "mean" is over rows.'),
        Row("F.cosine_embedding_loss(x, x.flip(0), t[:, 0])", "losskit.cosine_embedding_loss(x, x.flip(0), t[:, 0])", "signs"),
        Row("F.triplet_margin_loss(x, t, t.flip(0))", "losskit.triplet_margin_loss(x, t, t.flip(0))", "real"),
    ),
    apart=(
        Apart(
            "every label ignored",
            "F.cross_entropy(torch.zeros(2, 3), torch.tensor([-100, -100]))",
            "losskit.cross_entropy(torch.zeros(2, 3), torch.tensor([-100, -100]))",
            ("nan", "0"),
            "A batch without items has nothing to learn from; its gradient is 0.",
        ),
        Apart(
            "confident and right",
            "F.cross_entropy(torch.tensor([[20.0, 0.0]]), torch.tensor([0]))",
            "losskit.cross_entropy(torch.tensor([[20.0, 0.0]]), torch.tensor([0]))",
            ("0", "2.06e-09"),
            "The loss is computed from 1 - p, which keeps its digits.",
        ),
        Apart(
            "a probability of 0, wrong",
            "F.binary_cross_entropy(torch.tensor([0.0]), torch.tensor([1.0]))",
            "losskit.binary_cross_entropy(torch.tensor([0.0]), torch.tensor([1.0]))",
            ("100", "103"),
            "torch cuts the logarithm off at -100, and the gradient of what is smaller with it.",
        ),
        Apart(
            "logits given to `nll_loss`",
            "F.nll_loss(torch.tensor([[2.0, 1.0]]), torch.tensor([0]))",
            "losskit.nll_loss(torch.tensor([[2.0, 1.0]]), torch.tensor([0]))",
            ("-2", "ValueError"),
            "Rows that are no log-probabilities are a mistake.",
        ),
        Apart(
            "a sure token in bfloat16",
            "F.linear_cross_entropy(torch.tensor([[9.0, 0.3]]).bfloat16(), torch.eye(2).bfloat16(), torch.tensor([0]))",
            "losskit.linear_cross_entropy(torch.tensor([[9.0, 0.3]]).bfloat16(), torch.eye(2).bfloat16(), torch.tensor([0]))",
            ("0", "0.000167"),
            "Their logits and loss are bfloat16 numbers.",
        ),
        Apart(
            "a target outside [0, 1]",
            "F.binary_cross_entropy_with_logits(torch.tensor([3.0]), torch.tensor([2.0]))",
            "losskit.binary_cross_entropy_with_logits(torch.tensor([3.0]), torch.tensor([2.0]))",
            ("-2.95", "ValueError"),
            "The cross-entropy of no distribution has no bound.",
        ),
        Apart(
            "a large score on the wrong side",
            "F.soft_margin_loss(torch.tensor([-100.0]), torch.tensor([1.0]))",
            "losskit.soft_margin_loss(torch.tensor([-100.0]), torch.tensor([1.0]))",
            ("inf", "100"),
            "exp(100) is no float32; log(1 + exp(100)) is.",
        ),
        Apart(
            "a variance of 1e-8",
            "F.gaussian_nll_loss(torch.zeros(1), torch.zeros(1), var=torch.tensor([1e-8]))",
            "losskit.gaussian_nll_loss(torch.zeros(1), torch.zeros(1), torch.tensor([1e-8]))",
            ("-6.91", "-9.21"),
            "torch reads every variance below 1e-6 as 1e-6.",
        ),
        Apart(
            '`kl_div` with its default "mean"',
            "F.kl_div(torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]))",
            "losskit.kl_divergence(torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]))",
            ("0.255", "0.511"),
            "torch divides by all elements, which is no divergence.",
        ),
    ),
    missing=(("ctc_loss", "needs a recursion over the sequence"),),
)

TORCHVISION = Library(
    name="torchvision",
    title="torchvision",
    against="torchvision 0.28.0",
    intro='torchvision has four losses. Each has `reduction="none"` by default, ours have "mean"; the boxes\' losses add `eps=1e-7` to their denominators, ours add nothing.',
    rows=(
        Row('ops.sigmoid_focal_loss(x, t, reduction="mean")', "losskit.focal_loss(x, t, alpha=0.25)", "binary", "Their default alpha is 0.25, ours is none."),
        Row(
            'ops.sigmoid_focal_loss(x, t, alpha=-1, gamma=1.5, reduction="sum") / t.sum()',
            'losskit.focal_loss(x, t, gamma=1.5, normalizer="positives")',
            "binary",
            "-1 switches alpha off there.",
        ),
        Row('ops.generalized_box_iou_loss(x, t, reduction="mean")', "losskit.giou_loss(x, t)", "boxes"),
        Row('ops.distance_box_iou_loss(x, t, reduction="mean")', "losskit.diou_loss(x, t)", "boxes"),
        Row('ops.complete_box_iou_loss(x, t, reduction="mean")', "losskit.ciou_loss(x, t)", "boxes"),
        Row("ops.box_iou(x, t)", "losskit.pairwise_iou(x, t)", "boxes", "Every box with every other."),
        Row("ops.generalized_box_iou(x, t)", 'losskit.pairwise_iou(x, t, kind="giou")', "boxes"),
        Row("ops.complete_box_iou(x, t)", 'losskit.pairwise_iou(x, t, kind="ciou")', "boxes"),
    ),
    apart=(
        Apart(
            "identical boxes of side 0.001",
            "ops.generalized_box_iou_loss(torch.tensor([[0.0, 0.0, 1e-3, 1e-3]]), torch.tensor([[0.0, 0.0, 1e-3, 1e-3]]), reduction='mean')",
            "losskit.giou_loss(torch.tensor([[0.0, 0.0, 1e-3, 1e-3]]), torch.tensor([[0.0, 0.0, 1e-3, 1e-3]]))",
            ("0.0909", "0"),
            "Their 1e-7 is a tenth of the area 1e-6.",
        ),
        Apart(
            "a box without width or height",
            "ops.complete_box_iou_loss(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), reduction='mean')",
            "losskit.ciou_loss(torch.zeros(1, 4), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))",
            ("nan", "1.3"),
            "Width by height is 0 / 0 there.",
        ),
        Apart(
            "a soft target",
            "ops.sigmoid_focal_loss(torch.tensor([3.0]), torch.tensor([0.9]), alpha=0.25, reduction='mean')",
            "losskit.focal_loss(torch.tensor([3.0]), torch.tensor([0.9]), alpha=0.25)",
            ("0.00199", "0.207"),
            "They mix p and 1 - p by the target before the power; ours averages the two losses.",
        ),
    ),
    missing=(),
)

MONAI = Library(
    name="monai",
    title="MONAI",
    against="MONAI 1.6.1",
    intro=(
        '`losskit.like("monai", loss, task)` gives the settings with which ours is theirs. They take labels as (N, 1, ...) and make them one-hot, ours '
        'take class numbers (N, ...) of any integer type. `softmax=True, to_onehot_y=True` is `task="multiclass"`, `sigmoid=True` is "binary" or "multilabel".'
    ),
    rows=(
        Row(
            "losses.DiceLoss(softmax=True, to_onehot_y=True)(x, t[:, None])",
            'losskit.dice_loss(x, t, **losskit.like("monai", "dice", "multiclass"))',
            "pixels",
            "Their smoothing is 1e-5, ours 1.",
        ),
        Row("losses.DiceLoss(sigmoid=True)(x, t)", 'losskit.dice_loss(x, t, task="binary", smooth=1e-5)', "masks"),
        Row(
            "losses.DiceLoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)(x, t[:, None])",
            'losskit.dice_loss(x, t, task="multiclass", smooth=1e-5, background=False, over="batch")',
            "pixels",
        ),
        Row("losses.DiceLoss(sigmoid=True, squared_pred=True)(x, t)", 'losskit.dice_loss(x, t, task="multilabel", smooth=1e-5, power=2)', "regions"),
        Row("losses.DiceLoss(sigmoid=True, jaccard=True)(x, t)", 'losskit.jaccard_loss(x, t, **losskit.like("monai", "jaccard", "multilabel"))', "regions"),
        Row(
            "losses.DiceCELoss(softmax=True, to_onehot_y=True, lambda_ce=2.0)(x, t[:, None])",
            'losskit.dice_ce_loss(x, t, task="multiclass", smooth=1e-5, ce_weight=2.0)',
            "pixels",
        ),
        Row(
            "losses.DiceFocalLoss(sigmoid=True, gamma=1.5)(x, t)",
            'losskit.dice_focal_loss(x, t, task="multilabel", smooth=1e-5, gamma=1.5)',
            "regions",
            "With softmax=True their focal loss still is one of sigmoids.",
        ),
        Row(
            "losses.GeneralizedDiceLoss(softmax=True, to_onehot_y=True)(x, t[:, None])",
            'losskit.generalized_dice_loss(x, t, **losskit.like("monai", "generalized_dice", "multiclass"))',
            "pixels",
        ),
        Row(
            "losses.TverskyLoss(softmax=True, to_onehot_y=True, alpha=0.3, beta=0.7)(x, t[:, None])",
            'losskit.tversky_loss(x, t, task="multiclass", smooth=1e-5, alpha=0.3, beta=0.7)',
            "pixels",
            "alpha weighs false positives in both.",
        ),
        Row("losses.FocalLoss(gamma=2.0)(x, t)", "losskit.focal_loss(x, t)", "regions"),
        Row(
            "losses.FocalLoss(use_softmax=True, to_onehot_y=True)(x, t[:, None])",
            'losskit.focal_loss(x, t, task="multiclass", normalizer=x.numel())',
            "pixels",
            "They divide by the classes, too.",
        ),
        Row("losses.BoxGIoULoss()(x, t)", "losskit.giou_loss(x, t)", "boxes"),
        Row("losses.SSIMLoss(spatial_dims=2)(x, t)", "losskit.ssim_loss(x, t, data_range=1.0)", "pictures", "`data_range` is required here."),
    ),
    apart=(
        Apart(
            "class weights (1, 3) of Dice",
            "losses.DiceLoss(softmax=True, to_onehot_y=True, smooth_nr=0, smooth_dr=0, weight=[1.0, 3.0])(torch.zeros(1, 2, 4), torch.tensor([[[0, 0, 1, 1]]]))",
            'losskit.dice_loss(torch.zeros(1, 2, 4), torch.tensor([[0, 0, 1, 1]]), task="multiclass", smooth=0.0, weight=[1.0, 3.0])',
            ("1", "0.5"),
            "They multiply each class's loss of 1/2 and take the plain mean; ours divides by the sum of the weights.",
        ),
        Apart(
            'the focal loss of 4 pixels, "sum"',
            'losses.FocalLoss(reduction="sum")(torch.zeros(1, 1, 4), torch.ones(1, 1, 4))',
            'losskit.focal_loss(torch.zeros(1, 1, 4), torch.ones(1, 1, 4), reduction="sum")',
            ("0.173", "0.693"),
            "They average over positions before they sum.",
        ),
    ),
    missing=(
        ("HausdorffDTLoss", "distances to the prediction's boundary; `boundary_loss` has those to the target's"),
        ("SoftclDiceLoss", "Dice of soft skeletons"),
        ("NACLLoss", "margins to neighbours' labels"),
        ("LocalNormalizedCrossCorrelationLoss", "registration"),
        ("GlobalMutualInformationLoss", "registration"),
        ("ContrastiveLoss", "every vector with every other"),
        ("DeepSupervisionLoss", "a weighted sum over scales: write the sum"),
    ),
)

SMP = Library(
    name="smp",
    title="segmentation_models.pytorch",
    against="segmentation_models.pytorch 0.6.0",
    intro=(
        '`losskit.like("smp", loss, task)` gives the settings with which ours is theirs: sums over the batch, no smoothing, and a class without target costs '
        "nothing. Their `mode` is our `task`, their `smooth` in Dice is half of ours."
    ),
    rows=(
        Row('losses.DiceLoss("multiclass")(x, t)', 'losskit.dice_loss(x, t, **losskit.like("smp", "dice", "multiclass"))', "pixels"),
        Row('losses.DiceLoss("binary", smooth=1.0)(x, t)', 'losskit.dice_loss(x, t, **losskit.like("smp", "dice", "binary") | {"smooth": 2.0})', "masks"),
        Row('losses.JaccardLoss("multilabel")(x, t)', 'losskit.jaccard_loss(x, t, **losskit.like("smp", "jaccard", "multilabel"))', "regions"),
        Row(
            'losses.TverskyLoss("multiclass", alpha=0.3, beta=0.7)(x, t)',
            'losskit.tversky_loss(x, t, **losskit.like("smp", "tversky", "multiclass"), alpha=0.3, beta=0.7)',
            "pixels",
        ),
        Row('losses.LovaszLoss("multiclass")(x, t)', 'losskit.lovasz_loss(x, t, task="multiclass", over="batch")', "pixels"),
        Row('losses.FocalLoss("binary", alpha=0.25)(x, t)', "losskit.focal_loss(x, t, alpha=0.25)", "masks"),
        Row(
            'losses.FocalLoss("multiclass")(x, t)',
            "losskit.focal_loss(x, F.one_hot(t, 3).movedim(-1, 1))",
            "pixels",
            'Theirs is one sigmoid per class; the softmax is `task="multiclass"`.',
        ),
        Row("losses.MCCLoss()(x.sigmoid(), t)", 'losskit.mcc_loss(x, t, task="binary", over="batch")', "masks", "Theirs takes probabilities."),
        Row(
            "losses.SoftBCEWithLogitsLoss(smooth_factor=0.1)(x, t)",
            "losskit.binary_cross_entropy_with_logits(x, 0.8 * t + 0.1)",
            "regions",
            "Their smoothing moves 0.1 to each side.",
        ),
        Row("losses.SoftCrossEntropyLoss(smooth_factor=0.1)(x, t)", "losskit.cross_entropy(x, t, label_smoothing=0.1)", "pixels"),
        Row(
            "losses.SoftCrossEntropyLoss(smooth_factor=0.0)(x, t)",
            "losskit.cross_entropy(x, t, normalizer=t.numel())",
            "classes",
            "Ignored items stay in their denominator.",
        ),
    ),
    apart=(
        Apart(
            "`SoftCrossEntropyLoss()` as it is constructed by default",
            "losses.SoftCrossEntropyLoss()(torch.zeros(1, 2), torch.tensor([0]))",
            "losskit.CrossEntropyLoss()(torch.zeros(1, 2), torch.tensor([0]))",
            ("TypeError", "0.693"),
            "Their `smooth_factor=None` is used as a number.",
        ),
        Apart(
            "half of the items ignored",
            "losses.SoftBCEWithLogitsLoss(ignore_index=255)(torch.zeros(2), torch.tensor([1.0, 255.0]))",
            "losskit.binary_cross_entropy_with_logits(torch.zeros(2), torch.tensor([1.0, 255.0]), ignore_index=255)",
            ("0.347", "0.693"),
            "They divide by both items; the loss of the one that counts is log 2.",
        ),
        Apart(
            "an empty mask, a wrong prediction",
            'losses.DiceLoss("binary")(torch.full((1, 1, 4), 9.0), torch.zeros(1, 1, 4))',
            'losskit.dice_loss(torch.full((1, 1, 4), 9.0), torch.zeros(1, 1, 4), task="binary")',
            ("0", "0.8"),
            "A false alarm costs nothing there; `empty` chooses here.",
        ),
    ),
    missing=(),
)

KORNIA = Library(
    name="kornia",
    title="kornia",
    against="kornia 0.9.0",
    intro='Most of their losses have `reduction="none"` by default. Ignored items stay in the denominator of their means.',
    rows=(
        Row("losses.dice_loss(x, t)", 'losskit.dice_loss(x, t, **losskit.like("kornia", "dice", "multiclass"))', "pixels"),
        Row(
            "losses.tversky_loss(x, t, alpha=0.3, beta=0.7)",
            'losskit.tversky_loss(x, t, **losskit.like("kornia", "tversky", "multiclass"), alpha=0.3, beta=0.7)',
            "pixels",
        ),
        Row("losses.lovasz_softmax_loss(x, t)", 'losskit.lovasz_loss(x, t, **losskit.like("kornia", "lovasz", "multiclass"))', "pixels"),
        Row(
            'losses.focal_loss(x, t, alpha=None, reduction="mean")',
            'losskit.focal_loss(x, t, task="multiclass", normalizer=x.numel())',
            "pixels",
            "Their mean is over the classes, too.",
        ),
        Row(
            'losses.focal_loss(x, t, alpha=0.25, reduction="mean")',
            'losskit.focal_loss(x, t, task="multiclass", alpha=[0.75, 0.25, 0.25], normalizer=x.numel())',
            "pixels",
            "Class 0 has 1 - alpha there.",
        ),
        Row('losses.binary_focal_loss_with_logits(x, t, alpha=0.25, reduction="mean")', "losskit.focal_loss(x, t, alpha=0.25)", "regions"),
        Row('losses.cauchy_loss(x, t, reduction="mean")', "losskit.cauchy_loss(x, t)", "real"),
        Row('losses.welsch_loss(x, t, reduction="mean")', "losskit.welsch_loss(x, t)", "real"),
        Row('losses.geman_mcclure_loss(x, t, reduction="mean")', "losskit.geman_mcclure_loss(x, t)", "real"),
        Row('losses.charbonnier_loss(x, t, reduction="mean") + 1', "losskit.charbonnier_loss(x, t, eps=1.0)", "real", "They subtract 1, and fix eps."),
        Row(
            "losses.kl_div_loss_2d(x.softmax(2)[..., None], t[..., None])",
            "losskit.kl_divergence(x, t, dim=2)",
            "maps",
            "Theirs takes probabilities.",
        ),
        Row("losses.js_div_loss_2d(x.softmax(2)[..., None], t[..., None])", "losskit.js_divergence(x, t, dim=2)", "maps", "Theirs takes probabilities."),
        Row(
            '2 * losses.ssim_loss(x, t, window_size=11, padding="valid")',
            "losskit.ssim_loss(x, t, data_range=1.0)",
            "pictures",
            "They halve it, and pad by default.",
        ),
    ),
    apart=(
        Apart(
            "one of two labels ignored",
            'losses.focal_loss(torch.zeros(2, 2), torch.tensor([0, -100]), alpha=None, gamma=0.0, reduction="mean")',
            'losskit.focal_loss(torch.zeros(2, 2), torch.tensor([0, -100]), task="multiclass", gamma=0.0, ignore_index=-100)',
            ("0.173", "0.693"),
            "They divide by both, and by the two classes.",
        ),
    ),
    missing=(
        ("HausdorffERLoss", "erosions of the error"),
        ("total_variation", "neighbouring pixels"),
        ("psnr_loss", "take the logarithm of `mse_loss`"),
        ("inverse_depth_smoothness_loss", "gradients of two pictures"),
    ),
)

LIBRARIES = (TORCH, TORCHVISION, MONAI, SMP, KORNIA, MMDETECTION, ULTRALYTICS, TIMM, LIGER, NNUNET)
