# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Look at the certificate that a server shows, as a client would that trusts what this host trusts."""

from __future__ import annotations

import datetime
import socket
import ssl
import typing as t
import urllib.parse


class Shown(t.NamedTuple):
    """C(expires_at) of a certificate that is trusted, else C(problem) in words."""

    expires_at: datetime.datetime | None
    problem: str


def certificate_of(url: str, *, ca_path: str | None, timeout_s: float) -> Shown:
    """Connect, and look; nothing is asked of the server."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        context = ssl.create_default_context(cafile=ca_path or None)
        with socket.create_connection((host, port), timeout=timeout_s) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
            shown = secure.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return Shown(None, f"its certificate is not trusted here: {error.verify_message or 'verification failed'}")
    except ssl.SSLError as error:
        return Shown(None, f"it does not speak TLS as this host does ({error.reason or 'handshake failed'})")
    except (OSError, ValueError) as error:
        return Shown(None, f"it cannot be reached ({getattr(error, 'strerror', None) or error})")
    after = shown.get("notAfter")
    if not isinstance(after, str):
        return Shown(None, "its certificate does not say until when it holds")
    return Shown(datetime.datetime.fromtimestamp(ssl.cert_time_to_seconds(after), datetime.timezone.utc), "")


__all__ = ("Shown", "certificate_of")
