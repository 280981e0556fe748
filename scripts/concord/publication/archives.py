"""The collection in archives: what anybody may pass on as they like, what is under the GPL, and what is large."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

FREE = "CC0"
LARGE = 50_000
"""So many rows are too many for an archive that others ship."""
NAMES = {"free": "concord-cases-free.zip", "gpl": "concord-cases-gpl.zip", "large": "concord-cases-large.zip"}
# The least time that a zip file knows: an archive is the same whenever it is written.
TIME = (1980, 1, 1, 0, 0, 0)
ALONE = {"cases": ".json", "sheets": ".txt"}


def free(licence: str) -> bool:
    """Whether a table may be passed on without terms."""
    return licence.startswith(FREE)


def part(entry: Mapping[str, Any]) -> str:
    """In which archive a case is, by its entry in the index: a key of `NAMES`."""
    return "large" if entry["rows"] >= LARGE else "free" if free(entry["licence"]) else "gpl"


def archives(index: Mapping[str, Any], contents: Mapping[str, str]) -> dict[str, bytes]:
    """Zip files by their names, each a collection of its own: with cases, sheets, licences, an index and all that is
    shared.

    Parameters
    ----------
    index : of the whole collection
    contents : its files by their names
    """
    written = {}
    for key, name in NAMES.items():
        entries = [entry for entry in index["cases"] if part(entry) == key]
        if entries:
            files = {file: contents[file] for file in index["files"] if _belongs(file, entries, key)}
            checksums = {file: index["files"][file] for file in files}
            own = {**index, "part": key, "cases": entries, "files": checksums}
            files["index.json"] = json.dumps(own, indent=1, ensure_ascii=False) + "\n"
            written[name] = _zipped(name.removesuffix(".zip"), files)
    return written


def _belongs(file: str, entries: list[dict[str, Any]], key: str) -> bool:
    """Whether a file is one of a part: of its cases and data sets, or shared by all."""
    return file in set(_own(entries, key)) or file.partition("/")[0] not in (*ALONE, "licences")


def _own(entries: list[dict[str, Any]], key: str) -> Iterator[str]:
    for entry in entries:
        yield from (f"{folder}/{entry['id']}{ending}" for folder, ending in ALONE.items())
        yield entry["licence_file"]
    if key == "gpl":
        yield from ("licences/GPL-2.txt", "licences/GPL-3.txt")


def _zipped(folder: str, files: Mapping[str, str]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for file, content in sorted(files.items()):
            member = zipfile.ZipInfo(f"{folder}/{file}", TIME)
            member.external_attr = 0o644 << 16
            opened.writestr(member, content, zipfile.ZIP_DEFLATED, 9)
    return archive.getvalue()
