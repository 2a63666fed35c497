"""Where a study is kept, and whether it is the one that was begun with these settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from dg.config import ConfigError
from sweeps.study import Space


def open_study(name: str, storage: str, space: Space, seed: int) -> optuna.Study:
    """Create or load a study that minimises over `space`.

    storage: a database URL such as `sqlite:///study.db`, or `journal:FILE`, the one to use on a network file system.
    Raises ConfigError when the storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A Gaussian process suits one noisy parameter; it also keeps away from the trials that are still running.
    sampler = optuna.samplers.GPSampler(seed=seed, n_startup_trials=len(space.anchors))
    try:
        study = optuna.create_study(
            study_name=name, storage=_storage(storage), sampler=sampler, direction="minimize", load_if_exists=True
        )
    except ConfigError:
        raise
    except Exception as error:  # SQLAlchemy's and the drivers' own errors; there is no common class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"cannot use the study storage {storage!r}: {reason}; expected sqlite:///FILE, journal:FILE or "
            "postgresql://USER@HOST/DATABASE (needs its driver installed)"
        ) from error
    return study


def _storage(storage: str) -> Any:  # noqa: ANN401 - a URL, or one of Optuna's storage classes
    kind, _, rest = storage.partition(":")
    if kind == "journal" and rest:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        Path(rest).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(rest))
    if not rest.startswith("//"):
        hint = f"; try sqlite:///{storage}" if storage.endswith(".db") else ""
        raise ConfigError(f"storage must be sqlite:///FILE, journal:FILE or another URL, got {storage!r}{hint}")
    file = storage_file(storage)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    return storage


def storage_file(storage: str) -> Path | None:
    """The file behind a storage, absolute; None where it is a server."""
    for prefix in ("sqlite:///", "journal:"):
        if storage.startswith(prefix):
            return Path(storage.removeprefix(prefix)).absolute()
    return None


def fix_identity(
    study: optuna.Study, identity: Mapping[str, Any], details: Mapping[str, Any], begun: bool = True
) -> None:
    """Write down what all trials of a study have in common.

    begun: the study holds results or checkpoints. Then an `identity` that differs raises ConfigError; `details` only
    say in its message what changed. One that never got so far, as after a mistyped path, takes the new settings.
    """
    before = study.user_attrs.get("identity")
    now = {"identity": dict(identity), "details": {k: str(v) for k, v in details.items()}}
    if before is None or not begun:
        for key, value in now.items():
            study.set_user_attr(key, value)
        return
    if before == now["identity"]:
        return
    old = {**study.user_attrs.get("details", {}), **before}
    new = {**now["details"], **identity}
    changed = [f"{k}: {old.get(k)} then, {new.get(k)} now" for k in {**old, **new} if old.get(k) != new.get(k)]
    changed = [line for line in changed if not line.startswith("config: ")] or changed
    raise ConfigError(
        f"study {study.study_name!r} was begun with other settings; give the same ones to go on, or study=ANOTHER\n"
        + "\n".join(changed)
    )
