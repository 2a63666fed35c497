"""Where a study is kept, and whether it is the one that was begun with these settings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from dg.settings.config import ConfigError
from sweeps.objective import Objective
from sweeps.samplers import make_sampler
from sweeps.space import Space

SERVERS = ("postgresql", "mysql", "mariadb", "oracle", "mssql")
IDENTITY, _DETAILS = "identity", "details"


def open_study(
    name: str,
    storage: str,
    space: Space,
    seed: int,
    objectives: Sequence[Objective] = (Objective(),),
    pruner: optuna.pruners.BasePruner | None = None,
) -> optuna.Study:
    """Create or load a study that searches `space`.

    storage: a database URL such as `sqlite:///study.db` or `postgresql://USER@HOST/DATABASE`, or `journal:FILE`, the
    one to use on a network file system. Raises ConfigError when the storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = [
        optuna.study.StudyDirection.MAXIMIZE if o.maximise else optuna.study.StudyDirection.MINIMIZE for o in objectives
    ]
    try:
        study = optuna.create_study(
            study_name=name, storage=_storage(storage), pruner=pruner, directions=directions, load_if_exists=True
        )
        study.sampler = make_sampler(space, objectives, seed, len(study.get_trials(deepcopy=False)))
    except ConfigError:
        raise
    except Exception as error:  # SQLAlchemy's and the drivers' own errors; there is no common class
        raise ConfigError(
            f"cannot use the study storage {storage!r}: {_reason(error)}; expected sqlite:///FILE, journal:FILE or "
            "postgresql://USER@HOST/DATABASE (needs the extra `postgres`)"
        ) from error
    if study.directions != directions:
        raise ConfigError(f"study {name!r} was begun with other objectives; give the same ones, or study=ANOTHER")
    return study


def storage_lost(error: BaseException) -> str:
    """Why the storage of a study can no longer be used; empty for any other error."""
    from sqlalchemy.exc import SQLAlchemyError

    lost = isinstance(error, SQLAlchemyError | optuna.exceptions.StorageInternalError)
    return _reason(error) if lost else ""


def _reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
    if kind.partition("+")[0] in SERVERS:
        # A trial may take hours, in which a server or a firewall drops an idle connection.
        return optuna.storages.RDBStorage(storage, engine_kwargs={"pool_pre_ping": True})
    return storage


def storage_file(storage: str) -> Path | None:
    """The file behind a storage, absolute; None where it is a server."""
    for prefix in ("sqlite:///", "journal:"):
        if storage.startswith(prefix):
            return Path(storage.removeprefix(prefix)).absolute()
    return None


def without_password(storage: str) -> str:
    """A storage as it may be printed and logged."""
    head, at, rest = storage.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}{at}{rest}" if at and slashes else storage


def fix_identity(
    study: optuna.Study, identity: Mapping[str, Any], details: Mapping[str, Any], begun: bool = True
) -> None:
    """Write down what all trials of a study have in common.

    begun: the study holds results or checkpoints. Then an `identity` that differs raises ConfigError; `details` only
    say in its message what changed. One that never got so far, as after a mistyped path, takes the new settings.
    """
    before = study.user_attrs.get(IDENTITY)
    now = {IDENTITY: dict(identity), _DETAILS: {k: str(v) for k, v in details.items()}}
    if before is None or not begun:
        for key, value in now.items():
            study.set_user_attr(key, value)
        return
    if before == now[IDENTITY]:
        return
    old = {**study.user_attrs.get(_DETAILS, {}), **before}
    new = {**now[_DETAILS], **identity}
    changed = [f"{k}: {old.get(k)} then, {new.get(k)} now" for k in {**old, **new} if old.get(k) != new.get(k)]
    changed = [line for line in changed if not line.startswith("config: ")] or changed
    raise ConfigError(
        f"study {study.study_name!r} was begun with other settings; give the same ones to go on, or study=ANOTHER\n"
        + "\n".join(changed)
    )
