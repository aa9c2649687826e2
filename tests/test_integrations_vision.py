"""Losses in frameworks of computer vision, with the real packages: the value and the gradient are what the framework's own loss gives."""

import ast
import importlib.util
import itertools
from functools import partial
from pathlib import Path
from typing import Any, Optional

import pytest
import torch
import torch.nn.functional as F
from cases import thorough
from torch import nn
from trainers import trainer

import losskit
from losskit.integrations.masks import MaskLoss
from losskit.integrations.mmdet import LosskitLoss
from losskit.integrations.timm import BinaryTargets
from losskit.integrations.ultralytics import with_losses

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def same(ours, theirs, *tensors, tolerance=1e-5):
    """Value and gradient of two functions."""
    tensors = tuple(x.detach().clone().requires_grad_() for x in tensors)
    (a, by_ours), (b, by_theirs) = ((y, torch.autograd.grad(y.sum(), tensors, allow_unused=True)) for y in (ours(*tensors), theirs(*tensors)))
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * 1e-2, check_dtype=False)
    for x, y in zip(by_ours, by_theirs, strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance * 1e-2)


# masks


def test_masks_with_and_without_a_channel():
    x, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    loss = MaskLoss(losskit.DiceCELoss(task="multiclass"))
    wanted = losskit.dice_ce_loss(x, labels, task="multiclass")
    for given in (labels, labels.unsqueeze(1), labels.float(), labels.unsqueeze(1).double()):
        assert loss(x, given) == wanted
    one_hot = F.one_hot(labels, 3).movedim(-1, 1)
    assert loss(x, one_hot) == losskit.dice_ce_loss(x, one_hot, task="multiclass")
    one, found = torch.randn(2, 1, 4, 5), labels > 1
    binary = MaskLoss(losskit.DiceLoss(task="binary"))
    assert binary(one, found) == binary(one, found.unsqueeze(1)) == losskit.dice_loss(one, found.unsqueeze(1), task="binary")
    weighed = MaskLoss(losskit.CrossEntropyLoss())
    assert weighed(x, labels.unsqueeze(1), mask=found) == losskit.cross_entropy(x, labels, mask=found)
    with pytest.raises(ValueError, match="give class labels, or a mask for each class, of the input's shape"):
        loss(x, labels + 0.5)
    half = losskit.dice_ce_loss(x, 0.5 * one_hot + 0.5 / 3, task="multiclass")  # the advice, followed
    assert loss(x, 0.5 * one_hot + 0.5 / 3) == half


@pytest.mark.parametrize("space", [2, 3])
def test_monai_trains_alike(space):
    """Three steps of a small network with MONAI's loss and with ours; then a sliding window, which sees no loss."""
    monai, data = trainer("monai"), trainer("monai.data")
    theirs = monai.losses.DiceCELoss(to_onehot_y=True, softmax=True)
    ours = MaskLoss(losskit.DiceCELoss(**losskit.like("monai", "dice_ce", task="multiclass")))
    pictures = [torch.randn(2, 1, *(16,) * space) for _ in range(3)]
    masks = [data.MetaTensor(torch.randint(0, 3, (2, 1, *(16,) * space)).float()) for _ in range(3)]
    trained = []
    for loss in (theirs, ours):
        torch.manual_seed(0)
        model = monai.networks.nets.UNet(spatial_dims=space, in_channels=1, out_channels=3, channels=(4, 8), strides=(2,), norm="batch")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for picture, mask in zip(pictures, masks, strict=True):
            optimizer.zero_grad()
            loss(model(picture), mask).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            trained.append(monai.inferers.SlidingWindowInferer((8,) * space, overlap=0.5)(pictures[0], model))
    torch.testing.assert_close(*trained, rtol=1e-4, atol=1e-5)  # three steps of rounded gradients


@pytest.mark.parametrize(("mode", "task"), [("multiclass", "multiclass"), ("binary", "binary"), ("multilabel", "multilabel")])
def test_segmentation_models_pytorch(mode, task):
    smp = trainer("segmentation_models_pytorch")
    channels = {"multiclass": 3, "binary": 1, "multilabel": 3}[mode]
    model = smp.Unet("resnet18", encoder_weights=None, encoder_depth=3, decoder_channels=(16, 8, 8), classes=channels)
    scores = model(torch.randn(2, 3, 32, 32))
    mask = torch.randint(0, 3 if mode == "multiclass" else 2, (2, channels if mode == "multilabel" else 1, 32, 32))
    theirs, ours = smp.losses.DiceLoss(mode), MaskLoss(losskit.DiceLoss(**losskit.like("smp", task=task)))
    for given in (mask, mask.squeeze(1)) if mode != "multilabel" else (mask,):
        same(lambda x, t=given: ours(x, t), lambda x: theirs(x, mask), scores)
    ours(scores, mask).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.segmentation_head.parameters())


# MMDetection


def function_of_mmdet(path, *names):
    """Functions of MMDetection's source: the package itself needs the operators of mmcv."""
    found = importlib.util.find_spec("mmdet")
    if found is None:
        pytest.skip("trainer")
    source = ast.parse((Path(found.submodule_search_locations[0]) / "models" / "losses" / path).read_text(encoding="utf-8"))
    body = [node for node in source.body if isinstance(node, ast.FunctionDef) and node.name in names]
    scope: dict[str, Any] = {
        "torch": torch,
        "F": F,
        "Tensor": torch.Tensor,
        "Optional": Optional,
        "weighted_loss": lambda loss: loss,
    }  # whose reduction is beside it
    if path != "utils.py":
        scope["weight_reduce_loss"] = function_of_mmdet("utils.py", "weight_reduce_loss", "reduce_loss")[0]
    exec(compile(ast.Module(body, []), path, "exec"), scope)
    return [scope[name] for name in names]


def test_mmdet_of_0_1_targets():
    """Weights for anchors, for numbers, flat; labels with a background; each reduction, each with and without a count."""
    (theirs,) = function_of_mmdet("focal_loss.py", "py_sigmoid_focal_loss")
    x, labels = torch.randn(7, 4), torch.tensor([0, 4, 2, 4, 3, 1, 4])
    one_hot = F.one_hot(labels, 5)[:, :4]
    loss = LosskitLoss("focal", task="binary", alpha=0.25, gamma=2.0, loss_weight=3.0)
    for weight, (reduction, count) in itertools.product(
        (None, torch.rand(7), torch.rand(7, 4), torch.rand(28)), (("mean", None), ("mean", 3.0), ("mean", torch.tensor(2)), ("sum", None), ("none", None))
    ):
        for target in (labels, one_hot):
            same(
                lambda x, t=target, w=weight, r=reduction, n=count: loss(x, t, weight=w, avg_factor=n, reduction_override=r),
                lambda x, w=weight, r=reduction, n=count: 3.0 * theirs(x, one_hot, weight=w, reduction=r, avg_factor=n),
                x,
            )


def test_mmdet_of_labels():
    (theirs,) = function_of_mmdet("cross_entropy_loss.py", "cross_entropy")
    x, labels, w, own = torch.randn(7, 4), torch.tensor([0, -100, 2, 3, 3, 1, 0]), torch.rand(7), torch.tensor([1.0, 0.5, 2.0, 1.0])
    ours, theirs = LosskitLoss("ce", weight=own), partial(theirs, class_weight=own)
    for weight, count in itertools.product((None, w), (None, 3.0)):
        same(lambda x, w=weight, n=count: ours(x, labels, w, avg_factor=n), lambda x, w=weight, n=count: theirs(x, labels, w, avg_factor=n), x)


def test_mmdet_of_boxes():
    """A weight of each number of a box, as its heads give them, and an average over the positives of all images."""
    (reduce,) = function_of_mmdet("utils.py", "weight_reduce_loss", "reduce_loss")[:1]
    x, t, w = torch.rand(6, 4).cumsum(-1), torch.rand(6, 4).cumsum(-1), torch.rand(6)
    giou, l1 = LosskitLoss("giou"), LosskitLoss(losskit.L1Loss())
    for weight, count in itertools.product((w, w[:, None].expand(6, 4)), (None, 4.0)):
        same(
            lambda x, w=weight, n=count: giou(x, t, w, avg_factor=n),
            lambda x, n=count: reduce(losskit.giou_loss(x, t, reduction="none"), w, "mean", n),
            x,
        )
        same(lambda x, w=weight, n=count: l1(x, t, w, avg_factor=n), lambda x, n=count: reduce((x - t).abs(), w[:, None], "mean", n), x)
    nothing = giou(x, t, torch.zeros(6), avg_factor=0.0)
    assert nothing == 0


def test_mmdet_of_labels_and_qualities():
    """A pair, as the heads of generalized focal loss give it: the losses of a label's classes add up."""
    (theirs,) = function_of_mmdet("gfocal_loss.py", "quality_focal_loss")
    (reduce,) = function_of_mmdet("utils.py", "weight_reduce_loss", "reduce_loss")[:1]
    x, labels, quality, w = torch.randn(7, 4), torch.tensor([0, 4, 2, 4, 3, 1, 4]), torch.rand(7), torch.rand(7)
    ours = LosskitLoss("quality_focal", loss_weight=2.0)
    for weight, (reduction, count) in itertools.product((None, w), (("mean", None), ("mean", 3.0), ("sum", None), ("none", None))):
        same(
            lambda x, w=weight, r=reduction, n=count: ours(x, (labels, quality), w, avg_factor=n, reduction_override=r),
            lambda x, w=weight, r=reduction, n=count: 2.0 * reduce(theirs(x, (labels, quality)), w, r, n),
            x,
        )
    with pytest.raises(ValueError, match="not for CrossEntropyLoss: give a tensor"):
        LosskitLoss("ce")(x, (labels, quality))


def test_mmdet_refusals():
    x, t = torch.randn(3, 2), torch.rand(3, 2)
    with pytest.raises(ValueError, match="leave avg_factor out"):
        LosskitLoss("l1", reduction="sum")(x, t, avg_factor=2.0)
    assert LosskitLoss("l1", reduction="sum")(x, t) == losskit.l1_loss(x, t, reduction="sum")
    with pytest.raises(ValueError, match="reduction_override must be None or one of 'none', 'mean', 'sum', got 'max'"):
        LosskitLoss("l1")(x, t, reduction_override="max")
    with pytest.raises(ValueError, match="call the module itself"):
        LosskitLoss("dice", task="binary")
    assert losskit.create("dice", task="binary")(x, t).isfinite()


def test_mmengine_registry():
    """As a head's configuration is built, in a step of an optimizer."""
    registry = trainer("mmengine.registry").Registry("model")
    registry.register_module(module=LosskitLoss)
    loss = registry.build({"type": "LosskitLoss", "loss": "focal", "task": "binary", "alpha": 0.25, "loss_weight": 2.0, "use_sigmoid": True})
    assert loss.use_sigmoid and not LosskitLoss("l1").use_sigmoid
    head, x, labels = nn.Linear(6, 4), torch.randn(20, 6), torch.randint(0, 5, (20,))
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    values = []
    for _ in range(3):
        optimizer.zero_grad()
        values.append(loss(head(x), labels, torch.ones(20), avg_factor=float((labels < 4).sum())))
        values[-1].backward()
        optimizer.step()
    assert values[2] < values[1] < values[0]


# timm


FLAGS = [
    {"smoothing": s, "target_threshold": h, "sum_classes": c, "smooth_dense": d} for s, h, c, d in itertools.product((0.0, 0.1), (None, 0.2), (False, True), (False, True))
]  # fmt: skip


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_timm_binary_cross_entropy(flags):
    theirs = trainer("timm.loss").BinaryCrossEntropy
    weights = {"weight": torch.rand(5), "pos_weight": 1 + torch.rand(5)}
    x, labels, soft = torch.randn(4, 5), torch.randint(0, 5, (4,)), torch.rand(4, 5)
    for given, target in itertools.product(({}, weights), (labels, soft)):
        ours = BinaryTargets(losskit.BCEWithLogitsLoss(**given), **flags)
        same(lambda x, f=ours, t=target: f(x, t), lambda x, w=given, t=target: theirs(**w, **flags)(x, t), x)


def test_timm_mixup():
    """Soft targets, for labels smoothed and mixed, are cross-entropy's own."""
    timm, mixup = trainer("timm.loss"), trainer("timm.data").Mixup
    _, soft = mixup(num_classes=5, label_smoothing=0.1)(torch.randn(4, 3, 8, 8), torch.randint(0, 5, (4,)))
    same(lambda x: losskit.cross_entropy(x, soft), lambda x: timm.SoftTargetCrossEntropy()(x, soft), torch.randn(4, 5))
    with pytest.raises(ValueError, match="smoothing"):
        BinaryTargets(losskit.FocalLoss(), smoothing=1.0)


# detectors


def test_torchvision_head(monkeypatch):
    """RetinaNet's head calls the function with its own settings, in the names that ours has; one anchor is ignored, one image has no object."""
    retinanet = trainer("torchvision.models.detection.retinanet")
    head = retinanet.RetinaNetClassificationHead(8, 1, 4)
    x = torch.randn(2, 30, 4)
    targets, matched = [{"labels": torch.tensor([1, 3])}, {"labels": torch.zeros(0, dtype=torch.long)}], [torch.full((30,), -1) for _ in range(2)]
    matched[0][:4] = torch.tensor([0, 1, 1, -2])

    def of_head(function):
        monkeypatch.setattr(retinanet, "sigmoid_focal_loss", function)
        return lambda x: head.compute_loss(targets, {"cls_logits": x}, matched)

    original = retinanet.sigmoid_focal_loss
    x = x.requires_grad_()
    theirs = of_head(original)(x)
    ours = of_head(partial(losskit.focal_loss, alpha=0.25, gamma=2.0))(x)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (ours, theirs)))


MODELS = {"yolov8n": "DetectionModel", "yolo26n": "DetectionModel", "yolov8n-seg": "SegmentationModel", "yolov8n-obb": "OBBModel"}


@pytest.mark.parametrize("name", [*list(MODELS)[:2], *thorough(list(MODELS)[2:])])
def test_ultralytics_criterion(name):
    """A step of a YOLO, from its configuration: with our losses of the same kind as with theirs, and with others in their place, one by one."""
    tasks, cfg = trainer("ultralytics.nn.tasks"), trainer("ultralytics.cfg")
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.3], [0.3, 0.4, 0.2, 0.2], [0.6, 0.5, 0.5, 0.7]])
    batch = {
        "img": torch.rand(2, 3, 64, 64), "batch_idx": torch.tensor([0.0, 0.0, 1.0]), "cls": torch.tensor([[0.0], [2.0], [1.0]]),
        "bboxes": torch.cat((boxes, torch.tensor([[0.1], [0.5], [0.0]])), 1) if "obb" in name else boxes, "masks": torch.randint(0, 2, (2, 16, 16)).float(),
    }  # fmt: skip
    ours = dict(scores=losskit.BCEWithLogitsLoss(reduction="none"), boxes=losskit.CIoULoss(), masks=losskit.BCEWithLogitsLoss())
    other = dict(scores=losskit.FocalLoss(gamma=1.5, reduction="none"), boxes=losskit.GIoULoss(), masks=losskit.FocalLoss())
    kinds = [kind for kind in ours if kind != "masks" or "seg" in name]
    if "obb" in name:  # theirs is ProbIoU
        other["boxes"] = losskit.GIoULoss(box_format="cxcywha")
        del ours["boxes"]
    found = []
    for losses in ({}, {kind: ours[kind] for kind in kinds if kind in ours}, *({kind: other[kind]} for kind in kinds)):
        torch.manual_seed(0)
        model = getattr(tasks, MODELS[name])(f"{name}.yaml", nc=3, verbose=False)
        model.args = cfg.get_cfg(cfg.DEFAULT_CFG)
        model.criterion = with_losses(model.init_criterion(), **losses)
        loss, _ = model.loss(batch)
        loss.sum().backward()
        found.append((loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=1e-4, atol=1e-5)
    assert (found[1][1] - found[0][1]).norm() < 1e-3 * found[0][1].norm()
    for value, gradient in found[2:]:
        assert (value != found[0][0]).sum() == 1 and gradient.isfinite().all()  # the part of that kind
    if "masks" not in kinds:
        with pytest.raises(ValueError, match="has no loss of masks: leave masks out"):
            with_losses(model.criterion, masks=losskit.FocalLoss())
    with pytest.raises(ValueError, match=r'scores must be a loss with reduction="none", got \'mean\': try FocalLoss'):
        with_losses(model.criterion, scores=losskit.FocalLoss())


def test_detectron2_calls_as_recorded():
    """The calls of its heads, as documented: `sigmoid_focal_loss_jit`, `smooth_l1_loss` and `giou_loss` of fvcore, each a sum that the head divides."""
    scores, one_hot = torch.randn(5, 3), F.one_hot(torch.tensor([0, 3, 2, 3, 1]), 4)[:, :3].float()
    focal = losskit.focal_loss(scores, one_hot, alpha=0.25, gamma=2.0, reduction="sum")
    p = scores.sigmoid()
    hit = p * one_hot + (1 - p) * (1 - one_hot)
    textbook = (0.25 * one_hot + 0.75 * (1 - one_hot)) * (1 - hit) ** 2 * F.binary_cross_entropy_with_logits(scores, one_hot, reduction="none")
    torch.testing.assert_close(focal, textbook.sum())
    x, t = torch.randn(5, 4), torch.randn(5, 4)
    torch.testing.assert_close(losskit.smooth_l1_loss(x, t, beta=0.1, reduction="sum"), F.smooth_l1_loss(x, t, beta=0.1, reduction="sum"))
    boxes, others = torch.rand(5, 4).cumsum(-1), torch.rand(5, 4).cumsum(-1)
    torch.testing.assert_close(
        losskit.giou_loss(boxes, others, reduction="sum"), trainer("torchvision.ops").generalized_box_iou_loss(boxes, others, reduction="sum")
    )
