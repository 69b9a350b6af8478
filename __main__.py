"""The command `refvid`, also as `python -m refvid`. What it imports takes seconds: who interrupts that is
told in one line too."""

import sys


def main() -> None:
    """Run the command line; 130 where it is interrupted before it has begun."""
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        print("refvid: interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
