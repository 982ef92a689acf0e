"""Hypothesis strategies that several tests share."""

from __future__ import annotations

from datetime import UTC

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from clarus_async.errors import (
    ApiError,
    Applied,
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    DeadlineExceededError,
    ErrorDetail,
    GraphQLError,
    InputProblem,
    InvalidInputError,
    JournalError,
    OutcomeUnknownError,
    ResponseError,
    api_error_class,
)
from clarus_async.provisioning.report import Outcome, OutcomeStatus, Problem
from clarus_async.reconcile.pending import LookupKey, Moment, PendingCreate
from clarus_async.resources.external_entities import NewExternalEntity
from clarus_async.resources.integrations import IntegrationChanges, IntegrationFilter, NewIntegration

# Every run draws the same examples: what fails on one machine fails on all.
quick = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
thorough = settings(quick, max_examples=60)

INT64 = st.integers(-(2**63), 2**63 - 1)

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, min_size=1, max_size=12).filter(str.strip)
any_texts = st.text(characters, max_size=12)
# Distinctive enough that it can't be part of anything else that a repr or a message says.
secrets = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=8, max_size=24).map("$3cr-{}".format)

HERE = "\x00here\x00"
"""Stands for a secret in what is drawn once and for all: strategies that are made anew for each one take long."""


def holding(shapes):
    """Pairs of a secret and one of ``shapes``, which holds it wherever it had :data:`HERE` in a text."""
    return st.tuples(secrets, shapes).map(lambda pair: (pair[0], _filled(pair[1], pair[0])))


def _filled(value, secret):
    if isinstance(value, str):
        return value.replace(HERE, secret)
    if isinstance(value, list):
        return [_filled(item, secret) for item in value]
    if isinstance(value, dict):
        return {_filled(name, secret): _filled(item, secret) for name, item in value.items()}
    return value


json_scalars = st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | any_texts


def json_of(scalars, max_leaves=8):
    """JSON values whose leaves are drawn from ``scalars``."""
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_texts, inner, max_size=3),
        max_leaves=max_leaves,
    )


json_values = json_of(json_scalars)
json_objects = st.dictionaries(any_texts, json_values, max_size=4)


@attrs.frozen
class ShopSettings:
    """A caller's own attrs class, as ``configuration`` takes any."""

    domain: str
    port: int | None = None


configurations = json_objects | st.builds(ShopSettings, domain=any_texts, port=st.none() | st.integers(0, 65535))

REFERENCES = tuple(f"external_system_reference{n}" for n in range(1, 4))
STRINGS = tuple(f"string{n}" for n in range(1, 6))

# What each attribute of a record holds, by name.
NEW_ATTRIBUTES = {
    "name": texts,
    "integration_type": texts,
    "provider": texts,
    "is_active": st.booleans(),
    "account_id": INT64,
    "warehouse_id": INT64,
    "configuration": configurations,
    **dict.fromkeys((*REFERENCES, *STRINGS), texts),
}
REQUIRED = ("name", "integration_type")


def _optional(attributes):
    return {name: values for name, values in attributes.items() if name not in REQUIRED}


new_attributes = st.fixed_dictionaries(
    {name: NEW_ATTRIBUTES[name] for name in REQUIRED}, optional=_optional(NEW_ATTRIBUTES)
)
new_integrations = new_attributes.map(lambda attributes: NewIntegration(**attributes))

change_attributes = st.fixed_dictionaries(
    {},
    optional={
        "name": texts,
        "is_active": st.none() | st.booleans(),
        "configuration": configurations,
        **dict.fromkeys(STRINGS, st.none() | texts),
    },
).filter(bool)
integration_changes = change_attributes.map(lambda attributes: IntegrationChanges(**attributes))


entity_attributes = st.fixed_dictionaries(
    {"entity_type": texts, "code": texts, "external_system_reference1": texts},
    optional={
        "description": texts,
        "integration_id": st.integers(0, 2**63 - 1),
        "external_system_reference2": texts,
        "external_system_reference3": texts,
    },
)
new_entities = entity_attributes.map(lambda attributes: NewExternalEntity(**attributes))

_one_or_more = st.none() | texts | st.lists(texts, min_size=1, max_size=3)
integration_filters = st.builds(
    IntegrationFilter,
    name=_one_or_more,
    name_contains=st.none() | texts,
    provider=_one_or_more,
    integration_type=_one_or_more,
    status=_one_or_more,
    is_active=st.none() | st.booleans(),
)

# What a server answers: any attribute of a record may be null but the name.
ANSWER_ATTRIBUTES = {
    **{name: st.none() | values for name, values in _optional(NEW_ATTRIBUTES).items()},
    "integration_type": st.none() | any_texts,
    "configuration": st.none() | json_objects,
}
answer_attributes = st.fixed_dictionaries({"name": any_texts}, optional=ANSWER_ATTRIBUTES)
ids = st.integers(0, 10**18)

moments = st.datetimes(timezones=st.just(UTC))
ROW_FIELDS = {
    "integration_provider": st.none() | any_texts,
    "integration_type": st.none() | any_texts,
    "status": st.none() | any_texts,
    "enabled": st.none() | st.booleans(),
    "external_system_reference1": st.none() | any_texts,
}
row_nodes = st.fixed_dictionaries(
    {"id": ids.map(str) | ids, "name": any_texts, "created_at": moments.map(lambda moment: moment.isoformat())},
    optional=ROW_FIELDS,
)

error_details = st.builds(
    ErrorDetail,
    code=st.none() | st.integers(0, 10**6) | any_texts,
    symbol=st.none() | any_texts,
    details=st.none() | any_texts,
    source=st.none() | any_texts,
    context=st.none() | json_objects,
)

_COMMON = {
    "applied": st.sampled_from(Applied),
    "retryable": st.booleans(),
    "retry_after": st.none() | st.floats(0, 1e6),
    "method": st.none() | st.sampled_from(["GET", "POST", "PATCH", "DELETE"]),
    "path": st.none() | st.just("/api/integrations"),
    "request_id": st.none() | any_texts,
    "attempts": st.integers(0, 100),
}
_faults = st.lists(error_details, max_size=3).map(tuple)


def _errors_of(cls, **fields):
    return st.builds(cls, any_texts, **_COMMON, **fields)


_without_cause = st.one_of(
    *map(
        _errors_of,
        (ConfigurationError, AuthenticationError, ConnectionFailedError, DeadlineExceededError, JournalError),
    ),
    _errors_of(
        InvalidInputError, problems=st.lists(st.builds(InputProblem, any_texts, any_texts), max_size=3).map(tuple)
    ),
    _errors_of(ResponseError, pointer=any_texts, expected=any_texts),
    _errors_of(GraphQLError, errors=_faults),
    *(
        _errors_of(cls, status=st.just(status), errors=_faults)
        for status in (400, 402, 403, 404, 409, 422, 429, 503)
        for cls in {api_error_class(status), ApiError}
    ),
)


on_the_clocks = st.builds(Moment, st.none() | moments, st.none(), st.none() | moments)
pending_creates = st.builds(
    PendingCreate,
    st.just("integrations"),
    st.lists(st.builds(LookupKey, texts, texts, texts), min_size=1, max_size=2),
    texts,
    first_sent=st.none() | on_the_clocks,
    settles=st.none() | on_the_clocks,
    found=st.lists(ids, max_size=3).map(tuple),
)


@st.composite
def _unknown(draw):
    error = draw(
        _errors_of(
            OutcomeUnknownError,
            sent_at=st.none() | moments,
            settled_by=st.none() | texts,
            pending=st.none() | pending_creates,
        )
    )
    error.__cause__ = draw(st.none() | _without_cause)
    return error


clarus_errors = _without_cause | _unknown()

problems = st.builds(
    Problem,
    type=texts,
    message=any_texts,
    applied=st.sampled_from(Applied),
    retryable=st.booleans(),
    status=st.none() | st.integers(400, 599),
)
outcomes = st.builds(
    Outcome,
    index=st.integers(0, 10**9),
    key=any_texts,
    status=st.sampled_from(OutcomeStatus),
    id=st.none() | ids,
    resource=st.just("integrations"),
    matched_by=st.none() | st.sampled_from(["reference", "name"]),
    error=st.none() | problems,
    attempts=st.integers(0, 100),
    others=st.lists(ids, max_size=3).map(tuple),
    unpatched=st.lists(texts, max_size=3).map(tuple),
    differs=st.lists(texts, max_size=3).map(tuple),
)
