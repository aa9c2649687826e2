"""Contrastive losses beside those of other libraries, modules that hold their numbers, and messages."""

import math

import pytest
import torch
import torch.nn.functional as F
from claims import claim
from contrastive_cases import agree, batch, outcome

import losskit


@claim("nt_xent_loss", "A view is no candidate of itself")
@claim("nt_xent_loss", "The two views come as two tensors")
@claim("nt_xent_loss", "There a view is ruled out as its own candidate by taking 1e9 from its score")
def test_nt_xent_is_simclr():
    """The official code (tf2/objective.py), in PyTorch's operations."""
    (a, b), _, _ = batch("nt_xent_loss")
    one, other = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    own, masks = torch.arange(11), torch.eye(11, dtype=torch.float64)
    aa, bb, ab, ba = one @ one.T / 0.5 - masks * 1e9, other @ other.T / 0.5 - masks * 1e9, one @ other.T / 0.5, other @ one.T / 0.5
    wanted = F.cross_entropy(torch.cat((ab, aa), 1), own) + F.cross_entropy(torch.cat((ba, bb), 1), own)
    agree(outcome(losskit.nt_xent_loss(a, b), (a, b)), outcome(wanted / 2, (a, b)))


@claim("supcon_loss", "A vector is neither candidate nor positive of itself")
@claim("supcon_loss", "One without a positive is absent")
@claim("supcon_loss", "There embeddings come as (samples, views, D)")
@claim("supcon_loss", "A vector without a positive counts there, with a loss of 0")
def test_supcon_is_the_authors():
    """Their SupConLoss (losses.py), written again."""
    features = F.normalize(torch.randn(6, 2, 5, dtype=torch.float64), dim=-1)
    labels = torch.tensor([0, 0, 1, 1, 2, 3])

    def theirs(features, labels, temperature=0.07, base_temperature=0.07):
        alike = (labels[:, None] == labels).double()
        views = features.shape[1]
        contrast = torch.cat(features.unbind(1))
        scores = contrast @ contrast.T / temperature
        scores = scores - scores.amax(1, keepdim=True)
        alike = alike.repeat(views, views)
        others = 1 - torch.eye(len(contrast), dtype=torch.float64)
        alike = alike * others
        logs = scores - (scores.exp() * others).sum(1, keepdim=True).log()
        count = alike.sum(1)
        count = torch.where(count < 1e-6, 1.0, count)
        return (-(temperature / base_temperature) * (alike * logs).sum(1) / count).mean()

    ours = losskit.supcon_loss(features.flatten(0, 1), labels.repeat_interleave(2))
    torch.testing.assert_close(ours, theirs(features, labels))
    alone = losskit.supcon_loss(features[:, 0], labels, reduction="none")
    assert not alone[4:].any() and alone[:4].all()
    torch.testing.assert_close(losskit.supcon_loss(features[:, 0], labels), alone.sum() / 4)
    torch.testing.assert_close(theirs(features[:, :1], labels), alone.sum() / 6)


@claim("clip_loss", "The same value as open_clip's ClipLoss on one rank")
@claim("siglip_loss", "The same value as open_clip's SigLipLoss on one rank")
@claim("siglip_loss", "There `logit_bias` is None by default, which is 0")
@claim("siglip_loss", "The mean divides by the number of pictures, not of pairs, as the paper does")
def test_open_clip():
    """ClipLoss and SigLipLoss of open_clip/loss.py on one rank, written again."""
    a, b = (F.normalize(torch.randn(7, 5, dtype=torch.float64), dim=-1) for _ in range(2))
    labels = torch.arange(7)
    there, back = 14.0 * a @ b.T, 14.0 * b @ a.T
    torch.testing.assert_close(losskit.clip_loss(a, b, 14.0), (F.cross_entropy(there, labels) + F.cross_entropy(back, labels)) / 2)
    signs = 2 * torch.eye(7, dtype=torch.float64) - torch.ones(7, 7, dtype=torch.float64)
    for bias in (-10.0, 0.0):
        torch.testing.assert_close(losskit.siglip_loss(a, b, 10.0, bias), -F.logsigmoid(signs * (10.0 * a @ b.T + bias)).sum() / 7)


@claim("clip_loss", "`logit_scale` of a module may also be held by it")
def test_modules_hold_or_are_given_their_numbers():
    (a, b), numbers, _ = batch("clip_loss")
    held = losskit.CLIPLoss(logit_scale=torch.nn.Parameter(torch.tensor(2.0)))
    assert dict(held.named_parameters()).keys() == {"logit_scale"}
    value = held(a, b)
    value.backward()
    torch.testing.assert_close(value, losskit.clip_loss(a, b, 2.0))
    assert held.logit_scale.grad.shape == () and held.logit_scale.grad != 0
    torch.testing.assert_close(losskit.CLIPLoss()(a, b, numbers["logit_scale"]), losskit.clip_loss(a, b, numbers["logit_scale"]))
    out = ~torch.eye(11, dtype=torch.bool)
    assert losskit.CLIPLoss()(a, b, exclude=out) == 0 and losskit.InfoNCELoss()(a, b, exclude=out) == 0
    assert losskit.InfoNCELoss()(a, b, negatives=b) > losskit.InfoNCELoss()(a, b)


@claim("info_nce_loss", "Embeddings are taken as they come")
@claim("info_nce_loss", "Temperature divides")
def test_info_nce_of_other_libraries():
    """sentence-transformers' MultipleNegativesRankingLoss (scale 20, cosines) and lightly's directions, written again."""
    (a, b), _, _ = batch("info_nce_loss")
    cosines = F.cosine_similarity(a[:, None], b[None], dim=-1)
    wanted = F.cross_entropy(20.0 * cosines, torch.arange(11))
    torch.testing.assert_close(losskit.info_nce_loss(a, b, temperature=1 / 20.0, normalize=True), wanted)
    torch.testing.assert_close(losskit.info_nce_loss(a, b, temperature=1.0), F.cross_entropy(a @ b.T, torch.arange(11)))


X, Y = torch.randn(3, 4), torch.randn(3, 4)
BAD = [
    (lambda: losskit.info_nce_loss(X[0], Y[0]), ValueError, r"query must hold a batch of vectors, shape \(N, D\).*got shape \(4,\): try query.unsqueeze\(0\)"),
    (lambda: losskit.info_nce_loss(X, Y[:2]), ValueError, r"key has shape \(2, 4\) but query has shape \(3, 4\)"),
    (
        lambda: losskit.info_nce_loss(X, Y, negatives=torch.randn(2, 5)),
        ValueError,
        r"negatives must hold vectors as those of key.*\(3, 4\).*got shape \(2, 5\)",
    ),
    (lambda: losskit.info_nce_loss(X, Y, negatives=[[1.0] * 4]), TypeError, "negatives must be a torch.Tensor, got list"),
    (
        lambda: losskit.info_nce_loss(X, Y, exclude=torch.ones(3, 3, dtype=torch.bool)),
        ValueError,
        r"exclude rules out an item's own partner, at \(0, 0\): try exclude & ~torch.eye\(3, 3, dtype=torch.bool\)",
    ),
    (lambda: losskit.clip_loss(X, Y, exclude=torch.ones(3, 3)), ValueError, r"exclude must be bool.*shape \(3, 3\), got torch.float32 \(3, 3\)"),
    (
        lambda: losskit.info_nce_loss(X, Y, negatives=Y, exclude=torch.zeros(3, 3, dtype=torch.bool)),
        ValueError,
        r"exclude must be bool.*shape \(3, 6\), got torch.bool \(3, 3\)",
    ),
    (lambda: losskit.info_nce_loss(X, Y, temperature=0.0), ValueError, "temperature must be > 0, got 0.0"),
    (lambda: losskit.nt_xent_loss(X, Y, temperature=torch.tensor(-1.0)), ValueError, "temperature must be > 0, got -1.0"),
    (lambda: losskit.clip_loss(X, Y, 0.0), ValueError, "logit_scale must be > 0, got 0.0"),
    (lambda: losskit.clip_loss(X, Y, torch.ones(3)), ValueError, r"logit_scale must be one floating-point number, got torch.float32 of shape \(3,\)"),
    (lambda: losskit.siglip_loss(X, Y, 1.0, torch.tensor(math.nan)), ValueError, "logit_bias must not be NaN"),
    (lambda: losskit.siglip_loss(X, Y, "ten"), TypeError, "logit_scale must be a number, got str"),
    (
        lambda: losskit.supcon_loss(X, torch.zeros(3, 1)),
        ValueError,
        r"labels must hold one label per vector, shape \(3,\), got shape \(3, 1\): try labels.reshape\(3,\)",
    ),
    (
        lambda: losskit.supcon_loss(X, torch.zeros(3, 3)),
        ValueError,
        r"labels must hold one label per vector, shape \(3,\), got shape \(3, 3\): try labels.bool\(\), if they say who",
    ),
    (lambda: losskit.supcon_loss(X, torch.zeros(3), normalize=1), TypeError, "normalize must be True or False"),
    (lambda: losskit.supcon_loss(X, torch.zeros(3), mask=torch.ones(4, dtype=torch.bool)), ValueError, "mask"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD)
def test_bad_input(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
