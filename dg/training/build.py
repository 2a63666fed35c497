"""The factories of a run: lifter, recipe and method, from a configuration and its task."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dg.files.checkpoint import CheckpointError, load_file
from dg.methods.base import DGMethod, MethodContext, SourceData, training_anchors
from dg.methods.plan import TrainingPlan
from dg.pose.batch import InputSpec
from dg.pose.devices import indexed
from dg.pose.skeleton import Skeleton
from dg.settings.command_line import table_of
from dg.settings.config import ConfigError, TrainConfig
from dg.settings.plugins import resolve
from dg.training.problem import Problem, sizes_of_features, subject_bone_lengths, subject_medoids, with_box_size
from dg.training.rendering import with_feature_sizes
from lifters.base import Lifter
from lifters.feature_fusion import FusedLifter, fused_channels
from lifters.published import load_published
from lifters.recipe import Recipe


def device_of(config: TrainConfig) -> torch.device:
    """The trainer's device, with its number. Raises ConfigError when CUDA is asked for and absent."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device=cuda, but torch sees no CUDA device; use device=auto or device=cpu")
    return indexed("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")


def make_method(config: TrainConfig, options: dict[str, Any], problem: Problem) -> DGMethod:
    """Build the lifter and its method with the run's seed, and the training plan counted in lifter steps.

    Args:
        config: of the run.
        options: options of each plug-in, by group; `lifter` and `method` are used here.
        problem: the run's data.

    Raises:
        ConfigError: a batch larger than the training windows, or windows that lifter or method cannot take.
        CheckpointError: `init_from` names a file that does not fit the lifter.
    """
    skeleton = problem.train.poses.skeleton
    config = with_feature_sizes(with_box_size(config, problem.train), sizes_of_features(problem, config))
    inputs = inputs_of(config)
    torch.manual_seed(config.seed)
    lifter_options = options_for_windows(config, options["lifter"])
    lifter = make_lifter(config, lifter_options, skeleton, inputs)
    anchors = training_anchors(problem.train.clip, lifter, config.frames)
    steps_per_epoch = len(anchors) // config.batch_size
    if steps_per_epoch == 0:
        raise ConfigError(
            f"batch_size={config.batch_size} is larger than the {len(anchors)} training windows; make it smaller"
        )
    if config.init_from:
        initialise(lifter, Path(config.init_from))
    elif config.output_init == "zero":
        lifter.answer_zero()
    method_class = resolve(table_of("method"), "method", config.method["name"])
    if not method_class.takes(options["method"], config.frames):
        hint = "; method.windows=centre_transform would let it" if hasattr(options["method"], "windows") else ""
        raise ConfigError(
            f"method={config.method['name']} augments single frames; frames={config.frames} is not for it{hint}"
        )
    if inputs.answers != "metres" and not method_class.takes_answers:
        raise ConfigError(
            f"method={config.method['name']} needs a lifter that answers in metres, got answers={inputs.answers}"
        )
    pretrain = config.pretrain_epochs
    if pretrain < 0:
        pretrain = 0 if config.init_from else math.floor(method_class.pretrain_share * config.epochs)
    total = config.epochs * steps_per_epoch
    plan = TrainingPlan(
        total_steps=min(total, config.max_steps) if config.max_steps else total,
        steps_per_epoch=steps_per_epoch,
        pretrain_steps=pretrain * steps_per_epoch,
        recipe=resolved_recipe(config, lifter_class(config).recipe(lifter_options)),
        grad_clip=config.grad_clip,
    )
    train = problem.train
    source = SourceData(train.poses, subject_bone_lengths(train), subject_medoids(train))
    context = MethodContext(
        lifter, inputs, skeleton, plan, source, device_of(config), problem.adaptation, config.confidence_dropout,
        config.graphs,
    )  # fmt: skip
    return method_class(context, options["method"])


def options_for_windows(config: TrainConfig, options: Any) -> Any:  # noqa: ANN401 - the lifter's own dataclass
    """Return the lifter's options adjusted to the length of the run's windows.

    Args:
        config: of the run; `frames` is the length of a window.
        options: the lifter's own options.

    Raises:
        ConfigError: the lifter cannot take windows of this length.
    """
    try:
        return lifter_class(config).for_frames(options, config.frames)
    except ValueError as error:
        raise ConfigError(f"lifter={config.lifter['name']}: {error}") from error


def lifter_class(config: TrainConfig) -> type[Lifter]:
    """The lifter that is named, features left out."""
    return resolve(table_of("lifter"), "lifter", config.lifter["name"])


def inputs_of(config: TrainConfig) -> InputSpec:
    """What the lifter of a run sees at each joint."""
    return InputSpec(
        config.inputs,
        config.dscale2d_resolved,
        config.d_ref,
        config.f_ref,
        config.depth_clip,
        box_ref=config.box_ref,
        feature_sizes=tuple(config.feature_sizes) if config.features else (),
        depth_bins=config.depth_bins,
        answers=config.answers,
    )


def make_lifter(config: TrainConfig, options: Any, skeleton: Skeleton, inputs: InputSpec) -> Lifter:  # noqa: ANN401
    """Build the lifter with fresh weights, behind the embedding of features where the inputs have some.

    Args:
        config: of the run, with the lifter's name and the length of a window.
        options: the lifter's own options.
        skeleton: joints that the lifter sees and answers for.
        inputs: what the lifter sees at each joint.

    Raises:
        ConfigError: the lifter cannot take the run's windows.
    """
    kind: Any = lifter_class(config)
    lifter: Lifter = kind(skeleton, fused_channels(len(inputs.names), inputs.sources), options)
    if inputs.sources:
        lifter = FusedLifter(lifter, inputs.sources)
    try:
        lifter.target_frames(config.frames)
    except ValueError as error:
        raise ConfigError(f"lifter={config.lifter['name']}: {error}") from error
    return lifter


def resolved_recipe(config: TrainConfig, original: Recipe) -> Recipe:
    """Return how the run trains its lifter: the original or the common way, with the command line's changes.

    Args:
        config: of the run; `training`, `lr` and `lr_schedule` are used.
        original: the recipe of the lifter's own paper.
    """
    recipe = original if config.training == "original" else Recipe()
    schedule = recipe.lr_schedule if config.lr_schedule == "auto" else config.lr_schedule
    return replace(recipe, lr=config.lr or recipe.lr, lr_schedule=schedule)


def initialise(lifter: Lifter, path: Path) -> None:
    """Fill a lifter with the weights of a checkpoint.

    Args:
        lifter: whose weights are replaced.
        path: `best.pt`, a run's `checkpoint-STEP.pt`, or a checkpoint published by PoseAug.

    Raises:
        CheckpointError: the file is missing or damaged, or does not fit; the message says what.
    """
    state = load_file(path)
    prefix = "lifter."
    try:
        if "lifter" in state:
            lifter.load_state_dict(state["lifter"])
        elif "method" in state:
            weights = state["method"]["networks"]
            lifter.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
        else:
            load_published(lifter, state)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not fit lifter={type(lifter).__name__} with {lifter.channels} channels a "
                              f"joint: {error}") from error  # fmt: skip
