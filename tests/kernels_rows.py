"""The kernel of the rows pattern, in its variants."""

from kernels import caught


def variants(name: str) -> int:
    """Compiles the variants for one target; the number of kernels built."""
    import torch

    from losskit.engines.call import Rows
    from losskit.engines.triton import denominators, elementwise, rows_kernels
    from losskit.engines.triton import rows as engine
    from losskit.losses.classification import arcface
    from losskit.losses.classification.cross_entropy import formula, smoothed, soft_cap
    from losskit.losses.classification.focal_of_classes import multiclass

    def data(*shape: int, dtype: torch.dtype = torch.float32, labels: torch.dtype = torch.int64) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(shape, dtype=dtype), torch.zeros((shape[0], *shape[2:]), dtype=labels)

    def everything(classes: int) -> Rows:
        shares, weight = torch.full((classes,), 0.1), torch.ones(classes)
        return Rows(smoothed, (0.9, 1e-4), weight, shares, soft_cap, 30.0)

    plain, focal = Rows(formula), Rows(multiclass, (2.0,))
    margin = Rows(arcface.formula, (0.88, 0.0, 0.48, 6e-8), margin=arcface.turned)
    kernels = rows_kernels.rowwise, rows_kernels.long_rows, elementwise.add_up, denominators.count, denominators.count_up
    with caught(kernels, name) as built:
        engine.census(everything(10)._replace(factor=torch.ones(1 << 15)), *data(1 << 15, 10), True)  # and `count_up`
        engine.run(plain, (*data(4096, 1000),), scale=1 / 4096, wants=(True, False))  # and `add_up`
        engine.run(plain, (*data(16, 50257, dtype=torch.bfloat16),), inplace=True, by_products=True, each=True, wants=(True, False))
        engine.run(everything(19), (*data(1, 19, 32, 32, dtype=torch.float16, labels=torch.uint8),), each=True, wants=(True, False))
        engine.run(everything(300), (*data(1, 300, 32, 32),), each=True, wants=(True, False))
        engine.run(everything(600), (*data(1, 600, 32, 32),), each=True, wants=(True, False))
        engine.run(margin, (*data(32, 10),), wants=(True, False))
        engine.run(margin, (*data(1, 600, 32, 32),), each=True, wants=(True, False))
        if name == "sm_90":
            engine.census(plain, *data(32, 10, dtype=torch.float64, labels=torch.uint8), False)
            engine.run(margin._replace(tempered=True), (*data(16, 50257, dtype=torch.bfloat16), torch.ones(())), scale=1 / 16, wants=(True, False))
            items = torch.ones(32, dtype=torch.bool)
            for call in (focal, everything(10)):
                for shape in ((32, 10), (32, 9000)):
                    call = everything(shape[1]) if call is not focal else call
                    x, t = data(*shape, dtype=torch.float64, labels=torch.bool)
                    engine.run(call, (x, t), each=True, by_products=True)
                    engine.run(call._replace(factor=items), (x, t), incoming=torch.rand(32), wants=(True, False))
            x, t = data(32, 10, dtype=torch.bfloat16, labels=torch.int32)
            engine.rescaled((torch.empty_like(x), None), torch.ones(()), focal, (x, t), torch.ones(()), (True, False))
            engine.run(focal, (*data(1, 1),), scale=torch.ones(()), wants=(True, False))  # Triton treats sizes of 1 and of multiples of 16 apart
            engine.run(everything(1), (*data(1, 1, 1, 1),), wants=(True, False))
            engine.run(plain, (*data(1, 1, 2),), wants=(True, False))
    return len(built)
