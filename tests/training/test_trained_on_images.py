"""Trained on depth of images: pictures on disk, depth extracted from them, a lifter trained and tested on it."""

import json

import numpy as np
import pytest
import torch

from dg import evaluate
from dg.extract_depth.__main__ import main as extract
from dg.methods import METHODS
from dg.methods.base import DGMethod, StepKey
from dg.pose.windows import Windows
from dg.settings.command_line import check_plugins, parse
from dg.settings.config import PLAIN_METHOD, ConfigError
from dg.settings.plugins import resolve
from dg.train import run as train
from dg.training.build import make_method
from dg.training.problem import load_problem
from lifters import LIFTERS
from render_workers.depth import DEPTH_SOURCES
from tests.images.image_depth_source import PLACE
from tests.trained.makers import SMALL
from tests.training.room_photos import NETWORK, write_room

RUN = [
    "pool=local", "device=cpu", "threads=1", "batch_size=8", "epochs=1", "skeleton=h36m_17", "tracking.uri=off",
    "cache=off", "method=erm", "data=npz", "data.train_subjects=[p0,p1,p2]", "data.validation=clips",
    "lifter.width=16",
]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def network():
    """The stand-in for a depth network."""
    patch = pytest.MonkeyPatch()
    patch.setitem(DEPTH_SOURCES, "brightness", PLACE)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("room")
    people = write_room(folder)
    given = [f"images={folder / 'photos'}", f"keypoints={people}", f"out={folder / 'depth.npz'}", "workers=0"]
    assert extract([*given, "device=cpu", *NETWORK]) == 0
    return folder


@pytest.fixture(scope="module")
def problem(room):
    config = parse(words(room, "", "inputs=uadd"))
    return load_problem(config, check_plugins(config))


def words(room, out, *more, depth="depth.npz"):
    target = f"npz:{room}/people.npz?train_subjects=p0+p1+p2&image_depth={room}/{depth}"
    given = [f"data.path={room}/people.npz", f"data.image_depth={room}/{depth}", f'targets=["{target}"]', f"out={out}"]
    own = {word.partition("=")[0] for word in more}
    kept = [word for word in RUN if not ("lifter" in own and word.startswith("lifter"))]
    return [*kept, *given, *more]


def test_a_run_trains_and_is_tested_on_the_depth_of_pictures_and_renders_nothing(room, tmp_path):
    summary = train(parse(words(room, tmp_path / "run", "inputs=uadd")), quiet=True)
    assert summary["ledger"]["submitted"] == 0
    assert summary["depth"] == "images"
    assert {part: len(content) for part, content in summary["data"].items()} == {"train": 12, "val": 12, "people": 12}
    for result in summary["results"]:
        assert "/depth=images/depth_data=" in result["protocol"]
        assert np.isfinite(result["mpjpe_mm"])
    out = tmp_path / "again.json"
    target = f"npz:{room}/people.npz?train_subjects=p0+p1+p2&image_depth={room}/depth.npz"
    given = [f"{tmp_path / 'run'}", f'targets=["{target}"]', f"out={out}", "tracking.uri=off"]
    assert evaluate.main(given) == 0
    (again,) = json.loads(out.read_text())["results"]
    best = next(r for r in summary["results"] if r["selection"] == "source_val")
    assert again["mpjpe_mm"] == pytest.approx(best["mpjpe_mm"], abs=1e-3)
    assert again["protocol"] == best["protocol"]


def test_the_depth_of_the_pictures_is_that_of_the_bodies(problem):
    train_part = problem.train
    # A joint lies within the body: its surface is nearer, by no more than a trunk is thick.
    behind = train_part.poses.joints_3d[..., 2] - train_part.poses.depth
    assert 0.0 < float(behind.median()) < 0.15
    assert float((behind.abs() < 0.6).float().mean()) > 0.95


def test_what_the_lifter_learns_from_is_the_file(room, tmp_path):
    stored = dict(np.load(room / "depth.npz"))
    rng = np.random.default_rng(0)
    for name in ("depth", "nearest", "farthest"):
        stored[name] = stored[name] + rng.uniform(-1, 1, stored[name].shape).astype(np.float32)
    np.savez(room / "other.npz", **stored)
    one, other = (
        train(parse(words(room, tmp_path / name, "inputs=xyd", depth=name)), quiet=True)
        for name in ("depth.npz", "other.npz")
    )
    assert one["results"][0]["mpjpe_mm"] != other["results"][0]["mpjpe_mm"]
    assert one["results"][0]["protocol"] != other["results"][0]["protocol"]


@pytest.mark.parametrize("inputs", ["xyc", "xycd", "uadd"])
def test_detections_with_and_without_depth_share_their_data(room, tmp_path, inputs):
    config = parse(words(room, tmp_path, f"inputs={inputs}"))
    problem = load_problem(config, check_plugins(config))
    assert problem.train.poses.confidence is not None
    assert not config.draws
    assert problem.virtual is None
    people = torch.cat([problem.train.subject, problem.val.subject]).unique()
    assert len(people) == 3
    assert len(problem.val) > 0


def test_detections_alone_train_and_are_tested_on(room, tmp_path):
    place = f"{room}/depth.npz"
    target = f"npz:{room}/people.npz?train_subjects=p0+p1+p2&keypoints={place}"
    given = [f"data.path={room}/people.npz", f"data.keypoints={place}", f'targets=["{target}"]', f"out={tmp_path}/run"]
    summary = train(parse([*RUN, *given, "inputs=xy"]), quiet=True)
    detector = json.loads(str(np.load(place)["provenance"]))["source_2d"]
    assert all(f"/2d={detector}/depth=none/" in result["protocol"] for result in summary["results"])
    assert summary["data"]["people"] not in problem_contents(room)


def problem_contents(room) -> set[str]:
    """Of the same people with their own 2D."""
    config = parse([*RUN, f"data.path={room}/people.npz", f'targets=["npz:{room}/people.npz?train_subjects=p0+p1+p2"]'])
    return set(load_problem(config, check_plugins(config)).contents.values())


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("lifter", sorted(LIFTERS))
def test_every_lifter_takes_a_step_on_it(problem, room, lifter, frames):
    config = parse(words(room, "", f"lifter={lifter}", *SMALL[lifter], f"frames={frames}", "inputs=uadd"))
    try:
        method = make_method(config, check_plugins(config), problem)
    except ConfigError:
        assert frames > 1
        pytest.skip(f"{lifter} takes no windows of {frames} frames")
    windows = Windows.over(problem.train.clip, frames)
    batch = windows.gather(problem.train.poses, torch.arange(8))
    assert batch.depth.shape == batch.depth_spread.shape[:3] == (8, frames, 17)
    update = method.update(batch, None, StepKey(0, 0, 0))
    assert update.lifter_steps == 1
    assert torch.isfinite(update.metrics["loss/lifter"])


def test_a_method_that_makes_poses_draws_them_with_rendered_depth_beside_that_of_images(room, tmp_path):
    given = words(room, tmp_path / "run", "inputs=uadd", "method=random_rigid", "max_steps=3")
    config = parse([*given, "render.resolution=32", "render.subject_span_px=28"])
    assert config.draws
    summary = train(config, quiet=True)
    assert summary["ledger"]["done"] > 0
    assert all("/depth=images/" in result["protocol"] for result in summary["results"])


def test_the_plain_method_alone_makes_no_poses():
    still = {
        name
        for name in METHODS
        if (kind := resolve(METHODS, "method", name)).propose is DGMethod.propose
        and kind.propose_pass is DGMethod.propose_pass
    }
    assert still == {PLAIN_METHOD}


def test_a_file_without_people_to_validate_on_is_no_source_and_says_what_to_give(room, tmp_path):
    given = [w for w in words(room, tmp_path) if not w.startswith("data.validation")]
    config = parse(given)
    with pytest.raises(ValueError, match=r"data\.validation=clips"):
        load_problem(config, check_plugins(config))
