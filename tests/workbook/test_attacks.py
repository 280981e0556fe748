"""Attacks by those who make a table, a name, a file or a folder that Concord is given: each is held, and by which test
stands in attacks.tsv.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pytest
import yaml
from bs4 import BeautifulSoup
from nbconvert.filters import markdown2html
from pyarrow import ipc, parquet

import concord.data
from concord import files
from concord.commands import junit, markdown, team_file
from concord.commands.cli import main
from concord.data import datasets
from concord.data.datasets import DatasetError
from concord.display.records import as_text
from concord.display.table import Cell, Note, render_html
from concord.errors import InputError, escaped
from concord.reports import own_table, page
from support import held
from support.paths import ROOT

TABLE = held.read(Path(__file__).with_name("attacks.tsv"))

MARKUP = {
    "script": "<script>alert(1)</script>",
    "handler": '"><img src=x onerror=alert(1)>',
    "svg": "<svg/onload=alert(1)>",
    "end of the table": "</td></tr></table><iframe src=https://example.org></iframe>",
    "style": "<style>*{display:none}</style>",
    "meta": '<meta http-equiv="refresh" content="0;url=https://example.org">',
    "base": '<base href="https://example.org">',
    "form": "<form action=https://example.org><input name=a>",
    "comment": "<!-- x",
    "attribute": "' onmouseover='alert(1)",
}
MARKDOWN = {
    "link": "[a](javascript:alert(1))",
    "picture": "![a](https://example.org/a.png)",
    "tag": "<script>alert(1)</script>",
    "reference": "[a]: https://example.org\n[a]",
    "row": "a | b\n| c |",
    "heading": "\n# a",
    "code": "`a` ```b",
    "formula": "$x$ $$y$$",
    "emphasis": "**a** _b_ ~~c~~",
}
NAMES = [
    "../../etc/passwd", "..", ".", "/", "a/../../b", "-rf", "--output", ".hidden", "a\nb", "$(touch x)", "`x`", "a;b",
    "", "con\x00", "~root", "*", "a\\..\\b", "\u202ea", "=x",
]  # fmt: skip


def test_every_attack_is_held_by_a_test_that_there_is():
    assert len(TABLE) >= 100 and not TABLE.duplicated().any() and (TABLE != "").all(axis=None)
    assert [each for each in TABLE["held by"].unique() if not held.exists(each)] == []


def test_what_the_policy_names_is_tried_and_all_kinds_stand_there():
    policy = (ROOT / ".github" / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/.]+::\w+)`", policy)
    assert len(named) > 15 and [each for each in named if not held.exists(each)] == []
    assert [kind for kind in TABLE["kind"].unique() if kind not in policy] == []


@pytest.mark.parametrize("text", MARKUP.values(), ids=MARKUP)
def test_no_name_is_markup_on_a_page(text):
    """In a caption, a header, a cell, a heading of a row, a note, a title of a page."""
    made = render_html(text, [text, "x"], [[text, Cell(text, text, [1])]], 1, [text, Note(text, text)])
    soup = BeautifulSoup(page.head(text) + made, "html.parser")
    assert {tag.name for tag in soup.find_all("table")[0].find_all(True)} <= set(
        "caption strong thead tbody tr th td sup br small wbr".split()
    )
    assert not soup.find_all(["script", "img", "svg", "iframe", "form", "base"]) and len(soup.find_all("style")) == 1
    assert not [name for tag in soup.find_all(True) for name in tag.attrs if name.startswith("on")]
    assert soup.title.text == text and soup.find("td").text.count(text) == 2


def test_a_page_runs_no_script_but_its_own_and_loads_nothing():
    policy = BeautifulSoup(page.head("x"), "html.parser").find("meta", attrs={"http-equiv": True})["content"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and rules["base-uri"] == "'none'" and rules["img-src"] == "data:"
    assert re.fullmatch(r"'sha256-[\w+/]+='", rules["script-src"])


@pytest.mark.parametrize("text", MARKDOWN.values(), ids=MARKDOWN)
def test_no_name_is_markdown_in_the_summary_of_a_job(text):
    made = markdown.table(["a", "b"], [[markdown._text(text), "x"]])
    soup = BeautifulSoup(markdown2html(made), "html.parser")
    assert len(soup.find_all("tr")) == 2 and len(soup.find_all("td")) == 2
    assert {tag.name for tag in soup.find_all(True)} <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert soup.find("td").text.replace("\\$", "$") == " ".join(text.split())


@pytest.mark.parametrize(
    "text",
    ["]]><x/>", "&xxe;", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>&b;', '" x="', "\x00\x1b[31m\ufffe"],
)
def test_no_name_is_xml_in_the_report_for_a_server(text):
    element = ElementTree.Element("a", {"name": junit._xml(text)})
    element.text = junit._xml(text)
    came = ElementTree.fromstring(ElementTree.tostring(element, "unicode"))
    assert came.text == came.get("name") == escaped(text).replace("\ufffe", "\ufffd") and not list(came)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_table_leads_out_of_the_folder_that_is_written(name, tmp_path):
    stem = own_table._stem(name)
    assert re.fullmatch(r"\w[\w.-]*", stem) and (tmp_path / f"{stem}-REML.html").parent == tmp_path
    with pytest.raises(DatasetError):
        datasets.load(name)


@pytest.mark.parametrize(
    "words", [["reports", "--notebook", "../x"], ["simulate", "../../x"], ["refresh", "--notebook", "/x"]]
)
def test_no_name_of_a_notebook_or_a_model_is_a_path(words, tmp_path, monkeypatch, capsys):
    assert main([*words]) == 2 and len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("data", ["../secret.csv", "/etc/passwd", "link.csv", "folder/a.csv", "a/../../secret.csv"])
def test_a_check_reads_no_table_outside_of_the_repository(data, tmp_path):
    """Neither by its name nor by a link that was committed; what is in it, it reads from any folder."""
    (tmp_path / "secret.csv").write_text("y,g\n1,a\n")
    place = tmp_path / "theirs"
    (place / ".git").mkdir(parents=True)
    (place / "link.csv").symlink_to(tmp_path / "secret.csv")
    (place / "folder").symlink_to(tmp_path)
    text = '[[models]]\nname = "a"\ndata = "{}"\nformula = "y ~ 1 + (1 | g)"\n'
    (place / "concord.toml").write_text(text.format(data))
    with pytest.raises(InputError, match="is outside of the repository"):
        team_file.read(place / "concord.toml")
    assert len(team_file.read(place / "concord.toml", [tmp_path, Path("/etc")])) == 1  # whoever starts it may name more
    (place / "study").mkdir()
    (place / "study" / "concord.toml").write_text(text.format("../a.csv"))
    assert [model.shown for model in team_file.read(place / "study" / "concord.toml")] == ["../a.csv"]


def test_a_file_is_not_written_through_a_link(tmp_path):
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / "out.csv").symlink_to(tmp_path / "theirs")
    files.write(tmp_path / "out.csv", "new")
    assert (tmp_path / "theirs").read_text() == "kept" and not (tmp_path / "out.csv").is_symlink()


class _Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", ["arrow.py_extension_type", "pandas"])
def test_no_pickle_in_arrows_formats_is_opened(form, kind, tmp_path):
    code = pickle.dumps(_Runs(tmp_path / "mark"))
    told = {b"ARROW:extension:name": kind.encode(), b"ARROW:extension:metadata": code}
    fields = [pa.field("y", pa.float64()), pa.field("g", pa.string(), metadata=told)]
    table = pa.table([[1.0, 2.0], ["a", "b"]], schema=pa.schema(fields, metadata={"pandas": code}))
    if form == "parquet":
        parquet.write_table(table, tmp_path / "a.parquet")
    else:
        with ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
            writer.write_table(table)
    frame = concord.data.read(tmp_path / f"a.{form}")
    assert list(frame.columns) == ["y", "g"] and not (tmp_path / "mark").exists()
    pickle.loads(code)
    assert (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "field", ["1" * 100_000 + "x", " " * 100_000 + "x", "-" * 100_000, "1e" * 50_000, "=" * 100_000]
)
def test_no_field_takes_long_to_look_at(field, tmp_path):
    (tmp_path / "a.csv").write_text(f"y,g\n1,a\n{field},b\n")
    began = time.process_time()
    frame = concord.data.read(tmp_path / "a.csv")
    assert len(escaped(as_text(field))) >= 100_000 and len(frame) == 2 and time.process_time() - began < 2


def test_a_job_has_no_more_rights_than_it_needs_and_runs_no_text_of_others():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        flow = yaml.safe_load(path.read_text())
        assert flow["permissions"] == {"contents": "read"} and "pull_request_target" not in str(flow[True])
        steps = [step for job in flow["jobs"].values() for step in job["steps"]]
        assert all("permissions" not in job for job in flow["jobs"].values())
        assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []


STARTED = """
import sys
sys.path.insert(0, sys.argv[1])
from concord.processes.cluster import cluster

if __name__ == "__main__":
    with cluster(None, 1) as client:
        print(client.submit(pow, 2, 5).result())
"""


def test_no_module_of_the_folder_is_run_by_a_cluster_started_there(tmp_path):
    """From a script of one's own, whose interpreter has the current folder for nothing."""
    place, home = tmp_path / "theirs", tmp_path / "own"
    place.mkdir()
    home.mkdir()
    for name in "signal multiprocessing distributed tqdm socket selectors json pickle runpy sitecustomize".split():
        (place / f"{name}.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\n")
    (home / "script.py").write_text(STARTED)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONSAFEPATH", "PYTHONPATH")}
    words = [sys.executable, home / "script.py", ROOT / "scripts"]
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True)
    assert (done.stdout, (tmp_path / "mark").exists()) == ("32\n", False), done.stderr
