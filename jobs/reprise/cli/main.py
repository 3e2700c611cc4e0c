"""The ``reprise`` command: every component's own command under one name."""

from importlib import import_module
from importlib.metadata import version

import click

# In the order of use.
_COMPONENTS = {
    "datagen": "datagen",
    "inspect": "cli.inspect",
    "features": "features",
    "train": "trainer",
    "model": "cli.model",
    "size": "cli.size",
    "topics": "topics",
    "backfill": "backfill",
    "produce": "producer",
    "materialize": "materializer",
    "dlq": "dlq",
    "archive": "archiver",
    "serve": "predictor",
    "score": "scoring:score_command",
    "demand": "scoring:demand_command",
    "report": "scoring:report_command",
    "nightly": "scoring:nightly_command",
    "retention": "scoring:retention_command",
    "audience": "scoring.audience",
    "outcomes": "outcomes",
    "forget": "forget",
    "status": "status",
    "doctor": "doctor",
    "demo": "cli.demo",
}


class Components(click.Group):
    """Imports a component's command when it is used, so that ``--help`` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the commands, in the order of use."""
        return list(_COMPONENTS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a component's command, or None if there is none of this name."""
        if cmd_name not in _COMPONENTS:
            return None
        component, _, name = _COMPONENTS[cmd_name].partition(":")
        command = getattr(import_module(f"reprise.{component}.main"), name or "command")
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Components, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("reprise"), prog_name="reprise")
def command() -> None:
    """Predict, in real time, whether a user will buy a product again.

    From nothing to a live prediction: datagen makes a history, features plan decides what to compute, train
    publishes a model, backfill fills the online store, produce and materialize keep it fresh, and serve answers.
    Or all of it at once: demo.
    """
