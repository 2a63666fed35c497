"""`dg doctor [FILE.yaml ...] [key=value ...]`: is this machine, or a cluster file, ready?"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dg.files.plain_text import one_line
from dg.settings.command import Command
from dg.settings.command_line import parse
from dg.settings.reader import split_args

if TYPE_CHECKING:
    from dg.doctor import Finding

LONGEST = 1000  # characters of a finding: a cluster file may hold anything
STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}
COMMAND = Command(
    name="doctor",
    about="""Look whether this machine, or a cluster file, is ready.

Without a file it looks at this machine: interpreter, packages against constraints.txt, CUDA, a triangle drawn, memory,
disk, shared memory, open files, the MLflow store, ports, Ray, body model and depth weights.

With files it looks at those: for `ray up`, by Ray's own validator and for known traps; for KubeRay (RayJob,
RayCluster), for known traps. With keys too, at this machine as well. Nothing is started, changed or downloaded.

It ends with 0 where nothing is wrong (there may be warnings), and with 2 for an error or a wrong key.""",
    settings=None,
    usage="[FILE.yaml ...] [key=value ...]",
    train_keys="keys: those of dg train; give those of the run that you plan.",
    examples=("dg doctor cluster.yaml", "dg doctor body=smpl body.path=FILE depth=depth_anything_v2"),
)


@COMMAND.main
def main(args: list[str]) -> int:
    """Run the whole command and return its exit code."""
    files, pairs = split_args(args, positional=True)
    settings = [f"{key}={value}" for key, value in pairs]
    config = parse(settings)
    # After the help, which needs none of it.
    from dg.doctor import diagnose_file, diagnose_machine

    levels: list[str] = []
    for name in files:
        levels += _show(name, diagnose_file(Path(name)))
    if settings or not files:
        levels += _show("this machine", diagnose_machine(config))
    _sum_up(levels)
    return 2 if "error" in levels else 0


def _show(subject: str, findings: "Sequence[Finding]") -> list[str]:
    """Print the findings; returns their levels."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    console.print(f"[bold]{escape(subject)}[/bold]")
    wide = max(len(finding.name) for finding in findings)
    for found in findings:
        style = STYLES[found.level]
        console.print(
            f"  [{style}]{found.level:<7}[/{style}]  {found.name:<{wide}}  {escape(one_line(found.text, LONGEST))}"
        )
        if found.remedy:
            console.print(f"  {'':7}  {'':{wide}}  [dim]what to do:[/dim] {escape(one_line(found.remedy, LONGEST))}")
    return [finding.level for finding in findings]


def _sum_up(levels: Sequence[str]) -> None:
    counts = [
        f"{levels.count(level)} {level}{'s' if levels.count(level) > 1 else ''}" for level in ("error", "warning")
    ]
    told = [count for count in counts if not count.startswith("0")]
    sys.stdout.write(f"{', '.join(told) or 'all well'}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
