"""A journal of the images in work, so that an image whose processing ends the process is left out at last.

Ray Data starts a dead worker again and hands it the same images, without end (SYSTEMS 2.1 c). A worker therefore writes
each step into the journal before it takes it. The last step of an attempt that did not finish is the one in which the
process died; a step in which several attempts died is not taken again. The file is not synced to the disk, for what is
written survives the end of a process.
"""

from collections import Counter
from pathlib import Path

_START = "start"


class Attempts:
    """The journal of one shard. Each process that works on the shard opens it anew, which counts as an attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.is_file() else []
        self._deaths = Counter(lines[i - 1] for i, line in enumerate([*lines, _START]) if i and line == _START)
        self._file = path.open("a")
        self.begin(_START)

    def begin(self, step: str) -> None:
        """Write down that this step is taken next."""
        self._file.write(f"{step}\n")
        self._file.flush()

    def deaths(self, step: str) -> int:
        """How many attempts died in this step."""
        return self._deaths[step]

    def finish(self) -> None:
        """Remove the journal, when the shard is stored."""
        self._file.close()
        self.path.unlink(missing_ok=True)
