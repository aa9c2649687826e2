"""Tests over the ranks of a process group: three processes that meet, once for all cases of a file, for starting them is what costs."""

import datetime
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import distributed

Work = Callable[[int, dict[int, Any]], dict[Any, Any]]  # of a rank and the groups by their sizes, 2 and 3; what it found


def rank(number: int, folder: str, work: Work) -> None:
    """What a process does: its part, saved to a file."""
    torch.set_num_threads(1)
    patience = datetime.timedelta(seconds=120)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=3, timeout=patience)
    groups = {2: distributed.new_group([0, 1], timeout=patience), 3: distributed.group.WORLD}
    torch.save(work(number, groups), f"{folder}/{number}")
    distributed.barrier()
    distributed.destroy_process_group()


def results_of(work: Work) -> list[dict[Any, Any]]:
    """What each of three ranks found."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        processes = [context.Process(target=rank, args=(number, folder, work)) for number in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(240)
            if process.is_alive():
                process.kill()
        assert [process.exitcode for process in processes] == [0, 0, 0]
        return [torch.load(Path(folder) / str(number)) for number in range(3)]
