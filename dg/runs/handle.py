"""An experiment under way, seen from its driver: in a thread of this process, or in a trainer actor on Ray."""

import hashlib
import os
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.cluster.guardian import Guardian
from dg.cluster.resources import amounts, shares_cores, trainer_ask
from dg.cluster.store_watch import ClusterLostError, StoreWatch
from dg.runs.trainer_actor import KeepsLifter, TrainerActor, run_folders, start_workers
from dg.settings.config import RunInfo, TrainConfig
from dg.settings.cores import cores_here
from dg.settings.errors import exit_code

if TYPE_CHECKING:
    from dg.cluster.session import RaySession

TRAINER_PREFIX = "trainer-"
POLL_S = 0.25
ANSWER_S = 5.0  # the trainer answers within, unless it is stopped or gone
SILENT_S = 15.0  # after so long without an answer it is said
CHECKPOINT_S = 45.0  # without a control store, the trainer has so long to write one; Ray ends it after 60 s
PLACE_S = 45.0  # the trainer must have found a place by then
NAME_S = 15.0  # Ray takes so long at most to clear away the trainer of a driver that was killed


class RunHandle(ABC):
    """`poll` waits a moment for progress; `result` is for when the run has `finished`."""

    @abstractmethod
    def poll(self) -> list[dict[str, Any]]:
        """Progress records since the last call."""

    @abstractmethod
    def finished(self) -> bool:
        """Return whether the run has ended, with a summary or with an error."""

    @abstractmethod
    def stop(self) -> None:
        """Ask the run to checkpoint and end."""

    @abstractmethod
    def result(self) -> dict[str, Any]:
        """The summary; raises what the run raised."""

    @abstractmethod
    def close(self) -> None:
        """End what still runs; nothing is left behind."""


class LocalRun(RunHandle):
    """In this process, in a thread, so that the main thread shows progress and sees signals."""

    def __init__(self, config: TrainConfig, info: RunInfo, model: KeepsLifter) -> None:
        folders = run_folders(config, info)
        self._guardian = Guardian(folders[0], folders=folders[1:])
        self._guardian.watch(os.getpid())
        self._actor = TrainerActor(config, info, model)
        self._outcome: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome["summary"] = self._actor.run()
        except BaseException as error:  # handed to the main thread, which raises it
            self._outcome["error"] = error

    def poll(self) -> list[dict[str, Any]]:
        """Wait up to `POLL_S` seconds for the thread to end, then return the progress records so far."""
        self._thread.join(POLL_S)
        return self._actor.poll()

    def finished(self) -> bool:
        """Return whether the thread has ended."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Set the stop flag of the trainer in this process."""
        self._actor.stop()

    def result(self) -> dict[str, Any]:
        """Return the summary that the thread left, or raise the error that ended it."""
        if "error" in self._outcome:
            raise self._outcome["error"]
        return self._outcome["summary"]

    def close(self) -> None:
        """Release the guardian if the thread has ended; a thread that still runs stays under its watch."""
        # A thread that still runs cannot be ended: its guardian waits for the end of the process.
        if self.finished():
            self._guardian.release()


class RayRun(RunHandle):
    """In a trainer actor. The actor's own threads serve `poll` and `stop` while it trains.

    Raises ResourceError when a run in the same folder is going on in the cluster.
    """

    def __init__(
        self, config: TrainConfig, info: RunInfo, model: KeepsLifter, session: "RaySession", gpus: float
    ) -> None:
        import ray
        from ray import exceptions

        self._ray, self._exceptions, self._session, self._out = ray, exceptions, session, info.out
        self.ask = trainer_ask(gpus, session.resources())
        custom = {name: amount for name, amount in self.ask.items() if name not in ("CPU", "GPU")}
        options = {
            "num_cpus": 1, "num_gpus": gpus, "resources": custom, "max_restarts": 0, "max_concurrency": 4,
            "runtime_env": {"env_vars": trainer_environment(config, gpus)},
        }  # fmt: skip
        self.actor = _named_actor(info, options, (config, info, model, session.guardian is not None))
        self._place = self.actor.place.remote()
        self._since = self._answered = time.monotonic()
        self._store = StoreWatch(ray.get_runtime_context().gcs_address)
        self._lost_since: float | None = None
        # In a cluster of its own the run ends with this process, so that render actors may be this process' too: they
        # start beside the trainer's process, and not after it.
        self._running = self.actor.run.remote(start_workers(config, info) if session.own else [])
        self._where, self._silence_told = "process not known", False

    def poll(self) -> list[dict[str, Any]]:
        """Return the records of the trainer actor, together with notes on a lost or silent cluster."""
        self._ray.wait([self._running], timeout=POLL_S)
        if self._place is not None and not self._placed():
            return []
        notes = self._notes()
        try:
            records = self._ray.get(self.actor.poll.remote(), timeout=ANSWER_S)
        except self._exceptions.RayError:
            return notes  # `result` tells why
        self._answered, self._silence_told = time.monotonic(), False
        return [*notes, *records]

    def _notes(self) -> list[dict[str, Any]]:
        """What the driver itself has to say: the control store is gone, or the trainer does not answer."""
        if self._lost_since is None and self._store.lost():
            self._lost_since = time.monotonic()
            self.stop()  # calls go from process to process, without the store
            return [_note("the Ray cluster's control store does not answer: the run writes a checkpoint and ends")]
        silent = time.monotonic() - self._answered
        if silent > SILENT_S and not self._silence_told:
            self._silence_told = True
            return [_note(f"the trainer ({self._where}) has not answered for {silent:.0f} s")]
        return []

    def _placed(self) -> bool:
        """Whether the trainer's process runs. Raises ResourceError when the cluster has no place for it, or when its
        nodes do not run what this driver runs.
        """
        if self._ray.wait([self._place], timeout=0)[0]:
            place, self._place = self._place, None
            self._session.check_versions()  # first: they may be why it has failed
            try:
                found = self._ray.get(place)
            except self._exceptions.RayError:
                return True  # `result` tells why
            pid, self._where = found["pid"], f"process {found['pid']} on {found['node']}"
            self._answered = time.monotonic()
            if self._session.guardian is not None:
                self._session.guardian.watch(pid)
            return True
        if time.monotonic() - self._since > PLACE_S:
            self._since = time.monotonic()
            self._check_place()
        return False

    def _check_place(self) -> None:
        from render_workers.pool_options import ResourceError

        ask = {name: amount for name, amount in self.ask.items() if amount}
        total, free = self._ray.cluster_resources(), self._ray.available_resources()
        if any(free.get(name, 0) < amount for name, amount in ask.items()):
            found = ", ".join(f"{total.get(name, 0):g} {name} ({free.get(name, 0):g} free)" for name in ask)
            raise ResourceError(
                f"cannot start: asked for a trainer with {amounts(ask)}; after {PLACE_S:g} s the cluster has {found}\n"
                "  try: wait for the run that holds them (dg status shows it) | more nodes "
                "(max_workers in cluster.yaml) | device=cpu"
            )

    def finished(self) -> bool:
        """Return whether the actor has ended, or the control store has been gone for longer than `CHECKPOINT_S`."""
        if self._ray.wait([self._running], timeout=0)[0]:
            return True
        return self._lost_since is not None and time.monotonic() - self._lost_since > CHECKPOINT_S

    def stop(self) -> None:
        """Send the trainer actor the request to stop; its reply is not awaited."""
        self.actor.stop.remote()

    def result(self) -> dict[str, Any]:
        """Return the actor's summary; raise its error, ClusterLostError, or RuntimeError where the actor died."""
        if self._lost_since is not None:
            ended = self._ray.wait([self._running], timeout=0)[0]
            kept = "a checkpoint was written" if ended else "the last checkpoint was written before"
            raise ClusterLostError(f"the Ray cluster's control store has gone; {kept}")
        try:
            return self._ray.get(self._running)
        except self._exceptions.RayTaskError as error:
            if exit_code(error.cause) is not None or isinstance(error.cause, OSError):
                raise error.cause from None
            raise
        except self._exceptions.RayActorError as error:
            kept = self._session.keep_logs(Path(self._out))
            raise RuntimeError(
                f"the trainer actor died: {error}; give the same command with resume=auto to go on"
                + (f"; Ray's logs are in {kept}" if kept is not None else "")
            ) from error

    def close(self) -> None:
        """Kill the trainer actor without a restart."""
        self._ray.kill(self.actor, no_restart=True)


def trainer_environment(config: TrainConfig, gpus: float) -> dict[str, str]:
    """The environment variables of a trainer actor: with num_cpus=1 Ray would give it a single torch thread for ever,
    and with num_gpus=0 every GPU of its node, those of others included.

    Args:
        config: of the run.
        gpus: GPUs that are reserved for the trainer; Ray shows it these alone.
    """
    environment = {"OMP_NUM_THREADS": str(config.threads or cores_here())}
    if shares_cores(config):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"  # a thread that waits for others sleeps, and leaves its core
    return environment if gpus > 0 else environment | {"CUDA_VISIBLE_DEVICES": ""}


def _note(text: str) -> dict[str, Any]:
    return {"kind": "note", "text": text}


def trainer_name(info: RunInfo) -> str:
    """The actor's name: one a folder, so that two runs never write to one. A run of the same name elsewhere is fine."""
    digest = hashlib.blake2b(info.out.encode(), digest_size=4).hexdigest()
    return f"{TRAINER_PREFIX}{info.run_name}-{digest}"


def _named_actor(info: RunInfo, options: dict[str, Any], arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401 - Ray's
    import ray

    from dg.cluster.session import NAMESPACE
    from render_workers.pool_options import ResourceError

    remote: Any = ray.remote(TrainerActor).options(**options, name=trainer_name(info), namespace=NAMESPACE)
    give_up = time.monotonic() + NAME_S
    while True:
        try:
            return remote.remote(*arguments)
        except ValueError as error:
            if "taken" not in str(error):
                raise
            if time.monotonic() > give_up:
                raise ResourceError(
                    f"a run is already training in {info.out} on this cluster (dg status shows it)\n"
                    "  try: another out=DIR | stop that run first, then resume=auto goes on with it"
                ) from error
        time.sleep(0.5)
