"""``python -m reprise_rollout``."""

from reprise_rollout.main import command

command()
