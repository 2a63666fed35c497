"""Moves drawn at random against the slow form: one draw after another, until a pose fits."""

import torch

from dg.augment.random_move import MoveRanges, move, move_into_frame
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_17
from tests.conftest import make_camera, make_joints


def test_several_draws_at_once_are_the_draws_one_after_another_bit_for_bit():
    poses = PoseBatch.from_joints(make_joints(64)[:, None], make_camera(64, distorted=True), H36M_17)
    ranges = MoveRanges(spread=1.0, attempts=3)
    placed, done = move_into_frame(poses, ranges, torch.Generator().manual_seed(1))
    root, generator = poses.joints_3d[:, 0, 0], torch.Generator().manual_seed(1)
    expected, fitted = poses.joints_3d, torch.zeros(64, dtype=torch.bool)
    for _ in range(ranges.attempts):
        moved = move(poses, ranges, torch.rand(64, 6, generator=generator), root)
        fits = poses.camera.in_frame(moved).all(-1) & ~fitted
        expected, fitted = torch.where(fits[:, None, None, None], moved, expected), fitted | fits
    assert torch.equal(placed, expected)
    assert torch.equal(done, fitted)
    assert 0 < int((~done).sum()) < 64 or int(done.sum()) == 64
    alone = torch.arange(64)
    grouped, in_group = move_into_frame(poses, ranges, torch.Generator().manual_seed(1), alone)
    assert torch.equal(grouped, placed)
    assert torch.equal(in_group, done)
