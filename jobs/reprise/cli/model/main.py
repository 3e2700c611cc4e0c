"""The ``model`` command."""

import os
from pathlib import Path

import click

from reprise.runtime.settings_command import error_messages

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group("model")
def command() -> None:
    """Make keys for model bundles, and sign bundles."""


@command.command("keygen")
@click.argument("private_key", type=_FILE)
@click.argument("public_key", type=_FILE)
def keygen(private_key: Path, public_key: Path) -> None:
    """Write a new Ed25519 key for the trainer, and the public key for those who load its bundles.

    Neither file may exist. Trusted keys are one file with one public key after another.
    """
    from reprise.bundle.signature import SigningKey

    private, public = SigningKey.generate()
    if public_key.exists():
        raise click.ClickException(f"{public_key}: File exists")
    for path, content, mode in (private_key, private, 0o600), (public_key, public, 0o644):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except OSError as error:
            raise click.ClickException(f"{path}: {error.strerror}") from None
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


@command.command("sign")
@click.argument("digest")
@click.option("--store", required=True, envvar="MODEL_STORE", metavar="URL", help="Model store.")
@click.option(
    "--key", required=True, type=_FILE, envvar="REPRISE_SIGNING_KEY_FILE", help="PEM file of the private key."
)
def sign(digest: str, store: str, key: Path) -> None:
    """Add a signature to a bundle that is in the store: sha256:… or latest."""
    from reprise.bundle import BundleStore
    from reprise.bundle.signature import SigningKey

    with error_messages():
        models = BundleStore(store, signing_key=SigningKey(key))
        click.echo(f"signed {models.sign(models.latest() if digest == 'latest' else digest)}")
