"""Settings of processes that load model bundles."""

from pathlib import Path

from pydantic import Field, FilePath

from reprise.bundle.store import BundleStore
from reprise.runtime.settings import ProcessSettings


class ModelStoreSettings(ProcessSettings):
    """Address of the model store."""

    model_store: str = Field(
        default="models",
        min_length=1,
        validation_alias="MODEL_STORE",
        description="Model store: a folder, or an fsspec URL such as s3://bucket/models.",
    )


class TrustSettings(ProcessSettings):
    """Which bundles a process loads."""

    trusted_keys_file: FilePath | None = Field(
        default=None,
        validation_alias="REPRISE_TRUSTED_KEYS_FILE",
        description="PEM file of Ed25519 public keys, by one of which a model bundle has to be signed; read at every"
        " load. Signatures are not checked if absent.",
    )

    def open_models(self, url: str, signing_key_file: Path | None = None) -> BundleStore:
        """Return the model store at a URL; raises ``StorageAddressError`` and ``InvalidKeyFileError``."""
        if self.trusted_keys_file is None and signing_key_file is None:
            return BundleStore(url)
        # Loading OpenSSL takes a process time and memory that only signatures need.
        from reprise.bundle.signature import SigningKey, TrustedKeys  # noqa: PLC0415

        return BundleStore(
            url,
            trusted=None if self.trusted_keys_file is None else TrustedKeys(self.trusted_keys_file),
            signing_key=None if signing_key_file is None else SigningKey(signing_key_file),
        )
