"""A file for `ray up`, read leniently: what is absent or of the wrong type is empty here, Ray's validator names it."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HEAD_COMMANDS, WORKER_COMMANDS = "head_start_ray_commands", "worker_start_ray_commands"


@dataclass(frozen=True)
class LauncherFile:
    """The tree of the file, and the parts of it that several checks look at."""

    tree: Mapping[str, Any]

    @property
    def provider(self) -> Mapping[str, Any]:
        """The section `provider`."""
        return mapping(self.tree.get("provider"))

    @property
    def on_premises(self) -> bool:
        """Whether the nodes are machines of one's own, not of a cloud."""
        return self.provider.get("type") == "local"

    @property
    def addresses(self) -> list[str]:
        """Addresses of the nodes, the head first, where the file lists them."""
        listed = [self.provider.get("head_ip"), *sequence(self.provider.get("worker_ips"))]
        return [str(address) for address in listed if address]

    @property
    def node_types(self) -> dict[str, Mapping[str, Any]]:
        """The node types of a cloud by name; machines of one's own have none."""
        if self.on_premises:
            return {}
        return {str(name): mapping(value) for name, value in mapping(self.tree.get("available_node_types")).items()}

    @property
    def head_type(self) -> Mapping[str, Any]:
        """The node type of the head."""
        return self.node_types.get(str(self.tree.get("head_node_type")), {})

    @property
    def worker_types(self) -> dict[str, Mapping[str, Any]]:
        """The node types other than the head's, by name."""
        return {name: value for name, value in self.node_types.items() if name != self.tree.get("head_node_type")}

    @property
    def docker(self) -> Mapping[str, Any]:
        """The section `docker`."""
        return mapping(self.tree.get("docker"))

    def commands(self, part: str) -> list[str]:
        """Return the commands in one of the file's lists, by its key."""
        return [str(command) for command in sequence(self.tree.get(part))]

    def start_commands(self, part: str) -> list[str]:
        """Return those commands in one of the file's lists that start Ray."""
        return [command for command in self.commands(part) if re.search(r"\bray start\b", command)]

    @property
    def all_start_commands(self) -> list[str]:
        """The commands that start Ray on the head, then those of the workers."""
        return [*self.start_commands(HEAD_COMMANDS), *self.start_commands(WORKER_COMMANDS)]

    @property
    def set_up(self) -> str:
        """The commands that prepare a node."""
        parts = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
        return "\n".join(command for part in parts for command in self.commands(part))

    @property
    def file_mounts(self) -> dict[str, str]:
        """Local paths by their remote paths."""
        return {str(remote): str(local) for remote, local in mapping(self.tree.get("file_mounts")).items()}


def auth_mode(command: str) -> str | None:
    """Return the value that a command gives to RAY_AUTH_MODE, or None."""
    found = re.search(r"\bRAY_AUTH_MODE=[\"']?(\w+)", command)
    return found.group(1) if found else None


def option(command: str, name: str) -> str | None:
    """Return the value of an option of a command.

    Args:
        command: the command line.
        name: name of the option, without dashes.

    Returns:
        The value in `--name=value` or `--name value`, without quotes, or None.
    """
    found = re.search(rf"--{name}(?:=|\s+)(\"[^\"]*\"|'[^']*'|\S+)", command)
    return None if found is None else "".join(shlex.split(found.group(1)))


def is_spot(node_type: Mapping[str, Any]) -> bool:
    """Tell whether the cloud may take nodes of this type back."""
    market = mapping(mapping(node_type.get("node_config")).get("InstanceMarketOptions"))
    return market.get("MarketType") == "spot"


def mapping(value: object) -> Mapping[str, Any]:
    """Return the value if it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: object) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []
