"""`python -m tests.bench.sequences [NAME ...]`: what windows of 1 to 243 frames cost each lifter, as JSON.

Forward in eval mode without gradients, and forward with backward in training mode; default options, 17 joints, (x, y),
one thread. Frames are those that are answered: one a window, or all of it (motion_bert). Lifters of single frames are
timed for one frame alone. `multiply_adds` are those of a forward pass for each answered frame, counted in the products.

For video_pose_3d also: `dilated_*`, the dilated form on the same windows, where the strided one is the default;
`clip_*`, the dilated form on one long window, `--clip` answered frames. Frames that come one by one: `window_*` and
`window_dilated_*` lift each one's window alone, `stream_*` streams them, `chunks_*` in chunks of `--chunk`. Contestants
take turns, medians of each; processor time of the one thread, so that a busy machine disturbs less.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dg.methods.fast_matmul import use_fast_matmul
from dg.pose.skeleton import H36M_17
from dg.settings.plugins import make_options, resolve
from lifters import LIFTERS
from lifters.base import Lifter
from lifters.streaming import StreamingVideoPose3D
from lifters.video_pose_3d import VideoPose3D

FRAMES = (1, 9, 27, 81, 243)
Work = Callable[[], object]


def make(name: str, frames: int, given: dict[str, Any]) -> Lifter | None:
    """The lifter for windows of so many frames; None where it takes none, or sees but one frame of them."""
    kind = resolve(LIFTERS, "lifter", name)
    options = make_options(kind, "lifter", name, given)
    try:
        fitted = kind.for_frames(options, frames)
    except ValueError:
        return None
    return None if frames > 1 and fitted == options else kind(H36M_17, 2, fitted)


def lifted(lifter: Lifter, lift: Callable[[Tensor], Tensor], features: Tensor) -> Work:
    def work() -> None:
        lifter.eval()
        with torch.no_grad():
            lift(features)

    return work


def trained(lifter: Lifter, lift: Callable[[Tensor], Tensor], features: Tensor) -> Work:
    def work() -> None:
        lifter.train().zero_grad()
        lift(features).square().mean().backward()

    return work


def streamed(stream: StreamingVideoPose3D, clip: Tensor, chunk: int) -> Work:
    def work() -> None:
        for part in clip.split(chunk, 1):
            stream.push(part)

    return work


def contestants(lifter: Lifter, frames: int, arguments: argparse.Namespace) -> dict[str, tuple[Work, int]]:
    """What is timed, and how many frames it answers for."""
    rows = max(2, arguments.batch_frames // frames)
    features = torch.randn(rows, frames, len(H36M_17), 2)
    answered = rows * len(range(frames)[lifter.target_frames(frames)])
    found = {"forward": (lifted(lifter, lifter, features), answered)}
    if not arguments.no_training:
        found["train"] = (trained(lifter, lifter, features), answered)
    if not isinstance(lifter, VideoPose3D) or frames == 1:
        return found
    clip = torch.randn(1, arguments.clip + frames - 1, len(H36M_17), 2)
    stream = StreamingVideoPose3D(lifter)
    stream.push(clip[:, :frames])
    chunked = clip[:, : arguments.chunk * max(1, arguments.stream // arguments.chunk)]

    def dilated(windows: Tensor) -> Tensor:
        return lifter.lift(windows, strided=False)

    found["dilated_forward"] = (lifted(lifter, dilated, features), answered)
    if not arguments.no_training:
        found["dilated_train"] = (trained(lifter, dilated, features), answered)
    found["clip_forward"] = (lifted(lifter, dilated, clip), arguments.clip)
    found["window_forward"] = (lifted(lifter, lifter, features[:1]), 1)
    found["window_dilated_forward"] = (lifted(lifter, dilated, features[:1]), 1)
    found["stream_forward"] = (streamed(stream, clip[:, : arguments.stream], 1), arguments.stream)
    found["chunks_forward"] = (streamed(stream, chunked, arguments.chunk), chunked.shape[1])
    return found


def seconds(work: Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def multiply_adds(work: Work) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() // 2


def measure(lifter: Lifter, frames: int, arguments: argparse.Namespace) -> dict[str, float]:
    work = contestants(lifter, frames, arguments)
    for one, _ in work.values():
        one()
    turns = [{name: seconds(one) for name, (one, _) in work.items()} for _ in range(arguments.repeats)]
    found: dict[str, float] = {}
    for name, (one, answered) in work.items():
        found[f"{name}_frames_per_s"] = round(answered / statistics.median(turn[name] for turn in turns), 1)
        if name.endswith("forward"):
            found[f"{name}_multiply_adds"] = round(multiply_adds(one) / answered)
    return found


def arguments_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="lifters; all of the table unless given")
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES, help="lengths of windows")
    parser.add_argument("--batch-frames", type=int, default=2430, help="frames in a batch of windows, two at least")
    parser.add_argument("--clip", type=int, default=1024, help="answered frames of the long window")
    parser.add_argument("--stream", type=int, default=64, help="frames that are streamed")
    parser.add_argument("--chunk", type=int, default=16, help="frames of a streamed chunk")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns, after an untimed one")
    parser.add_argument("--no-training", action="store_true", help="forward alone")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of every named lifter")
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    fast = use_fast_matmul()
    given = {name: yaml.safe_load(value) for name, value in (word.split("=", 1) for word in arguments.option)}
    found: dict[str, dict[int, dict[str, float]]] = {}
    for name in arguments.names or sorted(LIFTERS):
        found[name] = {}
        for frames in arguments.frames:
            lifter = make(name, frames, given)
            if lifter is not None:
                found[name][frames] = measure(lifter, frames, arguments)
    settings = {name: value for name, value in vars(arguments).items() if name not in ("names", "frames")}
    json.dump({"settings": settings, "threads": 1, "fast_matmul": fast, "lifters": found}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
