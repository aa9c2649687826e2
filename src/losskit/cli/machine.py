"""What this machine is to losskit: versions, threads, engines, compiled loops."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

import losskit


def versions() -> dict[str, str]:
    """Of losskit and what it stands on."""
    return {
        "losskit": losskit.__version__,
        "python": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
        **{package: installed(package) for package in ("torch", "numba", "triton")},
    }


def facts() -> dict[str, str]:
    """Everything, in words."""
    threads = f"{torch.get_num_threads()} (torch.set_num_threads sets them for losskit too)"
    return {**versions(), "threads": threads, **engines(), "compiled loops": cache_state()}


def installed(package: str) -> str:
    """A package's version, or that it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def engines() -> dict[str, str]:
    """For each kind of tensors, the engine that would run and the reason."""
    x = torch.zeros(4)
    loss: Any = losskit.LOSSES["mse_loss"].function
    chosen = {"CPU tensors": losskit.engine_for(loss, x, x)}
    if torch.cuda.is_available():
        chosen["GPU tensors"] = losskit.engine_for(loss, x.cuda(), x.cuda())
    seen: list[Any] = []

    def called(x: torch.Tensor) -> torch.Tensor:
        seen.append(losskit.engine_for(loss, x, x))
        return x

    torch.func.vmap(called)(x)
    chosen["torch.func"] = seen[0]
    lines = {place: f"{c.engine}: {c.reason}" for place, c in chosen.items()}
    lines.setdefault(
        "GPU tensors", "no GPU here; there: triton" if installed("triton") != "not installed" else "no GPU here; there: torch, for Triton is not installed"
    )
    lines["torch.compile"] = "on CPUs cpu, as operators, where a pass is large enough or sizes vary; else torch"
    return lines


def cache_state() -> str:
    """Where compiled CPU loops are kept, and how many there are."""
    from losskit.engines.cpu.core import files

    folder = files.folder()
    if folder is None:
        return "nowhere: this user has no home folder, so each process compiles anew; LOSSKIT_CACHE_DIR gives a place"
    if folder.is_dir() and (why := files.distrust(folder, folder.stat())):
        return why
    held = list(folder.glob("*.o")) if folder.is_dir() else []
    size = sum(p.stat().st_size for p in held)
    return f"{len(held)} in {folder} ({size / 1e6:.1f} MB)" if held else f"none yet in {folder}: each loss compiles once, 1 to 3 s"
