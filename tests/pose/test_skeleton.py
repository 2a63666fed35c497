"""Skeletons: names and parents in, everything else derived; and the conversions between them."""

import pytest
import torch

from dg.pose.joint_map import convert_joints, image_joint_map, joint_map, skeleton_named
from dg.pose.skeleton import (
    COCO_17,
    H36M_16,
    H36M_17,
    MEDIAPIPE_33,
    MPI_INF_3DHP_17,
    MPI_INF_3DHP_28,
    SKELETONS,
    SMPL_24,
    SPIN_24,
    Skeleton,
)
from tests.conftest import STANDING_17, make_joints

CONVERSIONS = [
    (source, target) for source in SKELETONS.values() for target in (H36M_16, H36M_17) if source.name != target.name
]


@pytest.fixture(params=sorted(SKELETONS))
def skeleton(request):
    return SKELETONS[request.param]


def test_the_flip_is_its_own_inverse_and_swaps_the_sides(skeleton):
    assert [skeleton.flip[j] for j in skeleton.flip] == list(range(len(skeleton)))
    assert {skeleton.flip[j] for j in skeleton.left} == set(skeleton.right)
    assert all(skeleton.flip[j] == j for j in range(len(skeleton)) if j not in skeleton.left + skeleton.right)


def test_the_flip_keeps_the_tree(skeleton):
    if skeleton is not COCO_17:  # whose tree is ours: COCO defines none
        for parent, child in skeleton.bones:
            assert skeleton.parents[skeleton.flip[child]] == skeleton.flip[parent]
    assert sorted(skeleton.bone_flip) == list(range(len(skeleton.bones)))


def test_every_parent_comes_before_its_children(skeleton):
    order = list(skeleton.order)
    assert sorted(order) == list(range(len(skeleton)))
    assert all(order.index(parent) < order.index(child) for parent, child in skeleton.bones)


def test_bones_are_ordered_by_their_child_and_found_by_its_name(skeleton):
    children = [child for _, child in skeleton.bones]
    assert children == sorted(children)
    assert all(skeleton.bones[skeleton.bone(skeleton.joints[c])][1] == c for c in children)


def test_adjacency_is_symmetric_with_one_entry_a_bone_and_side(skeleton):
    adjacency = skeleton.adjacency()
    assert torch.equal(adjacency, adjacency.T)
    assert adjacency.sum() == 2 * len(skeleton.bones)
    assert adjacency.diagonal().sum() == 0


def test_bone_and_path_matrices_are_inverse(skeleton):
    bones, paths = skeleton.bone_matrix(), skeleton.path_matrix()
    torch.testing.assert_close(bones @ paths, torch.eye(len(skeleton.bones)))
    joints = torch.randn(len(skeleton), 3)
    torch.testing.assert_close(paths @ (bones @ joints), joints - joints[skeleton.root])


def test_convention_the_joint_orders_of_the_field():
    assert H36M_17.joints[:7] == (
        "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    )  # fmt: skip
    assert H36M_17.joints[7:11] == ("spine", "thorax", "neck", "head")
    assert [H36M_17.joints[j] for j in (11, 13, 14, 16)] == [
        "left_shoulder",
        "left_wrist",
        "right_shoulder",
        "right_wrist",
    ]
    assert tuple(j for j in H36M_17.joints if j != "neck") == H36M_16.joints
    assert H36M_16.bones[9:] == ((8, 10), (10, 11), (11, 12), (8, 13), (13, 14), (14, 15))
    assert [H36M_16.flip[j] for j in (4, 5, 6, 10, 11, 12)] == [1, 2, 3, 13, 14, 15]
    assert (COCO_17.joints[0], COCO_17.joints[5], COCO_17.joints[16]) == ("nose", "left_shoulder", "right_ankle")
    assert (SMPL_24.joints[0], SMPL_24.joints[15], SMPL_24.joints[22]) == ("pelvis", "head", "left_hand")
    assert SMPL_24.parents == (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
    assert MPI_INF_3DHP_17.joints[14:] == ("pelvis", "spine", "head")


@pytest.mark.parametrize(("source", "target"), CONVERSIONS, ids=lambda s: s.name)
def test_conversions_are_means_and_commute_with_the_flip(source, target):
    weights = joint_map(source, target)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(target)))
    assert (weights >= 0).all()
    joints = torch.randn(5, len(source), 3)
    flipped = convert_joints(joints[:, list(source.flip)], source, target)
    torch.testing.assert_close(flipped, convert_joints(joints, source, target)[:, list(target.flip)])


@pytest.mark.parametrize(("source", "target"), CONVERSIONS, ids=lambda s: s.name)
def test_joints_of_one_name_are_copied(source, target):
    joints = torch.randn(len(source), 3)
    converted = convert_joints(joints, source, target)
    renamed = {"head", "neck"} if source in (MPI_INF_3DHP_17, MPI_INF_3DHP_28) else set()
    for name in set(source.joints) & set(target.joints) - {"neck", "spine"} - renamed:
        assert torch.equal(converted[target.index(name)], joints[source.index(name)]), name


def test_convention_the_released_index_lists_of_other_data_sets():
    raw = torch.arange(17.0)[:, None]
    mpi = convert_joints(raw, MPI_INF_3DHP_17, H36M_16)[:, 0]
    assert mpi.int().tolist() == [14, 8, 9, 10, 11, 12, 13, 15, 1, 0, 5, 6, 7, 2, 3, 4]
    train = convert_joints(torch.arange(28.0)[:, None], MPI_INF_3DHP_28, H36M_16)[:, 0]
    assert train.int().tolist() == [4, 23, 24, 25, 18, 19, 20, 3, 5, 7, 9, 10, 11, 14, 15, 16]
    spin = convert_joints(torch.arange(24.0)[:, None], SPIN_24, H36M_16)[:, 0]
    assert spin.int().tolist() == [14, 2, 1, 0, 3, 4, 5, 16, 12, 18, 9, 10, 11, 8, 7, 6]
    smpl = convert_joints(torch.arange(24.0)[:, None], SMPL_24, H36M_16)[:, 0]
    assert smpl.int().tolist() == [0, 2, 5, 8, 1, 4, 7, 6, 12, 15, 16, 18, 20, 17, 19, 21]


def test_convention_coco_midpoints():
    joints = torch.randn(17, 2)
    converted = convert_joints(joints, COCO_17, H36M_17)
    pelvis, thorax = joints[[11, 12]].mean(0), joints[[5, 6]].mean(0)
    torch.testing.assert_close(converted[[0, 7, 8]], torch.stack([pelvis, (pelvis + thorax) / 2, thorax]))
    torch.testing.assert_close(converted[[9, 10]], torch.stack([joints[0], joints[[1, 2]].mean(0)]))


def test_16_joints_are_17_without_the_neck_and_back_again():
    joints = make_joints(4)
    sixteen = convert_joints(joints, H36M_17, H36M_16)
    assert torch.equal(sixteen, joints[:, [j for j in range(17) if j != 9]])
    back = convert_joints(sixteen, H36M_16, H36M_17)
    torch.testing.assert_close(back[:, 9], (joints[:, 8] + joints[:, 10]) / 2)
    torch.testing.assert_close(convert_joints(back, H36M_17, H36M_16), sixteen)


def test_the_same_skeleton_converts_to_itself_untouched():
    assert convert_joints(STANDING_17, H36M_17, H36M_17) is STANDING_17


def test_an_undefined_conversion_says_what_is_missing():
    with pytest.raises(ValueError, match="nose"):
        joint_map(H36M_17, COCO_17)
    with pytest.raises(ValueError, match="expected 16 joints"):
        convert_joints(STANDING_17, H36M_16, H36M_17)


@pytest.mark.parametrize(
    ("joints", "parents", "reason"),
    [
        (("a", "b"), (-1,), "2 joints but 1 parents"),
        (("a", "a"), (-1, 0), "repeat"),
        (("a", "b"), (-1, -1), "one root"),
        (("a", "b", "c"), (-1, 2, 1), "cycle"),
        (("a", "left_b"), (-1, 0), "right_b"),
    ],
)
def test_an_impossible_skeleton_is_refused(joints, parents, reason):
    with pytest.raises(ValueError, match=reason):
        Skeleton("odd", joints, parents)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(KeyError, match="h36m_17"):
        skeleton_named("h36m")
    with pytest.raises(KeyError, match="pelvis"):
        H36M_17.index("nose")
    assert skeleton_named("coco_17") is COCO_17


def test_mediapipes_hips_are_moved_apart_in_images_and_nothing_else_is():
    joints = torch.randn(5, 33, 2, generator=torch.Generator().manual_seed(0))
    at, to = MEDIAPIPE_33.index, H36M_17.index
    weights = image_joint_map(MEDIAPIPE_33, H36M_17)
    found, plain = weights @ joints, convert_joints(joints, MEDIAPIPE_33, H36M_17)
    left, right = joints[:, at("left_hip")], joints[:, at("right_hip")]
    made = found[:, to("left_hip")], found[:, to("right_hip")]
    torch.testing.assert_close(made[0] - made[1], 1.4 * (left - right))
    torch.testing.assert_close((made[0] + made[1]) / 2, (left + right) / 2)
    others = [to(joint) for joint in H36M_17.joints if joint not in ("left_hip", "right_hip")]
    assert torch.equal(found[:, others], plain[:, others])
    torch.testing.assert_close(weights.sum(1), torch.ones(17))
    assert image_joint_map(COCO_17, H36M_17) is joint_map(COCO_17, H36M_17)
