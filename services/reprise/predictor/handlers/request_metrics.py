"""FastAPI routes whose requests are counted and timed, those that FastAPI itself refuses among them."""

import time
from collections.abc import Awaitable, Callable

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from reprise.http.problems import INTERNAL_ERROR, INVALID_REQUEST, ProblemError
from reprise.predictor.metrics import PredictorMetrics


def counted_route(metrics: PredictorMetrics) -> type[APIRoute]:
    """Return the class of routes that count into these metrics, under their path without its parameters."""

    class CountedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
            handle = super().get_route_handler()
            endpoint = self.path.partition("/{")[0]
            took = metrics.duration.of(endpoint)

            async def counted(request: Request) -> Response:
                start = time.perf_counter()
                outcome = INTERNAL_ERROR.slug
                try:
                    response = await handle(request)
                except RequestValidationError:
                    outcome = INVALID_REQUEST.slug
                    raise
                except ProblemError as problem:
                    outcome = problem.kind.slug
                    raise
                else:
                    outcome = "ok"
                    return response
                finally:
                    metrics.requests.labels(endpoint, outcome).inc()
                    took(time.perf_counter() - start)

            return counted

    return CountedRoute
