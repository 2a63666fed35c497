"""`python -m tests.bench.lifters [NAME ...]`: what each lifter's forward and backward pass costs, as one JSON object.

Every lifter of the table with its default options, 16 joints, (x, y), batch 1024, training mode, one thread, the window
as long as the lifter needs; in milliseconds, and in lifted poses per second. `plain_ms` is a plain twin of the released
code's structure (`plain_graph_lifters`), where there is one, on the same weights; `speedup` the ratio. Contestants take
turns, medians of each; processor time of the one thread, so that a busy machine disturbs less.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from dg.methods.fast_matmul import use_fast_matmul
from dg.pose.skeleton import H36M_16
from dg.settings.plugins import make_options, resolve
from lifters import LIFTERS
from lifters.base import Lifter
from tests.bench.plain_graph_lifters import PlainSemGCN, PlainSTGCN

PLAIN = {"sem_gcn": PlainSemGCN, "st_gcn": PlainSTGCN}
UNTIMED = 2


def make(name: str) -> Lifter:
    kind = resolve(LIFTERS, "lifter", name)
    return kind(H36M_16, 2, make_options(kind, "lifter", name, {})).train()


def step(lifter: Lifter, lift: Callable[[Tensor], Tensor], features: Tensor) -> None:
    lifter.zero_grad()
    lift(features).square().mean().backward()


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(name: str, rows: int, repeats: int) -> dict[str, float]:
    torch.manual_seed(0)
    lifter = make(name)
    features = torch.randn(rows, getattr(lifter, "receptive_field", 1), len(H36M_16), 2)
    work = {"ms": lambda: step(lifter, lifter, features)}
    if name in PLAIN:
        plain = PLAIN[name](lifter)
        work["plain_ms"] = lambda: step(lifter, plain, features[:, 0])
    turns = [{key: seconds(one) for key, one in work.items()} for _ in range(repeats + UNTIMED)][UNTIMED:]
    medians = {key: statistics.median(turn[key] for turn in turns) for key in work}
    found = {key: round(1000 * value, 1) for key, value in medians.items()}
    found["samples_per_s"] = round(rows / medians["ms"])
    if name in PLAIN:
        found["speedup"] = round(medians["plain_ms"] / medians["ms"], 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="lifters; all of the table unless given")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=9, help="timed turns")
    parser.add_argument("--default-matmul", action="store_true", help="PyTorch's own matrix products")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    fast = not arguments.default_matmul and use_fast_matmul()
    found = {name: measure(name, arguments.batch, arguments.repeats) for name in arguments.names or sorted(LIFTERS)}
    json.dump({"batch": arguments.batch, "threads": 1, "fast_matmul": fast, "lifters": found}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
