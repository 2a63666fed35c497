"""A pool of earlier generated samples for a discriminator: Shrivastava et al., CVPR 2017 (METHODS 2.5).

While it fills, samples are stored and handed on. Once full, each new sample is handed on itself or, with probability
one half, takes the place of a stored one, which is handed on instead. The released code of PoseAug does this item by
item on the host; here a batch draws distinct places at once, on the device.
"""

from typing import Any

import torch
from torch import Tensor


class HistoryPool:
    """At most `capacity` samples of one shape; `size` of them are filled."""

    def __init__(self, capacity: int, shape: tuple[int, ...], device: torch.device | str = "cpu") -> None:
        if capacity < 1:
            raise ValueError(f"a history pool needs a capacity of at least 1, got {capacity}")
        self.samples = torch.zeros(capacity, *shape, device=device)
        self.size = 0

    @property
    def capacity(self) -> int:
        """The largest number of samples that the pool holds."""
        return len(self.samples)

    @torch.no_grad()
    def exchange(self, new: Tensor, generator: torch.Generator) -> Tensor:
        """Store new samples and return as many, some of which are older ones.

        Args:
            new: samples of the pool's shape, `[batch, ...]`.
            generator: the random generator of the places and of the choice; it has to be on the device of `new`.

        Returns:
            As many samples as were given, detached from their graph.
        """
        filling = min(self.capacity - self.size, len(new))
        stored, rest = new[:filling], new[filling:]
        self.samples[self.size : self.size + filling] = stored
        self.size += filling
        parts = [stored, *(self._swap(part, generator) for part in rest.split(self.capacity))]
        return torch.cat(parts).detach()

    def _swap(self, new: Tensor, generator: torch.Generator) -> Tensor:
        places = torch.randperm(self.capacity, generator=generator, device=new.device)[: len(new)]
        swap = torch.rand(len(new), generator=generator, device=new.device) < 0.5
        swap = swap.reshape(-1, *[1] * (new.ndim - 1))
        old = self.samples[places]
        self.samples[places] = torch.where(swap, new, old)
        return torch.where(swap, old, new)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the stored samples and their number, for a checkpoint."""
        return {"samples": self.samples.clone(), "size": self.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the samples and their number from what `state_dict` returned."""
        self.samples.copy_(state["samples"])
        self.size = state["size"]
