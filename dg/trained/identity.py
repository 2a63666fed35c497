"""Who a lifter is, in the words by which `dg.compare` knows the run that trained it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from dg.datasets.base import DataError
from dg.pose.joint_map import skeleton_named
from dg.settings.command_line import check_plugins, flat_options, table_of
from dg.settings.config import TrainConfig, deciding
from dg.settings.plugins import resolve
from dg.tracking import run_tags
from dg.trained.description import SETTINGS
from dg.trained.places import named_places
from dg.training.build import options_for_windows, resolved_recipe
from dg.training.problem import load_adaptation

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Identity:
    """Parameters as MLflow keeps them, and what tags name."""

    method: str
    regime: str
    lifter: str
    params: Mapping[str, Any]
    seed: int | None = None
    oracle: tuple[str, ...] = ()
    adapted_to: str = ""

    def tags(self, config: TrainConfig, selection: str, protocols: Mapping[str, str]) -> dict[str, str]:
        """Return the tags of a run.

        Args:
            config: configuration under which the lifter was evaluated.
            selection: how its weights were chosen.
            protocols: target -> protocol id.
        """
        return run_tags(
            method=self.method,
            regime=self.regime,
            lifter=self.lifter,
            inputs=config.inputs,
            dscale2d=config.dscale2d_resolved,
            depth_source=config.depth_name,
            selection=selection,
            oracle=(*config.oracles, *self.oracle),
            protocols=protocols,
            adapted_to=self.adapted_to,
            source="" if self.seed is None else str(config.data.get("label") or config.data["name"]),
        )


def identity_of_run(config: TrainConfig) -> Identity:
    """Of a lifter that one of our runs trained: the same parameters, so that its numbers stand in the same row."""
    plugins = check_plugins(config)
    method = resolve(table_of("method"), "method", config.method["name"])
    lifter = resolve(table_of("lifter"), "lifter", config.lifter["name"])
    recipe = resolved_recipe(config, lifter.recipe(options_for_windows(config, plugins["lifter"])))
    params = config.flat() | flat_options(plugins) | {f"recipe.{k}": v for k, v in asdict(recipe).items()}
    return Identity(
        method=config.method["name"],
        regime=method.regime,
        lifter=config.lifter["name"],
        params=deciding(config, params),
        seed=config.seed,
        oracle=method.oracles(plugins["method"]),
        adapted_to=_adapted_to(config),
    )


def identity_of_file(name: str, regime: str, lifter: str, config: TrainConfig) -> Identity:
    """Of a lifter of unknown training: with the little that is known of it, it shares no table with runs of a known
    budget.

    Args:
        name: what the row is called.
        regime: `DA` where 2D poses of a target were seen in training, else `DG`.
        lifter: name of the architecture.
        config: the settings of the evaluation.
    """
    params = {key: getattr(config, key) for key in SETTINGS} | {"dscale2d": config.dscale2d_resolved}
    params |= {"method.name": name, "lifter.name": lifter, "seed": "-", "data.name": NOT_STATED}
    return Identity(name, regime, lifter, params)


def _adapted_to(config: TrainConfig) -> str:
    """Whose 2D the run saw, as its own tags have it; as it was typed where those data are not here, or are named by the
    checkpoint alone.
    """
    if not config.adapt_to:
        return ""
    adaptation = None
    if config.adapt_to in config.target_names or not named_places(config, ["adapt_to"]):
        with suppress(DataError):
            adaptation = load_adaptation(config, skeleton_named(config.skeleton))
    return f"{config.adapt_to}:{config.adapt_part}" if adaptation is None else adaptation.label
