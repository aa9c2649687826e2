"""Tests over the ranks of a process group: three processes that meet, once for all cases of a file, for starting them is what costs."""

import datetime
import multiprocessing
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

import losskit

Work = Callable[[int, dict[int, Any], bool], dict[Any, Any]]  # of a rank, the groups by their sizes, 2 and 3, and whether all is wanted; what it found


def rank(number: int, folder: str, work: Work, all_of_it: bool) -> None:
    """What a process does: its part, saved to a file."""
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=120)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=3, timeout=patience)
    groups = {2: distributed.new_group([0, 1], timeout=patience), 3: distributed.group.WORLD}
    with nullcontext() if all_of_it else losskit.use_engine("torch"):
        torch.save(work(number, groups, all_of_it), f"{folder}/{number}")
    distributed.barrier()
    distributed.destroy_process_group()


@cache
def starting() -> Any:
    """How processes start: from one that has imported PyTorch, which takes longer than all else that they do first, and nothing of losskit; or fresh on Windows."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torch.distributed.tensor"])
    return context


def results_of(work: Work, request: pytest.FixtureRequest) -> list[dict[Any, Any]]:
    """What each of three ranks found: all of it, or in `make test` what it shows, in PyTorch operations where it asks for no loops."""
    all_of_it = "not thorough" not in request.config.option.markexpr
    with tempfile.TemporaryDirectory() as folder:
        processes = [starting().Process(target=rank, args=(number, folder, work, all_of_it)) for number in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(240)
            if process.is_alive():
                process.kill()
        assert [process.exitcode for process in processes] == [0, 0, 0]
        return [torch.load(Path(folder) / str(number)) for number in range(3)]
