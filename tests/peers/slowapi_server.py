"""slowapi in front of the origin: ``python slowapi_server.py PORT ORIGIN_PORT LIMIT STRATEGY``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator

import aiohttp
import uvicorn
from fastapi import FastAPI, Request, Response
from slowapi import Limiter, _rate_limit_exceeded_handler
from slowapi.errors import RateLimitExceeded
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address

HOP_BY_HOP = {"connection", "content-length", "date", "host", "keep-alive", "transfer-encoding"}


def application(origin: int, limit: str, strategy: str) -> FastAPI:
    limiter = Limiter(get_remote_address, default_limits=[limit], headers_enabled=True, strategy=strategy)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(auto_decompress=False) as app.state.session:
            yield

    app = FastAPI(lifespan=lifespan)
    app.state.limiter = limiter
    app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
    app.add_middleware(SlowAPIASGIMiddleware)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PATCH", "DELETE"])
    async def forward(path: str, request: Request) -> Response:
        headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
        url, body = f"http://127.0.0.1:{origin}/{path}", await request.body()
        session: aiohttp.ClientSession = app.state.session
        async with session.request(request.method, url, data=body, headers=headers) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            return Response(await answer.read(), answer.status, kept)

    return app


if __name__ == "__main__":
    port, origin, limit, strategy = sys.argv[1:]
    uvicorn.run(application(int(origin), limit, strategy), host="127.0.0.1", port=int(port), log_level="warning")
