# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Ask SSH servers for their host keys, without logging in. Each key is proven: the server signs the key exchange with it."""

from __future__ import annotations

import base64
import concurrent.futures
import functools
import logging
import re
import time
import traceback
import typing as t
import warnings

from .._errors import HostKeyError
from .host_key import ALGORITHMS, HostKey
from .kexinit import Offer, read_offer, read_version, shown
from .wire import Wire, connect

PARAMIKO_IMPORT_ERROR: str | None = None
try:
    with warnings.catch_warnings():  # an old paramiko on a new cryptography complains of ciphers that are not used here
        warnings.simplefilter("ignore")
        import paramiko
except ImportError:
    PARAMIKO_IMPORT_ERROR = traceback.format_exc()

_VERSION = "SSH-2.0-servos.ops"
# A scan keeps nothing secret, so the cheapest sound exchange comes first. The rest is for servers that lack it; SHA-1 is out.
_KEY_EXCHANGES = (
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group-exchange-sha256",
    "mlkem768x25519-sha256",  # newer paramikos know it
)

# RFC 8731 names what libssh had named before it; no paramiko (up to 5.1) knows that name.
_CURVE, _CURVE_BEFORE_RFC = "curve25519-sha256", "curve25519-sha256@libssh.org"
_BY_HAND = "or pin it by hand: ssh-keyscan, then compare the fingerprint out of band"

Scanned = t.Union[t.List[HostKey], HostKeyError]


def paramiko_version() -> tuple[int, ...]:
    """Return the first two numbers of the library's version."""
    return tuple(int(number) for number in re.findall("[0-9]+", paramiko.__version__)[:2])


def scan_all(
    addresses: t.Iterable[tuple[str, int]], *, key_types: t.Sequence[str], timeout_s: float, parallel: int
) -> dict[tuple[str, int], Scanned]:
    """Scan each address once, some at a time. Return the keys of each, or why there are none.

    Effects: network. C(timeout_s) bounds each address by itself, from its connection to its last key.
    """
    # Its threads log what hostile servers send; nobody reads that, and standard error is not ours to write to.
    logger = logging.getLogger("paramiko")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    unique = list(dict.fromkeys(addresses))

    def scan_one(address: tuple[str, int]) -> Scanned:
        try:
            return scan(*address, key_types=key_types, timeout_s=timeout_s)
        except HostKeyError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, min(parallel, len(unique)))) as pool:
        return dict(zip(unique, pool.map(scan_one, unique)))


def scan(host: str, port: int, *, key_types: t.Sequence[str], timeout_s: float) -> list[HostKey]:
    """Return the host keys of one server that are of the wanted types, each proven.

    Raises:
        HostKeyError: it cannot be reached, is not SSH, is too slow, or offers no key that is accepted here.
    """
    deadline = time.monotonic() + timeout_s
    wire = connect(host, port, deadline=deadline)
    try:
        offer = _on(wire, functools.partial(_offer, wire), timeout_s=timeout_s)
        algorithms = _acceptable(offer, key_types)
        wire.rewind()
        keys: list[HostKey] = []
        for algorithm in algorithms:
            if keys:
                wire = connect(host, port, deadline=deadline)
                wire.start_afresh()
            keys.append(_on(wire, functools.partial(_key_of, wire, offer, algorithm, deadline), timeout_s=timeout_s))
            wire.close()
        return keys
    finally:
        wire.close()


Result = t.TypeVar("Result")


def _on(wire: Wire, converse: t.Callable[[], Result], *, timeout_s: float) -> Result:
    """Talk over a wire; where its bounds ended the talk, say so instead of what followed from it."""
    try:
        return converse()
    except (HostKeyError, OSError) as error:
        if wire.is_late:
            raise HostKeyError(
                f"connects, and has not shown its keys after {timeout_s:g} seconds; it is overloaded or not SSH; raise timeout"
            ) from None
        if wire.is_full:
            raise HostKeyError("sends without end and shows no key; is it an SSH server?") from None
        if isinstance(error, OSError):
            raise HostKeyError("breaks the connection off before it shows its key; is it overloaded, or refusing us?") from None
        raise


def _offer(wire: Wire) -> Offer:
    greeting = f"{_VERSION}\r\n".encode("ascii")
    if wire.send(greeting) != len(greeting):
        raise HostKeyError("takes in nothing; is it an SSH server?")
    read_version(wire.recv)
    return read_offer(wire.recv)


def _acceptable(offer: Offer, key_types: t.Sequence[str]) -> list[str]:
    """Return the algorithms to ask for, one for each key, in our order.

    Raises:
        HostKeyError: there is none.
    """
    algorithms = [
        next(name for name in alternatives if name in offer.host_keys)
        for family in ALGORITHMS
        if family in key_types
        for alternatives in ALGORITHMS[family]
        if set(alternatives) & set(offer.host_keys)
    ]
    if not algorithms:
        reason = "only ssh-rsa, which signs with SHA-1, or ssh-dss" if {"ssh-rsa", "ssh-dss"} & set(offer.host_keys) else "none"
        raise HostKeyError(
            f"offers no host key that is accepted here (of {', '.join(key_types)} it offers {reason}; its list is: "
            f"{shown(offer.host_keys)}); give it an Ed25519 key (ssh-keygen -A), or name other key_types"
        )
    return algorithms


def _key_of(wire: Wire, offer: Offer, algorithm: str, deadline: float) -> HostKey:
    """Exchange keys once, with one host key algorithm allowed. paramiko verifies the server's signature (RFC 4253, section 8).

    Raises:
        HostKeyError: there is no key exchange to ask by, or it fails.
    """
    left_s = max(0.1, deadline - time.monotonic())
    transport = paramiko.Transport(t.cast("t.Any", wire))
    strange = None
    try:
        transport.local_version = _VERSION
        transport.banner_timeout = transport.handshake_timeout = left_s
        options = transport.get_security_options()
        options.kex = _accepted_key_exchanges(transport, offer, options.kex)
        options.key_types = [algorithm]
        strange = _strange_to(options, offer)
        if strange:
            _end_at_the_key(transport, offer)
        try:
            transport.start_client(timeout=left_s)
            key = transport.get_remote_server_key()
        except _ProvenError:
            key = t.cast("t.Any", transport).host_key
        return HostKey(key.get_name(), base64.b64encode(key.asbytes()).decode("ascii"))
    except (OSError, HostKeyError):
        raise
    except Exception as error:  # a hostile server can make a parser raise anything; its text may quote what was sent
        raise HostKeyError(
            f"fails the key exchange for {algorithm} ({type(error).__name__}); {strange or 'see the log of its sshd'}"
        ) from None
    finally:
        transport.packetizer.complete_handshake()  # ends a timer that would keep the process alive
        wire.close()
        transport.close()
        if transport.is_alive():
            transport.join(1)


def _accepted_key_exchanges(transport: paramiko.Transport, offer: Offer, known: t.Container[str]) -> list[str]:
    accepted = [name for name in _KEY_EXCHANGES if name in known]
    if set(accepted) & set(offer.key_exchanges):
        return accepted
    if _CURVE in offer.key_exchanges and _CURVE_BEFORE_RFC in known:
        hidden = t.cast("t.Any", transport)
        hidden._kex_info = dict(hidden._kex_info, **{_CURVE: hidden._kex_info[_CURVE_BEFORE_RFC]})
        return [_CURVE]
    raise HostKeyError(
        "offers no key exchange that is accepted here (none without SHA-1, or none that is known; its list is: "
        f"{shown(offer.key_exchanges)}); enable {_CURVE_BEFORE_RFC} (KexAlgorithms in its sshd_config), {_BY_HAND}"
    )


def _strange_to(options: paramiko.transport.SecurityOptions, offer: Offer) -> str | None:
    """Say which list of ciphers or MACs has nothing that paramiko knows, what it holds, and what to do; None where all have."""
    for word, known, lists, wanted in (
        ("cipher", options.ciphers, (offer.ciphers_out, offer.ciphers_in), "aes256-gcm@openssh.com or aes256-ctr (Ciphers"),
        ("MAC", options.digests, (offer.macs_out, offer.macs_in), "hmac-sha2-256 (MACs"),
    ):
        for names in lists:
            if not set(known) & set(names):
                return (
                    f"it offers no {word} that is known here (its list is: {shown(names)}); "
                    f"enable {wanted} in its sshd_config), {_BY_HAND}"
                )
    return None


class _ProvenError(Exception):
    """Not a failure: it ends a key exchange whose host key has been verified."""


def _end_at_the_key(transport: paramiko.Transport, offer: Offer) -> None:
    """Let a transport agree to ciphers that it does not know, and end before it would need one.

    The host key is proven by the reply of the key exchange; ciphers and MACs begin only after that. These names of
    paramiko's are private (and the same from 2.12 to 5.1), so only servers that need this come here. Were they to
    change, no cipher would be agreed on, or no host key be there: a failure, never a key that is not proven.
    """

    def end() -> None:
        raise _ProvenError

    hidden = t.cast("t.Any", transport)
    hidden._preferred_ciphers = (*offer.ciphers_out[:1], *offer.ciphers_in[:1])
    hidden._preferred_macs = (*offer.macs_out[:1], *offer.macs_in[:1])
    hidden._activate_outbound = end


__all__ = ("PARAMIKO_IMPORT_ERROR", "paramiko_version", "scan", "scan_all")
