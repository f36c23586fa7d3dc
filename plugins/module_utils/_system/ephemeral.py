# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Files that are to be gone a moment later: made in a private folder, held while they live, swept when their maker died.

All is done through the descriptor of the folder, so that nothing can be put in its place underneath. A file is never
fsynced: with luck it never reaches the disk. Whether its maker is alive is the kernel's to say: the maker holds flock(2)
on the open file, and who can take that lock has found a leftover. A moment between making and locking would look like
one, so both, and the sweep, are done under a lock of the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
import typing as t

from .._errors import FileError, HeldLockError
from .files import ensure_private_directory, file_error
from .locks import take_lock

_POLL_S = 0.005
_FOLDER_LOCK_S = 60
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUID_FILE = re.compile(_UUID + r"\.env")
_UUID_FOLDER = re.compile(_UUID)


class EphemeralFolder:
    """An open directory, 0700 and ours, below directories that nobody else can swap."""

    def __init__(self, path: str, *, write: bool = True) -> None:
        """Make the directory if it is missing, and open it.

        Effects: missing parents are made (0755), a directory of ours that others may read is narrowed to 0700. Without
        C(write) none; the directory must be there.

        Raises:
            FileError: a symbolic link, somebody else's, writable by others, or below a directory that others can change.
        """
        self.path = os.path.abspath(path)
        require_private(self.path)
        if write:
            ensure_private_directory(self.path)
            require_private(self.path)
        self.descriptor = _open_folder(self.path, hidden=0o077 if write else 0o022)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.descriptor)

    def __enter__(self) -> EphemeralFolder:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @contextlib.contextmanager
    def locked(self) -> t.Iterator[None]:
        """Hold the lock of the folder, which nobody holds for longer than a moment.

        Raises:
            HeldLockError: somebody did.
        """
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            deadline = time.monotonic() + _FOLDER_LOCK_S
            while not take_lock(descriptor):
                if time.monotonic() > deadline:
                    raise HeldLockError(f"another run holds the folder {self.path} for more than {_FOLDER_LOCK_S} s; find out why")
                time.sleep(_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def sweep_files(self) -> list[str]:
        """Remove the files of dead runs. Returns their paths.

        Shapes: C({uuid}.env). A file whose maker lives is left alone, and a symbolic link is removed, not followed.
        """
        removed = []
        try:
            with self.locked():
                for name in sorted(os.listdir(self.descriptor)):
                    if _UUID_FILE.fullmatch(name) and self._sweep_file(name):
                        removed.append(os.path.join(self.path, name))
                if removed:
                    os.fsync(self.descriptor)
        except OSError as error:
            raise file_error("remove leftovers of dead runs in", self.path, error) from None
        return removed

    def leftovers(self) -> list[str]:
        """List what C(sweep_files) would remove, and touch nothing."""
        with self.locked():
            names = sorted(name for name in os.listdir(self.descriptor) if _UUID_FILE.fullmatch(name))
            return [os.path.join(self.path, name) for name in names if self._is_left(name)]

    def _is_left(self, name: str) -> bool:
        seen = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        if not stat.S_ISREG(seen.st_mode):
            return not stat.S_ISDIR(seen.st_mode)
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            return take_lock(descriptor)
        finally:
            os.close(descriptor)

    def _sweep_file(self, name: str) -> bool:
        seen = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        if stat.S_ISDIR(seen.st_mode):
            return False
        if not stat.S_ISREG(seen.st_mode):
            os.unlink(name, dir_fd=self.descriptor)
            return True
        descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            if not take_lock(descriptor):
                return False
            _blank(descriptor, durable=True)
            os.unlink(name, dir_fd=self.descriptor)
        finally:
            os.close(descriptor)
        return True

    @contextlib.contextmanager
    def held_directory(self, name: str) -> t.Iterator[int]:
        """Make a directory, 0700, that no sweep takes for the length of a with block; yield its descriptor.

        It stays when the block ends, for whoever was told of it meanwhile; it goes when the block fails.
        """
        try:
            with self.locked():
                os.mkdir(name, 0o700, dir_fd=self.descriptor)
                descriptor = _open_folder(name, within=self.descriptor)
                take_lock(descriptor)
        except OSError as error:
            raise file_error("make the directory", os.path.join(self.path, name), error) from None
        try:
            yield descriptor
        except BaseException:
            self._remove_directory(name, descriptor)
            raise
        finally:
            os.close(descriptor)

    def sweep_directories(self, needed: t.Callable[[], t.Container[str]]) -> list[str]:
        """Remove the directories of C(held_directory) that nobody holds and nobody needs. Returns their paths.

        C(needed) is asked after they are held, so that one that was let go a moment ago is known to who needs it.
        """
        held: dict[str, int] = {}
        removed = []
        try:
            with self.locked():
                for name in sorted(os.listdir(self.descriptor)):
                    if _UUID_FOLDER.fullmatch(name):
                        with contextlib.suppress(NotADirectoryError):
                            held[name] = _open_folder(name, within=self.descriptor)
                free = [name for name in held if take_lock(held[name])]
                wanted = needed() if free else ()
                for name in free:
                    if name not in wanted:
                        self._remove_directory(name, held[name])
                        removed.append(os.path.join(self.path, name))
        except OSError as error:
            raise file_error("remove leftovers of dead runs in", self.path, error) from None
        finally:
            for descriptor in held.values():
                os.close(descriptor)
        return removed

    def _remove_directory(self, name: str, descriptor: int) -> None:
        for entry in os.listdir(descriptor):
            with contextlib.suppress(OSError):
                opened = os.open(entry, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
                try:
                    _blank(opened, durable=False)
                finally:
                    os.close(opened)
            os.unlink(entry, dir_fd=descriptor)
        os.rmdir(name, dir_fd=self.descriptor)


class EphemeralFile:
    """A file, 0600, that is there for the length of a with block, however that ends, and whose life is measured."""

    def __init__(self, folder: EphemeralFolder, name: str, content: bytes) -> None:
        self.path = os.path.join(folder.path, name)
        self.lifetime_s = 0.0
        self._folder, self._name, self._content = folder, name, content
        self._descriptor = -1
        self._born_s = 0.0

    def __enter__(self) -> EphemeralFile:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with self._folder.locked():
                self._born_s = time.monotonic()
                self._descriptor = os.open(self._name, flags, 0o600, dir_fd=self._folder.descriptor)
                take_lock(self._descriptor)
            os.fchmod(self._descriptor, 0o600)
            if os.fstat(self._descriptor).st_uid != os.geteuid():
                raise FileError(f"{self.path} does not belong to us right after it was made; is the file system mapping owners?")
            written = 0
            while written < len(self._content):
                written += os.write(self._descriptor, self._content[written:])
        except OSError as error:
            self._destroy()
            raise file_error("write", self.path, error) from None
        except BaseException:
            self._destroy()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        self._destroy()

    def _destroy(self) -> None:
        if self._descriptor < 0:
            return
        try:
            _blank(self._descriptor, durable=False)
            with contextlib.suppress(FileNotFoundError):  # the parent of a process that hung may have swept it
                os.unlink(self._name, dir_fd=self._folder.descriptor)
            self.lifetime_s = time.monotonic() - self._born_s
        except OSError as error:
            raise file_error("remove", self.path, error) from None
        finally:
            os.close(self._descriptor)
            self._descriptor = -1


def require_private(path: str) -> bool:
    """Hold an existing directory to what C(EphemeralFolder) asks for, without touching it. Returns whether it is there.

    Raises:
        FileError: as there.
    """
    path = os.path.abspath(path)
    ours = (0, os.geteuid())
    for ancestor in _ancestors(path):
        try:
            link, seen = os.lstat(ancestor), os.stat(ancestor)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise file_error("look at", ancestor, error) from None
        shared = seen.st_mode & stat.S_IWOTH or (seen.st_mode & stat.S_IWGRP and seen.st_gid != 0)
        if link.st_uid not in ours or seen.st_uid not in ours or (shared and not seen.st_mode & stat.S_ISVTX):
            raise FileError(
                f"{path} lies below {ancestor}, which others than root and uid {os.geteuid()} can change; "
                "nothing was written; name a directory elsewhere, or fix its owner and mode"
            )
    try:
        seen = os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise file_error("look at", path, error) from None
    if stat.S_ISLNK(seen.st_mode):
        raise FileError(f"{path} is a symbolic link; nothing was written; move it away or name the directory itself")
    if not stat.S_ISDIR(seen.st_mode):
        raise FileError(f"{path} is not a directory; nothing was written; move it away or name another one")
    if seen.st_uid != os.geteuid():
        raise FileError(
            f"{path} belongs to uid {seen.st_uid}, not to us (uid {os.geteuid()}); nothing was written; run as its owner or fix it"
        )
    if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise FileError(
            f"{path} can be written by others (mode {stat.S_IMODE(seen.st_mode):04o}), so what lies in it cannot be trusted; "
            "nothing was written; look through it, then set its mode to 0700"
        )
    return True


def _ancestors(path: str) -> list[str]:
    """List the directories above a path, as it is written and as it leads."""
    found = []
    for start in (path, os.path.join(os.path.realpath(os.path.dirname(path)), "x")):
        above = start
        while above != "/":
            above = os.path.dirname(above)
            if above not in found:
                found.append(above)
    return found


def _open_folder(path: str, *, within: int | None = None, hidden: int = 0o077) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    except OSError as error:
        if within is not None:
            raise
        raise file_error("open the directory", path, error) from None
    seen = os.fstat(descriptor)
    if seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & hidden:
        os.close(descriptor)
        raise FileError(f"{path} was changed by somebody else while it was opened; nothing was written; find out by whom")
    return descriptor


def _blank(descriptor: int, *, durable: bool) -> None:
    """Overwrite a file with zeros as far as its disk lets us; it is removed in any case."""
    with contextlib.suppress(OSError):
        os.pwrite(descriptor, b"\x00" * os.fstat(descriptor).st_size, 0)
        if durable:
            os.fsync(descriptor)


__all__ = ("EphemeralFile", "EphemeralFolder", "require_private")
