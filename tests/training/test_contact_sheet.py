import numpy as np
import pytest
import torch

from dg.body.open_body import OpenBody
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_17
from dg.training.contact_sheet import TILE_PX, ContactSheet, contact_sheet
from dg.training.live_depth import LiveDepth
from render_workers.depth.depth_anything_v2 import DepthAnythingV2
from render_workers.pool import LocalPool
from render_workers.worker import WorkerSpec
from tests.conftest import make_camera, make_joints


def fake(poses=5, size=64):
    joints = make_joints(max(poses, 1))[:poses]
    joints_px = joints[..., :2] / joints[..., 2:] * size + size / 2
    depth = torch.full((poses, size, size), torch.inf)
    depth[:, 20:40, 20:40] = torch.linspace(4.0, 5.0, 20)
    return torch.randint(256, (poses, size, size, 3)) / 255, depth, joints_px, [f"pose {i}" for i in range(poses)]


def test_a_sheet_holds_every_pose_and_bytes_equal_floats():
    rgb, depth, joints, titles = fake()
    sheet = contact_sheet(rgb, depth, joints, H36M_17, titles, heading="poseaug, epoch 3")
    assert sheet.mode == "RGB"
    assert sheet.width > 4 * 2 * TILE_PX
    assert sheet.height > 2 * TILE_PX
    same = contact_sheet(
        (rgb * 255).round().numpy().astype(np.uint8),
        depth.numpy(),
        joints.numpy(),
        H36M_17,
        titles,
        heading="poseaug, epoch 3",
    )
    assert np.array_equal(np.asarray(sheet), np.asarray(same))


def test_near_is_red_far_is_blue_and_background_is_neither():
    rgb, depth, joints, titles = fake(1)
    sheet = np.asarray(contact_sheet(rgb, depth, joints + 1e6, H36M_17, titles)).astype(int)
    scale = TILE_PX // 64
    top, left = sheet.shape[0] - 6 - TILE_PX, 6 + TILE_PX
    near, far = sheet[top + 30 * scale, left + 21 * scale], sheet[top + 30 * scale, left + 39 * scale]
    assert near[0] > near[2] + 50
    assert far[2] > far[0]
    assert sheet[top + 5, left + 5].max() < 40


def test_a_left_arm_is_drawn_where_its_joints_are():
    rgb, depth, joints, titles = fake(1)
    joints[:] = torch.nan
    joints[0, [11, 12]] = torch.tensor([[10.0, 32.0], [50.0, 32.0]])
    sheet = np.asarray(contact_sheet(torch.zeros_like(rgb), depth, joints, H36M_17, titles)).astype(int)
    orange = (sheet[..., 0] > 200) & (sheet[..., 1] > 100) & (sheet[..., 2] < 50)
    rows, columns = np.nonzero(orange[:, : 6 + TILE_PX])
    top = sheet.shape[0] - 6 - TILE_PX
    assert abs(rows.mean() - top - 32 * TILE_PX / 64) < 2
    assert columns.min() - 6 == pytest.approx(10 * TILE_PX / 64, abs=2)
    assert columns.max() - 6 == pytest.approx(50 * TILE_PX / 64, abs=2)


def test_poses_that_are_not_there_or_not_drawn_make_no_error():
    rgb, depth, joints, titles = fake(2)
    contact_sheet(rgb, torch.full_like(depth, torch.inf), torch.full_like(joints, torch.nan), H36M_17, titles)
    empty = contact_sheet(rgb[:0], depth[:0], joints[:0], H36M_17, [])
    assert empty.height > 0
    with pytest.raises(ValueError, match="one title a pose: 2 poses, 1 titles"):
        contact_sheet(rgb, depth, joints, H36M_17, ["one"])


def test_a_source_pose_gets_a_panel_of_its_own():
    rgb, depth, joints, titles = fake(1)
    plain = contact_sheet(rgb, depth, joints, H36M_17, titles)
    with_source = contact_sheet(rgb, depth, joints, H36M_17, titles, source_px=joints + 3)
    assert with_source.width == plain.width + TILE_PX


def test_joints_have_the_colour_of_their_depth_on_the_map():
    rgb, depth, joints, titles = fake(1)
    joints[:], scale = 1e6, TILE_PX // 64
    joints[0, 0] = torch.tensor([30.5, 30.5])
    found = []
    for known in (4.0, 5.0):
        sheet = np.asarray(contact_sheet(rgb, depth, joints, H36M_17, titles, joint_depth=torch.full((1, 17), known)))
        top, left = sheet.shape[0] - 6 - TILE_PX, 6 + TILE_PX
        found.append(sheet[top + int(30.5 * scale), left + int(30.5 * scale)].astype(int))
    near, far = found
    assert near[0] > near[2] + 50
    assert far[2] > far[0] - 50
    assert not np.array_equal(near, far)


def test_the_sheet_of_a_run_with_a_depth_network_loads_no_network(monkeypatch):
    def load(*arguments):
        raise AssertionError("a depth network was loaded in the trainer")

    monkeypatch.setattr(DepthAnythingV2, "__init__", load)
    spec = WorkerSpec(depth_name="depth_anything_v2", depth_options={"albedo": 0.5, "checkpoint": "/nowhere"})
    body = OpenBody(OpenBody.Options())
    sheet = ContactSheet(LiveDepth(body, LocalPool(spec.build), None), spec)
    poses = PoseBatch.from_joints(make_joints(2)[:, None], make_camera(2), H36M_17)
    assert sheet.draw(poses.replace(depth=poses.joints_3d[..., 2])).height > TILE_PX
    assert sheet.worker.look.albedo == 0.5
