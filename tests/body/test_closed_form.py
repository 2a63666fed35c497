import math

import pytest
import torch

from dg.body import closed_form
from dg.body.closed_form import aim, eigen_procrustes, fast_procrustes, unit
from dg.pose.rotation import minimal_rotation, procrustes_rotation, rotation_from_axis_angle


def random_rotations(rows, seed=0):
    return rotation_from_axis_angle(3 * torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed)))


def assert_rotations(r, atol=1e-5):
    assert torch.isfinite(r).all()
    assert torch.allclose(r @ r.mT, torch.eye(3, dtype=r.dtype).expand_as(r), atol=atol)
    assert torch.allclose(torch.det(r), torch.ones_like(r[..., 0, 0]), atol=atol)


def test_aim_agrees_with_the_minimal_rotation():
    frames, axes, directions = random_rotations(500), unit(torch.randn(500, 3)), unit(torch.randn(500, 3))
    slow = minimal_rotation((frames @ axes[..., None])[..., 0], directions) @ frames
    assert torch.allclose(aim(frames, axes, directions), slow, atol=3e-4)


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-3, 1.0, math.pi - 1e-3, math.pi - 1e-5, math.pi - 1e-7, math.pi])
def test_aim_hits_its_direction_and_stays_a_rotation(angle):
    frames, axes = random_rotations(50), unit(torch.randn(50, 3))
    start = (frames @ axes[..., None])[..., 0]
    pivot = unit(torch.linalg.cross(start, torch.randn(50, 3)))
    directions = (rotation_from_axis_angle(angle * pivot) @ start[..., None])[..., 0]
    turned = aim(frames, axes, directions)
    assert_rotations(turned)
    assert torch.allclose((turned @ axes[..., None])[..., 0], directions, atol=1e-5)


def test_aim_at_nothing_keeps_the_frame():
    frames, axes = random_rotations(10), unit(torch.randn(10, 3))
    assert torch.allclose(aim(frames, axes, torch.zeros(10, 3)), frames, atol=1e-6)


def test_a_half_turn_follows_the_frame():
    """Opposite directions too are fitted equivariantly: the axis is fixed in the frame, not in space."""
    axes = torch.eye(3)
    out = aim(torch.eye(3).expand(3, 3, 3), axes, -axes)
    turned = random_rotations(1)[0]
    out_turned = aim(turned.expand(3, 3, 3), axes, -(turned @ axes.mT).mT)
    assert torch.allclose(out_turned, turned @ out, atol=1e-5)


@pytest.mark.parametrize("vectors", [2, 3, 4])
def test_fast_procrustes_agrees_with_the_svd(vectors):
    t, s = unit(torch.randn(2000, vectors, 3)), unit(torch.randn(2000, vectors, 3))
    m = t.mT @ s
    fast, slow = fast_procrustes(m), procrustes_rotation(m.double()).float()
    assert_rotations(fast)
    # Compared by what they maximise, as the rotation itself is ill-conditioned for some draws.
    gain = ((fast - slow) * m).sum((-1, -2))
    assert gain.abs().max() < 1e-5
    assert ((fast - slow).abs().amax((-1, -2)) < 1e-4).float().mean() > 0.99


def test_fast_procrustes_recovers_a_rotation_from_its_own_vectors():
    r, s = random_rotations(500), unit(torch.randn(500, 3, 3))
    assert torch.allclose(fast_procrustes((s @ r.mT).mT @ s), r, atol=1e-4)


@pytest.mark.parametrize(
    "m",
    [
        torch.zeros(3, 3),
        torch.outer(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 0.0])),
        torch.diag(torch.tensor([1.0, 1.0, -1.0])),
        -torch.eye(3),
        torch.diag(torch.tensor([1.0, 1e-9, 0.0])),
        1e-20 * torch.eye(3),
        1e15 * torch.eye(3),
    ],
)
def test_fast_procrustes_is_a_best_rotation_where_it_is_not_unique(m):
    fast = fast_procrustes(m[None])
    assert_rotations(fast)
    best = (procrustes_rotation(m[None].double()) * m).sum()
    assert torch.isclose((fast[0].double() * m).sum(), best, rtol=1e-4, atol=1e-12)


def test_a_row_that_is_not_a_number_leaves_the_others_alone():
    m = torch.randn(4, 3, 3)
    m[1] = float("nan")
    out = fast_procrustes(m)
    assert torch.isnan(out[1]).all()
    assert_rotations(out[[0, 2, 3]])


@pytest.mark.parametrize("vectors", [1, 2, 3, 4])
def test_eigen_procrustes_gains_as_much_as_the_svd(vectors):
    t, s = unit(torch.randn(500, vectors, 3).double()), unit(torch.randn(500, vectors, 3).double())
    m = t.mT @ s
    found, best = eigen_procrustes(m), procrustes_rotation(m)
    assert_rotations(found)
    assert ((found - best) * m).sum((-1, -2)).abs().max() < 1e-5


def test_work_that_is_done_for_all_poses_changes_no_other_pose(monkeypatch):
    """As on a GPU, where nobody looks first whether a pose needs it."""
    m = torch.randn(300, 3, 3)
    m[::7] = torch.outer(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 1.0, 0.0]))
    frame, axis = random_rotations(300), unit(torch.randn(300, 3))
    direction = (frame @ axis[..., None])[..., 0] * torch.where(torch.arange(300) % 5 == 0, -1.0, 1.0)[:, None]
    before = fast_procrustes(m), aim(frame, axis, direction)
    monkeypatch.setattr(closed_form, "_may_hold", lambda mask: True)
    assert torch.equal(fast_procrustes(m), before[0])
    assert torch.equal(aim(frame, axis, direction), before[1])
    m, frame, axis, direction = m[1:7], frame[1:5], axis[1:5], direction[1:5]
    alone = fast_procrustes(m), aim(frame, axis, direction)
    monkeypatch.undo()
    assert torch.equal(fast_procrustes(m), alone[0])
    assert torch.equal(aim(frame, axis, direction), alone[1])
