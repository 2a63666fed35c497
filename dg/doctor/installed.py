"""Versions of installed packages, without importing them."""

from importlib.metadata import PackageNotFoundError, version


def installed_version(package: str) -> str | None:
    """Return a package's version, such as `2.60.0`, or None when it is not installed.

    What follows a `+`, such as `cu130`, is left out.
    """
    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return None
