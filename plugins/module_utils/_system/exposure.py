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

# A Python can be built without them. To mypy a name of a module is never None, hence the two that are ignored below.
try:
    import bz2
except ImportError:
    bz2 = None  # type: ignore[assignment,unused-ignore]
try:
    import lzma
except ImportError:
    lzma = None  # type: ignore[assignment,unused-ignore]

_CHUNK = 1024 * 1024
_MOST_UNREAD = 20
_MOST_LINKS = 40
# By how they begin. What stands in those that are None cannot be read with what Python brings along.
_PACKED: dict[bytes, t.Callable[[t.IO[bytes]], t.IO[bytes]] | None] = {
    b"\x1f\x8b": lambda raw: t.cast("t.IO[bytes]", gzip.GzipFile(fileobj=raw)),
    b"BZh": (lambda raw: t.cast("t.IO[bytes]", bz2.BZ2File(raw))) if bz2 else None,
    b"\xfd7zXZ\x00": (lambda raw: t.cast("t.IO[bytes]", lzma.LZMAFile(raw))) if lzma else None,
    b"\x28\xb5\x2f\xfd": None,  # Zstandard
    b"PK\x03\x04": None,  # ZIP
    b"7z\xbc\xaf\x27\x1c": None,
    b"\x04\x22\x4d\x18": None,  # LZ4
}
_DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, *([lzma.LZMAError] if lzma else []))


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


def way_to(path: str) -> list[str]:
    """Return the folders, from the root on, and links that decide what a path names: who may change one of them may name another file.

    A link counts where others may make entries beside it (C(/tmp)) and only its owner keeps it; elsewhere its folder decides.
    """
    way, here, ahead, links = ["/"], "/", [name for name in os.path.abspath(path).split("/") if name], 0
    while ahead:
        name = ahead.pop(0)
        step = os.path.normpath(os.path.join(here, name))
        if os.path.islink(step) and links < _MOST_LINKS:
            links += 1
            if rights_of(here).st_mode & stat.S_ISVTX:
                way.append(step)
            target = os.readlink(step)
            here = "/" if target.startswith("/") else here
            ahead = [one for one in target.split("/") if one not in ("", ".")] + ahead
        elif os.path.isdir(step):
            here = step
            way.append(step)
    return list(dict.fromkeys(way))


class Search(t.NamedTuple):
    """What a search has found: C(found) as (path, names); how much it read; what it left out, and why."""

    found: list[tuple[str, list[str]]]
    files: int
    bytes_read: int
    left_out: list[str]


def search_readable(
    places: t.Sequence[str], needles: t.Mapping[str, t.Sequence[bytes]], *, most_bytes: int, spare: t.Container[str] = ()
) -> Search:
    """Search the regular files below some places that any user of the host may read, compressed ones (gzip, bzip2, xz) as well.

    A place may be a link; below it none is followed. Other file systems are not entered, and named. Folders that others may not enter are
    passed over: what lies there others cannot read. The search ends after C(most_bytes) and says so.
    """
    found: list[tuple[str, list[str]]] = []
    left_out: list[str] = []
    unopened: list[str] = []
    files = taken = 0
    for path in _readable(places, left_out):
        if os.path.realpath(path) in spare:
            continue
        files += 1
        try:
            names, size, is_whole, is_opened = _found_in(path, needles, most_bytes - taken)
        except _DAMAGED as error:
            names, size, is_whole, is_opened = [], 0, True, True
            left_out.append(f"{path}: {os.strerror(error.errno) if isinstance(error, OSError) and error.errno else 'is damaged'}")
        taken += size
        if not is_opened:
            unopened.append(path)
        if names:
            found.append((path, names))
        if not is_whole:
            left_out.append(f"the rest of {path}, and all after it: {most_bytes} bytes were searched")
            break
    if len(left_out) > _MOST_UNREAD:  # the last one may be that the search has ended
        left_out = [*left_out[: _MOST_UNREAD - 1], f"{len(left_out) - _MOST_UNREAD} more", left_out[-1]]
    if unopened:
        left_out.append(f"what is in {len(unopened)} files that are compressed in a way that is not read here, such as {unopened[0]}")
    return Search(found, files, taken, left_out)


def _readable(places: t.Sequence[str], left_out: list[str]) -> t.Iterator[str]:
    for named in places:
        place = os.path.realpath(named)
        try:
            status = os.stat(place)
        except OSError:
            left_out.append(f"{named}: is not there")
            continue
        if not all(_lets_through(parent) for parent in _parents(place)):
            continue  # others do not get there
        if stat.S_ISREG(status.st_mode):
            if status.st_mode & stat.S_IROTH:
                yield place
            continue
        if _lets_through(place):
            yield from _readable_below(place, status.st_dev, left_out)


def _readable_below(place: str, device: int, left_out: list[str]) -> t.Iterator[str]:
    def unlisted(error: OSError) -> None:
        left_out.append(f"{error.filename}: {os.strerror(error.errno or 0)}")

    for directory, folders, names in os.walk(place, onerror=unlisted):
        open_folders = [name for name in folders if _may_be_entered(os.path.join(directory, name))]
        folders[:] = []
        for name in sorted(open_folders):
            path = os.path.join(directory, name)
            if _device_of(path) == device:
                folders.append(name)
            else:
                left_out.append(f"{path}: is another file system; name it as a place to search, if it is to be searched")
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


def _may_be_entered(path: str) -> bool:
    try:
        seen = os.lstat(path)
    except OSError:
        return False
    return bool(stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_IXOTH)


def _device_of(path: str) -> int | None:
    try:
        return os.lstat(path).st_dev
    except OSError:
        return None


def _found_in(path: str, needles: t.Mapping[str, t.Sequence[bytes]], most_bytes: int) -> tuple[list[str], int, bool, bool]:
    """Return whose forms stand in a file, how many bytes of it were read, whether those are all, and whether it could be unpacked."""
    overlap = max((len(form) for forms in needles.values() for form in forms), default=1) - 1
    found: set[str] = set()
    taken = 0
    # Between a look at it and this, its owner may have put a link or a pipe in its place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as raw:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return [], 0, True, True
        begin = raw.read(max(map(len, _PACKED)))
        raw.seek(0)
        packed = next((mark for mark in _PACKED if begin.startswith(mark)), None)
        unpack = _PACKED[packed] if packed else None
        stream: t.IO[bytes] = unpack(raw) if unpack else raw
        is_opened = packed is None or unpack is not None
        before = b""
        while True:
            chunk = stream.read(min(_CHUNK, most_bytes - taken + 1))
            if not chunk:
                return sorted(found), taken, True, is_opened
            taken += len(chunk)
            content = before + chunk
            found.update(name for name, forms in needles.items() if any(form in content for form in forms))
            before = content[-overlap:] if overlap else b""
            if taken > most_bytes:
                return sorted(found), taken, False, is_opened


__all__ = ("Search", "has_access_list", "names_in", "rights_of", "search_readable", "way_to")
