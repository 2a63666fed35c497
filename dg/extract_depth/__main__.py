"""`python -m dg.extract_depth images=DIR keypoints=FILE out=FILE [key=value ...]`: depth at the joints of the people in
real images, as a file that `targets=[npz:DATA?image_depth=FILE]` takes.

keypoints: an .npz or COCO .json file that names images, or the word `detector` (docs/images.md). The result is one
.npz; what is not in it, and why, stands in OUT.report.json. Stopped or killed, the same words go on where it was: what
is done lies in OUT.parts until the end.

keys (key=default):
  layout=folder             folder | h36m | mpi_inf_3dhp | pw3d | fit3d: how images= is laid out, and frames are called
  inputs=uadd               uadd: median, nearest, farthest depth in each joint's disk | xyd: depth right at the joint
  skeleton=h36m_17          h36m_17 | h36m_16: depth is read at its joints
  source_2d=                what protocol ids call the 2D; empty: the name of the keypoint file, or detector
  radius_mode=linear r_min=3 r_max=30    the disks of inputs=uadd, as in dg.train: pixels of an image 1000 wide
  min_pool=3                1 | 3 | 5: pixels, for inputs=xyd
  depth=depth_anything_v2   the network; its options:
    depth.checkpoint=depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf    folder, or hub id. depth.revision=
    depth.input_px=518      shorter side of what it sees, a multiple of 14
    depth.precision=auto    auto (bfloat16 on a GPU) | bfloat16 | float32
    depth.trained_focal=1.1547   of the camera that it knows; depth is brought to a data set's own camera when it is
                            read; 0: never
  align=auto                of a relative network's disparity: ground (a flat floor seen from camera_height= metres,
                            horizon= its row as a share of the height, focal= in shorter sides of the image) | known
                            (`depth` in the keypoint file) | off (stays disparity; no lifter takes it)
  detector.detector= detector.pose= detector.person_score=0.3    of keypoints=detector: RT-DETR, ViTPose, least box
                            score
  workers=1                 actors, each with its own networks; 0: in this process, without Ray
  gpus_per_worker=-1        -1: the cluster's GPUs shared among the workers
  cpus_per_worker=1         threads of each
  batch=8                   images at once
  shard=64                  images between two savings
  max_unreadable=0.1        share of the images that may fail; above it the exit code is 4 (the file is written)
  dtype=float32             float32 | float16 of the depths
  device=auto               auto | cpu | cuda
  address=                  Ray cluster to join, whose nodes all see images, checkpoint and out, as for dg.train;
                            empty: RAY_ADDRESS, else one of this machine alone

exit codes: 0 done, 2 wrong key, 3 resources, 4 data that cannot be used, 130 interrupted
"""

import contextlib
import logging
import pickle
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.settings.command import fail
from dg.settings.errors import exit_code

if TYPE_CHECKING:
    from dg.extract_depth.merge import Report
    from dg.extract_depth.options import ExtractOptions
    from dg.extract_depth.plan import Plan

# Ray Data's own words, which would stand between ours.
_LOGGERS = ("ray.data", "ray")


def main(words: Sequence[str]) -> int:
    """The whole command; returns the exit code."""
    if not words or {"-h", "--help", "help"} & set(words):
        print(__doc__)
        return 0 if words else 2
    # After the help, which needs no torch.
    from dg.extract_depth.options import parse

    try:
        options = parse(words)
        report = run(options)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same words go on from here\n")
        return 130
    except Exception as error:
        code = exit_code(error)
        if code is None:
            raise
        return fail(error, code)
    return _conclude(options, report)


def run(options: "ExtractOptions") -> "Report":
    """Extract what is not extracted yet, and merge. Raises ConfigError, DataError, DepthCheckpointError, ResourceError
    and what the workers raise.
    """
    from dg.extract_depth.merge import merge
    from dg.extract_depth.plan import make_plan
    from dg.extract_depth.progress import Progress
    from dg.extract_depth.workplace import Workplace

    start = time.monotonic()
    plan = make_plan(options)
    with Workplace(Path(options.out).absolute(), plan) as place:
        todo = place.unfinished()
        progress = Progress(len(plan.frames), _images(plan) - sum(_images(plan, number) for number in todo))
        for figures in _worked(plan, place.parts, todo):
            progress.add(figures["images"])
        rate = {"seconds": round(time.monotonic() - start, 3), "images_per_second": round(progress.rate, 3)}
        progress.close()
        report = merge(plan, place.parts, place.out, rate)
        place.clear()
    return report


def _images(plan: "Plan", number: int | None = None) -> int:
    """How many a shard has, or all of them."""
    size = plan.options.shard
    return len(plan.frames) if number is None else min(size, len(plan.frames) - number * size)


def _worked(plan: "Plan", parts: Path, todo: list[int]) -> Iterator[dict[str, Any]]:
    """Figures of each shard as it is stored."""
    if not todo:
        return
    if plan.options.workers:
        yield from _on_ray(plan, parts, todo)
        return
    from dg.extract_depth.shard import ShardWorker

    worker = ShardWorker(plan.options, parts, _device(plan.options))
    for shard in plan.shards(todo):
        yield worker.work(shard)


def _device(options: "ExtractOptions", gpus: float = 1.0) -> str:
    from dg.settings.plugins import OptionError

    if options.device == "cpu" or not gpus:
        return "cpu"
    import torch

    if options.device == "cuda" and not torch.cuda.is_available():
        raise OptionError("device=cuda, but torch sees no CUDA device; use device=auto or device=cpu")
    return "cuda" if torch.cuda.is_available() else "cpu"


# -- Ray Data


class ShardActor:
    """A worker as Ray Data calls it: batches of one pickled shard."""

    def __init__(self, options: "ExtractOptions", parts: Path, gpus: float) -> None:
        from dg.extract_depth.shard import ShardWorker

        self.worker = ShardWorker(options, parts, _device(options, gpus))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        figures = [self.worker.work(pickle.loads(content)) for content in batch["shard"]]
        return {name: [found[name] for found in figures] for name in figures[0]}


def _on_ray(plan: "Plan", parts: Path, todo: list[int]) -> Iterator[dict[str, Any]]:
    from dg.cluster.session import open_session
    from dg.settings.config import RenderConfig, TrainConfig

    place = TrainConfig(address=plan.options.address, render=RenderConfig(actors=plan.options.workers))
    with contextlib.closing(open_session(place, parts)) as session:
        session.check_versions()
        yield from _streamed(plan, parts, todo, _gpus(plan.options, session.resources()))


def _gpus(options: "ExtractOptions", resources: Mapping[str, float]) -> float:
    """GPUs of each worker. Raises ResourceError where the cluster has not what is asked for."""
    from render_workers.pool_options import ResourceError

    gpus, cpus = resources.get("GPU", 0.0), resources.get("CPU", 0.0)
    each = options.gpus_per_worker
    if each < 0:
        each = 0.0 if options.device == "cpu" else min(1.0, gpus / options.workers)
    if each * options.workers > gpus or options.cpus_per_worker * options.workers > cpus:
        raise ResourceError(
            f"asked for {options.workers} workers with {options.cpus_per_worker:g} CPUs and {each:g} GPUs each; the "
            f"cluster has {cpus:g} CPUs and {gpus:g} GPUs. Try workers=1, or gpus_per_worker=0.5"
        )
    return each


def _streamed(plan: "Plan", parts: Path, todo: list[int], gpus: float) -> Iterator[dict[str, Any]]:
    from ray import data
    from ray.exceptions import RayError

    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    # One shard a block, or Ray Data would glue them and answer late (SYSTEMS 2.1).
    shards = data.from_items(
        [{"shard": pickle.dumps(shard)} for shard in plan.shards(todo)], override_num_blocks=len(todo)
    )
    done = shards.map_batches(
        ShardActor,  # type: ignore[arg-type] - a class with __call__, as its documentation has it
        batch_size=1,
        compute=data.ActorPoolStrategy(size=plan.options.workers),
        fn_constructor_args=(plan.options, parts, gpus),
        num_cpus=plan.options.cpus_per_worker,
        num_gpus=gpus,
    )
    try:
        for batch in done.iter_batches(batch_size=None, prefetch_batches=0):
            for number in range(len(batch["shard"])):
                yield {str(name): values[number].item() for name, values in batch.items()}
    except RayError as error:
        raise _cause(error) from error


def _cause(error: BaseException) -> BaseException:
    """The worker's own error, where Ray's message wraps one that we know."""
    inner: BaseException | None = error
    while inner is not None:
        if exit_code(inner) is not None:
            return inner
        inner = getattr(inner, "cause", None) or inner.__cause__
    return error


# -- the end


def _conclude(options: "ExtractOptions", report: "Report") -> int:
    from dg.extract_depth.merge import report_file

    out = Path(options.out)
    print(f"{report.counts['fine']:,} of {report.planned:,} images; written to {out}")
    if not report.failed and not report.counts["no_person"]:
        return 0
    counts = ", ".join(f"{len(found):,} {name.replace('_', ' ')}" for name, found in report.lists.items() if found)
    message = f"{counts}; listed with reasons in {report_file(out)}"
    share = report.failed / max(report.planned, 1)
    if share > options.max_unreadable or not report.counts["fine"]:
        from dg.datasets.base import DataError

        return fail(
            DataError(f"{message}: {share:.0%} of the images failed, max_unreadable={options.max_unreadable:g}"), 4
        )
    print(f"warning: {message}")
    return 0


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1:]))
