"""`python -m tests.bench.gpa_distance FOLDER [key=value ...]`: what alignment recovers when the source is too far away.

FOLDER holds `cmu/data_3d_h36m.npz` and `cross/uiprmd_3dpw.npz`. Three runs for each seed, all with (x, y) inputs and
one budget, tested on the same target: plain training on the source as it is (`in place`); the same with every source
person moved along the ray of the root to `times` the distance (`moved`); and PoseDA's global position alignment alone
on the moved source (`aligned`). The loss is moved - in place, in target MPJPE at the last epoch; the recovered share of
it is (moved - aligned) / loss. Alignment sees the target's 2D, the other two do not, so it may recover more than
everything. The words after the options are those of `dg.train`.
"""

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from dg.datasets.base import PoseDataset
from dg.files.checkpoint import Checkpoints
from dg.pose.batch import PoseBatch
from dg.settings.command_line import check_plugins, parse
from dg.tracking import NullTracker
from dg.training.build import make_method
from dg.training.problem import load_problem
from dg.training.trainer import Trainer

ARMS = {
    "in place": ["method=erm"],
    "moved": ["method=erm"],
    "aligned": ["method=poseda", "method.parts=gpa"],
}
COMMON = ["data=h36m", "data.label=cmu", "data.stride=10", "inputs=xy", "batch_size=256", "epochs=20", "threads=1"]


def moved(dataset: PoseDataset, times: float) -> PoseDataset:
    """Every pose at so many times its distance, its root seen where it was; those that leave the frame are dropped."""
    poses: PoseBatch = dataset.poses
    root = poses.joints_3d[:, :, poses.skeleton.root, None]
    farther = poses.with_joints(poses.joints_3d + (times - 1) * root)
    kept = farther.valid
    return replace(
        dataset,
        name=f"{dataset.name}_x{times:g}",
        poses=farther[kept],
        subject=dataset.subject[kept],
        action=dataset.action[kept],
        clip=dataset.clip[kept],
    )


def words_of(folder: Path, arm: str) -> list[str]:
    target = f"npz:{folder / 'cross' / 'uiprmd_3dpw.npz'}"
    words = [*COMMON, f"data.root={folder / 'cmu'}", f"targets=['{target}']", *ARMS[arm]]
    return [*words, f"adapt_to={target}"] if arm == "aligned" else words


def run(words: list[str], times: float) -> dict[str, float]:
    """Train one arm in this process; MPJPE on the target and median root depths of source and target."""
    config = parse(words)
    torch.set_num_threads(max(config.threads, 1))
    options = check_plugins(config)
    problem = load_problem(config, options)
    problem = replace(problem, train=moved(problem.train, times), val=moved(problem.val, times))
    method = make_method(config, options, problem)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(config, problem, method, None, Checkpoints(Path(folder)), NullTracker(), lambda _: None)
        summary = trainer.fit("gpa_distance")
    (last,) = [row for row in summary["results"] if row["selection"] == "last"]
    return {
        "mpjpe_mm": last["mpjpe_mm"],
        "source_depth_m": root_depth(problem.train.poses),
        "target_depth_m": root_depth(problem.targets[0].poses),
        "lifter_steps": summary["lifter_steps"],
    }


def root_depth(poses: PoseBatch) -> float:
    return poses.joints_3d[:, 0, poses.skeleton.root, 2].median().item()


def study(folder: Path, words: list[str], seeds: list[int], times: float) -> dict[str, list[dict[str, float]]]:
    found: dict[str, list[dict[str, float]]] = {}
    for arm in ARMS:
        for seed in seeds:
            distance = 1.0 if arm == "in place" else times
            found.setdefault(arm, []).append(run([*words_of(folder, arm), f"seed={seed}", *words], distance))
            sys.stderr.write(f"{arm} seed {seed}: {found[arm][-1]['mpjpe_mm']:.1f} mm\n")
    return found


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Markdown, and the recovered share below it."""
    lines = ["| source | root depth, median (m) | target MPJPE (mm) | seeds |", "|---|---|---|---|"]
    mean = {}
    for arm, runs in found.items():
        errors = [r["mpjpe_mm"] for r in runs]
        mean[arm] = statistics.mean(errors)
        spread = f" ± {statistics.stdev(errors):.1f}" if len(errors) > 1 else ""
        lines.append(f"| {arm} | {runs[0]['source_depth_m']:.1f} | {mean[arm]:.1f}{spread} | {len(errors)} |")
    loss = mean["moved"] - mean["in place"]
    steps = sorted({int(r["lifter_steps"]) for runs in found.values() for r in runs})
    lines.append(f"\ntarget root depth {found['moved'][0]['target_depth_m']:.1f} m; lifter steps {steps}")
    if loss > 0:
        share = (mean["moved"] - mean["aligned"]) / loss
        lines.append(f"moving the source cost {loss:.1f} mm; alignment recovered {100 * share:.0f} % of it")
    else:
        lines.append("moving the source cost nothing at this budget, so there is nothing to recover")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", default="0,1,2", help="joined by commas")
    parser.add_argument("--times", type=float, default=1.6)
    parser.add_argument("--json", type=Path, help="also write every run's figures there")
    parser.add_argument("words", nargs="*", help="key=value, as for dg.train")
    arguments = parser.parse_intermixed_args()
    found = study(arguments.folder, arguments.words, [int(s) for s in arguments.seeds.split(",")], arguments.times)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(found, indent=1))
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
