"""A comparison as files."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd
import pytest

from concord.agreement.comparison import compare
from concord.errors import InputError


def test_a_comparison_is_saved_as_a_page_and_tables(numbers, tmp_path):
    """The page needs no other file and shows each package's call; the tables have every digit."""
    fits = [numbers("penicillin-crossed", "REML", engine, "default") for engine in ("statsmodels", "lme4")]
    comparison = compare(*fits)
    files = comparison.save(tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["comparison.html", "comparison.csv", "estimates.csv", "fits.csv"]
    page = files[0].read_text()
    assert page.startswith("<!doctype html>") and "src=" not in page and "<link" not in page
    assert comparison.to_html() in page and comparison.verdict.word in page
    assert all(html.escape(fit.call) in page for fit in fits)
    table = pd.read_csv(files[1], keep_default_na=False)
    assert table["lme4"].tolist() == comparison.as_frame()["lme4"].tolist() == comparison.table["lme4"].tolist()
    assert pd.read_csv(files[3])["loglik"].tolist() == [fit.stated_loglik for fit in fits]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        comparison.save(tmp_path / "file")
    for place in (tmp_path / "file" / "below", Path("/proc/nothing"), tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match="cannot be written: .*: name another folder"):
            comparison.save(place)
