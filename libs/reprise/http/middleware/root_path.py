"""Requests below a path prefix, from proxies that keep it and from those that remove it."""

from starlette.types import ASGIApp, Receive, Scope, Send


class RootPathMiddleware:
    """ASGI middleware that removes a prefix from the path of a request, so that all others see the API's own paths.

    The prefix alone is ``/``. A path that does not begin with the prefix stays, such as those of probes and of proxies
    that have removed it. ``raw_path`` stays as the client sent it.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._prefix = f"{root_path}/"
        self._length = len(root_path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and f"{scope['path']}/".startswith(self._prefix):
            scope["path"] = scope["path"][self._length :] or "/"
        await self._app(scope, receive, send)
