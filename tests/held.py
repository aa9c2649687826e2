"""What a run of an engine gave."""

from losskit.engines.call import Results


def held(results: Results) -> set[str]:
    """The names of what is there; gradients by their place."""
    names = {name for name, x in results._asdict().items() if name != "gradients" and x is not None}
    return names | {f"gradient {k}" for k, g in enumerate(results.gradients) if g is not None}
