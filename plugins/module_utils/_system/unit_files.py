# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.
"""Unit files of systemd: a drop-in written in one step, and copies of a unit that a checker can look at."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import typing as t

from .._errors import FileError
from .files import file_error, read_file, remove_file, write_public_file

_PREVIOUS_SUFFIX = ".servos-ops-previous"  # systemd reads nothing but *.conf there
_MODE = 0o644


class DropInFile:
    """One drop-in of a unit, with what stood there before it, kept until the new one is proven."""

    def __init__(self, directory: str, name: str) -> None:
        self.directory = directory
        self.path = os.path.join(directory, name)
        self._previous = self.path + _PREVIOUS_SUFFIX

    def read(self) -> str | None:
        """Return its text, or None where there is none."""
        return _text_of(self.path)

    def written_at(self) -> float | None:
        """Return when it was written, in seconds since 1970, or None where there is none."""
        try:
            return os.stat(self.path).st_ctime
        except OSError:
            return None

    def is_unproven(self) -> bool:
        """Tell whether a run was cut off between writing it and proving it."""
        return os.path.lexists(self._previous)

    def keep_previous(self) -> None:
        """Keep what stands there now, unless an unproven run has kept what stood there before it."""
        if not self.is_unproven():
            try:
                os.makedirs(self.directory, mode=0o755, exist_ok=True)
            except OSError as error:
                raise file_error("make the directory", self.directory, error) from None
            write_public_file(self._previous, (self.read() or "").encode("utf-8"), mode=_MODE)

    def write(self, text: str | None) -> None:
        """Write it, or remove it (None)."""
        if text is None:
            remove_file(self.path)
        else:
            write_public_file(self.path, text.encode("utf-8"), mode=_MODE)

    def put_back(self) -> None:
        """Put back what was kept; nothing was kept of a drop-in that was not there."""
        self.write(_text_of(self._previous) or None)
        self.forget_previous()

    def forget_previous(self) -> None:
        """Let go of what was kept, and of a directory that holds nothing any more."""
        remove_file(self._previous)
        with contextlib.suppress(OSError):
            os.rmdir(self.directory)


@contextlib.contextmanager
def copied_unit(name: str, files: t.Mapping[str, str], *, fragment: str, drop_ins: t.Iterable[str]) -> t.Iterator[str]:
    """Copy a unit with its drop-ins into a directory of ours, 0700, add C(files) as further drop-ins, and yield the unit's path there.

    A drop-in of a name in C(files) is not copied. The directory is gone at the end.

    Raises:
        FileError: the unit cannot be read, or not be copied.
    """
    try:
        directory = tempfile.mkdtemp(prefix="servos-ops-unit-", dir="/run" if os.access("/run", os.W_OK) else None)
    except OSError as error:
        raise file_error("make a directory in", "/run", error) from None
    try:
        folder = os.path.join(directory, f"{name}.d")
        os.mkdir(folder)
        copies = {os.path.join(folder, os.path.basename(path)): path for path in drop_ins if os.path.basename(path) not in files}
        copies[os.path.join(directory, name)] = fragment
        for copy, path in copies.items():
            write_public_file(copy, read_file(path), mode=_MODE)
        for file_name, text in files.items():
            write_public_file(os.path.join(folder, file_name), text.encode("utf-8"), mode=_MODE)
        yield os.path.join(directory, name)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _text_of(path: str) -> str | None:
    if not os.path.lexists(path):
        return None
    try:
        return read_file(path).decode("utf-8")
    except UnicodeDecodeError:
        raise FileError(f"{path} is no text; move it away") from None


__all__ = ("DropInFile", "copied_unit")
