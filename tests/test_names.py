"""A name that torch has means what it means in torch; where a peer has the name and means something else, the docstring says so."""

import inspect
import re

import pytest
import test_embedding
import torch
import torch.nn.functional as F
from torch import nn

import losskit
from losskit.cli.explain import sections

REAL = lambda: (torch.linspace(-3, 3, 40).reshape(5, 8), torch.linspace(2, -2, 40).sin().reshape(5, 8))  # noqa: E731
LABELS = torch.tensor([0, 2, 1, 2, 0, 1, 2, 1, 0, 2]).reshape(2, 5)
SCORES = lambda: torch.linspace(-4, 4, 30).cos().mul(3).reshape(2, 3, 5)  # noqa: E731
UNIT = lambda: (torch.linspace(0.01, 0.99, 40).reshape(5, 8), (torch.arange(40) % 3 == 0).float().reshape(5, 8))  # noqa: E731
WEIGHT = torch.tensor([0.5, 2.0, 1.0])
ELEMENT = torch.linspace(0.1, 2, 8)
SOFT = SCORES().roll(1, 1).softmax(1)
LISTS = torch.tensor([[2, 0, -1], [1, -1, 0], [-1, 0, 1], [0, 1, 2], [1, 1, -1]]).repeat(2, 1)

# function -> sample inputs and settings in torch's words that ours take too; every argument that both have is varied
SHARED = {
    "l1_loss": [(REAL, {})],
    "mse_loss": [(REAL, {})],
    "smooth_l1_loss": [(REAL, {}), (REAL, {"beta": 0.5}), (REAL, {"beta": 0.0})],
    "huber_loss": [(REAL, {}), (REAL, {"delta": 0.3})],
    "binary_cross_entropy": [(UNIT, {}), (UNIT, {"weight": ELEMENT}), (lambda: (UNIT()[0], UNIT()[0].flip(0)), {})],
    "binary_cross_entropy_with_logits": [
        (lambda: (REAL()[0], UNIT()[1]), settings)
        for settings in ({}, {"weight": ELEMENT}, {"pos_weight": ELEMENT}, {"weight": ELEMENT, "pos_weight": ELEMENT})
    ],
    "soft_margin_loss": [(lambda: (REAL()[0], 2.0 * UNIT()[1] - 1.0), {})],
    "hinge_embedding_loss": [(lambda: (REAL()[0], 2.0 * UNIT()[1] - 1.0), settings) for settings in ({}, {"margin": 0.3})],
    "nll_loss": [(lambda: (SCORES().log_softmax(1), LABELS), settings) for settings in ({}, {"weight": WEIGHT}, {"ignore_index": 2})],
    "multi_margin_loss": [
        (lambda: (SCORES().movedim(1, 2).reshape(10, 3), LABELS.reshape(10)), settings)
        for settings in ({}, {"p": 2}, {"margin": 0.3}, {"weight": WEIGHT}, {"p": 2, "margin": 2.0, "weight": WEIGHT})
    ],
    "multilabel_margin_loss": [(lambda: (SCORES().movedim(1, 2).reshape(10, 3), LISTS), {})],
    "multilabel_soft_margin_loss": [(lambda: (REAL()[0], UNIT()[1]), settings) for settings in ({}, {"weight": ELEMENT})],
    "cross_entropy": [
        (lambda: (SCORES(), LABELS), settings)
        for settings in ({}, {"weight": WEIGHT}, {"ignore_index": 2}, {"label_smoothing": 0.3}, {"weight": WEIGHT, "ignore_index": 0, "label_smoothing": 0.3})
    ]
    + [(lambda: (SCORES(), SOFT), settings) for settings in ({}, {"weight": WEIGHT}, {"label_smoothing": 0.3})],
}
MODULES = {
    "L1Loss": "l1_loss", "MSELoss": "mse_loss", "SmoothL1Loss": "smooth_l1_loss", "HuberLoss": "huber_loss", "BCELoss": "binary_cross_entropy",
    "BCEWithLogitsLoss": "binary_cross_entropy_with_logits", "NLLLoss": "nll_loss", "SoftMarginLoss": "soft_margin_loss", "HingeEmbeddingLoss": "hinge_embedding_loss",
    "MultiMarginLoss": "multi_margin_loss", "MultiLabelMarginLoss": "multilabel_margin_loss",
    "MultiLabelSoftMarginLoss": "multilabel_soft_margin_loss", "CrossEntropyLoss": "cross_entropy",
}  # fmt: skip
# torch's arguments that ours refuse: those that torch itself calls legacy, and a weight that one function divides by and another does not
REFUSED = {"size_average", "reduce"} | {"weight"}
WEIGHTED = ("binary_cross_entropy", "binary_cross_entropy_with_logits", "nll_loss", "cross_entropy", "multi_margin_loss", "multilabel_soft_margin_loss")
APART = {"gaussian_nll_loss": "GaussianNLLLoss", "poisson_nll_loss": "PoissonNLLLoss"}  # they take more than input and target, or have eps: see below
APART |= {"margin_ranking_loss": "MarginRankingLoss"}  # other names than input and target: see test_margin_ranking.py
APART |= test_embedding.MODULES  # those are examined there
APART |= {"linear_cross_entropy": "LinearCrossEntropyLoss"}  # three tensors: see `test_linear_cross_entropy`
# torch's modules that are not here: `kl_divergence` and `cross_entropy` are two of them; the others compare sequences, or hold layers or a function of the user's
LACKED = {"KLDivLoss", "NLLLoss2d", "CTCLoss", "AdaptiveLogSoftmaxWithLoss", "TripletMarginWithDistanceLoss"}
CASES = [(name, *case) for name, samples in SHARED.items() for case in samples]


def test_every_name_that_torch_has_is_examined():
    assert {name for name in dir(nn) if "Loss" in name} - set(losskit.__all__) - LACKED == set(), "torch has a new loss"
    public = set(losskit.__all__) - {*APART, *APART.values()}
    assert {name for name in public if hasattr(F, name) or hasattr(torch, name)} == set(SHARED)
    assert {name for name in public if hasattr(nn, name)} == set(MODULES)
    for name, loss in losskit.LOSSES.items():
        if name in APART:
            assert loss.module == APART[name]
            continue
        assert (loss.torch == name) == (name in SHARED) and MODULES.get(loss.module) == (name if name in SHARED else None)


def outcome(function, x, t, **settings):
    a = x.clone().requires_grad_()
    value = function(a, t, **settings)
    return value.detach(), torch.autograd.grad(value, a, torch.linspace(-1, 2, value.numel()).reshape(value.shape))[0]


@pytest.mark.parametrize(
    ("name", "samples", "settings"), CASES, ids=[f"{name}-{'-'.join(settings) or 'plain'}-{i}" for i, (name, _, settings) in enumerate(CASES)]
)
def test_the_same_value_and_gradient(name, samples, settings):
    x, t = samples()
    module = next(module for module, function in MODULES.items() if function == name)
    for reduction in ("none", "mean", "sum"):
        given = settings | {"reduction": reduction}
        theirs = outcome(getattr(F, name), x, t, **given)
        with losskit.use_engine("torch"):
            torch.testing.assert_close(outcome(getattr(losskit, name), x, t, **given), theirs, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(outcome(getattr(losskit, module)(**given), x, t), theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SHARED)
def test_the_same_arguments_with_the_same_defaults(name):
    module = next(module for module, function in MODULES.items() if function == name)
    for theirs, ours in ((getattr(F, name), getattr(losskit, name)), (getattr(nn, module), getattr(losskit, module))):
        theirs, ours = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
        allowed = REFUSED - ({"weight"} if name in WEIGHTED else set())
        assert set(theirs) - set(ours) <= allowed, "an argument of torch's is missing"
        assert all(theirs[p].default == ours[p].default for p in set(theirs) & set(ours))
    varied = {key for _, settings in SHARED[name] for key in settings}
    assert varied | {"input", "target", "reduction"} == set(inspect.signature(getattr(F, name)).parameters) & set(
        inspect.signature(getattr(losskit, name)).parameters
    )


@pytest.mark.parametrize("name", SHARED)
def test_what_is_not_taken_is_refused_aloud(name):
    """torch's order of arguments, and what only torch takes: an error, never another meaning."""
    x, t = SHARED[name][0][0]()
    with pytest.raises(TypeError, match="takes its settings by name"):
        getattr(losskit, name)(x, t, None)
    for argument in set(inspect.signature(getattr(F, name)).parameters) - set(inspect.signature(getattr(losskit, name)).parameters):
        with pytest.raises(TypeError, match=argument):
            getattr(losskit, name)(x, t, **{argument: None})


@pytest.mark.parametrize("full", [False, True])
def test_gaussian_nll(full):
    """torch's variance by its place, and by its name; torch's eps is a floor for the variance that ours does not have, so it is refused."""
    x, t = REAL()
    var = torch.linspace(0.1, 3, 40).reshape(5, 8)
    for reduction in ("none", "mean", "sum"):
        theirs = outcome(F.gaussian_nll_loss, x, t, var=var, full=full, reduction=reduction)
        torch.testing.assert_close(outcome(losskit.gaussian_nll_loss, x, t, var=var, full=full, reduction=reduction), theirs, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(losskit.gaussian_nll_loss(x, t, var, full=full, reduction=reduction), theirs[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(losskit.GaussianNLLLoss(full=full, reduction=reduction)(x, t, var), theirs[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="eps"):
        losskit.gaussian_nll_loss(x, t, var, eps=1e-6)


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="torch")
def test_linear_cross_entropy():
    """All arguments of torch's but `options`, each varied; its ignore_index of None means ours of -100."""
    draw = torch.Generator().manual_seed(0)
    leaves = [torch.randn(shape, generator=draw, requires_grad=True) for shape in ((10, 4), (3, 4), (3,))]
    labels, soft = LABELS.flatten(), torch.randn(10, 3, generator=draw).softmax(1)
    ours, theirs = losskit.linear_cross_entropy, F.linear_cross_entropy
    cases = [
        (labels, {}),
        (labels, {"weight": WEIGHT}),
        (labels, {"ignore_index": 2}),
        (labels, {"label_smoothing": 0.3}),
        (labels.where(labels != 2, -100), {}),
    ]
    cases += [(labels, {"weight": WEIGHT, "ignore_index": 0, "label_smoothing": 0.3}), (soft, {}), (soft, {"weight": WEIGHT}), (soft, {"label_smoothing": 0.3})]
    for target, settings in cases:
        for reduction in ("none", "mean", "sum"):
            found = []
            for function in (ours, theirs):
                x, weight, bias = leaves
                value = function(x, weight, target, linear_bias=bias, reduction=reduction, **settings)
                incoming = torch.linspace(-1, 2, value.numel()).reshape(value.shape)
                found.append((value.detach(), *torch.autograd.grad(value, leaves, incoming)))
            torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)
    both = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
    assert set(both[1]) - set(both[0]) == {"options"}
    assert {p for p in set(both[0]) & set(both[1]) if both[0][p].default != both[1][p].default} == {"ignore_index"}
    varied = {"input", "linear_weight", "target", "linear_bias", "reduction", *(key for _, settings in cases for key in settings)}
    assert varied == set(both[0]) & set(both[1])
    with pytest.raises(TypeError, match="options"):
        ours(*leaves[:2], labels, options=None)
    with pytest.raises(TypeError, match="takes its settings by name"):
        ours(*leaves[:2], labels, leaves[2])


def test_torchs_weight_of_regression_is_sample_weight():
    x, t = REAL()
    weight = torch.linspace(0.1, 2, 40).reshape(5, 8)
    for name in ("l1_loss", "mse_loss"):
        torch.testing.assert_close(getattr(losskit, name)(x, t, sample_weight=weight), getattr(F, name)(x, t, weight=weight))
    theirs = F.huber_loss(x, t, weight=weight)  # the one that does not divide by the weights
    torch.testing.assert_close(losskit.huber_loss(x, t, sample_weight=weight, normalizer=x.numel()), theirs)


# names of ours that peers have (torchvision 0.28, MONAI 1.6, kornia 0.9, segmentation_models.pytorch 0.6, mmdetection 3.3: there the losses of detection), none
# of which is a drop-in: other defaults, other inputs, an epsilon
PEERS = {
    "torchvision": "giou_loss diou_loss ciou_loss focal_loss",  # as generalized_box_iou_loss, ..., sigmoid_focal_loss
    "MONAI": "DiceLoss DiceCELoss DiceFocalLoss GeneralizedDiceLoss FocalLoss TverskyLoss",
    "kornia": "DiceLoss FocalLoss TverskyLoss CharbonnierLoss",
    "segmentation_models.pytorch": "DiceLoss JaccardLoss FocalLoss LovaszLoss TverskyLoss MCCLoss",
    "mmdetection": "FocalLoss IoULoss GIoULoss DIoULoss CIoULoss EIoULoss SIoULoss QualityFocalLoss VarifocalLoss DistributionFocalLoss",
}


@pytest.mark.parametrize("peer", PEERS)
def test_what_differs_from_a_peers_loss_of_the_same_name_is_written(peer):
    for name in PEERS[peer].split():
        loss = losskit.LOSSES[name] if name in losskit.LOSSES else next(loss for loss in losskit.LOSSES.values() if loss.module == name)
        said = " ".join(f"{heading} {text}" for heading, text in sections(loss).items() if heading.startswith("Differs"))
        assert re.search(re.escape(peer), said, re.I), f"{loss.name}: what differs from {peer}?"
