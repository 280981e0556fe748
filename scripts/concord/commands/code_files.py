"""Files with code: scripts, notebooks and documents with chunks, as text of each language whose lines are known."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {".py": "Python", ".R": "R", ".r": "R", ".ipynb": "", ".Rmd": "", ".qmd": ""}
_CHUNK = re.compile(r"```+\s*\{(\w+).*\}")


@dataclass(frozen=True)
class Script:
    """All code of one language in a file.

    Attributes
    ----------
    language : ``Python`` or ``R``
    text : the code
    places : for every line of the text, where it stands in the file: for sorting, and as people say it
    """

    language: str
    text: str
    places: tuple[tuple[int, str], ...]


def is_code_file(given: str) -> bool:
    """Whether a text is the name of such a file, and no code itself."""
    return Path(given).suffix in SUFFIXES and ("(" not in given or Path(given).is_file())


def scripts(file: str) -> list[Script]:
    """The code in a file, by language.

    Raises
    ------
    CallError : it cannot be read, or is no notebook
    """
    from concord.engines.calls import CallError

    try:
        text = Path(file).read_text(encoding="utf-8")
        lines = list(_cells(text) if file.endswith(".ipynb") else _lines(text, SUFFIXES[Path(file).suffix]))
    except FileNotFoundError as error:
        raise CallError(f"{file}: there is no such file: check the name and the folder") from error
    except OSError as error:
        raise CallError(f"{file}: it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02x} at position {error.start}"
        raise CallError(f"{file}: is not text in UTF-8: {byte}: save it as UTF-8") from error
    except json.JSONDecodeError as error:
        raise CallError(f"{file}: is not a Jupyter notebook: not valid JSON in line {error.lineno}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CallError(f"{file}: is not a Jupyter notebook: it has no cells as such a one has them") from error
    made = []
    for language in ("Python", "R"):
        own = [(line, (number, place)) for number, (spoken, line, place) in enumerate(lines) if spoken == language]
        if own:
            made.append(Script(language, "\n".join(line for line, _ in own), tuple(place for _, place in own)))
    return made


def _lines(text: str, language: str) -> Iterator[tuple[str, str, str]]:
    """The lines of a script; of a document those of its chunks."""
    spoken = language
    for number, line in enumerate(text.splitlines(), 1):
        if not language and (fence := line.strip()).startswith("```"):
            begins = _CHUNK.match(fence)
            spoken = {"python": "Python", "r": "R"}.get(begins[1].lower(), "") if begins else ""
            continue
        yield spoken, line, f"line {number}"


def _cells(text: str) -> Iterator[tuple[str, str, str]]:
    """The lines of a notebook's code cells; a cell that begins with ``%%R`` is R's."""
    notebook = json.loads(text)
    spec = notebook.get("metadata", {}).get("kernelspec", {})
    own = "R" if spec.get("language", spec.get("name", "")).lower() in ("r", "ir") else "Python"
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(code, 1):
        lines = "".join(cell["source"]).splitlines()
        magic = lines[0].split()[0] if lines and lines[0].startswith("%%") else ""
        language = "R" if magic == "%%R" else own if magic in ("", "%%time", "%%timeit", "%%capture") else ""
        for number, line in enumerate(lines, 1):
            yield language, "" if magic and number == 1 else line, f"code cell {count}, line {number}"
