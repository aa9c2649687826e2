"""Fused loops on the CPU: Numba kernels on PyTorch's own thread pool."""
