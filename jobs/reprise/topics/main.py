"""The ``topics`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.topics.settings import TopicsSettings


@settings_command("topics", "reprise.topics.settings:TopicsSettings", options={"--servers": "kafka_servers"})
@click.option(
    "--replication",
    type=click.IntRange(min=1),
    help="Replication factor of new topics.  [default: as the brokers are configured]",
)
@click.option("--dry-run", is_flag=True, help="Only report what would be done.")
def command(settings: "TopicsSettings", replication: int | None, dry_run: bool) -> None:
    """Create missing Kafka topics, and report existing ones that differ from their declaration.

    Existing topics are never changed. The exit status is 0 if all topics are as declared, and 1 if one differs
    (or, in a dry run, is missing).
    """
    from reprise.log import TOPICS
    from reprise.log.kafka.topics import ensure_topics

    if settings.kafka_servers is None:
        raise click.UsageError("KAFKA_SERVERS is not set; the embedded log creates its topics automatically")
    topics = ensure_topics(settings, TOPICS, replication=replication, dry_run=dry_run)
    for topic in topics:
        click.echo(topic.describe())
    if not all(topic.is_as_declared for topic in topics):
        raise click.exceptions.Exit(1)
