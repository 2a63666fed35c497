"""Methods under three kinds of shift: camera, motion and data set, at equal cost and until the lifter has converged.

The benchmark of this project. A mixed number hides what a method is for: augmentation of viewpoints can win where
cameras are new and do nothing where they are not, and no augmentation mends another definition of joints. So each
kind has its own table:
  camera    the source's people and motion, seen by other cameras
  dataset   other people, joints and exercises
  motion    trained on a few activities, tested on the same ones and on all others, by people not in training
  limited   trained on fewer people (PoseAug's S1 and S1+S5), all targets of camera and dataset
Beside plain training stands a control, erm at half the steps: it sees as many source poses as a method that fills half
of each batch with augmented ones. A last table says what each number is made of: steps, source and augmented poses,
generator steps, whether the loss still fell over the last fifth, and from where the augmented poses were seen.

The runs of a kind are one grid (dg.grid) in a folder of its own; the same command again goes on where it stopped. Ends
in shifts.md and shifts.csv. Differences to erm are called certain from five seeds on.

part=core is erm, random_rigid, poseaug and evoskeleton; xy, and xyd with focal dscale2d; three seeds; motion and
limited without depth: meant for two hours on 2 idle cores (an estimate). part=full is every DG method, also
noisy depth, and five seeds: for a GPU. methods=, inputs= and seeds= take the place of the part's own. Example:
  dg study shifts data=h36m data.label=cmu data.root=shared/data/cmu data.stride=60
      cross=shared/data/cross 'few=[60_*]' 'same=[61_*]' device=cpu parallel=2
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal
from urllib.parse import quote

from annotated_types import Ge

from dg.compare.sheets import to_markdown
from dg.files.atomic import write_files
from dg.grid.cells import REFUSED, GridOptions, check_grid, without_adaptation
from dg.grid.child_run import read_with_train
from dg.methods import METHODS
from dg.settings.config import CountOrZero
from dg.settings.errors import ConfigError
from dg.settings.plugins import resolve
from dg.settings.reader import quoted
from dg.study.base import Study, StudyError
from dg.study.results import say
from dg.study.shift_tables import Entry, sheets_of, to_csv
from dg.tracking.names import Metric, Selection
from dg.tracking.stores import log_files

if TYPE_CHECKING:
    from dg.grid.session import GridSession

Kind = Literal["camera", "dataset", "motion", "limited"]
_CORE = {
    "methods": ("erm", "random_rigid", "poseaug", "evoskeleton"),
    "inputs": ("xy", "xyd?dscale2d=focal"),
    "seeds": (0, 1, 2),
}
_FULL_INPUTS = ("xy", "xyd?dscale2d=focal&depth=zbuffer", "xyd?dscale2d=focal&depth=noisy_zbuffer")
BLIND = ("xy",)
_BUDGET = "steps= is the budget, alike for every source"
_REFUSED = REFUSED | {
    "epochs": _BUDGET,
    "max_steps": _BUDGET,
    "targets": "camera= and dataset= are the targets",
    "data.actions": "few= chooses the activities of the motion source",
    "data.subjects_train": "limited= chooses the people of the limited sources",
}


@dataclass(frozen=True)
class ShiftsOptions(GridOptions):
    """The settings of `dg study shifts`. Raises ConfigError for kinds that are none or twice."""

    part: Literal["core", "full"] = "core"
    kinds: tuple[Kind, ...] = ("camera", "dataset", "motion")  # which tables
    camera: tuple[str, ...] = ()  # targets of the camera shift, NAME:PLACE each
    dataset: tuple[str, ...] = ()  # targets of the data set shift
    cross: str = ""  # folder of .npz sets instead: those named after data.label are camera's, the others dataset's
    few: tuple[str, ...] = ()  # activities of the motion source, as data.actions takes them; 60_* is a pattern
    same: tuple[str, ...] = ()  # those of the test people that are the same
    limited: tuple[str, ...] = ("S1", "S1+S5")  # people of the limited sources
    steps: Annotated[int, Ge(2)] = 5440  # lifter steps of every run, whatever its source
    methods: tuple[str, ...] = ()  # instead of the part's
    lifters: tuple[str, ...] = ("simple_baseline?width=256",)
    inputs: tuple[str, ...] = ()  # instead of the part's
    seeds: tuple[CountOrZero, ...] = ()  # instead of the part's
    metric: Metric = "mpjpe_mm"
    selection: Selection = "virtual_cameras"
    out: str = "runs/shifts"  # folder; each source's grid has one of its own in it

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ConfigError(f"kinds must be different ones, at least one, got {list(self.kinds)}")


@dataclass(frozen=True)
class Part:
    """Runs that share a source. name: of its folder. kind: of the table. targets: of its runs. words: what makes the
    source. methods, inputs: where they are not the study's.
    """

    name: str
    kind: str
    targets: tuple[str, ...]
    steps: int
    words: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


class Shifts(Study):
    """See the module's docstring."""

    Options: ClassVar[type] = ShiftsOptions

    def run(self, args: Sequence[str]) -> int:
        """Run the grid of each kind of shift in turn and write the tables of all runs that have finished."""
        options, shared = read_options(args)
        sessions: list[tuple[Part, GridSession]] = []
        code = 0
        for part in parts_of(options, shared):
            found = _run_part(part, options, shared, args, sessions)
            code = max(code, found)
            if found not in (0, 1):
                break
        entries = [entry for part, session in sessions for entry in entries_of(part, session)]
        if not entries:
            raise StudyError(f"no run of the study in {options.out} has finished")
        _conclude(options, shared, entries, sessions[0][1])
        return code


def read_options(args: Sequence[str]) -> tuple[ShiftsOptions, list[str]]:
    """The study's own settings with the part's lists filled in, and the arguments of every run. Raises ConfigError."""
    options, shared = read_with_train(ShiftsOptions, args, _REFUSED)
    full = {"methods": tuple(dg_methods()), "inputs": _FULL_INPUTS, "seeds": (0, 1, 2, 3, 4)}
    part = _CORE if options.part == "core" else full
    return replace(options, **{key: getattr(options, key) or value for key, value in part.items()}), shared


def dg_methods() -> list[str]:
    """Every method that sees no target, erm first."""
    names = [name for name in METHODS if resolve(METHODS, "method", name).regime == "DG"]
    return sorted(names, key=lambda name: (name != "erm", name))


def parts_of(options: ShiftsOptions, shared: Sequence[str]) -> list[Part]:
    """The grids of the study, in the order in which they run. Raises ConfigError for a kind without its targets."""
    kinds, steps = options.kinds, options.steps
    wanted = dict(zip(("camera", "dataset"), targets_of(options, shared), strict=True))
    missing = [kind for kind, targets in wanted.items() if kind in kinds and not targets]
    if missing:
        raise ConfigError(f"kinds has {missing}: give {' and '.join(f'{kind}=[NAME:PLACE]' for kind in missing)}")
    across = tuple(target for kind, targets in wanted.items() if kind in kinds for target in targets)
    blind = BLIND if options.part == "core" else ()
    parts = []
    if across:
        parts += [Part("shifts", "across", across, steps), Part("half", "across", across, steps // 2, methods=("erm",))]
    if "motion" in kinds:
        parts.append(_motion(options, shared, blind))
    if "limited" in kinds:
        targets = wanted["camera"] + wanted["dataset"]
        if not targets:
            raise ConfigError("kinds has limited: give camera= or dataset=")
        for people in options.limited:
            chosen = f"data.subjects_train=[{','.join(people.split('+'))}]"
            parts.append(Part(f"limited-{people}", "limited", targets, steps, (chosen,), inputs=blind))
    return parts


def targets_of(options: ShiftsOptions, shared: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The targets of camera shift and of data set shift."""
    if not options.cross:
        return options.camera, options.dataset
    if options.camera or options.dataset:
        raise ConfigError("give camera= and dataset=, or cross=, not both")
    given = _given(shared)
    label = given.get("data.label", given.get("data", "synthetic"))
    found = sorted(Path(options.cross).glob("*.npz"))
    ours = [path for path in found if path.stem.startswith(f"{label}_")]
    return tuple(f"npz:{path}" for path in ours), tuple(f"npz:{path}" for path in found if path not in ours)


def _motion(options: ShiftsOptions, shared: Sequence[str], blind: tuple[str, ...]) -> Part:
    """A source of few activities, and the test people doing the same and all others."""
    given = _given(shared)
    if given.get("data") != "h36m" or not options.few or not options.same:
        raise ConfigError(
            "kinds has motion: give data=h36m (the file format), few=[ACTIVITY] and same=[ACTIVITY]; leave motion out "
            "for another source"
        )
    root, thin = given.get("data.root", ""), f"stride={max(1, int(given.get('data.stride', '1')) // 10)}"
    known = "+".join(quote(name, safe="*") for name in options.same)
    targets = (
        f"h36m:{root}?label=same_motion&{thin}&actions={known}",
        f"h36m:{root}?label=new_motion&{thin}&without={known}",
    )
    chosen = f"data.actions=[{','.join(map(quoted, options.few))}]"
    return Part("motion", "motion", targets, options.steps, (chosen,), inputs=blind)


def _given(shared: Sequence[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in shared)


def _run_part(
    part: Part,
    options: ShiftsOptions,
    shared: Sequence[str],
    args: Sequence[str],
    sessions: "list[tuple[Part, GridSession]]",
) -> int:
    """Run what is left of a part; its session joins the others. Returns the grid's exit code."""
    from dg.grid.session import run_grid

    # Methods of a part's own are a control, which adapts to nobody.
    words = [*(without_adaptation(shared) if part.methods else shared), *part.words]
    words += [f"epochs={ceil(part.steps / steps_per_epoch(words))}", f"max_steps={part.steps}"]
    words.append(f"targets=[{','.join(map(quoted, part.targets))}]")
    grid = GridOptions(
        methods=part.methods or options.methods,
        lifters=options.lifters,
        inputs=part.inputs or options.inputs,
        frames=options.frames,
        seeds=options.seeds,
        parallel=options.parallel,
        out=str(Path(options.out) / part.name),
    )
    check_grid(grid, words)
    heading = f"dg study shifts, {part.name}"
    return run_grid(
        grid, words, "dg study shifts", args,
        lambda plan: say(f"\n{heading}: {len(plan.cells)} runs"),
        lambda session: sessions.append((part, session)),
    )  # fmt: skip


def steps_per_epoch(words: Sequence[str]) -> int:
    """Batches in one pass over the source that these words make."""
    from dg.datasets import DATASETS
    from dg.settings.command_line import check_plugins, parse

    config = parse(list(words))
    source = resolve(DATASETS, "data", config.data["name"])(check_plugins(config)["data"])
    return max(1, len(source.load("train")) // config.batch_size)


def entries_of(part: Part, session: "GridSession") -> list[Entry]:
    """Every finished run of a part."""
    found = []
    for planned in session.plan.cells:
        summary = session.done.get(planned.name)
        if summary is not None:
            cell = planned.cell
            method = f"{cell.method} (half the steps)" if part.name == "half" else str(cell.method)
            found.append(Entry(part.name, part.kind, method, str(cell.inputs), str(cell.seed), summary))
    return found


def _conclude(options: ShiftsOptions, shared: Sequence[str], entries: Sequence[Entry], session: "GridSession") -> None:
    """Tables to the terminal, the folder and the MLflow run of the first part."""
    # A run lists its targets in their order, those of camera shift first.
    camera = len(targets_of(options, shared)[0]) if "camera" in options.kinds else 0
    across = next((e for e in entries if e.kind == "across"), None)
    listed = list(dict.fromkeys(row["target"] for row in across.summary["results"])) if across else []
    names = {"camera": listed[:camera], "dataset": listed[camera:]}
    text = to_markdown(sheets_of(entries, names, options.metric, options.selection))
    paths = write_files(Path(options.out), {"shifts.md": text, "shifts.csv": to_csv(entries, options.metric)})
    say(f"\n{text}\nwritten to {options.out}: {', '.join(path.name for path in paths)}")
    say(log_files(session.records.uri, session.records.parent_id, "studies/shifts", paths))
