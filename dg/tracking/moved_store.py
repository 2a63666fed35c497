"""A SQLite store that was moved or copied: its pictures and models lie beside it, but it names where they were.

MLflow keeps absolute artifact addresses in its tables, as an address relative to the store does not exist.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

ARTIFACTS = "mlartifacts"  # the folder beside the database
# Table and column of every address that begins with the artifact root.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
_logger = logging.getLogger(__name__)


def follow_store(file: Path | None) -> int:
    """Make a store name the artifact folder that lies beside it, where it names one that lay beside it elsewhere.

    Args:
        file: the database; None, or one that does not exist, is left alone.

    Returns:
        How many roots were changed.
    """
    if file is None or not file.is_file():
        return 0
    here = (file.parent / ARTIFACTS).resolve()
    if not here.is_dir():
        return 0
    try:
        with closing(sqlite3.connect(file, timeout=30.0)) as database:
            changed = _follow(database, here)
            database.commit()
            return changed
    except sqlite3.DatabaseError as error:  # no MLflow store, or one of another version: MLflow tells
        _logger.debug("could not look into %s: %s", file, error)
        return 0


def _follow(database: sqlite3.Connection, folder: Path) -> int:
    here = folder.as_uri()
    stored = database.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    # A folder of another store's artifacts is not taken for this one's: that of an experiment must be in it.
    roots = {_root_of(place) for (place,) in stored if (folder / (place or "").rpartition("/")[2]).is_dir()}
    roots -= {"", here}
    known = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for root in roots:
        for table, column in _ADDRESSES:
            if table in known:
                database.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
                    (here, len(root) + 1, len(root) + 1, f"{root}/"),
                )
    return len(roots)


def _root_of(location: str | None) -> str:
    """The address up to a folder called `mlartifacts`; empty for any other place, which is the user's own choice."""
    head, found, _ = (location or "").rpartition(f"/{ARTIFACTS}/")
    return f"{head}/{ARTIFACTS}" if found and head.startswith("file:") else ""
