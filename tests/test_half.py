"""Half precision in and out of registers, every 16-bit number and both ways of doing it, against PyTorch's own conversions."""

import llvmlite.binding as llvm
import numba as nb
import numpy as np
import pytest
import torch

from losskit.engines.cpu.core import half

FEATURES, VERSION = llvm.get_host_cpu_features(), llvm.llvm_version_info[0]
WAYS = {"integers": half.conversions({}, VERSION), "this processor": half.conversions(FEATURES, VERSION)}


def over_all(function, result):
    @nb.njit
    def run(numbers):
        out = np.empty(numbers.size, result)
        for i in range(numbers.size):
            out[i] = function(numbers[i])
        return out

    return run


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_every_number_is_read_and_written_back(way, dtype):
    widen, narrow = WAYS[way][str(dtype)[6:]]
    every = np.arange(1 << 16, dtype=np.uint16)
    expected = torch.from_numpy(every.view(np.int16)).view(dtype).float()
    wide = over_all(widen, np.float32)(every)
    assert np.array_equal(wide, expected.numpy(), equal_nan=True)
    back = over_all(narrow, np.uint16)(wide)
    numbers = ~np.isnan(wide)
    if dtype is torch.bfloat16 and way == "this processor" and FEATURES.get("avx512bf16"):
        tiny = (np.abs(wide) < np.finfo(np.float32).tiny) & numbers
        assert not np.any(back[tiny] & 0x7FFF)  # written as 0, as half.py says
        numbers &= ~tiny
    assert np.array_equal(back[numbers], every[numbers])
    assert torch.from_numpy(back.view(np.int16)).view(dtype)[torch.from_numpy(np.isnan(wide))].isnan().all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_rounding_is_to_nearest_even(way, dtype):
    """Halfway points between neighbours and their own neighbours, over the whole range, and random bits."""
    every = torch.arange(0, 1 << 15, dtype=torch.int16).view(dtype).float()
    every = every[every.isfinite()].double()
    half_way = ((every[1:] + every[:-1]) / 2).float()
    bits = torch.randint(-(2**31), 2**31 - 1, (1 << 18,), dtype=torch.int32, generator=torch.Generator().manual_seed(0)).view(torch.float32)
    candidates = torch.cat([half_way, torch.nextafter(half_way, torch.tensor(0.0)), torch.nextafter(half_way, torch.tensor(torch.inf)), bits])
    candidates = torch.cat([candidates, -candidates, torch.tensor([65504.0, 65519.996, 65520.0, 1e9, 3.3961e38, 3.4028e38, torch.inf])])
    candidates = candidates[~candidates.isnan() & ((candidates == 0) | (candidates.abs() >= torch.finfo(torch.float32).tiny))]
    _, narrow = WAYS[way][str(dtype)[6:]]
    ours = torch.from_numpy(over_all(narrow, np.uint16)(candidates.numpy()).view(np.int16)).view(dtype)
    assert torch.equal(ours, candidates.to(dtype))
