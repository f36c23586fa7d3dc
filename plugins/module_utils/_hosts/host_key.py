# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What a public host key is to us: its type, its blob, and the fingerprint that people compare."""

from __future__ import annotations

import base64
import binascii
import hashlib
import typing as t

from .._errors import HostKeyError

_PREFIX = "SHA256:"

# Which algorithms of RFC 4253, 5656, 8332 and 8709 prove a key of which family. The first that a server offers is asked
# for; an RSA key is one key, whichever hash it signs with, and SHA-1 (ssh-rsa) proves nothing any more.
ALGORITHMS = {
    "ed25519": (("ssh-ed25519",),),
    "ecdsa": (("ecdsa-sha2-nistp256",), ("ecdsa-sha2-nistp384",), ("ecdsa-sha2-nistp521",)),
    "rsa": (("rsa-sha2-512", "rsa-sha2-256"),),
}
KEY_TYPES = tuple(ALGORITHMS)
_FAMILIES = {"ssh-ed25519": "ed25519", "ssh-rsa": "rsa"}
_FAMILIES.update((alternatives[0], "ecdsa") for alternatives in ALGORITHMS["ecdsa"])


class HostKey(t.NamedTuple):
    """A public key as known_hosts writes it: the name of its type, and its blob in Base64."""

    key_type: str
    blob_b64: str

    @property
    def fingerprint(self) -> str:
        """The fingerprint as OpenSSH prints it."""
        digest = hashlib.sha256(base64.b64decode(self.blob_b64)).digest()
        return _PREFIX + base64.b64encode(digest).decode("ascii").rstrip("=")

    @property
    def family(self) -> str | None:
        """The word for its type among the options, or None for a type that is never asked for."""
        return _FAMILIES.get(self.key_type)

    def shown(self) -> dict[str, str]:
        """Return it as results show it."""
        return {"type": self.key_type, "fingerprint": self.fingerprint}

    def __str__(self) -> str:
        return f"{self.fingerprint} ({self.key_type})"


def type_of_blob(blob: bytes) -> str | None:
    """Return the type that a key blob names itself (RFC 4253, section 6.6), or None where it is no blob."""
    length = int.from_bytes(blob[:4], "big")
    if len(blob) <= 4 + length or not 0 < length <= 64:
        return None
    try:
        return blob[4 : 4 + length].decode("ascii")
    except UnicodeDecodeError:
        return None


def parse_fingerprint(text: t.Any) -> str:
    """Return a fingerprint that is written as OpenSSH writes it.

    Raises:
        HostKeyError: it is anything else, such as an MD5 fingerprint.
    """
    if isinstance(text, str) and text.startswith(_PREFIX):
        digest_b64 = text[len(_PREFIX) :]
        try:
            digest = base64.b64decode(digest_b64 + "=", validate=True)
        except (binascii.Error, ValueError):
            digest = b""
        if len(digest) == 32 and base64.b64encode(digest).decode("ascii") == digest_b64 + "=":
            return text
    raise HostKeyError(
        "expected_fingerprint is not a fingerprint as OpenSSH prints it (SHA256: and 43 characters of Base64); take it on the host "
        "itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"
    )


__all__ = ("ALGORITHMS", "KEY_TYPES", "HostKey", "parse_fingerprint", "type_of_blob")
