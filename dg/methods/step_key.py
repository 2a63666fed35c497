"""Where a batch stands in a run, and the random numbers that belong there."""

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class StepKey:
    """Where a batch stands in a run. All randomness of a step comes from it, never from a running stream, so that a
    resumed run, or one with more or fewer render workers, draws the same numbers (SYSTEMS 2.6).
    """

    seed: int
    epoch: int
    batch: int

    def number(self, purpose: str) -> int:
        """Return a 63-bit seed for one purpose of this step."""
        text = f"{self.seed}/{self.epoch}/{self.batch}/{purpose}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a new generator on a device, seeded for one purpose of this step."""
        return torch.Generator(device).manual_seed(self.number(purpose))
