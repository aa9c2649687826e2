"""What every loss promises, implemented once: argument checks, reduction, masks and weights, the registry, the modules.

mask: bool, True = counts; broadcasts to the unreduced loss. A masked item is as good as deleted, whatever is in it.
sample_weight: multiplies the items' losses; broadcasts likewise. "mean" divides by the sum of the weights, so there they must not be negative: weights of either
    sign need a `normalizer`, or another reduction. (On a GPU nobody looks, see `losskit.validate`.)
normalizer: a number or a 0-d tensor on the input's device, at least 0, that replaces the denominator of "mean". 0 says that nothing counts.
reduction: "none", "sum", or "mean": the sum of the weighted losses over the sum of the weights that count. Where nothing counts the loss is 0, with zero gradients.
"""
