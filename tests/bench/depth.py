"""Speed and error of depth at the joints on one thread: `python -m tests.bench.depth` prints one JSON object.

People stand 5 m away with random headings and fill a 128-pixel crop, about a tenth of its pixels. Speeds on the CPU are
per second of the process's own time, all its threads together (PyTorch3D's rasteriser starts some of its own), the
best of several runs, because other work on the machine should not count; `..._wall` is by the clock on the wall. Goals:
5,000 poses/s on one CPU thread from joints to depth, a rasteriser at least 2,000 times PyTorch3D's on the CPU, a
z-buffer within 1e-5 m of a plain ray-triangle reference. Where there is a GPU the same command measures it too; there
the goal is 10,000 poses/s with Depth Anything V2 small at 140 pixels. Its weights are random here: speed does not
depend on them, and error cannot be told from them.
"""

import importlib.util
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dg.body.open_body import OpenBody
from dg.pose.camera import Camera
from dg.pose.rotation import rotation_from_axis_angle
from dg.pose.skeleton import H36M_17
from render_workers.base import RenderRequest
from render_workers.crop import Crop, subject_crop
from render_workers.geometry import TorchGeometry
from render_workers.rasterizers.pytorch3d_zbuffer import PyTorch3DZBuffer
from render_workers.rasterizers.warp_zbuffer import WarpZBuffer
from render_workers.shading import NORMALS, Headlight, Look
from render_workers.worker import RenderWorker, WorkerSpec
from tests.bench import mapping
from tests.bench.zbuffer_reference import ray_triangle_zbuffer
from tests.render_workers.depth_anything_maker import save_depth_anything

POSES, RESOLUTION, FACES = 512, 128, 3000
COMPARED, GPU_POSES = 4, 16384
NETWORK_POSES, NETWORK_GPU_POSES = 4, 4096
# PyTorch3D's CPU rasteriser on one core of a machine like this, 3,000 faces at 128 x 128 (DESIGN 5.4).
RECORDED_PYTORCH3D = 4.4
STANDING = torch.tensor([
    [0.0, 0.0, 0.0], [-0.13, 0.0, 0.0], [-0.13, 0.44, 0.02], [-0.13, 0.88, 0.06],
    [0.13, 0.0, 0.0], [0.13, 0.44, 0.02], [0.13, 0.88, 0.06],
    [0.0, -0.23, 0.0], [0.0, -0.48, 0.02], [0.0, -0.58, -0.04], [0.0, -0.70, 0.0],
    [0.15, -0.45, 0.02], [0.25, -0.20, 0.02], [0.28, 0.04, -0.04],
    [-0.15, -0.45, 0.02], [-0.25, -0.20, 0.02], [-0.28, 0.04, -0.04],
])  # fmt: skip


def seconds(work: Callable[[], object], repeats: int, clock: Callable[[], float] = time.process_time) -> float:
    """The shortest of several runs, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def standing_people(rows: int, seed: int = 0) -> Tensor:
    """`[rows, 17, 3]` joints of perturbed standing people with any heading, some 5 m away."""
    generator = torch.Generator().manual_seed(seed)
    joints = STANDING + 0.03 * torch.randn(rows, 17, 3, generator=generator)
    turn = torch.tensor([0.0, 2 * torch.pi, 0.0]) * torch.rand(rows, 1, generator=generator)
    tilt = 0.1 * torch.randn(rows, 3, generator=generator)
    place = torch.randn(rows, 1, 3, generator=generator) * torch.tensor([0.3, 0.15, 0.4])
    rotation = rotation_from_axis_angle(tilt) @ rotation_from_axis_angle(turn)
    return joints @ rotation.transpose(1, 2) + place + torch.tensor([0.0, 0.0, 5.0])


def human36m_cameras(rows: int, distorted: bool) -> Camera:
    k = torch.tensor([-0.2071, 0.2478, -0.00308, -0.000976, -0.00142]) * distorted
    values = (torch.tensor([2.29, 2.2876]), torch.tensor([0.025, 0.029]), k, torch.tensor([1.0, 1.002]))
    return Camera(*[value.repeat(rows, 1) for value in values])


def request_for(joints: Tensor, camera: Camera, joints_2d: Tensor) -> RenderRequest:
    return RenderRequest(joints, H36M_17, camera, joints_2d, torch.arange(len(joints)))


def measure_poses(device: str = "cpu", rows: int = POSES, micro_batch: int = 256) -> dict[str, object]:
    """From joints to depth at the joints: poses/s and each stage's share of the time."""
    spec = WorkerSpec(device=device, micro_batch=micro_batch)
    worker, noisy = spec.build(), replace(spec, depth_name="noisy_zbuffer").build()
    joints, camera = standing_people(rows), human36m_cameras(rows, distorted=False)
    joints_2d, bent = camera.project(joints), human36m_cameras(rows, distorted=True)
    bent_2d = bent.project(joints)
    request = request_for(joints, camera, joints_2d)
    # Work on a GPU is not this process's own.
    clock = time.perf_counter if device == "cuda" else time.process_time
    whole = seconds(lambda: worker.depth(request_for(joints, camera, joints_2d)), 10, clock)
    by_the_wall = seconds(lambda: worker.depth(request_for(joints, camera, joints_2d)), 10, time.perf_counter)
    distorted = seconds(lambda: worker.depth(request_for(joints, bent, bent_2d)), 5, clock)
    with_noise = seconds(lambda: noisy.depth(request_for(joints, camera, joints_2d)), 5, clock)
    measured: dict[str, object] = {
        "depth_poses_per_s": rows / whole,
        "depth_poses_per_s_wall": rows / by_the_wall,
        "depth_poses_per_s_distorted_cameras": rows / distorted,
        "depth_poses_per_s_noisy_zbuffer": rows / with_noise,
        "micro_batch": micro_batch,
        "request_ms_in_the_trainer": 1e3 * seconds(lambda: request_for(joints, camera, joints_2d).pack(), 30, clock),
        "request_bytes_a_pose": request.pack().rows.itemsize,
    }
    stage, stats = stages(worker, request)
    measured["depth_stage_shares"] = shares(stage)
    measured["depth_joints_widened"] = stats["widened"] / (rows * joints.shape[1])
    return measured


def measure_geometry(rows: int = POSES, rounds: int = 8) -> dict[str, object]:
    """Crop, fit, skinning and sampling by kernels and by their twins in torch, turn by turn: poses/s of the worker, and
    microseconds of processor time that each takes of a pose.
    """
    joints, camera = standing_people(rows), human36m_cameras(rows, distorted=False)
    request = request_for(joints, camera, camera.project(joints))
    workers = {"kernels": WorkerSpec(device="cpu").build(), "torch": WorkerSpec(device="cpu").build()}
    workers["torch"].geometry = TorchGeometry(workers["torch"].body)
    whole, parts = dict.fromkeys(workers, float("inf")), {name: {} for name in workers}
    for name, worker in [*workers.items()] * (rounds + 1):
        start = time.process_time()
        worker.depth(request)
        whole[name] = min(whole[name], time.process_time() - start)
    for name, worker in workers.items():
        portion = request[: worker.micro_batch]
        crop, fitted = worker.geometry.crop(portion, RESOLUTION, 100.0), worker.geometry.fit(portion)
        vertices = worker.geometry.skin(fitted)
        zbuffer = WarpZBuffer(worker.body.faces).depth(vertices, crop.focal_px, crop.center_px, RESOLUTION)
        work = {
            "crop": lambda w=worker, p=portion: w.geometry.crop(p, RESOLUTION, 100.0),
            "fit": lambda w=worker, p=portion: w.geometry.fit(p),
            "skin": lambda w=worker, f=fitted: w.geometry.skin(f),
            "sample": lambda w=worker, z=zbuffer, c=crop: w.geometry.sample(z, c.joints_px, 3),
        }
        parts[name] = {stage: 1e6 * seconds(run, rounds) / len(portion) for stage, run in work.items()}
    return {
        **{f"depth_poses_per_s_with_geometry_by_{name}": rows / taken for name, taken in whole.items()},
        "geometry_us_a_pose": parts,
    }


def stages(worker: RenderWorker, request: RenderRequest) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each stage, transfer to the device and home included, in the quickest of five runs; its stats."""
    worker.timed = True
    stats = min((worker.depth(request).stats for _ in range(5)), key=lambda s: s["raster_s"])
    worker.timed = False
    return {name.removesuffix("_s"): value for name, value in stats.items() if name.endswith("_s")}, stats


def shares(stage: dict[str, float]) -> dict[str, float]:
    return {name: value / sum(stage.values()) for name, value in stage.items()}


def bodies_in_crops(rows: int) -> tuple[Tensor, Tensor, Crop]:
    """Vertices, about 3,000 faces, and crops."""
    body, joints, camera = OpenBody(), standing_people(rows), human36m_cameras(rows, distorted=False)
    vertices = body.skin(body.fit(joints, H36M_17))
    return *split_largest(vertices, body.faces, FACES), subject_crop(camera, camera.project(joints), RESOLUTION, 100.0)


def split_largest(vertices: Tensor, faces: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Halve the largest faces until there are `count`: the open body has 2,454."""
    a, b, c = vertices[0, faces].unbind(1)
    chosen = torch.linalg.cross(b - a, c - a).norm(dim=-1).topk(count - len(faces)).indices
    first, second, third = faces[chosen].unbind(1)
    middle = torch.arange(len(chosen)) + vertices.shape[1]
    halves = torch.stack([middle, second, third], 1)
    faces = faces.clone()
    faces[chosen] = torch.stack([first, middle, third], 1)
    between = (vertices[:, first] + vertices[:, second]) / 2
    return torch.cat([vertices, between], 1).contiguous(), torch.cat([faces, halves])


def measure_rasterizer(device: str = "cpu", rows: int = 256) -> dict[str, float]:
    """The rasteriser alone, z only: meshes/s and the part of the image that is covered."""
    vertices, faces, crop = bodies_in_crops(rows)
    vertices, focal, center = vertices.to(device), crop.focal_px.to(device), crop.center_px.to(device)
    rasterizer = WarpZBuffer(faces, device)

    def draw() -> Tensor:
        zbuffer = rasterizer.depth(vertices, focal, center, RESOLUTION)
        if device == "cuda":
            torch.cuda.synchronize()
        return zbuffer

    covered = float(draw().isfinite().float().mean())
    clock = time.perf_counter if device == "cuda" else time.process_time
    return {
        "raster_meshes_per_s": rows / seconds(draw, 10, clock),
        "raster_meshes_per_s_wall": rows / seconds(draw, 10, time.perf_counter),
        "raster_faces": len(faces),
        "raster_coverage": covered,
    }


def measure_reference() -> dict[str, float]:
    """Against rays through every pixel: its speed, and the largest difference in z and in what is covered."""
    vertices, faces, crop = bodies_in_crops(COMPARED)
    drawn = WarpZBuffer(faces).depth(vertices, crop.focal_px, crop.center_px, RESOLUTION).numpy()
    arrays = [t.numpy() for t in (vertices, crop.focal_px, crop.center_px)]
    slowest = 0.0
    error, uncovered = 0.0, 0
    for row in range(COMPARED):
        mesh, focal, center = (array[row] for array in arrays)
        taken = seconds(lambda m=mesh, f=focal, c=center: ray_triangle_zbuffer(m, faces.numpy(), f, c, RESOLUTION), 1)
        slowest = max(slowest, taken)
        expected = ray_triangle_zbuffer(mesh, faces.numpy(), focal, center, RESOLUTION)
        both = np.isfinite(expected) & np.isfinite(drawn[row])
        error = max(error, float(np.abs(expected[both] - drawn[row][both]).max()))
        uncovered += int((np.isfinite(expected) != np.isfinite(drawn[row])).sum())
    return {
        "reference_meshes_per_s": 1 / slowest,
        "zbuffer_max_abs_error_m": error,
        "zbuffer_pixels_covered_otherwise": uncovered,
    }


def measure_pytorch3d() -> dict[str, float]:
    """PyTorch3D's CPU rasteriser on the same meshes."""
    vertices, faces, crop = bodies_in_crops(COMPARED)
    scene = (vertices, crop.focal_px, crop.center_px, RESOLUTION)
    rasterizer = PyTorch3DZBuffer(faces)
    theirs, ours = rasterizer.zbuffer(*scene)[0], WarpZBuffer(faces).depth(*scene)
    both = theirs.isfinite() & ours.isfinite()
    vertices, faces, crop = bodies_in_crops(256)
    many = (vertices, crop.focal_px, crop.center_px, RESOLUTION)
    own = WarpZBuffer(faces)
    slow, fast = (COMPARED / seconds(lambda: rasterizer.zbuffer(*scene), 2), 256 / seconds(lambda: own.depth(*many), 5))
    return {
        "pytorch3d_meshes_per_s": slow,
        "raster_vs_pytorch3d": fast / slow,  # turn by turn, processor time of the process on both sides
        "pytorch3d_max_abs_difference_m": float((theirs - ours)[both].abs().max()),
        "pytorch3d_pixels_covered_otherwise": float((theirs.isfinite() != ours.isfinite()).sum()),
    }


def measure_shading(rows: int = 256) -> dict[str, float]:
    """The headlight alone, on what the rasteriser saw: pictures/s."""
    vertices, faces, crop = bodies_in_crops(rows)
    zbuffer, seen = WarpZBuffer(faces).zbuffer(vertices, crop.focal_px, crop.center_px, RESOLUTION)
    scene = (vertices, zbuffer, seen, crop.focal_px, crop.center_px)
    shaders = {normals: Headlight(faces, Look(normals=normals)) for normals in NORMALS}
    return {f"shading_{n}_images_per_s": rows / seconds(lambda s=s: s(*scene), 3) for n, s in shaders.items()}


def measure_network(device: str = "cpu", rows: int = NETWORK_POSES, micro_batch: int = 256) -> dict[str, object]:
    """Depth Anything V2 small at 140 pixels: poses/s from posed bodies to depth, and each stage's share of the time."""
    joints, camera = standing_people(rows), human36m_cameras(rows, distorted=False)
    with tempfile.TemporaryDirectory() as folder:
        options = {"checkpoint": str(save_depth_anything(Path(folder) / "small", small=True)), "batch": micro_batch}
        spec = WorkerSpec(depth_name="depth_anything_v2", depth_options=options, device=device, micro_batch=micro_batch)
        worker = spec.build()
    worker.ready()
    request = request_for(joints, camera, camera.project(joints))
    clock = time.perf_counter if device == "cuda" else time.process_time
    measured: dict[str, object] = {
        "depth_anything_v2_small_poses_per_s": rows / seconds(lambda: worker.depth(request), 2, clock),
        "depth_anything_v2_micro_batch": micro_batch,
    }
    measured["depth_anything_v2_stage_shares"] = shares(stages(worker, request)[0])
    return measured


def measure() -> dict[str, object]:
    """Every figure; speeds are per second, ratios are named a_vs_b."""
    torch.set_num_threads(1)
    result: dict[str, object] = {**mapping.measure(), **measure_poses(), **measure_geometry()}
    result |= {**measure_rasterizer(), **measure_reference()}
    speed = float(result["raster_meshes_per_s"])
    result["raster_vs_reference"] = speed / float(result["reference_meshes_per_s"])
    result["raster_vs_recorded_pytorch3d"] = speed / RECORDED_PYTORCH3D
    result |= measure_shading()
    if importlib.util.find_spec("transformers"):
        result |= measure_network()
    if importlib.util.find_spec("pytorch3d"):
        result |= measure_pytorch3d()
    if torch.cuda.is_available():
        portions = {str(size): measure_poses("cuda", GPU_POSES, size) for size in (256, 1024, 4096)}
        result["cuda"] = {"name": torch.cuda.get_device_name(), "poses": portions, **measure_rasterizer("cuda", 4096)}
        if importlib.util.find_spec("transformers"):
            result["cuda"]["network"] = [measure_network("cuda", NETWORK_GPU_POSES, size) for size in (64, 256, 1024)]
    return result


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.disable(logging.INFO)
    print(json.dumps(measure(), indent=2))
