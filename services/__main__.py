"""The `vafa` command, and `python -m services`."""

import sys

from services.command.app import app
from services.command.data_directory import CannotStart
from vafa.errors import VafaError


def main() -> None:
    """Run the command; what it cannot do is one line on standard error and exit code 1."""
    try:
        app()
    except (CannotStart, VafaError, OSError) as error:
        sys.exit(f"vafa: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
