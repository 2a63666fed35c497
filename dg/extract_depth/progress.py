"""The progress of an extraction, as one line on the terminal."""

import sys
import time

EVERY_S = 0.5
EVERY_S_IN_FILES = 30.0


class ExtractionProgress:
    """Counts the images of an extraction.

    Args:
        total: images of the extraction.
        done: images that earlier processes have done, which `rate` does not count.
    """

    def __init__(self, total: int, done: int) -> None:
        self.total, self.done, self._before = total, done, done
        self._start = time.monotonic()
        self._live = sys.stdout.isatty()
        self._shown = 0.0 if self._live else self._start
        if done:
            print(f"{done:,} of {total:,} images are done already", flush=True)

    @property
    def rate(self) -> float:
        """Images a second."""
        return (self.done - self._before) / max(time.monotonic() - self._start, 1e-9)

    def add(self, images: int) -> None:
        """So many more are stored."""
        self.done += images
        now = time.monotonic()
        if now - self._shown < (EVERY_S if self._live else EVERY_S_IN_FILES):
            return
        self._shown = now
        left = (self.total - self.done) / self.rate
        line = f"{self.done:,} of {self.total:,} images, {self.rate:,.1f}/s, {_duration(left)} left"
        print(f"\r{line:<78}" if self._live else line, end="" if self._live else "\n", flush=True)

    def close(self) -> None:
        """Ends the line."""
        if self._live and self._shown:
            print(f"\r{'':<78}\r", end="", flush=True)
        if self.done > self._before:
            print(f"{self.done - self._before:,} images at {self.rate:,.1f}/s", flush=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
