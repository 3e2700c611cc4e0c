"""Middleware that requires an API key, and limits the rate of each key."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from reprise.http.middleware.api_keys import ApiKeys
from reprise.http.middleware.rate_limit import RateLimit
from reprise.http.problems import TOO_MANY_REQUESTS, UNAUTHENTICATED, ProblemError, retry_after

CALLER = "reprise.caller"
"""Scope entry with the name of the request's key."""

DOCS_PATH = "/docs"
_OPEN = frozenset(("/health", "/ready", DOCS_PATH, "/openapi.json"))


@dataclass(frozen=True)
class Authentication:
    """The accepted keys, and the rate limit of each; ``None`` is no limit."""

    keys: ApiKeys
    limit: RateLimit | None = None


class AuthenticationMiddleware:
    """ASGI middleware that requires an API key except for health and documentation."""

    def __init__(self, app: ASGIApp, authentication: Authentication, registry: CollectorRegistry) -> None:
        self._app = app
        self._keys = authentication.keys
        self._limit = authentication.limit
        refused = Counter(
            "reprise_http_turned_away",
            "Requests refused for a missing key or for their rate.",
            ("reason",),
            registry=registry,
        )
        self._unauthenticated = refused.labels(UNAUTHENTICATED.slug)
        self._too_many = refused.labels(TOO_MANY_REQUESTS.slug)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and is_protected(scope["path"]):
            problem = self._refusal(scope)
            if problem is not None:
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemError | None:
        caller = self._keys.caller(scope["headers"])
        if caller is None:
            self._unauthenticated.inc()
            return ProblemError(
                UNAUTHENTICATED,
                "Send an API key of this service as Authorization: Bearer or as X-API-Key.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        scope[CALLER] = caller
        seconds = self._limit.admit(caller, scope) if self._limit else 0.0
        if seconds > 0:
            self._too_many.inc()
            return ProblemError(
                TOO_MANY_REQUESTS,
                f"This key has used up its rate; try again in {seconds:.3g} s.",
                headers=retry_after(seconds),
            )
        return None


def is_protected(path: str) -> bool:
    """Return whether a path requires a key, where authentication is on."""
    return path not in _OPEN and not path.startswith(f"{DOCS_PATH}/")
