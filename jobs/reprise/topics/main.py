"""The ``topics`` command."""

import click


@click.command("topics")
@click.option("--servers", help="Kafka's bootstrap servers, host:port,…  [default: KAFKA_SERVERS]")
@click.option(
    "--replication",
    type=click.IntRange(min=1),
    help="Copies of each partition.  [default: as the brokers are configured]",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
def command(servers: str | None, replication: int | None, dry_run: bool) -> None:
    """Make the Kafka topics that are missing; say which others differ from their declaration.

    A topic that exists is never changed. The exit status is 0 when all topics are as declared, 1 when one
    differs (or is missing in a dry run).
    """
    from reprise.log import TOPICS, EventLogError
    from reprise.log.kafka.topics import ensure_topics
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.topics.settings import TopicsSettings

    try:
        settings = TopicsSettings.load(kafka_servers=servers)
        if settings.kafka_servers is None:
            raise click.UsageError("KAFKA_SERVERS is not set; the embedded log makes its topics by itself")
        states = ensure_topics(settings, TOPICS, replication=replication, dry_run=dry_run)
    except (EventLogError, RuntimeLibraryError) as error:
        raise click.ClickException(str(error)) from error
    for state in states:
        click.echo(state.describe())
    if not all(state.is_as_declared for state in states):
        raise click.exceptions.Exit(1)
