"""Fused loops on NVIDIA and AMD GPUs: Triton kernels, which also run under its interpreter on a CPU."""
