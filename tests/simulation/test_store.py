"""The folder of a study: another study's folder, other parts, damaged parts, each refused in one line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from concord.commands.cli import main
from concord.errors import InputError
from concord.models import model
from concord.simulation import parts
from concord.simulation.case import Case
from concord.simulation.experiment import pairs
from concord.simulation.findings import Findings
from concord.simulation.store import Plan, Store
from concord.simulation.study import run
from support.studies import DEFAULT, MODEL, NAME, files, rows


@pytest.fixture(scope="module")
def case() -> Case:
    return Case.of(model.get(MODEL))


@pytest.fixture(scope="module")
def begun(case, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("begun")
    run(Plan((case,), 1, 2, DEFAULT), folder, workers=0)
    return folder


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 2}, "holds another study: seed is 1 there, 2 here"),
        ({"pairs": pairs()}, "holds another study: fits is ['statsmodels default', 'lme4 default'] there"),
        ({"cases": "dyestuff2-random_intercept"}, f"holds another study: {NAME} is missing here"),
    ],
)
def test_a_folder_with_another_study_is_one_line_that_says_what_differs(begun, case, changed, message):
    given = {"cases": (case,), "seed": 1, "replicates": 2, "pairs": DEFAULT, **changed}
    if "cases" in changed:
        given["cases"] = (Case.of(model.get(changed["cases"])),)
    before = files(begun)
    with pytest.raises(InputError) as error:
        run(Plan(**given), begun, workers=0)
    assert message in str(error.value) and "name another folder with --output" in str(error.value)
    assert files(begun) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda there: there["versions"].update(lme4="0.9"), "was computed with lme4 0.9, here it is"),
        (lambda there: there["cases"][NAME].update(digest="0"), "the table or the truth of"),
        (lambda there: there.update(method="ML"), "method is ML there, REML here"),
        (lambda there: there.update(format=0), "is not the manifest of a study of this version"),
        (lambda there: there.update(format=1), "was begun by an older version of Concord (format 1, here it is 3)"),
        (lambda there: there.update(format=2), "was begun by an older version of Concord (format 2, here it is 3)"),
        (lambda there: there["versions"].update(concord="0.0.9"), "was computed with concord 0.0.9, here it is"),
        (lambda there: there.update(thorough=False), "holds another study: thorough is False there, True here"),
    ],
)
def test_a_folder_of_other_versions_or_data_is_refused(begun, case, tmp_path, change, message):
    folder = shutil.copytree(begun, tmp_path / "copy")
    there = json.loads((folder / "manifest.json").read_text())
    change(there)
    (folder / "manifest.json").write_text(json.dumps(there))
    with pytest.raises(InputError, match=re.escape(message)):
        run(Plan((case,), 1, 2, DEFAULT), folder, workers=0)


def test_two_processes_do_not_work_in_one_folder(begun, case):
    plan = Plan((case,), 1, 2, DEFAULT)
    with Store(begun).held(plan), pytest.raises(InputError, match="another run .process .* writes there"):
        run(plan, begun, workers=0)
    run(plan, begun, workers=0)


def test_what_a_killed_process_left_half_written_is_cleared_away(begun, case):
    left = begun / "parts" / NAME / ".000000002-000000003.parquet.abcdefgh.aside"
    left.write_bytes(b"half")
    run(Plan((case,), 1, 3, DEFAULT), begun, workers=0)
    assert not left.exists() and rows(begun)["replicate"].tolist() == [0] * 3 + [1] * 3 + [2] * 3


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "text", "folder"])
def test_a_part_that_is_no_whole_parquet_file_is_one_line_and_computed_anew_without_it(begun, tmp_path, capsys, damage):
    """As after a power cut, whose file system kept the name and not the content."""
    folder = shutil.copytree(begun, tmp_path / "copy")
    here = files(folder)[0]
    content = here.read_bytes()
    damaged = {"empty": b"", "cut": content[: len(content) // 2], "zeros": bytes(len(content)), "text": b"no table\n"}
    if damage == "folder":
        here.unlink()
        here.mkdir()
    else:
        here.write_bytes(damaged[damage])
    given = ["simulate", MODEL, "--settings", "default", "--output", str(folder), "--workers", "0"]
    for replicates in (2, 4):  # all are there, and it is only told of them; some are not
        assert main([*given, "--replicates", str(replicates)]) == 2
        said = capsys.readouterr()
        why = "cannot be read: Is a directory" if damage == "folder" else "is not a whole Parquet file: delete it, and"
        assert said.out == "" and said.err.count("\n") == 1 and said.err.startswith(f"concord: {here}: {why}")
    if damage != "empty":
        return
    here.unlink()
    assert main([*given, "--replicates", "4"]) == 0
    run(Plan((Case.of(model.get(MODEL)),), 1, 4, DEFAULT), tmp_path / "whole", workers=0)
    pd.testing.assert_frame_equal(rows(folder), rows(tmp_path / "whole"), check_exact=True)


def test_a_part_whose_values_were_damaged_is_one_line_and_never_other_numbers(begun, tmp_path, capsys):
    """One bit turned in every column, as a bad disk or a bad copy does it: the file's form is whole all the same."""
    folder = shutil.copytree(begun, tmp_path / "copy")
    here = files(folder)[0]
    content = here.read_bytes()
    group = pq.read_metadata(here).row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    assert len(columns) == len(pq.read_schema(here))
    for column in columns:
        last = column.data_page_offset + column.total_compressed_size - 1
        if column.has_dictionary_page:
            last += column.dictionary_page_offset - column.data_page_offset
        here.write_bytes(content[:last] + bytes([content[last] ^ 1]) + content[last + 1 :])
        with pytest.raises(InputError, match=rf"^{here}: is damaged \(.*\): delete it, and"):
            parts.read(here)
    given = ["simulate", MODEL, "--settings", "default", "--output", str(folder), "--workers", "0", "--replicates", "2"]
    assert main(given) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"concord: {here}: is damaged (") and said.err.count("\n") == 1


# Parts that do not belong where they lie


@pytest.fixture(scope="module")
def studied(case, tmp_path_factory) -> Path:
    """Eight replicates in four parts."""
    folder = tmp_path_factory.mktemp("studied")
    run(Plan((case,), 1, 8, DEFAULT), folder, workers=0, batch=2)
    return folder


@pytest.fixture(scope="module")
def of_another_seed(case, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("seed")
    run(Plan((case,), 2, 8, DEFAULT), folder, workers=0, batch=2)
    return folder


def edited(file: Path, change: Callable[[pa.Table], pa.Table], *, proven: bool = False) -> None:
    """Write a part anew with other rows and what it says of itself; `proven`: with a digest that is theirs."""
    table = pq.read_table(file, partitioning=None)
    said = json.loads(table.schema.metadata[b"concord"])
    made = change(table)
    if proven:
        said["rows"] = parts.digest(made)
    pq.write_table(made.replace_schema_metadata({b"concord": json.dumps(said).encode()}), file)


def with_column(table: pa.Table, name: str, values: list) -> pa.Table:
    index = table.column_names.index(name)
    return table.set_column(index, name, pa.array(values, table.schema.field(name).type))


def copied_over(folder: Path, _: Path) -> None:
    one, other, *_ = files(folder)
    shutil.copy(one, other)


def copied_beyond(folder: Path, _: Path) -> None:
    """Under the name of replicates that nobody has computed."""
    here = files(folder)[0]
    shutil.copy(here, here.with_name("000000008-000000010.parquet"))


def copied_under_a_free_name(folder: Path, _: Path) -> None:
    here = files(folder)[0]
    shutil.copy(here, here.with_name("copy.parquet"))


def from_another_seed(folder: Path, other: Path) -> None:
    shutil.copy(files(other)[1], files(folder)[1])


def among_another_case(folder: Path, _: Path) -> None:
    place = folder / "parts" / "penicillin"
    place.mkdir()
    shutil.copy(files(folder)[0], place)


def another_case(folder: Path, _: Path) -> None:
    """A whole part, of a case that the study has not."""
    place = folder / "parts" / "penicillin"
    place.mkdir()
    table = parts.read(files(folder)[0])
    identity = replace(parts.identify(files(folder)[0]), case="penicillin")
    table = with_column(table, "case", ["penicillin"] * len(table))
    (place / identity.name).write_bytes(parts.encode(table, identity, table.schema))


def other_truth(folder: Path, _: Path) -> None:
    file = files(folder)[0]
    table = parts.read(file)
    file.write_bytes(parts.encode(table, replace(parts.identify(file), digest="0" * 64), table.schema))


def overlapping(folder: Path, _: Path) -> None:
    one, other, *_ = files(folder)
    table = pa.concat_tables([parts.read(one), parts.read(other)])
    identity = replace(parts.identify(one), stop=4)
    one.with_name(identity.name).write_bytes(parts.encode(table, identity, table.schema))


def value_changed(folder: Path, _: Path) -> None:
    def change(table: pa.Table) -> pa.Table:
        values = table["loglik"].to_pylist()
        return with_column(table, "loglik", [values[0] + 1e-9, *values[1:]])

    edited(files(folder)[0], change)


def verdict_changed(folder: Path, _: Path) -> None:
    edited(files(folder)[0], lambda table: with_column(table, "verdict", ["agree"] * len(table)))


def rows_doubled(folder: Path, _: Path) -> None:
    edited(files(folder)[0], lambda table: pa.concat_tables([table, table]), proven=True)


def replicate_twice(folder: Path, _: Path) -> None:
    """As many rows as there must be, and one replicate in the place of another."""
    edited(files(folder)[0], lambda table: pa.concat_tables([table.slice(0, 3)] * 2), proven=True)


def of_an_older_format(folder: Path, _: Path) -> None:
    """As a part was before it said which optimizers were asked."""
    file = files(folder)[0]
    table = pq.read_table(file, partitioning=None)
    said = json.loads(table.schema.metadata[b"concord"]) | {"format": 2}
    del said["thorough"]
    pq.write_table(table.replace_schema_metadata({b"concord": json.dumps(said).encode()}), file)


def message_changed(folder: Path, _: Path) -> None:
    edited(files(folder)[0], lambda table: with_column(table, "messages", [["no doubt"]] * len(table)))


def without_a_word(folder: Path, _: Path) -> None:
    file = files(folder)[0]
    pq.write_table(pq.read_table(file, partitioning=None).replace_schema_metadata(None), file)


def truncated(folder: Path, _: Path) -> None:
    file = files(folder)[0]
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (copied_over, "000000002-000000004.parquet: holds replicates 0 to 1, and its name says 2 to 3: delete it, and"),
        (copied_beyond, "000000008-000000010.parquet: holds replicates 0 to 1, and its name says 8 to 9: delete it"),
        (copied_under_a_free_name, "copy.parquet: is not the name of a part: move it elsewhere"),
        (from_another_seed, "belongs to another study: seed is 2 there, 1 in this one: move it elsewhere"),
        (among_another_case, f"belongs to {NAME}, and lies with penicillin: move it elsewhere"),
        (another_case, "belongs to penicillin, which this study does not have: move it elsewhere"),
        (other_truth, f"the table or the truth of {NAME} is another one: move it elsewhere"),
        (overlapping, "has replicates that 000000000-000000002.parquet has too: delete one of them"),
        (value_changed, "has other values than were written: delete it, and the simulate command computes it anew"),
        (verdict_changed, "has other values than were written: delete it"),
        (rows_doubled, "its rows are not those of the replicates 0 to 1, each once (column case): delete it"),
        (replicate_twice, "its rows are not those of the replicates 0 to 1, each once (column replicate): delete it"),
        (message_changed, "has other values than were written: delete it"),
        (of_an_older_format, "has format 2, and this version 3: delete it"),
        (without_a_word, "does not say which study it belongs to: delete it"),
        (truncated, "is not a whole Parquet file: delete it"),
    ],
)
@pytest.mark.parametrize("manifest", ["there", "gone"])
def test_a_part_that_does_not_belong_is_one_line_and_never_counted(
    studied, of_another_seed, tmp_path, capsys, damage, says, manifest
):
    folder = shutil.copytree(studied, tmp_path / "copy")
    damage(folder, of_another_seed)
    if manifest == "gone":
        (folder / "manifest.json").unlink()
    else:
        with pytest.raises(InputError, match=re.escape(says)):
            Findings(folder)
    given = ["simulate", MODEL, "--settings", "default", "--output", str(folder), "--workers", "0"]
    assert main([*given, "--replicates", "8"]) == 2
    told = capsys.readouterr()
    assert told.out == "" and len(told.err.splitlines()) == 1 and says in told.err
    assert told.err.startswith(f"concord: {folder / 'parts'}")


def test_a_study_without_its_manifest_does_not_adopt_another_seed_s_parts(case, studied, tmp_path):
    folder = shutil.copytree(studied, tmp_path / "copy")
    (folder / "manifest.json").unlink()
    with pytest.raises(InputError, match="not found: the simulate command that computed the parts beside it"):
        Findings(folder)
    with pytest.raises(InputError, match="belongs to another study: seed is 1 there, 2 in this one"):
        run(Plan((case,), 2, 8, DEFAULT), folder, workers=0)
    with pytest.raises(InputError, match="belongs to another study: fits is .*: move it elsewhere"):
        run(Plan((case,), 1, 8, pairs()), folder, workers=0)
    assert not (folder / "manifest.json").exists()


def test_a_manifest_is_written_anew_from_parts_that_prove_to_be_of_the_study(case, studied, tmp_path):
    folder = shutil.copytree(studied, tmp_path / "copy")
    (folder / "manifest.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in files(folder)}
    run(Plan((case,), 1, 4, DEFAULT), folder, workers=0)
    assert (folder / "manifest.json").read_text() == (studied / "manifest.json").read_text()  # eight, as they are there
    assert {path: path.stat().st_mtime_ns for path in files(folder)} == before
    assert Findings(folder).replicates == 8


def test_a_part_of_other_versions_is_refused(studied, tmp_path):
    folder = shutil.copytree(studied, tmp_path / "copy")
    file = files(folder)[0]
    identity = parts.identify(file)
    table = parts.read(file)
    older = replace(identity, versions={**identity.versions, "lme4": "0.9"})
    file.write_bytes(parts.encode(table, older, table.schema))
    with pytest.raises(InputError, match=r"was computed with lme4 0\.9, and this study with"):
        Findings(folder)


def test_rows_that_are_not_a_part_s_are_not_written(studied):
    file = files(studied)[0]
    table, identity = parts.read(file), parts.identify(file)
    with pytest.raises(ValueError, match="its rows are not those of the replicates 0 to 2"):
        parts.encode(table, replace(identity, stop=3), table.schema)


def test_the_digest_is_of_values_and_not_of_how_they_are_stored(studied):
    """Dictionaries, chunks, slices: the same values; another value, missing or not, in any column: another digest."""
    table = parts.read(files(studied)[0])
    again = pa.concat_tables([table.slice(0, 2), table.slice(2)])
    assert again["loglik"].num_chunks == 2 and parts.digest(again) == parts.digest(table)
    seen = {parts.digest(table)}
    for field in table.schema:
        values = table[field.name].to_pylist()
        kind = "list" if pa.types.is_list(field.type) else str(field.type)
        other = {"string": "x", "list": ["", "x"], "int64": 7, "bool": not values[1], "double": 0.0}[kind]
        for value in (other, None):
            if value != values[1]:
                seen.add(parts.digest(with_column(table, field.name, [values[0], value, *values[2:]])))
    assert len(seen) > len(table.schema)
