"""What the docstrings of losses of boxes claim. How a claim finds its sentence: `claims.py`. What other libraries compute is written out."""

import math

import pytest
import torch
from claims import claim, slope

import losskit
from losskit import LOSSES
from losskit.testing.boxes import in_order, ordinary

GIVEN = {"mpdiou_loss": {"image_size": (20, 20)}, "nwd_loss": {"constant": 3.0}}  # what has no default
AS_IOU = "alpha_iou_loss ciou_loss diou_loss eiou_loss focal_eiou_loss giou_loss inner_iou_loss mpdiou_loss siou_loss wiou_loss"
OUT_OF_ORDER = torch.tensor([[3.0, 0.0, 1.0, 2.0], [0.0, 4.0, 2.0, 1.0], [5.0, 5.0, 4.5, 4.0], [2.5, 0.0, 0.5, 2.0]], dtype=torch.float64)
SQUARE = torch.tensor([[0.0, 0.0, 2.0, 2.0]], dtype=torch.float64).expand(4, 4)


@pytest.fixture(autouse=True)
def engine():
    with losskit.use_engine("torch"):
        yield


def loss(name, a, b, **settings):
    return LOSSES[name].function(a, b, reduction="none", **GIVEN.get(name, {}), **settings)


def box(*corners):
    return torch.tensor([corners], dtype=torch.float64)


def measured(a, b):
    """IoU, squared distance of the centres, squared diagonal, extents, sizes, of boxes with an area, for autograd."""
    size, wanted = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    both = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    around = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    centres = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(1)
    return both, size.prod(1) + wanted.prod(1) - both, centres, around.square().sum(1), around, size, wanted


# what all share


@claim("iou_loss nwd_loss", "Identical boxes")
@claim(
    "alpha_iou_loss ciou_loss diou_loss eiou_loss giou_loss inner_iou_loss mpdiou_loss siou_loss wiou_loss",
    "Identical boxes, zero area, boxes out of order: as",
)
@claim("focal_eiou_loss", "Else as `eiou_loss`")
@pytest.mark.parametrize("name", ["iou_loss", "nwd_loss", *AS_IOU.split()])
def test_identical_boxes_and_boxes_out_of_order(name):
    for size in (1e-6, 1.0, 1e6):
        same = size * torch.tensor([[0.0, 0.0, 1.0, 2.0], [3.0, 1.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
        value, gradient = slope(lambda a, b: loss(name, a, b), same, same)
        assert not value.any() and not gradient.any()
    flat = box(0, 0, 0, 2), box(1, 0, 3, 0)
    assert all(part.isfinite().all() for part in slope(lambda a, b: loss(name, a, b), *flat))
    value, gradient = slope(lambda a, b: loss(name, a, b), OUT_OF_ORDER, SQUARE)
    assert (value >= loss(name, in_order(OUT_OF_ORDER), SQUARE)).all()
    for i, axis in ((0, 0), (1, 1), (2, 0), (2, 1), (3, 0)):
        assert gradient[i, axis] > gradient[i, axis + 2], "a step against the gradient brings the corners nearer to their order"


@claim("diou_loss", "Identical boxes, zero area, boxes out of order: as `iou_loss`; the centre")
@claim("iou_loss", "A predicted box out of order")
@claim("iou_loss", "A target out of order is read as the box it spans")
@claim("eiou_loss siou_loss", "Identical boxes, zero area, boxes out of order: as `iou_loss`; a box out of order has the size 0")
def test_the_price_of_disorder():
    turned, point = box(1.5, 0.5, 0.5, 1.5), box(1, 0.5, 1, 1.5)
    target = SQUARE[:1]
    price = 1 / (1 + 2)
    for name in ("iou_loss", "diou_loss", "eiou_loss", "siou_loss", "giou_loss"):
        torch.testing.assert_close(loss(name, turned, target), loss(name, point, target) + price)
        assert torch.equal(loss(name, target, turned), loss(name, target, in_order(turned)))
    torch.testing.assert_close(loss("diou_loss", turned, target) - loss("iou_loss", turned, target), torch.zeros(1).double())  # centres coincide
    torch.testing.assert_close(loss("iou_loss", turned, target), torch.tensor([1 + price]).double())


@claim("mpdiou_loss", "Identical boxes, zero area, boxes out of order: as `iou_loss`; their corners")
@claim("mpdiou_loss", "The loss grows with the square of the distance")
@claim("mpdiou_loss", "Only that every finite input gives a finite result; the paper scores")
def test_mpdiou():
    a, b = ordinary(30, dtype=torch.float64)
    corners = (a - b).square().sum(1) / 800
    torch.testing.assert_close(1 - loss("mpdiou_loss", a, b), losskit.iou(a, b) - corners)  # the paper's score
    turned, target = box(3, 0, 1, 2), box(0, 0, 2, 2)
    drawn = slope(lambda x, t: loss("mpdiou_loss", x, t) - loss("iou_loss", x, t), turned, target)[1]
    torch.testing.assert_close(drawn, 2 * (turned - target) / 800)
    far = [float(losskit.mpdiou_loss(box(0, 0, 1, 1).float() + d, box(0, 0, 1, 1).float(), image_size=(1, 1))) for d in (10.0, 100.0, 1e18, 1e20)]
    assert 90 < (far[1] - 1) / (far[0] - 1) < 110 and far[2] < math.inf == far[3]


@claim("wiou_loss", "Identical boxes, zero area, boxes out of order: as there")
@claim("wiou_loss", "If the centres coincide it is `iou_loss`")
@claim("alpha_iou_loss", "power = 1 is `iou_loss`")
@claim("inner_iou_loss", "ratio = 1 is `iou_loss`")
def test_what_is_iou_loss():
    a, b = ordinary(60, dtype=torch.float64)
    torch.testing.assert_close(loss("alpha_iou_loss", a, b, power=1.0), loss("iou_loss", a, b))
    torch.testing.assert_close(loss("inner_iou_loss", a, b, ratio=1.0), loss("iou_loss", a, b))
    middle = (b[:, :2] + b[:, 2:]) / 2
    half = (a[:, 2:] - a[:, :2]) / 2
    centred = torch.cat((middle - half, middle + half), 1)
    torch.testing.assert_close(loss("wiou_loss", centred, b), loss("iou_loss", centred, b))
    for shared in (OUT_OF_ORDER[:1] * 0 + box(1.5, 0.5, 0.5, 1.5), box(1, 1, 1, 1)):
        torch.testing.assert_close(loss("wiou_loss", shared, SQUARE[:1]), loss("iou_loss", shared, SQUARE[:1]))


@claim("iou_loss", "Boxes apart cost 1 and have no gradient")
@claim("alpha_iou_loss", "Boxes apart, and those with an IoU below 1e-18")
@claim("inner_iou_loss", "Boxes that lie apart once scaled")
@claim("focal_eiou_loss", "Boxes apart have the weight 0")
def test_boxes_apart():
    a, b = box(0, 0, 1, 1), box(3, 0, 4, 1)
    for name in ("iou_loss", "alpha_iou_loss", "inner_iou_loss"):
        value, gradient = slope(lambda x, t, name=name: loss(name, x, t), a, b)
        assert value == 1 and not gradient.any()
    for name in ("giou_loss", "diou_loss", "ciou_loss"):
        assert slope(lambda x, t, name=name: loss(name, x, t), a, b)[1].any()
    hardly = box(0, 0, 1, 1), box(1 - 1e-10, 1 - 1e-10, 2, 2)
    for value, gradient in (slope(lambda x, t: loss("alpha_iou_loss", x, t), *hardly),):
        assert value == 1 and not gradient.any()
    small = box(0, 0, 4, 4), box(3, 0, 7, 4)
    value, gradient = slope(lambda x, t: loss("inner_iou_loss", x, t, ratio=0.7), *small)
    assert value == 1 and not gradient.any() and loss("iou_loss", *small) < 1
    value, gradient = slope(lambda x, t: loss("focal_eiou_loss", x, t), a, b)
    assert value == 0 and not gradient.any()
    x, t = ordinary(30, dtype=torch.float64)
    torch.testing.assert_close(loss("focal_eiou_loss", x, t, gamma=0.0), loss("eiou_loss", x, t))


# one by one


@claim("iou_loss", "Two different boxes without area cost 1")
@claim("iou_loss", '"log" is held, and flat, at an IoU of 1e-18')
@claim("iou_loss", "Lengths below 1e-37 count as 0")
def test_limits_of_iou():
    assert loss("iou_loss", box(0, 0, 0, 2), box(0, 0, 0, 1)) == 1 == loss("iou_loss", box(0, 0, 0, 0), box(1, 0, 1, 0))
    value, gradient = slope(lambda x, t: loss("iou_loss", x, t, mode="log"), box(0, 0, 1, 1), box(3, 0, 4, 1))
    torch.testing.assert_close(value, torch.tensor([-math.log(1e-18)]).double())
    assert not gradient.any() and loss("iou_loss", box(0, 0, 1, 1), box(0, 0, 1e-12, 1e-8), mode="log") == value
    thin = box(0, 0, 1e-38, 1).float()
    assert loss("iou_loss", thin, box(0, 0, 1, 1).float()) == 1 and loss("iou_loss", thin, thin) == 0


@claim("iou_loss", "In space volumes take the place of areas")
def test_space_and_angles():
    a, b = torch.tensor([[0.0, 0, 0, 2, 1, 1]]), torch.tensor([[1.0, 0, 0, 2, 2, 1]])
    torch.testing.assert_close(losskit.iou_loss(a, b), torch.tensor(1 - 1 / 3))
    with pytest.raises(ValueError, match="5"):
        losskit.iou_loss(torch.zeros(1, 5), torch.zeros(1, 5))


@claim("iou_loss", "torchvision has no aligned IoU loss")
@claim("iou_loss", 'mmdetection\'s `IoULoss` is mode="log" by default')
@claim("giou_loss", "`torchvision.ops.generalized_box_iou_loss` adds 1e-7")
@claim("giou_loss", "mmdetection's `GIoULoss` adds its epsilon likewise")
@claim("diou_loss", "`torchvision.ops.distance_box_iou_loss` adds 1e-7")
@claim("ciou_loss", "`torchvision.ops.complete_box_iou_loss` is the same with alpha constant")
@claim("ciou_loss", "Its newer code, as the authors' own")
def test_epsilons_of_the_field():
    a, b = ordinary(60, dtype=torch.float64)
    both, union, centres, diagonal, around, size, wanted = measured(a, b)

    def giou(eps):
        return 1 - both / (union + eps) + (around.prod(1) - union) / (around.prod(1) + eps)

    def diou(eps):
        return 1 - both / (union + eps) + centres / (diagonal + eps)

    iou = both / union
    angle = [torch.atan(s[:, 0] / s[:, 1]) for s in (size, wanted)]
    v = 4 / math.pi**2 * (angle[0] - angle[1]) ** 2
    alpha = v / (1 - iou + v)
    torch.testing.assert_close(loss("giou_loss", a, b), giou(0.0))
    torch.testing.assert_close(loss("diou_loss", a, b), diou(0.0))
    torch.testing.assert_close(loss("ciou_loss", a, b), diou(0.0) + alpha * v)
    newer = diou(0.0) + (iou > 0.5) * alpha * v  # the authors' later code
    assert torch.allclose(loss("ciou_loss", a, b)[iou > 0.5], newer[iou > 0.5]) and not torch.allclose(loss("ciou_loss", a, b), newer)
    torch.testing.assert_close(loss("iou_loss", a, b, mode="log"), -iou.clamp(min=1e-18).log())
    for side in (1.0, 1e-3):  # what epsilons do to identical boxes: the smaller, the more
        a = b = box(0, 0, side, side)
        both, union, centres, diagonal, around, *_ = measured(a, b)
        assert giou(1e-7) > 0 == loss("giou_loss", a, b) and diou(1e-7) > 0
        of_small = giou(1e-7)
    assert of_small > 0.05
    turned = box(1, 1, 0, 0)
    areas = (turned[:, 2:] - turned[:, :2]).prod(1) + 1.0
    assert 1 - 0 / areas < loss("giou_loss", turned, box(0, 0, 1, 1))  # negative sides make an area there
    flat = measured(box(0, 0, 0, 0), box(0, 0, 1, 1))[5]
    assert (flat[:, 0] / flat[:, 1]).isnan() and loss("ciou_loss", box(0, 0, 0, 0), box(0, 0, 1, 1)).isfinite()


@claim("giou_loss", "If the enclosing box has no area")
def test_no_area_around():
    a, b = box(0, 0, 0, 1), box(0, 3, 0, 4)
    assert loss("giou_loss", a, b) == 1 == loss("giou_loss", box(0, 0, 0, 0), box(5, 0, 5, 0))


@claim("diou_loss", "Two boxes that are the same point")
@claim("ciou_loss", "The angle of a point is 0")
def test_points():
    a, b = box(0, 0, 0, 0), box(3, 4, 3, 4)
    assert loss("diou_loss", a, a) == 0 and loss("diou_loss", a, b) == 2  # d = c
    torch.testing.assert_close(loss("ciou_loss", a, b), loss("diou_loss", a, b))
    flat, square = box(0, 0, 2, 0), box(0, 0, 2, 2)
    for x, angle in ((flat, math.pi / 2), (box(0, 0, 0, 0), 0.0)):
        v = 4 / math.pi**2 * (angle - math.pi / 4) ** 2
        alpha = v / (loss("iou_loss", x, square) + v)
        torch.testing.assert_close(loss("ciou_loss", x, square) - loss("diou_loss", x, square), alpha * v)


@claim("ciou_loss", "A box out of order keeps the angle of the box in order")
def test_the_angle_of_a_box_out_of_order():
    turned, target = box(4, 0, 0, 1), box(0, 0, 1, 1)

    def aspect(x, t):
        return loss("ciou_loss", x, t) - loss("diou_loss", x, t)

    v = 4 / math.pi**2 * (math.atan(4) - math.atan(1)) ** 2
    torch.testing.assert_close(aspect(turned, target), torch.tensor([v * v / (1 + v)]).double())  # the IoU of its middle is 0
    by_x = slope(aspect, turned, target)[1][0, [0, 2]]
    torch.testing.assert_close(by_x, torch.zeros(2).double(), rtol=0, atol=1e-12)


@claim("ciou_loss", "The second derivative with alpha_gradient=False is that of the gradient as it is")
@claim("wiou_loss", "The second derivative is that of the gradient as it is")
@claim("focal_eiou_loss", "The paper does not mention the derivative of the weight")
def test_second_derivatives_of_what_is_held():
    a, b = ordinary(4, dtype=torch.float64, near=(0.3,))
    for name in ("ciou_loss", "wiou_loss"):
        x = a.clone().requires_grad_()
        (first,) = torch.autograd.grad(loss(name, x, b).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        step = 1e-6
        gradients = [slope(lambda z, t, name=name: loss(name, z, t), a + sign * step, b)[1] for sign in (1, -1)]
        torch.testing.assert_close(second.sum(1), ((gradients[0] - gradients[1]) / (2 * step)).sum(1), rtol=1e-4, atol=1e-5)
    value, gradient = slope(lambda x, t: loss("focal_eiou_loss", x, t), a, b)
    eiou, plain = slope(lambda x, t: loss("eiou_loss", x, t), a, b)
    torch.testing.assert_close(gradient, losskit.iou(a, b).sqrt()[:, None] * plain)
    torch.testing.assert_close(value, losskit.iou(a, b).sqrt() * eiou)


@claim("ciou_loss", "It also sets w^2 + h^2")
@claim("ciou_loss", "Common code leaves v to autograd")
@claim("ciou_loss", "mmdetection's older code leaves alpha to autograd too")
def test_v_is_left_to_autograd():
    a, b = ordinary(60, dtype=torch.float64)
    a = a / 10
    b = b / 10  # sizes below 1, where w^2 + h^2 is not 1

    def written(x, t, hold):
        both, union, centres, diagonal, _, size, wanted = measured(x, t)
        v = 4 / math.pi**2 * (torch.atan(size[:, 0] / size[:, 1]) - torch.atan(wanted[:, 0] / wanted[:, 1])) ** 2
        alpha = v / (1 - both / union + v)
        return 1 - both / union + centres / diagonal + (alpha.detach() if hold else alpha) * v

    for whole in (False, True):
        torch.testing.assert_close(
            slope(lambda x, t, w=whole: loss("ciou_loss", x, t, alpha_gradient=w), a, b), slope(lambda x, t, w=whole: written(x, t, not w), a, b)
        )


@claim("alpha_iou_loss", "The paper also raises the further terms")
@claim("inner_iou_loss", "Only that every finite input gives a finite result")
def test_single_terms():
    a, b = ordinary(60, dtype=torch.float64)
    torch.testing.assert_close(loss("alpha_iou_loss", a, b, power=3.0), 1 - losskit.iou(a, b) ** 3)
    middle = [(x[:, :2] + x[:, 2:]) / 2 for x in (a, b)]
    scaled = [torch.cat((m - 0.8 * (x[:, 2:] - x[:, :2]) / 2, m + 0.8 * (x[:, 2:] - x[:, :2]) / 2), 1) for m, x in zip(middle, (a, b), strict=True)]
    torch.testing.assert_close(loss("inner_iou_loss", a, b, ratio=0.8), loss("iou_loss", *scaled))


@claim("eiou_loss", "The term of an axis along which both have the size 0 is 0")
@claim("eiou_loss", "mmdetection's `EIoULoss` is another loss")
@claim("eiou_loss", "torchvision has none")
def test_eiou():
    a, b = box(0, 0, 2, 0), box(1, 0, 4, 0)
    torch.testing.assert_close(loss("eiou_loss", a, b), 1 + torch.tensor([1.5**2 / 16 + 1 / 16]).double())
    x, t = ordinary(30, dtype=torch.float64)
    both, union, centres, diagonal, around, size, wanted = measured(x, t)
    efficient = 1 - both / union + centres / diagonal + ((size - wanted) / around).square().sum(1)
    torch.testing.assert_close(loss("eiou_loss", x, t), efficient)
    lost = 1 - both / around.prod(1)  # extended: how much of the box around is not common, smooth at 0
    assert not torch.allclose(loss("eiou_loss", x, t), torch.where(lost < 0.1, 5 * lost**2, lost - 0.05))


@claim("focal_eiou_loss", "The weight of a box out of order is that of the box its corners span")
def test_focal_eiou_of_a_box_out_of_order():
    turned, target = box(1.5, 0.5, 0.5, 1.5), SQUARE[:1]
    price = loss("iou_loss", turned, target) - 1
    whole = losskit.iou(in_order(turned), target).sqrt() * (loss("eiou_loss", turned, target) - price) + price
    torch.testing.assert_close(loss("focal_eiou_loss", turned, target), whole)


@claim("siou_loss", "If the centres coincide the distance is 0")
@claim("siou_loss", "mmdetection's `SIoULoss` with neg_gamma=True")
@claim("siou_loss", "With mmdetection's default")
def test_siou():
    a, b = box(0, 0, 4, 2), box(1, -1, 3, 3)
    shape = 2 * (1 - math.exp(-0.5)) ** 4
    torch.testing.assert_close(loss("siou_loss", a, b), loss("iou_loss", a, b) + shape / 2)
    x, t = ordinary(60, dtype=torch.float64)
    both, union, _, _, around, size, wanted = measured(x, t)
    shift = ((t[:, :2] + t[:, 2:]) - (x[:, :2] + x[:, 2:])) / 2
    sine = shift.abs() / shift.norm(dim=1, keepdim=True)
    sine = torch.where(sine[:, 0] > math.sqrt(2) / 2, sine[:, 1], sine[:, 0])
    gamma = torch.cos(2 * torch.arcsin(sine) - math.pi / 2)  # 1 - 2 sin^2(a - pi / 4)
    distance = (1 - torch.exp((gamma - 2)[:, None] * (shift / around) ** 2)).sum(1)
    shape = ((1 - torch.exp(-(size - wanted).abs() / torch.maximum(size, wanted))) ** 4).sum(1)
    torch.testing.assert_close(loss("siou_loss", x, t), 1 - both / union + (distance + shape) / 2)
    near, far = (1 - math.exp(2.0 * (d / (d + 1.0)) ** 2) for d in (2.0, 9.0))  # its distance of squares in a row, whose exponent has the other sign
    assert far < near < 0


@claim("nwd_loss", "It depends on the units of the boxes")
@claim("nwd_loss", "Boxes many constants away have no gradient left")
@claim("nwd_loss", "Corners out of order are further")
@claim("nwd_loss", "The paper's distance writes the sizes as w / 2")
@claim("nwd_loss", "Some code leaves out the square root")
def test_nwd():
    a, b = ordinary(30, dtype=torch.float64)
    assert (loss("nwd_loss", 2 * a, 2 * b) > loss("nwd_loss", a, b)).all()
    torch.testing.assert_close(losskit.nwd_loss(2 * a, 2 * b, constant=6.0), losskit.nwd_loss(a, b, constant=3.0))
    assert slope(lambda x, t: loss("nwd_loss", x, t), a[:1] + 200, b[:1])[1].abs().max() < 1e-20
    turned, target = box(3, 0, 1, 2), box(0, 0, 2, 2)
    value, gradient = slope(lambda x, t: loss("nwd_loss", x, t), turned, target)
    assert value > loss("nwd_loss", in_order(turned), target)
    torch.testing.assert_close(gradient / gradient[0, 0], (turned - target) / 3)  # straight towards the target's corners, nothing besides
    centres = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).square().sum(1)
    halves = ((a[:, 2:] - a[:, :2] - b[:, 2:] + b[:, :2]) / 2).square().sum(1)
    torch.testing.assert_close(loss("nwd_loss", a, b), 1 - torch.exp(-(centres + halves).sqrt() / 3))
    for other in (1 - torch.exp(-(centres + halves) / 3), 1 - torch.exp(-(centres + 4 * halves).sqrt() / 3)):
        assert not torch.allclose(loss("nwd_loss", a, b), other)


@claim("probiou_loss", "Of boxes in order: l1 in [0, 1]")
@claim("probiou_loss", "The Gaussian of a square has no direction")
@claim("probiou_loss", "A half turn is the same box")
@claim("probiou_loss", "Identical boxes have loss 0")
@claim("probiou_loss", "A side shorter than")
@claim("probiou_loss", "A box out of order")
@claim("probiou_loss", "Far boxes have no gradient")
@claim("probiou_loss", "Its function of that name adds 1e-7")
def test_probiou():
    def each(a, b, mode="l1"):
        return losskit.probiou_loss(torch.tensor(a).double(), torch.tensor(b).double(), mode=mode, box_format="cxcywha", reduction="none")

    a, b = ordinary(300, dtype=torch.float64)
    near, distance = loss("probiou_loss", a, b), loss("probiou_loss", a, b, mode="l2")
    assert near.min() >= 0 and 0.99 < near.max() <= 1 < distance.max() and distance.min() >= 0
    square = torch.tensor([0.0, 0.0, 2.0, 2.0, 0.7], requires_grad=True)
    losskit.probiou_loss(square, torch.tensor([0.5, 0.1, 1.0, 1.0, 0.2]), box_format="cxcywha").backward()
    assert square.grad[4].abs() < 1e-7 < square.grad[0].abs()
    box_, other = [1.0, 0.5, 4.0, 2.0, 0.3], [0.0, 0.0, 3.0, 1.0, -0.4]
    for same in ([1.0, 0.5, 4.0, 2.0, 0.3 + math.pi], [1.0, 0.5, 2.0, 4.0, 0.3 - math.pi / 2]):
        torch.testing.assert_close(each(same, other), each(box_, other))
    flat = [0.0, 0.0, 5.0, 0.0, 0.3]
    assert each(flat, flat) == each(flat, flat, "l2") == each(box_, box_) == 0
    torch.testing.assert_close(each(flat, other, "l2"), each([0.0, 0.0, 5.0, 5.0 * 2**-30, 0.3], other, "l2"))
    torch.testing.assert_close(each([0.0, 0.0, -4.0, 2.0, 0.3], other), each([0.0, 0.0, 4.0, 2.0, 0.3], other) + 4 / (4 + 3))
    turned, target = box(1.5, 0.5, 0.5, 1.5), SQUARE[:1]
    torch.testing.assert_close(loss("probiou_loss", turned, target), loss("probiou_loss", in_order(turned), target) + 1 / (1 + 2))
    value, gradient = slope(lambda x, t: loss("probiou_loss", x, t), box(100, 0, 101, 1), box(0, 0, 1, 1))
    assert value == 1 and not gradient.any()
    value, gradient = slope(lambda x, t: loss("probiou_loss", x, t, mode="l2"), box(1e11, 0, 1e11 + 1, 1), box(0, 0, 1, 1))
    assert 7.5e19 <= value < 7.6e19 and not gradient[:, ::2].sum().abs() > 0
    assert loss("probiou_loss", a, b, mode="l2").equal(distance) and 1 - math.sqrt(1 - math.exp(-1e-7) + 1e-7) == pytest.approx(0.9995, abs=1e-4)


@claim("wiou_loss", "This is its version 1, without state")
@claim("wiou_loss", "Version 2 is left out")
@claim("WIoUv3Loss", "All else as `wiou_loss`")
@claim("WIoUv3Loss", "Boxes out of order: as `iou_loss`, but as the worst boxes weigh least")
@claim("WIoUv3Loss", "There the mean is a variable of the class")
@claim("WIoUv3Loss", "Ranks of a distributed training have one mean each")
def test_versions_of_wiou():
    a, b = ordinary(30, dtype=torch.float64)
    one, other = losskit.WIoUv3Loss(momentum=0.5).double(), losskit.WIoUv3Loss().double()
    assert not hasattr(losskit, "WIoUv2Loss") and not list(losskit.WIoULoss().buffers())
    one(a, b)
    assert one.mean != 1 == other.mean and "mean" in dict(one.named_buffers()) and "mean" in one.state_dict()  # a buffer: DistributedDataParallel sends buffers
    still = losskit.WIoUv3Loss(reduction="none").double().eval()
    beta = losskit.iou_loss(a, b, reduction="none")
    torch.testing.assert_close(still(a, b), losskit.wiou_loss(a, b, reduction="none") * beta / (3 * 1.9 ** (beta - 3)))
    still.mean.fill_(0.05)  # of very good boxes: the worst hardly count
    turned, ordered = still(OUT_OF_ORDER, SQUARE), still(in_order(OUT_OF_ORDER), SQUARE)
    assert (turned < ordered).any()
    gradient = slope(still, OUT_OF_ORDER, SQUARE)[1]
    assert all(gradient[i, axis] > gradient[i, axis + 2] for i, axis in ((0, 0), (1, 1), (2, 0), (3, 0)))
