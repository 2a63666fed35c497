"""The order of joints from geometry alone."""

import numpy as np
import pytest
import torch

from dg.datasets.npz import CrossDataset, Options
from dg.datasets.synthetic import Options as SyntheticOptions
from dg.datasets.synthetic import Synthetic
from dg.pose.joint_order import FITS, better_order, misfit, orders_of
from dg.pose.skeleton import COCO_17, H36M_17, MPI_INF_3DHP_17, SKELETONS, Skeleton
from tests.datasets.motion import as_coco


def as_mpi(joints: np.ndarray) -> np.ndarray:
    """Human3.6M's joints in MPI-INF-3DHP's order."""
    names = {"neck": "thorax", "head": "neck", "head_top": "head"}
    return joints[:, [H36M_17.index(names.get(joint, joint)) for joint in MPI_INF_3DHP_17.joints]]


ORDERS = {"h36m_17": lambda joints: joints, "coco_17": as_coco, "mpi_inf_3dhp_17": as_mpi}


@pytest.fixture(scope="module", params=["source", "near", "wide"])
def people(request) -> dict[str, np.ndarray]:
    poses = Synthetic(SyntheticOptions(request.param, clips=12, frames=6)).load("test").poses
    return {"image": poses.joints_2d[:, 0].numpy(), "space": poses.joints_3d[:, 0].numpy()}


@pytest.mark.parametrize("true", ORDERS)
@pytest.mark.parametrize("where", ["image", "space"])
def test_the_true_order_fits_and_is_found_from_any_other(people, true, where):
    joints = torch.from_numpy(ORDERS[true](people[where]))
    assert misfit(joints, SKELETONS[true]) < FITS
    for stated in ORDERS:
        found = better_order(joints, SKELETONS[stated])
        assert found is (None if stated == true else SKELETONS[true])


def test_scale_place_and_noise_do_not_matter(people):
    joints = torch.from_numpy(as_coco(people["image"]))
    moved = 700 * joints + torch.tensor([300.0, 400.0]) + 5 * torch.randn(joints.shape)
    assert better_order(moved, H36M_17) is COCO_17
    assert misfit(3 * joints - 1, COCO_17) == pytest.approx(misfit(joints, COCO_17), abs=1e-4)


def test_poses_without_numbers_are_left_out_and_none_fit_nothing(people):
    joints = torch.from_numpy(people["image"])
    some = joints.clone()
    some[::3, 4] = torch.nan
    assert misfit(some, H36M_17) == pytest.approx(misfit(joints, H36M_17), abs=0.1)
    assert misfit(some[:1], H36M_17) == float("inf")
    assert better_order(torch.full((5, 17, 2), torch.nan), H36M_17) is None


def test_only_skeletons_with_limbs_and_as_many_joints_are_tried():
    assert {s.name for s in orders_of(17)} == set(ORDERS)
    assert orders_of(3) == []
    stick = Skeleton("stick", ("pelvis", "head", "neck"), (-1, 0, 1))
    assert better_order(torch.randn(4, 3, 2), stick) is None


@pytest.mark.shared
@pytest.mark.parametrize("name", ["cmu_h36m", "cmu_3dpw", "uiprmd_h36m", "uiprmd_3dhp"])
def test_real_motion_is_told_from_every_other_order(shared, name):
    poses = CrossDataset(Options(str(shared / "data" / "cross" / f"{name}.npz"), stride=7)).load("test").poses
    for true, change in ORDERS.items():
        joints = torch.from_numpy(change(poses.joints_2d[:, 0].numpy()))
        assert all(better_order(joints, SKELETONS[s]) is (None if s == true else SKELETONS[true]) for s in ORDERS), true
