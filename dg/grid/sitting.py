"""A grid from its options to its end, for `python -m dg.grid` and for whatever else needs many runs."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dg.grid.cells import GridOptions

if TYPE_CHECKING:
    from dg.grid.plan import Plan
    from dg.grid.session import GridSession


def run_grid(
    options: GridOptions, shared: Sequence[str], introduce: "Callable[[Plan], None]"
) -> "tuple[GridSession, bool]":
    """Go on with the grid, or begin it, until every cell has ended: the session, and whether it came to its end.

    shared: words for every cell. introduce: is told what will run, before it does. Raises ConfigError, TrackingError,
    or GridBusyError.
    """
    from dg.grid.child_run import stopped_by_signals
    from dg.grid.places import find_places
    from dg.grid.plan import choose_folder, make_plan
    from dg.grid.session import GridSession

    address = os.environ.get("RAY_ADDRESS", "")
    if address and not any(word.startswith(("pool=", "address=")) for word in shared):
        shared = [*shared, f"address={address}"]
    plan = make_plan(options, shared)
    introduce(plan)
    folder = choose_folder(options.out, plan)
    session = GridSession(plan, folder, find_places([p.config for p in plan.cells], options.parallel))
    with stopped_by_signals(session.driver, "cells"):
        return session, session.run()


def again(program: str, words: Sequence[str], folder: Path) -> str:
    """The command that goes on with what is in a folder."""
    given = [*(word for word in words if not word.startswith("out=")), f"out={folder}"]
    return " ".join([f"python -m {program}", *map(shlex.quote, given)])
