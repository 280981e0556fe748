"""README.md, and the code in it and in the page on clusters that it leads to."""

from __future__ import annotations

import re

from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLUSTER = (ROOT / "scripts" / "cluster.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str = README + CLUSTER) -> list[str]:
    """Every command in `sh` blocks, once, without its comment."""
    lines = [line.split(" #")[0].strip() for block in blocks("sh", text) for line in block.splitlines()]
    return list(dict.fromkeys(filter(None, lines)))
