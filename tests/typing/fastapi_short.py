"""The README's service."""

import contextlib
from collections.abc import AsyncGenerator

from fastapi import FastAPI, Request

from clarus_async import ClarusClient, NewIntegration, PacingPolicy, Timeouts


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with ClarusClient.from_env(pacing=PacingPolicy(max_wait=5.0)) as app.state.clarus:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/{tenant}/shops/{name}")
async def create(request: Request, tenant: str, name: str) -> dict[str, object]:
    client: ClarusClient = request.app.state.clarus
    clarus = client.for_subdomain(tenant).with_options(timeouts=Timeouts(deadline=20.0))
    shop = await clarus.integrations.create(NewIntegration(name=name, integration_type="shopify"))
    return {"id": shop.id, "name": shop.name}
