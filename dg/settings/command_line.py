"""The arguments of `dg train`, and of the commands that take its keys, as a `TrainConfig` with its plug-ins checked."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from importlib import import_module
from typing import Any

from dg.settings.config import GROUPS, TrainConfig
from dg.settings.config_check import problems
from dg.settings.errors import ConfigError, OptionError
from dg.settings.plugins import make_options, resolve
from dg.settings.reader import build, split_args, to_tree
from dg.settings.recipes import with_recipe


def table_of(group: str) -> dict[str, str]:
    """The plug-in table behind a group.

    Args:
        group: `data`, `method`, `lifter`, `depth` or `body`.
    """
    module, _, name = GROUPS[group][0].partition(":")
    return getattr(import_module(module), name)


def parse(args: Sequence[str]) -> TrainConfig:
    """The configuration that the arguments describe, the plug-ins that they name checked with their options.

    Plug-ins that no argument names are not loaded, so that a plain command needs no torch.

    Args:
        args: `key=value` each.

    Raises:
        ConfigError: with what was expected, what came and what to do, one problem a line.
    """
    _, pairs = split_args(args)
    tree, found = to_tree(TrainConfig, with_recipe(pairs, list(GROUPS)))
    named = [group for group in GROUPS if group in tree]
    for group, (_, default) in GROUPS.items():
        tree[group] = {"name": default} | tree.get(group, {})
    for group in named:
        try:
            tree[group] = _typed(group, tree[group])
        except OptionError as error:
            found.append(str(error))
    config = build(TrainConfig, tree, found, problems)
    _check_targets(config)
    return config


def check_plugins(config: TrainConfig) -> dict[str, Any]:
    """Each group's plug-in options, checked and typed: `{"method": PoseAugOptions(...), ...}`.

    Args:
        config: whose plug-ins are loaded.

    Raises:
        ConfigError: that lists every problem.
    """
    made, found = {}, []
    for group in GROUPS:
        try:
            made[group] = _options(group, getattr(config, group))
        except OptionError as error:
            found.append(str(error))
    if found:
        raise ConfigError("\n".join(found))
    return made


def flat_options(options: dict[str, Any]) -> dict[str, Any]:
    """Every option of the chosen plug-ins, given or default: `{"method.feedback": "released", ...}`.

    Args:
        options: by group, as `check_plugins` makes them.
    """
    return {f"{group}.{name}": value for group, chosen in options.items() for name, value in asdict(chosen).items()}


def _options(group: str, chosen: dict[str, Any]) -> Any:  # noqa: ANN401 - the plug-in's own dataclass
    given = dict(chosen)
    name = given.pop("name")
    return make_options(resolve(table_of(group), group, name), group, name, given)


def _typed(group: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """The plug-in's name and the options that were given, in the types of its dataclass. Raises OptionError."""
    options = _options(group, chosen)
    given = [f.name for f in fields(options) if f.name in chosen]
    values = {name: getattr(options, name) for name in given}
    # As checkpoints and JSON hold them.
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {"name": chosen["name"]} | plain


def _check_targets(config: TrainConfig) -> None:
    """Raises ConfigError for a target that no data set reads, or whose options it does not have."""
    named = [*config.targets, *([config.adapt_to] if config.adapt_to else [])]
    found = []
    for target in named:
        kind, _, argument = target.partition(":")
        try:
            plugin = resolve(table_of("data"), "target", kind)
            options, _ = plugin.target_options(argument)
            make_options(plugin, "target", kind, options)
        except OptionError as error:
            found.append(str(error))
    if found:
        raise ConfigError("\n".join(found))
