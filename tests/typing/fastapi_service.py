"""The documentation's service of FastAPI."""

import contextlib
import math
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse

from clarus_async import ClarusClient, ClarusError, NewIntegration, OutcomeUnknownError, PacingPolicy, Timeouts

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


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with ClarusClient.from_env(pacing=PacingPolicy(max_wait=5.0)) as app.state.clarus:
        yield


app = FastAPI(lifespan=lifespan)


async def view(  # async, for FastAPI runs what is not in a thread; which tenant may be whose is yours to check
    request: Request,
    x_tenant: Annotated[str, Header(pattern="^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")],
    x_request_timeout: Annotated[float, Header(gt=0, le=60)] = 20.0,
) -> ClarusClient:
    clarus: ClarusClient = request.app.state.clarus
    return clarus.for_subdomain(x_tenant).with_options(timeouts=Timeouts(deadline=x_request_timeout))


@app.post("/shops/{name}")
async def create(name: str, clarus: Annotated[ClarusClient, Depends(view)]) -> dict[str, object]:
    shop = await clarus.integrations.create(NewIntegration(name=name, integration_type="shopify"))
    return {"id": shop.id, "name": shop.name}


@app.exception_handler(ClarusError)
async def answer(request: Request, error: ClarusError) -> JSONResponse:
    body: dict[str, object] = {"error": type(error).__name__, "detail": str(error), "applied": error.applied}
    if isinstance(error, OutcomeUnknownError):
        body |= {"settled_by": error.settled_by, "settles_at": str(error.settles_at)}
    headers = {} if error.retry_after is None else {"Retry-After": str(math.ceil(error.retry_after))}
    return JSONResponse(body, STATUS.get(type(error).__name__, 502), headers)
