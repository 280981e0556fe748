"""Cases as JUnit XML, in the form that pytest writes and CI servers read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from xml.etree import ElementTree

from concord.commands.checked_model import CheckedModel
from concord.errors import escaped

# What XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(cases: Sequence[CheckedModel], versions: Mapping[str, str], began: datetime) -> str:
    """The cases as a suite of tests.

    A verdict that is not expected is a failure; a table that cannot be used, or a crash, is an error.
    """
    failed = sum(bool(case.wrong) for case in cases)
    errors = sum(bool(case.error) for case in cases)
    seconds = f"{sum(case.seconds for case in cases):.3f}"
    counts = {"tests": len(cases), "failures": failed, "errors": errors, "skipped": 0}
    root = ElementTree.Element("testsuites", {"name": "concord"})
    attributes = {"name": "concord", **{name: str(count) for name, count in counts.items()}, "time": seconds}
    suite = ElementTree.SubElement(root, "testsuite", {**attributes, "timestamp": began.isoformat()})
    properties = ElementTree.SubElement(suite, "properties")
    for name, version in versions.items():
        ElementTree.SubElement(properties, "property", {"name": _xml(name), "value": _xml(version)})
    for case in cases:
        named = {"classname": f"concord.{_xml(case.model.name)}", "name": case.model.method}
        element = ElementTree.SubElement(suite, "testcase", {**named, "time": f"{case.seconds:.3f}"})
        if case.error:
            details = {"message": _xml(case.error), "type": "crash" if case.trace else "unusable input"}
            ElementTree.SubElement(element, "error", details).text = _xml(case.trace or case.error)
        elif case.wrong:
            details = {"message": _xml(", ".join(case.wrong)), "type": "verdict" if case.failures else "unexplained"}
            ElementTree.SubElement(element, "failure", details).text = _xml("\n".join(case.sentences))
        if case.comparisons:
            tables = "\n\n".join(map(repr, case.comparisons.values()))
            ElementTree.SubElement(element, "system-out").text = _xml(tables)
    ElementTree.indent(root, " ")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _xml(text: str) -> str:
    """A text, with all that is written as an escape on a terminal and what XML has no letter for, written so too."""
    return _NO_XML.sub("\ufffd", "\n".join(map(escaped, text.split("\n"))))
