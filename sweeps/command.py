"""A sweep as a command: run it, and turn what may go wrong into one message and an exit code."""

import shlex
from collections.abc import Callable, Sequence

from dg.settings.command import fail
from sweeps.plan import SweepPlan


def run(program: str, make_plan: Callable[[], SweepPlan], words: Sequence[str]) -> int:
    """Go on with the study, or begin it, until its trials are done. Returns the exit code.

    make_plan: raises ConfigError for settings that cannot be. words: what the user gave, for the command that goes on.
    """
    from dg.grid.child_run import stopped_by_signals
    from dg.tracking import tracking_uri
    from sweeps.session import Session

    session = None
    try:
        plan = make_plan()
        tracking_uri(plan.config.tracking.uri)
        session = Session(plan)
        with stopped_by_signals(session.driver, "trials"):
            done = session.run()
    except KeyboardInterrupt:  # before there was anything to stop
        return 130
    except Exception as error:
        code, said = _explained(error)
        if code is None:
            raise
        return fail(said, code)
    if not done:
        again = " ".join([f"python -m {program}", *map(shlex.quote, words)])
        print(f"interrupted; go on with\n  {again}", flush=True)
        return 130
    return 0 if session.teller.outcome().points else 1


def _explained(error: Exception) -> tuple[int | None, Exception]:
    """Exit code and message; None for an error that is our own mistake."""
    from dg.settings.errors import exit_code
    from sweeps.lock import StudyBusyError
    from sweeps.storage import storage_lost
    from sweeps.study import SweepError

    if isinstance(error, SweepError):
        return error.code, error
    if isinstance(error, StudyBusyError):
        return 3, error
    lost = storage_lost(error)
    if lost:
        remedy = "running trials write a checkpoint and end; the same command goes on when it is back"
        return 3, RuntimeError(f"the study storage is gone: {lost}\n{remedy}")
    return exit_code(error), error
