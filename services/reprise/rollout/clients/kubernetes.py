"""The parts of the Kubernetes API that the operator uses."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from reprise.rollout.exceptions import ClusterError, ConflictError
from reprise.rollout.resource.crd import GROUP, KIND, PLURAL, VERSION
from reprise.rollout.resource.status import ResourceEvent

_TIMEOUT = (2.0, 10.0)


@dataclass(frozen=True, slots=True)
class Resource:
    """A ``ModelRollout`` as the API server returns it; ``spec`` and ``status`` are not validated.

    A write checks ``version`` for conflicts; ``generation`` increases with each change of the spec.
    """

    namespace: str
    name: str
    uid: str
    version: str
    generation: int
    annotations: Mapping[str, str]
    deleting: bool
    spec: Any
    status: Any

    @property
    def key(self) -> str:
        """The name in routing documents, namespace/name."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Pod:
    """A ready predictor; ``url`` is ``None`` if no container has a port of the configured name."""

    name: str
    url: str | None


class KubernetesClient:
    """What a reconciliation needs of the Kubernetes API.

    Every call raises ``ClusterError`` if the API server is unavailable, does not know the resource, or refuses.
    ``selector`` selects the predictors, and ``port_name`` is their container port that serves ``GET /routing``.
    """

    def __init__(self, api: client.ApiClient, *, namespace: str, selector: str, port_name: str) -> None:
        self._objects = client.CustomObjectsApi(api)
        self._core = client.CoreV1Api(api)
        self._events = client.EventsV1Api(api)
        self._namespace = namespace
        self._selector = selector
        self._port_name = port_name

    def rollout(self, namespace: str, name: str) -> Resource | None:
        """Return a resource, ``None`` if it does not exist."""
        try:
            with _cluster_errors(f"read {PLURAL}/{name} in {namespace}"):
                found = self._objects.get_namespaced_custom_object(
                    GROUP, VERSION, namespace, PLURAL, name, _request_timeout=_TIMEOUT
                )
        except ClusterError as error:
            if isinstance(error.__cause__, ApiException) and error.__cause__.status == 404:
                return None
            raise
        return _resource(found)

    def rollouts(self) -> tuple[Resource, ...]:
        """Return all rollouts of the namespace."""
        with _cluster_errors(f"list {PLURAL}.{GROUP} in {self._namespace}"):
            found = self._objects.list_namespaced_custom_object(
                GROUP, VERSION, self._namespace, PLURAL, _request_timeout=_TIMEOUT
            )
        return tuple(map(_resource, found["items"]))

    def pods(self) -> tuple[Pod, ...]:
        """Return the ready predictors."""
        with _cluster_errors(f"list pods with {self._selector} in {self._namespace}"):
            listed = self._core.list_namespaced_pod(
                self._namespace,
                label_selector=self._selector,
                resource_version="0",
                _request_timeout=_TIMEOUT,
            )
        return tuple(Pod(pod.metadata.name, self._url(pod)) for pod in listed.items if _is_ready(pod))

    def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """Replace the status; raise ``ConflictError`` if the resource has changed since it was read."""
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "metadata": {
                "name": resource.name,
                "namespace": resource.namespace,
                "uid": resource.uid,
                "resourceVersion": resource.version,
                "annotations": dict(resource.annotations),
            },
            "spec": resource.spec,
            "status": status,
        }
        with _cluster_errors(f"write the status of {resource.key}"):
            self._objects.replace_namespaced_custom_object_status(
                GROUP, VERSION, resource.namespace, PLURAL, resource.name, body, _request_timeout=_TIMEOUT
            )

    def remove_annotations(self, resource: Resource, names: Sequence[str]) -> None:
        """Remove annotations that were handled."""
        body = {"metadata": {"annotations": dict.fromkeys(names)}}
        with _cluster_errors(f"remove annotations of {resource.key}"):
            self._objects.patch_namespaced_custom_object(
                GROUP, VERSION, resource.namespace, PLURAL, resource.name, body, _request_timeout=_TIMEOUT
            )

    def emit_event(self, resource: Resource, event: ResourceEvent) -> None:
        """Create an event on a resource."""
        with _cluster_errors(f"create an event on {resource.key}"):
            self._events.create_namespaced_event(
                resource.namespace, build_event(resource, event, datetime.now(UTC)), _request_timeout=_TIMEOUT
            )

    def _url(self, pod: Any) -> str | None:
        for container in pod.spec.containers:
            for port in container.ports or ():
                if port.name == self._port_name:
                    host = f"[{pod.status.pod_ip}]" if ":" in pod.status.pod_ip else pod.status.pod_ip
                    return f"http://{host}:{port.container_port}"
        return None


def connect() -> client.ApiClient:
    """Return a client for the cluster that this process runs in, or else of the kubeconfig.

    Raises:
        ClusterError: There is neither.
    """
    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except ConfigException:
        try:
            config.load_kube_config(client_configuration=configuration)
        except ConfigException as error:
            raise ClusterError(f"no cluster: not inside one, and no kubeconfig ({error})") from error
    configuration.retries = False
    return client.ApiClient(configuration)


def build_event(resource: Resource, event: ResourceEvent, now: datetime) -> dict[str, Any]:
    """Return the manifest of an event."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{resource.name[:50]}-", "namespace": resource.namespace},
        "eventTime": now.isoformat(timespec="microseconds"),
        "reportingController": f"{GROUP}/rollout",
        "reportingInstance": "reprise-rollout",
        "type": event.type,
        "reason": event.reason,
        "action": event.reason,
        "note": event.message[:1024],
        "regarding": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "name": resource.name,
            "namespace": resource.namespace,
            "uid": resource.uid,
        },
    }


def _resource(found: Mapping[str, Any]) -> Resource:
    metadata = found["metadata"]
    return Resource(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        annotations=metadata.get("annotations") or {},
        deleting="deletionTimestamp" in metadata,
        spec=found.get("spec"),
        status=found.get("status"),
    )


def _is_ready(pod: Any) -> bool:
    if pod.metadata.deletion_timestamp is not None or not pod.status.pod_ip:
        return False
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())


@contextmanager
def _cluster_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except ApiException as error:
        kind = ConflictError if error.status == 409 else ClusterError
        raise kind(f"{doing}: the API server answers {error.status} {error.reason}") from error
    except (HTTPError, OSError) as error:
        raise ClusterError(f"{doing}: the API server does not answer: {error}") from error
