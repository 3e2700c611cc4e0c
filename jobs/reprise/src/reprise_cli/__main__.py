"""``python -m reprise_cli``."""

from reprise_cli.main import command

command(prog_name="reprise")
