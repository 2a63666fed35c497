"""What is wrong with a file that was read."""


class FileFormatError(ValueError):
    """A file that is missing, truncated or of another kind. The message names file, expectation and finding."""

    exit_code = 4  # as dg.settings.errors.DATA


class UnsafeFileError(FileFormatError):
    """A pickle that asks for something other than arrays and containers. Nothing of it has been run."""
