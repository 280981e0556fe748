"""A small file that unpacks to any amount is refused in a line, before it has."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import resource
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

import concord.data
from concord.commands.cli import main
from concord.data.limits import DEFAULT, MAX_BYTES, MAX_ROWS, limited, limits
from concord.data.source import SourceError
from support.paths import ROOT

MILLION = 1_000_000
HEAD = b"y,g\n"


def arrow(table: pa.Table, **options) -> bytes:
    file = io.BytesIO()
    with ipc.new_file(file, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return file.getvalue()


def stream(table: pa.Table, **options) -> bytes:
    file = io.BytesIO()
    with ipc.new_stream(file, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return file.getvalue()


def packed(table: pa.Table, **options) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table, file, **options)
    return file.getvalue()


def zeros(rows: int, columns: int = 1) -> pa.Table:
    return pa.table({f"y{number}": np.zeros(rows) for number in range(columns)})


def repeated(rows: int, length: int) -> pa.Table:
    """A text of this length in each row, stored once."""
    return pa.table({"g": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * length]))})


def rds(length: int, compress=gzip.compress) -> bytes:
    """A data frame of R's with a column of so many zeros: R's format, version 2, written by hand."""
    word = lambda *numbers: b"".join(number.to_bytes(4, "big") for number in numbers)  # noqa: E731
    text = lambda value: word(0x00040009, len(value)) + value  # noqa: E731
    tag = lambda name: word(1) + text(name)  # noqa: E731
    names = word(0x402) + tag(b"names") + word(16, 1) + text(b"y")
    rows = word(0x402) + tag(b"row.names") + word(13, 2, 0x80000000, length)
    kind = word(0x402) + tag(b"class") + word(16, 1) + text(b"data.frame") + word(254)
    return compress(
        b"X\n" + word(2, 0x040202, 0x020300, 0x313, 1, 14, length) + bytes(8 * length) + names + rows + kind
    )


ROWS = {  # of 3 rows and more
    "a.csv": HEAD + b"1,a\n" * 40,
    "quoted.csv": HEAD + b'1,"a\nb"\n' * 40,
    "cr.csv": (HEAD + b"1,a\n" * 40).replace(b"\n", b"\r"),
    "a.csv.gz": gzip.compress(HEAD + b"1,a\n" * 40),
    "a.tsv.xz": lzma.compress(b"y\tg\n" + b"1\ta\n" * 40),
    "a.parquet": packed(zeros(40)),
    "a.feather": arrow(zeros(40)),
    "a.arrow": stream(zeros(40)),
    "a.rds": rds(40),
}
BYTES = {  # of a million and more, in some thousands
    "a.csv.gz": gzip.compress(HEAD + b"1" * 2 * MILLION),
    "two.csv.gz": gzip.compress(HEAD) + gzip.compress(b"1" * 2 * MILLION),
    "a.csv.bz2": bz2.compress(HEAD + b"1" * 2 * MILLION),
    "a.csv.xz": lzma.compress(HEAD + b"1" * 2 * MILLION),
    "packed.rds": rds(MILLION // 4),
    "bz2.rds": rds(MILLION // 4, bz2.compress),
    "xz.rds": rds(MILLION // 4, lzma.compress),
    "runs.parquet": packed(zeros(MILLION // 4)),
    "zstd.parquet": packed(zeros(MILLION // 4), compression="zstd", use_dictionary=False),
    "dictionary.parquet": packed(repeated(10_000, 1000), store_schema=False),
    "zstd.feather": arrow(zeros(MILLION // 4), compression="zstd"),
    "lz4.arrow": stream(zeros(MILLION // 4), compression="lz4"),
    "columns.parquet": packed(zeros(1000, 300)),
    "texts.arrow": arrow(repeated(2, 2 * MILLION), compression="zstd"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_table_of_too_many_rows_is_refused(name, tmp_path):
    (tmp_path / name).write_bytes(ROWS[name])
    assert len(concord.data.read(tmp_path / name, max_rows=40)) == 40
    with pytest.raises(SourceError) as refused:
        concord.data.read(tmp_path / name, max_rows=39)
    assert "it has more than 39 rows: allow more with --max-rows" in str(refused.value)


@pytest.mark.parametrize("name", BYTES)
def test_a_table_that_unpacks_to_too_many_bytes_is_refused(name, tmp_path):
    assert len(BYTES[name]) < MILLION
    (tmp_path / name).write_bytes(BYTES[name])
    with pytest.raises(SourceError) as refused:
        concord.data.read(tmp_path / name, max_bytes=MILLION)
    assert str(refused.value).endswith(
        f"{name}: it is of more than {MILLION} bytes, unpacked: allow more with --max-bytes, "
        f"in Python max_bytes=, or {MAX_BYTES}"
    )


def test_what_is_allowed_is_read_as_before(tmp_path):
    for name in ("dictionary.parquet", "zstd.feather", "lz4.arrow", "packed.rds", "columns.parquet"):
        (tmp_path / name).write_bytes(BYTES[name])
        assert len(concord.data.read(tmp_path / name)) >= 1000


def test_limits_are_those_of_the_option_of_the_environment_or_the_default(monkeypatch, tmp_path, capsys):
    assert limits() == DEFAULT
    monkeypatch.setenv(MAX_ROWS, "12")
    with limited(bytes=7):
        assert limits() == (12, 7)
    assert limits() == (12, DEFAULT.bytes)
    (tmp_path / "a.csv").write_bytes(ROWS["a.csv"])
    assert main(["translate", "y ~ (1 | g)", str(tmp_path / "a.csv"), "--max-rows", "39"]) == 2
    assert "more than 39 rows" in capsys.readouterr().err
    for wrong in ("0", "-1", "many", "1e6", "٣"):
        monkeypatch.setenv(MAX_ROWS, wrong)
        with pytest.raises(SourceError, match="expected a whole number above 0"):
            limits()


def test_what_would_unpack_to_all_memory_takes_hardly_any(tmp_path):
    """8 GiB in 8 MB, in a process that may have a tenth of it: one line, and no more than the limit is unpacked."""
    block = gzip.compress(bytes(2**24))
    (tmp_path / "bomb.csv.gz").write_bytes(block * 512)
    words = [sys.executable, "-m", "concord", "translate", "y ~ (1 | g)", "bomb.csv.gz", "--max-bytes", "50000000"]
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30)),
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and "more than 50000000 bytes" in done.stderr


@pytest.mark.parametrize(
    "call", [concord.compare_formula, concord.Inquiry, lambda data, text, **most: concord.translate(text, data, **most)]
)
def test_what_python_offers_takes_the_limits_of_the_commands(tmp_path, call):
    path = tmp_path / "t.csv"
    path.write_text("y,g\n" + "1,a\n" * 40)
    for most, option in (({"max_rows": 39}, "--max-rows"), ({"max_bytes": 100}, "--max-bytes")):
        with pytest.raises(SourceError, match=f"in Python {next(iter(most))}=") as refused:
            call(path, "y ~ 1 + (1 | g)", **most)
        assert option in str(refused.value)
    assert not os.environ.get(MAX_ROWS)
