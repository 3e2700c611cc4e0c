"""Settings of processes that read the routing document."""

from pydantic import Field, FilePath

from reprise.runtime.settings import ProcessSettings


class RoutingTrustSettings(ProcessSettings):
    """Which routing documents a process applies."""

    routing_trusted_keys_file: FilePath | None = Field(
        default=None,
        validation_alias="REPRISE_ROUTING_TRUSTED_KEYS_FILE",
        description="PEM file of Ed25519 public keys, by one of which the routing document has to be signed; read for"
        " every document. Signatures are not checked if absent.",
    )
