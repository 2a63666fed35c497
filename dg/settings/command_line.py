"""The command line: `key=value` words to a typed configuration, through Hydra, and nothing of Hydra beyond this file.

`data=h36m data.root=DIR` chooses a plug-in and sets its options. A plug-in's options live in its own module, which may
be heavy; so here they pass as they are, and `check_plugins` looks at them once torch is loaded anyway.
"""

import re
import sys
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import import_module
from typing import Any

from dg.settings.config import GROUPS, ConfigError, RenderConfig, TrackingConfig, TrainConfig, validate
from dg.settings.plugins import OptionError, suggest

NESTED = {"render": RenderConfig, "tracking": TrackingConfig}


def table_of(group: str) -> dict[str, str]:
    """The plug-in table behind a group such as `method`."""
    module, _, name = GROUPS[group][0].partition(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class _Root(TrainConfig):
    defaults: list[Any] = field(default_factory=lambda: [{g: d} for g, (_, d) in GROUPS.items()] + ["_self_"])


def parse(words: list[str]) -> TrainConfig:
    """The configuration that the words describe. Raises ConfigError with what was expected, what came, what to do."""
    from hydra import compose, initialize
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for word in words:
        _check_word(word)
    store = ConfigStore.instance()
    schema = OmegaConf.structured(_Root)
    # Frozen dataclasses make read-only nodes; the tree is frozen again by `to_object`.
    for node in (schema, *[schema[name] for name in NESTED]):
        OmegaConf.set_readonly(node, False)
    store.store(name="train", node=schema)
    for group in GROUPS:
        for name in table_of(group):
            store.store(group=group, name=name, node={"name": name})
    GlobalHydra.instance().clear()
    try:
        with initialize(version_base="1.3", config_path=None):
            composed = compose("train", [_open_option(word) for word in words])
        tree = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_first_lines(error)) from error
    config = TrainConfig(**{f.name: getattr(tree, f.name) for f in fields(TrainConfig)})
    validate(config)
    return config


def _check_word(word: str) -> None:
    """Hydra's own messages name its files; ours name the keys that exist."""
    key, equals, value = word.partition("=")
    if not equals:
        raise ConfigError(f"expected key=value, got {word!r}; `--help` lists the keys")
    if key.startswith(("+", "~")):
        raise ConfigError(f"{word!r}: write key=value without {key[0]!r}")
    head, _, rest = key.partition(".")
    known = [f.name for f in fields(TrainConfig)]
    if head not in known:
        raise ConfigError(f"unknown key {head!r}{suggest(head, known)} `--help` lists the keys")
    if head in GROUPS and not rest and value not in table_of(head):
        names = sorted(table_of(head))
        raise ConfigError(f"unknown {head} {value!r}; known: {names}{suggest(value, names)}")
    if head in NESTED:
        inner = [f.name for f in fields(NESTED[head])]
        if rest not in inner:
            raise ConfigError(f"unknown key {key!r}; {head} has {inner}{suggest(rest, inner)}")


def _open_option(word: str) -> str:
    """Let a group take keys that its bare schema does not list: `data.root=X` becomes `++data.root=X`."""
    group = word.partition("=")[0].partition(".")
    return f"++{word}" if group[0] in GROUPS and group[1] else word


def _first_lines(error: Exception) -> str:
    """The telling part of a Hydra message: its own first line and that of OmegaConf's cause."""
    cause = f"\n{error.__cause__}" if error.__cause__ else ""
    text = re.sub(r"\x1b\[[0-9;]*m", "", f"{error}{cause}")
    kept = [line.strip() for line in text.splitlines() if line.strip() and "_type=" not in line]
    kept = [line for line in kept if not line.startswith(("Config search", "provider=", "full_key"))]
    return " ".join(dict.fromkeys(kept))


def check_plugins(config: TrainConfig) -> dict[str, Any]:
    """Each group's plug-in options, checked and typed: `{"method": PoseAugOptions(...), ...}`.

    Loads the chosen plug-ins, so it needs torch. Raises ConfigError that lists every problem.
    """
    from dg.settings.plugins import make_options, resolve

    made, found = {}, []
    for group in GROUPS:
        given = dict(getattr(config, group))
        name = given.pop("name")
        try:
            made[group] = make_options(resolve(table_of(group), group, name), group, name, given)
        except OptionError as error:
            found.append(str(error))
    if found:
        raise ConfigError("\n".join(found))
    return made


def help_text(program: str, what: str) -> str:
    """Usage, the plug-ins to choose from and every key with its default; loads neither torch nor Ray."""
    lines = [
        f"usage: python -m {program} [key=value ...]",
        "",
        what,
        "",
        "plug-ins (each has options: NAME.option=...):",
    ]
    for group, (_, default) in GROUPS.items():
        lines.append(f"  {group}={'|'.join(table_of(group))}  (default {default})")
    lines += ["", "keys (default; meaning):"]
    meanings = _meanings()
    for f in fields(TrainConfig):
        if f.name in GROUPS:
            continue
        value = f.default if not callable(f.default_factory) else f.default_factory()  # type: ignore[misc]
        if is_dataclass(value):
            lines += [f"  {f.name}.{g.name}={getattr(value, g.name)}" for g in fields(value)]
        else:
            lines.append(f"  {f.name}={value}" + (f"    {meanings[f.name]}" if f.name in meanings else ""))
    return "\n".join(lines)


def _meanings() -> dict[str, str]:
    """The comments that stand behind the fields in dg/settings/config.py: one place for code and help."""
    import inspect

    found = re.findall(r"^    (\w+): [^#\n]+# (.+)$", inspect.getsource(TrainConfig), re.MULTILINE)
    return dict(found)


def fail(error: Exception, code: int) -> int:
    """Print an error the way every entry point does, and give back the exit code."""
    sys.stderr.write("error: " + "\n       ".join(str(error).splitlines()) + "\n")
    return code
