"""Depth from images in evaluation and training: it is what the lifter sees, nothing is drawn for it, and its results
go by its own name.
"""

import json

import numpy as np
import pytest
import torch

from dg import evaluate
from dg.compare.stored_runs import read_results, stored_runs
from dg.compare.tables import without_depth
from dg.settings.command_line import check_plugins, parse
from dg.train import run as train
from dg.trained.evaluation_run import targets_of
from dg.training.rendering import make_live_depth
from tests.datasets.image_depth_maker import names_of, pixels_of, write_image_depth
from tests.datasets.makers import cross_arrays
from tests.stores import new_store

SIZE = (1080, 1920)
SMALL = [
    "pool=local", "device=cpu", "threads=1", "data.clips=4", "data.frames=10", "batch_size=32", "method=erm",
    "lifter.width=16", "epochs=2", "evaluate_every=1", "skeleton=h36m_17", "tracking.uri=off",
    "virtual_cameras=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a test set, its depth as it is rendered in a file as if from images, and a trained run."""
    folder = tmp_path_factory.mktemp("image-depth-runs")
    arrays = cross_arrays()
    names = names_of(len(arrays["pose3d"]))
    np.savez(folder / "people.npz", **arrays, image=names)
    words = [*SMALL, f"cache={folder}/cache", f"targets=[npz:{folder}/people.npz]"]
    config = parse(words)
    live = make_live_depth(config, check_plugins(config), 0.0)
    (target,) = targets_of(config)
    rendered = live.of_dataset(target.poses, target.digest)
    live.pool.close()
    write_image_depth(folder / "depth.npz", names, SIZE, pixels_of(arrays, SIZE), rendered.depth[:, 0].numpy())
    write_image_depth(folder / "deeper.npz", names, SIZE, pixels_of(arrays, SIZE), rendered.depth[:, 0].numpy() * 1.3)
    summary = train(parse([*words, f"out={folder}/run"]), quiet=True)
    return folder, summary


def scored(folder, tmp_path, target: str, *words: str) -> dict:
    out = tmp_path / "result.json"
    given = [f"{folder}/run", f'targets=["{target}"]', f"cache={folder}/cache", f"out={out}", *words]
    assert evaluate.main(given) == 0
    return json.loads(out.read_text())["results"][0]


def test_the_lifter_sees_the_depth_of_the_file(place, tmp_path):
    folder, _ = place
    target = f"npz:{folder}/people.npz"
    drawn = scored(folder, tmp_path, target, "tracking.uri=off")
    same = scored(folder, tmp_path, f"{target}?image_depth={folder}/depth.npz", "tracking.uri=off")
    other = scored(folder, tmp_path, f"{target}?image_depth={folder}/deeper.npz", "tracking.uri=off")
    assert same["mpjpe_mm"] == pytest.approx(drawn["mpjpe_mm"], abs=1e-3)
    assert abs(other["mpjpe_mm"] - drawn["mpjpe_mm"]) > 1
    assert "/depth=rendered-zbuffer(oracle)/" in drawn["protocol"]
    assert without_depth(same["protocol"]) == without_depth(drawn["protocol"])
    assert "/depth=images/depth_data=" in same["protocol"]
    assert same["protocol"] != other["protocol"], "two files of depth never share a column"


def test_results_are_tagged_with_where_depth_came_from(place, tmp_path):
    folder, _ = place
    store = new_store(tmp_path)
    scored(folder, tmp_path, f"npz:{folder}/people.npz", f"tracking.uri={store}")
    scored(folder, tmp_path, f"npz:{folder}/people.npz?image_depth={folder}/depth.npz", f"tracking.uri={store}")
    found, _ = read_results(stored_runs(store, "dg"), "source_val", "mpjpe_mm")
    drawn, images = sorted(found, key=lambda result: result.started)
    assert (drawn.depth, drawn.oracle) == ("zbuffer", "depth")
    assert (images.depth, images.oracle) == ("images", "")
    assert images.input_label.endswith(", images")


def test_training_evaluates_on_it_without_drawing_it(place, tmp_path):
    folder, drawn = place
    target = f'targets=["npz:{folder}/people.npz?image_depth={folder}/depth.npz"]'
    summary = train(parse([*SMALL, f"cache={folder}/cache", target, f"out={tmp_path}/run"]), quiet=True)
    for here, there in zip(summary["results"], drawn["results"], strict=True):
        assert here["mpjpe_mm"] == pytest.approx(there["mpjpe_mm"], abs=1e-3)
        assert "/depth=images/" in here["protocol"]


def test_a_lifter_without_depth_is_not_said_to_have_any(place, tmp_path):
    folder, _ = place
    target = f'targets=["npz:{folder}/people.npz?image_depth={folder}/depth.npz"]'
    words = [word for word in SMALL if not word.startswith("skeleton")]
    summary = train(parse([*words, "inputs=xy", target, f"out={tmp_path}/run"]), quiet=True)
    assert all("/depth=none/" in result["protocol"] for result in summary["results"])


def test_detections_from_images_need_their_range(place, tmp_path, capsys):
    folder, _ = place
    arrays = cross_arrays()
    names = names_of(len(arrays["pose3d"]))
    depth = arrays["pose3d"][..., 2]
    for name, changes in (("range", {}), ("point", {"nearest": None, "farthest": None})):
        write_image_depth(tmp_path / f"{name}.npz", names, SIZE, pixels_of(arrays, SIZE), depth, **changes)
    words = [*SMALL, "inputs=uadd", "detection.background_m=0", f"cache={tmp_path}/cache"]
    summary = train(
        parse([*words, f'targets=["npz:{folder}/people.npz?image_depth={tmp_path}/range.npz"]', f"out={tmp_path}/a"]),
        quiet=True,
    )
    assert all("/2d=gt/depth=images/" in result["protocol"] for result in summary["results"])
    from dg.settings.config import ConfigError

    config = parse(
        [*words, f'targets=["npz:{folder}/people.npz?image_depth={tmp_path}/point.npz"]', f"out={tmp_path}/b"]
    )
    with pytest.raises(ConfigError, match="extract it anew with inputs=uadd"):
        train(config, quiet=True)
    assert torch.isfinite(torch.tensor(summary["results"][0]["mpjpe_mm"]))
