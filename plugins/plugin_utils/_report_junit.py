# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A record as JUnit: a suite a host, a case a step that failed, a proof, a finding or a check. Pure.

Source: https://github.com/testmoapp/junitxml, which is what Jenkins, GitLab and GitHub's actions read.
"""

from __future__ import annotations

import typing as t
from xml.etree import ElementTree

_Record = t.Mapping[str, t.Any]


def junit_of(record: _Record) -> bytes:
    """Return the document in UTF-8."""
    root = ElementTree.Element("testsuites", name=f"servos.ops.{record['kind']}", time=f"{record['seconds']:.3f}")
    counts = [_suite(root, record, host) for host in record["hosts"]]
    for place, name in enumerate(("tests", "failures", "skipped")):
        root.set(name, str(sum(count[place] for count in counts)))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"


def _suite(root: ElementTree.Element, record: _Record, host: _Record) -> tuple[int, int, int]:
    suite = ElementTree.SubElement(root, "testsuite", name=host["name"], timestamp=record["started_at"])
    seconds = sum(step["seconds"] for step in host["timeline"])
    failures = [(f"run: {failure['task']}", failure["message"]) for failure in host["failures"]]
    # A suite without a case is read as nothing at all.
    if not failures:
        _case(suite, record, "run: finished", None)
    for name, reason in failures:
        _case(suite, record, name, reason)
    for proof in host["proofs"]:
        _case(suite, record, f"proof: {proof['name']}", None if proof["ok"] else proof["says"])
    skipped = 0
    for finding in (one for one in record["findings"] if one["host"] == host["name"]):
        reason = f"{finding['severity']}: {finding['evidence']}. {finding['mend']}"
        _case(suite, record, f"finding: {finding['id']} {finding['subject']}".rstrip(), reason)
    for check in (one for one in record["checks"] if one["host"] == host["name"] and one["outcome"] != "failed"):
        case = _case(suite, record, f"check: {check['id']} {check['subject']}".rstrip(), None)
        if check["outcome"] == "skipped":
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=check["reason"])
    tests, failed = len(suite), len(suite.findall("testcase/failure"))
    for name, value in (("tests", tests), ("failures", failed), ("errors", 0), ("skipped", skipped)):
        suite.set(name, str(value))
    suite.set("time", f"{seconds:.3f}")
    return tests, failed, skipped


def _case(suite: ElementTree.Element, record: _Record, name: str, reason: str | None) -> ElementTree.Element:
    case = ElementTree.SubElement(suite, "testcase", classname=f"servos.ops.{record['kind']}", name=name, time="0")
    if reason is not None:
        ElementTree.SubElement(case, "failure", message=reason, type="failure").text = reason
    return case


__all__ = ("junit_of",)
