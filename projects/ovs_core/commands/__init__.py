"""The ``ovsuite`` command: one file per subcommand."""

from .dispatch import COMMANDS, build_parser, guarded, load_command, main, parse

__all__ = ["COMMANDS", "build_parser", "guarded", "load_command", "main", "parse"]
