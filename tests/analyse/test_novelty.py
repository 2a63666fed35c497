"""Novelty: distance to prototypes of the training poses."""

import sys

import pytest
import torch

from dg.analyse.checkpoints import AnalysisError
from dg.analyse.novelty import Novelty, cluster_centres, evenly_spaced, flat_poses_mm, novelty_mm
from dg.analyse.stratified import strata
from dg.pose.batch import PoseBatch
from dg.pose.skeleton import H36M_17
from dg.settings.plugins import make_options
from tests.conftest import make_camera, make_joints


def clusters(each: int, spread_mm: float = 5.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three prototypes `[3, 51]`, a metre apart, and poses about them, mm."""
    generator = torch.Generator().manual_seed(0)
    prototypes = 1000 * torch.randn(3, 51, generator=generator)
    return prototypes, prototypes.repeat(each, 1) + spread_mm * torch.randn(3 * each, 51, generator=generator)


def test_prototypes_are_found():
    prototypes, poses = clusters(50)
    found = cluster_centres(poses)
    assert len(found) == 3  # a fiftieth of 150 poses
    assert torch.cdist(prototypes.double(), found).amin(1).max() < 10


def test_there_are_never_more_than_a_hundred_clusters_and_never_none():
    generator = torch.Generator().manual_seed(0)
    assert len(cluster_centres(torch.randn(5200, 6, generator=generator))) == 100
    assert len(cluster_centres(torch.randn(20, 6, generator=generator))) == 1


def test_the_same_poses_give_the_same_centres():
    poses = 100 * torch.randn(600, 51, generator=torch.Generator().manual_seed(1))
    assert torch.equal(cluster_centres(poses), cluster_centres(poses))


def test_training_poses_are_in_the_most_similar_group_and_strange_ones_in_the_least():
    _, poses = clusters(50)
    between = (poses[:60] + poses[1:61]) / 2
    test = torch.cat([poses[:20], between, poses[:20] + 5000])
    groups = strata(novelty_mm(test, cluster_centres(poses)), (0.2, 0.8))
    assert (groups[:20] == 0).all()
    assert (groups[20:80] == 1).all()
    assert (groups[80:] == 2).all()


def test_where_a_person_stands_does_not_matter():
    joints = make_joints(30)
    poses = PoseBatch.from_joints(joints[:, None], make_camera(30), H36M_17)
    moved = PoseBatch.from_joints((joints + torch.tensor([0.3, -0.1, 1.0]))[:, None], make_camera(30), H36M_17)
    torch.testing.assert_close(flat_poses_mm(poses), flat_poses_mm(moved), atol=1e-2, rtol=0)
    assert flat_poses_mm(poses).abs().max() > 500  # millimetres


@pytest.mark.parametrize(("most", "expected"), [(0, 30), (100, 30), (10, 10), (7, 7)])
def test_poses_are_thinned_evenly(most, expected):
    poses = PoseBatch.from_joints(make_joints(30)[:, None], make_camera(30), H36M_17)
    rows = evenly_spaced(poses, most).index
    assert len(rows) == expected
    gaps = rows.diff()
    assert gaps.max() - gaps.min() <= 1


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="prototypes must be one of"):
        make_options(Novelty, "novelty", "novelty", {"prototypes": "test"})
    with pytest.raises(ValueError, match="poses"):
        make_options(Novelty, "novelty", "novelty", {"poses": -1})


def test_without_scikit_learn_the_extra_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(AnalysisError, match=r"needs scikit-learn.*'\.\[novelty\]'"):
        cluster_centres(torch.zeros(100, 51))
