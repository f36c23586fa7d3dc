# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What is wrong with files and folders whose rights were read. Pure."""

from __future__ import annotations

import stat
import typing as t

from .findings import CRITICAL, HIGH, Ledger

_ROOT = frozenset({0})
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


def judge_env_file(
    ledger: Ledger, file: Rights, way: t.Sequence[Rights], *, trusted_uids: t.Container[int], trusted_gids: t.Container[int]
) -> None:
    """Judge the file that holds the key in force, and the folders and links on the way to it.

    The trusted ones are root and those that the service runs as.
    """
    shown = f"{stat.S_IMODE(file.mode):04o}"
    if others_may(file):
        ledger.found("env_file_mode", file.path, f"every user of the host may {others_may(file)} it (mode {shown})")
    elif file.mode & (stat.S_IRGRP | stat.S_IWGRP) and file.gid not in trusted_gids:
        ledger.found("env_file_mode", file.path, f"the group {file.gid}, which is not the service's, may read or write it (mode {shown})",
                     severity=HIGH)  # fmt: skip
    elif _is_listed(file, 0o070):
        ledger.found("env_file_mode", file.path, _BY_LIST, severity=HIGH)
    else:
        ledger.passed("env_file_mode", file.path)
    owner = None if file.uid in trusted_uids else f"it belongs to the user {file.uid}, not to root or the service"
    ledger.held("env_file_owner", file.path, owner)
    judge_way(ledger, "env_file_folder", way, trusted_uids=trusted_uids, trusted_gids=trusted_gids)


def judge_way(
    ledger: Ledger, kind: str, way: t.Sequence[Rights], *, trusted_uids: t.Container[int], trusted_gids: t.Container[int]
) -> None:
    """Judge the folders and links on the way to something, by who may put another one in its place; the last that is open is named."""
    open_ones = [(one.path, how) for one in way for how in [_who_may_replace(one, trusted_uids, trusted_gids)] if how]
    path, how = open_ones[-1] if open_ones else (way[-1].path, None)
    ledger.held(kind, path, how)


def judge_private(ledger: Ledger, kind: str, rights: Rights, *, trusted_uids: t.Container[int] = _ROOT) -> None:
    """Judge what is for its owner alone, who is one of the trusted."""
    loose = stat.S_IMODE(rights.mode) & 0o077
    evidence = f"others than its owner may use it (mode {stat.S_IMODE(rights.mode):04o})" if loose else None
    if _is_listed(rights, 0o070):
        evidence = _BY_LIST
    if rights.uid not in trusted_uids:
        evidence = f"it belongs to the user {rights.uid}, not to root or the service"
    ledger.held(kind, rights.path, evidence, severity=CRITICAL if loose & 0o006 and kind == "state_dir_mode" else None)


def judge_folder(ledger: Ledger, kind: str, folder: Rights, *, trusted_uids: t.Container[int], trusted_gids: t.Container[int]) -> None:
    """Judge a folder by who may put other files into it."""
    ledger.held(kind, folder.path, _who_may_replace(folder, trusted_uids, trusted_gids))


def judge_database_file(ledger: Ledger, rights: Rights) -> None:
    """Judge the file of a database: values in it are sealed, and all else is not."""
    may = others_may(rights)
    evidence = f"every user of the host may {may} it" if may else _BY_LIST if _is_listed(rights, 0o070) else None
    ledger.held("database_file_mode", rights.path, evidence)


def _is_listed(rights: Rights, bits: int) -> bool:
    """Tell whether an access list gives anything: the bits of the group are its mask, and without them it gives nothing."""
    return rights.has_access_list and bool(rights.mode & bits)


def _who_may_replace(folder: Rights, trusted_uids: t.Container[int], trusted_gids: t.Container[int]) -> str | None:
    if stat.S_ISLNK(folder.mode):
        return None if folder.uid in trusted_uids else f"the link belongs to the user {folder.uid}, who may let it lead elsewhere"
    if folder.mode & stat.S_IWOTH and not folder.mode & stat.S_ISVTX:
        return "every user of the host may put another file in its place"
    if folder.mode & stat.S_IWGRP and folder.gid not in trusted_gids and not folder.mode & stat.S_ISVTX:
        return f"the group {folder.gid}, which is not the service's, may put another file in its place"
    if _is_listed(folder, stat.S_IWGRP) and not folder.mode & stat.S_ISVTX:
        return "an access list lets others put another file in its place (getfacl shows it)"
    if folder.uid not in trusted_uids:
        return f"the folder belongs to the user {folder.uid}, who may put another file in its place"
    return None


__all__ = ("Rights", "judge_database_file", "judge_env_file", "judge_folder", "judge_private", "judge_way", "others_may")
