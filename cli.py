"""Command line of refvid."""


def main() -> None:
    """Entry point."""
