"""The kernel of rows with distributions, in its variants."""

from kernels import caught


def variants(name: str) -> int:
    """Compiles the variants for one target; the number of kernels built."""
    import torch

    from losskit.engines.call import Distributions
    from losskit.engines.triton import distributions as engine
    from losskit.engines.triton import distributions_kernels, elementwise
    from losskit.losses.classification import cross_entropy, entropy, focal_of_classes, js_divergence, kl_divergence

    def everything(classes: int) -> Distributions:
        return Distributions(cross_entropy.soft, (0.9, 0.1), torch.ones(classes), cross_entropy.soft_cap, 30.0, square=1e-4)

    def scores(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype)

    distilled = Distributions(kl_divergence.formula, (4.0,), None, cross_entropy.soft_cap, 2.0, shift=True)
    jensen, alone = Distributions(js_divergence.formula), Distributions(entropy.formula, kind="none")
    focused = Distributions(focal_of_classes.multiclass_soft, (2.0, 0.9, 0.1), kind="label")
    beside = Distributions(cross_entropy.soft, (1.0, 0.0), kind="position")
    labels = torch.zeros(32, dtype=torch.int64)
    with caught((distributions_kernels.classwise, distributions_kernels.long_classwise, elementwise.add_up), name) as built:
        x = scores(4096, 1000)
        engine.run(distilled, (x, x), scale=1 / 4096, wants=(True, True))  # and `add_up`
        engine.run(distilled, (scores(16, 50257, dtype=torch.bfloat16), scores(16, 50257)), each=True, wants=(True, False))
        engine.run(everything(19), (*(scores(1, 19, 32, 32, dtype=torch.float16),) * 2,), each=True, wants=(True, False))
        if name == "sm_90":
            engine.run(everything(300)._replace(kind="label"), (scores(1, 300, 32), labels[None].byte()), by_products=True, each=True, wants=(True, False))
            items = torch.ones(32, dtype=torch.bool)
            engine.run(focused._replace(factor=items), (scores(32, 10), labels), incoming=torch.rand(32), wants=(True, False))
            engine.run(focused, (scores(32, 1), labels.bool()), each=True)  # Triton treats sizes of 1 apart
            engine.run(beside, (scores(32, 17, dtype=torch.float16), scores(32)), each=True, wants=(True, False))
            engine.run(beside, (scores(32, 5000), scores(32, dtype=torch.float64)), each=True, wants=(True, False))
            engine.run(alone, (scores(32, 5000), scores(0)), scale=torch.ones(()), each=True, wants=(True, False))
            x = scores(32, 10, dtype=torch.float64)
            engine.run(jensen, (x, x.bfloat16()), each=True, wants=(False, True))
            x = scores(32, 5000, dtype=torch.float64)
            engine.run(jensen, (x, x), each=True, by_products=True, wants=(True, False))
            x = scores(32, 10, dtype=torch.bfloat16)
            engine.rescaled((torch.empty_like(x), torch.empty_like(x)), torch.ones(()), jensen, (x, x), torch.ones(()), (True, True))
    return len(built)
