"""`dg report [RUN ...] [key=value ...]`: one web page of runs, to be sent to somebody or opened years later."""

import sys
from pathlib import Path

from dg.compare.report.settings import ReportOptions
from dg.compare.settings import CompareOptions
from dg.files.atomic import replace_file
from dg.settings.command import Command
from dg.settings.errors import DATA
from dg.settings.reader import read

COMMAND = Command(
    name="report",
    about="""Write one web page of runs: the comparison with confidence, error by epoch, viewpoint distributions,
rendered poses, and the worst, median and best poses on each target in 3D, which can be turned with the mouse.

RUN is the folder of a run, or a folder of such folders, as a grid makes it. Without one the runs are those of an
experiment in MLflow, or of one grid in it (parent=). The page needs no server, no network and no other file.""",
    settings=ReportOptions,
    usage="[RUN ...] [key=value ...]",
    codes=(DATA,),
    examples=("dg report runs/mine runs/other out=report.html", "dg report experiment=dg"),
)
_SAME_AS = {"tracking.uri": "tracking_uri", "tracking.experiment": "experiment"}  # as `dg train` calls them


@COMMAND.main
def main(args: list[str]) -> int:
    """Write the page; returns the exit code."""
    folders = [Path(arg) for arg in args if "=" not in arg]
    options = read(ReportOptions, [_renamed(arg) for arg in args if "=" in arg])
    # After the help, which needs none of it.
    from dg.compare.report.page import report_page
    from dg.compare.report.sources import runs_in_folders, runs_in_store

    compared = CompareOptions(
        experiment=options.experiment,
        tracking_uri=options.tracking_uri,
        parent=options.parent,
        selection=options.selection,
        metric=options.metric,
        baseline=options.baseline,
    )
    if folders:
        found = runs_in_folders(folders, options.selection, options.metric)
        title = f"Runs of {', '.join(map(str, folders))}"
    else:
        found, title = runs_in_store(compared), f"Experiment {compared.experiment}"
    page = report_page(found, compared, options.title or title)
    replace_file(Path(options.out), lambda file: file.write(page.encode()))
    print(f"{len(found)} runs, {len(page) / 1e6:.1f} MB, written to {options.out}")
    return 0


def _renamed(arg: str) -> str:
    key, equals, value = arg.partition("=")
    return f"{_SAME_AS.get(key, key)}{equals}{value}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
