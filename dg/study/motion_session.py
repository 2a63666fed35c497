"""The evaluations of the study `motion`: every lifter on every set of clips in every time, each kept once made."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float64
from torch import Tensor

from dg.analyse.checkpoints import TrainedRun
from dg.datasets.base import PoseDataset
from dg.evaluation.metrics import PoseErrors
from dg.evaluation.predictions import evaluate
from dg.files.atomic import write_json
from dg.grid.child_run import finished_summary
from dg.grid.plan import load_record
from dg.settings.config import TrainConfig
from dg.study.base import StudyError
from dg.study.clips import AS_RECORDED, TimeChange, frame_weights, time_changes
from dg.study.motion_options import MotionOptions
from dg.study.results import Place, say
from dg.tracking.names import METRICS
from dg.trained.stored import checkpoint_file

RESULTS = "motion.json"
SOURCE = "source"


@dataclass(frozen=True)
class TrainedCell:
    """A finished run of the grid.

    Attributes:
        digest: digest of its weights, so that a run that was trained again is evaluated again.
    """

    name: str
    folder: Path
    labels: dict[str, str]
    frames: int
    seed: str
    digest: str


class MotionSession:
    """Evaluates what is not evaluated yet.

    Attributes:
        recorded: the word for clips whose time is as recorded.
    """

    recorded = AS_RECORDED

    def __init__(self, options: MotionOptions, folder: Path) -> None:
        """Raises StudyError for a folder without finished runs."""
        self.options, self.folder = options, folder.absolute()
        record = load_record(self.folder)
        if record is None:
            raise StudyError(f"{self.folder} holds no runs of `dg study frames`; give its folder, out=FOLDER")
        self.place = Place(self.folder, record["tracking"]["uri"], record["parent_run_id"])
        self.cells = list(_trained_cells(self.folder, record["cells"], options.weights))
        if not self.cells:
            raise StudyError(f"no run in {self.folder} has finished; end `dg study frames` first")
        left_out = len(record["cells"]) - len(self.cells)
        if left_out:
            say(f"{left_out} of {len(record['cells'])} runs have not finished and are left out")
        self.changes = time_changes(options.speeds[0], options.speeds[1], options.seed)
        self.results = _load(self.folder / RESULTS)
        self.painter = self._painter()

    def __enter__(self) -> "MotionSession":
        return self

    def __exit__(self, *exc: object) -> None:
        self.painter.close()

    def run(self) -> None:
        """Whatever is not evaluated yet."""
        for where in self.wheres:
            todo = [c for c in self.cells if any(self._key(c, where, x) not in self.results for x in self.changes)]
            if not todo:
                continue
            say(f"{where}: {len(todo)} lifters to evaluate")
            clips = self._clips(where)
            for cell in todo:
                self._evaluate(cell, where, clips)

    def rows(self) -> list[dict[str, Any]]:
        """Every result that was asked for, sets of clips first, as rows of `dg.study.results`."""
        found = []
        for where in self.wheres:
            for cell in sorted(self.cells, key=lambda cell: tuple(cell.labels.values())):
                for change in self.changes:
                    result = self.results[self._key(cell, where, change)]
                    own = {name: result[name] for name in ("target", "input", "time", "protocol")}
                    error = result["errors"][self.options.metric]
                    found.append(
                        {"target": "", **cell.labels, **own, "x": cell.frames, "seed": cell.seed, "error": error}
                    )
        return found

    @property
    def wheres(self) -> list[str]:
        """The sets of clips: `source:PART` each, then the targets."""
        targets = self.options.targets or tuple(self.painter.config.target_names)
        return [f"{SOURCE}:{part}" for part in self.options.parts] + list(targets)

    # -- one set of clips -----------------------------------------------------------------------------------------

    def _painter(self) -> TrainedRun:
        """The run that loads data and draws depth for all of them: they differ in lifter, input, window and seed."""
        runs: list[TrainedRun] = []
        for folder in {tuple(cell.labels.values()): cell.folder for cell in self.cells}.values():
            runs.append(self._open(folder))
            if runs[-1].config.needs_depth:
                return runs[-1]
        return runs[0]

    def _open(self, folder: Path) -> TrainedRun:
        options = self.options
        return TrainedRun(
            folder, folder.name, weights=options.weights, device=options.device, cache_folder=options.cache, own=True
        )

    def _clips(self, where: str) -> dict[str, PoseDataset]:
        """A set of clips in every time, with depth where some lifter sees it."""
        kind, _, part = where.partition(":")
        if kind == SOURCE:
            dataset = self.painter.source(part)
            dataset = replace(dataset, name=f"{dataset.name}-{part}")
        else:
            dataset = self.painter.target(where)
        # Depth first: a reversed clip keeps it, so that a noisy source's noise is the same for a lifter of one frame.
        recorded = self.painter.with_depth(dataset)
        return {change.label: self.painter.with_depth(change.apply(recorded)) for change in self.changes}

    def _evaluate(self, cell: TrainedCell, where: str, clips: dict[str, PoseDataset]) -> None:
        told = []
        with closing(self._open(cell.folder)) as run:
            for change in self.changes:
                dataset = clips[change.label]
                tta = fitting_tta(self.options.tta, cell.frames) or None
                found = evaluate(run.predictor, dataset, run.depth_label, cell.frames, tta)
                errors = averages(found.errors, frame_weights(clips[AS_RECORDED], dataset))
                # Of the augmentation asked for: a single frame turned around in time is that frame.
                protocol = dataset.protocol(run.depth_label, self.options.tta or None)
                self.results[self._key(cell, where, change)] = {
                    "run": cell.name,
                    "target": dataset.name,
                    "input": input_label(run.config),
                    "time": change.label,
                    "protocol": change.protocol(protocol),
                    "errors": errors,
                }
                told.append(f"{change.label} {errors[self.options.metric]:.1f}")
        write_json(self.folder / RESULTS, self.results)
        say(f"  {cell.name}: {' · '.join(told)}")

    def _key(self, cell: TrainedCell, where: str, change: TimeChange) -> str:
        return " ".join([cell.name, cell.digest, where, change.label, self.options.tta])


def _trained_cells(folder: Path, cells: Sequence[dict[str, Any]], weights: str) -> Iterator[TrainedCell]:
    """The finished ones of a grid's cells, with their `last` or `best` weights."""
    for cell in cells:
        own = folder / cell["name"]
        if finished_summary(own) is None:
            continue
        digest = hashlib.blake2b(checkpoint_file(own, weights).read_bytes(), digest_size=6).hexdigest()
        labels = {"method": cell["method"], "lifter": cell["lifter"], "input": cell["inputs"]}
        yield TrainedCell(cell["name"], own, labels, int(cell["frames"]), str(cell["seed"]), digest)


def input_label(config: TrainConfig) -> str:
    """What a lifter sees, in words."""
    scale = "" if config.dscale2d_resolved == "off" else f"+dscale2d={config.dscale2d_resolved}"
    depth = f", {config.depth['name']} (oracle)" if config.needs_depth else ""
    return f"{config.inputs}{scale}{depth}"


def averages(errors: PoseErrors, weights: Float64[Tensor, " frames"]) -> dict[str, float]:
    """Every metric's weighted mean over the frames."""
    weights = weights.to(errors.mpjpe_mm.device)
    return {metric: float((getattr(errors, metric) * weights).sum() / weights.sum()) for metric in METRICS}


def fitting_tta(tta: str, frames: int) -> str:
    """The augmentation less the reversal of single frames, which is none."""
    if frames > 1 or "reverse" not in tta:
        return tta
    return "flip" if "flip" in tta else "none"


def _load(path: Path) -> dict[str, dict[str, Any]]:
    """What earlier sessions found; nothing where there is no such file, or a damaged one."""
    try:
        results = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return results if isinstance(results, dict) else {}
