# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Log in to every server that the data knows: the proof of a rotation from end to end."""

from __future__ import annotations

import typing as t
from concurrent.futures import ThreadPoolExecutor

from .._errors import HostKeyError, ServosError
from .endpoints import known_name, parse_endpoints
from .login import log_in
from .pin_store import pinned_keys


class Server(t.NamedTuple):
    """One server, as the data describes it. C(address) is its host, with or without a port; C(port) is for one without."""

    name: str
    address: str
    port: t.Any
    user: str
    private_key: bytes | None
    passphrase: bytes | None

    def __repr__(self) -> str:
        return f"<Server {self.name}>"


def described(
    row_key: str, plain: t.Mapping[str, t.Any], opened: t.Mapping[str, bytes | None], logins: t.Mapping[str, t.Any]
) -> Server:
    """Read a row of the table of servers.

    Args:
        row_key: how a person finds the row; the name of a server that has none.
        plain: the cells that are not sealed, by column.
        opened: the plaintexts, by column.
        logins: the option C(logins): which column holds what.
    """
    name = str(plain.get(logins["name"]) or row_key)
    port = plain.get(logins["port_column"]) if logins.get("port_column") else None
    user = plain.get(logins["user_column"]) if logins.get("user_column") else None
    return Server(
        name=name,
        address=str((logins.get("addresses") or {}).get(name) or plain.get(logins["host"]) or ""),
        port=logins["port"] if port in (None, "") else port,
        user=str(user or logins["user"]),
        private_key=opened.get(logins["private_key"]),
        passphrase=opened.get(logins["passphrase"]) if logins.get("passphrase") else None,
    )


def log_in_to_all(
    servers: t.Sequence[Server], *, known_hosts: str, timeout_s: float, parallel: int, allow_empty: bool
) -> dict[str, t.Any]:
    """Log in to each server, several at a time. Returns C(logins), one entry for each, in their order.

    Raises:
        HostKeyError: at least one of them did not let us in; C(logins) is among its facts.
        ServosError: there are none.
    """
    if not servers and not allow_empty:
        raise ServosError("the table of servers has no row to log in with; name the right table, or set allow_empty=true")
    with ThreadPoolExecutor(max_workers=max(1, min(parallel, 256))) as pool:
        entries = list(pool.map(lambda server: _entry(server, known_hosts, timeout_s), servers))
    failed = [entry for entry in entries if not entry["ok"]]
    if failed:
        reasons = "; ".join(f"{entry['name']}: {entry['reason']}" for entry in failed)
        counted = f"{len(failed)} of {len(entries)} servers"
        raise HostKeyError(f"{counted} do not let us in with their keys from the data: {reasons}", logins=entries)
    return {"changed": False, "logins": entries}


def _entry(server: Server, known_hosts: str, timeout_s: float) -> dict[str, t.Any]:
    entry: dict[str, t.Any] = {"name": server.name, "address": server.address, "ok": False, "reason": None, "host_fingerprint": None}
    try:
        if not server.address:
            raise ServosError("the data names no address; give one in addresses of logins")
        if not server.private_key:
            raise ServosError("the data holds no private key for it; leave it out (leave_out of logins) if it has none")
        (endpoint,) = parse_endpoints([server.address], port=_port(server.port), expected=None)
        entry["address"] = known_name(endpoint.host, endpoint.port)
        pinned = pinned_keys(known_hosts, entry["address"])
        if not pinned:
            raise HostKeyError(f"no host key is pinned for {entry['address']} in {known_hosts}; run servos.ops.hostkeys")
        entry["host_fingerprint"] = log_in(
            endpoint.host, endpoint.port, server.user, server.private_key, server.passphrase, pinned=pinned, timeout_s=timeout_s
        )
        entry["ok"] = True
    except ServosError as error:
        entry["reason"] = str(error)
    return entry


def _port(given: t.Any) -> int:
    """Read a port as data has it: a number, or its digits."""
    text = given.strip() if isinstance(given, str) else str(given) if isinstance(given, int) and not isinstance(given, bool) else ""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise ServosError("what the data has for its port is not a number from 1 to 65535; correct it, or give host:port in addresses")
    return int(text)


__all__ = ("Server", "described", "log_in_to_all")
