# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The secrets of a webhook: one line, or two while one replaces the other."""

from __future__ import annotations

import os
import stat

_LARGEST = 4096
_SHORTEST = 16


class SecretFileError(Exception):
    """What the operator has to mend about the file; never with anything out of it."""


def read_secrets(path: str) -> list[str]:
    """Read the file as it is now, so that a secret is changed without a restart.

    Raises:
        SecretFileError: missing, open to others, empty, or not one or two secrets of a decent length.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SecretFileError(f"secret_file: cannot read {path}: {os.strerror(error.errno or 0)}") from None
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SecretFileError(f"secret_file: {path} is not a regular file")
        if found.st_uid not in (0, os.geteuid()):
            raise SecretFileError(f"secret_file: {path} belongs to uid {found.st_uid}; give it to uid {os.geteuid()}")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise SecretFileError(f"secret_file: {path} is open to others; make it 0600, and change the secrets if others could read them")
        content = stream.read(_LARGEST + 1)
    try:
        secrets = content.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise SecretFileError(f"secret_file: {path} is not text") from None
    secrets = [secret.strip() for secret in secrets if secret.strip()]
    if len(content) > _LARGEST or not 1 <= len(secrets) <= 2:
        raise SecretFileError(f"secret_file: {path} has one secret in a line, or two while one replaces the other, and nothing else")
    if min(len(secret) for secret in secrets) < _SHORTEST:
        raise SecretFileError(f"secret_file: a secret in {path} is shorter than {_SHORTEST} characters; make one with openssl rand -hex 32")
    return secrets


__all__ = ("SecretFileError", "read_secrets")
