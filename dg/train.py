"""`python -m dg.train [key=value ...]`: one training run, in a Ray trainer actor with a pool of render actors.

`pool=local` runs the same in this process, without Ray. Exit codes: 0 done, 2 configuration, 3 resources, 4 data,
5 diverged, 6 too many quarantined poses, 130 interrupted.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dg.atomic import replace_file
from dg.command_line import fail, help_text, parse
from dg.config import ConfigError, RunInfo, TrainConfig
from dg.trainer_actor import TrainerActor

if TYPE_CHECKING:
    from dg.experiment import Experiment
    from dg.progress import Display

WHAT = "Train a lifter with a domain-generalisation method, evaluate it on the targets, log it to MLflow."
POLL_S = 0.25


def main(words: list[str]) -> int:
    """The whole command; returns the exit code."""
    if {"--help", "-h"} & set(words):
        print(help_text("dg.train", WHAT))
        return 0
    try:
        config = parse(words)
    except ConfigError as error:
        return fail(error, 2)
    config = replace(config, out=config.out or _default_out(config))
    print(f"dg.train on {_where(config)}: {summary_line(config)}\n  results in {config.out}", flush=True)
    try:
        summary = run(config)
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        return fail(error, code)
    return 130 if summary["interrupted"] else 0


def run(config: TrainConfig, quiet: bool = False) -> dict[str, Any]:
    """Train as the configuration says and write `out/summary.json`; returns it.

    Raises ConfigError, DataError, DivergedError, ... as the parts do (`exit_code` names their codes).
    """
    from dg.progress import Display
    from dg.tracking import prepare, tracking_uri, ui_command

    start = time.monotonic()
    display = Display() if not quiet else None
    out = Path(config.out or _default_out(config)).absolute()
    config = replace(
        config, out=str(out), cache=config.cache if config.cache == "off" else str(Path(config.cache).absolute())
    )
    out.mkdir(parents=True, exist_ok=True)
    uri = tracking_uri(config.tracking.uri)
    store = _Background(lambda: prepare(uri, config.tracking.experiment))
    handle = _start(config, uri)
    try:
        store.finish()
        summary = _follow(handle, display, start)
    finally:
        handle.close()
        if display is not None:
            display.close()
    summary = _write_summary(out, config, summary, time.monotonic() - start)
    if display is not None:
        _conclude(display, config, summary, ui_command(uri))
    return summary


def exit_code(error: BaseException) -> int | None:
    """The documented exit code of an error, or None for one that is our own mistake."""
    by_name = {
        "ConfigError": 2, "OptionError": 2, "TrackingError": 2,
        "ResourceError": 3, "WorkerStartError": 3,
        "DataError": 4, "BodyFileError": 4, "CheckpointError": 4, "FileFormatError": 4, "UnsafeFileError": 4,
        "DivergedError": 5,
        "PoolFailure": 6,
    }  # fmt: skip
    codes = [by_name[t.__name__] for t in type(error).__mro__ if t.__name__ in by_name]
    return codes[0] if codes else None


# -- where the experiment runs


class _Handle:
    """An experiment that runs in this process, in a thread, so that the main thread shows progress and sees signals."""

    def __init__(self, experiment: "Experiment") -> None:
        self.experiment = experiment
        self.outcome: dict[str, Any] = {}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.outcome["summary"] = self.experiment.run()
        except BaseException as error:  # handed to the main thread, which raises it
            self.outcome["error"] = error

    def poll(self) -> list[dict[str, Any]]:
        self.thread.join(POLL_S)
        return self.experiment.poll()

    def finished(self) -> bool:
        return not self.thread.is_alive()

    def stop(self) -> None:
        self.experiment.stop()

    def result(self) -> dict[str, Any]:
        if "error" in self.outcome:
            raise self.outcome["error"]
        return self.outcome["summary"]

    def close(self) -> None:
        """Nothing is left running when the thread has ended."""


class _RayHandle:
    """An experiment in a trainer actor. The actor's own threads serve `poll` and `stop` while it trains."""

    def __init__(self, config: TrainConfig, info: RunInfo, gpus: float, own_cluster: bool) -> None:
        import ray
        from ray import exceptions

        self.ray, self.exceptions, self.own_cluster = ray, exceptions, own_cluster
        # Without this Ray gives an actor with num_gpus=0 every GPU, and with num_cpus=1 a single torch thread for ever.
        environment = {"OMP_NUM_THREADS": str(config.threads or os.cpu_count() or 1)}
        if gpus == 0 and config.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        remote: Any = ray.remote(TrainerActor)
        self.actor = remote.options(
            num_cpus=1, num_gpus=gpus, max_restarts=0, max_concurrency=4, runtime_env={"env_vars": environment}
        ).remote(config, info)
        self.running = self.actor.run.remote()

    def poll(self) -> list[dict[str, Any]]:
        self.ray.wait([self.running], timeout=POLL_S)
        try:
            return self.ray.get(self.actor.poll.remote(), timeout=30)
        except self.exceptions.RayError:
            return []  # `result` tells why

    def finished(self) -> bool:
        return bool(self.ray.wait([self.running], timeout=0)[0])

    def stop(self) -> None:
        self.actor.stop.remote()

    def result(self) -> dict[str, Any]:
        try:
            return self.ray.get(self.running)
        except self.exceptions.RayTaskError as error:
            if exit_code(error.cause) is not None:
                raise error.cause from None
            raise
        except self.exceptions.RayActorError as error:
            raise RuntimeError(
                f"the trainer actor died: {error}; give the same command with resume=auto to go on"
            ) from error

    def close(self) -> None:
        self.ray.kill(self.actor, no_restart=True)
        if self.own_cluster:
            self.ray.shutdown()


def _start(config: TrainConfig, uri: str) -> "_Handle | _RayHandle":
    name = config.tracking.run_name or Path(config.out).name
    info = RunInfo(config.out, uri, name, summary_line(config))
    if config.pool == "local":
        from dg.experiment import Experiment

        return _Handle(Experiment(config, info))
    import ray

    address = config.address or os.environ.get("RAY_ADDRESS")
    own_cluster = not ray.is_initialized()
    if own_cluster:
        cores = os.cpu_count() or 1
        # Ray gives its workers niceness 15: beside any other work on the machine a start of 10 s then takes minutes.
        os.environ.setdefault("RAY_worker_niceness", "0")
        local: dict[str, Any] = {} if address else {"num_cpus": max(cores, config.render.actors + 1)}
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            namespace=f"dg-{os.getpid()}",
            **local,
        )
    trainer_gpus, actor_gpus = share_gpus(config, float(ray.cluster_resources().get("GPU", 0)))
    return _RayHandle(config, replace(info, gpus_per_actor=actor_gpus), trainer_gpus, own_cluster)


def share_gpus(config: TrainConfig, gpus: float) -> tuple[float, float]:
    """GPUs of the trainer and of each render actor: a whole one each where they suffice, else equal fractions."""
    if config.render.gpus_per_actor >= 0:
        return (min(1.0, gpus) if config.device == "cuda" else 0.0), config.render.gpus_per_actor
    if gpus == 0 or config.device == "cpu":
        return 0.0, 0.0
    share = min(1.0, int(100 * gpus / (config.render.actors + 1)) / 100)
    return share, share


def _follow(handle: "_Handle | _RayHandle", display: "Display | None", start: float) -> dict[str, Any]:
    """Show progress until the run ends. The first Ctrl-C or SIGTERM stops it at a batch boundary, a second at once."""
    first_batch_s = None
    with _Signals(handle):
        while True:
            finished = handle.finished()
            for record in handle.poll():
                if record["kind"] == "step" and first_batch_s is None:
                    first_batch_s = round(time.monotonic() - start, 2)
                if display is not None:
                    display.show(record)
            if finished:
                return handle.result() | {"first_batch_s": first_batch_s}


class _Signals:
    """SIGINT and SIGTERM ask the run to checkpoint; a second one raises KeyboardInterrupt."""

    def __init__(self, handle: "_Handle | _RayHandle") -> None:
        self.handle, self.asked, self.before = handle, False, {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():
            self.before = {s: signal.signal(s, self._caught) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        sys.stderr.write("\nstopping at the end of this batch and writing a checkpoint; again to stop now\n")
        self.handle.stop()


class _Background:
    """Work that goes on beside the caller's; `finish` waits for it and raises what it raised."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self.thread.start()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            self.error = error

    def finish(self) -> None:
        self.thread.join()
        if self.error is not None:
            raise self.error


# -- words


def _default_out(config: TrainConfig) -> str:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return f"runs/{config.method['name']}-{config.inputs}-s{config.seed}-{stamp}"


def _where(config: TrainConfig) -> str:
    address = config.address or os.environ.get("RAY_ADDRESS")
    if config.pool == "local":
        return "this machine, in this process"
    return f"the Ray cluster at {address}" if address else "this machine, in a Ray cluster of its own"


def summary_line(config: TrainConfig) -> str:
    depth = f", depth {config.depth['name']}" if config.needs_depth else ""
    return (
        f"{config.method['name']} + {config.lifter['name']}, inputs {config.inputs}, "
        f"dscale2d {config.dscale2d_resolved}{depth}, data {config.data['name']}, seed {config.seed}"
    )


def _write_summary(out: Path, config: TrainConfig, summary: dict[str, Any], wall_s: float) -> dict[str, Any]:
    whole = {
        "run_id": summary["run_id"],
        "method": config.method["name"],
        "lifter": config.lifter["name"],
        "inputs": config.inputs,
        "dscale2d": config.dscale2d_resolved,
        "d_ref": config.d_ref,
        "depth": config.depth["name"] if config.needs_depth else "none",
        "seed": config.seed,
        "epochs": config.epochs,
        "wall_s": round(wall_s, 3),
    } | summary
    replace_file(out / "summary.json", lambda file: file.write(json.dumps(whole, indent=1).encode()))
    return whole


def _conclude(display: "Display", config: TrainConfig, summary: dict[str, Any], ui: str) -> None:
    display.close()
    if summary["interrupted"]:
        display.say(f"interrupted; go on with\n  {_resume_command(config)}")
        return
    display.results(summary["results"])
    ledger, rate = summary["ledger"], summary["throughput"]
    display.say(
        f"{ledger['done']:,} poses rendered, {ledger['quarantined']} quarantined, {ledger['retried']} retried; "
        f"{rate['rendered_poses_per_s']:,.0f} rendered and {rate['trained_poses_per_s']:,.0f} trained poses/s; "
        f"{summary['wall_s']:.0f} s in all" + (f"\nsee it: {ui}" if ui else "")
    )


def _resume_command(config: TrainConfig) -> str:
    import shlex

    given = [w for w in sys.argv[1:] if not w.startswith(("out=", "resume="))]
    return " ".join(["python -m dg.train", *map(shlex.quote, given), f"out={shlex.quote(config.out)}", "resume=auto"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
