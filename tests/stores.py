"""New MLflow stores for tests: copies of one that is made once, for its tables take seconds to create."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from dg.tracking import prepare

_kept = tempfile.TemporaryDirectory(prefix="dg-store-")


@cache
def _template() -> Path:
    path = Path(_kept.name) / "mlflow.db"
    prepare(f"sqlite:///{path}", "template")
    return path


def new_store(folder: Path) -> str:
    """The address of a store in `folder/mlflow.db` that has the experiment `dg` and no run."""
    shutil.copyfile(_template(), folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    prepare(uri, "dg")
    return uri
