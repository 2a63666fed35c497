import subprocess
import sys

import pytest
import torch

from dg.methods.light_steps import leave_compiler_out, step

OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.1, fused=True),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1, fused=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_leaves_the_bits_of_pytorchs_own(name):
    leave_compiler_out()
    first = torch.randn(5, 3)
    weights = [first.clone().requires_grad_() for _ in range(2)]
    ours, theirs = (OPTIMIZERS[name]([w]) for w in weights)
    for _ in range(4):
        gradient = torch.randn(5, 3)
        for weight, optimizer in zip(weights, (ours, theirs), strict=True):
            optimizer.zero_grad(set_to_none=True)
            weight.grad = gradient.clone()
        step(ours)
        theirs.step()
    assert torch.equal(*weights)
    assert weights[0].requires_grad
    ours.load_state_dict(theirs.state_dict())
    assert str(ours.state_dict()) == str(theirs.state_dict())


def test_who_hooks_into_a_step_hears_of_it():
    told = []
    weight = torch.ones(3, requires_grad=True)
    hooked, replaced = (torch.optim.Adam([weight]) for _ in range(2))
    hooked.register_step_pre_hook(lambda *given: told.append("pre"))
    hooked.register_step_post_hook(lambda *given: told.append("post"))
    replaced.step = lambda: told.append("mine")
    step(hooked)
    step(replaced)
    assert told == ["pre", "post", "mine"]


ALONE = """
import sys
import torch
from dg.methods.light_steps import leave_compiler_out, step
leave_compiler_out()
weight = torch.ones(3, requires_grad=True)
for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop):
    optimizer = kind([weight])
    optimizer.zero_grad(set_to_none=True)
    weight.sum().backward()
    step(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
print(weight.max().item() < 1, "torch._dynamo" in sys.modules)
"""


@pytest.mark.long
def test_optimisers_do_not_import_pytorchs_compiler():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False"], done.stderr
