"""The documentation's service of aiohttp.web."""

import math
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from clarus_async import ClarusClient, ClarusError, NewIntegration, OutcomeUnknownError, PacingPolicy, Timeouts

CLARUS = web.AppKey("clarus", ClarusClient)
STATUS = {
    "InvalidInputError": 422,
    "ValidationError": 422,
    "NotFoundError": 404,
    "ConflictError": 409,
    "RateLimitedError": 503,
    "ConnectionFailedError": 503,
    "DeadlineExceededError": 504,
    "OutcomeUnknownError": 504,
}


async def clarus(app: web.Application) -> AsyncIterator[None]:
    async with ClarusClient.from_env(pacing=PacingPolicy(max_wait=5.0)) as app[CLARUS]:
        yield


def view(request: web.Request) -> ClarusClient:
    try:
        timeouts = Timeouts(deadline=min(float(request.headers.get("X-Request-Timeout", 20)), 60.0))
        return request.app[CLARUS].for_subdomain(request.headers.get("X-Tenant", "")).with_options(timeouts=timeouts)
    except ValueError as error:  # ours are ValueErrors, too
        raise web.HTTPUnprocessableEntity(text=str(error)) from error


async def create(request: web.Request) -> web.Response:
    new = NewIntegration(name=request.match_info["name"], integration_type="shopify")
    shop = await view(request).integrations.create(new)
    return web.json_response({"id": shop.id, "name": shop.name})


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ClarusError as error:
        body: dict[str, object] = {"error": type(error).__name__, "detail": str(error), "applied": error.applied}
        if isinstance(error, OutcomeUnknownError):
            body |= {"settled_by": error.settled_by, "settles_at": str(error.settles_at)}
        headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
        return web.json_response(body, status=STATUS.get(type(error).__name__, 502), headers=headers)


def make_app(argv: list[str] | None = None) -> web.Application:
    app = web.Application(middlewares=[errors])
    app.cleanup_ctx.append(clarus)
    app.router.add_post("/shops/{name}", create)
    return app
