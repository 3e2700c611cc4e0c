"""``python -m reprise.cli``."""

from reprise.cli.main import command

command(prog_name="reprise")
