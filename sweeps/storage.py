"""An Optuna study: where it is kept, who works on it, its sampler and pruner, and the settings it was begun with."""

import hashlib
import os
import socket
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock

from dg.grid.driver import DriverBusyError, lock_folder
from dg.settings.config import ConfigError
from sweeps.objective import Objective
from sweeps.space import Range, Space

FIRST_TRIALS = 6  # tried at random before a model of the objective is made, SYSTEMS 3.1
PRUNE_FROM_TRIAL = 4  # so many trials must have ended before one is pruned, SYSTEMS 3.1
_HOLDER = "driver"
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
    """Create or load a study that searches a space.

    Args:
        name: of the study.
        storage: a database URL such as `sqlite:///study.db` or `postgresql://USER@HOST/DATABASE`, or `journal:FILE`,
            the one to use on a network file system.
        space: parameters and their ranges.
        seed: of the sampler.
        objectives: what is optimised, one or two.
        pruner: ends bad trials early; Optuna's default if left out.

    Raises:
        ConfigError: the storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = [
        optuna.study.StudyDirection.MAXIMIZE if o.maximise else optuna.study.StudyDirection.MINIMIZE for o in objectives
    ]
    try:
        study = optuna.create_study(
            study_name=name, storage=_storage(storage), pruner=pruner, directions=directions, load_if_exists=True
        )
        _name_metrics(study, objectives)
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


def _name_metrics(study: optuna.Study, objectives: Sequence[Objective]) -> None:
    """What is optimised goes by its name in MLflow, in optuna-dashboard and in Optuna's own plots."""
    names = [objective.metric for objective in objectives]
    if study.metric_names != names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(names)


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


def make_sampler(space: Space, objectives: Sequence[Objective], seed: int, trials: int) -> optuna.samplers.BaseSampler:
    """Return a Gaussian process sampler for one number, and TPE for several parameters, a choice or two objectives.

    Args:
        space: parameters and their ranges.
        objectives: what is optimised.
        seed: of the sweep.
        trials: how many trials the study holds. It goes into the sampler's seed, because a session that began with the
            first seed again would propose again what the session before has tried.
    """
    seed = int(np.random.SeedSequence([seed, trials]).generate_state(1)[0])
    (first, *more) = space.parameters.values()
    if not more and isinstance(first, Range) and len(objectives) == 1:
        # It suits one noisy parameter, and keeps away from the trials that are still running.
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=max(len(space.anchors), PRUNE_FROM_TRIAL))
    # Its constant liar, on by default in Optuna 5, keeps trials that run at once apart.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(FIRST_TRIALS, 2 * len(space.parameters)))


def make_pruner(name: str, prune_after: int, epochs: int) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner of a name.

    Args:
        name: `off`, `median` or `hyperband`.
        prune_after: epochs in which no trial is pruned.
        epochs: of a whole run.
    """
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=PRUNE_FROM_TRIAL, n_warmup_steps=prune_after)
    if name == "hyperband":
        first = max(1, min(prune_after, epochs))
        return optuna.pruners.HyperbandPruner(min_resource=first, max_resource=max(first, epochs), reduction_factor=3)
    return optuna.pruners.NopPruner()


def fix_identity(
    study: optuna.Study, identity: Mapping[str, Any], details: Mapping[str, Any], begun: bool = True
) -> None:
    """Write into the study what all its trials have in common, or check it against what stands there.

    Args:
        study: of Optuna.
        identity: what must be equal for trials to belong to one study.
        details: further settings, which only explain in the message what changed.
        begun: whether the study holds results or checkpoints. One that does not, as after a mistyped path, takes the
            new settings.

    Raises:
        ConfigError: a study that has begun has another identity.
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


class StudyLock:
    """Held from `acquire` to `release`, or until this process dies, SIGKILL included: both locks die with it.

    In PostgreSQL it is an advisory lock on the study's name, so that drivers on different machines see each other;
    beside it, and for all other storages, a lock on the folder of the runs.
    """

    def __init__(self, study: optuna.Study, storage: str) -> None:
        self.study, self.storage = study, storage
        self._connection: Any = None
        self._file: FileLock | None = None

    def acquire(self) -> None:
        """Raises DriverBusyError that says who holds it."""
        if self.storage.startswith("postgresql") and not self._lock_in_database():
            raise DriverBusyError(self._message("in its database"))

    def acquire_folder(self, folder: Path) -> None:
        """After `acquire`: the same for the folder of the runs, and a note on who holds both."""
        try:
            self._file = lock_folder(folder, "the study")
        except DriverBusyError as error:
            self.release()
            raise DriverBusyError(self._message(f"in {folder}")) from error
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        self.study.set_user_attr(_HOLDER, f"process {os.getpid()} on {socket.gethostname()}, since {now}")

    def renew(self) -> None:
        """Make sure that it is still held: a database server that was restarted has forgotten it.

        Raises DriverBusyError where another driver has come first.
        """
        if self._connection is None or self._still_connected():
            return
        self._connection = None
        self.acquire()

    def _still_connected(self) -> bool:
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def release(self) -> None:
        """Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._file is not None:
            self._file.release()

    def _lock_in_database(self) -> bool:
        from sqlalchemy import NullPool, create_engine, text

        # A connection of its own, outside transactions: the lock lives as long as it does.
        engine = create_engine(self.storage, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        connection = engine.connect()
        # Else a machine that loses its power would hold the lock for hours.
        for name, seconds in (("idle", 60), ("interval", 10), ("count", 3)):
            connection.execute(text(f"SET tcp_keepalives_{name} = {seconds}"))
        key = int.from_bytes(
            hashlib.blake2b(self.study.study_name.encode(), digest_size=8).digest(), "big", signed=True
        )
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
            connection.close()
            return False
        self._connection = connection
        return True

    def _message(self, where: str) -> str:
        holder = self.study.user_attrs.get(_HOLDER, "")
        who = f" ({holder})" if holder else ""
        return (
            f"another driver{who} is at work on study {self.study.study_name!r} {where}; wait for it to end, or give "
            "study=ANOTHER. More trials at once: concurrency=N there"
        )
