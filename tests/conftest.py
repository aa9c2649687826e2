"""What every test shares: the losses with their settings, the engines, and Triton's interpreter switched on before anything imports Triton."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from cases import Case

import losskit
from losskit.testing import Subject

if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is deaf to Ctrl-C, and so would be the processes that tests start

pytest.register_assert_rewrite("touching")  # imported by the files that have it as their plugin, before pytest sees that they do


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Tests that change the number of threads leave no trace."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(2)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A loss with settings under one engine: parametrize with (case, engine), `indirect=True`; engine None lets losskit choose."""
    case, engine, *dtype = request.param
    force: Any = losskit.use_engine(engine) if engine else contextlib.nullcontext()
    with force:
        yield Subject(case.loss.function, case.loss, case.settings, dtype[0] if dtype else torch.float32, engine)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Readable test names."""
    if isinstance(val, Case):
        return str(val)
    if isinstance(val, tuple) and val and isinstance(val[0], Case):
        return "-".join(str(v).removeprefix("torch.") for v in val)
    return None
