"""Beginnings of the corpus of broken files: one whole file of each kind, and the loaders without ComfyUI."""

import pytest
from refvid_refused import plain_readers, whole_files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return whole_files(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def readers(files):
    return plain_readers(files)
