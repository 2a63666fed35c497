"""What a grid is going to run, checked before anything starts, and what its folder says is already done.

`grid.json` in the folder holds the resolved cells and the MLflow parent run; `cell.json` in each cell's folder holds
the digest of its configuration. A folder takes further methods, lifters, inputs, frames and seeds, but only under the
settings it was begun with, so that every cell of its table has one budget.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dg.files.atomic import write_json
from dg.grid.cells import Cell, GridOptions, Kind, Spec, make_cells, parse_specs, without_adaptation
from dg.grid.child_run import finished_summary
from dg.settings.command_line import check_plugins, parse, table_of
from dg.settings.config import ConfigError, TrainConfig
from dg.settings.config_check import validate
from dg.settings.plugins import resolve
from dg.tracking import tracking_uri

RECORD, CELL = "grid.json", "cell.json"
RUNS = "runs"


@dataclass(frozen=True)
class PlannedCell:
    """A cell with its whole configuration."""

    cell: Cell
    config: TrainConfig

    @property
    def name(self) -> str:
        """The cell's name, which is also the name of its folder."""
        return self.cell.name

    @property
    def digest(self) -> str:
        """The digest of the cell's whole configuration."""
        return self.config.digest()


@dataclass(frozen=True)
class GridPlan:
    """All cells, and what they have in common: its digest tells grids apart, `details` say in what."""

    cells: tuple[PlannedCell, ...]
    base: str
    details: dict[str, str]
    tracking: dict[str, str]

    @property
    def first(self) -> TrainConfig:
        """The configuration of the first cell."""
        return self.cells[0].config


def make_plan(options: GridOptions, shared: Sequence[str]) -> GridPlan:
    """Parse the configuration of every cell, plug-in options included; this needs torch.

    Args:
        options: the grid's own settings.
        shared: arguments of every run, `key=value` each.

    Raises:
        ConfigError: with every problem and the cells which have it.
        TrackingError: an impossible tracking store.
    """
    cells = make_cells(options, shared, adapting_methods(parse_specs(options.methods)))
    configs: dict[Kind, TrainConfig] = {}
    found: dict[str, list[str]] = defaultdict(list)
    for cell in cells[: len(cells) // len(options.seeds)]:  # the others differ in their seed alone
        try:
            configs[cell.kind] = parse(list(cell.args))
            check_plugins(configs[cell.kind])
        except ConfigError as error:
            for problem in str(error).splitlines():
                found[problem].append(cell.kind_title)
    if found:
        kinds = len(cells) // len(options.seeds)
        raise ConfigError("\n".join(_spell(problem, where, kinds) for problem, where in found.items()))
    planned = tuple(PlannedCell(cell, _with_seed(configs[cell.kind], cell.seed)) for cell in cells)
    _check_distinct(planned)
    base = parse(without_adaptation(shared))
    details = {k: str(v) for k, v in base.flat().items()}
    store = {"uri": tracking_uri(base.tracking.uri), "experiment": base.tracking.experiment}
    return GridPlan(planned, base.digest(), details, store)


def adapting_methods(specs: Iterable[Spec]) -> frozenset[str]:
    """Names of the methods that are domain adaptation. Loads them, so it needs torch."""
    table = table_of("method")
    return frozenset(s.name for s in specs if resolve(table, "method", s.name).regime == "DA")


def _with_seed(config: TrainConfig, seed: int) -> TrainConfig:
    config = replace(config, seed=seed)
    validate(config)
    return config


def _spell(problem: str, where: Sequence[str], kinds: int) -> str:
    if len(where) == kinds:
        return problem
    others = f" and {len(where) - 2} more" if len(where) > 2 else ""
    return f"{problem} (in {'; '.join(where[:2])}{others})"


def _check_distinct(cells: Sequence[PlannedCell]) -> None:
    known: dict[str, str] = {}
    for planned in cells:
        config = planned.config
        numbers = replace(config, dscale2d=config.dscale2d_resolved).digest()  # `xyd` is `xyd?dscale2d=focal`
        for key in (numbers, planned.name):
            twin = known.setdefault(key, planned.cell.title)
            if twin != planned.cell.title:
                raise ConfigError(f"one and the same run twice: {twin!r} and {planned.cell.title!r}")


# -- the folder -----------------------------------------------------------------------------------------------------


def choose_folder(asked: str, plan: GridPlan, runs: Path = Path(RUNS)) -> Path:
    """Return the grid's folder: the one asked for, else the newest `runs/grid-*` of these very cells, else a new one.

    Args:
        asked: a path, or empty.
        plan: the grid's cells.
        runs: folder in which grids are looked for and made.
    """
    if asked:
        return Path(asked).absolute()
    names = {planned.name: planned.digest for planned in plan.cells}
    for folder in sorted(runs.glob("grid-*"), reverse=True):
        before = load_record(folder)
        if before and _identity(before) == (plan.base, plan.tracking) and _digests(before) == names:
            return folder.absolute()
    return (runs / time.strftime("grid-%Y%m%d-%H%M%S")).absolute()


def load_record(folder: Path) -> dict[str, Any] | None:
    """What `grid.json` holds; None where there is none, or none that can be read."""
    try:
        record = json.loads((folder / RECORD).read_text())
        return record if _digests(record) and _identity(record) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def check_folder(folder: Path, plan: GridPlan) -> None:
    """Check that a folder holds no grid or cell with other settings.

    Args:
        folder: of the grid; it need not exist.
        plan: the grid's cells.

    Raises:
        ConfigError: the folder was begun with other settings; the message says which.
    """
    before = load_record(folder)
    if before is not None:
        changed = _changes(before, plan)
        digests = _digests(before)
        changed += [f"{p.name} had other options" for p in plan.cells if digests.get(p.name, p.digest) != p.digest]
        if changed:
            raise ConfigError(
                f"the grid in {folder} was begun with other settings; give the same ones to go on, or out=ANOTHER\n"
                + "\n".join(changed)
            )
    for planned in plan.cells:
        if _digest_in(folder / planned.name) not in ("", planned.digest):
            raise ConfigError(f"{folder / planned.name} holds a run with other settings; give out=ANOTHER")


def write_record(folder: Path, plan: GridPlan, grid_id: str, parent_run_id: str) -> None:
    """Write `grid.json`, whole or not at all; cells of earlier commands stay in it.

    Args:
        folder: of the grid.
        plan: cells to add or replace.
        grid_id: the grid's own id.
        parent_run_id: MLflow's id of the run under which the cells are logged.
    """
    before = load_record(folder)
    cells = {cell["name"]: cell for cell in (before or {}).get("cells", [])}
    for planned in plan.cells:
        cell = planned.cell
        cells[planned.name] = {
            "name": planned.name,
            **({} if cell.source is None else {"source": str(cell.source)}),
            "method": str(cell.method),
            "lifter": str(cell.lifter),
            "inputs": str(cell.inputs),
            "frames": cell.frames,
            "seed": cell.seed,
            "digest": planned.digest,
            "args": list(cell.args),
        }
    record = {
        "grid_id": grid_id,
        "parent_run_id": parent_run_id,
        "tracking": plan.tracking,
        "base": plan.base,
        "details": plan.details,
        "cells": list(cells.values()),
    }
    write_json(folder / RECORD, record)


def mark_cell(folder: Path, planned: PlannedCell) -> Path:
    """Write the name and the configuration's digest of a cell into the cell's folder, and return that folder.

    Args:
        folder: of the grid.
        planned: the cell.
    """
    own = folder / planned.name
    write_json(own / CELL, {"name": planned.name, "digest": planned.digest, "args": list(planned.cell.args)})
    return own


def finished(folder: Path, planned: PlannedCell) -> dict[str, Any] | None:
    """Return the summary of a finished cell whose configuration is still the same, else None.

    Args:
        folder: of the grid.
        planned: the cell.
    """
    own = folder / planned.name
    return finished_summary(own) if _digest_in(own) == planned.digest else None


def begun(folder: Path, planned: PlannedCell) -> bool:
    """Return whether a cell has a checkpoint from which it can resume.

    Args:
        folder: of the grid.
        planned: the cell.
    """
    return (folder / planned.name / "latest").is_file()


def _changes(before: dict[str, Any], plan: GridPlan) -> list[str]:
    if _identity(before) == (plan.base, plan.tracking):
        return []
    old = before.get("details", {}) | {f"tracking.{k}": v for k, v in before["tracking"].items()}
    new = plan.details | {f"tracking.{k}": v for k, v in plan.tracking.items()}
    different = [k for k in {**old, **new} if old.get(k) != new.get(k)]
    return [f"{k}: {old.get(k)} then, {new.get(k)} now" for k in different] or ["the configuration of every run"]


def _identity(record: dict[str, Any]) -> tuple[str, dict[str, str]]:
    return record["base"], record["tracking"]


def _digests(record: dict[str, Any]) -> dict[str, str]:
    return {cell["name"]: cell["digest"] for cell in record["cells"]}


def _digest_in(own: Path) -> str:
    try:
        return json.loads((own / CELL).read_text())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
