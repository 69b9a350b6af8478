"""Limits of the tests that guard against hanging, in seconds, and nothing else.

Each is five times or more what an idle machine of two cores needs, which stands beside it: a busy machine is
no failure. A server that is lost and a set-up that fails are told once (refvid_setups.py), so the longest
wait for a hang is one TEST, not one a test. The browser's limits are in tests/frontend/patience.mjs."""

ANSWER = 120.0  # one answer of a server that runs: 1
BREAKS = 5.0  # a server's process until it has ended, once its connections broke: 0.1
END = 60.0  # a server until it has ended, after which it is killed: 2
FILE = 20.0  # a loader with a small broken file: 0.5
FRONTEND = 900.0  # a script of tests/frontend with every workflow: 90
PROCESS = 600.0  # a command of its own, such as pytest in pytest: 30
PROMPT = 600.0  # a prompt until it has ended, with all that came before it: 20
START = 300.0  # a server until it answers: 10
TEST = (
    1500.0  # a test with its set-up, longer than all it waits for: 100. pytest's `timeout` in pyproject.toml
)
SOAK = 7200.0  # one of `make soak`: 600
