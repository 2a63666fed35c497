"""`dg report [RUN ...] [key=value ...]`: one web page of runs, to be sent to somebody or opened years later."""

import sys
from pathlib import Path

from dg.compare.settings import ReportOptions, as_here
from dg.files.atomic import write_file
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


@COMMAND.main
def main(args: list[str]) -> int:
    """Write the page; returns the exit code."""
    folders = [Path(arg) for arg in args if "=" not in arg]
    options = read(ReportOptions, as_here(arg for arg in args if "=" in arg))
    # After the help, which needs none of it.
    from dg.compare.report.page import report_page
    from dg.compare.report.sources import runs_in_folders, runs_in_store

    if folders:
        found = runs_in_folders(folders, options.selection, options.metric)
        title = f"Runs of {', '.join(map(str, folders))}"
    else:
        found, title = runs_in_store(options), f"Experiment {options.experiment}"
    page = report_page(found, options, options.title or title)
    write_file(Path(options.out), page)
    print(f"{len(found)} runs, {len(page) / 1e6:.1f} MB, written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
