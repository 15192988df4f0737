"""The application: gunicorn and the tests start `create_app()`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from metseg.settings import Settings
from metseg.settings import settings as settings_of_process
from metseg_api import __version__, openapi, problems
from metseg_api.gateway import open_gateway
from metseg_api.middleware import GatewayMiddleware
from metseg_api.routes import follow_ups, jobs, models, overview, reports, results, reviews, service, volumes


def create_app(settings: Settings | None = None) -> FastAPI:
    """The gateway's application.

    Args:
        settings: None: those of the environment.
    """
    chosen = settings or settings_of_process()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_gateway(chosen) as gateway:
            app.state.gateway = gateway
            yield

    app = FastAPIOffline(
        redoc_url=None,
        redirect_slashes=False,  # such a redirect would lead to whatever Host the request names
        title="metseg",
        version=__version__,
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
    )
    problems.add_exception_handlers(app)
    openapi.extend_schema(app)
    for each in (jobs, follow_ups, results, volumes, reports, reviews, models, overview, service):
        app.include_router(each.router)
    app.add_middleware(GatewayMiddleware, settings=chosen)
    return app
