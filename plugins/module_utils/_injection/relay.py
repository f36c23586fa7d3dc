# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Hand variables from the control host to a node, so that the controller between them carries ciphertext only.

The node makes a key pair for this one time and keeps the private half in the secrets directory, 0600; the control host
seals the variables to the public half; the node opens them and destroys its half. What nobody answered is destroyed by
the next request, an hour later at the latest, or at boot.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import time
import typing as t

from .._errors import FileError, InjectionError
from .._sealing import hpke
from .._system import files

NODE_KEY_NAME = "digest.key"
_PURPOSE = b"servos.ops secret relay v1\x00"
_CHECK_MODE = b"servos.ops secret relay in check mode v1\x00"
_REQUEST_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_SUFFIX = ".request"
_FORGOTTEN_AFTER_S = 3600


def make_request(directory: str, request_id: str, *, entropy: t.Callable[[int], bytes]) -> bytes:
    """Make a key pair for one answer; return its public half.

    Effects: writes C({directory}/{request_id}.request), 0600; destroys requests that nobody answered for an hour. The
    directory must be there and be private.
    """
    _destroy_forgotten(directory)
    private = entropy(hpke.KEY_BYTES)
    files.write_private_file(_path(directory, request_id), private)
    return hpke.public_key_of(private)


def take_request(directory: str, request_id: str) -> bytes:
    """Return the private half of a request, and destroy it: an answer is opened once.

    Raises:
        InjectionError: there is no such request (any more).
    """
    path = _path(directory, request_id)
    try:
        private = files.read_file(path, limit_bytes=hpke.KEY_BYTES)
    except FileError:
        raise InjectionError(
            f"there is no request {request_id} in {directory}: it was answered before, or is older than an hour, or this is another "
            "host; run the role from its beginning"
        ) from None
    files.destroy_file(path)
    if len(private) != hpke.KEY_BYTES:
        raise InjectionError(f"{path} was not written whole; run the role from its beginning")
    return private


def pretend_request(directory: str, request_id: str, *, entropy: t.Callable[[int], bytes]) -> bytes:
    """Return the public half of a request of check mode, whose private half is derived from the node's key. Writes nothing."""
    private = pretended_private_key(directory, request_id)
    # A node without a key of its own has no container yet, and nothing to compare.
    return hpke.public_key_of(private if private is not None else entropy(hpke.KEY_BYTES))


def pretended_private_key(directory: str, request_id: str) -> bytes | None:
    """Return the private half of a request of check mode, or None where this node has no key of its own yet."""
    _path(directory, request_id)
    path = os.path.join(directory, NODE_KEY_NAME)
    if not os.path.lexists(path):
        return None
    node_key = files.read_file(path, limit_bytes=4096)
    return hmac.new(node_key, _CHECK_MODE + request_id.encode("ascii"), hashlib.sha256).digest()


def seal_variables(recipient: str, request_id: str, variables: t.Mapping[str, str], *, entropy: t.Callable[[int], bytes]) -> str:
    """Return the variables sealed to a public key (Base64), as Base64.

    Raises:
        InjectionError: the recipient is no public key.
    """
    try:
        public = base64.b64decode(recipient, validate=True)
    except (binascii.Error, ValueError):
        public = b""
    if len(public) != hpke.KEY_BYTES:
        raise InjectionError("recipient is not a public key (Base64 of 32 bytes); give the one that servos_secret_request returned")
    plaintext = json.dumps(dict(variables)).encode("ascii")
    return base64.b64encode(hpke.seal_to(public, plaintext, info=_info(request_id), entropy=entropy)).decode("ascii")


def open_variables(private: bytes, request_id: str, sealed: str) -> dict[str, str]:
    """Return what was sealed to a request.

    Raises:
        InjectionError: it was sealed to another one, or was changed on the way.
    """
    try:
        message = base64.b64decode(sealed, validate=True)
    except (binascii.Error, ValueError):
        message = b""
    plaintext = hpke.open_sealed(private, message, info=_info(request_id))
    if plaintext is None:
        raise InjectionError(
            f"sealed does not open for the request {request_id}: it was sealed to another request, or changed on the way; "
            "run the role from its beginning"
        )
    return t.cast("dict[str, str]", json.loads(plaintext.decode("ascii")))


def _info(request_id: str) -> bytes:
    return _PURPOSE + request_id.encode("utf-8")


def _path(directory: str, request_id: str) -> str:
    if not _REQUEST_ID.match(request_id):
        raise InjectionError("request_id is not the id of a request; give the one that servos_secret_request returned")
    return os.path.join(directory, request_id + _SUFFIX)


def _destroy_forgotten(directory: str) -> None:
    now = time.time()
    for name in os.listdir(directory):
        # With a dot in front and a suffix behind, it is what a killed write left.
        if _SUFFIX not in name or not _REQUEST_ID.match(name.lstrip(".").partition(_SUFFIX)[0]):
            continue
        path = os.path.join(directory, name)
        try:
            age_s = now - os.lstat(path).st_mtime
        except FileNotFoundError:
            continue
        if age_s > _FORGOTTEN_AFTER_S:
            files.destroy_file(path)


__all__ = ("make_request", "open_variables", "pretend_request", "pretended_private_key", "seal_variables", "take_request")
