"""The URL of a Redis, read in one way for redis-py and for Celery, which would each read it in a way of its own.

``redis://[user:password@]host[:port][/database]``, ``rediss://…`` for TLS, ``unix://[user:password@]/path[?db=…]``.
With TLS, the server's certificate and its name are verified; the options ``ssl_ca_certs``, ``ssl_certfile``,
``ssl_keyfile``, ``ssl_cert_reqs`` (``required``, ``optional`` or ``none``) and ``ssl_check_hostname`` (``true`` or
``false``) say how.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote, unquote

import attrs

from clarus_async.http.connect_errors import host_port

if TYPE_CHECKING:
    from redis.asyncio import Redis

_PORT: Final = 6379
_REQUIREMENTS: Final = ("required", "optional", "none")
_FLAGS: Final = {"true": True, "false": False}
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS: Final = frozenset({*_FILES, "ssl_cert_reqs", "ssl_check_hostname"})

# RFC 3986, sections 3.2.1 and 3.2.2.
_USERINFO: Final = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*"
_HOST: Final = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~]+)(?::(?P<port>[0-9]{1,5}))?"

_FORM: Final = "must be a URL that begins with redis://, rediss:// or unix://"
_ENCODE: Final = (
    "can't be read: in its user name and its password, percent-encode whatever is no letter, no digit and none of "
    "- . _ ~ (# is %23, / is %2F, [ is %5B, ? is %3F, @ is %40, % is %25)"
)


# No repr: it holds what must not show.
@attrs.frozen(kw_only=True, eq=False, repr=False)
class RedisAddress:
    """Where a Redis is, by its host or the ``path`` of a socket, and how to get in; ``tls`` is redis-py's options."""

    host: str = ""
    port: int = _PORT
    path: str | None = None
    database: int = 0
    username: str | None = None
    password: str | None = None
    tls: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """Its place, which is no secret."""
        return self.path if self.path is not None else host_port(self.host, self.port)

    def __reduce__(self) -> NoReturn:
        raise TypeError("the URL of Redis may hold a password and refuses to be pickled")

    def client(self, **options: Any) -> Redis:  # noqa: ANN401  redis-py's own
        """Make a client that opens nothing yet and never tries again by itself; ``options`` are redis-py's."""
        from redis.asyncio import Redis as Client  # noqa: PLC0415  optional
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415

        options |= {} if self.tls is None else {"ssl": True, **self.tls}
        if self.path is not None:
            options["unix_socket_path"] = self.path
        return Client(
            host=self.host,
            port=self.port,
            db=self.database,
            username=self.username,
            password=self.password,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
            **options,
        )

    def for_celery(self) -> tuple[str, dict[str, Any] | None]:
        """Return what ``broker_url`` and ``broker_use_ssl`` are to be."""
        name = "" if self.username is None else quote(self.username, safe="")
        userinfo = "" if self.password is None else f"{name}:{quote(self.password, safe='')}@"
        scheme = "redis" if self.tls is None else "rediss"
        url = f"{scheme}://{userinfo}{host_port(self.host, self.port)}/{self.database}"
        return url, None if self.tls is None else dict(self.tls)


def read_redis_url(url: object) -> RedisAddress | str:
    """Read the URL of a Redis; where it is wrong, the reason that is returned repeats nothing of it."""
    if not isinstance(url, str):
        return _FORM
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"redis", "rediss", "unix"}:
        return _FORM
    authority, *_ = re.split(r"[/?#]", rest, maxsplit=1)
    tail = rest.removeprefix(authority)
    userinfo, at, place = authority.rpartition("@")
    # A password that is not encoded may end up in what looks like the host, the path or the query.
    if not re.fullmatch(_USERINFO, userinfo) or "@" in tail or "#" in tail:
        return _ENCODE
    path, _, query = tail.partition("?")
    fields: dict[str, Any] = {}
    if at:
        username, colon, password = userinfo.partition(":")
        if not colon:
            return "must have a colon before its password: redis://:password@host"
        # An empty user name is the default one; an empty password is none, unless a user has it.
        fields["username"] = unquote(username) or None
        fields["password"] = unquote(password) if username or password else None
    return _read_place(scheme, place, path, fields) or _with_options(scheme, fields, query)


def _read_place(scheme: str, place: str, path: str, fields: dict[str, Any]) -> str | None:
    if scheme == "unix":
        fields["path"] = unquote(path)
        wrong = place or not path
        return "must have three slashes before the path of its socket: unix:///path" if wrong else None
    found = re.fullmatch(_HOST, place)
    if found is None:
        host, _, port = place.rpartition(":")
        return "must have a number as its port" if re.fullmatch(_HOST, host) and port else "must name a host"
    fields["host"] = found["host"].strip("[]")
    if found["port"] is not None:
        fields["port"] = int(found["port"])
        if not 0 < fields["port"] < 2**16:
            return "must have a port from 1 to 65535"
    if path not in {"", "/"}:
        if not re.fullmatch(r"/[0-9]{1,9}", path):
            return "must have the number of a database after the slash, or nothing"
        fields["database"] = int(path[1:])
    return None


def _with_options(scheme: str, fields: dict[str, Any], query: str) -> RedisAddress | str:
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name != "db" and name not in _TLS_OPTIONS:
            # Not even its name is repeated: it may be what follows a "?" in a password.
            return f"has an option that is not known; these are: db, {', '.join(sorted(_TLS_OPTIONS))}"
        if name in options:
            return f"has the option {name} twice"
        options[name] = unquote(value)
    if (number := options.pop("db", None)) is not None:
        if not re.fullmatch(r"[0-9]{1,9}", number) or fields.get("database", int(number)) != int(number):
            return "must name one database, by its number"
        fields["database"] = int(number)
    if scheme != "rediss":
        return "has options for TLS, and is not rediss://" if options else RedisAddress(**fields)
    tls = _tls(options)
    return tls if isinstance(tls, str) else RedisAddress(**fields, tls=tls)


def _tls(options: dict[str, str]) -> dict[str, Any] | str:
    requirement = options.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    if requirement not in _REQUIREMENTS:
        return f"must have one of {', '.join(_REQUIREMENTS)} as ssl_cert_reqs"
    flag = options.get("ssl_check_hostname", "true").lower()
    if flag not in _FLAGS:
        return "must have true or false as ssl_check_hostname"
    files: dict[str, str] = {name: options[name] for name in _FILES if name in options}
    if "ssl_keyfile" in files and "ssl_certfile" not in files:
        return "must have ssl_certfile beside ssl_keyfile"
    if (problem := _file_problem(files)) is not None:
        return problem
    verified = requirement != "none"
    return {
        "ssl_cert_reqs": ssl.VerifyMode[f"CERT_{requirement.upper()}"],
        # Said to both: redis-py before 6 did not look at the name, and kombu looks at nothing by itself.
        "ssl_check_hostname": verified and _FLAGS[flag],
        **files,
    }


def _file_problem(files: Mapping[str, str]) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if (authorities := files.get("ssl_ca_certs")) is not None:
            context.load_verify_locations(authorities)
    except OSError:  # an SSLError is one
        return "must name a PEM file of certificates that can be read as ssl_ca_certs"
    try:
        if (certificate := files.get("ssl_certfile")) is not None:
            # Without a password: OpenSSL would ask for one on the terminal.
            context.load_cert_chain(certificate, files.get("ssl_keyfile"), password="")
    except (OSError, ValueError):
        return "must name PEM files that can be read, and go together, as ssl_certfile and ssl_keyfile"
    return None
