"""The table of faults (tests/faults/plant.py) fits the code: each can be planted, and names tests."""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(
    str(Path(__file__).resolve().parents[2] / "faults")
)  # its files find each other there, as scripts do

from plant_table import FAULTS, OBVIOUS

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("fault", [*FAULTS, OBVIOUS], ids=lambda fault: fault.id)
def test_a_fault_can_be_planted_in_one_place_and_names_tests_that_there_are(fault):
    code = (ROOT / fault.file).read_text("utf-8")
    assert code.count(fault.old) == 1, "the code has moved: bring tests/faults/plant_*.py along"
    compile(code.replace(fault.old, fault.new), fault.file, "exec")
    assert fault.new != fault.old and fault.breaks and fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert file.startswith("tests/unit/") and (ROOT / file).is_file(), test
        assert not name or re.search(rf"^def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), test


def test_no_two_faults_have_one_name():
    assert [name for name, count in Counter(fault.id for fault in FAULTS).items() if count > 1] == []
