"""The model store of a platform on a cluster, reached through a pod that mounts its volume."""

from __future__ import annotations

import base64
import json

from e2e.support.cluster import Platform
from reprise.bundle import BundleFiles

POD = "model-shelf"
_FOLDER = "/var/lib/reprise/models"
_PUBLISH = f"""
import base64, json, sys
from reprise.bundle import BundleFiles, BundleStore
said = json.load(sys.stdin)
part = lambda name: base64.b64decode(said[name])
attachments = {{name: base64.b64decode(data) for name, data in said["attachments"].items()}}
print(BundleStore("{_FOLDER}").publish(BundleFiles(part("manifest"), part("model"), attachments)))
"""
_LATEST = f"""
from reprise.bundle import BundleStore
print(BundleStore("{_FOLDER}").latest())
"""
_DAMAGE = f"""
import sys
from pathlib import Path
path = Path("{_FOLDER}/bundles") / sys.argv[1].replace(":", "-") / "model.onnx"
content = bytearray(path.read_bytes())
content[len(content) // 2] ^= 0xFF
path.write_bytes(content)
"""


class ModelShelf:
    """Publishes into the model store as the trainer does, with the trainer's own image."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        platform.kubectl("apply", "-f", "-", stdin=platform.fixture("model-shelf.yaml"))
        platform.kubectl("wait", "--for=condition=Ready", f"pod/{POD}", "--timeout=120s")

    @property
    def latest(self) -> str:
        return self._python(_LATEST).strip()

    def publish(self, files: BundleFiles) -> str:
        said = {
            "manifest": _text(files.manifest),
            "model": _text(files.model),
            "attachments": {name: _text(data) for name, data in files.attachments.items()},
        }
        return self._python(_PUBLISH, stdin=json.dumps(said)).strip()

    def damage(self, digest: str) -> None:
        """Flip the bits of one byte of a bundle's model."""
        self._python(_DAMAGE, digest)

    def _python(self, code: str, *arguments: str, stdin: str | None = None) -> str:
        return self._platform.kubectl(
            "exec", "--stdin", POD, "--", "python", "-c", code, *arguments, stdin=stdin or ""
        )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
