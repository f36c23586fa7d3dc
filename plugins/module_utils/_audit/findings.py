# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What an audit can find: one literal table, and the ledger that a host's findings and checks are entered in. Pure."""

from __future__ import annotations

import typing as t

CRITICAL, HIGH, MEDIUM, LOW = "critical", "high", "medium", "low"
_Entry = t.Dict[str, t.Any]


class Kind(t.NamedTuple):
    """One kind of finding: how severe it is, what to do about it, and the role or playbook that does that, if any does."""

    severity: str
    mend: str
    role: str


KINDS: dict[str, Kind] = {
    "api_certificate": Kind(HIGH, "renew the certificate of the API, or correct its chain or name", ""),
    "api_plain_http": Kind(HIGH, "put HTTPS in front of the API, or let it listen on 127.0.0.1 only", ""),
    "backup_expired": Kind(LOW, "remove backups that are past their time (servos_backup, state pruned)", "servos.ops.key_retire"),
    "backup_missing": Kind(MEDIUM, "make a backup, and prove that it can be restored", "servos.ops.database_backup"),
    "backup_mode": Kind(HIGH, "make the file 0600 and root's", "servos.ops.database_backup"),
    "backup_unreadable": Kind(HIGH, "restore the key that it needs from escrow, or remove the backup", ""),
    "canary_missing": Kind(LOW, "see that the application was initialized with this database", ""),
    "could_not_look": Kind(HIGH, "mend what the reason names, and audit again", ""),
    "database_file_mode": Kind(HIGH, "take the rights of others away from the database file", ""),
    "database_hba_trust": Kind(CRITICAL, "ask for scram-sha-256 in pg_hba.conf instead of trust or password", ""),
    "database_hba_wide": Kind(MEDIUM, "name the hosts that need the database in pg_hba.conf, with hostssl", ""),
    "database_listens": Kind(MEDIUM, "listen on the addresses that need it (listen_addresses), or on a socket alone", ""),
    "env_file_folder": Kind(HIGH, "let nobody but root and the service's user write to the folder", ""),
    "env_file_mode": Kind(CRITICAL, "make the file 0600, or 0640 with the service's own group", ""),
    "env_file_owner": Kind(HIGH, "give the file to root, or to the service's user", ""),
    "host_keys": Kind(HIGH, "verify the host's key and pin it", "servos.ops.hostkey_pin"),
    "key_age_unknown": Kind(LOW, "run servos.ops.rotate once; it starts the clock", "servos.ops.key_rotate"),
    "key_doubtful": Kind(MEDIUM, "rotate to a generated key of 32 bytes", "servos.ops.key_rotate"),
    "key_in_arguments": Kind(
        CRITICAL, "let the program read the key from its environment or a file, and rotate: it counts as known", "servos.ops.key_rotate"
    ),
    "key_in_file": Kind(CRITICAL, "remove the key from the file, and rotate: it counts as known", "servos.ops.key_rotate"),
    "key_old": Kind(MEDIUM, "rotate", "servos.ops.key_rotate"),
    "key_in_inspect": Kind(
        MEDIUM, "let the container have it as a mounted file, and nobody but root ask the engine", "servos.ops.secret_inject"
    ),
    "leftover_file": Kind(MEDIUM, "run the playbook that was stopped again; it clears what it left", "servos.ops.key_rotate"),
    "previous_key_kept": Kind(LOW, "retire the key once nothing needs it any more", "servos.ops.key_retire"),
    "process_forgotten": Kind(MEDIUM, "restart or stop the process", "servos.ops.service_restart"),
    "process_key_differs": Kind(HIGH, "run servos.ops.rotate again; it restarts the service", "servos.ops.service_restart"),
    "rotation_unfinished": Kind(HIGH, "run servos.ops.rotate again; it goes on from there", "servos.ops.key_rotate"),
    "secret_in_inspect": Kind(
        LOW, "let the container have them as mounted files (delivery: mount), or nobody but root ask the engine", "servos.ops.secret_inject"
    ),
    "setup_token_left": Kind(HIGH, "finish the setup, and remove the token (state: absent)", "servos.ops.servos_setup_token"),
    "state_dir_mode": Kind(HIGH, "make the directory 0700 and root's", ""),
    "agent_rights": Kind(HIGH, "take away what the agent has not to have", "servos.ops.agent_harden"),
    "unreachable": Kind(HIGH, "see that the host is up, and audit again", ""),
    "values_elsewhere": Kind(HIGH, "run servos.ops.rotate again; it brings them over", "servos.ops.key_rotate"),
    "values_foreign": Kind(HIGH, "find the key that they are under, or remove them", ""),
    "values_undeclared": Kind(MEDIUM, "name the columns in the profile, or rotate with discover: include", ""),
}


class Ledger:
    """What was looked at on one host, and what was found. Evidence is a sentence without anything secret."""

    def __init__(self) -> None:
        self.findings: list[_Entry] = []
        self.checks: list[_Entry] = []

    def found(self, kind: str, subject: str, evidence: str, *, severity: str | None = None) -> None:
        """Enter a finding; C(severity) where this one is more or less severe than its kind."""
        known, subject, evidence = KINDS[kind], _in_one_line(subject), _in_one_line(evidence)
        self.findings.append({
            "id": kind, "severity": severity or known.severity, "subject": subject, "evidence": evidence, "mend": known.mend,
            "role": known.role,
        })  # fmt: skip
        self.checks.append({"id": kind, "subject": subject, "outcome": "failed", "reason": evidence})

    def passed(self, kind: str, subject: str) -> None:
        """Enter what was looked at and is as it should be."""
        self._check(kind, subject, "passed", "")

    def skipped(self, kind: str, subject: str, reason: str) -> None:
        """Enter what was not looked at, and why."""
        self._check(kind, subject, "skipped", reason)

    def _check(self, kind: str, subject: str, outcome: str, reason: str) -> None:
        if kind not in KINDS:
            raise KeyError(kind)
        self.checks.append({"id": kind, "subject": _in_one_line(subject), "outcome": outcome, "reason": _in_one_line(reason)})

    def held(self, kind: str, subject: str, evidence: str | None, *, severity: str | None = None) -> None:
        """Enter a finding where there is evidence, and a check that was passed where there is none."""
        if evidence:
            self.found(kind, subject, evidence, severity=severity)
        else:
            self.passed(kind, subject)


def _in_one_line(text: str) -> str:
    """Escape what a terminal would act on or not show: users name files, and findings are printed."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


__all__ = ("CRITICAL", "HIGH", "KINDS", "LOW", "MEDIUM", "Kind", "Ledger")
