"""Dropout is the one thing that draws from PyTorch's global stream; each step restarts it from its own key."""

import torch

from dg.methods.base import StepKey


def restart_dropout(key: StepKey) -> None:
    """Seed the global stream for one update, so that a resumed run drops the same units as an uninterrupted one."""
    torch.manual_seed(key.number("dropout"))
