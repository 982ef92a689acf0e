"""Django: django-oauth-toolkit's token endpoint, a JSON:API by djangorestframework-jsonapi, Strawberry's view.

``python django_app.py PORT FOLDER``; LIFE is a token's, in seconds; ONE_TOKEN: a new token ends the one before.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import django
from django.conf import settings

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])

settings.configure(
    SECRET_KEY="x" * 50,
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "peer.db",
            "OPTIONS": {
                "timeout": 30,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
            },
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "oauth2_provider",
        "rest_framework",
        "rest_framework_json_api",
        "strawberry.django",
    ],
    OAUTH2_PROVIDER={
        "ACCESS_TOKEN_EXPIRE_SECONDS": int(os.environ.get("LIFE", "3600")),
        "OAUTH2_VALIDATOR_CLASS": f"{__name__}.Validator",
        "SCOPES": {"read": "read", "write": "write"},
    },
    REST_FRAMEWORK={"EXCEPTION_HANDLER": "rest_framework_json_api.exceptions.exception_handler"},
    # Tables as the models are, without the history of how they came to be.
    MIGRATION_MODULES=dict.fromkeys(("auth", "contenttypes", "oauth2_provider")),
    USE_TZ=True,
    LOGGING_CONFIG=None,
)
django.setup()

from django.core.management import call_command  # noqa: E402  Django must know its settings first
from django.core.servers.basehttp import run  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402
from oauth2_provider.contrib.rest_framework import OAuth2Authentication  # noqa: E402
from oauth2_provider.models import AccessToken, Application  # noqa: E402
from oauth2_provider.oauth2_validators import OAuth2Validator  # noqa: E402
from oauth2_provider.views import TokenView  # noqa: E402
from rest_framework import authentication, permissions  # noqa: E402
from rest_framework_json_api import parsers, renderers, serializers, views  # noqa: E402
from strawberry.django.views import GraphQLView  # noqa: E402

from tests.peers.apps import schema  # noqa: E402


class Validator(OAuth2Validator):
    def save_bearer_token(self, token, request, *args, **kwargs):
        if os.environ.get("ONE_TOKEN"):
            AccessToken.objects.filter(application=request.client).delete()
        super().save_bearer_token(token, request, *args, **kwargs)


class Integration(models.Model):
    name = models.CharField(max_length=200)
    integration_type = models.CharField(max_length=50)
    provider = models.CharField(max_length=50, null=True)
    is_active = models.BooleanField(default=True)
    configuration = models.JSONField(default=dict)
    external_system_reference1 = models.CharField(max_length=200, null=True)
    string1 = models.CharField(max_length=200, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "peer"


class IntegrationSerializer(serializers.ModelSerializer):
    class Meta:
        model = Integration
        exclude = ("created_at",)
        extra_kwargs = {name: {"required": False} for name in ("provider", "is_active", "configuration", "string1")}  # noqa: RUF012

    class JSONAPIMeta:
        resource_name = "integrations"


# The vendor's API takes and gives its JSON:API as plain JSON.
class Parser(parsers.JSONParser):
    media_type = "application/json"


class Renderer(renderers.JSONRenderer):
    media_type = "application/json"


class IntegrationViewSet(views.ModelViewSet):
    queryset = Integration.objects.order_by("id")
    serializer_class = IntegrationSerializer
    parser_classes = (Parser,)
    renderer_classes = (Renderer,)
    authentication_classes: tuple[type[authentication.BaseAuthentication], ...] = (OAuth2Authentication,)
    permission_classes = (permissions.BasePermission,)

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        # A client that stands for itself has no user, which is what IsAuthenticated would ask for.
        if request.auth is None:
            self.permission_denied(request)


@csrf_exempt
def graphql(request: HttpRequest) -> HttpResponse:
    if OAuth2Authentication().authenticate(request) is None:
        return JsonResponse({"error": "the token is not valid"}, status=401, headers={"WWW-Authenticate": "Bearer"})
    return GraphQLView.as_view(schema=schema.schema)(request)


@csrf_exempt
def login(request: HttpRequest) -> HttpResponse:
    """End the API's session, as somebody does who logs in on the front end."""
    AccessToken.objects.all().delete()
    return HttpResponse(status=204)


urlpatterns = [
    path("oauth/token", TokenView.as_view()),
    path("api/integrations", IntegrationViewSet.as_view({"post": "create"})),
    path("api/integrations/<int:pk>", IntegrationViewSet.as_view({"patch": "partial_update", "delete": "destroy"})),
    path("graphql", graphql),
    path("login", login),
]


def main() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)
    with connection.schema_editor() as editor:
        editor.create_model(Integration)
    schema.records = lambda: Integration.objects.order_by("id")
    Application.objects.create(
        client_id="peer",
        client_secret=os.environ.get("SECRET", "secret"),
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_CLIENT_CREDENTIALS,
    )
    connection.close()
    run("127.0.0.1", PORT, get_wsgi_application(), threading=True)


if __name__ == "__main__":
    main()
