"""NVIDIA Warp: its start in a process, launching on torch tensors, and kernels of the worker."""
