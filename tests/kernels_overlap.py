"""The kernels of the overlap pattern, in their variants."""

from kernels import caught


def variants(name: str) -> int:
    """Compiles the variants for one target; the number of kernels built."""
    import torch

    from losskit.contract.scores import Extra, Scoring
    from losskit.engines.call import Overlap
    from losskit.engines.triton import overlap as engine
    from losskit.engines.triton import overlap_gradients, overlap_kernels, scores
    from losskit.losses.classification import cross_entropy, focal, focal_of_classes
    from losskit.losses.segmentation import focal_tversky, log_cosh_dice, mcc, tversky

    def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype)

    def both(call: Overlap, x: torch.Tensor, t: torch.Tensor) -> None:
        engine.sums(call, x, t)
        by = torch.ones((), dtype=torch.float64)
        engine.gradients(call, x, t, by, True, t.is_floating_point())

    softmax, fading = Overlap("softmax", "label", cross_entropy.formula), Overlap("sigmoid", "number", focal.from_logits_formula, (1.0, 1.0, 2.0), squared=True)
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    dice, one, weight = Scoring(tversky.formula, (0.5, 0.5, 1.0, 1.0)), torch.ones(()), torch.ones(19)
    kernels = overlap_kernels.levels, overlap_kernels.totals, overlap_gradients.softmax_gradients, overlap_gradients.point_gradients, scores.scoring
    with caught(kernels, name) as built:
        engine.score(dice._replace(extra=Extra(None, weight=weight)), torch.zeros(2, 19, 7, dtype=torch.float64), True, torch.float32)
        engine.gradients(softmax, numbers(2, 4, 32, 32), labels, torch.ones(1, 4, 7), True, False, one)  # what comes in is multiplied there
        both(softmax, numbers(2, 4, 32, 32), labels)
        both(softmax._replace(formula=focal_of_classes.multiclass, params=(1.5,), squared=True), numbers(2, 300, 32, 32, dtype=torch.bfloat16), labels)
        both(fading, numbers(2, 1, 32, 32, dtype=torch.float16), numbers(2, 1, 32, 32))
        if name == "sm_90":
            items, every = torch.ones(2, 32, 32, dtype=torch.bool), torch.ones(2, 20, 32, 32, dtype=torch.bool)
            last = torch.zeros(2, 19, 32, 32).contiguous(memory_format=torch.channels_last)
            both(softmax._replace(formula=None, squared=True, factor=items), last.half(), labels.byte())
            both(Overlap("softmax", "number", squared=True), last, numbers(2, 19, 32, 32, dtype=torch.bfloat16))
            both(fading._replace(factor=every), numbers(2, 20, 32, 32, dtype=torch.bfloat16), torch.ones(2, 20, 32, 32, dtype=torch.uint8))
            both(Overlap("identity", "number"), *(numbers(2, 20, 32, 32, dtype=torch.float64),) * 2)
            both(Overlap("identity", "label", squared=True), last, labels)
            both(Overlap("softmax", "number"), *(numbers(2, 300, 32, dtype=torch.float64),) * 2)
            for formula, count in ((tversky.formula, 4), (focal_tversky.formula, 5), (log_cosh_dice.formula, 4), (mcc.formula, 2)):
                how = Scoring(formula, (0.5,) * count, average="micro", weight=weight, normalizer=one)
                engine.score(how, torch.zeros(2, 19, 7, dtype=torch.float64), True, torch.float64)
            engine.score(dice._replace(average="none"), torch.zeros(1, 1000, 7, dtype=torch.float64), False, torch.float32)
            engine.gradients(fading, *(numbers(2, 1, 32, 32),) * 2, torch.ones(1, 1, 7), True, True, one)
            both(softmax, numbers(1, 1), labels[0, 0, :1])  # Triton treats sizes of 1 apart
    return len(built)
