"""Calls to Ray actors that have not returned, and what has become of them."""

import re
import time
from typing import Any, TypeVar

import ray
from ray import exceptions

Call = TypeVar("Call")
Returned = list[tuple[Call, Any]]
Failed = list[tuple[Call, Exception]]


def completed(calls: "dict[ray.ObjectRef, Call]", timeout: float) -> "tuple[Returned[Call], Failed[Call]]":
    """Take the calls that have ended out of `calls`.

    Args:
        calls: reference of Ray -> the call; is changed.
        timeout: seconds to wait at most until one has ended.

    Returns:
        The calls with their value, and those with their error.
    """
    returned: Returned[Call] = []
    failed: Failed[Call] = []

    def take(most: int, timeout: float) -> None:
        for ref in ray.wait(list(calls), num_returns=most, timeout=timeout)[0]:
            call = calls.pop(ref)
            try:
                returned.append((call, ray.get(ref)))
            except Exception as error:
                failed.append((call, error))

    if timeout and not calls:
        time.sleep(timeout)
    elif timeout:
        take(1, timeout)
    # Who has waited leaves it at the first, which saves a call to Ray a batch; but not if that has failed: others may
    # have been answered before their worker died.
    if calls and (failed or not timeout):
        take(len(calls), 0)
    return returned, failed


def cause_of(error: BaseException) -> BaseException:
    """What a call has failed of: the actor's own exception where it raised one, else Ray's."""
    return error.cause if isinstance(error, exceptions.RayTaskError) else error


def message_of(error: BaseException) -> str:
    """The message of an error, without the colours that Ray puts into tracebacks."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))
