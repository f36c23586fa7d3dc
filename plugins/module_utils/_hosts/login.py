# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Log in to a node with a private key that was just opened, if its host key is the pinned one.

The private key stays in memory. Nothing is run on the node.
"""

from __future__ import annotations

import base64
import io
import logging
import socket
import time
import typing as t

from .._errors import HostKeyError, KeyFormatError, ServosError
from .host_key import HostKey

try:
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
except ImportError:  # a module that needs them asks for them before it comes here
    pass

# An RSA key is one key whatever hash signs with it; the SHA-1 signature of that name is never asked for.
_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


def log_in(
    host: str,
    port: int,
    user: str,
    private_key: bytes,
    passphrase: bytes | None,
    *,
    pinned: t.Sequence[tuple[str, str]],
    timeout_s: float,
) -> str:
    """Log in, open a session, and leave. Returns the fingerprint of the host key.

    Args:
        private_key: in any form that OpenSSH or OpenSSL writes.
        pinned: type and Base64 of each key that is pinned for this host.
        timeout_s: for the whole conversation.

    Raises:
        KeyFormatError: the private key cannot be read, or not with this passphrase.
        HostKeyError: the host shows another key than the pinned ones.
        ServosError: it does not answer, or refuses the key.
    """
    # A pin of another type, such as a security key's, is one that is never asked for.
    pinned = [(kind, blob) for kind, blob in pinned if HostKey(kind, blob).family is not None]
    if not pinned:
        raise HostKeyError(f"no host key of {host}:{port} is pinned that could be asked for; run servos.ops.hostkeys")
    identity = _identity(private_key, passphrase)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL + 1)  # it writes what it stumbles over to standard error
    deadline = time.monotonic() + timeout_s

    def left_s() -> float:
        return max(deadline - time.monotonic(), 0.05)

    try:
        connection = socket.create_connection((host, port), timeout=left_s())
    except OSError as error:
        reason = error.strerror or "no connection within the timeout"
        raise ServosError(
            f"{host}:{port} does not answer ({reason}); see whether it is up, and whether the data has its address and port"
        ) from None
    transport = None
    try:
        transport = paramiko.Transport(connection)
        transport.banner_timeout = transport.auth_timeout = left_s()
        transport.get_security_options().key_types = [
            algorithm for kind in dict.fromkeys(kind for kind, unused_blob in pinned) for algorithm in _ALGORITHMS.get(kind, (kind,))
        ]
        transport.start_client(timeout=left_s())
        remote = transport.get_remote_server_key()
        shown = HostKey(remote.get_name(), base64.b64encode(remote.asbytes()).decode("ascii"))
        mark = _require_pinned(shown, pinned, f"{host}:{port}")
        transport.auth_timeout = left_s()
        wanted = transport.auth_publickey(user, identity)
        if not transport.is_authenticated():
            more = ", ".join(wanted)
            raise ServosError(f"{host}:{port} takes the key of {user} and wants more: {more}; let a key alone be enough there")
        transport.open_session(timeout=left_s()).close()
        return mark
    except paramiko.AuthenticationException:
        raise ServosError(
            f"{host}:{port} does not let {user} in with this key; see authorized_keys of {user} there, and whether {user} is the right one"
        ) from None
    except paramiko.ChannelException:
        raise ServosError(f"{host}:{port} lets {user} in and opens no session; see MaxSessions and the like in its sshd_config") from None
    except (paramiko.SSHException, EOFError, OSError, ValueError) as error:
        kinds = ", ".join(dict.fromkeys(kind for kind, unused_blob in pinned))
        raise HostKeyError(
            f"no secure connection to {host}:{port}, which was asked for a host key of the pinned types {kinds} ({type(error).__name__}); "
            "see what servos_hostkey finds there (state=verified)"
        ) from None
    finally:
        if transport is not None:
            transport.close()
        connection.close()


def _require_pinned(shown: HostKey, pinned: t.Sequence[tuple[str, str]], where: str) -> str:
    if tuple(shown) in [tuple(pin) for pin in pinned]:
        return shown.fingerprint
    expected = ", ".join(str(HostKey(*pin)) for pin in pinned)
    raise HostKeyError(
        f"{where} shows the host key {shown}, and {expected} is pinned: it was rebuilt, or somebody answers in its place; "
        "compare out of band, then servos_hostkey state=reset with expected_fingerprint"
    )


def _identity(private_key: bytes, passphrase: bytes | None) -> paramiko.PKey:
    """Read a private key of any form, and hand it to paramiko in the one form that all of its versions read."""
    # A passphrase may be stored beside a key that has none.
    attempts = [(form, word) for form in ("ssh", "pem") for word in dict.fromkeys((passphrase or None, None))]
    for form, word in attempts:
        load = serialization.load_ssh_private_key if form == "ssh" else serialization.load_pem_private_key
        try:
            loaded = load(private_key, word)
        except (TypeError, ValueError, UnsupportedAlgorithm):  # their texts may quote the key
            continue
        reader: type[paramiko.Ed25519Key | paramiko.ECDSAKey | paramiko.RSAKey]
        if isinstance(loaded, ed25519.Ed25519PrivateKey):
            reader = paramiko.Ed25519Key
        elif isinstance(loaded, ec.EllipticCurvePrivateKey):
            reader = paramiko.ECDSAKey
        elif isinstance(loaded, rsa.RSAPrivateKey):
            reader = paramiko.RSAKey
        else:
            break
        text = loaded.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        ).decode("ascii")
        return reader.from_private_key(io.StringIO(text))
    raise KeyFormatError(
        "the private key is of no form that is known (Ed25519, ECDSA, RSA), or its passphrase is not the stored one; "
        "store it anew"
    )


__all__ = ("log_in",)
