"""A session of a grid: its folder, its children, MLflow and the table put together."""

import os
import shlex
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dg.compare.comparison import NothingToCompareError, compare
from dg.compare.settings import CompareOptions
from dg.grid.cells import GridOptions
from dg.grid.child_run import PROGRAM, ChildRun, end_orphan, with_own
from dg.grid.driver import Driver, Running, lock_folder, resume_command, stopped_by_signals
from dg.grid.parent_record import REPORT, TABLE, parent_tags, parent_title, record_comparison
from dg.grid.parent_run import ParentRun
from dg.grid.places import Places, find_places
from dg.grid.plan import (
    GridPlan,
    PlannedCell,
    begun,
    check_folder,
    choose_folder,
    finished,
    load_record,
    make_plan,
    mark_cell,
    write_record,
)
from dg.grid.view import CellProgress, Counts, GridView, Pace, clock, share_done
from dg.settings.config import deciding
from dg.tracking import TrackingError

TAG_GRID = "grid.id"
LOG_END_BYTES = 4096
TAIL = 5  # lines of a failed cell's log that are shown


def run_grid(
    options: GridOptions,
    shared: Sequence[str],
    program: str,
    args: Sequence[str],
    introduce: Callable[[GridPlan], None],
    finish: "Callable[[GridSession], None]" = lambda session: None,
) -> int:
    """Resume a grid, or begin it, until every cell has ended: for `dg grid` and for studies.

    Args:
        options: which cells.
        shared: arguments of every cell.
        program: the command, such as `dg grid`, for the one that resumes.
        args: of the command, likewise.
        introduce: is told what will run, before it does.
        finish: is told of the session once nothing runs any more.

    Returns:
        The exit code: 0 every cell finished, 1 some failed, 130 interrupted.

    Raises:
        ConfigError: settings that make no grid.
        TrackingError: a tracking store that cannot be used.
        DriverBusyError: another driver works in the folder.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if address and not any(arg.startswith(("pool=", "address=")) for arg in shared):
        shared = [*shared, f"address={address}"]
    plan = make_plan(options, shared)
    introduce(plan)
    places = find_places([planned.config for planned in plan.cells], options.parallel)
    session = GridSession(plan, choose_folder(options.out, plan), places)
    with stopped_by_signals(session.driver, "cells"):
        complete = session.run()
    finish(session)
    if complete and not session.failed:
        return 0
    what = f"{len(session.failed)} failed; try again with" if complete else "interrupted; resume with"
    print(f"{what}\n  {resume_command(program, args, session.folder)}", flush=True)
    return 1 if complete else 130


class GridSession:
    """Takes over what an earlier driver left in `folder`, runs the rest, and compares.

    Args:
        program: the command that a cell runs.
    """

    def __init__(self, plan: GridPlan, folder: Path, places: Places, program: Sequence[str] = PROGRAM) -> None:
        """Raises ConfigError, TrackingError, or DriverBusyError."""
        self.plan, self.folder, self.places, self.program = plan, folder, places, program
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = lock_folder(folder, "the grid")
        check_folder(folder, plan)
        before = load_record(folder) or {}
        self.grid_id = before.get("grid_id") or f"{folder.name}-{uuid.uuid4().hex[:8]}"
        self.records = ParentRun(plan.first.tracking, folder)
        tags = {TAG_GRID: self.grid_id} | parent_tags(plan)
        self.records.start(parent_title(plan), self._params(), tags, before.get("parent_run_id") or None)
        write_record(folder, plan, self.grid_id, self.records.parent_id)
        self.done: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, tuple[str, list[str]]] = {}
        self.interrupted: set[str] = set()
        self.resumed: set[str] = set()
        self.pace = Pace()
        self.view = GridView()
        self.waiting = self._take_over()
        self.driver: Driver[PlannedCell, int] = Driver(
            lambda: self.waiting.pop(0) if self.waiting else None,
            self._start,
            self._ended,
            lambda: self.view.tick(self._counts(), self._left_s(), self._progress()),
            places.parallel,
        )

    def run(self) -> bool:
        """True when every cell has ended, False when stopped. Ends with failures and the table either way."""
        status, reason = "FAILED", "error"
        try:
            self._introduce()
            complete = self.driver.run()
            status, reason = ("FINISHED", "done") if complete else ("KILLED", "interrupted")
            if complete and self.failed:
                status, reason = "FAILED", f"{len(self.failed)} of {len(self.plan.cells)} runs failed"
            return complete
        finally:
            self.view.close()
            self._conclude()
            self.records.tracker.finish(status, reason)
            if self.records.problem:
                self.view.say(f"MLflow: {self.records.problem}")
            self.lock.release()

    # -- setting up -----------------------------------------------------------------------------------------------

    def _take_over(self) -> list[PlannedCell]:
        """The cells that are left to run; what a dead driver left running of them is ended."""
        left = []
        for planned in self.plan.cells:
            if end_orphan(self.folder / planned.name):
                self.view.say(f"{planned.name}: ended what a dead driver had left running")
                self.records.label(planned.name, {}, "orphan", "KILLED")
            summary = finished(self.folder, planned)
            if summary is None:
                left.append(planned)
            else:
                self.done[planned.name] = summary
                self.pace.add(planned.cell.kind, float(summary.get("wall_s", 0.0)))
        return left

    def _introduce(self) -> None:
        left, kept = self.waiting, len(self.done)
        resumed = sum(begun(self.folder, planned) for planned in left)
        state = [f"resuming: {kept} finished runs kept"] if kept else []
        state += [f"{resumed} to resume from a checkpoint"] if resumed else []
        state += [f"{len(left) - resumed} to start"] if len(left) > resumed else []
        self.view.say(f"  {min(self.places.parallel, max(1, len(left)))} at once {self.places.why}")
        self.view.say(f"  folders and logs: {_near(self.folder)}\n  {', '.join(state)}")

    def _params(self) -> dict[str, Any]:
        keys = {"methods": "method", "lifters": "lifter", "inputs": "inputs", "frames": "frames", "seeds": "seed"}
        lists = {
            f"grid.{name}": list(dict.fromkeys(str(getattr(planned.cell, key)) for planned in self.plan.cells))
            for name, key in keys.items()
        }
        own = {"method.name", "lifter.name", "inputs", "dscale2d", "frames", "seed", "adapt_to", "adapt_part"}
        own |= {option for planned in self.plan.cells for option, _ in planned.cell.inputs.options}
        shared = deciding(self.plan.first, self.plan.details)
        # The lists under the keys of a run too, so that they stand in its columns of the table of runs.
        columns = {key: ", ".join(lists[f"grid.{name}"]) for name, key in (("inputs", "inputs"), ("seeds", "seed"))}
        return {k: v for k, v in shared.items() if k not in own} | lists | columns

    # -- what the driver asks and reports -------------------------------------------------------------------------

    def _start(self, planned: PlannedCell, place: int) -> ChildRun:
        own = mark_cell(self.folder, planned)
        if begun(self.folder, planned):
            self.resumed.add(planned.name)
        args = self.records.args(planned.config, planned.name) | {"resume": "auto"}
        child = ChildRun(own, with_own(planned.cell.args, args), self.program, self.places.environment(place))
        how = "resumed from its checkpoint" if planned.name in self.resumed else "started"
        self.view.say(f"{planned.name}: {how}")
        return child

    def _ended(self, running: Running[PlannedCell], code: int) -> None:
        planned, child = running.item, running.child
        end, took = child.end(code, self.driver.stops_asked > 0), clock(running.seconds)
        if end.summary is not None:
            self.done[planned.name] = end.summary
            if planned.name not in self.resumed:  # whose seconds are those of a part
                self.pace.add(planned.cell.kind, running.seconds)
            said, state, status = f"done in {took}, {scores(end.summary)}", "done", ""
        elif end.state == "interrupted":
            self.interrupted.add(planned.name)
            said, state, status = f"interrupted after {took}", "interrupted", "KILLED"
        else:
            self.failed[planned.name] = (end.why, child.log_lines()[-TAIL:])
            said, state, status = f"FAILED after {took}: {end.why}", "failed", "FAILED"
        self.records.label(planned.name, {TAG_GRID: self.grid_id}, state, status)
        self.view.say(f"{planned.name}: {said}  [{self._counts().text(self._left_s())}]")

    def _progress(self) -> list[CellProgress]:
        found = []
        for running in self.driver.running:
            name, last = running.item.name, _last_word(running.child)
            share = 0.0 if name in self.resumed else share_done(last)
            found.append(CellProgress(running.item.cell.kind, running.seconds, share, name, last))
        return found

    def _counts(self) -> Counts:
        left = len(self.waiting) + len(self.interrupted)
        return Counts(len(self.done), len(self.failed), len(self.driver.running), left)

    def _left_s(self) -> float | None:
        if self.driver.stops_asked:
            return None
        return self.pace.left_s([p.cell.kind for p in self.waiting], self._progress(), self.places.parallel)

    # -- the end --------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        for name, (why, tail) in self.failed.items():
            self.view.say(f"\n{name} failed: {why}")
            self.view.say("\n".join(f"  | {line}" for line in tail))
        if not self.done:
            self.view.say("\nno run has finished, so there is nothing to compare")
            return
        if not self.records.parent_id:
            self.view.say(
                f"\nwithout MLflow there is no table; each run's results: {_near(self.folder)}/*/summary.json"
            )
            return
        options = CompareOptions(
            experiment=self.records.experiment, tracking_uri=self.records.uri, parent=self.records.parent_id
        )
        try:
            text = compare(options)
            record_comparison(self.records, self.folder, self.plan, options, text)
        except (NothingToCompareError, TrackingError) as problem:
            self.view.say(f"\nno table: {problem}")
            return
        self.view.say(f"\n{text.rstrip()}")
        again = {"parent": options.parent, "experiment": options.experiment, "tracking_uri": options.tracking_uri}
        args = [f"{key}={value}" for key, value in again.items()]
        self.view.say(f"\nthis table: {_near(self.folder / TABLE)}; other selections and metrics:")
        self.view.say(f"  dg compare {' '.join(map(shlex.quote, args))} selection=last")
        self.view.say(f"one page with poses to turn: {_near(self.folder / REPORT)}\nsee it: {self.records.address()}")


def scores(summary: dict[str, Any]) -> str:
    """A run's results in one line: source validation and, at the epoch chosen by it, each target."""
    parts = []
    value = summary.get("val", {}).get("mpjpe_mm")
    if value is not None:
        parts.append(f"source val {value:.1f}")
    chosen = [r for r in summary.get("results", []) if r.get("selection") == "source_val"]
    parts += [f"{r['target']} {r['mpjpe_mm']:.1f}" for r in chosen]
    return f"{' · '.join(parts)} mm" if parts else "no scores"


def _last_word(child: Any) -> str:  # noqa: ANN401
    """The last epoch that a run tells of, else the last thing it says."""
    lines = child.log_lines(LOG_END_BYTES)
    epochs = [line for line in lines if share_done(line)]
    return (epochs or lines or ["starting"])[-1].partition("  render ")[0].strip()


def _near(path: Path) -> str:
    """A path as short as it can be said from here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
