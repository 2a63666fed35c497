"""Whether dg.train would take every value that a search may try: asked before anything starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, get_type_hints

from dg.settings.command_line import check_plugins, parse, table_of
from dg.settings.config import GROUPS, TrainConfig
from dg.settings.errors import ConfigError, OptionError
from dg.settings.plugins import resolve
from dg.settings.reader import keys, members, suggest
from sweeps.options import REFUSED
from sweeps.space import Choice, Parameter, Range, Space, Value, args_of

_NOT_SEARCHED = {
    "out": "the sweep gives each run its folder",
    "cache": "it is where depth is kept",
    "address": "it is where the runs are",
    "targets": "trials with different targets do not compare",
    "data": "trials on different data do not compare; make one study for each",
} | REFUSED


@dataclass(frozen=True)
class CheckedSpace:
    """A space that was checked.

    Attributes:
        base: the configuration that all trials share.
        tried: the points that were tried with it, and the configuration of each.
    """

    space: Space
    base: TrainConfig
    tried: tuple[tuple[Mapping[str, Value], TrainConfig], ...]

    @property
    def configs(self) -> tuple[TrainConfig, ...]:
        """The configurations that were tried, in the order of `tried`."""
        return tuple(config for _, config in self.tried)


def check_space(given: Mapping[str, Parameter], shared: Sequence[str]) -> CheckedSpace:
    """Try every end of a range and every choice together with the arguments that all trials share; this needs torch.

    Choices of a plug-in are tried with every searched option of that plug-in, and what is refused alone is tried beside
    each other value. Further combinations are checked when a trial meets them (`refusal`).

    Args:
        given: parameters by key.
        shared: arguments of every run, `key=value` each.

    Raises:
        ConfigError: with every problem, one a line.
    """
    found = [_not_searched(name) for name in given]
    found += [f"{name} is searched, so {arg!r} cannot be given too" for arg in shared for name in _own(arg, given)]
    if any(found):
        raise ConfigError("\n".join(problem for problem in found if problem))
    base = parse(list(shared))
    # A range of any numbers where the key takes them, although its ends were spelled `1..3`.
    parameters = {
        name: replace(parameter, whole=False)
        if isinstance(parameter, Range) and _kinds(name, given, base) == {float}
        else parameter
        for name, parameter in given.items()
    }
    tried, found = [], []
    for point in _tried(parameters):
        reason = refusal([*shared, *args_of(point)])
        # A value may be fine only beside another: a small picture with a small subject in it.
        taken = (
            [point] if not reason else [p for p in _beside(point, parameters) if not refusal([*shared, *args_of(p)])]
        )
        tried += [(p, parse([*shared, *args_of(p)])) for p in taken]
        if not taken:
            found.append(f"space: {' '.join(args_of(point))} is refused: {reason}")
    if found:
        raise ConfigError("\n".join(dict.fromkeys(found)))
    default = _default_point(parameters, base)
    return CheckedSpace(Space(parameters, (default,) if default else ()), base, tuple(tried))


def refusal(args: Sequence[str]) -> str:
    """Why dg.train would not take the arguments of a trial; empty where it does."""
    try:
        check_plugins(parse(list(args)))
    except ConfigError as error:
        return str(error)
    return ""


def idle_keys(checked: CheckedSpace) -> list[str]:
    """Keys of the space that change no result of a run, only where or how it is computed."""
    idle = []
    for name in checked.space.names:
        digests = [config.digest() for point, config in checked.tried if set(point) == {name}]
        if len(digests) > 1 and len(set(digests)) == 1:
            idle.append(name)
    if "d_ref" in checked.space.names and all(c.dscale2d_resolved in ("off", "box") for c in checked.configs):
        idle.append("d_ref")
    return idle


def renders(checked: CheckedSpace) -> TrainConfig | None:
    """A configuration whose render workers serve every trial that needs depth; None where there is no such one."""
    from dg.training.rendering import worker_spec

    needing = [config for config in checked.configs if config.needs_depth]
    if not needing or any(name.startswith("render.") for name in checked.space.names):
        return None
    return needing[0] if all(worker_spec(config) == worker_spec(needing[0]) for config in needing) else None


def _not_searched(name: str) -> str:
    known = keys(TrainConfig)
    head = name.partition(".")[0]
    reason = _NOT_SEARCHED.get(name, "it is about the records" if head == "tracking" else "")
    if reason:
        return f"space.{name}: {name} cannot be searched: {reason}"
    if head not in known:
        return f"space.{name}: unknown key {name!r}{suggest(head, known)} `dg train --help` lists the keys"
    return ""


def _own(arg: str, given: Mapping[str, Parameter]) -> list[str]:
    key = arg.partition("=")[0]
    return [key] if key in given else []


def _kinds(name: str, given: Mapping[str, Parameter], base: TrainConfig) -> set[Any]:
    """The types that a key has: of a plug-in's option, one for each plug-in that may be chosen."""
    head, _, rest = name.partition(".")
    owners: list[Any] = [TrainConfig]
    if rest and head in GROUPS:
        group = given.get(head)
        chosen = group.words if isinstance(group, Choice) else (getattr(base, head)["name"],)
        owners = []
        for plugin in chosen:
            try:
                owners.append(resolve(table_of(head), head, plugin).Options)
            except OptionError:
                continue  # said when it is tried out
    elif rest:
        nested = get_type_hints(TrainConfig).get(head)
        owners = [nested] if is_dataclass(nested) else []
    hints = [get_type_hints(owner).get(rest or head) for owner in owners]
    return {kind for hint in hints if hint is not None for kind in members(hint)}


def _tried(parameters: Mapping[str, Parameter]) -> list[dict[str, Value]]:
    """Each value alone beside the defaults; an option of a plug-in that is searched too, with each such plug-in."""
    points: list[dict[str, Value]] = []
    for name, parameter in parameters.items():
        head, _, rest = name.partition(".")
        group = parameters.get(head) if rest else None
        plugins = [{head: plugin} for plugin in group.edges()] if group is not None else [{}]
        points += [{**plugin, name: edge} for plugin in plugins for edge in parameter.edges()]
    return points


def _beside(point: Mapping[str, Value], parameters: Mapping[str, Parameter]) -> list[dict[str, Value]]:
    """The point with one more value of another parameter."""
    others = {name: parameter for name, parameter in parameters.items() if name not in point}
    return [{**point, name: edge} for name, parameter in others.items() for edge in parameter.edges()]


def _default_point(parameters: Mapping[str, Parameter], base: TrainConfig) -> dict[str, Value]:
    """What a run without the search would take, where the space holds all of it: the first trial, to compare with."""
    try:
        options = check_plugins(base)
    except ConfigError:  # an option that must be given, and is searched
        return {}
    flat = base.flat()
    point: dict[str, Value] = {}
    for name, parameter in parameters.items():
        head, _, rest = name.partition(".")
        if head in GROUPS:
            value = getattr(options[head], rest, None) if rest else getattr(base, head)["name"]
        else:
            value = flat.get(name)
        spelled = str(value).lower() if isinstance(value, bool) else str(value)
        value = spelled if isinstance(parameter, Choice) else value
        if not parameter.holds(value):
            return {}
        point[name] = parameter.tidy(value)  # pyright: ignore[reportArgumentType] - held, so a number or a word
    return point
