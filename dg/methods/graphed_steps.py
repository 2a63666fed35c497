"""Training steps as CUDA graphs: recorded once, then started by one call in the place of a thousand.

A step is recorded as a whole, from the batch to the optimiser: `make_graphed_callables` would leave the losses, the
clipping and the optimisers to be launched one by one, and `torch.compile` would have to trace generators of random
numbers, changes of buffers and three optimisers. What a recording must not depend on reaches it in tensors that keep
their place: the batch is copied into them, and numbers that change from step to step (learning rates) are written
there. Random numbers come from generators that are seeded anew before each replay, and dropout's from torch's own
stream, which PyTorch hands on to a graph; so they are those of the plain step.

Nothing here has run on a GPU so far, and a step that is wrong must not be taken. So a graph has to prove itself, where
it runs, before it is used:

1. The first steps are plain ones; the last of them must not wait for the device, which a graph cannot.
2. The next one is recorded, and then made plainly.
3. On the one after it, another batch, the graph is replayed, everything is put back as it was, and the plain step is
   made. Only if both left the same bits in every tensor of the method and in the random stream is the graph used.

An error in the second or third ends all recording, for what PyTorch keeps for a capture may then be out of order (with
PyTorch 2.11 the random stream stays closed, and the capture's stream stays the current one); a difference ends that of
the step in question. Either is told in one note, and the run goes on with plain steps, of which none was lost or made
twice.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import torch
from torch import Tensor

from dg.methods.step_key import StepKey
from dg.pose.batch import PoseBatch
from dg.pose.camera import Camera
from dg.pose.devices import global_stream

WARM_UP = 3  # plain steps before a recording
MOST = 6  # recordings of one step: with discriminators and without, in the warm-up and after it, and to spare

Given: TypeAlias = tuple[PoseBatch | Tensor | None, ...]
Scalars: TypeAlias = Mapping[str, float | Tensor]
Found: TypeAlias = dict[str, Any]  # tensors; None only in a step that is never recorded
Work: TypeAlias = Callable[[Given, Scalars, StepKey | None], Found]
Recorded: TypeAlias = tuple[Callable[[], object], Found]


class Recorder(ABC):
    """What records and replays: a GPU (`dg.methods.cuda_recorder`), or in tests a stand-in for one."""

    @abstractmethod
    def aside(self) -> AbstractContextManager[list[str]]:
        """Return a context for steps that prepare a recording, which ends with a list of what waited in them."""

    @abstractmethod
    def record(self, work: Callable[[], Found], generators: list[torch.Generator]) -> Recorded:
        """Record work that may draw from these generators.

        Returns:
            What replays the work, and what the work returned: the tensors that each replay writes to.
        """


class GraphedSteps:
    """The steps of one method, recorded where there is a recorder.

    Args:
        device: of the method.
        recorder: records and replays; None: all steps are plain.
        state: lists every tensor that a step may write to, always in the same order.

    Attributes:
        note: is told, once, why a step is not replayed.
        replayed: steps that were made by a replay, by name.
    """

    def __init__(self, device: torch.device, recorder: Recorder | None, state: Callable[[], list[Tensor]]) -> None:
        self.device, self.recorder, self.state = device, recorder, state
        self.note: Callable[[str], object] = warnings.warn
        self.replayed: dict[str, int] = {}
        self._steps: dict[tuple, _Step] = {}
        self._plain: set[str] = set()

    def reset(self) -> None:
        """Forget all recordings: the tensors that they write to are no longer those of the method."""
        self._steps.clear()

    def take(
        self, name: str, work: Work, given: Given, scalars: Scalars, key: StepKey | None = None, turn: tuple = ()
    ) -> Found:
        """Make a step: plainly, or by replaying what was recorded of an earlier one.

        Args:
            name: of the step.
            work: makes it. It changes tensors of the method's state in place and nothing else; on the host it decides
                by `turn` and by the layout of its arguments alone.
            given: the poses and tensors that it is given.
            scalars: numbers that change from step to step; in a recording they are tensors without axes.
            key: the source of its random numbers.
            turn: what else it decides by.

        Returns:
            What the work returned, as tensors that are not written to again.
        """
        if self.recorder is None or name in self._plain:
            return work(given, scalars, key)
        layout = (name, turn, *scalars, *map(_layout, given))
        step = self._steps.setdefault(layout, _Step(name, work))
        step.calls += 1
        if step.proven:
            return self._replay(step, given, scalars, key)
        if step.replay is not None:
            return self._prove(step, given, scalars, key)
        if step.calls > WARM_UP:
            if not self._room(name):
                return work(given, scalars, key)
            self._record(step, given, scalars, key)
        return self._plainly(step, given, scalars, key)

    def _room(self, name: str) -> bool:
        return sum(step.name == name and step.replay is not None for step in self._steps.values()) < MOST

    def _plainly(self, step: "_Step", given: Given, scalars: Scalars, key: StepKey | None) -> Found:
        if self.recorder is None:
            return step.work(given, scalars, key)
        noting = None if key is None else _Noting(key)
        with self.recorder.aside() as waits:
            found = step.work(given, scalars, noting)
        step.draws = [] if noting is None else noting.draws
        if step.calls == WARM_UP and waits:
            self._give_up(step.name, f"it waits for the device ({waits[0]})")
        return found

    def _record(self, step: "_Step", given: Given, scalars: Scalars, key: StepKey | None) -> None:
        assert self.recorder is not None
        before = _Snapshot(self)
        try:
            step.prepare(given, scalars, self.device)
            step.fill(given, scalars, key)
            step.replay, step.found = self.recorder.record(step.recorded, [g for _, g in step.generators])
        except Exception as error:
            self._give_up(None, f"recording it failed with {_line(error)}", step.name)
        finally:
            before.restore()

    def _prove(self, step: "_Step", given: Given, scalars: Scalars, key: StepKey | None) -> Found:
        before, made, after = _Snapshot(self), None, None
        try:
            made = self._replay(step, given, scalars, key)
            after = _Snapshot(self)
        except Exception as error:
            self._give_up(None, f"replaying it failed with {_line(error)}", step.name)
        finally:
            before.restore()
        found = self._plainly(step, given, scalars, key)
        if made is None or after is None:
            return found
        self.replayed[step.name] -= 1
        wrong = [name for name, value in found.items() if not _same(value, made[name])]
        wrong += after.differences(_Snapshot(self))
        if wrong:
            self._give_up(step.name, f"its replay differs from it in {len(wrong)} tensors ({wrong[0]})")
        step.proven = not wrong
        return found

    def _replay(self, step: "_Step", given: Given, scalars: Scalars, key: StepKey | None) -> Found:
        step.fill(given, scalars, key)
        assert step.replay is not None
        step.replay()
        self.replayed[step.name] = self.replayed.get(step.name, 0) + 1
        return _copies(step.found)

    def _give_up(self, name: str | None, why: str, told: str = "") -> None:
        """End the recording of one step, or for None of all."""
        if name is None:
            self.recorder = None
            self._steps.clear()
        else:
            self._plain.add(name)
            self._steps = {layout: step for layout, step in self._steps.items() if step.name != name}
        which = "all steps go" if name is None else "it goes"
        self.note(
            f"CUDA graphs: the step of the {name or told} cannot be replayed, {why}; from here on {which} without one. "
            "The numbers are the same; graphs=off says so from the start"
        )


@dataclass
class _Step:
    """One step with one layout of its arguments."""

    name: str
    work: Work
    calls: int = 0
    draws: list[tuple[str, torch.device | str]] = field(default_factory=list)  # purposes, in their order
    given: Given = ()
    scalars: dict[str, Tensor] = field(default_factory=dict)
    generators: list[tuple[str, torch.Generator]] = field(default_factory=list)
    replay: Callable[[], object] | None = None
    found: Found = field(default_factory=dict)
    proven: bool = False

    def prepare(self, given: Given, scalars: Scalars, device: torch.device) -> None:
        """Make the tensors and generators that the recording will know."""
        # Fused optimisers take a rate in single precision from a GPU, and as it is from the host.
        precision = torch.float32 if device.type == "cuda" else torch.float64
        self.given = tuple(map(_copied, given))
        self.scalars = {name: torch.zeros((), dtype=precision, device=device) for name in scalars}
        self.generators = [(purpose, _new_generator(where)) for purpose, where in self.draws]

    def recorded(self) -> Found:
        return self.work(self.given, self.scalars, _Seeded(self.generators))

    def fill(self, given: Given, scalars: Scalars, key: StepKey | None) -> None:
        """Give a replay this step's batch, numbers and seeds."""
        kinds: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for ours, new in zip(_tensors(self.given), _tensors(given), strict=True):
            both = kinds.setdefault(ours.dtype, ([], []))
            both[0].append(ours)
            both[1].append(new)
        for ours, new in kinds.values():
            torch._foreach_copy_(ours, new)  # pyright: ignore[reportPrivateImportUsage] - one launch for all of a type
        for name, value in scalars.items():
            self.scalars[name].fill_(value)
        for purpose, generator in self.generators:
            assert key is not None
            generator.manual_seed(key.number(purpose))


class _Noting(StepKey):
    """A key that notes what it was asked for."""

    def __init__(self, key: StepKey) -> None:
        super().__init__(key.seed, key.epoch, key.batch)
        self.__dict__["draws"] = []

    draws: list[tuple[str, torch.device | str]]

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        self.draws.append((purpose, device))
        return super().generator(purpose, device)


class _Seeded(StepKey):
    """A key that hands out generators which exist already, in the order in which they were asked for before."""

    def __init__(self, generators: list[tuple[str, torch.Generator]]) -> None:
        super().__init__(0, 0, 0)
        self.__dict__["left"] = list(generators)

    left: list[tuple[str, torch.Generator]]

    def number(self, purpose: str) -> int:
        raise RuntimeError(f"the number for {purpose} would stay the same in all replays")

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        if not self.left or self.left[0][0] != purpose:
            raise RuntimeError(f"random numbers for {purpose} were not asked for at this place before")
        return self.left.pop(0)[1]


class _Snapshot:
    """What a step may change, as it is now."""

    def __init__(self, steps: GraphedSteps) -> None:
        self.steps = steps
        self.tensors = [tensor.detach().clone() for tensor in steps.state()]
        self.stream = global_stream(steps.device).get_state()

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, value in zip(self.steps.state(), self.tensors, strict=True):
            tensor.copy_(value)
        global_stream(self.steps.device).set_state(self.stream)

    def differences(self, other: "_Snapshot") -> list[str]:
        pairs = enumerate(zip(self.tensors, other.tensors, strict=True))
        wrong = [f"tensor {number} of its state" for number, (one, two) in pairs if not _same(one, two)]
        return wrong + ([] if torch.equal(self.stream, other.stream) else ["the random stream"])


def _copies(found: Found) -> Found:
    """The same tensors, which the next replay does not write to; single numbers, of which there are many, at once."""
    single = [name for name, value in found.items() if not value.ndim and value.dtype == torch.float32]
    numbers = torch.stack([found[name] for name in single]).unbind() if single else ()
    copied = dict(zip(single, numbers, strict=True))
    return {name: copied[name] if name in copied else value.clone() for name, value in found.items()}


def _new_generator(device: torch.device | str) -> torch.Generator:
    return torch.Generator(device)


def _same(one: Tensor, two: Tensor) -> bool:
    return bool(((one == two) | (one.isnan() & two.isnan())).all())


def _tensors(value: Any) -> list[Tensor]:  # noqa: ANN401 - an argument of a step, or several
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, PoseBatch | Camera):
        value = [getattr(value, f.name) for f in fields(value)]
    return [tensor for part in value for tensor in _tensors(part)] if isinstance(value, list | tuple) else []


def _layout(value: PoseBatch | Tensor | None) -> object:
    """All that a step may decide by on the host."""
    shapes = [(tensor.shape, tensor.dtype, tensor.device) for tensor in _tensors(value)]
    if not isinstance(value, PoseBatch):
        return tuple(shapes)
    present = tuple(f.name for f in fields(value) if getattr(value, f.name) is not None)
    return (*shapes, present, value.camera.pinhole)


def _copied(value: PoseBatch | Tensor | None) -> PoseBatch | Tensor | None:
    """The same in tensors of their own. Which rows are usable is not known of them: the next batch's are others."""
    if isinstance(value, PoseBatch):
        return value.replace()[torch.arange(len(value), device=value.valid.device)]
    return None if value is None else value.clone()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
