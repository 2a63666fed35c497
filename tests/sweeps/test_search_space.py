import optuna
import pytest

from dg.settings.config import ConfigError
from sweeps.space import Choice, Range, Space, args_of, read_space
from sweeps.space_check import check_space, idle_keys, refusal, renders


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("3.5..6.0", Range(3.5, 6.0)),
        ("3.5..6.0:0.5", Range(3.5, 6.0, step=0.5)),
        ("1e-4..1e-2", Range(1e-4, 1e-2)),
        ("log:1e-4..1e-2", Range(1e-4, 1e-2, log=True)),
        ("5..30", Range(5, 30, whole=True)),
        ("128..512:64", Range(128, 512, 64, whole=True)),
        ("log:16..1024", Range(16, 1024, log=True, whole=True)),
        ("-1..1.", Range(-1, 1)),
        ("1...5", None),
        ("erm|poseaug", Choice(("erm", "poseaug"))),
        ("[256, 512]", Choice(("256", "512"))),
        ("true|false", Choice(("true", "false"))),
    ],
)
def test_each_spelling_is_read_and_written_back_as_the_same_parameter(text, parameter):
    (found,) = read_space([f"space.key={text}"]).values() if parameter else (None,)
    assert found == parameter
    if found is not None:
        assert read_space([f"space.key={found}"]) == {"key": found}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("5", "expected LOW..HIGH"),
        ("", "expected LOW..HIGH"),
        ("a..b", "expected LOW..HIGH"),
        ("6..3", "low end must be below"),
        ("3..3", "low end must be below"),
        ("log:0..1", "above 0"),
        ("log:1..2:1", "takes no step"),
        ("1..2:0.3", "whole steps"),
        ("1..2:0", "whole steps"),
        ("1..2:5", "whole steps"),
        ("erm|", "two or more words"),
        ("erm|erm", "two or more words"),
        ("[erm]", "two or more words"),
    ],
)
def test_a_range_or_choice_that_is_none_is_refused_by_name(text, said):
    with pytest.raises(ConfigError, match=r"space\.lr") as error:
        read_space([f"space.lr={text}"])
    assert said in str(error.value)


def test_a_file_an_inline_map_and_words_describe_the_same_space(tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text("lr: log:1e-4..1e-2\nlifter: {width: [256, 512]}\nmethod: [erm, poseaug]\n")
    words = ["space.lr=log:1e-4..1e-2", "space.lifter.width=256|512", "space.method=erm|poseaug"]
    inline = "space={lr: log:1e-4..1e-2, lifter.width: [256, 512], method: erm|poseaug}"
    assert read_space([f"space={file}"]) == read_space(words) == read_space([inline])
    assert read_space([f"space={file}", "space.lr=1..2"])["lr"] == Range(1, 2, whole=True), "a later word wins"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("space=nowhere.yaml", "no such file"),
        ("space={a", "no YAML"),
        ("space={}", "nothing to search"),
        ("space={lr: [[1]]}", "space.lr"),
        ("space={lr: " + "[" * 3000 + "]" * 3000 + "}", "nested more than"),
    ],
)
def test_a_file_that_is_no_space_is_one_message(word, said):
    with pytest.raises(ConfigError, match=said):
        read_space([word])


def test_suggestions_lie_in_the_range_and_are_tidied_to_what_can_be_read():
    space = Space(read_space(["space.lr=log:1e-4..1e-2", "space.k=2..8:2", "space.m=a|b", "space.d=3.5..6.0:0.01"]))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(20):
        trial = study.ask()
        space.suggest(trial)
        params = space.tidy(trial.params)
        assert list(params) == ["lr", "k", "m", "d"]
        assert 1e-4 <= params["lr"] <= 1e-2
        assert abs(params["lr"] / trial.params["lr"] - 1) < 1e-5
        assert params["k"] in (2, 4, 6, 8)
        assert isinstance(params["k"], int)
        assert params["m"] in ("a", "b")
        assert repr(params["d"]) == repr(round(params["d"], 2))
    assert Range(0.1, 1 / 3).tidy(1 / 3) <= 1 / 3


def test_a_plug_in_is_named_before_its_options():
    assert args_of({"lifter.width": 256, "lifter": "simple_baseline", "lr": 0.1}) == [
        "lifter=simple_baseline", "lr=0.1", "lifter.width=256",
    ]  # fmt: skip


# -- tried out with dg.train's own checks


def settings(*words, shared=()):
    return check_space(read_space([f"space.{word}" for word in words]), list(shared))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("lrr=1e-4..1e-2", "did you mean 'lr'"),
        ("lr=-1..1", "lr must not be negative"),
        ("epochs=1.5..3", "epochs"),
        ("method=erm|poseug", "did you mean 'poseaug'"),
        ("lifter.widht=1..2", "did you mean 'width'"),
        ("lifter.width=0..512", "lifter.width=0 is refused"),
        ("lifter.width=a|b", "expects a whole number"),
        ("method.history=16..64", "poseaug"),
        ("render.nothing=1..2", "render has"),
        ("inputs=xy|yx", "inputs must be one of"),
        ("out=a|b", "gives each run its folder"),
        ("seed=0..9", "seeds="),
        ("tracking.uri=a|b", "cannot be searched"),
        ("targets=a|b", "do not compare"),
        ("data=synthetic|npz", "do not compare"),
    ],
)
def test_what_dg_train_would_refuse_is_refused_before_anything_starts(word, said):
    shared = ["method=erm"] if word.startswith("method.") else []
    with pytest.raises(ConfigError) as error:
        settings(word, shared=shared)
    assert (said if not shared else "no option 'history'") in str(error.value)


def test_every_problem_is_collected_and_a_key_is_not_given_twice():
    with pytest.raises(ConfigError) as error:
        settings("lr=-1..1", "epochs=0..3", "method=erm|x")
    assert len(str(error.value).splitlines()) >= 3
    with pytest.raises(ConfigError, match="lr is searched"):
        settings("lr=1e-4..1e-2", shared=["lr=0.1"])


def test_an_option_of_a_searched_plug_in_is_tried_with_each_of_them():
    with pytest.raises(ConfigError, match=r"method=erm method\.history=16 is refused"):
        settings("method=erm|poseaug", "method.history=16..64")


def test_whole_ends_of_a_key_that_takes_any_number_still_mean_any_number():
    space = settings("d_ref=3..6", "detection.background_m=1..3:1", "epochs=2..9", "lifter.width=64..128").space
    kinds = {name: p.whole for name, p in space.parameters.items()}
    assert kinds == {"d_ref": False, "detection.background_m": False, "epochs": True, "lifter.width": True}


def test_the_default_is_the_first_trial_where_the_space_holds_all_of_it():
    inside = settings("d_ref=3.5..6.0", "method=erm|poseaug", "lifter.width=512..2048", "render.min_pool=1|3")
    assert inside.space.anchors == ({"d_ref": 4.5, "method": "poseaug", "lifter.width": 1024, "render.min_pool": "3"},)
    assert settings("d_ref=3.5..6.0", "lr=1e-4..1e-2").space.anchors == ()


def test_keys_that_no_result_depends_on_are_found():
    assert idle_keys(settings("render.actors=1..4", "lr=1e-4..1e-2")) == ["render.actors"]
    assert idle_keys(settings("d_ref=3.5..6.0", shared=["inputs=xy"])) == ["d_ref"]
    assert idle_keys(settings("d_ref=3.5..6.0", "inputs=xy|xyd")) == []


def test_render_workers_are_shared_where_all_trials_draw_alike():
    assert renders(settings("lr=1e-4..1e-2")) is not None
    shared = renders(settings("inputs=xy|xyd"))
    assert shared is not None
    assert shared.inputs == "xyd"
    assert renders(settings("lr=1e-4..1e-2", shared=["inputs=xy"])) is None
    assert renders(settings("depth=zbuffer|noisy_zbuffer")) is None
    assert renders(settings("render.resolution=128..256")) is None
    assert renders(settings("render.actors=1..4")) is None


def test_a_combination_is_looked_at_when_a_trial_meets_it():
    assert refusal(["render.resolution=128", "render.subject_span_px=100"]) == ""
    assert "subject_span_px" in refusal(["render.resolution=96", "render.subject_span_px=100"])
    assert "no option" in refusal(["method=erm", "method.history=3"])
