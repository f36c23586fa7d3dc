# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a finding and what is none, row by row."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.servos.ops.plugins.module_utils._audit import findings, keys_and_data, reach, rights

FOLDER = rights.Rights("/etc/servos", 0o040755, 0, 0)
SERVICE = {"trusted_uids": {0, 900}, "trusted_gids": {0, 900}}


def ids(ledger):
    return {found["id"]: found["severity"] for found in ledger.findings}


FILES = {
    "private": (0o100600, 0, 0, {}),
    "the service's": (0o100600, 900, 900, {}),
    "for its group": (0o100640, 0, 900, {}),
    "for another group": (0o100640, 0, 7, {"env_file_mode": "high"}),
    "written by another group": (0o100620, 0, 7, {"env_file_mode": "high"}),
    "read by all": (0o100644, 0, 0, {"env_file_mode": "critical"}),
    "written by all": (0o100602, 0, 0, {"env_file_mode": "critical"}),
    "somebody's": (0o100600, 1000, 0, {"env_file_owner": "high"}),
}


@pytest.mark.parametrize(("mode", "uid", "gid", "expected"), FILES.values(), ids=FILES)
def test_env_files(mode, uid, gid, expected):
    ledger = findings.Ledger()
    rights.judge_env_file(ledger, rights.Rights("/etc/servos/env", mode, uid, gid), [FOLDER], **SERVICE)
    assert ids(ledger) == expected
    assert len(ledger.checks) == 3


FOLDERS = {
    "root's": (0o040755, 0, 0, False),
    "the service's": (0o040770, 900, 900, False),
    "of another group": (0o040775, 0, 7, True),
    "of another group, sticky": (0o041775, 0, 7, False),
    "open": (0o040777, 0, 0, True),
    "open, sticky": (0o041777, 0, 0, False),
    "somebody's": (0o040755, 1000, 0, True),
}


@pytest.mark.parametrize(("mode", "uid", "gid", "is_bad"), FOLDERS.values(), ids=FOLDERS)
def test_folders_of_env_files(mode, uid, gid, is_bad):
    ledger = findings.Ledger()
    rights.judge_env_file(ledger, rights.Rights("/e", 0o100600, 0, 0), [rights.Rights("/", mode, uid, gid), FOLDER], **SERVICE)
    assert ("env_file_folder" in ids(ledger)) == is_bad


@pytest.mark.parametrize(("mode", "severity"), [(0o040700, None), (0o040750, "high"), (0o040755, "critical"), (0o040701, "high")])
def test_the_state_directory(mode, severity):
    ledger = findings.Ledger()
    rights.judge_private(ledger, "state_dir_mode", rights.Rights("/s", mode, 0, 0))
    assert ids(ledger).get("state_dir_mode") == severity


@pytest.mark.parametrize(("mode", "is_bad"), [(0o100640, False), (0o100644, True), (0o100642, True), (0o100666, True)])
def test_the_file_of_a_database(mode, is_bad):
    ledger = findings.Ledger()
    rights.judge_database_file(ledger, rights.Rights("/d", mode, 0, 0))
    assert bool(ids(ledger)) == is_bad


@pytest.mark.parametrize(
    ("listens", "is_bad"), [("localhost", False), ("", False), ("127.0.0.1, ::1", False), ("*", True), ("0.0.0.0", True),
                            ("10.0.0.5", True), ("localhost,10.0.0.5", True), ("::", True)],
)  # fmt: skip
def test_where_a_server_listens(listens, is_bad):
    ledger = findings.Ledger()
    reach.judge_listening(ledger, "db", listens)
    assert bool(ids(ledger)) == is_bad


RULES = {
    "a socket": (("local", "", "", "peer"), {}),
    "a socket, rejected": (("local", "", "", "reject"), {}),
    "a socket, trusted": (("local", "", "", "trust"), {"database_hba_trust": "critical"}),
    "this host's address, and all others": (("host", "127.0.0.1", "0.0.0.0", "scram-sha-256"), {"database_hba_wide": "medium"}),
    "all others, trusted": (("host", "::1", "::", "trust"), {"database_hba_trust": "critical"}),
    "another host's word": (("hostssl", "10.0.0.5", "255.255.255.255", "ident"), {"database_hba_trust": "critical"}),
    "a directory's password in clear": (("host", "10.0.0.5", "255.255.255.255", "ldap"), {"database_hba_trust": "critical"}),
    "a directory's password over TLS": (("hostssl", "10.0.0.5", "255.255.255.255", "ldap"), {}),
    "password over GSS": (("hostgssenc", "10.0.0.5", "255.255.255.255", "password"), {}),
    "all names below one": (("hostssl", ".example", "", "scram-sha-256"), {"database_hba_wide": "medium"}),
    "this host": (("host", "127.0.0.1", "255.255.255.255", "scram-sha-256"), {}),
    "this host, trusted": (("host", "127.0.0.1", "255.255.255.255", "trust"), {"database_hba_trust": "critical"}),
    "a host": (("hostssl", "10.0.0.5", "255.255.255.255", "scram-sha-256"), {}),
    "a small network": (("hostssl", "10.0.0.0", "255.255.0.0", "scram-sha-256"), {}),
    "a large network": (("hostssl", "10.0.0.0", "255.0.0.0", "scram-sha-256"), {"database_hba_wide": "medium"}),
    "all": (("hostssl", "all", "", "scram-sha-256"), {"database_hba_wide": "medium"}),
    "all of IPv6": (("hostssl", "::", "::", "cert"), {"database_hba_wide": "medium"}),
    "all, rejected": (("host", "all", "", "reject"), {}),
    "a network, trusted": (("hostssl", "10.0.0.0", "255.255.255.0", "trust"), {"database_hba_trust": "critical"}),
    "passwords in clear": (("host", "10.0.0.5", "255.255.255.255", "password"), {"database_hba_trust": "critical"}),
    "passwords over TLS": (("hostssl", "10.0.0.5", "255.255.255.255", "password"), {}),
    "a name": (("hostssl", "app.example", "", "scram-sha-256"), {}),
}


@pytest.mark.parametrize(("rule", "expected"), RULES.values(), ids=RULES)
def test_who_may_log_in(rule, expected):
    ledger = findings.Ledger()
    reach.judge_rules(ledger, "db", [reach.HbaRule(3, *rule)])
    assert ids(ledger) == expected


@pytest.mark.parametrize(
    ("days", "problem", "severity"), [(31, "", None), (30, "", None), (29, "", "medium"), (7, "", "high"), (-1, "", "high"),
                                      (None, "it is not trusted", "high")],
)  # fmt: skip
def test_certificates(days, problem, severity):
    ledger = findings.Ledger()
    reach.judge_certificate(ledger, "https://a", days_left=days, problem=problem, min_days=30)
    assert ids(ledger).get("api_certificate") == severity


AGES = {
    "new": (0.1, {}),
    "old": (366, {"key_old": "medium"}),
    "unknown": (None, {"key_age_unknown": "low"}),
    "a clock that differs": (-0.5, {}),
    "from a time to come": (-30, {"key_age_unknown": "low"}),
}


@pytest.mark.parametrize(("age", "expected"), AGES.values(), ids=AGES)
def test_the_age_of_a_key(age, expected):
    sight = SimpleNamespace(env="mk:0", process=None, previous=None, withdrawn=None)
    seen = SimpleNamespace(
        sight=sight, keys=SimpleNamespace(active=None), process_seen=False, process=None, holders=SimpleNamespace(unread=0), forgotten=list
    )
    ledger = findings.Ledger()
    keys_and_data.judge_keys(ledger, seen, where="/e", age_days=age, max_age_days=365)
    assert ids(ledger) == expected


def test_processes_that_are_not_ours_to_look_at_are_not_passed():
    sight = SimpleNamespace(env="mk:0", process=None, previous=None, withdrawn=None)
    seen = SimpleNamespace(
        sight=sight, keys=SimpleNamespace(active=None), process_seen=False, process=None, holders=SimpleNamespace(unread=7), forgotten=list
    )
    ledger = findings.Ledger()
    keys_and_data.judge_keys(ledger, seen, where="/e", age_days=1, max_age_days=365)
    assert [(one["outcome"], one["reason"]) for one in ledger.checks if one["id"] == "process_forgotten"] == [
        ("skipped", "7 of them are not ours to look at")
    ]


def test_a_file_that_is_called_to_fool_a_terminal_is_shown_escaped():
    ledger = findings.Ledger()
    ledger.found("key_in_file", "/tmp/a\x1b[2J\n\u202eb \udcff \u00e9", "it\tstands there")
    ledger.skipped("key_in_file", "/tmp/\x07", "\x9b2J")
    texts = [(entry["subject"], entry.get("evidence", entry.get("reason"))) for entry in (*ledger.findings, *ledger.checks)]
    shown = ("/tmp/a\\x1b[2J\\n\\u202eb \\udcff \u00e9", "it\\tstands there")
    assert texts == [shown, shown, ("/tmp/\\x07", "\\x9b2J")]


def test_a_kind_that_is_not_in_the_table_is_a_fault_of_ours():
    with pytest.raises(KeyError):
        findings.Ledger().passed("no_such_kind", "x")
    with pytest.raises(KeyError):
        findings.Ledger().found("no_such_kind", "x", "y")


def test_the_guide_lists_every_kind():
    guide = (Path(__file__).resolve().parents[5] / "docs" / "audit.md").read_text()
    rows = [line for line in guide.splitlines() if line.startswith("| `") and line.count("|") == 5]
    told = {row.split("`")[1]: [cell.strip() for cell in row.split("|")[2:4]] for row in rows}
    assert told == {name: [kind.severity, kind.mend] for name, kind in findings.KINDS.items()}
