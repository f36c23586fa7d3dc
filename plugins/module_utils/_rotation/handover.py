# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Hand a master key from one control host to another, so that the controller between them carries ciphertext only.

A host that may be given a key makes a key pair for this one time; its private half stays in the state directory, 0600, until the
key has come. The request is a claim as well: a later run makes a new one, and what an earlier run still wants to do is refused then.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import typing as t
import uuid

from .._errors import KeyFormatError, KeyMissingError
from .._keys.material import MasterKey
from .._sealing import hpke
from .._system import files
from .installation import Installation

_PURPOSE = b"servos.ops key handover v1\x00"
_NAME = "handover.request"
_REQUEST_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class Request(t.NamedTuple):
    """C(recipient) is the public key, X25519, in Base64."""

    request_id: str
    recipient: str


class Handover:
    """The one request of an installation on this host."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._path = os.path.join(installation.state_dir, _NAME)

    def ask(self, *, entropy: t.Callable[[int], bytes]) -> Request:
        """Make a new request in the place of any earlier one, which counts no more.

        Effects: writes the private half, 0600, into the state directory.
        """
        files.clear_leftover_of(self._path)
        files.destroy_file(self._path)
        private, request_id = entropy(hpke.KEY_BYTES), str(uuid.UUID(bytes=entropy(16), version=4))
        self._write(request_id, private)
        return Request(request_id, base64.b64encode(hpke.public_key_of(private)).decode("ascii"))

    def require(self, request_id: str) -> None:
        """Refuse a run that another one has taken the place of.

        Raises:
            KeyMissingError: the request is not the last one.
        """
        if self._read().get("request_id") != request_id:
            raise KeyMissingError(
                f"the request {request_id} is not the one that waits in {self._installation.state_dir}: another run has begun since, or "
                "this one has ended; nothing was changed; run the playbook from its beginning"
            )

    def take(self, request_id: str, ciphertext: str) -> MasterKey:
        """Return the key that was sealed to the request; it opens as often as it is asked for, until the request is closed.

        Raises:
            KeyMissingError: the request is not the last one.
            KeyFormatError: the key was sealed to another one, or changed on the way.
        """
        self.require(request_id)
        private = _decoded(str(self._read().get("private")))
        plaintext = None
        if len(private) == hpke.KEY_BYTES:
            plaintext = hpke.open_sealed(private, _decoded(ciphertext), info=_info(request_id))
        if plaintext is None:
            raise KeyFormatError(
                f"the key does not open for the request {request_id}: it was sealed to another request, or changed on the way; "
                "nothing was changed; run the playbook from its beginning"
            )
        return self._installation.parse(plaintext.decode("utf-8", "surrogateescape"), where="the sealed key")

    def close(self) -> None:
        """Destroy the request."""
        files.clear_leftover_of(self._path)
        files.destroy_file(self._path)

    def _write(self, request_id: str, private: bytes) -> None:
        files.ensure_private_directory(self._installation.state_dir)
        content = {"request_id": request_id, "private": base64.b64encode(private).decode("ascii")}
        files.write_private_file(self._path, json.dumps(content).encode("ascii"))

    def _read(self) -> dict[str, t.Any]:
        if not os.path.lexists(self._path):
            return {}
        try:
            found = json.loads(files.read_file(self._path, limit_bytes=4096).decode("ascii"))
        except ValueError:  # a run was killed while it was destroyed
            return {}
        return found if isinstance(found, dict) else {}


def seal_key(key: MasterKey, request: Request, *, entropy: t.Callable[[int], bytes]) -> str:
    """Return a key sealed to another host's request, as Base64.

    Raises:
        KeyFormatError: the request is none.
    """
    public = _decoded(request.recipient)
    if len(public) != hpke.KEY_BYTES or not _REQUEST_ID.match(request.request_id):
        raise KeyFormatError(
            "seal_for holds what is no request; nothing was sealed; "
            "give request_id and recipient as servos_key_share returned them"
        )
    plaintext = key.reveal_text().encode("utf-8", "surrogateescape")
    return base64.b64encode(hpke.seal_to(public, plaintext, info=_info(request.request_id), entropy=entropy)).decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _info(request_id: str) -> bytes:
    return _PURPOSE + request_id.encode("utf-8")


__all__ = ("Handover", "Request", "seal_key")
