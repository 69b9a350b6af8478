"""Set-ups that fail are reported once: by the first test that wanted them. The others were not run, and say
so.

tests/conftest.py takes the hook from here.
"""

from collections.abc import Generator

import pytest
from refvid_client import Gone

REASON = "NOT RUN, what it needs failed and was reported by"
_told: list[tuple[BaseException, str]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skips with a reason instead of the same failure again.

    pytest keeps what a fixture of a module or of the session raised, and raises the same object for every
    test that wants it; so does the client of a server that is lost, wherever in a test."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if error is None or not report.failed or not (call.when == "setup" or isinstance(error, Gone)):
        return report
    first = next((test for told, test in _told if told is error), None)
    if first is None:
        _told.append((error, item.nodeid))
    else:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), None, f"Skipped: {REASON} {first}")
    return report
