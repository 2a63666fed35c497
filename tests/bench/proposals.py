"""`python -m tests.bench.proposals CHECKPOINT [key=value ...]`: what a trained method proposes, as one JSON object.

The words are those of the run that wrote the checkpoint. Share of proposals inside the frame; of those, root depth, and
how the trunk (pelvis to thorax) stands against the camera's vertical, beside the same of the source. 4,096 poses.
"""

import json
import sys
from pathlib import Path

import torch

from dg.files.checkpoint import load_file
from dg.methods.base import StepKey
from dg.pose.batch import PoseBatch
from dg.settings.command_line import check_plugins, parse
from dg.training.build import make_method
from dg.training.problem import load_problem

POSES = 4096
BELIEVED_OFFSET_M = 0.1  # of a surface before its joint: proposals do not depend on the source's depth


def upright(poses: PoseBatch) -> torch.Tensor:
    """Cosine between the trunk and the upward vertical, `[batch]`."""
    trunk = poses.joints_3d[:, 0, poses.skeleton.index("thorax")] - poses.joints_3d[:, 0, poses.skeleton.root]
    return -torch.nn.functional.normalize(trunk, dim=-1)[:, 1]


def shares(poses: PoseBatch) -> dict[str, float]:
    cosine = upright(poses)
    return {
        "upside_down": round((cosine < 0).float().mean().item(), 3),
        "tilted_over_60_deg": round((cosine < 0.5).float().mean().item(), 3),
    }


def main(words: list[str]) -> None:
    config = parse(words[1:])
    options = check_plugins(config)
    problem = load_problem(config, options)
    method = make_method(config, options, problem)
    method.load_state_dict(load_file(Path(words[0]))["method"])
    order = torch.randperm(len(problem.train), generator=torch.Generator().manual_seed(0))[:POSES]
    source = problem.train.poses[order].to(method.context.device)
    source = source.replace(depth=source.joints_3d[..., 2] - BELIEVED_OFFSET_M)
    proposed = method.propose(source, StepKey(config.seed, 0, 0))
    if proposed is None:
        raise SystemExit("this checkpoint's method proposes no poses")
    kept = proposed[proposed.valid]
    z = kept.joints_3d[:, 0, kept.skeleton.root, 2].quantile(kept.joints_3d.new_tensor([0.1, 0.9]))
    print(json.dumps({
        "inside_frame": round(proposed.valid.float().mean().item(), 3),
        "root_depth_m_p10_p90": [round(v, 1) for v in z.tolist()],
        "source": shares(source),
        "proposed": shares(kept),
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
