"""The ``forget`` command."""

from collections.abc import Sequence
from datetime import timedelta
from typing import IO, TYPE_CHECKING

import click

from reprise.runtime.durations import DURATION
from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.forget.run import Forgotten
    from reprise.forget.settings import ForgetSettings


@settings_command(
    "forget",
    "reprise.forget.settings:ForgetSettings",
    options={
        "--store": "offline_store",
        "--model-store": "model_store",
        "--log-dir": "log_dir",
        "--redis-host": "redis_host",
        "--redis-port": "redis_port",
        "--timeout": "timeout",
    },
)
@click.argument("users", nargs=-1, metavar="[USER]...")
@click.option(
    "--file", type=click.File(encoding="utf-8"), help="File with one user id per line; - for stdin."
)
@click.option(
    "--inactive",
    type=DURATION,
    metavar="AGE",
    help="Also all users without an event for this time, such as 730d, in the archive.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be erased.")
def command(
    settings: "ForgetSettings",
    users: tuple[str, ...],
    file: IO[str] | None,
    inactive: timedelta | None,
    dry_run: bool,
) -> None:
    """Erase users: their features, archived events and predictions; a user who returns is a new user.

    Needs a running materializer and archiver. A run that was stopped is finished by the next, with or without the ids.
    The ids on a command line are in the shell's history and the list of processes; --file keeps them out.
    """
    from datetime import UTC, datetime

    from reprise.archive import OfflineStore
    from reprise.bundle import BundleStore
    from reprise.events.user_ids import user_id_hash
    from reprise.forget.run import describe_remains, forget, inactive_users, preview, wait_for_archive

    user_ids = [*users, *(line.rstrip("\r\n") for line in file or () if line.strip())]
    if (hashed := user_id_hash(settings.user_id_key_file)) is not None:
        user_ids = [hashed(user_id) for user_id in user_ids]
    if inactive is not None:
        if not dry_run:  # a user who came back is active
            wait_for_archive(settings, OfflineStore(settings.offline_store))
        user_ids += inactive_users(settings, inactive)
    bundles = len(BundleStore(settings.model_store).digests())
    click.echo(f"{settings.model_store} has {bundles} bundles, which are compared with the users' events")
    if dry_run:
        _show(preview(settings, user_ids), "would erase")
        return
    _show(forget(settings, user_ids, click.echo), "erased")
    for line in describe_remains(settings, datetime.now(UTC)):
        click.echo(f"remains in {line}")


def _show(users: "Sequence[Forgotten]", verb: str) -> None:
    for number, user in enumerate(users, 1):
        rows = ", ".join(f"{count:,} of {topic}" for topic, count in user.rows.items()) or "no archived rows"
        click.echo(f"user {number}: {verb} {rows}")
        for digest in user.models:
            click.echo(f"user {number}: {digest} was trained on events of the user's time; train again")
    if not users:
        click.echo("nobody to forget")
