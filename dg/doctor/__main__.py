"""`python -m dg.doctor [FILE.yaml ...] [key=value ...]`: is this machine, or a cluster file, ready?

Without a file it looks at this machine: interpreter, packages against constraints.txt, CUDA, a triangle drawn, memory,
disk, shared memory, open files, the MLflow store, ports, Ray, body model and depth weights. key=value words are
dg.train's: say those of the run that you plan (body=smpl body.path=FILE depth=depth_anything_v2 tracking.uri=URI).

With files it looks at those: for `ray up`, by Ray's own validator and for known traps; for KubeRay (RayJob,
RayCluster), for known traps. With words too, at this machine as well. Nothing is started, changed or downloaded.

exit codes: 0 nothing wrong (there may be warnings), 2 an error, or a wrong word
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dg.settings.command_line import fail, parse
from dg.settings.config import ConfigError

if TYPE_CHECKING:
    from dg.doctor import Finding

STYLES = {"ok": "green", "warning": "yellow", "error": "bold red"}


def main(words: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    if {"--help", "-h", "help"} & set(words):
        sys.stdout.write(__doc__ or "")
        return 0
    settings = [word for word in words if "=" in word]
    files = [word for word in words if "=" not in word]
    try:
        if wrong := [word for word in files if word.startswith("-")]:
            raise ConfigError(f"unknown option {wrong[0]!r}; expected files and key=value words")
        config = parse(settings)
    except ConfigError as error:
        return fail(error, 2)
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
        console.print(f"  [{style}]{found.level:<7}[/{style}]  {found.name:<{wide}}  {escape(found.text)}")
        if found.remedy:
            console.print(f"  {'':7}  {'':{wide}}  [dim]what to do:[/dim] {escape(found.remedy)}")
    return [finding.level for finding in findings]


def _sum_up(levels: Sequence[str]) -> None:
    counts = [
        f"{levels.count(level)} {level}{'s' if levels.count(level) > 1 else ''}" for level in ("error", "warning")
    ]
    told = [count for count in counts if not count.startswith("0")]
    sys.stdout.write(f"{', '.join(told) or 'all well'}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
