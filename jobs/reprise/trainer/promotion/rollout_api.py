"""``ModelRollout`` resources of the Kubernetes API."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from reprise.trainer.exceptions import RolloutConflictError, RolloutUnavailableError

_RESOURCE: dict[str, Any] = {"group": "reprise.dev", "version": "v1alpha1", "plural": "modelrollouts"}
_CONFLICT = 409
_TIMEOUT_SECONDS = 30
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class RolloutApi(Protocol):
    """The calls of the API server that the trainer makes, for one ``ModelRollout``."""

    name: str  # namespace/name

    def get(self) -> dict[str, Any]:
        """Return the resource.

        Raises:
            RolloutUnavailableError: It does not exist, or could not be read.
        """

    def patch(self, body: Mapping[str, Any]) -> None:
        """Apply a JSON merge patch.

        Raises:
            RolloutConflictError: The resource has changed since the version that the patch names.
            RolloutUnavailableError: The server refused, or did not answer.
        """


class KubernetesRollout:
    """A rollout, ``name`` or ``namespace/name``, of the cluster that this runs in or of the kubeconfig's context.

    Raises:
        RolloutUnavailableError: There is neither.
    """

    def __init__(self, text: str) -> None:
        # the client takes a second to import, and only a training for a rollout needs it
        from kubernetes import client, config  # noqa: PLC0415

        namespace, name = rollout_name(text)
        self.name = f"{namespace}/{name}"
        try:
            config.load_incluster_config()
        except config.ConfigException:
            try:
                config.load_kube_config()
            except config.ConfigException as error:
                raise RolloutUnavailableError("connect to Kubernetes", str(error)) from error
        self._api = client.CustomObjectsApi()
        self._call = {**_RESOURCE, "namespace": namespace, "name": name, "_request_timeout": _TIMEOUT_SECONDS}

    def get(self) -> dict[str, Any]:
        """See ``RolloutApi``."""
        with _converted_errors(f"read ModelRollout {self.name}"):
            found: dict[str, Any] = self._api.get_namespaced_custom_object(**self._call)
        return found

    def patch(self, body: Mapping[str, Any]) -> None:
        """See ``RolloutApi``."""
        merge = {"field_manager": "reprise-trainer", "_content_type": "application/merge-patch+json"}
        with _converted_errors(f"change ModelRollout {self.name}"):
            self._api.patch_namespaced_custom_object(**self._call, **merge, body=dict(body))


def rollout_name(text: str) -> tuple[str, str]:
    """Return namespace and name of ``name`` or ``namespace/name``; the default is the pod's own, or ``default``."""
    namespace, _, name = text.rpartition("/")
    if not namespace:
        namespace = _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.is_file() else "default"
    return namespace, name


@contextmanager
def _converted_errors(operation: str) -> Iterator[None]:
    from kubernetes.client import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        yield
    except ApiException as error:
        if error.status == _CONFLICT:
            raise RolloutConflictError(operation, str(error.reason)) from error
        raise RolloutUnavailableError(operation, f"{error.status} {error.reason}") from error
    except HTTPError as error:
        raise RolloutUnavailableError(operation, str(error)) from error
