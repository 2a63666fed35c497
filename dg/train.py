"""`dg train [key=value ...]`: one training run, in a Ray trainer actor with a pool of render actors.

`pool=local` runs the same in this process, without Ray. A run that is interrupted goes on with `resume=auto`.
"""

import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from dg.cluster.address import unused_clusters, where
from dg.cluster.resources import asked, share_gpus
from dg.cluster.store_watch import ClusterLostError
from dg.files.atomic import replace_file
from dg.runs.folder import RunFolder
from dg.runs.handle import LocalRun, RayRun, RunHandle
from dg.runs.trainer_actor import run_folders
from dg.settings.command import Command, fail, run_command
from dg.settings.command_line import parse, table_of
from dg.settings.config import GROUPS, RunInfo, TrainConfig
from dg.settings.errors import DATA, DIVERGED, INTERRUPTED, QUARANTINED, RESOURCES
from dg.trained.run_model import RunModel

if TYPE_CHECKING:
    from dg.runs.display import Display

STORE_S = 20.0  # by then the MLflow store is opened, whether a batch has been trained or not


def plugin_lines() -> list[tuple[str, str]]:
    """The plug-in groups with what may be chosen, for help."""
    return [(f"{group}={default}", " | ".join(table_of(group))) for group, (_, default) in GROUPS.items()]


COMMAND = Command(
    name="train",
    about="Train a lifter with a domain-generalisation method, evaluate it on the targets, log it to MLflow.\n\n"
    "A plug-in is chosen by name and takes options as NAME.option=value; `dg train method=poseaug --help` lists those "
    "of one:",
    settings=TrainConfig,
    names=plugin_lines,
    codes=(RESOURCES, DATA, DIVERGED, QUARANTINED),
    examples=(
        "dg train method=random_rigid pool=local epochs=10",
        "dg train data=h36m data.root=DIR 'targets=[npz:FILE1,npz:FILE2]' method=poseaug lifter=video_pose_3d seed=0",
    ),
)


def main(args: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    return run_command(COMMAND, args, _main)


def _main(args: list[str]) -> int:
    config = parse(args)
    config = replace(config, out=config.out or default_out(config))
    if config.submit:
        from dg.cluster.submit import submit

        return submit(config, args, summary_line(config))
    print(f"dg train on {where(config)}: {summary_line(config)}\n  results in {config.out}", flush=True)
    if unused := unused_clusters(config):
        print(f"  {unused}", flush=True)
    try:
        summary = run(config)
    except ClusterLostError as error:
        return fail(f"{error}\ngo on with\n  {_resume_command(config)}", RESOURCES)
    except KeyboardInterrupt:
        sys.stderr.write("stopped at once; `resume=auto` and the same arguments go on from the last checkpoint\n")
        return INTERRUPTED
    return INTERRUPTED if summary["interrupted"] else 0


def run(config: TrainConfig, quiet: bool = False) -> dict[str, Any]:
    """Train as the configuration says and write `out/summary.json`; returns it.

    Raises ConfigError, DataError, DivergedError, ... as the parts do (`exit_code` names their codes).
    """
    from dg.runs.display import Display
    from dg.tracking import look_at, prepare, tracking_uri, ui_command

    start = time.monotonic()
    display = Display() if not quiet else None
    out = Path(config.out or default_out(config)).absolute()
    config = replace(
        config, out=str(out), cache=config.cache if config.cache == "off" else str(Path(config.cache).absolute())
    )
    uri = tracking_uri(config.tracking.uri)
    look_at(uri)
    info = RunInfo(config.out, uri, out.name, summary_line(config), command=_command(config))
    with RunFolder(out, config.resume):
        store = _Background(lambda: prepare(uri, config.tracking.experiment))
        try:
            with _under_way(config, info, display) as handle:
                summary = _follow(handle, display, start, store)
        finally:
            if display is not None:
                display.close()
        summary = _write_summary(out, config, summary, time.monotonic() - start)
    if display is not None:
        _conclude(display, config, summary, ui_command(uri, config.tracking.experiment, store.result or ""))
    return summary


@contextmanager
def _under_way(config: TrainConfig, info: RunInfo, display: "Display | None") -> Iterator[RunHandle]:
    """The run, started where the configuration says; nothing of it is left afterwards."""
    if config.pool == "local":
        with closing(LocalRun(config, info, RunModel())) as handle:
            yield handle
        return
    from dg.cluster.session import open_session

    with closing(open_session(config, Path(info.out), run_folders(config, info)[1:])) as session:
        trainer_gpus, actor_gpus = share_gpus(config, session.resources().get("GPU", 0.0))
        info = replace(info, gpus_per_actor=actor_gpus)
        # A pool in a cluster that was joined follows its nodes, by whatever name it was found.
        config = replace(config, address=session.address or config.address)
        with closing(RayRun(config, info, RunModel(), session, trainer_gpus)) as handle:
            if display is not None:
                display.say(f"  asked for {asked(config, handle.ask, actor_gpus)}; found {session.found()}")
            yield handle


def _follow(handle: RunHandle, display: "Display | None", start: float, store: "_Background") -> dict[str, Any]:
    """Show progress until the run ends. The first Ctrl-C or SIGTERM stops it at a batch boundary, a second at once.

    The store is made ready once the run is under way, or has taken `STORE_S`: that costs 5 s of processor time, which
    would hold up the first batch. Raises TrackingError when it cannot be used.
    """
    first_batch_s = None
    with _Signals(handle):
        while True:
            finished = handle.finished()
            if finished or first_batch_s is not None or time.monotonic() - start > STORE_S:
                store.begin()
            store.check()
            for record in handle.poll():
                if record["kind"] == "step" and first_batch_s is None:
                    first_batch_s = round(time.monotonic() - start, 2)
                if display is not None:
                    display.show(record)
            if finished:
                summary = handle.result() | {"first_batch_s": first_batch_s}
                store.finish()
                return summary


class _Signals:
    """SIGINT and SIGTERM ask the run to checkpoint; a second one raises KeyboardInterrupt."""

    def __init__(self, handle: RunHandle) -> None:
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
    """Work that goes on beside the caller's, from `begin` on; `check` raises what it raised, `finish` waits for it."""

    def __init__(self, work: Callable[[], str]) -> None:
        self.error: Exception | None = None
        self.result: str | None = None
        self.thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self.begun = False

    def begin(self) -> None:
        if not self.begun:
            self.begun = True
            self.thread.start()

    def _run(self, work: Callable[[], str]) -> None:
        try:
            self.result = work()
        except Exception as error:
            self.error = error

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def finish(self) -> None:
        self.thread.join()
        self.check()


# -- words


def default_out(config: TrainConfig) -> str:
    """The folder of a run that names none: what it trains, its seed and the time."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return f"runs/{config.method['name']}-{config.inputs}-s{config.seed}-{stamp}"


def summary_line(config: TrainConfig) -> str:
    """The run in one line: method, lifter, inputs, data and seed."""
    depth = f", depth {config.depth_shown}" if config.depth_shown != "none" else ""
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
        "depth": config.depth_shown,
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
    args = sys.argv[2:] if sys.argv[1:2] == ["train"] else sys.argv[1:]  # `dg train ...`, or this file as a program
    given = [w for w in args if not w.startswith(("out=", "resume="))]
    return " ".join(["dg train", *map(shlex.quote, given), f"out={shlex.quote(config.out)}", "resume=auto"])


def _command(config: TrainConfig) -> str:
    """What was typed; where the run was started from Python, what may be typed in its place."""
    words = [w for w in sys.argv[1:] if w != "train"]
    if words and all("=" in word for word in words):
        return shlex.join(["dg", "train", *words])
    return f"dg train {summary_line(config)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
