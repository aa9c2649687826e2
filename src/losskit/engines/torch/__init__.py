"""Losses as ordinary PyTorch operations: every device, tracing and compiling, function transforms, derivatives of any order."""
