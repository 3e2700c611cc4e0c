"""Whether the predictor and the producer are ready, over HTTP."""

from typing import Any

import httpx

from reprise.doctor.check import CheckFailedError, CheckSkippedError, Observation, Remedy

NOT_READY = Remedy("fix what it reports; it becomes ready automatically", "a-service-is-not-ready")
UNREACHABLE = Remedy(
    "see whether its pods run and what they log, and whether the address and network policy allow access",
    NOT_READY.section,
)
PREDICTIONS = Remedy("look up this response in the section", "predictions-fail")
API_KEY = Remedy(
    "give the doctor an API key that the predictor accepts (DOCTOR_API_KEY)", PREDICTIONS.section
)


class Service:
    """A service that answers ``/ready``; ``client`` has its base URL."""

    def __init__(self, name: str, client: httpx.Client) -> None:
        self.name = name
        self._client = client

    def check_ready(self) -> Observation:
        """Request ``/ready``."""
        response = self.request("GET", "/ready")
        if not response.is_success:
            raise CheckFailedError(f"{self.name} is not ready: {describe_response(response)}", NOT_READY)
        return Observation(f"{self._client.base_url} is ready")

    def request(self, method: str, path: str, content: Any = None) -> httpx.Response:
        """Return the response, of any status."""
        try:
            return self._client.request(method, path, json=content)
        except httpx.HTTPError as error:
            reason = f"{self.name} at {self._client.base_url}: {error or type(error).__name__}"
            raise CheckFailedError(reason, UNREACHABLE) from error


class Predictor(Service):
    """The predictor."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__("the predictor", client)

    def model_info(self) -> dict[str, Any]:
        """Return the body of ``/model/info``."""
        return self.request_json("GET", "/model/info")

    def request_json(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        """Return the body of a successful response."""
        response = self.request(method, path, content)
        if not response.is_success:
            remedy = API_KEY if response.status_code in {401, 403} else PREDICTIONS
            raise CheckFailedError(f"{method} {path}: {describe_response(response)}", remedy)
        body: dict[str, Any] = response.json()
        return body


def check_producer(producer: Service | None) -> Observation:
    """See whether the producer is ready, if one is configured."""
    if producer is None:
        raise CheckSkippedError(
            "no producer is configured (DOCTOR_PRODUCER_URL): the canary goes to the log directly"
        )
    return producer.check_ready()


def describe_response(response: httpx.Response) -> str:
    """Return a response's status and, of a problem document, title and detail."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and "title" in body:
        detail = body.get("detail")
        return f"{response.status_code} {body['title']}" + (f": {detail}" if detail else "")
    return f"{response.status_code} {response.text[:200]}".strip()
