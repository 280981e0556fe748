"""README.md, the pages that it leads to, and the code in them."""

from __future__ import annotations

import re

from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
CLUSTER, CI = ((ROOT / "scripts" / name).read_text(encoding="utf-8") for name in ("cluster.md", "ci.md"))


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(text: str = README + CLUSTER + CI) -> list[str]:
    """Every command in `sh` blocks, once, without its comment."""
    lines = [line.split(" #")[0].strip() for block in blocks("sh", text) for line in block.splitlines()]
    return list(dict.fromkeys(filter(None, lines)))
