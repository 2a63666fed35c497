"""Methods under three kinds of shift: camera, motion and data set, at equal cost and until the lifter has converged.

The benchmark of this project. A mixed number hides what a method is for: augmentation of viewpoints can win where
cameras are new, and loses a little where they are not; no augmentation mends another definition of joints. So each
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

keys of its own (default; meaning):
  part=core                core: erm, random_rigid, poseaug, evoskeleton; xy and xyd with focal dscale2d; three seeds;
                           motion and limited without depth. Two hours on 2 cores with the example below.
                           full: every DG method; also noisy depth; five seeds. For a GPU.
  kinds=[camera,dataset,motion]   which tables; limited is the fourth
  camera=[], dataset=[]    their targets, NAME:PLACE each
  cross=                   folder of .npz sets instead: those named after data.label are camera's, the others dataset's
  few=[], same=[]          activities of the motion source, and those of the test people that are the same; patterns
  limited=[S1,S1+S5]       people of the limited sources
  steps=5440               lifter steps of every run, whatever its source
  methods=, inputs=, seeds=   instead of the part's own
  metric=mpjpe_mm          mpjpe_mm | pa_mpjpe_mm | n_mpjpe_mm | pck150 | auc
  selection=virtual_cameras   last | source_val | virtual_cameras | oracle
  lifters=, parallel=0, out=runs/shifts   as for dg.grid

All other keys are dg.train's and hold for every run. Example:
  python -m dg.study shifts data=h36m data.label=cmu data.root=shared/data/cmu data.stride=60
      cross=shared/data/cross 'few=[60_*]' 'same=[61_*]' device=cpu parallel=2

exit codes: 0 done, 1 some runs failed, 2 wrong option, 3 another driver is at work, 4 no results, 130 interrupted
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dg.compare.sheets import to_markdown
from dg.files.atomic import replace_file
from dg.grid.cells import parse_list, split_words
from dg.grid.child_run import quoted
from dg.grid.sitting import again, run_grid
from dg.methods import METHODS
from dg.settings.config import ConfigError
from dg.settings.plugins import resolve
from dg.study.base import Study, StudyError
from dg.study.output import Place, log_files, say
from dg.study.shift_tables import Entry, sheets_of, to_csv
from dg.study.words import split, with_defaults
from dg.tracking.names import METRICS, SELECTIONS

if TYPE_CHECKING:
    from dg.grid.session import GridSession

KINDS = ("camera", "dataset", "motion", "limited")
DEFAULTS = {
    "part": "core", "kinds": "[camera,dataset,motion]", "camera": "[]", "dataset": "[]", "cross": "", "few": "[]",
    "same": "[]", "limited": "[S1,S1+S5]", "steps": "5440", "metric": METRICS[0], "selection": "virtual_cameras",
    "methods": "", "inputs": "", "seeds": "", "out": "runs/shifts",
}  # fmt: skip
_CHOICES: dict[str, tuple[str, ...]] = dict.fromkeys(DEFAULTS, ()) | {
    "part": ("core", "full"), "metric": METRICS, "selection": SELECTIONS,
}  # fmt: skip
_CORE = {
    "methods": "[erm,random_rigid,poseaug,evoskeleton]", "inputs": "[xy,xyd?dscale2d=focal]", "seeds": "[0,1,2]",
}  # fmt: skip
_FULL_INPUTS = "[xy,xyd?dscale2d=focal&depth=zbuffer,xyd?dscale2d=focal&depth=noisy_zbuffer]"
_GRID_DEFAULTS = {"lifters": "[simple_baseline?width=256]", "batch_size": "256"}
_REFUSED = {
    "epochs": "steps= is the budget, alike for every source",
    "max_steps": "steps= is the budget, alike for every source",
    "targets": "camera= and dataset= are the targets",
    "data.actions": "few= chooses the activities of the motion source",
}
BLIND = "[xy]"


@dataclass(frozen=True)
class Part:
    """Runs that share a source.

    Attributes:
        name: name of its folder.
        kind: kind of shift, which the table shows.
        targets: targets of its runs.
        words: arguments that make the source; the rest as the study's own keys have it.
    """

    name: str
    kind: str
    targets: tuple[str, ...]
    words: tuple[str, ...] = ()
    methods: str = ""
    inputs: str = ""
    steps: int = 0


class Shifts(Study):
    """See the module's docstring."""

    def run(self, words: Sequence[str]) -> int:
        """Run the grid of each kind of shift in turn and write the tables of all runs that have finished."""
        own, rest = own_words(words)
        rest = with_defaults(rest, _GRID_DEFAULTS)
        folder, entries, complete, failed = Path(own["out"]), [], True, False
        for part in parts_of(own, rest):
            session, complete = _run_part(part, own, rest, folder)
            entries += entries_of(part, session)
            failed = failed or bool(session.failed)
            if not complete:
                break
        if not entries:
            raise StudyError(f"no run of the study in {folder} has finished")
        camera = len(targets_of(own, rest)[0]) if "camera" in _entries(own["kinds"]) else 0
        _conclude(own, folder, entries, session, camera)
        if complete and not failed:
            return 0
        say(f"not all runs have ended; go on with\n  {again('dg.study shifts', words, folder)}")
        return 1 if complete else 130


def own_words(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The study's own keys, and the words for every run. Raises ConfigError for what cannot be."""
    for word in words:
        key = word.partition("=")[0]
        if key in _REFUSED:
            raise ConfigError(f"{key} cannot be set here: {_REFUSED[key]}")
    own, rest = split(words, DEFAULTS, _CHOICES)
    if not (own["steps"].isascii() and own["steps"].isdigit() and int(own["steps"]) > 1):
        raise ConfigError(f"steps must be a whole number above 1, got {own['steps']!r}")
    wrong = [kind for kind in _entries(own["kinds"]) if kind not in KINDS]
    if wrong or not _entries(own["kinds"]):
        raise ConfigError(f"kinds must be some of {list(KINDS)}, got {own['kinds']!r}")
    full = {"methods": f"[{','.join(dg_methods())}]", "inputs": _FULL_INPUTS, "seeds": "[0,1,2,3,4]"}
    for key, value in (_CORE if own["part"] == "core" else full).items():
        own[key] = own[key] or value
    return own, rest


def dg_methods() -> list[str]:
    """Every method that sees no target, erm first."""
    names = [name for name in METHODS if resolve(METHODS, "method", name).regime == "DG"]
    return sorted(names, key=lambda name: (name != "erm", name))


def parts_of(own: dict[str, str], rest: Sequence[str]) -> list[Part]:
    """The grids of the study, in the order in which they run. Raises ConfigError for a kind without its targets."""
    kinds, steps = _entries(own["kinds"]), int(own["steps"])
    camera, dataset = targets_of(own, rest)
    wanted = {"camera": camera, "dataset": dataset}
    missing = [kind for kind in ("camera", "dataset") if kind in kinds and not wanted[kind]]
    if missing:
        raise ConfigError(f"kinds has {missing}: give {' and '.join(f'{kind}=[NAME:PLACE]' for kind in missing)}")
    across = tuple(target for kind in ("camera", "dataset") if kind in kinds for target in wanted[kind])
    blind = BLIND if own["part"] == "core" else ""
    parts = []
    if across:
        parts = [Part("shifts", "across", across, steps=steps)]
        parts += [Part("half", "across", across, methods="[erm]", steps=steps // 2)]
    if "motion" in kinds:
        parts.append(_motion(own, rest, blind, steps))
    if "limited" in kinds:
        if not camera + dataset:
            raise ConfigError("kinds has limited: give camera= or dataset=")
        for people in _entries(own["limited"]):
            chosen = f"data.subjects_train=[{','.join(people.split('+'))}]"
            parts.append(Part(f"limited-{people}", "limited", camera + dataset, (chosen,), inputs=blind, steps=steps))
    return parts


def targets_of(own: dict[str, str], rest: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The targets of camera shift and of data set shift."""
    camera, dataset = (tuple(t.strip("'\"") for t in _entries(own[kind])) for kind in ("camera", "dataset"))
    if not own["cross"]:
        return camera, dataset
    if camera or dataset:
        raise ConfigError("give camera= and dataset=, or cross=, not both")
    given = dict(word.split("=", 1) for word in rest)
    label = given.get("data.label", given.get("data", "synthetic"))
    found = sorted(Path(own["cross"]).glob("*.npz"))
    ours = [path for path in found if path.stem.startswith(f"{label}_")]
    others = [path for path in found if path not in ours]
    return tuple(f"npz:{path}" for path in ours), tuple(f"npz:{path}" for path in others)


def _motion(own: dict[str, str], rest: Sequence[str], blind: str, steps: int) -> Part:
    """A source of few activities, and the test people doing the same and all others."""
    given = dict(word.split("=", 1) for word in rest)
    few, same = _entries(own["few"]), _entries(own["same"])
    if given.get("data") != "h36m" or not few or not same:
        raise ConfigError(
            "kinds has motion: give data=h36m (the file format), few=[ACTIVITY] and same=[ACTIVITY]; leave motion out "
            "for another source"
        )
    root, thin = given.get("data.root", ""), f"stride={max(1, int(given.get('data.stride', '1')) // 10)}"
    known = "+".join(quote(name, safe="*") for name in same)
    targets = (
        f"h36m:{root}?label=same_motion&{thin}&actions={known}",
        f"h36m:{root}?label=new_motion&{thin}&without={known}",
    )
    chosen = f"data.actions=[{','.join(map(quoted, few))}]"
    return Part("motion", "motion", targets, (chosen,), inputs=blind, steps=steps)


def _run_part(part: Part, own: dict[str, str], rest: Sequence[str], folder: Path) -> "tuple[GridSession, bool]":
    words = [*rest, *part.words]
    epochs = ceil(part.steps / steps_per_epoch(words))
    spelled = ",".join(quoted(target) for target in part.targets)
    words += [f"targets=[{spelled}]", f"epochs={epochs}", f"max_steps={part.steps}", f"out={folder / part.name}"]
    words += [f"methods={part.methods or own['methods']}", f"inputs={part.inputs or own['inputs']}"]
    options, shared = split_words([*words, f"seeds={own['seeds']}"])
    return run_grid(options, shared, lambda plan: say(f"\ndg.study shifts, {part.name}: {len(plan.cells)} runs"))


def steps_per_epoch(words: Sequence[str]) -> int:
    """Batches in one pass over the source that these words make."""
    from dg.datasets import DATASETS
    from dg.settings.command_line import check_plugins, parse

    grid = ("lifters", "parallel")
    config = parse([word for word in words if word.partition("=")[0] not in grid])
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


def _conclude(own: dict[str, str], folder: Path, entries: list[Entry], session: "GridSession", camera: int) -> None:
    """Tables to the terminal, the folder and MLflow. camera: how many of the targets are of camera shift."""
    # A run lists its targets in their order, those of camera shift first.
    across = next((e for e in entries if e.kind == "across"), None)
    listed = list(dict.fromkeys(row["target"] for row in across.summary["results"])) if across else []
    names = {"camera": listed[:camera], "dataset": listed[camera:]}
    sheets = sheets_of(entries, names, own["metric"], own["selection"])
    text = to_markdown(sheets)
    contents = {"shifts.md": text, "shifts.csv": to_csv(entries, own["metric"])}
    for name, content in contents.items():
        replace_file(folder / name, lambda file, content=content: file.write(content.encode()))
    say(f"\n{text}\nwritten to {folder}: {', '.join(contents)}")
    place = Place(folder, session.records.uri, session.records.parent_id)
    say(log_files(place, "studies/shifts", [folder / name for name in contents]))


def _entries(value: str) -> list[str]:
    return [part for part in parse_list(value) if part]
