"""Reading and changing ``ModelRollout`` resources."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from reprise.trainer.exceptions import RolloutConflictError, RolloutUnavailableError

_GROUP, _VERSION, _PLURAL = "reprise.dev", "v1alpha1", "modelrollouts"
_CONFLICT = 409
_SECONDS = 30
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class RolloutApi(Protocol):
    """What the trainer asks of the API server."""

    def get(self, namespace: str, name: str) -> dict[str, Any]:
        """Return a resource.

        Raises:
            RolloutUnavailableError: There is none of this name, or it could not be read.
        """

    def patch(self, namespace: str, name: str, body: Mapping[str, Any]) -> None:
        """Apply a JSON merge patch.

        Raises:
            RolloutConflictError: The resource has changed since the version that the patch names.
            RolloutUnavailableError: The server refused, or did not answer.
        """


class KubernetesRollouts:
    """The API server of the cluster that this runs in, or of the present context of the kubeconfig.

    Raises:
        RolloutUnavailableError: There is neither.
    """

    def __init__(self) -> None:
        # the client takes a second to import, and only a training for a rollout needs it
        from kubernetes import client, config  # noqa: PLC0415

        try:
            config.load_incluster_config()
        except config.ConfigException:
            try:
                config.load_kube_config()
            except config.ConfigException as error:
                raise RolloutUnavailableError("connect to Kubernetes", str(error)) from error
        self._api = client.CustomObjectsApi()

    def get(self, namespace: str, name: str) -> dict[str, Any]:
        """See ``RolloutApi``."""
        with _converted(f"read ModelRollout {namespace}/{name}"):
            found: dict[str, Any] = self._api.get_namespaced_custom_object(
                _GROUP, _VERSION, namespace, _PLURAL, name, _request_timeout=_SECONDS
            )
        return found

    def patch(self, namespace: str, name: str, body: Mapping[str, Any]) -> None:
        """See ``RolloutApi``."""
        with _converted(f"change ModelRollout {namespace}/{name}"):
            self._api.patch_namespaced_custom_object(
                _GROUP,
                _VERSION,
                namespace,
                _PLURAL,
                name,
                dict(body),
                field_manager="reprise-trainer",
                _content_type="application/merge-patch+json",
                _request_timeout=_SECONDS,
            )


def rollout_name(text: str) -> tuple[str, str]:
    """Return namespace and name of ``name`` or ``namespace/name``; without one, the pod's own, or ``default``."""
    namespace, _, name = text.rpartition("/")
    if not namespace:
        namespace = _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.is_file() else "default"
    return namespace, name


class _converted:  # noqa: N801 (reads as a function)
    """Converts what the client raises inside the block to this package's errors."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from kubernetes.client import ApiException  # noqa: PLC0415
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        if isinstance(error, ApiException):
            if error.status == _CONFLICT:
                raise RolloutConflictError(self._doing, str(error.reason)) from error
            raise RolloutUnavailableError(self._doing, f"{error.status} {error.reason}") from error
        if isinstance(error, HTTPError):
            raise RolloutUnavailableError(self._doing, str(error)) from error
