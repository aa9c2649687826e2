"""What tests run in a process of its own, first thing after `import losskit`: `python tests/fresh.py NAME`, with the calls if not all are meant. Each line of the output is a call that went well."""

import copy
import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import test_bad_input
import test_overlap_bad_input
import torch
from calls import KINDS, Call, all_settings, one_each, options

import losskit

A = torch.zeros(2, 3)
ROWS = [  # bad labels, positions and distributions: what is wrong is looked for after a pass
    (losskit.cross_entropy, (A, torch.tensor([0, 3])), {}),
    (losskit.focal_loss, (A, torch.tensor([0, -1])), {"task": "multiclass"}),
    (losskit.cross_entropy, (torch.zeros(2, 3, 4, 4), torch.full((2, 4, 4), 255)), {}),
    (losskit.cross_entropy, (A, torch.tensor([0, 1])), {"weight": torch.tensor([1.0, float("nan"), 1.0])}),
    (losskit.kl_divergence, (A, torch.ones(2, 3)), {}),
    (losskit.kl_divergence, (A, -torch.ones(2, 3)), {}),
    (losskit.distribution_focal_loss, (A, torch.tensor([0.5, 2.5])), {}),
    (losskit.lovasz_loss, (A, torch.full((2, 3), 0.5)), {"task": "binary"}),
]
BAD = [*test_bad_input.BAD, *test_overlap_bad_input.BAD, *ROWS]
DEFAULTS = ("meta", torch.float64)


def forked(cases: Iterable[Any], check: Callable[[Any], None]) -> None:
    """Each case in a fork of this process, which has imported losskit and called nothing: as fresh as a new one, without the seconds that its imports take."""
    torch.set_num_threads(1)  # a thread pool does not survive a fork
    gc.disable()  # it would walk, and so copy, all that the forks share
    for case in cases:
        name = case.name if isinstance(case, Call) else str(case)
        child = os.fork()
        if not child:
            try:
                check(case)
                os.write(1, f"{name}\n".encode())
            except BaseException:
                os.write(2, f"{name}: {traceback.format_exc()}\n".encode())
            os._exit(0)
        os.waitpid(child, 0)


def compiled() -> None:
    """Every public function, compiled before anything else is called, gives what PyTorch's operations give. (Of boxes the value only: see test_boxes_contract.)"""

    def check(call: Call) -> None:
        again = copy.deepcopy(call)  # for a module with a memory moves on
        with torch.set_grad_enabled(call.tensors[0].shape[-1] != 4):
            found = call(torch.compile(call.function, fullgraph=True, backend="eager"))
            with losskit.use_engine("torch"):
                torch.testing.assert_close(found, again(), rtol=1e-5, atol=1e-7)

    torch.compile(torch.square, fullgraph=True, backend="eager")(torch.ones(3))  # the compiler itself wakes up once, not in each fork
    forked([call for call in one_each() if not sys.argv[2:] or call.name in sys.argv[2:]], check)


def told(loss: Callable[..., Any], tensors: tuple[Any, ...], arguments: Mapping[str, Any], *_: Any) -> str:
    """What is said about a bad call. (A tensor shown in it names its dtype where that is not the default.)"""
    try:
        loss(*tensors, **arguments)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}".replace(", dtype=torch.float32", "")
    return "nothing"


def plans() -> tuple[tuple[str, list[Call]], ...]:
    """What each engine is asked. The fused one one loss of each way into it: each is a loop to compile where no other test did."""
    fused = [call for call in one_each() if (name := call.name.partition("(")[0]) in KINDS or name not in losskit.LOSSES]
    return ("cpu", [*fused, *(call for call in options() if call.name.endswith(", masked"))]), ("torch", all_settings())


def everything(plans: Iterable[tuple[str, list[Call]]]) -> dict[str, Any]:
    """What all calls give, and what is said about bad ones."""
    found: dict[str, Any] = {}
    for engine, calls in plans:
        with losskit.use_engine("torch") if engine == "torch" else nullcontext():
            found |= {f"{engine}: {call.name}": call() for call in calls}
            found |= {f"{engine}: {bad[0].__name__}, bad input {i}": told(*bad) for i, bad in enumerate(BAD)}
    return found


def defaults() -> None:
    """Everything, called first under another default device, then under another default dtype, gives the same bits on the same device in the same dtype."""

    def check(default: Any) -> None:
        here, there = plans(), plans()  # anew, for a module with a memory moves on
        if isinstance(default, torch.dtype):
            torch.set_default_dtype(default)
        with torch.device(default) if isinstance(default, str) else nullcontext():
            first = everything(there)
        torch.set_default_dtype(torch.float32)
        for name, found in everything(here).items():
            if isinstance(found, str):
                assert first[name] == found, name
            else:
                torch.testing.assert_close(first[name], found, rtol=0, atol=0, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}")

    forked(DEFAULTS, check)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
