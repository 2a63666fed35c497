"""A study's own words on the command line, told apart from those for its grid."""

from collections.abc import Mapping, Sequence

from dg.settings.config import ConfigError


def split(
    words: Sequence[str], defaults: Mapping[str, str], choices: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, str], list[str]]:
    """The values of the study's own keys, and the other words.

    choices: what a key may be; empty for anything. Raises ConfigError for a value that is none of a key's, and for
    runs that are not tracked, from which no study can read.
    """
    own, rest = dict(defaults), []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in own:
            rest.append(word)
            continue
        own[key] = value
        if choices[key] and value not in choices[key]:
            raise ConfigError(f"{key} must be one of {list(choices[key])}, got {value!r}")
    if "tracking.uri=off" in rest:
        raise ConfigError("the study reads its results from MLflow: leave tracking.uri=off out")
    return own, rest


def with_defaults(words: Sequence[str], defaults: Mapping[str, str]) -> list[str]:
    """The words, and the study's lists where they give none."""
    given = {word.partition("=")[0] for word in words}
    return [*words, *(f"{key}={value}" for key, value in defaults.items() if key not in given)]
