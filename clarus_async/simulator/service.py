"""What the server does with a request, as CLARUS_API.md has it. Pure: bytes and times in, an answer out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs
import orjson

from clarus_async.simulator import documents
from clarus_async.simulator.clock import Clock
from clarus_async.simulator.documents import Answer, RefusedError, json_answer, problem, problems
from clarus_async.simulator.faults import Endpoint
from clarus_async.simulator.log import LoggedRequest
from clarus_async.simulator.oauth import OAuthError, TokenIssuer
from clarus_async.simulator.quota import CountedRequest, Quotas, headers
from clarus_async.simulator.resources import RESOURCES, SimulatedResource
from clarus_async.simulator.state import StoredRecord, Tenant

_REFERENCE = "external_system_reference1"
_WITH_BODY = frozenset({Endpoint.CREATE, Endpoint.UPDATE, Endpoint.GRAPHQL})


@attrs.frozen
class Admission:
    """Whether a request is admitted: the answer if it is not, the quota's headers, and what the quota counted."""

    refusal: Answer | None
    headers: Mapping[str, str] = attrs.field(factory=dict)
    counted: CountedRequest | None = None

    @property
    def delay(self) -> float:
        """Seconds for which the limiter holds it."""
        return 0.0 if self.counted is None else self.counted.verdict.delay

    def leave(self, at: float) -> None:
        """Note that it has been answered."""
        if self.counted is not None and self.counted.verdict.admitted:
            self.counted.limiter.leave(at)


@attrs.define(kw_only=True, eq=False)
class Service:
    """The server behind the sockets."""

    _tenants: dict[str, Tenant]
    _tokens: TokenIssuer
    _quotas: Quotas
    _clock: Clock
    _graphql: Callable[[Tenant, bytes, datetime | None], dict[str, Any]]
    """Answers a body for a tenant, as of a time in the past or now."""
    _unique_references: bool
    _check_ids: bool
    _last_ids: Counter[str] = attrs.field(factory=Counter, init=False)
    _sends: Counter[tuple[str, str]] = attrs.field(factory=Counter, init=False)

    def tenant(self, name: str) -> Tenant:
        """Return a tenant, or raise ``ValueError`` where there is no such one."""
        if name not in self._tenants:
            raise ValueError(f"this simulator has no tenant {name!r}, only {', '.join(self._tenants)}")
        return self._tenants[name]

    def resource(self, name: str) -> SimulatedResource:
        """Return a resource, or raise ``ValueError`` where there is no such one."""
        if name not in RESOURCES:
            raise ValueError(f"this simulator has no resource {name!r}, only {', '.join(RESOURCES)}")
        return RESOURCES[name]

    def preload(
        self, tenant: Tenant, resource: SimulatedResource, records: Iterable[Mapping[str, Any]], created_at: datetime
    ) -> list[StoredRecord]:
        """Store records without a request, or raise ``ValueError`` where a create would be refused."""
        stored: list[StoredRecord] = []
        for record in records:
            try:
                body = orjson.dumps({"data": {"type": resource.name, "attributes": dict(record)}})
                attributes = documents.read_attributes(resource, body)
                self._check_references(tenant, resource, attributes)
            except RefusedError as error:
                raise ValueError(f"preload, record {len(stored)}: {error.answer.body.decode()}") from None
            stored.append(tenant.ledger(resource.name).add(self._next_id(resource), attributes, created_at))
        return stored

    def arrived(self, entry: LoggedRequest) -> None:
        """Number a create's send, before anything becomes of it."""
        if entry.endpoint is not Endpoint.CREATE:
            return
        key = entry.headers.get("Idempotency-Key")
        if key is None:
            entry.send = 1
        else:
            self._sends[entry.tenant or "", key] += 1
            entry.send = self._sends[entry.tenant or "", key]

    def token(self, entry: LoggedRequest, at: float) -> Answer:
        """Answer a request to the token endpoint, which no quota counts."""
        asked = entry.headers
        extra = {"Cache-Control": "no-store", "Pragma": "no-cache"}
        try:
            granted = self._tokens.exchange(
                entry.body, asked.get("Content-Type", ""), asked.get("Authorization", ""), at
            )
        except OAuthError as error:
            answer = error.answer
            if answer.status == 401 and "Authorization" in asked:
                extra["WWW-Authenticate"] = 'Basic realm="clarus"'
        else:
            answer = json_answer(granted)
        return attrs.evolve(answer, headers=extra)

    def admit(self, entry: LoggedRequest, at: float) -> Admission:
        """Check token, tenant and quota; ``at`` is seconds on the loop's clock."""
        scheme, _, token = entry.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._tokens.is_good(token, at):
            return Admission(documents.unauthorized("The access token is missing, unknown or expired"))
        if entry.tenant not in self._tenants:
            # The answer to an unknown subdomain is not documented; a 403 in the documented form is likely.
            text = f"X-Clarus-Subdomain {entry.tenant!r} is not one of yours"
            return Admission(problems(403, problem("subdomain", "unknown_subdomain", text, "X-Clarus-Subdomain")))
        counted = self._quotas.take(entry.tenant, at)
        if counted is None:
            return Admission(None)
        state = headers(counted.quota, counted.verdict, self._clock.wall(at).timestamp())
        if counted.verdict.admitted:
            return Admission(None, state, counted)
        if counted.quota.status == 503:
            # A limiter in front of the API answers with a page of its own.
            return Admission(documents.page(503, "Service Temporarily Unavailable"), state, counted)
        return Admission(problems(429, problem("rate_limited", "rate_limited", "Too many requests")), state, counted)

    def apply(self, entry: LoggedRequest, at: float, *, stale: float = 0.0) -> Answer:
        """Do what an admitted request asks for; what was applied is noted in ``entry``."""
        tenant = self._tenants[entry.tenant or ""]
        content_type = entry.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        try:
            if entry.endpoint in _WITH_BODY and content_type != "application/json":
                text = "Content-Type must be application/json"
                return problems(415, problem("media_type", "unsupported_media_type", text, "Content-Type"))
            if entry.endpoint is Endpoint.GRAPHQL:
                as_of = self._clock.wall(at - stale) if stale else None
                return json_answer(self._graphql(tenant, entry.body, as_of))
            resource = RESOURCES[entry.resource or ""]
            if entry.endpoint is Endpoint.CREATE:
                answer = self._create(tenant, resource, entry, at)
            else:
                answer = self._change(tenant, resource, entry, at)
        except RefusedError as error:
            return error.answer
        entry.applied_at = at
        return answer

    def authorization_redirect(self, entry: LoggedRequest, at: float) -> Answer:
        """Answer the authorization page for a user who consents at once."""
        try:
            location = self._tokens.redirect(entry.path.partition("?")[2], at)
        except OAuthError as error:
            return error.answer
        return Answer(status=302, headers={"Location": location})

    def _create(self, tenant: Tenant, resource: SimulatedResource, entry: LoggedRequest, at: float) -> Answer:
        attributes = documents.read_attributes(resource, entry.body)
        self._check_references(tenant, resource, attributes)
        ledger = tenant.ledger(resource.name)
        reference = attributes.get(_REFERENCE)
        if self._unique_references and reference is not None:
            scope = [attributes.get(name) for name in resource.unique_within]
            for other in ledger.find(_REFERENCE, reference):
                if [other.attributes.get(name) for name in resource.unique_within] == scope:
                    raise RefusedError(documents.already_exists(_REFERENCE, attributes))
        record = ledger.add(
            self._next_id(resource),
            attributes,
            self._clock.wall(at),
            idempotency_key=entry.headers.get("Idempotency-Key"),
            send=entry.send,
            request_id=entry.request_id,
        )
        entry.record_id = record.id
        return documents.render(resource, record.id, attributes)

    def _change(self, tenant: Tenant, resource: SimulatedResource, entry: LoggedRequest, at: float) -> Answer:
        ledger = tenant.ledger(resource.name)
        record = ledger.get(entry.record_id) if entry.record_id is not None else None
        if record is None:
            raise RefusedError(documents.not_found(f"{entry.method} {entry.path}: the {resource.noun}"))
        if entry.endpoint is Endpoint.DELETE:
            ledger.delete(record, self._clock.wall(at))
            return Answer(status=204)
        if entry.endpoint is Endpoint.SYNCHRONIZE:
            tenant.syncs.append((record.id, at))
            return json_answer({"data": {"id": record.id, "type": resource.name, "attributes": {}}})
        changes = documents.read_attributes(resource, entry.body, patch=True)
        self._check_references(tenant, resource, changes)
        patched = ledger.update(record, changes, self._clock.wall(at))
        return documents.render(resource, patched.id, patched.attributes)

    def _next_id(self, resource: SimulatedResource) -> int:
        self._last_ids[resource.name] += 1
        return self._last_ids[resource.name]

    def _check_references(self, tenant: Tenant, resource: SimulatedResource, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            other = resource.attributes[name].refers_to if self._check_ids else None
            if other is not None and value is not None and tenant.ledger(other).get(value) is None:
                raise RefusedError(documents.refers_to_nothing(name, value))
