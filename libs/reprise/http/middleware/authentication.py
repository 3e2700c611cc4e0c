"""API keys, the middleware that requires one, and the rate limit of each.

A key is a random string of at least 128 bits, so its SHA-256 digest cannot be reversed by guessing and needs neither
salt nor a slow hash.
"""

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from prometheus_client import CollectorRegistry, Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from reprise.http.exceptions import InvalidKeysError
from reprise.http.problems import FORBIDDEN, TOO_MANY_REQUESTS, UNAUTHENTICATED, ProblemError, retry_after
from reprise.runtime.logs import get_logger
from reprise.runtime.settings import KeySettings

CALLER = "reprise.caller"
"""Scope entry with the name of the request's key."""

LACKED_SCOPE = "reprise.lacked_scope"
"""Scope entry with the scope that the request's key lacks, if it lacks one."""

DOCS_PATH = "/docs"
_OPEN = frozenset(("/health", "/ready", DOCS_PATH, "/openapi.json"))
_LIMIT = "reprise.rate_limit"
_SCOPES = {
    "predict": "predict",
    "rank": "predict",
    "users": "predict",
    "features": "features",
    "events": "events",
}
"""The scope that a path needs, by its first segment; other paths need any key."""
_ALL_SCOPES = frozenset(_SCOPES.values())
_ENTRY = re.compile(
    r"(?:(?P<name>[A-Za-z0-9._-]{1,64})[:\s]\s*)?(?P<digest>[0-9a-fA-F]{64})(?:[:\s]\s*(?P<scopes>[a-z+]+))?"
)
_BEARER = b"bearer "
_REFRESH_SECONDS = 2.0
_REFUSALS_PER_SECOND = 1.0
_REFUSAL_BURST = 20.0
_MAX_BUCKETS = 10_000
_log = get_logger(__name__)


class Caller(NamedTuple):
    """Who a key belongs to, and what it may be used for."""

    name: str
    scopes: frozenset[str]


class ApiKeys:
    """The accepted keys; several at once allow rotation.

    An entry is ``sha256hex`` or ``name:sha256hex``; ``:predict+features`` after it limits the key to these scopes
    (``predict``, ``features``, ``events``; all if absent). Keys of one name belong to one caller: they share its rate
    limit, and logs show the name. A key without a name is named by the first 8 digits of its digest. ``file`` has an
    entry a line and ``#`` comments. It raises ``InvalidKeysError`` if an entry is malformed, there is none, or the file
    is unreadable. A file that is emptied later revokes its keys.
    """

    def __init__(self, entries: Iterable[str], file: Path | None = None) -> None:
        self._fixed = _parse(entries, "the list of API keys")
        self._file = file
        self._keys = self._load()
        if not self._keys:
            raise InvalidKeysError(
                f"{file or 'the list of API keys'} holds no key, so every request would be refused"
            )

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller | None:
        """Return whose key is in ``Authorization: Bearer`` or ``X-API-Key``; ``None`` if no key is accepted."""
        for name, value in headers:
            if name == b"x-api-key":
                key = value
            elif name == b"authorization" and value[:7].lower() == _BEARER:
                key = value[7:]
            else:
                continue
            digest = hashlib.sha256(key.strip()).digest()
            # Every key is compared in constant time, so that the duration does not depend on which one matches.
            matching = [known for known in self._keys if hmac.compare_digest(known, digest)]
            if matching:
                return self._keys[matching[0]]
        return None

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Read the file again every two seconds meanwhile; a malformed file changes nothing."""

        async def refresh() -> None:
            while self._file is not None:
                await asyncio.sleep(_REFRESH_SECONDS)
                self.refresh()

        task = asyncio.create_task(refresh())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def refresh(self) -> None:
        """Read the file again."""
        try:
            keys = self._load()
        except InvalidKeysError as error:
            _log.error("api_keys_refused", reason=str(error), still_accepted=len(self._keys))
            return
        if keys != self._keys:
            self._keys = keys
            _log.info("api_keys_loaded", keys=len(keys))

    def _load(self) -> dict[bytes, Caller]:
        keys = self._fixed
        if self._file is not None:
            try:
                text = self._file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidKeysError(f"{self._file} cannot be read: {error}") from error
            lines = (line.partition("#")[0].strip() for line in text.splitlines())
            keys = keys | _parse((line for line in lines if line), str(self._file))
        return keys


def _parse(entries: Iterable[str], where: str) -> dict[bytes, Caller]:
    keys: dict[bytes, Caller] = {}
    for number, entry in enumerate(entries, 1):
        match = _ENTRY.fullmatch(entry.strip())
        if match is None:
            # The entry may be a key itself, so the message does not show it.
            raise InvalidKeysError(
                f"{where}: entry {number} is neither sha256hex nor name:sha256hex, with or without :scope+scope"
            )
        scopes = frozenset(match["scopes"].split("+")) if match["scopes"] else _ALL_SCOPES
        if unknown := scopes - _ALL_SCOPES:
            expected = ", ".join(sorted(_ALL_SCOPES))
            raise InvalidKeysError(
                f"{where}: entry {number} has the scope {min(unknown)!r}; expected {expected}"
            )
        digest = match["digest"].lower()
        keys[bytes.fromhex(digest)] = Caller(match["name"] or digest[:8], scopes)
    return keys


class RateLimit:
    """A token bucket for each caller (https://en.wikipedia.org/wiki/Token_bucket).

    It gains ``rate`` tokens a second, up to ``burst``; it may be overdrawn, and then refills first. Beyond ten thousand
    callers, the one that has asked for nothing longest is forgotten.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def admit(self, caller: str) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        now = self._clock()
        tokens, filled_at = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - filled_at) * self._rate)
        admitted = tokens >= 1
        self._buckets[caller] = tokens - admitted, now
        if len(self._buckets) > _MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if admitted else (1 - tokens) / self._rate

    def charge(self, caller: str, tokens: float) -> None:
        """Take tokens for an admitted request that costs more than one, even if the bucket is empty."""
        left, filled_at = self._buckets[caller]
        self._buckets[caller] = left - tokens, filled_at


def charge(scope: Scope, units: int) -> None:
    """Charge a request for its units beyond the first, which admission charged."""
    limit: RateLimit | None = scope.get(_LIMIT)
    if limit is not None and units > 1:
        limit.charge(scope[CALLER], units - 1)


@dataclass(frozen=True)
class Authentication:
    """The accepted keys, and the rate limit of each; ``None`` is no limit."""

    keys: ApiKeys
    limit: RateLimit | None = None

    @classmethod
    def of(cls, settings: KeySettings) -> Self | None:
        """Return the authentication of these settings, or None without keys; raises ``InvalidKeysError``."""
        if not settings.api_keys and settings.api_keys_file is None:
            return None
        rate = settings.rate_limit
        return cls(
            ApiKeys(settings.api_keys, settings.api_keys_file),
            None if rate is None else RateLimit(rate, settings.rate_burst),
        )


class AuthenticationMiddleware:
    """ASGI middleware that requires an API key except for health and documentation.

    A peer whose requests without a key are too many is answered 429 instead of 401.
    """

    def __init__(self, app: ASGIApp, authentication: Authentication, registry: CollectorRegistry) -> None:
        self._app = app
        self._keys = authentication.keys
        self._limit = authentication.limit
        self._refusals = RateLimit(_REFUSALS_PER_SECOND, _REFUSAL_BURST)
        self._refused = Counter(
            "reprise_http_turned_away",
            "Requests refused for a missing key, a missing scope or their rate.",
            ("reason",),
            registry=registry,
        )
        for kind in (UNAUTHENTICATED, FORBIDDEN, TOO_MANY_REQUESTS):
            self._refused.labels(kind.slug)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and is_protected(scope["path"]):
            problem = self._refusal(scope)
            if problem is not None:
                self._refused.labels(problem.kind.slug).inc()
                await problem.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ProblemError | None:
        caller = self._keys.caller(scope["headers"])
        if caller is None:
            peer = scope["client"][0] if scope.get("client") else ""
            if seconds := self._refusals.admit(peer):
                detail = (
                    f"Too many requests of this address had no accepted key; try again in {seconds:.3g} s."
                )
                return ProblemError(TOO_MANY_REQUESTS, detail, headers=retry_after(seconds))
            return ProblemError(
                UNAUTHENTICATED,
                "Send an API key of this service as Authorization: Bearer or as X-API-Key.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        scope[CALLER] = caller.name
        if self._limit is not None:
            scope[_LIMIT] = self._limit
            if seconds := self._limit.admit(caller.name):
                detail = f"This key has used up its rate; try again in {seconds:.3g} s."
                return ProblemError(TOO_MANY_REQUESTS, detail, headers=retry_after(seconds))
        needed = _SCOPES.get(scope["path"].lstrip("/").partition("/")[0])
        if needed is None or needed in caller.scopes:
            return None
        scope[LACKED_SCOPE] = needed
        return ProblemError(FORBIDDEN, f"This key lacks the scope {needed}.")


def is_protected(path: str) -> bool:
    """Return whether a path requires a key, where authentication is on."""
    return path not in _OPEN and not path.startswith(f"{DOCS_PATH}/")
