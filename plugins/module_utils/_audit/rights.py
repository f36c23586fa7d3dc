# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What is wrong with files and folders whose rights were read. Pure."""

from __future__ import annotations

import stat
import typing as t

from .findings import CRITICAL, HIGH, Ledger

_BY_LIST = "an access list gives others rights to it (getfacl shows it)"


class Rights(t.NamedTuple):
    """Who owns a path, its mode with type and permission bits, stat(2), and whether an access list gives others more, acl(5)."""

    path: str
    mode: int
    uid: int
    gid: int
    has_access_list: bool = False


def others_may(rights: Rights) -> str:
    """Say what those who are neither owner nor of the group may, as words; empty where nothing."""
    bits = ((stat.S_IROTH, "read"), (stat.S_IWOTH, "write"))
    return " and ".join(word for bit, word in bits if rights.mode & bit)


def judge_env_file(ledger: Ledger, file: Rights, folder: Rights, *, trusted_uids: t.Container[int], trusted_gids: t.Container[int]) -> None:
    """Judge the file that holds the key in force. The trusted ones are root and those that the service runs as."""
    shown = f"{stat.S_IMODE(file.mode):04o}"
    if others_may(file):
        ledger.found("env_file_mode", file.path, f"every user of the host may {others_may(file)} it (mode {shown})")
    elif file.mode & (stat.S_IRGRP | stat.S_IWGRP) and file.gid not in trusted_gids:
        ledger.found("env_file_mode", file.path, f"the group {file.gid}, which is not the service's, may read or write it (mode {shown})",
                     severity=HIGH)  # fmt: skip
    elif file.has_access_list:
        ledger.found("env_file_mode", file.path, _BY_LIST, severity=HIGH)
    else:
        ledger.passed("env_file_mode", file.path)
    owner = None if file.uid in trusted_uids else f"it belongs to the user {file.uid}, not to root or the service"
    ledger.held("env_file_owner", file.path, owner)
    ledger.held("env_file_folder", folder.path, _who_may_replace(folder, trusted_uids, trusted_gids))


def judge_private(ledger: Ledger, kind: str, rights: Rights) -> None:
    """Judge what is for its owner alone."""
    loose = stat.S_IMODE(rights.mode) & 0o077
    evidence = f"others than its owner may use it (mode {stat.S_IMODE(rights.mode):04o})" if loose else None
    if rights.has_access_list:
        evidence = _BY_LIST
    ledger.held(kind, rights.path, evidence, severity=CRITICAL if loose & 0o006 and kind == "state_dir_mode" else None)


def judge_database_file(ledger: Ledger, rights: Rights) -> None:
    """Judge the file of a database: values in it are sealed, and all else is not."""
    may = others_may(rights)
    evidence = f"every user of the host may {may} it" if may else _BY_LIST if rights.has_access_list else None
    ledger.held("database_file_mode", rights.path, evidence)


def _who_may_replace(folder: Rights, trusted_uids: t.Container[int], trusted_gids: t.Container[int]) -> str | None:
    if folder.mode & stat.S_IWOTH and not folder.mode & stat.S_ISVTX:
        return "every user of the host may put another file in its place"
    if folder.mode & stat.S_IWGRP and folder.gid not in trusted_gids and not folder.mode & stat.S_ISVTX:
        return f"the group {folder.gid}, which is not the service's, may put another file in its place"
    if folder.uid not in trusted_uids:
        return f"the folder belongs to the user {folder.uid}, who may put another file in its place"
    return None


__all__ = ("Rights", "judge_database_file", "judge_env_file", "judge_private", "others_may")
