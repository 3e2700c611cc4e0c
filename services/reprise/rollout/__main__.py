"""``python -m reprise.rollout``."""

from reprise.rollout.main import command

command()
