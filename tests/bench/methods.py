"""`python -m tests.bench.methods`: what training costs with each DG method, as one JSON object.

Seconds of processor time per 1,000 poses that the lifter is trained on, and the same as a ratio to `erm` with the same
inputs; xy, and xyd with focal dscale2d. Everything a run does at each batch is in it: proposals, mapping to the body,
rendering, the method's own networks, the lifter's steps. Pre-training and warm-up are over. Simple baseline, batches of
256 synthetic poses, 16 joints, one thread, everything in one process; methods take turns, and of each method's rounds
the median counts.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import fields

import torch

from dg.methods import METHODS
from dg.methods.base import DGMethod, StepKey
from dg.methods.fast_matmul import use_fast_matmul
from dg.pose.batch import PoseBatch
from dg.settings.command_line import check_plugins, parse, table_of
from dg.settings.plugins import resolve
from dg.training.build import make_method
from dg.training.live_depth import LiveDepth
from dg.training.problem import load_problem
from dg.training.rendering import make_live_depth

INPUTS = ("xy", "xyd")
# So that what is timed is the stage in which the lifter learns.
NO_WARMUP = {"warmup_iterations": 0}


class Contestant:
    """One method with one kind of input, ready to train."""

    def __init__(self, name: str, inputs: str, batch: int) -> None:
        method = resolve(METHODS, "method", name)
        words = [f"method={name}", f"inputs={inputs}", "pool=local", "cache=off", f"batch_size={batch}"]
        words += ["pretrain_epochs=0", "epochs=1000", "data.clips=120"]
        words += [f"method.{o}={v}" for o, v in NO_WARMUP.items() if o in {f.name for f in fields(method.Options)}]
        words += ["adapt_to=synthetic:wide"] if method.regime == "DA" else []
        config = parse(words)
        options = check_plugins(config)
        problem = load_problem(config, options)
        self.name, self.batch, self.number = f"{name} {inputs}", batch, 0
        self.live: LiveDepth | None = make_live_depth(config, options, 0.0)
        self.method: DGMethod = make_method(config, options, problem)
        rows = torch.arange(4 * batch) % len(problem.train)
        self.source: PoseBatch = problem.train.poses[rows]
        if self.live is not None:
            self.source = self.live.of_dataset(self.source, problem.train.digest)

    def step(self) -> None:
        start = self.number % 4 * self.batch
        batch, key = self.source[start : start + self.batch], StepKey(0, self.number // 40, self.number % 40)
        torch.manual_seed(key.number("propose"))
        proposed = self.method.propose(batch, key)
        if proposed is not None and self.live is not None:
            proposed = self.live.submit(proposed, key.number("depth"), batch).result()
        torch.manual_seed(key.number("update"))
        self.method.update(batch, proposed, key)
        self.number += 1

    def round(self, steps: int) -> float:
        """Processor seconds per 1,000 trained poses of some steps."""
        before, start = self.method.lifter_steps, time.process_time()
        for _ in range(steps):
            self.step()
        return (time.process_time() - start) / (self.method.lifter_steps - before) / self.batch * 1000


def measure(names: list[str], batch: int, rounds: int, steps: int) -> dict[str, object]:
    torch.set_num_threads(1)
    use_fast_matmul()
    contestants = [Contestant(name, inputs, batch) for inputs in INPUTS for name in names]
    for contestant in contestants:
        contestant.round(steps)
    times: dict[str, list[float]] = {c.name: [] for c in contestants}
    for _ in range(rounds):
        for contestant in contestants:
            times[contestant.name].append(contestant.round(steps))
    median = {name: statistics.median(values) for name, values in times.items()}
    return {
        "batch": batch,
        "steps_a_round": steps,
        "rounds": rounds,
        "methods": {
            name: {
                inputs: {
                    "s_per_1000_poses": round(median[f"{name} {inputs}"], 4),
                    "ratio_to_erm": round(median[f"{name} {inputs}"] / median[f"erm {inputs}"], 2),
                }
                for inputs in INPUTS
            }
            for name in names
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="batches in a round")
    parser.add_argument("--methods", nargs="*", default=sorted(table_of("method")))
    arguments = parser.parse_args()
    names = sorted({"erm", *arguments.methods})
    json.dump(measure(names, arguments.batch, arguments.rounds, arguments.steps), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
