"""A process that loads untrusted pickles, so that a test outlives what they do to it: `python -m` this file.

It reads pickles from its standard input, each behind its length in four bytes, and answers one line for each:
`refused`, `loaded REPR` of the value, or `escaped ERROR` for an error that is none of the loader's.
"""

import gc
import json
import resource
import struct
import subprocess
import sys

import numpy as np

from dg.files.errors import FileFormatError
from dg.files.safe_pickle import unpickle

MOST_MEMORY = 3 << 30


class Holder:
    """Stands in for a foreign class."""


FOREIGN = {"chumpy.ch.Ch": Holder}


class PickleReader:
    """The process, seen from a test. `load` raises AssertionError if it dies."""

    def __init__(self):
        command = [sys.executable, "-m", "tests.files.pickle_reader"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def load(self, data: bytes) -> str:
        try:
            self.process.stdin.write(struct.pack("<I", len(data)) + data)
            self.process.stdin.flush()
            answer = self.process.stdout.readline().decode()
        except BrokenPipeError:
            answer = ""
        assert answer, f"the process ended with {self.process.wait()} over {data!r}"
        return answer.strip()

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(30) == 0
        self.process.stdout.close()


def looked_at(value, depth=0):
    """Plain text of a value; touches every byte of every array in it."""
    if depth > 50:
        return "deep"
    if isinstance(value, Holder):
        return {"holder": looked_at(vars(value), depth + 1)}
    if isinstance(value, dict):
        return {repr(k)[:200]: looked_at(v, depth + 1) for k, v in list(value.items())[:50]}
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *(looked_at(v, depth + 1) for v in value[:50])]
    if isinstance(value, (set, frozenset)):
        return [type(value).__name__, sorted(repr(v)[:200] for v in list(value)[:50])]
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return [str(value.dtype), value.shape, [looked_at(v, depth + 1) for v in value.ravel()[:50]]]
    if isinstance(value, (np.ndarray, np.generic)):
        data = np.asarray(value)
        return [str(data.dtype), data.shape, data.tobytes()[:200].hex(), len(data.tobytes())]
    return repr(value)[:200]


def answer(data: bytes) -> str:
    try:
        value = unpickle(data, "it", FOREIGN)
        return f"loaded {json.dumps(looked_at(value), default=str)}"
    except FileFormatError:
        return "refused"
    except RecursionError:
        return "loaded deep"
    except BaseException as error:
        return f"escaped {type(error).__name__}: {error}".replace("\n", " ")


def main():
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    source = sys.stdin.buffer
    while head := source.read(4):
        said = answer(source.read(struct.unpack("<I", head)[0]))
        gc.collect(0)
        sys.stdout.write(said + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
