"""Flask: Authlib's token endpoint, a JSON:API by marshmallow-jsonapi, whose ids are strings, Strawberry's view.

``python flask_app.py PORT``; LIFE is a token's, in seconds; ONE_TOKEN: a new token ends the one before; METHODS: how
the client may authenticate (client_secret_post, client_secret_basic); REFRESH: the refresh token that is good.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import time
import types
from datetime import UTC, datetime
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc6750 import BearerTokenValidator
from flask import Flask, jsonify, request
from marshmallow import ValidationError, validate
from marshmallow_jsonapi import Schema, fields
from strawberry.flask.views import GraphQLView
from werkzeug.serving import WSGIRequestHandler

from tests.peers.apps import schema

LIFE = int(os.environ.get("LIFE", "3600"))
METHODS = os.environ.get("METHODS", "client_secret_post client_secret_basic").split()


class Client(ClientMixin):
    def get_client_id(self):
        return "peer"

    def get_allowed_scope(self, scope):
        return scope or ""

    def check_client_secret(self, client_secret):
        return client_secret == os.environ.get("SECRET", "secret")

    def check_endpoint_auth_method(self, method, endpoint):
        return method in METHODS

    def check_grant_type(self, grant_type):
        return grant_type in {"client_credentials", "refresh_token"}


CLIENT = Client()


@dataclasses.dataclass
class Token(TokenMixin):
    access_token: str
    refresh_token: str | None
    until: float
    revoked: bool = False
    scope: str = ""

    def check_client(self, client):
        return client is CLIENT

    def get_scope(self):
        return self.scope

    def get_expires_in(self):
        return LIFE

    def is_expired(self):
        return time.time() >= self.until

    def is_revoked(self):
        return self.revoked

    def get_user(self):
        return "somebody"

    def get_client(self):
        return CLIENT


tokens: dict[str, Token] = {}
refreshing: dict[str, Token] = {}


def save_token(token: dict[str, Any], asked: Any) -> None:
    if os.environ.get("ONE_TOKEN"):
        tokens.clear()
    saved = Token(token["access_token"], token.get("refresh_token"), time.time() + LIFE)
    tokens[saved.access_token] = saved
    if saved.refresh_token is not None:
        refreshing[saved.refresh_token] = saved


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS


class Refresh(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = METHODS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        return refreshing.get(refresh_token)

    def authenticate_user(self, refresh_token):
        return "somebody"

    def revoke_old_credential(self, refresh_token):
        refreshing.pop(refresh_token.refresh_token, None)


class Validator(BearerTokenValidator):
    def authenticate_token(self, token_string):
        return tokens.get(token_string)


app = Flask(__name__)
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": LIFE, "refresh_token": LIFE}
server = AuthorizationServer(app, query_client=lambda name: CLIENT if name == "peer" else None, save_token=save_token)
server.register_grant(ClientCredentials)
server.register_grant(Refresh)
protected = ResourceProtector()
protected.register_token_validator(Validator())


class Resource(Schema):
    id = fields.Str()
    name = fields.Str(required=True, validate=validate.Length(min=1))
    integration_type = fields.Str(required=True)
    provider = fields.Str(allow_none=True)
    is_active = fields.Bool(allow_none=True)
    configuration = fields.Dict()
    external_system_reference1 = fields.Str(allow_none=True)
    string1 = fields.Str(allow_none=True)

    class Meta:
        type_ = "integrations"


class Record(types.SimpleNamespace):
    provider = external_system_reference1 = None
    is_active = True


records: dict[int, Record] = {}
numbers = itertools.count(1)
schema.records = lambda: list(records.values())


@app.errorhandler(ValidationError)
def invalid(error):
    return jsonify(error.messages), 422


@app.post("/oauth/token")
def issue_token():
    return server.create_token_response()


@app.post("/login")
def login():
    """End the API's session, as somebody does who logs in on the front end."""
    tokens.clear()
    return "", 204


@app.post("/api/integrations")
@protected()
def create():
    record = Record(**Resource().load(request.get_json()), id=next(numbers), created_at=datetime.now(UTC))
    records[record.id] = record
    return jsonify(Resource().dump(record)), 201


@app.patch("/api/integrations/<int:number>")
@protected()
def update(number):
    if number not in records:
        return jsonify(errors=[{"status": "404", "title": "Not Found", "detail": "no such integration"}]), 404
    changes = Resource(partial=True).load(request.get_json())
    if changes.pop("id", None) != str(number):
        return jsonify(errors=[{"status": "409", "title": "Conflict", "source": {"pointer": "/data/id"}}]), 409
    vars(records[number]).update(changes)
    return jsonify(Resource().dump(records[number]))


@app.delete("/api/integrations/<int:number>")
@protected()
def delete(number):
    records.pop(number, None)
    return "", 204


app.add_url_rule(
    "/graphql", view_func=protected()(GraphQLView.as_view("graphql", schema=schema.schema)), methods=["POST"]
)


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    if refresh := os.environ.get("REFRESH"):
        refreshing[refresh] = Token("", refresh, 0)
    app.run("127.0.0.1", int(sys.argv[1]), threaded=True, request_handler=Handler)
