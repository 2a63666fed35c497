"""Exit codes of the entry points: 0 done, 2 configuration, 3 resources, 4 data, 5 diverged, 6 too many quarantined
poses, 130 interrupted.
"""

DONE, CONFIG, RESOURCES, DATA, DIVERGED, QUARANTINED, INTERRUPTED = 0, 2, 3, 4, 5, 6, 130
# By name, so that nothing has to be imported that an entry point does not use.
_BY_NAME = {
    "ConfigError": CONFIG, "OptionError": CONFIG, "TrackingError": CONFIG,
    "ResourceError": RESOURCES, "WorkerStartError": RESOURCES,
    "DataError": DATA, "BodyFileError": DATA, "CheckpointError": DATA, "FileFormatError": DATA, "UnsafeFileError": DATA,
    "DivergedError": DIVERGED,
    "PoolFailure": QUARANTINED,
}  # fmt: skip


def exit_code(error: BaseException) -> int | None:
    """The documented exit code of an error, or None for one that is our own mistake."""
    codes = [_BY_NAME[t.__name__] for t in type(error).__mro__ if t.__name__ in _BY_NAME]
    return codes[0] if codes else None
