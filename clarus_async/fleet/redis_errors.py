"""What keeps Redis from being asked, in words that hold no secret, and whether waiting can heal it."""

from __future__ import annotations

import logging
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from clarus_async.errors import ClarusError, ConfigurationError, ConnectionFailedError
from clarus_async.http.connect_errors import ConnectionProblem, connection_problem

_log = logging.getLogger("clarus_async")

# What Redis's answer begins with, or holds where it has no code of its own; redis-py cuts most codes off and raises a
# class instead, whose name is put before the answer.
_ANSWERS: Final = (
    (r"WRONGPASS|invalid username-password|invalid password", "it refuses the user name or the password", False),
    (r"without any password configured|no password is set", "the URL has a password, and Redis wants none", False),
    (r"NOAUTH|Authentication required|must be called with the client already auth", "it wants a password", False),
    (
        r"NOPERM|NoPermissionError|[Nn]o permissions|ACL failure|executing the script can't",
        "its ACL forbids a command or a key that is needed",
        False,
    ),
    (r"DB index is out of range|invalid DB index", "it has no database of that number", False),
    (
        r"MOVED|ASK\b|CROSSSLOT|MovedError|AskError|ClusterCrossSlotError",
        "it is a node of a cluster, and only a single Redis will do",
        False,
    ),
    (r"[Uu]nknown (?:Redis )?command", "it does not have a command that is needed", False),
    (r"WRONGTYPE", "a key that is needed holds something else: let nobody else use the prefix", False),
    (r"READONLY|ReadOnlyError|read only replica", "it is a replica, which takes no writes", True),
    (r"LOADING|BusyLoadingError|loading the dataset", "it is loading its data", True),
    (r"OOM|OutOfMemoryError|used memory", "its memory is full", True),
    (r"MISCONF", "it can't save its data, and so takes no writes", True),
    (r"max number of clients", "it has as many clients as it takes", True),
    (
        r"CLUSTERDOWN|MASTERDOWN|TRYAGAIN|NOREPLICAS|BUSY|ClusterDownError|MasterDownError|TryAgainError",
        "it can't work at the moment",
        True,
    ),
)
NOT_REDIS: Final = ConnectionProblem("what answers there is not Redis", transient=False)


def redis_trouble(error: BaseException) -> ConnectionProblem:
    """Say why Redis could not be asked, by an error of redis-py, of kombu, or of a socket."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError | socket.gaierror):
            return connection_problem(cause)
        name = type(cause).__name__
        if name == "InvalidResponse":
            return NOT_REDIS
        if type(cause).__module__.startswith("redis."):
            said = f"{name} {cause}"
            for pattern, words, transient in _ANSWERS:
                if re.search(rf"(?:^|\s)(?:{pattern})", said):
                    return ConnectionProblem(words, transient)
        elif isinstance(cause, OSError) and isinstance(cause.errno, int):
            return connection_problem(cause)
        if isinstance(cause, TimeoutError) or name == "TimeoutError":
            return ConnectionProblem("it did not answer in time")
    if type(error).__name__ == "ResponseError":
        code = re.match(r"[A-Z]{2,20}(?= )", str(error))
        return ConnectionProblem(f"it answered with an error ({code[0]})" if code else "it answered with an error")
    return ConnectionProblem("the connection was lost")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an error says it comes from: redis-py keeps no more than the text of most."""
    seen: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in seen:
        seen.append(step)
        yield step
        step = step.__cause__ or step.__context__


def redis_error(trouble: ConnectionProblem, where: object) -> ClarusError:
    """Return the error to raise: one that can be retried where waiting can heal it."""
    said = f"{_at(where)}{trouble.message}"
    return ConnectionFailedError(said, retryable=True) if trouble.transient else ConfigurationError(said)


def _at(where: object) -> str:
    return f"Redis at {where}: "


class RedisLog:
    """Logs what is wrong with Redis at a place and what is done meanwhile, each problem once until Redis is back."""

    def __init__(self, where: object, meanwhile: str, back: str) -> None:
        self._where = where
        self._meanwhile = meanwhile
        self._back = back
        self._logged: set[str] = set()

    def trouble(self, trouble: ConnectionProblem) -> None:
        """Log what keeps Redis from being asked."""
        if trouble.message not in self._logged:
            self._logged.add(trouble.message)
            if trouble.transient:
                _log.warning("Redis at %s can't be used: %s: %s", self._where, trouble.message, self._meanwhile)
            else:
                _log.error("Redis at %s can't be used: %s", self._where, trouble.message)

    def error(self, error: Exception) -> None:
        """Log an error of ``redis_error``, or that no answer came in time."""
        if isinstance(error, ClarusError):
            self.trouble(ConnectionProblem(error.message.removeprefix(_at(self._where)), transient=error.retryable))
        else:
            self.trouble(ConnectionProblem("it did not answer in time"))

    def recovered(self) -> None:
        """Log that Redis can be used again, where it could not."""
        if self._logged:
            self._logged.clear()
            _log.info("Redis is back: %s", self._back)
