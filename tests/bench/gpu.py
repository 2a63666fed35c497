"""`python -m tests.bench.gpu --out FILE`: everything that only a GPU can tell, in under 8 minutes.

Runs from a checkout: no Ray, no network, no pinned versions; without transformers the network is left out. A line of
JSON is flushed after each stage, so that a run that is cut off has told what it knew; a stage that fails says so, and
the next one begins. `--device cpu --small` runs every stage in a minute, to see that the script runs.

    agreement   CPU against GPU, with TF32 and without, and one GPU run against another: raster, fit, skin, sampling
    rasteriser  meshes/s by batch
    worker      poses/s by micro-batch: pinhole, distorted and noisy
    network     Depth Anything V2 small at 140 px, random weights: poses/s by batch and variant
    poseaug     an iteration against the released code's structure, by batch, with TF32, with graphs and without; calls
                that wait
    graphs      PoseAug's updates, replayed as CUDA graphs and made plainly: whether weights are the same, and the time
    pool        PoseAug with the local pool for a while: with the z-buffer, then with the network
    metrics     all five metrics of 543,000 frames
    start       a process until its worker is ready: with an empty folder of kernels, then with a full one

Where Warp cannot be carried, `tests.bench.ptx` launches the same kernels, compiled elsewhere.
On a GPU times are by the wall, the GPU awaited; on the CPU processor time of the process.
"""

import argparse
import gc
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import torch

from dg.body.open_body import OpenBody
from dg.evaluation.metrics import pose_errors
from dg.methods.base import StepKey
from dg.methods.poseaug import PoseAugOptions
from dg.pose.devices import indexed, seed_global_stream, set_tf32
from dg.training.live_depth import LiveDepth
from dg.training.pending import PendingRows
from render_workers.base import RenderRequest
from render_workers.geometry import TorchGeometry, geometry_for
from render_workers.pool import LocalPool
from render_workers.rasterizers.warp_zbuffer import WarpZBuffer
from render_workers.worker import WorkerSpec
from tests.bench.depth import RESOLUTION, bodies_in_crops, human36m_cameras, request_for, standing_people
from tests.bench.launches import counted
from tests.bench.replaying import Replaying
from tests.bench.training import DEFAULT, RELEASED, Contest, make_method, source_batch
from tests.bench.training import measure as measure_training

Found = dict[str, Any]
READY = """
import sys, time
start = time.perf_counter()
from render_workers.worker import WorkerSpec
imported = time.perf_counter()
WorkerSpec(device=sys.argv[1]).build().ready()
print(imported - start, time.perf_counter() - imported)
"""


@dataclass(frozen=True)
class Bench:
    """Where and how large. small: sizes for a look whether the script runs."""

    device: torch.device
    small: bool

    def size(self, full: int, small: int) -> int:
        """One of two sizes."""
        return small if self.small else full

    def seconds(self, work: Callable[[], object], repeats: int = 5) -> float:
        """The shortest of several runs, after one that does not count."""
        work()
        times = []
        for _ in range(1 if self.small else repeats):
            start = self.now()
            work()
            times.append(self.now() - start)
        return min(times)

    def now(self) -> float:
        """Seconds of the clock that counts here."""
        if self.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()


def environment(bench: Bench) -> Found:
    """What was run on."""
    import warp

    found: Found = {"python": sys.version.split()[0], "torch": torch.__version__, "warp": warp.__version__}
    found |= {"device": str(bench.device), "cores": os.cpu_count(), "small": bench.small}
    if bench.device.type == "cuda":
        free, total = torch.cuda.mem_get_info()
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        found |= {"memory_gib": round(total / 2**30, 1), "free_gib": round(free / 2**30, 1)}
    return found


def agreement(bench: Bench) -> Found:
    """Largest differences between torch on the CPU and kernels on the device, metres; whether these repeat."""
    rows = bench.size(1024, 32)
    joints, camera = standing_people(rows), human36m_cameras(rows, distorted=True)
    request, body = request_for(joints, camera, camera.project(joints)), OpenBody()
    cpu, kernels = TorchGeometry(body), geometry_for(body, bench.device)
    found: Found = {}
    for name, tf32 in (("float32", False), ("tf32", True)):
        set_tf32(tf32)
        sides = [(cpu, torch.device("cpu")), (kernels, bench.device), (kernels, bench.device)]
        runs = [_drawn(geometry, request, device) for geometry, device in sides]
        for part in runs[0]:
            slow, one, other = (run[part].cpu() for run in runs)
            both = slow.isfinite() & one.isfinite()
            found[f"{part}_{name}_m"] = float((slow - one)[both].abs().max())
            found[f"{part}_{name}_finite_otherwise"] = int((slow.isfinite() != one.isfinite()).sum())
            found[f"{part}_{name}_repeats"] = bool(torch.equal(one.nan_to_num(), other.nan_to_num()))
    set_tf32(False)
    return found


def _drawn(geometry: TorchGeometry, request: RenderRequest, device: torch.device) -> dict[str, torch.Tensor]:
    """Every stage on a device."""
    request = request.to(device)
    crop, fitted = geometry.crop(request, RESOLUTION, 100.0), geometry.fit(request)
    vertices = geometry.skin(fitted)
    zbuffer = WarpZBuffer(geometry.body.faces, device).depth(vertices, crop.focal_px, crop.center_px, RESOLUTION)
    depth = geometry.sample(zbuffer, crop.joints_px, 3).depth
    return {"fit": fitted.pose.positions, "skin": vertices, "raster": zbuffer, "sampling": depth}


def rasteriser(bench: Bench) -> Found:
    """Meshes/s of 3,000 faces at 128 px."""
    found: Found = {"faces": 3000}
    sizes = [8, 16] if bench.small else [256, 1024, 4096, 16384]
    vertices, faces, crop = bodies_in_crops(min(max(sizes), 1024))
    draw = WarpZBuffer(faces, bench.device)
    for size in sizes:
        rows = torch.arange(size) % len(vertices)
        scene = [part[rows].to(bench.device) for part in (vertices, crop.focal_px, crop.center_px)]
        found[str(size)] = round(size / bench.seconds(lambda scene=scene: draw.depth(*scene, RESOLUTION)))
    return found


def worker(bench: Bench) -> Found:
    """Poses/s from posed bodies on the host to depth on the host."""
    rows = bench.size(16384, 64)
    joints = standing_people(rows)
    found: Found = {}
    for name, source, distorted in (
        ("pinhole", "zbuffer", False), ("distorted", "zbuffer", True), ("noisy", "noisy_zbuffer", False)
    ):  # fmt: skip
        camera = human36m_cameras(rows, distorted)
        for size in [32] if bench.small else [256, 1024, 4096, 16384]:
            built = WorkerSpec(depth_name=source, device=str(bench.device), micro_batch=size).build()
            request = request_for(joints, camera, camera.project(joints))
            found[f"{name}_{size}"] = round(rows / bench.seconds(lambda b=built, r=request: b.depth(r), 3))
            one = request[:size]
            with counted() as calls:
                built.depth(one)
            found[f"{name}_operations"], found[f"{name}_waits"] = calls.total, calls.blocked
            _free(bench)
    return found


def network(bench: Bench) -> Found:
    """Poses/s of Depth Anything V2, from posed bodies."""
    if not importlib.util.find_spec("transformers"):
        return {"left_out": "transformers is not installed"}
    rows = bench.size(4096, 2)
    joints, camera = standing_people(rows), human36m_cameras(rows, distorted=False)
    variants: dict[str, Found] = {"float32": {"precision": "float32"}, "auto": {}}
    if not bench.small and bench.device.type == "cuda":
        variants |= {"bfloat16_channels_first": {"layout": "channels_first"}, "bfloat16_compiled": {"compile": True}}
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in variants.items():
            for size in [2] if bench.small else [256, 1024]:
                try:
                    built = _network_spec(Path(folder), size, options, bench).build()
                    built.ready()
                    request = request_for(joints, camera, camera.project(joints))
                    found[f"{name}_{size}"] = round(rows / bench.seconds(lambda b=built, r=request: b.depth(r), 2), 1)
                except Exception as error:
                    found[f"{name}_{size}"] = f"{type(error).__name__}: {str(error)[:200]}"
                _free(bench)
    return found


def _network_spec(folder: Path, size: int, options: Found, bench: Bench) -> WorkerSpec:
    from tests.render_workers.depth_anything_maker import save_depth_anything

    if not (folder / "small").is_dir():
        save_depth_anything(folder / "small", small=not bench.small)
    chosen = {"checkpoint": str(folder / "small"), "batch": size} | ({"input_px": 70} if bench.small else {}) | options
    return WorkerSpec(depth_name="depth_anything_v2", depth_options=chosen, device=str(bench.device), micro_batch=size)


def poseaug(bench: Bench) -> Found:
    """An iteration of PoseAug against the twin, and what in it waits for the device."""
    found: Found = {}
    for rows in [32] if bench.small else [256, 1024]:
        for tf32 in (False, True):
            set_tf32(tf32)
            measured = measure_training(rows, 1 if bench.small else 10, bench.device.type)
            found[f"{rows}_{'tf32' if tf32 else 'float32'}"] = measured
            _free(bench)
    set_tf32(False)
    contest = Contest(32 if bench.small else 1024, bench.device.type)
    contest.ours.finite_steps.deferred = True
    for number in range(4):
        contest.iterate(contest.ours, StepKey(0, 0, number))
    with counted() as calls:
        contest.iterate(contest.ours, StepKey(0, 0, 4))
    found["operations"], found["waits"] = calls.total, dict(calls.blocking)
    if bench.device.type == "cuda":
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            contest.iterate(contest.ours, StepKey(0, 0, 6))
            torch.cuda.set_sync_debug_mode("default")
        found["synchronisations"] = sorted({f"{w.filename}:{w.lineno}" for w in told})
    return found


def graphs(bench: Bench) -> Found:
    """PoseAug's updates by graphs against plain ones: weights, and seconds an update. On the CPU with a stand-in."""
    stand_in = bench.device.type == "cpu"
    found: Found = {"stand_in": stand_in}
    for rows in [8] if bench.small else [256, 1024]:
        for name, form in {"default": DEFAULT, "released": RELEASED}.items():
            for tf32 in (False,) if stand_in else (False, True):
                set_tf32(tf32)
                found[f"{rows}_{name}_{'tf32' if tf32 else 'float32'}"] = _graphed(bench, rows, form)
                _free(bench)
    set_tf32(False)
    return found


def _graphed(bench: Bench, rows: int, form: PoseAugOptions) -> Found:
    source = source_batch(rows, 0).to(bench.device).knowing(None)
    methods, told, steps = [], [], bench.size(60, 13)
    for choice in ("off", "on"):
        torch.manual_seed(0)
        stands_in = bench.device.type == "cpu"
        method = make_method(source, bench.device, replace(form, history=rows), "off" if stands_in else choice)
        method.finite_steps.deferred, method.graphs.note = True, told.append
        if stands_in and choice == "on":
            method.graphs.recorder = Replaying()
        methods.append(method)
    times: list[list[float]] = [[], []]
    for number in range(steps):
        key = StepKey(0, 0, number)
        for method, taken in zip(methods, times, strict=True):
            before = bench.now()
            proposed = method.propose(source, key)
            assert proposed is not None
            rows_known = PendingRows(proposed.augmented()).result()
            seed_global_stream(key.number("update"))
            method.update(source, rows_known, key)
            taken.append(bench.now() - before)
    pairs = list(zip(*(method.step_state() for method in methods), strict=True))
    found: Found = {"steps": steps, "replayed": dict(methods[1].graphs.replayed), "notes": told}
    found["tensors_that_differ"] = sum(not torch.equal(one, other) for one, other in pairs)
    found["largest_difference"] = max(float((one.double() - other.double()).abs().max()) for one, other in pairs)
    if bench.device.type == "cuda":
        plain_s, graphs_s = (statistics.median(taken[-20:]) for taken in times)
        found |= {"plain_update_s": round(plain_s, 5), "graphs_update_s": round(graphs_s, 5)}
    return found


def pool(bench: Bench) -> Found:
    """PoseAug for a while, every proposal rendered: iterations and poses by the wall clock."""
    found: Found = {"zbuffer": _pooled(bench, WorkerSpec(device=str(bench.device), micro_batch=bench.size(2048, 32)))}
    if importlib.util.find_spec("transformers"):
        with tempfile.TemporaryDirectory() as folder:
            found["network"] = _pooled(bench, _network_spec(Path(folder), bench.size(1024, 4), {}, bench))
    return found


def _pooled(bench: Bench, spec: WorkerSpec, ahead: int = 2) -> Found:
    rows, lasts_s = bench.size(1024, 8), 60.0 if not bench.small else 0.5
    source = source_batch(rows, 0)
    with LocalPool(spec.build) as workers:
        live = LiveDepth(OpenBody(), workers, None)
        source = live.submit(source.to(bench.device), 0).result()
        method = make_method(source, bench.device, graphs="auto")
        waiting: deque[Any] = deque()
        done, waited, start, number = 0, 0.0, time.perf_counter(), 0
        while time.perf_counter() - start < lasts_s:
            key = StepKey(0, 0, number)
            proposed = method.propose(source, key)
            assert proposed is not None
            waiting.append((key, live.submit(proposed.augmented(), key.number("depth"), source)))
            if len(waiting) > ahead:
                then, began = waiting.popleft(), time.perf_counter()
                rendered = then[1].result()
                waited += time.perf_counter() - began
                method.update(source, rendered, then[0])
                done += 1
            number += 1
        bench.now()
        taken = time.perf_counter() - start
        poses = workers.ledger.done
    return {
        "iterations_per_s": round(done / taken, 2), "rendered_poses_per_s": round(poses / taken),
        "waiting_for_depth_share": round(waited / taken, 3), "lasted_s": round(taken, 1),
    }  # fmt: skip


def metrics(bench: Bench) -> Found:
    """Seconds for as many frames as Human3.6M's test subjects have."""
    frames = bench.size(543_000, 500)
    joints = standing_people(min(frames, 20_000)).repeat(-(-frames // 20_000), 1, 1)[:frames].to(bench.device)
    random = torch.Generator(bench.device).manual_seed(0)
    predicted = joints + 0.05 * torch.randn(joints.shape, generator=random, device=bench.device)
    return {"frames": frames, "seconds": round(bench.seconds(lambda: pose_errors(predicted, joints), 1), 3)}


def start(bench: Bench) -> Found:
    """Seconds until a worker is ready, by the wall: imports, then Warp, kernels and the body."""
    found: Found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            told = subprocess.run(
                [sys.executable, "-c", READY, bench.device.type], env=os.environ | {"WARP_CACHE_PATH": folder},
                capture_output=True, text=True, check=True,
            ).stdout.split()  # fmt: skip
            found |= {f"{name}_import_s": round(float(told[-2]), 2), f"{name}_ready_s": round(float(told[-1]), 2)}
    return found


STAGES = (environment, agreement, rasteriser, worker, network, poseaug, graphs, pool, metrics, start)


def _free(bench: Bench) -> None:
    gc.collect()
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()


def run(bench: Bench, out: TextIO, stages: tuple[Callable[[Bench], Found], ...] = STAGES, minutes: float = 8.0) -> int:
    """Write a line for each stage; returns how many failed. Stages that begin after `minutes` are left out."""
    failed, began = 0, time.monotonic()
    for stage in stages:
        line: Found = {"stage": stage.__name__}
        before = time.monotonic()
        if before - began > 60 * minutes:
            line["left_out"] = f"{minutes:g} minutes are over"
        else:
            try:
                line |= stage(bench)
            except Exception:
                line["error"] = traceback.format_exc()
                failed += 1
        line["stage_s"] = round(time.monotonic() - before, 1)
        out.write(json.dumps(line) + "\n")
        out.flush()
        _free(bench)
    return failed


def main(words: list[str] | None = None) -> int:
    """Read the arguments and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="file for the lines")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes for a look whether it runs")
    parser.add_argument("--stages", nargs="*", choices=[s.__name__ for s in STAGES], help="these alone")
    parser.add_argument("--minutes", type=float, default=8.0, help="no stage begins later")
    given = parser.parse_args(words)
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device; --device cpu --small shows whether the script runs")
    torch.set_num_threads(1)
    bench = Bench(indexed(given.device), given.small)
    chosen = tuple(s for s in STAGES if not given.stages or s.__name__ in given.stages)
    with Path(given.out).open("a") as out:
        return 1 if run(bench, out, chosen, given.minutes) else 0


if __name__ == "__main__":
    sys.exit(main())
