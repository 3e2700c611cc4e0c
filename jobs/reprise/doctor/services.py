"""The predictor and the producer, over HTTP."""

from typing import Any

import httpx

from reprise.doctor.check import Seen
from reprise.doctor.exceptions import CheckFailedError, CheckSkippedError

SECTION = "a-service-is-not-ready"
PREDICTIONS_SECTION = "predictions-fail"
ADVICE = "see whether its pods run and what they log, and whether the address and network policy lead there"


class Service:
    """A service that answers ``/ready``.

    Args:
        name: What it is called.
        client: Knows its address.
    """

    def __init__(self, name: str, client: httpx.Client) -> None:
        self.name = name
        self._client = client

    def look(self) -> Seen:
        """See whether it takes requests.

        Raises:
            CheckFailedError: It does not, or is not there.
        """
        answer = self.ask("GET", "/ready")
        if not answer.is_success:
            reason = f"{self.name} is not ready: {said(answer)}"
            raise CheckFailedError(reason, "mend what it says; it becomes ready by itself", SECTION)
        return Seen(f"{self._client.base_url} is ready")

    def ask(self, method: str, path: str, content: Any = None) -> httpx.Response:
        """Return the answer to a request, whatever it is.

        Raises:
            CheckFailedError: There is none.
        """
        try:
            return self._client.request(method, path, json=content)
        except httpx.HTTPError as error:
            reason = f"{self.name} at {self._client.base_url}: {error or type(error).__name__}"
            raise CheckFailedError(reason, ADVICE, SECTION) from error


class Predictor(Service):
    """The predictor."""

    def __init__(self, client: httpx.Client) -> None:
        super().__init__("the predictor", client)

    def model_info(self) -> dict[str, Any]:
        """Return what it says of its model.

        Raises:
            CheckFailedError: It says nothing.
        """
        return self.expect("GET", "/model/info")

    def expect(self, method: str, path: str, content: Any = None) -> dict[str, Any]:
        """Return what is answered to a request that should succeed.

        Raises:
            CheckFailedError: It does not.
        """
        answer = self.ask(method, path, content)
        if not answer.is_success:
            advice = (
                "give the doctor an API key that the predictor takes (DOCTOR_API_KEY)"
                if answer.status_code in {401, 403}
                else "look up this answer in the section"
            )
            raise CheckFailedError(f"{method} {path}: {said(answer)}", advice, PREDICTIONS_SECTION)
        body: dict[str, Any] = answer.json()
        return body


def look_at_producer(producer: Service | None) -> Seen:
    """See whether the producer takes events.

    Raises:
        CheckFailedError: It does not.
        CheckSkippedError: There is none.
    """
    if producer is None:
        raise CheckSkippedError(
            "no producer is named (DOCTOR_PRODUCER_URL): the canary goes to the log directly"
        )
    return producer.look()


def said(answer: httpx.Response) -> str:
    """Return an answer's status and, of a problem document, what it says."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and "title" in body:
        detail = body.get("detail")
        return f"{answer.status_code} {body['title']}" + (f": {detail}" if detail else "")
    return f"{answer.status_code} {answer.text[:200]}".strip()
