"""The folder OUT.parts: it holds what of an extraction is done already, and is locked by the process that works."""

import json
import shutil
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from dg.extract_depth.plan import ExtractionPlan
from dg.extract_depth.shard import shard_file
from dg.files.atomic import write_json
from dg.settings.config import ConfigError


class Workplace:
    """The folder of one extraction, which one process at a time may enter.

    Raises ConfigError on entry where a result is there already, where the folder belongs to another extraction, and
    where another process works in it.
    """

    def __init__(self, out: Path, plan: ExtractionPlan) -> None:
        self.out, self.plan = out, plan
        self.parts = out.with_name(f"{out.name}.parts")
        self._lock = FileLock(str(out.with_name(f".{out.name}.lock")))

    def __enter__(self) -> "Workplace":
        if self.out.exists():
            raise ConfigError(f"{self.out} is there already; give another out=, or remove it to extract anew")
        self.out.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(f"another process is writing {self.out}; wait for it, or give another out=") from error
        try:
            self._claim()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def unfinished(self) -> list[int]:
        """Numbers of the shards that are not stored yet."""
        return [number for number in range(self.plan.shard_count) if not shard_file(self.parts, number).is_file()]

    def clear(self) -> None:
        """Remove the folder, when everything is in the result."""
        shutil.rmtree(self.parts)

    def _claim(self) -> None:
        path, digest = self.parts / "plan.json", self.plan.digest
        if self.parts.exists() and path.is_file():
            found = json.loads(path.read_text())
            if found.get("digest") != digest:
                changed = [k for k, v in self.plan.provenance.items() if found.get("provenance", {}).get(k) != v]
                raise ConfigError(
                    f"{self.parts} belongs to another extraction (other {', '.join(changed) or 'images, keypoints'}); "
                    "give another out=, or remove that folder"
                )
            return
        state = {"digest": digest, "provenance": self.plan.provenance}
        write_json(path, state)

    def _release(self) -> None:
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)
