"""`python -m tests.bench.training`: what a PoseAug iteration costs, as one JSON object.

Batch 1024, simple baseline, (x, y), 16 joints, one thread. `iteration` is one generator step with feedback, and one of
each discriminator at every second iteration, of PoseAug's released form (docs/augmentation.md), which does what the
twin does; `poseaug_default_iteration_s` is that of our default, which has no feedback and no learned rigid transform.
Lifter updates are apart. The twin (`released_iteration`) is a plain
re-implementation of the released code's structure, measured in the same run, turn by turn with ours, medians of each.
On a GPU a fourth contestant is ours with its steps replayed as CUDA graphs (`graphs=on`).
Seconds are processor time, so that a busy machine disturbs less; with `--device cuda` they are by the wall, and the GPU
is waited for. `recorded_released_s` is what the released code itself took on one core of such a machine; it is not
measured here.

`matrix_products_s` is what the large matrix products of our iteration take by themselves; a program that makes them
with this library is at most `speedup_bound` times as fast as the twin, if all else costs it nothing.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dg.methods.base import MethodContext, SourceData, StepKey
from dg.methods.fast_matmul import use_fast_matmul
from dg.methods.plan import TrainingPlan
from dg.methods.poseaug import PoseAug, PoseAugOptions
from dg.pose.batch import InputSpec, PoseBatch
from dg.pose.bones import bone_lengths
from dg.pose.camera import Camera
from dg.pose.skeleton import H36M_16
from lifters.simple_baseline import SimpleBaseline, SimpleBaselineOptions
from tests.bench.released_iteration import ReleasedIteration

RECORDED_RELEASED_S = 0.69
# The pools fill during the first iterations; an even number, as discriminators step at every second one.
UNTIMED = 10
RECORDED = 48  # iterations until steps are replayed: full pools at a batch of 256, then plain steps of both kinds
LARGE = 1e7  # operations of a product that counts: of the networks' layers, and not of a skeleton's matrices
DEFAULT = PoseAugOptions(warmup_iterations=0)
RELEASED = PoseAugOptions(
    warmup_iterations=0, rigid="learned", feedback="released", templates="source", warmup_share=0.0, rates="released"
)


def source_batch(rows: int, seed: int) -> PoseBatch:
    """Random walks of bones about a standing person, 4 to 6 m away, seen by distorted cameras."""
    random = torch.Generator().manual_seed(seed)
    bones = torch.randn(rows, 15, 3, generator=random) * 0.2 + 0.1
    joints = H36M_16.path_matrix() @ bones
    place = torch.randn(rows, 1, 3, generator=random) * torch.tensor([0.3, 0.15, 0.4]) + torch.tensor([0.0, 0.0, 5.0])
    camera = Camera(
        focal=torch.tensor([2.29, 2.2876]).repeat(rows, 1),
        center=torch.tensor([0.025, 0.029]).repeat(rows, 1),
        distortion=torch.tensor([-0.2071, 0.2478, -0.00308, -0.000976, -0.00142]).repeat(rows, 1),
        extent=torch.tensor([1.0, 1.002]).repeat(rows, 1),
    )
    return PoseBatch.from_joints((joints + place)[:, None], camera, H36M_16)


def make_method(
    source: PoseBatch, device: torch.device | str = "cpu", options: PoseAugOptions = DEFAULT, graphs: str = "off"
) -> PoseAug:
    plan = TrainingPlan(total_steps=100_000, steps_per_epoch=1000)
    lifter = SimpleBaseline(H36M_16, 2, SimpleBaselineOptions())
    data = SourceData(source.to("cpu"), bone_lengths(source.joints_3d[:5, 0], H36M_16).cpu())
    inputs = InputSpec(channels="xy", dscale2d="off")
    context = MethodContext(lifter, inputs, H36M_16, plan, data, torch.device(device), graphs=graphs)
    return PoseAug(context, options)


def seconds(work: Callable[[], object], device: str) -> float:
    """Processor time; on a GPU, which works for itself, time by the wall until it has finished."""
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def per_iteration(times: list[float]) -> float:
    """The mean of the medians of iterations with and without discriminator steps, which alternate."""
    return (statistics.median(times[0::2]) + statistics.median(times[1::2])) / 2


class Products(TorchDispatchMode):
    """Notes the large matrix products that are made within this context, and makes them again."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[Any, list[torch.Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("mm", "addmm", "bmm", "baddbmm"):
            inner, outer = args[-2].shape, args[-1].shape[-1]
            if 2 * inner.numel() * outer >= LARGE:
                self.made.append((func, [a.detach() for a in args]))
        return func(*args, **(kwargs or {}))

    def again(self) -> None:
        """Make them all."""
        for func, args in self.made:
            func(*args)


class Contest:
    """Our iteration, the same with PyTorch's own matrix products, and the twin, turn by turn on the same poses."""

    def __init__(self, rows: int, device: str = "cpu") -> None:
        self.device = device
        self.source = source_batch(rows, 0).to(torch.device(device)).knowing(None)
        self.ours, self.default_matmul_ours = (make_method(self.source, device, RELEASED) for _ in range(2))
        self.default_form = make_method(self.source, device)
        self.graphed = make_method(self.source, device, RELEASED, graphs="on") if device != "cpu" else None
        self.twin = ReleasedIteration(device)
        camera = self.source.camera
        self.camera = torch.cat([camera.focal, camera.center, camera.distortion], -1)
        self.default_matmul = getattr(getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision", None)
        self.fast = False

    def matmul(self, fast: bool) -> None:
        if fast:
            self.fast = use_fast_matmul()
        elif self.default_matmul is not None:
            torch.backends.mkldnn.matmul.fp32_precision = self.default_matmul

    def record(self) -> None:
        """Iterate until the steps are replayed, those with discriminators and those without."""
        if self.graphed is None:
            return
        for number in range(RECORDED):
            self.iterate(self.graphed, StepKey(1, 0, number))
            self.graphed.step_lifter(self.source)

    def iterate(self, method: PoseAug, key: StepKey) -> None:
        method.lifter.train()
        method._step_augmentor(self.source, None, key)

    def turn(self, key: StepKey) -> dict[str, float]:
        """Seconds of each contestant's turn."""
        joints, joints_2d = self.source.joints_3d[:, 0], self.source.joints_2d[:, 0]
        found = {}
        self.matmul(fast=True)
        found["ours"] = seconds(partial(self.iterate, self.ours, key), self.device)
        found["lifter"] = seconds(partial(self.ours.step_lifter, self.source), self.device)
        found["propose"] = seconds(partial(self.ours.propose, self.source, key), self.device)
        found["default_form"] = seconds(partial(self.iterate, self.default_form, key), self.device)
        found["propose_default"] = seconds(partial(self.default_form.propose, self.source, key), self.device)
        if self.graphed is not None:
            found["graphs"] = seconds(partial(self.iterate, self.graphed, key), self.device)
            found["lifter_graphs"] = seconds(partial(self.graphed.step_lifter, self.source), self.device)
        self.matmul(fast=False)
        found["default_matmul"] = seconds(partial(self.iterate, self.default_matmul_ours, key), self.device)
        found["twin"] = seconds(partial(self.twin.step, joints, self.camera, joints_2d, joints), self.device)
        return found


def products_of(contest: Contest, turns: int) -> float:
    """Seconds that the matrix products of an iteration take, with and without discriminators in turn; by medians."""
    contest.matmul(fast=True)
    both = []
    for number in range(2):
        with Products() as products:
            contest.iterate(contest.ours, StepKey(2, 0, number))
        both.append(products)
    return per_iteration([seconds(both[turn % 2].again, contest.device) for turn in range(2 * turns)])


def measure(rows: int, repeats: int, device: str = "cpu") -> dict[str, object]:
    torch.set_num_threads(1)
    contest = Contest(rows, device)
    contest.record()
    turns = [contest.turn(StepKey(0, 0, number)) for number in range(2 * repeats + UNTIMED)][UNTIMED:]
    names = ("ours", "default_matmul", "default_form", "twin")
    ours, default, default_form, twin = (per_iteration([t[name] for t in turns]) for name in names)
    names = ("lifter", "propose", "propose_default")
    lifter, propose, propose_default = (statistics.median(t[name] for t in turns) for name in names)
    products = products_of(contest, repeats) if device == "cpu" else None
    found = {
        "batch": rows,
        "device": device,
        "threads": 1,
        "iterations_timed": len(turns),
        "fast_matmul": contest.fast,
        "poseaug_iteration_s": round(ours, 4),
        "poseaug_iteration_default_matmul_s": round(default, 4),
        "poseaug_default_iteration_s": round(default_form, 4),
        "released_twin_iteration_s": round(twin, 4),
        "speedup_over_twin": round(twin / ours, 2),
        "speedup_over_twin_default_matmul": round(twin / default, 2),
        "recorded_released_s": RECORDED_RELEASED_S,
        "lifter_step_s": round(lifter, 4),
        "propose_s": round(propose, 4),
        "propose_default_s": round(propose_default, 4),
        "trained_poses_per_s_lifter": round(rows / lifter),
        "trained_poses_per_s_poseaug": round(2 * rows / (default_form + propose_default + 2 * lifter)),
    }
    if products is not None:
        found["matrix_products_s"] = round(products, 4)
        found["speedup_bound"] = round(twin / products, 2)
    if contest.graphed is not None:
        graphs, lifter_graphs = per_iteration([t["graphs"] for t in turns]), [t["lifter_graphs"] for t in turns]
        found["poseaug_iteration_graphs_s"] = round(graphs, 5)
        found["speedup_over_twin_graphs"] = round(twin / graphs, 2)
        found["lifter_step_graphs_s"] = round(statistics.median(lifter_graphs), 5)
        found["replayed"] = dict(contest.graphed.graphs.replayed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=10, help="pairs of iterations that are timed")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    json.dump(measure(arguments.batch, arguments.repeats, arguments.device), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
