"""The kernels of the ranked pattern, in their variants."""

from kernels import caught


def variants(name: str) -> int:
    """Compiles the variants for one target; the number of kernels built."""
    import torch

    from losskit.engines.call import Ranked
    from losskit.engines.triton import ranked as engine
    from losskit.engines.triton import ranked_kernels

    def both(call: Ranked, x: torch.Tensor, t: torch.Tensor) -> None:
        _, slopes = engine.run(call, x, t)
        engine.gradient(call, x, t, slopes, torch.ones(1, x.shape[call.dim], dtype=torch.float64))

    x, labels = torch.zeros(2, 19, 64, 64), torch.zeros(2, 64, 64, dtype=torch.int64)
    items, every = torch.ones(2, 64, 64, dtype=torch.bool), torch.ones(2, 19, 64, 64, dtype=torch.bool)
    softmax, hinge = Ranked("softmax", "label"), Ranked("hinge", "number", True)
    with caught((ranked_kernels.errors, ranked_kernels.tally, ranked_kernels.slopes, ranked_kernels.gradients), name) as built:
        both(softmax, x, labels)
        both(hinge, x.bfloat16(), x.bool())
        if name == "sm_90":
            both(softmax._replace(factor=items, joint=True), x.half(), labels.byte())
            both(softmax, x[..., :1, :1].double(), labels[..., :1, :1].int())
            both(hinge._replace(factor=every), x, x.long())
            both(Ranked("identity", "number"), x, x)
            both(Ranked("identity", "label", factor=items), x.double(), labels)
    return len(built)
