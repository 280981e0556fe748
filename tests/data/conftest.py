"""Fixtures that several test files of this folder share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from concord.data import tables
from concord.data.source import SourceError


@pytest.fixture
def write(tmp_path):
    """Write a file and give its path: ``write("y,g\\n1,a\\n")``, ``write(b"...", "t.rds")``."""

    def write(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def refused(write):
    """What `read` says of a file, without the folder; one line always."""

    def refused(content: str | bytes, name: str = "t.csv") -> str:
        path = write(content, name)
        with pytest.raises(SourceError) as caught:
            tables.read(path)
        message = str(caught.value)
        assert "\n" not in message and message.startswith(f"{path}: ")
        return message.removeprefix(f"{path.parent}{os.sep}")

    return refused
