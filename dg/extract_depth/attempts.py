"""Who was being worked on when a process died: a journal beside the results, so that nothing kills workers for ever.

Ray Data starts a dead worker again and hands it the same images, without end (SYSTEMS 2.1 c). Each step is written
down before it is taken; a step that was the last of several attempts is the one that kills. Written without a sync:
that a process dies loses nothing.
"""

from collections import Counter
from pathlib import Path

_START = "start"


class Attempts:
    """The journal of one shard; each process that works on it makes its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self._deaths = Counter(lines[i - 1] for i, line in enumerate([*lines, _START]) if i and line == _START)
        self._file = path.open("a")
        self.begin(_START)

    def begin(self, step: str) -> None:
        """About to take this step."""
        self._file.write(f"{step}\n")
        self._file.flush()

    def deaths(self, step: str) -> int:
        """How many attempts ended in this step."""
        return self._deaths[step]

    def finish(self) -> None:
        """All is done and stored."""
        self._file.close()
        self.path.unlink(missing_ok=True)
