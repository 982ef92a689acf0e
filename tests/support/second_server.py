"""A Clarus API written from ``CLARUS_API.md`` alone, with no code and no HTTP library of the simulator's.

Of packages it has graphql-core alone. Where the document is silent, a :class:`Dialect` says what this server does.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

from tests.support.second_integrations import PLAIN, Asked, Dialect, Integrations, Record, Reply
from tests.support.stub_server import StreamServer


class SecondServer(StreamServer):
    """Serves the API on loopback; ``log`` has the method, path, status and tenant of every request."""

    client_id, client_secret, redirect_uri = "second id", "s&cond/secret+%~", "https://app.example/back"

    def __init__(self, dialect: Dialect = PLAIN, tenants: tuple[str, ...] = ("acme", "globex")) -> None:
        super().__init__()
        self.dialect = dialect
        self.tenants = tenants
        self.quota: tuple[int, float] | None = None  # requests of a tenant, and the seconds of a window
        self.lost: list[str] = []  # the next creates are cut off "before" or "after" they were applied
        self.create_takes: Callable[[], float] = lambda: 0.0  # seconds until it is applied, whoever still waits for it
        self.applying = 0  # creates that have come and are not applied yet
        self.log: list[tuple[str, str, int, str]] = []
        self.broken_rules: list[str] = []
        self._integrations = Integrations(dialect)
        self._tokens: dict[str, float] = {}
        self._refresh_tokens: set[str] = set()
        self._challenges: dict[str, str] = {}
        self._spent: dict[str, tuple[float, int]] = {}

    # What a test asks.

    def created(self, tenant: str) -> list[Record]:
        """Every record that was ever created, deleted or not."""
        return [record for record in self._integrations.records.values() if record.tenant == tenant]

    def stored(self, tenant: str) -> list[Record]:
        return [record for record in self.created(tenant) if not record.deleted]

    def entities(self, tenant: str) -> dict[int, dict[str, Any]]:
        """The external entities, by id."""
        return {
            number: attributes
            for number, (whose, attributes) in self._integrations.entities.records.items()
            if whose == tenant
        }

    def count(self, path: str) -> int:
        return sum(asked == path for _, asked, _, _ in self.log)

    def kill_tokens(self) -> None:
        """What a login at the front end does: no access token works any more."""
        self._tokens.clear()

    def issue_refresh_token(self) -> str:
        self._refresh_tokens.add(token := "rt." + secrets.token_urlsafe(12) + "==")
        return token

    # HTTP/1.1.

    def end(self, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        tenant = target = method = ""
        zips, lost = False, None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *lines = head[:-4].split("\r\n")
            if not (words := re.fullmatch(r"([A-Z]+) (/\S*) HTTP/1\.([01])", line)):
                raise Reply(400)
            method, target = words[1], words[2]
            headers = {}
            for text in lines:
                if not (pair := re.fullmatch(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", text)):
                    raise Reply(400)
                name = pair[1].lower()
                headers[name] = f"{headers[name]}, {pair[2]}" if name in headers else pair[2]
            keeps = words[3] == "1" and headers.get("connection", "").lower() != "close"
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        except Reply as refusal:
            keeps, reply = False, refusal
        else:
            parts, tenant = urlsplit(target), headers.get("x-clarus-subdomain", "")
            if "cookie" in headers:
                self.broken_rules.append(f"a cookie came with {method} {parts.path}")
            creates = method == "POST" and parts.path in {"/api/integrations", "/api/external_entities"}
            lost = self.lost.pop(0) if self.lost and creates else None
            if lost == "before":
                self.log.append((method, parts.path, 0, tenant))
                return False
            if creates and (takes := self.create_takes()):
                self.applying += 1
                try:
                    await asyncio.sleep(takes)
                finally:
                    self.applying -= 1
            try:
                reply = self._answer(Asked(method, parts.path, parts.query, headers, body))
            except Reply as raised:
                reply = raised
            zips = self.dialect.gzip and "gzip" in headers.get("accept-encoding", "")
        self.log.append((method, target.partition("?")[0], reply.status, tenant))
        if lost == "after":
            return False
        self._write(writer, reply, keeps=keeps, zips=zips)
        await writer.drain()
        return keeps

    def _write(self, writer: asyncio.StreamWriter, reply: Reply, *, keeps: bool, zips: bool) -> None:
        dialect = self.dialect
        body = b"" if reply.document is None else json.dumps(reply.document, ensure_ascii=False).encode()
        headers = ["X-Request-Id: " + secrets.token_hex(8), *dialect.headers, *reply.headers]
        headers += ["Date: " + formatdate(usegmt=True)] if dialect.date else []
        headers += ["Content-Type: application/json; charset=utf-8"] if body else []
        if zips and body:
            headers.append("Content-Encoding: gzip")
            body = gzip.compress(body)
        headers += [] if keeps else ["Connection: close"]
        if dialect.chunked and body:
            headers.append("Transfer-Encoding: chunked")
            pieces = [body[at : at + 171] for at in range(0, len(body), 171)]
            body = b"".join(b"%x;n=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-Sum: 1\r\n\r\n"
        elif reply.status != 204:
            headers.append(f"Content-Length: {len(body)}")
        if dialect.early_hints:
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        names = (header.partition(":") for header in headers)
        lines = [f"HTTP/1.1 {reply.status} ", *(dialect.case(name) + colon + value for name, colon, value in names)]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    # Who may ask what (CLARUS_API.md §2 and §3).

    def _answer(self, asked: Asked) -> Reply:
        if asked.path in {"/oauth/token", "/oauth/authorize"}:
            return self._token(asked) if asked.path == "/oauth/token" else self._authorize(asked)
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self._tokens.get(token.strip(), -1.0) < _now():
            raise Reply(401, {"error": "The access token is invalid"}, 'WWW-Authenticate: Bearer realm="clarus"')
        tenant = asked.headers.get("x-clarus-subdomain", "")
        self._count(tenant)
        if tenant not in self.tenants:
            raise self._integrations.refusal(self.dialect.unknown_tenant, "tenant_unknown", "There is no such tenant")
        if asked.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise self._integrations.refusal(415, "content_type", "Every request carries application/json")
        return self._integrations.answer(asked, tenant)

    def _count(self, tenant: str) -> None:
        if self.quota is None:
            return
        limit, window = self.quota
        now = _now()
        began, spent = self._spent.get(tenant, (now, 0))
        if now >= began + window:
            began, spent = now, 0
        self._spent[tenant] = began, spent + 1
        if spent >= limit:
            wait = int(began + window - now) + 1
            at = formatdate(time.time() + wait, usegmt=True)
            raise Reply(429, None, f"Retry-After: {at if self.dialect.retry_at else wait}")

    # RFC 6749 and RFC 7636, as far as CLARUS_API.md §2 leaves it to them.

    def _token(self, asked: Asked) -> Reply:
        form = dict(parse_qsl(asked.body.decode(), keep_blank_values=True))
        client, secret = form.get("client_id"), form.get("client_secret")
        scheme, _, code = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                client, secret = map(unquote_plus, base64.b64decode(code).decode().split(":"))
            except ValueError:
                return _denied(400, "invalid_request", "The header can't be read")
        elif self.dialect.basic_only:
            secret = None
        if (client, secret) != (self.client_id, self.client_secret):
            return _denied(401, "invalid_client", "Unknown client", 'WWW-Authenticate: Basic realm="clarus"')
        grant = form.get("grant_type")
        if grant == "client_credentials":
            return self._issue(refreshable=False)
        if grant == "refresh_token":
            token = form.get("refresh_token", "")
            if token not in self._refresh_tokens:
                return _denied(400, "invalid_grant", "The refresh token is invalid, expired or revoked")
            if self.dialect.rotates:
                self._refresh_tokens.discard(token)
            return self._issue(refreshable=self.dialect.rotates)
        if grant == "authorization_code":
            challenge = self._challenges.pop(form.get("code", ""), None)
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            proved = base64.urlsafe_b64encode(digest).decode().rstrip("=") == challenge
            if not proved or form.get("redirect_uri") != self.redirect_uri:
                return _denied(400, "invalid_grant", "The code is invalid")
            return self._issue(refreshable=True)
        return _denied(400, "unsupported_grant_type", "There is no such grant")

    def _authorize(self, asked: Asked) -> Reply:
        query = dict(parse_qsl(asked.query))
        if query.get("client_id") != self.client_id or query.get("redirect_uri") != self.redirect_uri:
            return _denied(400, "invalid_request", "Unknown client or redirect")
        if query.get("response_type") != "code" or query.get("code_challenge_method") != "S256":
            return Reply(302, None, f"Location: {self.redirect_uri}?error=invalid_request")
        self._challenges[code := secrets.token_urlsafe(12)] = query.get("code_challenge", "")
        back = urlencode({"code": code, "state": query.get("state", "")})
        return Reply(302, None, f"Location: {self.redirect_uri}?{back}")

    def _issue(self, *, refreshable: bool) -> Reply:
        life = self.dialect.expires_in
        token = f"eyJhbGciOiJIUzI1NiJ9.{secrets.token_urlsafe(24)}.{secrets.token_urlsafe(9)}=="
        self._tokens[token] = _now() + (float(life) if life is not None else 1e9)
        document = {"access_token": token, "token_type": "bearer", "created_at": int(time.time()), "scope": "api"}
        document |= {} if life is None else {"expires_in": life}
        document |= {"refresh_token": self.issue_refresh_token()} if refreshable else {}
        return Reply(200, document, "Cache-Control: no-store", "Pragma: no-cache")


def _denied(status: int, error: str, description: str, *headers: str) -> Reply:
    return Reply(status, {"error": error, "error_description": description}, *headers)


def _now() -> float:
    return asyncio.get_running_loop().time()
