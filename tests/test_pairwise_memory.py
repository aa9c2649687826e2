"""All pairs of boxes: nothing of the matrix's size besides the matrix."""

import subprocess
import sys
import textwrap

import pytest


def python(code):
    """What a fresh process prints."""
    return subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="Linux")
def test_best_match_needs_no_matrix():
    """100,000 x 300 in float32 would be 120 MB."""
    kilobytes = python("""
        import resource, torch, losskit
        torch.set_num_threads(2)
        a, b = torch.rand(100_000, 4), torch.rand(300, 4)
        losskit.best_match(a[:20_000], b)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        losskit.best_match(a, b)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """)
    assert int(kilobytes) < 20_000


@pytest.mark.thorough
def test_nothing_is_kept_beyond_the_matrix_and_the_gradients():
    """At the peak of forward and backward, in shares of the matrix."""
    share = python("""
        import torch, losskit
        from torch.profiler import profile, ProfilerActivity
        a, b = torch.rand(20_000, 4, requires_grad=True), torch.rand(500, 4, requires_grad=True)
        losskit.pairwise_iou(a[:9], b[:9]).sum().backward()
        a.grad = b.grad = None
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
            value = losskit.pairwise_iou(a, b)
            value.sum().backward()
        peak = now = 0
        for event in sorted(record.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
            if event.name() == "[memory]":
                now += event.nbytes()
                peak = max(peak, now)
        print((peak - value.nbytes - a.grad.nbytes - b.grad.nbytes) / value.nbytes)
    """)
    assert float(share) < 0.06
