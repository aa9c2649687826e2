"""What every test shares: the losses with their settings, the engines, and Triton's interpreter switched on before anything imports Triton."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import contextlib
import gc
import signal
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import interpreter
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


# what these show is no matter of the engine: `make test` runs them in PyTorch operations, `make test-all` on whatever losskit chooses, too
ANYWHERE = {
    "test_absent",
    "test_adaptive",
    "test_advice",
    "test_bad_input",
    "test_boxes_contract",
    "test_boxes_in_space",
    "test_boxes_laws",
    "test_boxes_total",
    "test_claims",
    "test_claims_binary",
    "test_claims_classification",
    "test_claims_detection",
    "test_claims_pairwise",
    "test_claims_products",
    "test_claims_regression",
    "test_claims_segmentation",
    "test_class_vectors",
    "test_cli_bad_files",
    "test_cli_compare",
    "test_cli_eval",
    "test_combined",
    "test_compat",
    "test_compose",
    "test_configured",
    "test_contrastive",
    "test_contrastive_peers",
    "test_contributing",
    "test_counts",
    "test_denominators",
    "test_detection_scores",
    "test_distance",
    "test_docs",
    "test_embedding",
    "test_guide_products",
    "test_guides",
    "test_identities",
    "test_integrations_guide",
    "test_integrations_loops",
    "test_integrations_transformers",
    "test_integrations_vision",
    "test_laws",
    "test_learned",
    "test_learned_class_weights",
    "test_learned_weights",
    "test_likelihoods",
    "test_margin_ranking",
    "test_margin_softmax",
    "test_margins",
    "test_modules",
    "test_mutations",
    "test_names",
    "test_one_class",
    "test_operands",
    "test_options",
    "test_overlap_laws",
    "test_overlap_losses",
    "test_overlap_sums",
    "test_properties",
    "test_quantiles",
    "test_reviewed",
    "test_reviewed_again",
    "test_rounded_once",
    "test_row_laws",
    "test_row_operands",
    "test_sampled_classes",
    "test_site_examples",
    "test_ssim",
    "test_supervision",
    "test_switching",
    "test_together",
    "test_topk",
    "test_tour",
    "test_tour_coins",
    "test_tour_products",
    "test_tour_report",
    "test_weights",
    "test_wiou_v3",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """The engine of `make test`, for a test and what it is given."""
    plain = item.config.option.markexpr == "not thorough" and is_anywhere(item)
    with losskit.use_engine("torch") if plain else contextlib.nullcontext():
        return (yield)


def is_anywhere(item: Any) -> bool:
    """Whether a test is an example of a docstring or in one of these files, and not about the engine: marked `chosen`, or a docstring of the contract."""
    if isinstance(item, pytest.DoctestItem):
        return item.path.parent.name != "contract"
    return item.path.stem in ANYWHERE and item.get_closest_marker("chosen") is None


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A loss with settings under one engine: parametrize with (case, engine), `indirect=True`; engine None lets losskit choose."""
    case, engine, *dtype = request.param
    force: Any = losskit.use_engine(engine) if engine else contextlib.nullcontext()
    with force:
        yield Subject(case.loss.function, case.loss, case.settings, dtype[0] if dtype else torch.float32, engine)


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a table marked `sparse(k)`, `make test` runs every k-th row; where it begins differs from test to test, so that they look at different losses.
    What may run anywhere does not run in a loop for its own sake.
    """
    tables = defaultdict(list)
    for item in items:
        sparse = item.get_closest_marker("sparse")
        if is_anywhere(item) and "cpu" in [value for value in row_of(item) if isinstance(value, str)]:
            item.add_marker("thorough")
        elif sparse is not None and item.get_closest_marker("thorough") is None:
            tables[item.nodeid.partition("[")[0], sparse.args[0]].append(item)
    for (name, step), rows in tables.items():
        first = zlib.crc32(name.encode()) % min(step, len(rows))
        for turn, item in enumerate(rows):
            if (turn - first) % step:
                item.add_marker("thorough")


def pytest_collection_finish() -> None:
    """By now Triton is imported, if a test needs it. What is there stays; looking through it for garbage again and again took a tenth of the time."""
    interpreter.prepare_once()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_unconfigure() -> None:
    """What stayed goes with the process, and libraries that count see that it does."""
    gc.unfreeze()


def row_of(item: Any) -> list[Any]:
    """What a test is given."""
    return list(item.callspec.params.values()) if hasattr(item, "callspec") else []


def pytest_make_parametrize_id(val: object) -> str | None:
    """Readable test names."""
    if isinstance(val, Case):
        return str(val)
    if isinstance(val, tuple) and val and isinstance(val[0], Case):
        return "-".join(str(v).removeprefix("torch.") for v in val)
    return None
