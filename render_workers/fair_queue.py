"""Whose turn it is: the requests of several owners in one queue, served by start-time fair queueing.

Goyal, Vin and Cheng, "Start-time Fair Queuing" (SIGCOMM 1996), with equal weights: the owner whose next request began
earliest on a clock of served poses comes first. With requests of one size that is round-robin. An owner that was idle
starts at the clock's present, so that it cannot save up turns.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass
class _Line(Generic[Item]):
    """An owner's requests in their order. served: where on the clock its next one begins, poses."""

    served: float = 0.0
    items: deque[tuple[int, Item]] = field(default_factory=deque)


class FairQueue(Generic[Item]):
    """Requests of one owner stay in order; owners share alike, counted in poses."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line[Item]] = {}
        self._clock = 0.0

    def __len__(self) -> int:
        return sum(len(line.items) for line in self._lines.values())

    def push(self, owner: str, poses: int, item: Item) -> None:
        """Put a request behind the others of its owner."""
        line = self._lines.setdefault(owner, _Line())
        if not line.items:
            line.served = max(line.served, self._clock)
        line.items.append((poses, item))

    def pop(self) -> Item:
        """The next request. Raises IndexError when there is none."""
        waiting = [line for line in self._lines.values() if line.items]
        if not waiting:
            raise IndexError("pop from an empty queue")
        line = min(waiting, key=lambda candidate: candidate.served)
        poses, item = line.items.popleft()
        self._clock = line.served
        line.served += poses
        return item

    def drop(self, owner: str) -> Iterable[Item]:
        """Forget an owner; its requests, which nobody waits for any more."""
        line = self._lines.pop(owner, _Line())
        return [item for _, item in line.items]
