"""The ``reprise-rollout`` command."""

import click


@click.group("rollout", invoke_without_command=True)
@click.option("--dry-run", is_flag=True, default=None, help="Decide and log, and write nothing.")
@click.option("--namespace", help="Namespace that is served.  [default: ROLLOUT_NAMESPACE, or reprise]")
@click.pass_context
def command(context: click.Context, dry_run: bool | None, namespace: str | None) -> None:
    """Roll models out: bring ModelRollout resources about, until SIGTERM or Ctrl-C.

    Everything is configured by environment variables; the options win over them.
    """
    if context.invoked_subcommand is not None:
        return
    from reprise.rollout.exceptions import RolloutError
    from reprise.rollout.runner import serve
    from reprise.rollout.settings import RolloutSettings
    from reprise.runtime.exceptions import RuntimeLibraryError
    from reprise.runtime.logs import configure_logging

    try:
        settings = RolloutSettings.load(dry_run=dry_run or None, namespace=namespace)
        configure_logging(settings.log_level, settings.log_json)
        serve(settings)
    except (RuntimeLibraryError, RolloutError) as error:
        raise click.ClickException(str(error)) from error


@command.command("crd")
def crd() -> None:
    """Print the custom resource definition, as charts/reprise/crds has it."""
    from reprise.rollout.resource.crd import definition_yaml

    click.echo(definition_yaml(), nl=False)
