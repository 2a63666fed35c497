import numpy as np
import pytest
import torch

from dg.evaluation import metrics
from dg.evaluation.metrics import PoseErrors, pose_errors
from tests.conftest import make_joints


def random_pair(frames=64, noise=0.08, seed=1):
    target = make_joints(frames, seed=seed)
    generator = torch.Generator().manual_seed(seed + 100)
    return target + noise * torch.randn(target.shape, generator=generator), target


def mpjpe_mm(p, t):
    return pose_errors(p, t).mpjpe_mm


def pa_mpjpe_mm(p, t):
    return pose_errors(p, t).pa_mpjpe_mm


def n_mpjpe_mm(p, t):
    return pose_errors(p, t).n_mpjpe_mm


def random_rotations(rows, seed=3):
    q, _ = torch.linalg.qr(torch.randn(rows, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    return q * torch.linalg.det(q)[:, None, None].sign()


def slow_errors(p, t, root):
    """The five metrics of one pose, written out joint by joint with numpy."""
    p, t = (p - p[root]) * 1000, (t - t[root]) * 1000
    errors = [np.sqrt(((a - b) ** 2).sum()) for a, b in zip(p, t, strict=True)]
    scaled = p * (t * p).sum() / (p * p).sum()
    x, y = p - p.mean(0), t - t.mean(0)
    u, s, vt = np.linalg.svd(y.T @ x)
    flip = np.diag([1, 1, np.linalg.det(u @ vt)])
    aligned = (np.trace(np.diag(s) @ flip) / (x * x).sum()) * x @ (u @ flip @ vt).T + t.mean(0)
    share = [100 * np.mean([e < threshold for e in errors]) for threshold in range(0, 151, 5)]
    return (
        np.mean(errors), np.linalg.norm(aligned - t, axis=1).mean(), np.linalg.norm(scaled - t, axis=1).mean(),
        share[-1], np.mean(share),
    )  # fmt: skip


@pytest.mark.parametrize("root", [0, 8])
def test_every_metric_equals_a_slow_twin_pose_by_pose(root):
    p, t = random_pair(noise=0.12)
    errors = pose_errors(p, t, root)
    slow = np.array([slow_errors(a, b, root) for a, b in zip(p.double().numpy(), t.double().numpy(), strict=True)])
    for column, name in enumerate(["mpjpe_mm", "pa_mpjpe_mm", "n_mpjpe_mm", "pck150", "auc"]):
        np.testing.assert_allclose(getattr(errors, name), slow[:, column], rtol=1e-9, err_msg=name)


@pytest.mark.shared
def test_metrics_equal_what_the_released_evaluation_computes(shared):
    golden = np.load(shared / "conformance" / "poseaug_golden.npz")
    p, t = torch.from_numpy(golden["m_pred"]), torch.from_numpy(golden["m_gt"])
    errors = pose_errors(p - p[:, :1], t - t[:, :1]).summary()
    assert errors["mpjpe_mm"] == pytest.approx(1000 * golden["m_mpjpe"].item(), rel=1e-5)
    assert errors["pa_mpjpe_mm"] == pytest.approx(1000 * golden["m_pmpjpe"].item(), rel=1e-5)
    assert errors["pck150"] == pytest.approx(golden["m_pck"].item(), abs=1e-5)
    assert errors["auc"] == pytest.approx(golden["m_auc"].item(), abs=1e-5)


def test_a_similarity_copy_has_no_pa_error_but_an_mpjpe():
    t = make_joints(32).double()
    copy = 1.7 * t @ random_rotations(32).mT + torch.tensor([0.3, -0.2, 1.0])
    assert pa_mpjpe_mm(copy, t).max() < 1e-9
    assert mpjpe_mm(copy, t).min() > 10


def test_a_scaled_copy_has_no_n_error_and_a_rotated_one_has():
    t = make_joints(16).double()
    assert n_mpjpe_mm(0.4 * t, t).max() < 1e-9
    assert n_mpjpe_mm(t @ random_rotations(16).mT, t).min() > 10


def test_a_reflection_cannot_be_aligned_away():
    t = make_joints(16).double()
    assert pa_mpjpe_mm(t * torch.tensor([-1.0, 1.0, 1.0]), t).min() > 10


def test_mpjpe_ignores_translation_and_needs_the_same_rotation_of_both():
    p, t = random_pair()
    p, t = p.double(), t.double()
    rotation = random_rotations(1)
    assert torch.allclose(mpjpe_mm(p + 3.0, t - 1.0), mpjpe_mm(p, t), atol=1e-9)
    assert torch.allclose(mpjpe_mm(p @ rotation, t @ rotation), mpjpe_mm(p, t), atol=1e-9)


def test_more_freedom_in_the_alignment_never_raises_the_squared_error():
    p, t = random_pair(noise=0.2)
    p, t = metrics.root_aligned_mm(p, t)
    scaled = metrics._scale_aligned(p, t)
    aligned = metrics.similarity_aligned(p, t)
    raw, scale, similarity = [(x - t).square().sum((1, 2)) for x in (p, scaled, aligned)]
    assert (scale <= raw + 1e-9).all()
    assert (similarity <= scale + 1e-9).all()


def test_auc_is_the_mean_of_31_pcks_and_pck_is_strict():
    p, t = random_pair()
    p64, t64 = p.double() * 1000, t.double() * 1000
    error = ((p64 - p64[:, :1]) - (t64 - t64[:, :1])).norm(dim=-1)
    mean = torch.stack([100 * (error < mm).double().mean(-1) for mm in range(0, 151, 5)]).mean(0)
    assert torch.allclose(pose_errors(p, t).auc, mean)
    t = torch.zeros(1, 4, 3)
    p = torch.tensor([[[0.0, 0, 0], [0.150, 0, 0], [0.125, 0, 0], [0.2, 0, 0]]]).double()
    errors = pose_errors(p, t.double())
    assert errors.pck150.item() == 50.0
    assert errors.auc.item() == pytest.approx(100 * (30 + 0 + 5 + 0) / (4 * 31))


def test_a_perfect_pose_scores_100_and_at_most_30_of_31():
    t = make_joints(2)
    assert pose_errors(t, t).pck150.tolist() == [100.0, 100.0]
    assert pose_errors(t, t).auc.tolist() == pytest.approx([100 * 30 / 31] * 2)


def test_degenerate_predictions_stay_finite():
    t = make_joints(3)
    line = torch.linspace(0, 1, 17)[None, :, None] * torch.tensor([1.0, 0.0, 0.0])
    for p in (torch.zeros_like(t), t * 1e-30, line.repeat(3, 1, 1)):
        assert all(np.isfinite(v) for v in pose_errors(p, t).summary().values())
    assert torch.allclose(n_mpjpe_mm(torch.zeros_like(t), t), mpjpe_mm(torch.zeros_like(t), t))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_pose_that_is_not_finite_is_refused_not_averaged(value):
    p, t = random_pair(8)
    p[5, 3, 1] = value
    with pytest.raises(ValueError, match=r"1 of 8 predicted poses .* frame 5"):
        pose_errors(p, t)
    with pytest.raises(ValueError, match="1 of 8 target poses"):
        mpjpe_mm(t, p)


def test_nothing_to_evaluate_and_unequal_shapes_are_refused():
    p, t = random_pair(4)
    with pytest.raises(ValueError, match="at least one pose"):
        pose_errors(p[:0], t[:0])


def test_action_averages_weigh_actions_not_frames():
    p, t = random_pair(10)
    action = torch.tensor([4] * 8 + [1] * 2)
    errors = pose_errors(p, t, action=action)
    per_frame = mpjpe_mm(p, t)
    expected = (per_frame[:8].mean() + per_frame[8:].mean()) / 2
    summary = errors.summary()
    assert summary["mpjpe_action_mm"] == pytest.approx(expected.item())
    assert summary["mpjpe_mm"] == pytest.approx(per_frame.mean().item())
    assert {"pa_mpjpe_action_mm", "n_mpjpe_action_mm", "pck150_action", "auc_action"} <= set(summary)
    by_name = errors.per_action(["a", "walk", "c", "d", "sit"])
    assert list(by_name) == ["walk", "sit"]
    assert by_name["sit"]["n"] == 8
    assert by_name["walk"]["mpjpe_mm"] == pytest.approx(per_frame[8:].mean().item())


def test_chunks_change_nothing(monkeypatch):
    p, t = random_pair(50)
    whole = pose_errors(p, t)
    monkeypatch.setattr(metrics, "_CHUNK", 7)
    parts = pose_errors(p, t)
    assert isinstance(parts, PoseErrors)
    for name, value in whole._metrics().items():
        assert torch.allclose(value, getattr(parts, name), rtol=1e-12)


def test_evaluation_never_loses_the_tail():
    p, t = random_pair(65)
    assert len(pose_errors(p, t)) == pose_errors(p, t).summary()["n"] == 65
