"""The simulated GPU refuses what a GPU refuses, and sees what waits for one."""

import pytest
import torch
from torch import nn

from tests.simulated_gpu import GPU, simulated_gpu

REFUSED = {
    "a sum": (lambda here, there: there + here, "same device"),
    "a product": (lambda here, there: there @ here, "same device"),
    "joining": (lambda here, there: torch.cat([there, here]), "same device"),
    "a choice": (lambda here, there: torch.where(there > 0, here, there), "same device"),
    "an index of the GPU on the CPU": (lambda here, there: here[there.long()], "same device"),
    "numpy": (lambda here, there: there.numpy(), "numpy"),
    "a generator of the CPU": (lambda here, there: torch.rand(3, device=GPU, generator=torch.Generator()), "generator"),
    "a generator of the GPU": (lambda here, there: torch.rand(3, generator=torch.Generator("cuda")), "generator"),
    "a layer of the CPU": (lambda here, there: nn.Linear(3, 3)(there), "same device"),
}
WAITING = {
    "item": lambda here, there: there.sum().item(),
    "bool": lambda here, there: bool((there > 0).any()),
    "a mask": lambda here, there: there[there > 0],
    "nonzero": lambda here, there: there.nonzero(),
    "numbers": lambda here, there: torch.tensor([1.0, 2.0], device=there.device),
    "a list as an index": lambda here, there: there[[0, 2]],
    "home": lambda here, there: there.cpu(),
    "there": lambda here, there: here.to("cuda"),
    "into a tensor there": lambda here, there: there.copy_(here),
}
FREE = {
    "arithmetic": lambda here, there: (there * 2 + 1).sum(),
    "a number of the host": lambda here, there: there + torch.tensor(1.0),
    "random numbers": lambda here, there: torch.rand(3, device=GPU, generator=torch.Generator("cuda")),
    "a slice": lambda here, there: there[1:, None],
    "a copy that is not awaited": lambda here, there: here.pin_memory().to(GPU, non_blocking=True),
}


@pytest.mark.parametrize("what", REFUSED)
def test_it_refuses(what):
    work, reason = REFUSED[what]
    with simulated_gpu():
        here, there = torch.ones(3, 3), torch.ones(3, 3, device="cuda")
        with pytest.raises((RuntimeError, TypeError), match=reason):
            work(here, there)


@pytest.mark.parametrize(("what", "waits"), [*((w, True) for w in WAITING), *((w, False) for w in FREE)])
def test_it_sees_what_waits(what, waits):
    with simulated_gpu() as seen:
        here, there = torch.ones(3, 3), torch.ones(3, 3, device="cuda")
        seen.clear()
        (WAITING | FREE)[what](here, there)
        assert bool(seen) == waits, dict(seen)


def test_a_network_learns_on_it_what_it_learns_on_the_cpu():
    def learned(device):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)).to(device)
        optimizer = torch.optim.Adam(network.parameters(), fused=True)
        x = torch.linspace(-1, 1, 64).view(16, 4).to(device)
        for _ in range(3):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
        assert all(p.device.type == torch.device(device).type for p in network.parameters())
        return [p.detach().cpu() for p in network.parameters()]

    expected = learned("cpu")
    with simulated_gpu():
        found = learned("cuda")
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert not torch.cuda.is_available()
