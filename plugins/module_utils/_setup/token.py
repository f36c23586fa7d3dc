# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The token that makes the first admin: where it lies, handing it to the operator, and destroying it.

Nothing that is returned holds the token, or anything that is computed from it.
"""

from __future__ import annotations

import os
import stat
import typing as t

from .._errors import EngineError, FileError
from .._system import files
from .container_log import log_lines
from .places import Place
from .token_text import grep_pattern, read_log, token_of_file

if t.TYPE_CHECKING:
    from .._injection.engine import Engine, Runner

_LIMIT_BYTES = 64 * 1024


class TokenLog(t.NamedTuple):
    """Which container's log is searched, and by what."""

    engine: Engine
    run: Runner
    name: str
    phrase: str
    since: str
    timeout_s: float


class Found(t.NamedTuple):
    """The places of tokens, and what a person should know of them."""

    places: tuple[Place, ...]
    has_container: bool
    warnings: tuple[str, ...]
    unsearched: tuple[str, ...] = ()


def look(path: str, owner_uid: int | None, log: TokenLog | None, *, must_ask: bool) -> Found:
    """Look for tokens. Reads only.

    Args:
        must_ask: whether an engine that does not answer is an error. Who only looks is warned of it.

    Raises:
        FileError: a file is not to be trusted, or cannot be read.
        EngineError: the engine, or the container's log, cannot be asked.
    """
    paths: list[str] = [path]
    places: list[Place] = []
    warnings: list[str] = []
    unsearched: list[str] = []
    if log is not None and log.engine.is_installed() and not must_ask:
        try:
            log.engine.require()
        except EngineError as error:
            warnings.append(f"no log was searched: {error}")
            unsearched.append(f"the log of the container {log.name}: {error}")
            log = None
    container_id = None
    if log is not None and log.engine.is_installed():  # where there is no engine there is no container
        log.engine.require()
        found = log.engine.find([log.name]).get(log.name)
        container_id = None if found is None else found.container_id
        shown = (log.engine.inspect(container_id) if container_id else None) or {}
        paths += [mounted for mounted in _mounted_as(path, shown) if os.path.realpath(mounted) != os.path.realpath(path)]
        if container_id:
            more, said = _in_log(log, container_id, str(((shown.get("HostConfig") or {}).get("LogConfig") or {}).get("Type", "")))
            places += more
            warnings += said
    in_files: list[Place] = []
    for each in paths:
        more, said = _in_file(each, owner_uid)
        in_files += more
        warnings += said
    if container_id is None and not os.path.isdir(os.path.dirname(path)):
        what = f" nor a container {log.name}" if log is not None else ""
        warnings.append(f"there is neither {os.path.dirname(path)}{what} on this host; is it the right host?")
    return Found((*in_files, *places), container_id is not None, tuple(warnings), tuple(unsearched))


def _mounted_as(path: str, shown: t.Mapping[str, t.Any]) -> list[str]:
    """Return where on this host lies what the container has at C(path)."""
    mounts = [mount for mount in shown.get("Mounts") or () if mount.get("Source") and mount.get("Destination")]
    inside = [mount for mount in mounts if path.startswith(mount["Destination"].rstrip("/") + "/") or path == mount["Destination"]]
    nearest = sorted(inside, key=lambda mount: len(mount["Destination"]))[-1:]
    return [mount["Source"] + path[len(mount["Destination"].rstrip("/")) :] for mount in nearest]


def _in_log(log: TokenLog, container_id: str, driver: str) -> tuple[list[Place], list[str]]:
    text = log_lines(
        log.run,
        log.engine.command,
        container_id,
        name=log.name,
        driver=driver,
        pattern=grep_pattern(log.phrase),
        since=log.since,
        timeout_s=log.timeout_s,
    )
    reading = read_log(text, phrase=log.phrase)
    newest = {shown.token: shown for shown in reading.tokens}  # the last of each, in the order of the first
    warnings = []
    if len(newest) > 1:
        warnings.append(f"the log of the container {log.name} shows {len(newest)} different setup tokens")
    if reading.unread:
        warnings.append(
            f"the log of the container {log.name} speaks of a setup token in {reading.unread} lines in which none could be made out; "
            "look there by hand"
        )
    where = f"{log.engine.command} logs {log.name}"
    return [Place("log", where, shown.token, shown.printed_at, None) for shown in newest.values()], warnings


def _in_file(path: str, owner_uid: int | None) -> tuple[list[Place], list[str]]:
    leftover = files.leftover_of(path) if not os.path.islink(path) else None
    places, warnings = [], []
    for kind, each in (("file", path), ("interrupted", leftover)):
        if each is None or not os.path.lexists(each):
            continue
        found = _require_trusted(each, owner_uid)
        token = token_of_file(files.read_file(each, limit_bytes=_LIMIT_BYTES), where=each)
        mode = stat.S_IMODE(found.st_mode)
        if token and mode & 0o077:
            whom = "every user" if mode & 0o007 else "its group"
            warnings.append(f"{each} has the mode {mode:04o}: {whom} of this host may use it; take that away, and treat it as known")
        places.append(Place(kind, each, token, found.st_mtime, f"{mode:04o}"))
    return places, warnings


def _require_trusted(path: str, owner_uid: int | None) -> os.stat_result:
    """Hold a file to being one that nobody could have put there to have another one read, or overwritten, by us."""
    try:
        found, above = os.lstat(path), os.stat(os.path.dirname(path))
    except OSError as error:
        raise files.file_error("look at", path, error) from None
    if stat.S_ISLNK(found.st_mode):
        raise FileError(f"{path} is a symbolic link, and none is followed here; remove it, or set path to where it leads")
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{path} is not a regular file; remove it, or correct path")
    trusted = {0, above.st_uid} if owner_uid is None else {owner_uid}
    if found.st_uid not in trusted:
        whose = " or ".join(f"uid {uid}" for uid in sorted(trusted))
        raise FileError(f"{path} belongs to uid {found.st_uid}, not to {whose}; see who put it there, or set owner")
    if found.st_nlink > 1:
        raise FileError(f"{path} has {found.st_nlink} names (hard links); nothing was changed; see what the other one is, and remove one")
    return found


def hand_over(found: Found, dest: str, *, write: bool) -> bool:
    """Put the token into a private file, 0600, for the operator to fetch. Returns whether that changes anything.

    Raises:
        FileError: there is no token, or more than one, or C(dest) is something else.
    """
    in_files = {place.token for place in found.places if place.kind == "file" and place.token}
    tokens = in_files or {place.token for place in found.places if place.token}
    if len(tokens) != 1:
        what = "there is no setup token" if not tokens else f"there are {len(tokens)} different setup tokens"
        raise FileError(f"{what}, so none was written to {dest}; see places, and set path, container or log_since so that there is one")
    if any(os.path.realpath(dest) == os.path.realpath(place.where) for place in found.places if place.kind != "log"):
        raise FileError(f"dest is {dest}, where the token lies already; name another path")
    content = "".join(tokens).encode("ascii") + b"\n"
    if _holds(dest, content):
        return False
    if write:
        files.write_private_file(dest, content)
    return True


def _holds(dest: str, content: bytes) -> bool:
    """Return whether a file is a private one with this content; refuse one that holds anything but a token."""
    if not os.path.lexists(dest):
        return False
    found = _require_trusted(dest, os.geteuid())
    kept = files.read_file(dest, limit_bytes=_LIMIT_BYTES)
    token_of_file(kept, where=dest)
    return kept == content and stat.S_IMODE(found.st_mode) == 0o600


def remove(found: Found, dest: str | None, *, write: bool) -> list[str]:
    """Overwrite and remove every file with the token, and the copy of it. Returns their paths.

    It loses its name first: what a kill leaves is found by the next run.

    Raises:
        FileError: one cannot be removed, or is something else.
    """
    paths = [place.where for place in found.places if place.kind == "file"]
    if dest is not None and (os.path.lexists(dest) or files.leftover_of(dest)):
        if os.path.lexists(dest):
            _holds(dest, b"")
        paths.append(dest)
    gone = [*paths, *(place.where for place in found.places if place.kind == "interrupted")]
    if write:
        for path in paths:
            files.clear_leftover_of(path)
            if os.path.lexists(path):
                files.set_aside(path)
                files.clear_leftover_of(path)
        for place in found.places:
            if place.kind == "interrupted":
                files.destroy_file(place.where)
    return gone


__all__ = ("Found", "TokenLog", "hand_over", "look", "remove")
