"""`crossborder …`, the one command; `python -m services` is the same."""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process."""
    from services.cli.app import app

    app(prog_name="crossborder")


if __name__ == "__main__":
    main()
