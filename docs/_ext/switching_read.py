"""What the pages on switching say of libraries whose formulas, as read in their source, are written out in tests/written_out.py."""

from switching import Apart, Library, Row

MMDETECTION = Library(
    name="mmdetection",
    title="mmdetection",
    against="published sources of 2023-2026",
    asked=False,
    intro=(
        "Their losses take `weight` and `avg_factor` with the tensors: `weight` is `sample_weight` here, `avg_factor` is `normalizer`, `reduction_override` is "
        "`reduction`, and `loss_weight` is a factor to write. Without `avg_factor` they divide by all items, whatever the weights are; ours divides by the weights."
    ),
    rows=(
        Row("FocalLoss()(x, t)", "losskit.focal_loss(x, t, alpha=0.25)", "binary", "Their default alpha is 0.25."),
        Row(
            "FocalLoss()(x, t, avg_factor=3)",
            "losskit.focal_loss(x, F.one_hot(t, 5)[:, :4], alpha=0.25, normalizer=3)",
            "labels",
            "Labels: the last one is the background there.",
        ),
        Row("IoULoss()(x, t)", 'losskit.iou_loss(x, t, mode="log")', "overlapping", '`mode="linear"` is our default.'),
        Row('IoULoss(mode="linear")(x, t, weight=w, avg_factor=3)', "losskit.iou_loss(x, t, sample_weight=w, normalizer=3)", "overlapping"),
        Row("GIoULoss()(x, t)", "losskit.giou_loss(x, t)", "boxes"),
        Row("DIoULoss()(x, t)", "losskit.diou_loss(x, t)", "boxes"),
        Row("CIoULoss()(x, t)", "losskit.ciou_loss(x, t)", "near", "Where the IoU is above 1/2."),
        Row(
            "SmoothL1Loss(beta=0.5)(x, t, weight=t.abs(), avg_factor=7)", "losskit.smooth_l1_loss(x, t, beta=0.5, sample_weight=t.abs(), normalizer=7)", "real"
        ),
        Row("L1Loss()(x, t, weight=t.abs())", "losskit.l1_loss(x, t, sample_weight=t.abs(), normalizer=t.numel())", "real", "Divided by all items."),
        Row("BalancedL1Loss()(x, t)", "losskit.balanced_l1_loss(x, t)", "real"),
        Row(
            "QualityFocalLoss()(x, (t.argmax(1), t.amax(1)))",
            "losskit.quality_focal_loss(x, t, normalizer=len(t))",
            "quality",
            "Dense targets; theirs are labels and scores.",
        ),
        Row("VarifocalLoss()(x, t)", "losskit.varifocal_loss(x, t)", "quality"),
        Row("DistributionFocalLoss()(x, t)", "losskit.distribution_focal_loss(x, t)", "bins"),
        Row("CrossEntropyLoss()(x, t)", "losskit.cross_entropy(x, t)", "labels"),
        Row(
            "CrossEntropyLoss(class_weight=[1.0, 2.0, 0.5, 1.0])(x, t)",
            "losskit.cross_entropy(x, t, weight=[1.0, 2.0, 0.5, 1.0], normalizer=len(t))",
            "labels",
            "Divided by the items, not by their weights.",
        ),
    ),
    apart=(
        Apart(
            "two boxes that do not touch",
            "IoULoss()(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[5.0, 5.0, 6.0, 6.0]]))",
            'losskit.iou_loss(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[5.0, 5.0, 6.0, 6.0]]), mode="log")',
            ("13.8", "41.4"),
            "-log of an IoU held at 1e-6 there, at 1e-18 here; neither has a gradient.",
        ),
        Apart(
            "an IoU of 1/4, another shape",
            "CIoULoss()(torch.tensor([[0.0, 0.0, 8.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]]))",
            "losskit.ciou_loss(torch.tensor([[0.0, 0.0, 8.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 2.0]]))",
            ("0.882", "0.898"),
            "They leave the term of the shape out where the IoU is at most 1/2; the paper does not.",
        ),
        Apart(
            "identical boxes of side 0.0001",
            "GIoULoss()(torch.tensor([[0.0, 0.0, 1e-4, 1e-4]]), torch.tensor([[0.0, 0.0, 1e-4, 1e-4]]))",
            "losskit.giou_loss(torch.tensor([[0.0, 0.0, 1e-4, 1e-4]]), torch.tensor([[0.0, 0.0, 1e-4, 1e-4]]))",
            ("0.99", "0"),
            "They hold the union at 1e-6 at least, so an area of 1e-8 is divided by 1e-6.",
        ),
    ),
    missing=(
        ("SeesawLoss", "a memory of class counts"),
        ("GHMC", "a histogram of gradients"),
        ("GaussianFocalLoss", "heat maps"),
        ("BoundedIoULoss", "bounds of the IoU"),
        ("CrossEntropyCustomLoss", "samples with text"),
    ),
)

ULTRALYTICS = Library(
    name="ultralytics",
    title="Ultralytics",
    against="published sources of 2023-2026",
    asked=False,
    intro=(
        "Their trainer has no argument for a loss: edit `ultralytics/utils/loss.py` or override the model's criterion. What stands there is `target_scores_sum`, which is our "
        "`normalizer`, and `weight`, which is our `sample_weight`."
    ),
    rows=(
        Row(
            "((1.0 - bbox_iou(x, t, xywh=False, CIoU=True)) * w[:, None]).sum() / s",
            "losskit.ciou_loss(x, t, sample_weight=w, normalizer=s)",
            "boxes",
            "In `BboxLoss`.",
        ),
        Row(
            'nn.BCEWithLogitsLoss(reduction="none")(x, t).sum() / s',
            "losskit.binary_cross_entropy_with_logits(x, t, normalizer=s)",
            "binary",
            "In `v8DetectionLoss`.",
        ),
        Row(
            "1 - probiou(x, t)",
            'losskit.probiou_loss(x, t, box_format="cxcywha", reduction="none")',
            "turned",
            "Theirs adds 1e-7, and holds the distance within 100.",
        ),
        Row("DFLoss(reg_max=8)(x, t[:, None]).mean()", "losskit.distribution_focal_loss(x, t)", "bins", "A column per side of the box."),
        Row(
            "FocalLoss(gamma=1.5, alpha=0.25)(x, t)",
            "losskit.focal_loss(x, t, gamma=1.5, alpha=0.25, normalizer=x.shape[1])",
            "binary",
            "The mean over classes, summed over anchors.",
        ),
        Row("VarifocalLoss()(x, t, (t > 0).float())", "losskit.varifocal_loss(x, t, normalizer=x.shape[1])", "quality"),
        Row("MultiChannelDiceLoss()(x, t)", 'losskit.dice_loss(x, t, task="multilabel", smooth=1e-6)', "regions"),
        Row("BCEDiceLoss()(x, t)", 'losskit.dice_ce_loss(x, t, task="multilabel", smooth=1.0, dice_weight=0.5, ce_weight=0.5)', "regions"),
    ),
    apart=(
        Apart(
            "a distance on the last bin",
            "DFLoss(reg_max=8)(torch.zeros(1, 8).index_fill(1, torch.tensor(7), 20.0), torch.tensor([[7.0]])).mean()",
            "losskit.distribution_focal_loss(torch.zeros(1, 8).index_fill(1, torch.tensor(7), 20.0), torch.tensor([7.0]))",
            ("0.2", "1.44e-08"),
            "They clamp to 6.99, and change the target in place.",
        ),
        Apart(
            "identical boxes of side 0.001",
            "(1 - bbox_iou(torch.tensor([[0.0, 0.0, 1e-3, 1e-3]]), torch.tensor([[0.0, 0.0, 1e-3, 1e-3]]), xywh=False, CIoU=True)).mean()",
            "losskit.ciou_loss(torch.tensor([[0.0, 0.0, 1e-3, 1e-3]]), torch.tensor([[0.0, 0.0, 1e-3, 1e-3]]))",
            ("0.0911", "0"),
            "Their 1e-7 is a tenth of the area 1e-6.",
        ),
    ),
    missing=(
        ("KeypointLoss", "distances of key points by the object's area"),
        ("RLELoss", "a flow's likelihood"),
    ),
)

TIMM = Library(
    name="timm",
    title="timm",
    against="published sources of 2023-2026",
    asked=False,
    intro="Their losses are modules for (N, C) logits, and always take the mean.",
    rows=(
        Row("LabelSmoothingCrossEntropy(smoothing=0.1)(x, t)", "losskit.cross_entropy(x, t, label_smoothing=0.1)", "labels"),
        Row("SoftTargetCrossEntropy()(x, t)", "losskit.cross_entropy(x, t)", "distributions", "Rows are checked here: they must sum to 1."),
        Row("BinaryCrossEntropy(smoothing=0.0)(x, t)", "losskit.binary_cross_entropy_with_logits(x, t)", "binary"),
        Row("BinaryCrossEntropy(smoothing=0.0, sum_classes=True)(x, t)", "losskit.binary_cross_entropy_with_logits(x, t, normalizer=len(x))", "binary"),
        Row(
            "BinaryCrossEntropy(smoothing=0.1)(x, t)",
            "losskit.binary_cross_entropy_with_logits(x, 0.9 * F.one_hot(t, 4) + 0.1 / 4)",
            "labels",
            "Labels; they smooth as a softmax would.",
        ),
        Row(
            "BinaryCrossEntropy(target_threshold=0.2)(x, t)",
            "losskit.binary_cross_entropy_with_logits(x, t > 0.2)",
            "distributions",
            "bool targets are read as they are.",
        ),
    ),
    apart=(
        Apart(
            "a target that sums to 0.5",
            "SoftTargetCrossEntropy()(torch.zeros(1, 2), torch.tensor([[0.5, 0.0]]))",
            "losskit.cross_entropy(torch.zeros(1, 2), torch.tensor([[0.5, 0.0]]))",
            ("0.347", "ValueError"),
            "A forgotten half halves their loss silently.",
        ),
    ),
    missing=(
        ("JsdCrossEntropy", "three views; `js_divergence` has two distributions"),
        ("AsymmetricLossMultiLabel", "two exponents and a shift"),
        ("AsymmetricLossSingleLabel", "the same of one label"),
    ),
)

LIGER = Library(
    name="liger",
    title="Liger",
    against="published sources of 2023-2026",
    asked=False,
    intro=(
        "Their losses are Triton kernels on rows (tokens, vocabulary). `LigerCrossEntropyLoss` writes the gradient over the logits always, ours with `inplace=True`. "
        "Their losses with `FusedLinear` take the head first, and keep no whole logits; ours take hidden states, head, labels."
    ),
    rows=(
        Row("LigerCrossEntropyLoss(label_smoothing=0.1)(x, t)", "losskit.cross_entropy(x, t, label_smoothing=0.1)", "classes"),
        Row("LigerCrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5, 1.0]))(x, t)", "losskit.cross_entropy(x, t, weight=[1.0, 2.0, 0.5, 1.0])", "classes"),
        Row("LigerCrossEntropyLoss(lse_square_scale=1e-2)(x, t)", "losskit.cross_entropy(x, t, z_loss=1e-2)", "classes"),
        Row("LigerCrossEntropyLoss(softcap=2.0)(x, t)", "losskit.cross_entropy(x, t, softcap=2.0)", "classes"),
        Row(
            "LigerFusedLinearCrossEntropyLoss(lse_square_scale=1e-2)(x[:3], x, t.clamp(max=2))",
            "losskit.LinearCrossEntropyLoss(z_loss=1e-2)(x, x[:3], t.clamp(max=2))",
            "classes",
            "Hidden states first, then the head. `ce_weight` is `weight`.",
        ),
        Row(
            "LigerFusedLinearCrossEntropyFunction.apply(x, x[:3], t.clamp(max=2))[0]",
            "losskit.linear_cross_entropy(x, x[:3], t.clamp(max=2))",
            "classes",
            "Their `accum_dtype` is `accumulate`.",
        ),
        Row("LigerKLDIVLoss()(x.log_softmax(1), t)", "losskit.kl_divergence(x, t)", "distributions", "From logits. Their default is batchmean."),
        Row("LigerKLDIVLoss(log_target=True)(x.log_softmax(1), t.log())", "losskit.kl_divergence(x, t.log(), log_target=True)", "distributions"),
        Row("LigerJSD(beta=0.5)(x.log_softmax(1), t.log())", "losskit.js_divergence(x, t)", "distributions", "Other beta are not there."),
    ),
    apart=(
        Apart(
            "every label ignored",
            "LigerCrossEntropyLoss()(torch.zeros(2, 3), torch.tensor([-100, -100]))",
            "losskit.cross_entropy(torch.zeros(2, 3), torch.tensor([-100, -100]))",
            ("nan", "0"),
            "0 / 0 there.",
        ),
    ),
    missing=(
        ("LigerFusedLinearJSD", "`js_divergence` of `linear_scores` and `linear_probabilities`"),
        ("LigerTVDLoss", "total variation distance"),
        ("LigerFusedLinearDPOLoss", "[a formula](#guide-vocabularies) of `linear_log_prob`"),
        ("LigerFusedLinearGRPOLoss", "[a formula](#guide-vocabularies) of `linear_log_prob`"),
    ),
)

NNUNET = Library(
    name="nnunet",
    title="nnU-Net",
    against="published sources of 2023-2026",
    asked=False,
    intro=(
        'nnU-Net\'s Dice is minus the coefficient, so its loss is ours minus `dice_weight`, and the gradient is the same. `losskit.like("nnunet", loss, task)` gives the settings. '
        '`batch_dice` of the plans is `over="batch"`; `ddp` is `process_group=`.'
    ),
    rows=(
        Row(
            "MemoryEfficientSoftDiceLoss(softmax_helper_dim1, batch_dice=True, do_bg=False, smooth=1e-5)(x, t[:, None]) + 1",
            'losskit.dice_loss(x, t, **losskit.like("nnunet", "dice", "multiclass"), over="batch")',
            "pixels",
            "Labels, without background.",
        ),
        Row(
            'DC_and_CE_loss({"batch_dice": False, "do_bg": False, "smooth": 1e-5}, {})(x, t[:, None]) + 1',
            'losskit.dice_ce_loss(x, t, **losskit.like("nnunet", "dice_ce", "multiclass"))',
            "pixels",
        ),
        Row(
            'DC_and_CE_loss({"batch_dice": True, "do_bg": False, "smooth": 1e-5}, {}, weight_ce=2, weight_dice=0.5)(x, t[:, None]) + 0.5',
            'losskit.dice_ce_loss(x, t, **losskit.like("nnunet", "dice_ce", "multiclass"), over="batch", ce_weight=2, dice_weight=0.5)',
            "pixels",
        ),
        Row(
            'DC_and_BCE_loss({}, {"batch_dice": True, "do_bg": True, "smooth": 1e-5})(x, t) + 1',
            'losskit.dice_ce_loss(x, t, **losskit.like("nnunet", "dice_ce", "multilabel"), over="batch")',
            "regions",
            "Regions, with all channels.",
        ),
        Row("RobustCrossEntropyLoss()(x, t[:, None])", "losskit.cross_entropy(x, t)", "pixels", "No axis to take away, any integer type."),
    ),
    apart=(
        Apart(
            "a perfect prediction",
            "MemoryEfficientSoftDiceLoss(softmax_helper_dim1, batch_dice=True, do_bg=False, smooth=1e-5)(torch.tensor([[[99.0, 0.0], [0.0, 99.0]]]), torch.tensor([[[0, 1]]]))",
            'losskit.dice_loss(torch.tensor([[[99.0, 0.0], [0.0, 99.0]]]), torch.tensor([[0, 1]]), **losskit.like("nnunet", "dice", "multiclass"))',
            ("-1", "0"),
            "A loss of theirs that falls below 0 is no error.",
        ),
    ),
    missing=(
        ("TopKLoss", "the mean of the hardest pixels"),
        ("DeepSupervisionWrapper", "a weighted sum over scales: write the sum"),
    ),
)
