"""YAML from a file that may be anybody's: neither deep, nor large, nor a few lines that stand for millions."""

import re
from typing import Any

import yaml

MAX_DEPTH, MAX_ALIASES, MAX_CHARACTERS = 40, 16, 1_000_000


class YamlLimitError(yaml.YAMLError):
    """A document that no person writes. The message says which limit it passes."""


def load_yaml(text: str, texts_only: bool = False) -> Any:  # noqa: ANN401
    """The content of a YAML document, of plain types.

    Args:
        text: The document.
        texts_only: Leave every scalar the text that it is.

    Returns:
        Dicts, lists and scalars.

    Raises:
        yaml.YAMLError: It is no YAML, or YamlLimitError where it is too deep, too long, or repeats itself too often.
    """
    if len(text) > MAX_CHARACTERS:
        raise YamlLimitError(f"it has more than {MAX_CHARACTERS:,} characters")
    _check_brackets(text)
    return yaml.load(text, Loader=_PlainTexts if texts_only else _PlainValues)


def _check_brackets(text: str) -> None:
    """The scanner's time grows with the square of open brackets, before anything is composed."""
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if bracket in "[{" else max(depth - 1, 0)
        if depth > MAX_DEPTH:
            raise YamlLimitError(f"it is nested more than {MAX_DEPTH} deep")


class _Limited:
    """Counts while nodes are composed, so that a limit is met before the rest is even scanned."""

    depth = aliases = 0

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401
        self.aliases += self.check_event(yaml.AliasEvent)  # type: ignore[attr-defined]
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise YamlLimitError(f"it is nested more than {MAX_DEPTH} deep")
        if self.aliases > MAX_ALIASES:
            raise YamlLimitError(f"it uses more than {MAX_ALIASES} aliases")
        try:
            return super().compose_node(parent, index)  # type: ignore[misc]
        finally:
            self.depth -= 1


class _PlainTexts(_Limited, yaml.BaseLoader): ...


class _PlainValues(_Limited, yaml.SafeLoader): ...
