"""Frameworks that losses are put into, imported for a test or the test is skipped."""

import multiprocessing
import os
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

import losskit
from losskit.bench.sides import torchvision_focal


def trainer(name: str) -> Any:
    """The package, or a module of it. Many import torchvision, whose operators have no build for every torch: the names of them are enough."""
    outer = name.partition(".")[0]
    if (
        outer in sys.modules and getattr(sys.modules[outer], "__file__", None) is None
    ):  # bare, made by a comparison for a part of it that needs less than the whole (`bare_package`)
        for known in [known for known in sys.modules if known.partition(".")[0] == outer]:
            del sys.modules[known]
    with warnings.catch_warnings(action="ignore"):
        torchvision_focal()
        return pytest.importorskip(name, reason="trainer")


def rank(number: int, port: int, folder: Path, work: Callable[[int, Path], Any]) -> None:
    """What a process does, as torchrun starts it: its part, saved to a file."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with losskit.use_engine("torch"):
        torch.save(work(number, folder), folder / f"{number}.pt")
    distributed.destroy_process_group()


def on_two(work: Callable[[int, Path], Any], folder: Path) -> list[Any]:
    """What each of two processes found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [multiprocessing.get_context("spawn").Process(target=rank, args=(number, port, folder, work)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(folder / f"{number}.pt") for number in range(2)]


gloo = pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="gloo")
