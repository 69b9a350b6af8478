"""A command with all it starts, ended as one."""

import os
import signal
import subprocess

GRACE = 10.0  # seconds between asking and killing


def run_group(command: list[str], seconds: float, **options) -> int | None:
    """-> its exit code, None where the seconds were over. What it has started ends with it, and with us."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            for how in (signal.SIGINT, signal.SIGKILL):
                os.killpg(process.pid, how)
                try:
                    process.wait(GRACE)
                    break
                except subprocess.TimeoutExpired:
                    continue
