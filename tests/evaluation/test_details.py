import pytest
import torch

from dg.datasets.synthetic import Synthetic
from dg.evaluation.details import EXAMPLES, error_details
from dg.evaluation.metrics import pose_errors


@pytest.fixture(scope="module")
def lifted():
    data = Synthetic(Synthetic.Options(clips=4, frames=40)).load("train")
    truth = data.poses.joints_3d[:, 0]
    noise = 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    predicted = truth + noise * torch.linspace(0.1, 2.0, len(truth))[:, None, None]
    errors = pose_errors(predicted, truth, data.poses.skeleton.root, data.action)
    return data, predicted, errors, error_details(predicted, data, errors)


def test_joints_actions_and_elevations_each_average_to_the_error_of_all_poses(lifted):
    data, _, errors, found = lifted
    whole = float(errors.mpjpe_mm.mean())
    assert sum(found["joints"].values()) / len(data.poses.skeleton) == pytest.approx(whole)
    assert list(found["joints"]) == list(data.poses.skeleton.joints)
    for rows in (found["elevation"], list(found["actions"].values())):
        count = sum(row["n"] for row in rows)
        assert count == len(data)
        assert sum(row["n"] * row["mpjpe_mm"] for row in rows) / count == pytest.approx(whole)


def test_examples_are_the_worst_the_middle_and_the_best_with_their_own_errors(lifted):
    data, _, errors, found = lifted
    by = {which: [e for e in found["examples"] if e["which"] == which] for which in ("worst", "median", "best")}
    assert {len(examples) for examples in by.values()} == {EXAMPLES}
    order = errors.mpjpe_mm.sort().values
    assert [e["mpjpe_mm"] for e in by["worst"]] == pytest.approx(order.flip(0)[:EXAMPLES].tolist(), abs=0.01)
    assert [e["mpjpe_mm"] for e in by["best"]] == pytest.approx(order[:EXAMPLES].tolist(), abs=0.01)
    below = (errors.mpjpe_mm < by["median"][0]["mpjpe_mm"]).double().mean()
    assert 0.4 < below < 0.6
    for example in found["examples"]:
        drawn = torch.tensor(example["predicted"]) - torch.tensor(example["truth"])
        # Coordinates are kept to a tenth of a millimetre.
        assert 1000 * float(drawn.norm(dim=-1).mean()) == pytest.approx(example["mpjpe_mm"], abs=0.2)
        assert example["action"] == data.actions[int(data.action[example["row"]])]
