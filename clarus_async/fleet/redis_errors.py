"""What keeps Redis from being asked, in words that hold no secret, and whether waiting can heal it."""

from __future__ import annotations

import logging
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from clarus_async.errors import ClarusError, ConfigurationError, ConnectionFailedError
from clarus_async.http.connect_errors import Trouble, trouble_of

_log = logging.getLogger("clarus_async")

# What Redis's answer begins with, or holds where it has no code of its own. redis-py cuts most codes off and raises a
# class instead.
_ANSWERS: Final = (
    (r"WRONGPASS|invalid username-password|invalid password", "it refuses the user name or the password", False),
    (r"without any password configured|no password is set", "the URL has a password, and Redis wants none", False),
    (r"NOAUTH|Authentication required|must be called with the client already auth", "it wants a password", False),
    (
        r"NOPERM|[Nn]o permissions|ACL failure|executing the script can't",
        "its ACL forbids a command or a key that is needed",
        False,
    ),
    (r"DB index is out of range|invalid DB index", "it has no database of that number", False),
    (r"MOVED|ASK\b|CROSSSLOT", "it is a node of a cluster, and only a single Redis will do", False),
    (r"[Uu]nknown (?:Redis )?command", "it does not have a command that is needed", False),
    (r"WRONGTYPE", "a key that is needed holds something else: let nobody else use the prefix", False),
    (r"READONLY|read only replica", "it is a replica, which takes no writes", True),
    (r"LOADING|loading the dataset", "it is loading its data", True),
    (r"OOM|used memory", "its memory is full", True),
    (r"MISCONF", "it can't save its data, and so takes no writes", True),
    (r"max number of clients", "it has as many clients as it takes", True),
    (r"CLUSTERDOWN|MASTERDOWN|TRYAGAIN|NOREPLICAS|BUSY", "it can't work at the moment", True),
)
NOT_REDIS: Final = Trouble("what answers there is not Redis", heals=False)
_CLASSES: Final = {
    "NoPermissionError": "NOPERM",
    "ReadOnlyError": "READONLY",
    "BusyLoadingError": "LOADING",
    "OutOfMemoryError": "OOM",
    "MovedError": "MOVED",
    "AskError": "ASK",
    "ClusterCrossSlotError": "CROSSSLOT",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "TryAgainError": "TRYAGAIN",
}


def redis_trouble(error: BaseException) -> Trouble:
    """Say why Redis could not be asked, by an error of redis-py, of kombu, or of a socket."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError | socket.gaierror):
            return trouble_of(cause)
        name = type(cause).__name__
        if name == "InvalidResponse":
            return NOT_REDIS
        if type(cause).__module__.startswith("redis."):
            said = f"{_CLASSES.get(name, '')} {cause}"
            for pattern, words, heals in _ANSWERS:
                if re.search(rf"(?:^|\s)(?:{pattern})", said):
                    return Trouble(words, heals)
        elif isinstance(cause, OSError) and isinstance(cause.errno, int):
            return trouble_of(cause)
        if isinstance(cause, TimeoutError) or name == "TimeoutError":
            return Trouble("it did not answer in time")
    if type(error).__name__ == "ResponseError":
        code = re.match(r"[A-Z]{2,20}(?= )", str(error))
        return Trouble(f"it answered with an error ({code[0]})" if code else "it answered with an error")
    return Trouble("the connection was lost")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What an error says it comes from: redis-py keeps no more than the text of most."""
    seen: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in seen:
        seen.append(step)
        yield step
        step = step.__cause__ or step.__context__


def redis_error(trouble: Trouble, where: object) -> ClarusError:
    """Return the error to raise: one that can be retried where waiting can heal it."""
    said = f"{_at(where)}{trouble.said}"
    return ConnectionFailedError(said, retryable=True) if trouble.heals else ConfigurationError(said)


def _at(where: object) -> str:
    return f"Redis at {where}: "


class RedisLog:
    """Logs what is wrong with Redis, each problem once until Redis is back.

    Args:
        where: the place, which is no secret.
        meanwhile: what is done about it.
        back: what is said when it is over.
    """

    def __init__(self, where: object, meanwhile: str, back: str) -> None:
        self._where = where
        self._meanwhile = meanwhile
        self._back = back
        self._logged: set[str] = set()

    def trouble(self, trouble: Trouble) -> None:
        """Log what keeps Redis from being asked."""
        if trouble.said not in self._logged:
            self._logged.add(trouble.said)
            if trouble.heals:
                _log.warning("Redis at %s can't be used: %s: %s", self._where, trouble.said, self._meanwhile)
            else:
                _log.error("Redis at %s can't be used: %s", self._where, trouble.said)

    def error(self, error: Exception) -> None:
        """Log an error of :func:`redis_error`, or that no answer came in time."""
        if isinstance(error, ClarusError):
            self.trouble(Trouble(error.message.removeprefix(_at(self._where)), heals=error.retryable))
        else:
            self.trouble(Trouble("it did not answer in time"))

    def recovered(self) -> None:
        """Log that Redis can be used again, where it could not."""
        if self._logged:
            self._logged.clear()
            _log.info("Redis is back: %s", self._back)
