# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Private files: written whole or not at all, never readable by others in between, and durable before we go on.

M(ansible.builtin.copy)'s atomic_move gives a new file the mode 0666 minus umask and never calls fsync, so nothing that
holds a key goes through it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import typing as t

from .._errors import FileError
from .mounts import is_mounted

_PARENT_MODE = 0o755
_TEMPORARY_SUFFIX = ".servos-ops-new"


def ensure_private_directory(path: str) -> bool:
    """Make a directory, 0700 and owned by us, or hold an existing one to that.

    Effects: makes missing parents (0755), narrows the mode, fsyncs the parent. Returns whether anything changed.

    Raises:
        FileError: it is a symbolic link, no directory, or belongs to another user.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise file_error("look at", path, error) from None
    if found is None:
        try:
            _make_parents(os.path.dirname(path))
            os.mkdir(path, 0o700)
            fsync_directory(os.path.dirname(path))
        except OSError as error:
            raise file_error("make the directory", path, error) from None
        return True
    if not stat.S_ISDIR(found.st_mode):
        raise FileError(f"{path} is not a directory (or is a symbolic link); move it away or name another one")
    if found.st_uid != os.geteuid():
        raise FileError(f"{path} belongs to uid {found.st_uid}, not to us (uid {os.geteuid()}); run as its owner or fix it")
    if stat.S_IMODE(found.st_mode) & 0o077:
        os.chmod(path, 0o700)
        return True
    return False


def _make_parents(path: str) -> None:
    """Make what is missing of a path, 0755 whatever the umask: a service of another user may have to pass through."""
    if path and not os.path.isdir(path):
        _make_parents(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, _PARENT_MODE)


def write_private_file(path: str, content: bytes) -> None:
    """Write a file of ours, 0600, and come back only when it is on disk.

    Effects: temporary file beside it (made 0600), write, fsync, rename, fsync of the directory.
    """
    _write(path, content, prepare=None)


def write_public_file(path: str, content: bytes, *, mode: int) -> None:
    """Write a file that holds no secret in one step, with a mode of its own, and come back only when it is on disk."""
    _write(path, content, prepare=lambda descriptor: os.fchmod(descriptor, mode))


def replace_file_content(path: str, content: bytes, *, last_look: t.Callable[[], None] = lambda: None) -> None:
    """Swap the content of somebody else's file in one step: owner, group, mode, ACL and SELinux context stay.

    A symbolic link stays one: the file that it leads to is swapped. C(last_look) is called last of all before that; what it raises
    leaves the file as it is.
    """
    target = os.path.realpath(path)
    try:
        before = os.stat(target)
    except OSError as error:
        raise file_error("look at", path, error) from None
    if not stat.S_ISREG(before.st_mode):
        raise FileError(f"{path} is not a regular file; move it away or name another path")

    def take_over(descriptor: int) -> None:
        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
        _copy_extended_attributes(target, descriptor)

    _write(target, content, prepare=take_over, last_look=last_look)


def _write(
    path: str, content: bytes, *, prepare: t.Callable[[int], None] | None, last_look: t.Callable[[], None] = lambda: None
) -> None:
    # A fixed name: what a killed run leaves is found and overwritten by the next one, never a trail of random names.
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}{_TEMPORARY_SUFFIX}")
    try:
        if os.path.islink(temporary):
            remove_file(temporary)  # it holds no secret, and what it leads to is not ours
        destroy_file(temporary)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            written = 0
            while written < len(content):
                written += os.write(descriptor, content[written:])
            if prepare is not None:
                prepare(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        last_look()
        os.replace(temporary, path)
        fsync_directory(directory)
    except OSError as error:
        _remove_quietly(temporary)
        raise file_error("write", path, error) from None
    except BaseException:
        _remove_quietly(temporary)
        raise


def _copy_extended_attributes(source: str, descriptor: int) -> None:
    """Carry over SELinux context, ACLs and the rest; a file system without them has nothing to carry."""
    try:
        names = os.listxattr(source)
    except OSError:
        return
    for name in names:
        value = os.getxattr(source, name)
        try:
            if os.getxattr(descriptor, name) == value:
                continue
        except OSError:
            pass
        os.setxattr(descriptor, name, value)


def require_replaceable(path: str) -> None:
    """Refuse a file whose content C(replace_file_content) could not swap.

    Raises:
        FileError: it, or its directory, cannot be written.
    """
    target = os.path.realpath(path)
    for what in (target, os.path.dirname(target)):
        if not os.access(what, os.W_OK):
            raise FileError(
                f"{what} cannot be written by uid {os.geteuid()} (permissions, or a read-only file system), "
                f"so {path} could not be swapped; nothing was changed; run as root (become: true), or mount it writable"
            )
    if is_mounted(target):
        raise FileError(f"{target} is mounted by itself and cannot be swapped in one step; nothing was changed; mount its directory")


def leftover_of(path: str) -> str | None:
    """Return the temporary file that a killed write of C(path) left behind, if there is one."""
    directory, name = os.path.split(os.path.realpath(path))
    temporary = os.path.join(directory, f".{name}{_TEMPORARY_SUFFIX}")
    return temporary if os.path.lexists(temporary) else None


def set_aside(path: str) -> None:
    """Give a file the name of what a killed write leaves, under which it is found and destroyed."""
    directory, name = os.path.split(path)
    rename_file(path, os.path.join(directory, f".{name}{_TEMPORARY_SUFFIX}"))


def clear_leftover_of(path: str) -> bool:
    """Destroy the temporary file that a killed write of C(path) left behind. Returns whether there was one.

    For who holds the lock under which C(path) is written; anybody else would take it from under a write that is under way.

    Raises:
        FileError: it cannot be removed.
    """
    leftover = leftover_of(path)
    if leftover is None:
        return False
    return remove_file(leftover) if os.path.islink(leftover) else destroy_file(leftover)


def read_file(path: str, *, limit_bytes: int = 4 * 1024 * 1024) -> bytes:
    """Read a regular file of moderate size.

    Raises:
        FileError: missing, unreadable, no regular file, or larger than C(limit_bytes).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise file_error("read", path, error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileError(f"cannot read {path}: it is not a regular file; put a plain file there")
    with os.fdopen(descriptor, "rb") as stream:
        content = stream.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise FileError(f"cannot read {path}: it is larger than {limit_bytes} bytes; see what it is")
    return content


def remove_file(path: str) -> bool:
    """Remove a file if it is there, and fsync its directory. Returns whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise file_error("remove", path, error) from None
    try:
        fsync_directory(os.path.dirname(path))
    except OSError as error:
        raise file_error("make durable that there is no", path, error) from None
    return True


def destroy_file(path: str) -> bool:
    """Overwrite a small secret file with zeros, fsync, then remove it. Returns whether it was there.

    A journaling or copy-on-write file system, or a flash disk, may keep the old blocks all the same.
    """
    try:
        if stat.S_ISFIFO(os.lstat(path).st_mode):
            return remove_file(path)  # one that nobody reads would hold us for ever, and it keeps nothing
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise file_error("overwrite", path, error) from None
    try:
        os.write(descriptor, b"\x00" * os.fstat(descriptor).st_size)
        os.fsync(descriptor)
    except OSError as error:
        raise file_error("overwrite", path, error) from None
    finally:
        os.close(descriptor)
    return remove_file(path)


def rename_file(source: str, target: str) -> None:
    """Rename within one directory, replacing the target, and make it durable."""
    try:
        os.replace(source, target)
        fsync_directory(os.path.dirname(target))
    except OSError as error:
        raise file_error("rename to", target, error) from None


def fsync_file(path: str) -> None:
    """Make a file that somebody else wrote, and its name, durable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fsync_directory(os.path.dirname(os.path.abspath(path)))
    except OSError as error:
        raise file_error("make durable", path, error) from None


def fsync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_if_only(directory: str, path: str) -> None:
    """Remove a directory of ours that holds nothing but C(path), so that a run that did nothing leaves nothing."""
    with contextlib.suppress(OSError):  # somebody else may be using it by now, which is as good
        if os.listdir(directory) == [os.path.basename(path)]:
            os.unlink(path)
            os.rmdir(directory)


def free_bytes(path: str) -> int:
    """Return how many bytes we may still write where C(path), or its nearest existing parent, lies."""
    while not os.path.exists(path):
        path = os.path.dirname(path) or "/"
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize


def _remove_quietly(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def file_error(what: str, path: str, error: OSError) -> FileError:
    """Say what failed on which file, why, and what to do about it."""
    if error.errno == errno.ENOSPC:
        return FileError(f"cannot {what} {path}: no space left on its disk; make room and run again")
    if error.errno == errno.EROFS:
        return FileError(f"cannot {what} {path}: its file system is mounted read-only; mount it writable, or name a path elsewhere")
    if error.errno == errno.EPERM and os.geteuid() == 0:
        return FileError(
            f"cannot {what} {path}: permission denied even to root: it or its directory is immutable, or its file system or a security "
            "module forbids it; see lsattr (chattr -i ends it), and the log of the kernel"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return FileError(f"cannot {what} {path}: permission denied{_way_past_a_denial(path)}")
    if error.errno == errno.ELOOP:
        return FileError(f"cannot {what} {path}: it is a symbolic link, and none is followed there, or a loop of them; remove it")
    if error.errno == errno.EISDIR:
        return FileError(f"cannot {what} {path}: it is a directory; move it away or name another path")
    if error.errno == errno.ENOTDIR:
        return FileError(f"cannot {what} {path}: {_file_among_parents(path)}; move that away or name another path")
    if error.errno == errno.ENOENT:
        return FileError(f"cannot {what} {path}: no such file or directory; make it, or correct its path")
    return FileError(f"cannot {what} {path}: {os.strerror(error.errno or 0)}; see to that, then run again")


def _way_past_a_denial(path: str) -> str:
    for owned, whose in ((path, "its owner"), (os.path.dirname(path) or ".", "the owner of its directory")):
        with contextlib.suppress(OSError):
            return f"; run as root (become: true) or as {whose} (uid {os.lstat(owned).st_uid})"
    return "; run as root (become: true) or as its owner"


def _file_among_parents(path: str) -> str:
    parent = os.path.dirname(path)
    while parent and not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    return f"{parent or 'a part of it'} is not a directory"


__all__ = (
    "clear_leftover_of",
    "destroy_file",
    "ensure_private_directory",
    "file_error",
    "free_bytes",
    "fsync_directory",
    "fsync_file",
    "leftover_of",
    "read_file",
    "remove_file",
    "remove_if_only",
    "rename_file",
    "replace_file_content",
    "require_replaceable",
    "set_aside",
    "write_private_file",
    "write_public_file",
)
