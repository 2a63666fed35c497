"""`dg extract-depth images=DIR keypoints=FILE out=FILE [key=value ...]`: depth at people's joints in images."""

import contextlib
import logging
import pickle
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dg.extract_depth.settings import ExtractOptions, problems
from dg.settings.command import Command
from dg.settings.errors import DATA, RESOURCES, exit_code
from dg.settings.reader import read

if TYPE_CHECKING:
    from dg.extract_depth.merge import Report
    from dg.extract_depth.plan import ExtractionPlan

COMMAND = Command(
    name="extract-depth",
    about="""Read depth at the joints of the people in real images, for a test set: targets=npz:DATA?image_depth=OUT.

A depth network sees each image as a whole. The result is one .npz; what is not in it, and why, stands in
OUT.report.json. Stopped or killed, the same command goes on where it was: what is done lies in OUT.parts until the end
(docs/images.md).""",
    settings=ExtractOptions,
    usage="images=DIR keypoints=FILE out=FILE [key=value ...]",
    plugin_options="ImageOptions",
    codes=(RESOURCES, DATA),
    needs=True,
    examples=(
        "dg extract-depth images=frames keypoints=people.npz out=depth.npz",
        "dg extract-depth images=frames keypoints=detector out=depth.npz workers=4 depth.checkpoint=weights/depth",
    ),
)
# What Ray Data logs would stand between our lines.
_LOGGERS = ("ray.data", "ray")


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    options = read(ExtractOptions, args, problems=problems)
    try:
        report = run(options)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; the same command goes on from here\n")
        raise
    return _conclude(options, report)


def run(options: ExtractOptions) -> "Report":
    """Extract what is not extracted yet, and merge it with what is.

    Raises:
        ConfigError: for options that do not go together, and for a result that is there already.
        DataError: for keypoints or images that cannot be used.
        DepthCheckpointError: for a network that cannot be used.
        ResourceError: where the cluster has too few CPUs or GPUs.
    """
    from dg.extract_depth.merge import merge
    from dg.extract_depth.plan import make_plan
    from dg.extract_depth.progress import ExtractionProgress
    from dg.extract_depth.workplace import Workplace

    start = time.monotonic()
    plan = make_plan(options)
    with Workplace(Path(options.out).absolute(), plan) as place:
        todo = place.unfinished()
        progress = ExtractionProgress(len(plan.frames), _images(plan) - sum(_images(plan, number) for number in todo))
        for figures in _worked(plan, place.parts, todo):
            progress.add(figures["images"])
        rate = {"seconds": round(time.monotonic() - start, 3), "images_per_second": round(progress.rate, 3)}
        progress.close()
        report = merge(plan, place.parts, place.out, rate)
        place.clear()
    return report


def _images(plan: "ExtractionPlan", number: int | None = None) -> int:
    """How many a shard has, or all of them."""
    size = plan.options.shard
    return len(plan.frames) if number is None else min(size, len(plan.frames) - number * size)


def _worked(plan: "ExtractionPlan", parts: Path, todo: list[int]) -> Iterator[dict[str, Any]]:
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


def _device(options: ExtractOptions, gpus: float = 1.0) -> str:
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

    def __init__(self, options: ExtractOptions, parts: Path, gpus: float) -> None:
        from dg.extract_depth.shard import ShardWorker

        self.worker = ShardWorker(options, parts, _device(options, gpus))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Extract each pickled shard of the batch and return the figures of all of them, one list for each figure."""
        figures = [self.worker.work(pickle.loads(content)) for content in batch["shard"]]
        return {name: [found[name] for found in figures] for name in figures[0]}


def _on_ray(plan: "ExtractionPlan", parts: Path, todo: list[int]) -> Iterator[dict[str, Any]]:
    from dg.cluster.session import open_session
    from dg.settings.config import RenderConfig, TrainConfig

    place = TrainConfig(address=plan.options.address, render=RenderConfig(actors=plan.options.workers))
    with contextlib.closing(open_session(place, parts)) as session:
        session.check_versions()
        yield from _streamed(plan, parts, todo, _gpus(plan.options, session.resources()))


def _gpus(options: ExtractOptions, resources: Mapping[str, float]) -> float:
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


def _streamed(plan: "ExtractionPlan", parts: Path, todo: list[int], gpus: float) -> Iterator[dict[str, Any]]:
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


def _conclude(options: ExtractOptions, report: "Report") -> int:
    """Say what came of it. Raises DataError where too many images failed."""
    from dg.extract_depth.merge import report_file

    out = Path(options.out)
    print(f"{report.counts['fine']:,} of {report.counts['images']:,} images; written to {out}")
    if not report.failed and not report.counts["no_person"]:
        return 0
    counts = ", ".join(f"{len(found):,} {name.replace('_', ' ')}" for name, found in report.lists.items() if found)
    message = f"{counts}; listed with reasons in {report_file(out)}"
    share = report.failed / max(report.counts["images"], 1)
    if share > options.max_unreadable or not report.counts["fine"]:
        from dg.datasets.base import DataError

        raise DataError(f"{message}: {share:.0%} of the images failed, max_unreadable={options.max_unreadable:g}")
    print(f"warning: {message}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
