"""The depth source of photographs: any network of `DEPTH_SOURCES`, by its name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from dg.images.settings import IMAGE_DEPTH
from dg.settings.errors import ConfigError, OptionError
from dg.settings.plugins import make_options, resolve, suggest
from render_workers.depth import DEPTH_SOURCES
from render_workers.depth.network_source import NetworkDepthSource, NetworkFacts


@dataclass(frozen=True)
class DepthChoice:
    """A depth source for photographs.

    Attributes:
        name: its name in `DEPTH_SOURCES`.
        kind: its class.
        options: its `ImageOptions`.
    """

    name: str
    kind: type[NetworkDepthSource]
    options: Any

    def facts(self) -> NetworkFacts:
        """What is known of the network before its weights are loaded. Raises DepthCheckpointError."""
        return self.kind.facts(self.options)

    def load(self) -> NetworkDepthSource:
        """The network with its weights. Raises DepthCheckpointError and OptionError."""
        return self.kind.for_images(self.options)

    def record(self) -> dict[str, Any]:
        """The options, for a file that tells how it was made."""
        return asdict(self.options)


def choose_depth(chosen: Mapping[str, Any], trained_with: Mapping[str, Any] | None = None) -> DepthChoice:
    """The depth source that a command's `depth=NAME depth.OPTION=VALUE` describes.

    Args:
        chosen: `name` and options, as text or typed; without a name it is `IMAGE_DEPTH`.
        trained_with: the depth source of a lifter's training, `name` and options. Where it is the same source, its
            options hold here too unless `chosen` has others; those that photographs have a default of their own for
            (the size of what the network sees) do not.

    Raises:
        OptionError: for a source that cannot read photographs, and for options that it does not have.
    """
    given = dict(chosen)
    name = given.pop("name", IMAGE_DEPTH)
    kind = _network(name)
    kept: dict[str, Any] = {}
    if trained_with and trained_with.get("name") == name:
        kept = {key: value for key, value in trained_with.items() if key in _common_options(kind)}
    if "checkpoint" in given:
        kept.pop("revision", None)
    return DepthChoice(name, kind, make_options(kind, "depth", name, kept | given, kind.ImageOptions))


def depth_problems(chosen: Mapping[str, Any]) -> list[str]:
    """What is wrong with a command's `depth=NAME depth.OPTION=VALUE`, in words.

    Args:
        chosen: as for `choose_depth`.
    """
    try:
        choose_depth(chosen)
    except ConfigError as error:
        return [str(error)]
    return []


def _network(name: str) -> type[NetworkDepthSource]:
    kind = resolve(DEPTH_SOURCES, "depth", name) if name in DEPTH_SOURCES else None
    if kind is not None and issubclass(kind, NetworkDepthSource):
        return kind
    known = [n for n in DEPTH_SOURCES if issubclass(resolve(DEPTH_SOURCES, "depth", n), NetworkDepthSource)]
    raise OptionError(
        f"depth must be one of {known}, got {name!r}{suggest(name, known)}; other sources do not see photographs"
    )


def _common_options(kind: type[NetworkDepthSource]) -> set[str]:
    """Options with one default for photographs and for rendered bodies."""
    of_bodies = {f.name: f.default for f in fields(kind.Options)}
    return {f.name for f in fields(kind.ImageOptions) if f.name in of_bodies and of_bodies[f.name] == f.default}
