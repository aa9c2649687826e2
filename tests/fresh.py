"""What tests run in a process of its own, first thing after `import losskit`: `python tests/fresh.py NAME`. Each line of the output is a call that went well."""

import os
import sys
import traceback
from collections.abc import Callable, Iterable

import torch
from calls import Call, one_each

import losskit


def forked(calls: Iterable[Call], check: Callable[[Call], None]) -> None:
    """Each call in a fork of this process, which has imported losskit and called nothing: as fresh as a new one, without the seconds that its imports take."""
    torch.set_num_threads(1)  # a thread pool does not survive a fork
    for call in calls:
        child = os.fork()
        if not child:
            try:
                check(call)
                os.write(1, f"{call.name}\n".encode())
            except BaseException:
                os.write(2, f"{call.name}: {traceback.format_exc()}\n".encode())
            os._exit(0)
        os.waitpid(child, 0)


def compiled() -> None:
    """Every public function, compiled before anything else is called, gives what PyTorch's operations give. (Of boxes the value only: see test_boxes_contract.)"""

    def check(call: Call) -> None:
        again = next(c for c in one_each() if c.name == call.name)  # a module with a memory has moved on
        with torch.set_grad_enabled(call.tensors[0].shape[-1] != 4):
            found = call(torch.compile(call.function, fullgraph=True, backend="eager"))
            with losskit.use_engine("torch"):
                torch.testing.assert_close(found, again(), rtol=1e-5, atol=1e-7)

    torch.compile(torch.square, fullgraph=True, backend="eager")(torch.ones(3))  # the compiler itself wakes up once, not in each fork
    forked(one_each(), check)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
