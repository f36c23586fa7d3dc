# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Look up what a delivery leaves visible on the host: names of variables and places, never values.

A value of eight or more characters is looked for as such; a shorter one, which is found by chance, as C(NAME=value).
"""

from __future__ import annotations

import errno
import json
import os
import stat
import typing as t

from .._system.mounts import file_system_of, has_swap
from .engine import Engine
from .plan import Container
from .wanted import Wanted

_TELLING = 8
_CHUNK = 1024 * 1024


def residue_of(
    engine: Engine, container: Container, wanted: Wanted, *, env_file: str | None, secrets_dir: str, mounted: str | None
) -> dict[str, t.Any]:
    """Look at a container that was started, and at everything around it.

    Args:
        env_file: path of the file of this run, if there was one.
        mounted: the directory of its mounted secrets, if there is one.
    """
    unread: set[str] = set()
    needles = {name: _needles(name, value) for name, value in wanted.variables.items()}
    shown = json.dumps(engine.inspect(container.container_id), ensure_ascii=False).encode("utf-8", "surrogateescape")
    return {
        "env_file": "present" if env_file is not None and os.path.lexists(env_file) else "gone",
        "secrets_dir_filesystem": file_system_of(secrets_dir),
        "swap_active": has_swap(),
        "inspect": _named(shown, needles),
        "process_environment": _named(_environment_of(container.pid, unread), needles),
        "engine_state": dict(_searched(engine.state_paths(container.container_id), needles, unread)),
        "mounted_files": [] if mounted is None else sorted(_files_below(mounted, unread)),
        "mount_filesystem": None if mounted is None else file_system_of(mounted),
        "unread": sorted(unread),
    }


def _needles(name: str, value: str) -> list[bytes]:
    """Return the forms in which a value may stand in a file: as it is, and as JSON, also as Go writes that."""
    text = value if len(value) >= _TELLING else f"{name}={value}"
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    go = plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    go = go.replace("\\b", "\\u0008").replace("\\f", "\\u000c") if {"\b", "\f"} & set(text) else go
    forms = {text, plain, go, go.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"), json.dumps(text)[1:-1]}
    return sorted(form.encode("utf-8") for form in forms)


def _named(content: bytes, needles: t.Mapping[str, t.Sequence[bytes]]) -> list[str]:
    return sorted(name for name, forms in needles.items() if any(form in content for form in forms))


def _environment_of(pid: int, unread: set[str]) -> bytes:
    path = f"/proc/{pid}/environ"
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as error:
        _note(error, path, unread)
        return b""


def _note(error: OSError, path: str, unread: set[str]) -> None:
    """Note a place that is there and could not be read; what is gone (also a process that has ended) holds nothing."""
    if error.errno not in (errno.ENOENT, errno.ESRCH, errno.ENOTDIR):
        unread.add(path)


def _searched(
    places: t.Iterable[str], needles: t.Mapping[str, t.Sequence[bytes]], unread: set[str]
) -> t.Iterator[tuple[str, list[str]]]:
    places = list(places)
    if not any(os.path.lexists(place) for place in places):  # an engine of another host, or in a container of its own
        unread.update(places)
    for path in sorted({path for place in places for path in _files_below(place, unread)}):
        found = _found_in(path, needles, unread)
        if found:
            yield path, found


def _files_below(place: str, unread: set[str]) -> t.Iterator[str]:
    if os.path.isfile(place) and not os.path.islink(place):
        yield place
        return
    for directory, folders, names in os.walk(place, onerror=lambda error: _note(error, str(error.filename), unread)):
        folders[:] = [name for name in folders if not os.path.ismount(os.path.join(directory, name)) and name != "rootfs"]
        for name in names:
            path = os.path.join(directory, name)
            try:
                if stat.S_ISREG(os.lstat(path).st_mode):
                    yield path
            except OSError as error:
                _note(error, path, unread)


def _found_in(path: str, needles: t.Mapping[str, t.Sequence[bytes]], unread: set[str]) -> list[str]:
    """Read a file piece by piece, with what the longest needle needs of the piece before."""
    overlap = max((len(form) for forms in needles.values() for form in forms), default=0)
    found: set[str] = set()
    try:
        with open(path, "rb") as stream:
            before = b""
            for chunk in iter(lambda: stream.read(_CHUNK), b""):
                found.update(_named(before + chunk, needles))
                before = (before + chunk)[-overlap:] if overlap else b""
    except OSError as error:
        _note(error, path, unread)
    return sorted(found)


__all__ = ("residue_of",)
