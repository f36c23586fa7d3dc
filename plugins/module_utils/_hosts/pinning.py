# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Pin, verify, reset or forget hosts: scan them all, settle each against the pins, write once."""

from __future__ import annotations

import datetime
import os
import typing as t

from .._errors import HostKeyError
from .endpoints import Endpoint
from .host_key import HostKey
from .known_hosts import KnownHosts
from .pin_store import read_pins, update_pins, who_we_are
from .pins import Facts, Policy, pins_shown, settle
from .scan import Scanned, scan_all

FAILED = ("changed", "revoked", "unexpected", "unpinned", "unreachable")


def pin_hosts(
    endpoints: t.Sequence[Endpoint],
    *,
    state: str,
    path: str,
    key_types: t.Sequence[str],
    hash_names: bool,
    timeout_s: float,
    parallel: int,
    lock_timeout_s: float,
    write: bool,
) -> dict[str, t.Any]:
    """Bring the pins of all hosts to a state. Return what a module returns.

    Effects: network, unless the state is C(absent); the file and its lock, if C(write) is set and a pin changes.

    Raises:
        PinStoreError: the file cannot be used; no host was asked then.
        HeldLockError: another run holds its lock.
        HostKeyError: a host failed. The others were settled; all results are among the facts of the error.
    """
    read_pins(path)
    scanned: dict[tuple[str, int], Scanned] = {}
    if state != "absent":
        addresses = [(endpoint.host, endpoint.port) for endpoint in endpoints]
        scanned = scan_all(addresses, key_types=key_types, timeout_s=timeout_s, parallel=parallel)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    policy = Policy(state, tuple(key_types), hash_names, stamp, who_we_are(), lambda: os.urandom(20))

    def edit(pins: KnownHosts) -> list[Facts]:
        return [_settled(pins, endpoint, scanned.get((endpoint.host, endpoint.port), []), policy) for endpoint in endpoints]

    # Only states that may edit are let near the lock.
    hosts, before, after = update_pins(
        path, edit, lock_timeout_s=lock_timeout_s, purpose=f"servos_hostkey state={state}", write=write and state != "verified"
    )
    result: dict[str, t.Any] = {"changed": before != after, "known_hosts": path, "hosts": hosts}
    if before != after:
        result["diff"] = _diff(path, before, after)
    failed = [facts for facts in hosts if facts["status"] in FAILED]
    if failed:
        raise HostKeyError(_failure_text(hosts, failed, path), _warnings=_warnings(hosts, endpoints), **result)
    return dict(result, _warnings=_warnings(hosts, endpoints))


def _settled(pins: KnownHosts, endpoint: Endpoint, scanned: list[HostKey] | HostKeyError, policy: Policy) -> Facts:
    named: Facts = {"host": endpoint.host, "port": endpoint.port}
    if isinstance(scanned, HostKeyError):
        facts: Facts = {"status": "unreachable", "error": str(scanned), "presented_keys": [], "unpinned_types": []}
        return dict(named, **facts, **pins_shown(pins, endpoint))
    return dict(named, **settle(pins, endpoint, scanned, policy))


def _failure_text(hosts: t.Sequence[Facts], failed: t.Sequence[Facts], path: str) -> str:
    """Name each host that failed, with its reason; beyond ten, the reason is in the results."""
    shown = "; ".join(f"{facts['host']} port {facts['port']}: {facts['error']}" for facts in failed[:10])
    names = ", ".join(f"{facts['host']} port {facts['port']}" for facts in failed[10:])
    rest = f"; and, with their reasons in the result hosts: {names}" if names else ""
    others = len(hosts) - len(failed)
    settled = f" (the other {others} {'is' if others == 1 else 'are'} as asked for, in {path})" if others else ""
    return f"{len(failed)} of {len(hosts)} hosts failed{settled}: {shown}{rest}"


def _warnings(hosts: t.Sequence[Facts], endpoints: t.Sequence[Endpoint]) -> list[str]:
    return [
        f"{facts['host']} port {facts['port']} also presents {', '.join(facts['unpinned_types'])}, which is not pinned and was not "
        "added; if that is meant to be, compare its fingerprint and run again with state=reset"
        for facts, endpoint in zip(hosts, endpoints)
        if facts["unpinned_types"] and facts["status"] in ("pinned", "unchanged") and not endpoint.expected
    ]


def _diff(path: str, before: bytes, after: bytes) -> dict[str, str]:
    texts = [content.decode("utf-8", "replace") for content in (before, after)]
    return {"before": texts[0], "after": texts[1], "before_header": path, "after_header": path}


__all__ = ("FAILED", "pin_hosts")
