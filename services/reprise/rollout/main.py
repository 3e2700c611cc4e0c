"""The ``reprise-rollout`` command."""

from typing import TYPE_CHECKING

import click

from reprise.runtime.settings_command import settings_command

if TYPE_CHECKING:
    from reprise.rollout.settings import RolloutSettings


@settings_command(
    "rollout",
    "reprise.rollout.settings:RolloutSettings",
    options={"--dry-run": "dry_run", "--namespace": "namespace"},
    logs=True,
    group=True,
)
def command(settings: "RolloutSettings") -> None:
    """Reconcile ModelRollout resources until SIGTERM or Ctrl-C.

    Everything is configured by environment variables; options take precedence.
    """
    from reprise.rollout.runner import serve

    serve(settings)


@click.command("crd")
def crd() -> None:
    """Print the custom resource definition, as charts/reprise/crds has it."""
    from reprise.rollout.resource.crd import definition_yaml

    click.echo(definition_yaml(), nl=False)


command.add_command(crd)
