"""Optimiser steps that leave PyTorch's compiler out, whose import takes 1.7 s of every run's start.

PyTorch marks methods of its optimisers as not to be compiled, and imports the compiler in order to say so. Nothing here
compiles an optimiser. Where a version of PyTorch has these marks no more, nothing changes but that import.
"""

import inspect

import torch
import torch._compile
from torch.optim import Optimizer

# Read by `torch._compile`: what stands there is called in the place of the marked function.
_MARK = "__dynamo_disable"
# What an optimiser has of its own where somebody wants to hear of its steps.
_OWN = ("step", "_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def leave_compiler_out() -> None:
    """Take the marks off the methods that all optimisers share; once in a process is enough."""
    for method in vars(Optimizer).values():
        plain = getattr(method, "__wrapped__", None)
        if plain is not None and inspect.getmodule(getattr(method, "__code__", None)) is torch._compile:
            setattr(plain, _MARK, plain)


def step(optimizer: Optimizer) -> None:
    """Make a step as `optimizer.step()` does; one that has hooks or a `step` put in its place is called itself.

    Args:
        optimizer: with the gradients at hand; not a differentiable one.
    """
    if any(vars(optimizer).get(name) for name in _OWN):
        optimizer.step()
        return
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)
