"""The losses that the guide on large vocabularies builds of log-probabilities and products, against the formulas of their papers on whole logits."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from test_site_examples import DOCS, blocks

import losskit

PAGE = DOCS / "guides" / "large-vocabularies.md"
NAMES: dict[str, object] = {"torch": torch, "losskit": losskit, "F": F}
for part in blocks(PAGE, "pycon"):
    lines = "\n".join(line[4:] for line in part.splitlines() if line.startswith((">>> ", "... ")))
    for function in re.findall(r"^def (?:dpo|simpo|orpo|kto|grpo)\(.*\n(?: .*\n?)+", lines + "\n", re.MULTILINE):
        assert function.count("\n") < 15, "longer than the page says"
        exec(function, NAMES)

draw = torch.Generator().manual_seed(0)
HEAD = torch.randn(30, 8, generator=draw, dtype=torch.float64)
BODY, OLD, BASE = (0.5 * torch.randn(4, 6, 8, generator=draw, dtype=torch.float64) for _ in range(3))
TOKENS = torch.randint(0, 30, (4, 6), generator=draw)
TOKENS[0, :2], TOKENS[1, :3], TOKENS[2, 0], TOKENS[3, 4:] = -100, -100, -100, -100
COUNTS = F.pad(TOKENS[:, 1:] != -100, (0, 1))
LENGTHS = COUNTS.sum(-1)
GOOD, ADVANTAGE, KL = torch.tensor([True, False, False, True]), torch.tensor([1.2, -0.7, 0.3, -0.8], dtype=torch.float64), torch.tensor(0.05)


def by_token(body):
    """Lists of log-probabilities of each answer's tokens, from whole logits."""
    logs = (body @ HEAD.T).log_softmax(-1)
    return [[logs[i, j, TOKENS[i, j + 1]] for j in range(5) if TOKENS[i, j + 1] != -100] for i in range(4)]


def log_sigmoid(x):
    return -torch.log(1 + torch.exp(-x))


def papers_dpo(p, ref, old):
    return sum(-log_sigmoid(0.1 * ((sum(p[i]) - sum(ref[i])) - (sum(p[i + 2]) - sum(ref[i + 2])))) for i in range(2)) / 2


def papers_simpo(p, ref, old):
    return sum(-log_sigmoid(2.0 / len(p[i]) * sum(p[i]) - 2.0 / len(p[i + 2]) * sum(p[i + 2]) - 0.5) for i in range(2)) / 2


def papers_orpo(p, ref, old):
    def odds(answer):
        likelihood = torch.exp(sum(answer) / len(answer))
        return likelihood / (1 - likelihood)

    return sum(-sum(p[i]) / len(p[i]) - 0.1 * log_sigmoid(torch.log(odds(p[i]) / odds(p[i + 2]))) for i in range(2)) / 2


def papers_kto(p, ref, old):
    total = 0.0
    for i, good in enumerate(GOOD):
        reward, z = sum(p[i]) - sum(ref[i]), max(float(KL), 0.0)
        total += 1.0 - torch.sigmoid(0.1 * (reward - z)) if good else 1.5 - 1.5 * torch.sigmoid(0.1 * (z - reward))
    return total / 4


def papers_grpo(p, ref, old):
    total = 0.0
    for i, answer in enumerate(p):
        objective = 0.0
        for new, before, reference in zip(answer, old[i], ref[i], strict=True):
            ratio, a = torch.exp(new - before), ADVANTAGE[i]
            clipped = ratio if 0.8 <= ratio <= 1.2 else 0.8 if ratio < 0.8 else 1.2
            kl = torch.exp(reference - new) - (reference - new) - 1
            objective += min(ratio * a, clipped * a) - 0.04 * kl
        total += objective / len(answer)
    return -total / 4


CALLS = {
    papers_dpo: lambda p, ref, old: NAMES["dpo"](p[:2], p[2:], ref[:2], ref[2:]),
    papers_simpo: lambda p, ref, old: NAMES["simpo"](p[:2], p[2:], (LENGTHS[:2], LENGTHS[2:])),
    papers_orpo: lambda p, ref, old: NAMES["orpo"](p[:2], p[2:], (LENGTHS[:2], LENGTHS[2:])),
    papers_kto: lambda p, ref, old: NAMES["kto"](p, ref, GOOD, KL, weights=(1.0, 1.5)),
    papers_grpo: lambda p, ref, old: NAMES["grpo"](p, old, ref, ADVANTAGE, COUNTS),
}


@pytest.mark.parametrize("paper", CALLS, ids=lambda f: f.__name__)
def test_losses_of_log_probabilities(paper):
    found = []
    for ours in (True, False):
        body, head = BODY.clone().requires_grad_(), HEAD
        if ours:
            value = CALLS[paper](*(losskit.linear_log_prob(b, head, TOKENS, shift=True) for b in (body, BASE, OLD)))
        else:
            value = paper(*(by_token(b) for b in (body, BASE, OLD)))
        found.append((value.detach(), torch.autograd.grad(value, body)[0]))
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)
    assert found[0][1].any()


def test_some_ratios_are_clipped_and_some_are_not():
    """Or the test above would not see the clip."""
    ratio = torch.tensor([math.exp(a - b) for new, old in zip(by_token(BODY), by_token(OLD), strict=True) for a, b in zip(new, old, strict=True)])
    assert (ratio > 1.2).any() and (ratio < 0.8).any() and ((ratio > 0.8) & (ratio < 1.2)).any()
