"""Tables as files."""

from __future__ import annotations

import pandas as pd


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Equal to the last bit, and of the same types."""
    pd.testing.assert_frame_equal(found, wanted, check_exact=True)


PLAIN = "y,g,n,t\n1.5,a,1,TRUE\n-2e3,b,-2,FALSE\n.25,a,3,TRUE\n"
SPELLINGS = {
    "plain": PLAIN,
    "no last line end": PLAIN.rstrip(),
    "byte order mark": "\ufeff" + PLAIN,
    "CRLF": PLAIN.replace("\n", "\r\n"),
    "CR": PLAIN.replace("\n", "\r"),
    "semicolons": PLAIN.replace(",", ";"),
    "decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "Excel's own first line": "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
    "tabs": PLAIN.replace(",", "\t"),
    "tabs and decimal commas": PLAIN.replace(",", "\t").replace(".", ","),
    "texts in quotes, as R writes them": PLAIN.replace("a", '"a"')
    .replace("b", '"b"')
    .replace("y,g,n,t", '"y","g","n","t"'),
    "everything in quotes": "".join(
        ",".join(f'"{field}"' for field in line.split(",")) + "\n" for line in PLAIN.splitlines()
    ),
    "empty lines": "\n" + PLAIN.replace("\n", "\n\n"),
    "blanks around names and numbers": PLAIN.replace("y,g", " y ,g").replace("1.5", " 1.5 ").replace(",1,", ", 1,"),
    "truth in small letters": PLAIN.replace("TRUE", "true").replace("FALSE", "false"),
    "Python's truth": PLAIN.replace("TRUE", "True").replace("FALSE", "False"),
}
