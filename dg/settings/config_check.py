"""What does not fit together in a configuration whose fields are each well by themselves."""

from dg.pose.input_spec import BINS, split_inputs
from dg.settings.config import DETECTED, RenderConfig, TrainConfig
from dg.settings.errors import ConfigError


def problems(config: TrainConfig) -> list[str]:
    """What does not fit together in a configuration, in words; empty when it can run.

    Args:
        config: each of its fields is well by itself.
    """
    found = _input_problems(config) + _render_problems(config.render)
    if config.render.service and config.pool != "ray":
        found.append(f"render.service needs pool=ray, got pool={config.pool}")
    if config.graphs == "on" and config.device == "cpu":
        found.append("graphs=on needs a GPU, got device=cpu")
    if config.detection.r_max < config.detection.r_min:
        found.append(
            f"detection.r_max ({config.detection.r_max}) must not be below detection.r_min ({config.detection.r_min})"
        )
    if config.pretrain_epochs > config.epochs:
        found.append(f"pretrain_epochs ({config.pretrain_epochs}) is part of epochs ({config.epochs}): it must be less")
    if config.frames < 1 or config.frames % 2 == 0:
        found.append(f"frames must be odd, so that a window has a centre, got {config.frames!r}")
    named = [*(("target", t) for t in config.targets), *([("adapt_to", config.adapt_to)] if config.adapt_to else [])]
    found += [f"{key} {name!r} must be NAME:ARGUMENT, such as npz:FILE" for key, name in named if ":" not in name]
    return found


def _input_problems(config: TrainConfig) -> list[str]:
    try:
        _, features = split_inputs(config.inputs)
    except ValueError as error:
        return [str(error)]
    if config.depth_bins and not BINS.fullmatch(config.depth_bins):
        return [f"depth_bins must be a width such as 10cm, or 'three', got {config.depth_bins!r}"]
    blind = config.inputs == "xyd" and config.dscale2d_resolved == "off" and not config.data.get("image_depth")
    if config.depth_bins and not blind:
        return [
            f"depth_bins={config.depth_bins} is a depth channel of its own: it goes with inputs=xyd, dscale2d=off and "
            f"no image_depth, got inputs={config.inputs} dscale2d={config.dscale2d_resolved}"
        ]
    if config.confidence_dropout and config.inputs.partition("+")[0] not in DETECTED:
        return [f"confidence_dropout needs inputs with a confidence, {list(DETECTED)}, got inputs={config.inputs}"]
    sizes = config.feature_sizes
    if features and sizes and (len(sizes) != len(features) or min(sizes) < 1):
        return [f"feature_sizes must be empty or a positive number for each of {list(features)}, got {sizes}"]
    return []


def _render_problems(render: RenderConfig) -> list[str]:
    found = []
    if not 1 <= render.min_actors <= render.actors:
        found.append(f"render.min_actors must be in 1..render.actors ({render.actors}), got {render.min_actors!r}")
    if render.max_actors != "auto" and not (render.max_actors.isdecimal() and int(render.max_actors) >= render.actors):
        found.append(
            f"render.max_actors must be auto, or a number from render.actors ({render.actors}) on, "
            f"got {render.max_actors!r}"
        )
    gpus = render.gpus_per_actor
    if gpus != -1 and not (0 <= gpus <= 1 or (gpus > 1 and gpus == int(gpus))):
        found.append(f"render.gpus_per_actor must be -1, in 0..1, or a whole number, got {gpus!r}")
    if render.service and not all(render.service.partition("/")):
        found.append(f"render.service must be empty or NAMESPACE/NAME, got {render.service!r}")
    if render.subject_span_px >= render.resolution:
        found.append(
            f"render.subject_span_px ({render.subject_span_px}) must be below render.resolution "
            f"({render.resolution}), or the subject is cut"
        )
    return found


def validate(config: TrainConfig) -> None:
    """Raise ConfigError with every problem, one a line."""
    found = problems(config)
    if found:
        raise ConfigError("\n".join(found))
