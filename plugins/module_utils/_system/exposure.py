# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Who may read what on this host, and in which of the files that others may read given texts stand. Changes nothing."""

from __future__ import annotations

import gzip
import os
import stat
import typing as t
import zlib

from .files import file_error

_CHUNK = 1024 * 1024
_GZIP = b"\x1f\x8b"
_MOST_UNREAD = 20


def rights_of(path: str) -> os.stat_result:
    """Return the mode and owners of what a path names, through links.

    Raises:
        FileError: it is not there, or may not be looked at.
    """
    try:
        return os.stat(path)
    except OSError as error:
        raise file_error("look at", path, error) from None


def names_in(directory: str) -> list[str]:
    """Return what lies in a directory, by name.

    Raises:
        FileError: it may not be listed.
    """
    try:
        return sorted(os.listdir(directory))
    except OSError as error:
        raise file_error("list", directory, error) from None


def has_access_list(path: str) -> bool:
    """Tell whether a path has an access list of its own beside its mode, acl(5). File systems without them have none."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


class Search(t.NamedTuple):
    """What a search has found: C(found) as (path, names); how much it read; what it left out, and why."""

    found: list[tuple[str, list[str]]]
    files: int
    bytes_read: int
    left_out: list[str]


def search_readable(
    places: t.Sequence[str], needles: t.Mapping[str, t.Sequence[bytes]], *, most_bytes: int, spare: t.Container[str] = ()
) -> Search:
    """Search the regular files below some places that any user of the host may read, compressed ones (gzip) as well.

    Links are not followed, other file systems not entered, and folders that others may not enter are passed over: what lies there others
    cannot read. The search ends after C(most_bytes) and says so.
    """
    found: list[tuple[str, list[str]]] = []
    left_out: list[str] = []
    files = taken = 0
    for path in _readable(places, left_out):
        if os.path.realpath(path) in spare:
            continue
        files += 1
        try:
            names, size, is_whole = _found_in(path, needles, most_bytes - taken)
        except (OSError, EOFError, zlib.error) as error:
            if len(left_out) < _MOST_UNREAD:
                left_out.append(f"{path}: {os.strerror(error.errno) if isinstance(error, OSError) and error.errno else 'is damaged'}")
            continue
        taken += size
        if names:
            found.append((path, names))
        if not is_whole:
            left_out.append(f"the rest of {path}, and all after it: {most_bytes} bytes were searched")
            break
    return Search(found, files, taken, left_out)


def _readable(places: t.Sequence[str], left_out: list[str]) -> t.Iterator[str]:
    for place in places:
        try:
            status = os.lstat(place)
        except OSError:
            left_out.append(f"{place}: is not there")
            continue
        if not all(_lets_through(parent) for parent in _parents(place)):
            continue  # others do not get there
        if stat.S_ISREG(status.st_mode):
            if status.st_mode & stat.S_IROTH:
                yield place
            continue
        if not _lets_through(place):
            continue
        for directory, folders, names in os.walk(place):
            folders[:] = sorted(name for name in folders if _may_be_entered(os.path.join(directory, name), status.st_dev))
            for name in sorted(names):
                path = os.path.join(directory, name)
                try:
                    seen = os.lstat(path)
                except OSError:
                    continue
                if stat.S_ISREG(seen.st_mode) and seen.st_mode & stat.S_IROTH:
                    yield path


def _parents(path: str) -> list[str]:
    parents = []
    while os.path.dirname(path) != path:
        path = os.path.dirname(path)
        parents.append(path)
    return parents


def _lets_through(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & stat.S_IXOTH)
    except OSError:
        return False


def _may_be_entered(path: str, device: int) -> bool:
    try:
        seen = os.lstat(path)
    except OSError:
        return False
    return bool(stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_IXOTH and seen.st_dev == device)


def _found_in(path: str, needles: t.Mapping[str, t.Sequence[bytes]], most_bytes: int) -> tuple[list[str], int, bool]:
    """Return whose forms stand in a file, how many bytes of it were read, and whether those are all."""
    overlap = max((len(form) for forms in needles.values() for form in forms), default=1) - 1
    found: set[str] = set()
    taken = 0
    with open(path, "rb") as raw:
        is_packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream: t.IO[bytes] = t.cast("t.IO[bytes]", gzip.GzipFile(fileobj=raw)) if is_packed else raw
        before = b""
        while True:
            chunk = stream.read(min(_CHUNK, most_bytes - taken + 1))
            if not chunk:
                return sorted(found), taken, True
            taken += len(chunk)
            content = before + chunk
            found.update(name for name, forms in needles.items() if any(form in content for form in forms))
            before = content[-overlap:] if overlap else b""
            if taken > most_bytes:
                return sorted(found), taken, False


__all__ = ("Search", "has_access_list", "names_in", "rights_of", "search_readable")
