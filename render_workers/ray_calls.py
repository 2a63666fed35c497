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
    if timeout and calls:
        ray.wait(list(calls), num_returns=1, timeout=timeout)
    elif timeout:
        time.sleep(timeout)
    refs = list(calls)
    returned: Returned[Call] = []
    failed: Failed[Call] = []
    for ref in ray.wait(refs, num_returns=len(refs), timeout=0)[0] if refs else []:
        call = calls.pop(ref)
        try:
            returned.append((call, ray.get(ref)))
        except Exception as error:
            failed.append((call, error))
    return returned, failed


def cause_of(error: BaseException) -> BaseException:
    """What a call has failed of: the actor's own exception where it raised one, else Ray's."""
    return error.cause if isinstance(error, exceptions.RayTaskError) else error


def message_of(error: BaseException) -> str:
    """The message of an error, without the colours that Ray puts into tracebacks."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))
