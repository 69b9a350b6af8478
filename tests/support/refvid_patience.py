"""Patience of the tests: limits in seconds that guard against hanging, and nothing else.

Every limit is five times or more what an idle machine of two cores needs (beside it): a busy machine is no failure.
What hangs is told once (refvid_setups.py), so the longest wait is one limit, not one a test. pytest's own limit of
a test lies in pyproject.toml and is longer than any here; the browser's lie in tests/frontend/patience.mjs.
"""

START = 300.0  # a server until it answers: 10
ANSWER = 120.0  # one answer of a server that runs: 1
PROMPT = 600.0  # a prompt of a test until it has ended, all before it included: 20
END = 60.0  # a server until it has ended, after which it is killed: 2
BREAKS = 5.0  # the process of a server whose connections broke until it has ended: 0.1
PROCESS = 600.0  # a command of its own, such as pytest in pytest: 70
FRONTEND = 1500.0  # a script of tests/frontend, every workflow: 100
FILE = 20.0  # a loader with a small broken file: 0.3
