"""The model store: bundles by digest, and a pointer to the latest."""

import json
import re
from typing import TYPE_CHECKING, Any

from reprise.bundle.bundle import (
    EVALUATED,
    EVALUATED_HORIZON,
    EVALUATED_USERS,
    HORIZON,
    MANIFEST,
    METADATA,
    MODEL,
    SIGNATURE,
    USERS,
    Bundle,
    BundleFiles,
    Digest,
    digest_of,
    directory_name,
    parse_digest,
    sha256_hex,
)
from reprise.bundle.exceptions import (
    BundleCorruptError,
    BundleNotFoundError,
    InvalidBundleError,
    InvalidDigestError,
    UntrustedBundleError,
)
from reprise.bundle.manifest import Manifest, canonical_json, read_json_object
from reprise.runtime.storage import Storage, open_storage

if TYPE_CHECKING:
    from reprise.bundle.signature import SigningKey, TrustedKeys

BUNDLES = "bundles"
LATEST = "latest.json"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
MAX_GRAPH_BYTES = 512 * 1024 * 1024
"""Maximum sizes of files; nothing beyond them is read."""
_MANIFEST = re.compile(rf"{BUNDLES}/sha256-([0-9a-f]{{64}})/{re.escape(MANIFEST)}")


class BundleStore:
    """Bundles under one URL, each in ``bundles/sha256-<hex>/``, and ``latest.json`` that names one of them.

    Every byte that is fetched has been verified; a bundle is complete or absent. The URL is a plain path or any URL of
    fsspec (``file://``, ``s3://``, ``memory://``). Methods raise ``StorageUnavailableError`` where the storage fails,
    and those that return graphs ``BundleCorruptError`` where one is missing or differs from what was published.

    With ``trusted`` keys, a bundle that none of them has signed raises ``UntrustedBundleError``; ``signing_key`` signs
    what is published.

    Raises:
        StorageAddressError: The protocol is unknown, or the package for it is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        storage: Storage | None = None,
        trusted: "TrustedKeys | None" = None,
        signing_key: "SigningKey | None" = None,
    ) -> None:
        self.url = url
        self._storage = storage if storage is not None else open_storage(url)
        self._trusted = trusted
        self._signing_key = signing_key

    def publish(self, files: BundleFiles) -> Digest:
        """Store a bundle, and return its digest.

        An intact bundle stays as it is, with the attachments of its first publication; a damaged one is restored.

        Raises:
            InvalidBundleError: The manifest cannot be read, belongs to another model, or a file is too large.
        """
        manifest = Manifest.from_bytes(files.manifest)
        _check_size(MANIFEST, files.manifest, MAX_MANIFEST_BYTES)
        _check_size(MODEL, files.model, MAX_GRAPH_BYTES)
        expected, actual = manifest.model.sha256, sha256_hex(files.model)
        if actual != expected or len(files.model) != manifest.model.size:
            raise InvalidBundleError(f"{MODEL} has sha256 {actual}, but {MANIFEST} says {expected}")
        is_intact = self._is_intact(files.digest)
        if not is_intact:
            for name, data in {**files.attachments, MODEL: files.model}.items():
                self._storage.write(_path(files.digest, name), data)
        self._sign(files.digest, files.manifest)
        if not is_intact:
            # The manifest comes last: a bundle exists once it has one.
            self._storage.write(_path(files.digest, MANIFEST), files.manifest)
        return files.digest

    def digests(self) -> list[Digest]:
        """Return the digests of all bundles; other files are ignored."""
        found = map(_MANIFEST.fullmatch, self._storage.files(BUNDLES))
        return [parse_digest(f"sha256:{match[1]}") for match in found if match]

    def sign(self, digest: str) -> Digest:
        """Add a signature by the signing key to a bundle, and return its digest; raises as ``fetch``."""
        address = parse_digest(digest)
        data = self._manifest_bytes(address)
        self._verified(address, data)
        self._sign(address, data)
        return address

    def fetch(self, digest: str) -> Bundle:
        """Return a bundle after verifying every byte of its manifest and of the graphs that answer.

        Raises:
            InvalidDigestError: The text is no digest.
            BundleNotFoundError: The store has no such bundle.
            BundleCorruptError: Stored bytes differ from what was published.
            InvalidBundleError: A file is too large, or this version does not read the bundle's format.
            UntrustedBundleError: No trusted key has signed it.
        """
        address = parse_digest(digest)
        manifest = self._manifest(address)
        model = self._graph(address, MODEL, manifest.model.sha256)
        horizons = {
            each.seconds: self._graph(address, HORIZON.format(each.seconds), each.sha256)
            for each in manifest.horizons
        }
        return Bundle(
            digest=address,
            manifest=manifest,
            model=model,
            metadata=self._metadata(address),
            horizons=horizons,
        )

    def verify(self, digest: str) -> Manifest:
        """Return the manifest of a bundle, which a trusted key has signed; raises as ``fetch``."""
        return self._manifest(parse_digest(digest))

    def evaluated_model(self, bundle: Bundle) -> bytes:
        """Return the verified graph that the evaluation is of: the published one, unless it was refit."""
        if bundle.manifest.refit is None:
            return bundle.model
        return self._graph(bundle.digest, EVALUATED, bundle.manifest.refit.evaluated_sha256)

    def evaluated_horizons(self, bundle: Bundle) -> dict[int, bytes]:
        """Return the verified graphs that the evaluations of further horizons are of, by their seconds."""
        return {
            each.seconds: self._graph(
                bundle.digest, EVALUATED_HORIZON.format(each.seconds), each.evaluated_sha256
            )
            for each in bundle.manifest.horizons
        }

    def user_models(self, bundle: Bundle) -> tuple[bytes, bytes] | None:
        """Return the verified graphs of the users' model, published and evaluated; None if the bundle has none."""
        users = bundle.manifest.users
        if users is None:
            return None
        published = self._graph(bundle.digest, USERS, users.sha256)
        return published, self._graph(bundle.digest, EVALUATED_USERS, users.evaluated_sha256)

    def location(self, digest: str, name: str) -> str:
        """Return the address of a bundle's file: a path in a local store, a URL otherwise."""
        return self._storage.location(_path(parse_digest(digest), name))

    def latest(self) -> Digest:
        """Return the digest that ``latest.json`` names.

        Raises:
            BundleNotFoundError: No bundle has been marked as the latest.
            InvalidBundleError: The pointer cannot be read.
        """
        location, data = self._storage.location(LATEST), self._read(LATEST)
        if data is None:
            raise BundleNotFoundError(f"{location} does not exist: no bundle is marked as the latest")
        try:
            return parse_digest(json.loads(data)["digest"])
        except (ValueError, KeyError, TypeError, InvalidDigestError) as error:
            raise InvalidBundleError(f'{location}: expected {{"digest": "sha256:…"}} ({error})') from None

    def set_latest(self, digest: str) -> None:
        """Mark a bundle as the latest, atomically; raises ``BundleNotFoundError``."""
        address = parse_digest(digest)
        self._manifest(address)
        self._storage.write(LATEST, canonical_json({"digest": address}))

    def _graph(self, digest: Digest, name: str, sha256: str) -> bytes:
        data = self._read(_path(digest, name), MAX_GRAPH_BYTES)
        actual = "no file" if data is None else sha256_hex(data)
        if data is None or actual != sha256:
            raise BundleCorruptError(self.location(digest, name), expected=sha256, actual=actual)
        return data

    def _manifest(self, digest: Digest) -> Manifest:
        data = self._manifest_bytes(digest)
        if self._trusted is not None:
            signatures = self._read(_path(digest, SIGNATURE))
            self._trusted.verify(data, signatures or b"", self.location(digest, MANIFEST))
        return self._verified(digest, data)

    def _verified(self, digest: Digest, manifest: bytes) -> Manifest:
        location, actual = self.location(digest, MANIFEST), digest_of(manifest)
        if actual != digest:
            expected, found = (each.removeprefix("sha256:") for each in (digest, actual))
            raise BundleCorruptError(location, expected=expected, actual=found)
        return Manifest.from_bytes(manifest, location=location)

    def _manifest_bytes(self, digest: Digest) -> bytes:
        data = self._read(_path(digest, MANIFEST))
        if data is None:
            raise BundleNotFoundError(f"{self.url} has no bundle {digest}")
        return data

    def _metadata(self, digest: Digest) -> dict[str, Any]:
        data = self._read(_path(digest, METADATA))
        if data is None:
            return {}
        return read_json_object(data, self.location(digest, METADATA))

    def _sign(self, digest: Digest, manifest: bytes) -> None:
        if self._signing_key is None:
            return
        path, signature = _path(digest, SIGNATURE), self._signing_key.sign(manifest)
        others = (self._read(path) or b"").split()
        if signature not in others:
            self._storage.write(path, b"\n".join((*others, signature, b"")))

    def _read(self, path: str, limit: int | None = None) -> bytes | None:
        limit = MAX_MANIFEST_BYTES if limit is None else limit
        try:
            data = self._storage.read(path, limit + 1)
        except FileNotFoundError:
            return None
        _check_size(self._storage.location(path), data, limit)
        return data

    def _is_intact(self, digest: Digest) -> bool:
        try:
            bundle = self.fetch(digest)
            self.evaluated_model(bundle)
            self.evaluated_horizons(bundle)
            self.user_models(bundle)
        except (BundleNotFoundError, BundleCorruptError, InvalidBundleError, UntrustedBundleError):
            return False
        return True


def _check_size(name: str, data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise InvalidBundleError(f"{name}: the file is larger than the maximum of {limit:,} bytes")


def _path(digest: Digest, name: str) -> str:
    return f"{BUNDLES}/{directory_name(digest)}/{name}"
