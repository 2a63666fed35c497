"""What a study leaves behind: NAME.md, NAME.csv and NAME.png in its folder, and the same in its MLflow run."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dg.compare.sheets import Sheet, to_markdown
from dg.files.atomic import replace_file
from dg.study.figures import error_figure
from dg.study.lines import FRAMES, Axis, Line, to_csv
from dg.tracking.stores import OFF, client_of


@dataclass(frozen=True)
class Place:
    """A study's folder and the MLflow run that stands for it; run_id is empty where there is none."""

    folder: Path
    uri: str
    run_id: str


def conclude(
    name: str,
    heading: str,
    place: Place,
    sheets: Sequence[Sheet],
    lines: Sequence[Line],
    metric: str,
    axis: Axis = FRAMES,
) -> None:
    """Print the tables, write the files and log them. heading: of the figure."""
    text = to_markdown(sheets)
    contents = {
        f"{name}.md": text.encode(),
        f"{name}.csv": to_csv(lines, metric, axis).encode(),
        f"{name}.png": error_figure(lines, metric, heading, axis),
    }
    paths = []
    for file_name, content in contents.items():
        path = place.folder / file_name
        replace_file(path, lambda file, content=content: file.write(content))
        paths.append(path)
    say(f"\n{text}\nwritten to {place.folder}: {', '.join(contents)}")
    say(log_files(place, f"studies/{name}", paths))


def log_files(place: Place, folder: str, paths: Sequence[Path]) -> str:
    """Put files into the study's MLflow run; returns what happened, in words. Never raises because of the store."""
    if place.uri in OFF or not place.run_id:
        return "not logged: the runs were not tracked"
    try:
        client = client_of(place.uri)
        for path in paths:
            client.log_artifact(place.run_id, str(path), folder)
    except Exception as error:  # MLflow, its database driver or the network
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"not logged to the MLflow run {place.run_id}: {reason}; the same command again tries it again"
    return f"logged to the MLflow run {place.run_id} under {folder}"


def say(text: str) -> None:
    """One line of what a study tells while it runs."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
