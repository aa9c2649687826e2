"""Small models, trained fairly: the same data, initial weights, optimiser and number of steps for every loss."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

HIDDEN = 16
RATE = 0.01


class Models(nn.Module):
    """One small network (inputs -> 16 tanh units -> 1) for each seed, all in one batched product; they share nothing."""

    def __init__(self, seeds: int, inputs: int, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(seeds, inputs, HIDDEN, generator=draw) / inputs**0.5)
        self.first_bias = nn.Parameter(torch.zeros(seeds, 1, HIDDEN))
        self.last = nn.Parameter(torch.randn(seeds, HIDDEN, 1, generator=draw) * (0.1 / HIDDEN**0.5))
        self.last_bias = nn.Parameter(torch.zeros(seeds, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (seeds, items) for x (seeds, items, inputs)."""
        hidden = torch.tanh(torch.baddbmm(self.first_bias, x, self.first))
        return torch.baddbmm(self.last_bias, hidden, self.last).squeeze(-1)


def fit(loss: Callable[..., Tensor], x: Tensor, target: Tensor, *, steps: int, decay: float, seed: int) -> Models:
    """Train the models of all seeds on x (seeds, items, inputs) and target (seeds, items).

    Adam divides each gradient by its own running size, so a loss that is merely larger does not learn faster; its `eps` is lowered, or focal's
    tiny gradients would meet it, and its weight `decay` is apart from the loss. `normalizer` is the number of items of ONE model: each model's loss is its own mean, and they stay independent.
    """
    models = Models(x.shape[0], x.shape[2], seed)
    groups = [
        {"params": [models.first, models.last], "weight_decay": decay},
        {"params": [models.first_bias, models.last_bias], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=RATE, eps=1e-15, fused=True)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad()
        loss(models(x), target, normalizer=target.shape[1]).backward()
        adam.step()
        slower.step()
    return models


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch on one thread: faster for models this small, and the same bits on machines with more cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
