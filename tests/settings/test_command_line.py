"""The command line: what it understands, what it says to a mistake, and that help is cheap."""

import re
import resource
import subprocess
import sys
from dataclasses import fields

import pytest

from dg.settings.command_line import check_plugins, parse
from dg.settings.config import FREE_KEYS, ConfigError, DetectionConfig, TrainConfig
from dg.settings.help import keys_of
from dg.train import COMMAND, main


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
    ("render.min_pool=2", "render.min_pool must be one of"),
    ("render.subject_span_px=200", "the subject is cut"),
    ("pretrain_epochs=99", "pretrain_epochs"),
    ("targets=[npz]", "NAME:ARGUMENT"),
    ("targets=npz:F?strid=3", "no option 'strid'"),
    ("method.nope=1", "method 'poseaug' has no option 'nope'"),
    ("lifter.width=wide", "lifter.width expects a whole number"),
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


def test_options_of_plug_ins_are_checked_and_typed_with_the_rest():
    config = parse(["data=h36m", "data.root=2024", "data.stride=5", "lifter.width=32"])
    assert config.data == {"name": "h36m", "root": "2024", "stride": 5}
    assert check_plugins(config)["lifter"].width == 32


def test_a_required_option_is_asked_for():
    with pytest.raises(ConfigError, match=r"data\.root="):
        parse(["data=h36m"])


def test_help_explains_every_key_under_a_heading(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert text == COMMAND.help() + "\n"
    assert [key.name for key in keys_of(TrainConfig) if f"  {key.name}=" not in text] == []
    assert [key.name for key in keys_of(TrainConfig) if not key.heading] == []
    assert max(map(len, text.splitlines())) <= 110


def test_help_of_a_plug_in_lists_its_options_and_no_others(capsys):
    assert main(["method=poseaug", "--help"]) == 0
    text = capsys.readouterr().out
    assert "method.feedback_mode=" in text
    assert "render.actors" not in text


def test_version_is_told():
    done = subprocess.run([sys.executable, "-m", "dg", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"dg \d+\.\d+\S*\n", done.stdout)


def test_a_reader_that_goes_away_ends_the_command_quietly():
    program = f"{sys.executable} -m dg train --help | head -1"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("usage: dg train")
    assert done.stderr == ""


def test_an_unknown_command_suggests_one():
    done = subprocess.run([sys.executable, "-m", "dg", "tran"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean 'train'" in done.stderr


@pytest.mark.parametrize("key", FREE_KEYS)
def test_free_keys_exist(key):
    heads = {f.name for f in fields(TrainConfig)} | {k.name for k in keys_of(TrainConfig)}
    assert key in heads


def test_a_checkpoint_from_before_detection_was_a_group_keeps_its_settings():
    plain = {k: v for k, v in parse(["inputs=uadd"]).plain().items() if k != "detection"}
    old = plain | {"detections": "synthetic", "radius_mode": "scale", "r_min": 2.0, "r_max": 9.0, "background_m": 0.0}
    assert TrainConfig.from_plain(old).detection == DetectionConfig("synthetic", "scale", 2.0, 9.0, 0.0)


def test_a_run_from_before_output_init_began_as_the_authors_of_its_lifter_do():
    base, original = parse([]), parse(["output_init=original"])
    plain = {k: v for k, v in base.plain().items() if k != "output_init"}
    assert TrainConfig.from_plain(plain) == original
    assert base.digest() != original.digest()
    assert [config.flat()["output_init"] for config in (base, original)] == ["zero", "original"]
    # Weights that are loaded leave nothing to initialise.
    loaded = [parse(["init_from=best.pt", f"output_init={start}"]) for start in ("zero", "original")]
    assert loaded[0].digest() == loaded[1].digest()
    assert "output_init" not in loaded[0].flat()


def test_the_digest_changes_with_what_changes_numbers_and_with_nothing_else():
    base = parse([]).digest()
    assert parse(["out=elsewhere", "render.actors=7", "pool=local"]).digest() == base
    assert [parse([f"graphs={choice}"]).graphs for choice in ("on", "off", "auto")] == ["on", "off", "auto"]
    assert parse(["graphs=off"]).digest() == base
    with pytest.raises(ConfigError, match="graphs=on needs a GPU, got device=cpu"):
        parse(["graphs=on", "device=cpu"])
    assert parse(["seed=1"]).digest() != base
    assert parse(["render.lookahead=1"]).digest() != base
    assert parse(["render.micro_batch=64"]).digest() == base
    # Checkpoints from before it went by the device are still those of the default.
    assert parse(["tf32=false"]).digest() == base != parse(["tf32=true"]).digest()


def test_help_loads_neither_torch_nor_ray_and_is_quick():
    heavy = "{'torch', 'ray', 'mlflow'}"
    code = f"import sys; from dg.train import main; main(['--help']); assert not {heavy} & set(sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor, for the clock also counts what else the machine does.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_a_configuration_travels_through_plain_containers():
    config = parse(["method=poseaug", "method.history=7", "render.actors=3", "tracking.uri=off", "seed=4"])
    plain = config.plain()
    assert TrainConfig.from_plain(plain) == config
    older = {k: v for k, v in plain.items() if k != "adapt_to"} | {"gone": 1}
    assert TrainConfig.from_plain(older) == config, "keys of another version are left out, absent ones take defaults"
