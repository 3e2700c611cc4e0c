"""The ``reprise`` command: every part's own command under one name."""

from importlib.metadata import EntryPoint, entry_points, version

import click

_GROUP = "reprise.commands"
_ORDER = (
    "datagen",
    "features",
    "train",
    "topics",
    "backfill",
    "produce",
    "materialize",
    "archive",
    "serve",
    "rollout",
    "outcomes",
    "status",
    "doctor",
    "demo",
)


class Parts(click.Group):
    """Finds the commands of the installed parts by their entry points, and loads each when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names of the installed parts' commands, in the order in which they are used."""
        names = self._parts()
        return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a part's command, or None if no installed part has it."""
        part = self._parts().get(cmd_name)
        if part is None:
            return None
        loaded = part.load()
        assert isinstance(loaded, click.Command), f"{part.value} is no click command"
        return loaded

    @staticmethod
    def _parts() -> dict[str, EntryPoint]:
        return {part.name: part for part in entry_points(group=_GROUP)}


@click.group(cls=Parts, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("reprise-cli"), prog_name="reprise")
def command() -> None:
    """Predict, in real time, whether a user will buy a product again.

    From nothing to a live prediction: datagen makes a history, features plan decides what to compute, train
    publishes a model, backfill fills the online store, produce and materialize keep it fresh, and serve answers.
    Or all of it at once: demo.
    """
