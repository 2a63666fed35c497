"""The command line: what it understands, what it says to a mistake, and that help is cheap."""

import re
import subprocess
import sys
import time
from dataclasses import fields

import pytest

from dg.settings.command_line import check_plugins, help_text, parse
from dg.settings.config import ConfigError, TrainConfig


def test_no_word_is_the_default_run():
    config = parse([])
    assert (config.method["name"], config.lifter["name"], config.data["name"]) == (
        "poseaug", "simple_baseline", "synthetic",
    )  # fmt: skip
    assert (config.inputs, config.dscale2d_resolved, config.pool) == ("xyd", "focal", "ray")
    assert config.target_names == ["synthetic:near", "synthetic:wide"]


def test_the_line_that_other_work_relies_on_parses():
    config = parse(
        'data=h36m data.root=some/dir targets=["npz:FILE1","npz:FILE2"] method=random_rigid '
        "lifter=video_pose_3d inputs=xyd "
        "dscale2d=paper d_ref=4.5 depth=noisy_zbuffer pool=local render.actors=2 epochs=3 max_steps=7 batch_size=1024 "
        "data.stride=5 seed=3 out=some/out".split()
    )
    assert config.data == {"name": "h36m", "root": "some/dir", "stride": 5}
    assert config.targets == ["npz:FILE1", "npz:FILE2"]
    assert (config.dscale2d_resolved, config.depth["name"], config.max_steps) == ("paper", "noisy_zbuffer", 7)


@pytest.mark.parametrize(
    ("inputs", "dscale2d", "resolved", "needs_depth"),
    [("xy", "auto", "off", False), ("xyd", "auto", "focal", True), ("xyd", "off", "off", True),
     ("xy", "focal", "focal", True)],
)  # fmt: skip
def test_dscale2d_is_focal_exactly_where_the_lifter_sees_depth_unless_said(inputs, dscale2d, resolved, needs_depth):
    config = parse([f"inputs={inputs}", f"dscale2d={dscale2d}"])
    assert (config.dscale2d_resolved, config.needs_depth) == (resolved, needs_depth)


MISTAKES = [
    ("epoch=3", "did you mean 'epochs'"),
    ("method=posaug", "did you mean 'poseaug'"),
    ("render.actor=3", "did you mean 'actors'"),
    ("inputs=xyz", "inputs must be one of"),
    ("epochs=many", "epochs"),
    ("epochs=-1", "epochs must be positive"),
    ("batch_size=1", "batch_size must be at least 2"),
    ("render.min_pool=2", "render.min_pool must be 1, 3 or 5"),
    ("render.subject_span_px=200", "the subject is cut"),
    ("pretrain_epochs=99", "pretrain_epochs"),
    ("targets=[npz]", "NAME:ARGUMENT"),
    ("seed", "expected key=value"),
    ("+seed=1", "without '+'"),
    ("out=", None),
]


@pytest.mark.parametrize(("word", "message"), MISTAKES)
def test_a_mistake_is_answered_with_what_was_expected(word, message):
    if message is None:
        assert parse([word]).out == ""
        return
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse([word])


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        parse(["epochs=-1", "inputs=abc", "batch_size=1"])
    assert len(str(caught.value).splitlines()) == 3


def test_an_unknown_option_of_a_plug_in_lists_its_options():
    with pytest.raises(ConfigError, match=r"no option 'feedback_mod'.*feedback_mode"):
        check_plugins(parse(["method=poseaug", "method.feedback_mod=eval"]))


def test_an_option_of_another_type_is_refused():
    with pytest.raises(ConfigError, match=r"data\.stride expects int, got 'often'"):
        check_plugins(parse(["data=h36m", "data.root=x", "data.stride=often"]))


def test_a_required_option_is_asked_for():
    with pytest.raises(ConfigError, match=r"data\.root="):
        check_plugins(parse(["data=h36m"]))


def test_help_explains_every_key():
    text = help_text("dg.train", "what")
    missing = [f.name for f in fields(TrainConfig) if f.name not in text]
    assert not missing


def test_the_digest_changes_with_what_changes_numbers_and_with_nothing_else():
    base = parse([]).digest()
    assert parse(["out=elsewhere", "render.actors=7", "pool=local"]).digest() == base
    assert parse(["seed=1"]).digest() != base
    assert parse(["render.lookahead=1"]).digest() != base


def test_help_loads_neither_torch_nor_ray_and_is_quick():
    heavy = "{'torch', 'ray', 'mlflow'}"
    code = f"import sys; from dg.train import main; main(['--help']); assert not {heavy} & set(sys.modules)"
    seconds = []
    for _ in range(2):
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 1.0


def test_a_configuration_travels_through_plain_containers():
    config = parse(["method=poseaug", "method.history=7", "render.actors=3", "tracking.uri=off", "seed=4"])
    plain = config.plain()
    assert TrainConfig.from_plain(plain) == config
    older = {k: v for k, v in plain.items() if k != "adapt_to"} | {"gone": 1}
    assert TrainConfig.from_plain(older) == config, "keys of another version are left out, absent ones take defaults"
