"""IoU of turned boxes as it is published for PyTorch operations: crossings of all edges, corners that lie inside, sorted around their middle, and the area of that polygon."""

import torch
from torch import Tensor

NEAR = 1e-6


def corners(boxes: Tensor) -> Tensor:
    """(n, 4, 2), around the box."""
    x, y, w, h, angle = boxes.unsqueeze(-1).unbind(1)
    ways = torch.tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], dtype=boxes.dtype)
    across, down = w * ways[:, 0], h * ways[:, 1]
    c, s = angle.cos(), angle.sin()
    return torch.stack((x + across * c - down * s, y + across * s + down * c), -1)


def inside(points: Tensor, box: Tensor) -> Tensor:
    """Which points (n, 4, 2) lie in a box, given by its corners."""
    origin, along, up = box[:, None, 0], box[:, None, 1] - box[:, None, 0], box[:, None, 3] - box[:, None, 0]
    from_origin = points - origin
    found = [(from_origin * side).sum(-1) / (side * side).sum(-1) for side in (along, up)]
    return ((found[0] > -NEAR) & (found[0] < 1 + NEAR) & (found[1] > -NEAR) & (found[1] < 1 + NEAR)).detach()


def crossings(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Where each edge of a meets each edge of b, (n, 16, 2), and whether it does."""
    along_a, along_b = (torch.roll(box, -1, 1) - box for box in (a, b))
    p, q, r, s = a[:, :, None], b[:, None], along_a[:, :, None], along_b[:, None]
    across = r[..., 0] * s[..., 1] - r[..., 1] * s[..., 0]
    parallel = across.abs() < 1e-12
    across = torch.where(parallel, 1.0, across)
    between = q - p
    t = (between[..., 0] * s[..., 1] - between[..., 1] * s[..., 0]) / across
    u = (between[..., 0] * r[..., 1] - between[..., 1] * r[..., 0]) / across
    meets = ~parallel & (t > 0) & (t < 1) & (u > 0) & (u < 1)
    return (p + t[..., None] * r).flatten(1, 2), meets.flatten(1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """1 - IoU of boxes (n, 5), on average."""
    p, q = corners(a), corners(b)
    where, meets = crossings(p, q)
    points, counts = torch.cat((p, q, where), 1), torch.cat((inside(p, q), inside(q, p), meets), 1)
    number = counts.sum(1, keepdim=True)
    middle = (points * counts[..., None]).sum(1, keepdim=True) / number.clamp(min=1)[..., None]
    around = points - middle
    angle = torch.where(counts, torch.atan2(around[..., 1], around[..., 0]).detach(), 1e6)
    order = angle.argsort(1)[:, :9]  # eight corners at most, and the first again
    place = torch.arange(9)
    order = torch.where(place < number, order, order[:, :1])
    ring = around.gather(1, order[..., None].expand(-1, -1, 2))
    area = 0.5 * (ring[:, :-1, 0] * ring[:, 1:, 1] - ring[:, :-1, 1] * ring[:, 1:, 0]).sum(1).abs()
    both = torch.where(number[:, 0] > 2, area, 0.0)
    return (1 - both / (a[:, 2] * a[:, 3] + b[:, 2] * b[:, 3] - both)).mean()
