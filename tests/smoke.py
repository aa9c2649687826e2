"""What a fresh installation must do, run by `make wheel` in an environment with nothing but losskit: the documented example of one loss per pattern, the files
that belong to the package, and a word on what an extra would add."""

import doctest
import subprocess
import sys
from pathlib import Path

import torch

import losskit

HERE = Path(losskit.__file__).parent


def main() -> None:
    """Says what was tried; anything wrong ends the process with an error."""
    assert "site-packages" in HERE.parts, f"this is not an installation: {HERE}"
    assert (HERE / "py.typed").exists() and (HERE / "__init__.pyi").exists() and list(HERE.rglob("*.html"))
    one_each = {loss.pattern: loss for loss in losskit.LOSSES.values() if loss.name != "boundary_loss"}
    for loss in one_each.values():
        test = doctest.DocTestFinder(recurse=False).find(loss.function, loss.name, globs={loss.name: loss.function})[0]
        failed, tried = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
        assert tried and not failed, loss.name
    try:
        losskit.boundary_loss(torch.zeros(1, 4), torch.tensor([[1, 1, 0, 0]]), task="binary")
    except ImportError as error:
        assert "losskit[distance]" in str(error)
    else:
        raise AssertionError("SciPy is here: this environment is not empty")
    said = subprocess.run([Path(sys.executable).with_name("losskit"), "list"], capture_output=True, text=True)
    assert said.returncode != 0 and "losskit[tour]" in said.stderr + said.stdout and "Traceback" not in said.stderr, said
    print(f"losskit {losskit.__version__}: {', '.join(loss.name for loss in one_each.values())}")


if __name__ == "__main__":
    main()
