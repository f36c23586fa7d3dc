# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What is wrong with how databases and APIs can be reached. Pure.

Sources: https://www.postgresql.org/docs/current/view-pg-hba-file-rules.html, RFC 1918, RFC 4193.
"""

from __future__ import annotations

import ipaddress
import typing as t

from .._system.addresses import is_loopback
from .findings import CRITICAL, HIGH, MEDIUM, Ledger

_WEAK = {"trust": "lets everybody in without a password", "ident": "believes what the other host says of its user"}
# The client sends the password itself, which is as good as the connection.
_IN_CLEAR = dict.fromkeys(("password", "ldap", "pam", "radius", "bsd"), "takes the password in clear")
_ENCRYPTED = ("hostssl", "hostgssenc")
_WIDE_BITS = 16
_MOST_NAMED = 5


class HbaRule(t.NamedTuple):
    """One line of pg_hba.conf as the server reads it; C(address) and C(netmask) are empty for local sockets."""

    line: int
    kind: str
    address: str
    netmask: str
    method: str


def judge_listening(ledger: Ledger, name: str, addresses: str) -> None:
    """Judge the server's C(listen_addresses)."""
    listened = [one.strip() for one in addresses.split(",") if one.strip()]
    outside = [one for one in listened if not _is_own(one)]
    ledger.held("database_listens", name, f"it listens on {', '.join(outside)}" if outside else None)


def judge_rules(ledger: Ledger, name: str, rules: t.Iterable[HbaRule]) -> None:
    """Judge who may log in from where, and how; by a socket every user of the host comes, and the kernel says who it is."""
    trusting, wide = [], []
    for rule in rules:
        if rule.method == "reject":
            continue
        if rule.kind == "local" or (_is_own(rule.address) and not is_wide(rule.address, rule.netmask)):
            if rule.method == "trust":
                trusting.append(f"line {rule.line} {_WEAK['trust']} from this host{' (socket)' if rule.kind == 'local' else ''}")
            continue
        weak = _WEAK.get(rule.method) or (_IN_CLEAR.get(rule.method) if rule.kind not in _ENCRYPTED else None)
        if weak:
            trusting.append(f"line {rule.line} {weak} from {_from(rule)}")
        elif is_wide(rule.address, rule.netmask):
            how = "" if rule.kind in _ENCRYPTED else ", without TLS"
            wide.append(f"line {rule.line} admits {_from(rule)}{how}")
    ledger.held("database_hba_trust", name, "; ".join(trusting[:_MOST_NAMED]) or None, severity=CRITICAL)
    ledger.held("database_hba_wide", name, "; ".join(wide[:_MOST_NAMED]) or None, severity=MEDIUM)


def judge_certificate(ledger: Ledger, name: str, *, days_left: float | None, problem: str, min_days: float) -> None:
    """Judge the certificate in front of the API."""
    if problem:
        ledger.found("api_certificate", name, problem)
    elif days_left is not None and days_left < min_days:
        ledger.found("api_certificate", name, f"it expires in {days_left:.0f} days", severity=HIGH if days_left < min_days / 4 else MEDIUM)
    else:
        ledger.passed("api_certificate", name)


def _from(rule: HbaRule) -> str:
    """Name where a rule lets in from, with the mask where that is not what the address makes one think."""
    return f"{rule.address} ({rule.netmask})" if _is_own(rule.address) else rule.address


def _is_own(address: str) -> bool:
    """Tell whether an address, as PostgreSQL is configured with it, is the server's own host: a socket's path and no address are."""
    return address in ("", "samehost") or address.startswith("/") or is_loopback(address)


def is_wide(address: str, netmask: str) -> bool:
    """Tell whether a rule admits more hosts than one could name: a name or a small network is none."""
    if address in ("all", "*") or address.startswith("."):  # a name that begins with a dot is all below it
        return True
    try:
        host = ipaddress.ip_address(address)
        ones = bin(int(ipaddress.ip_address(netmask))).count("1") if netmask else host.max_prefixlen
    except ValueError:
        return False
    return host.max_prefixlen - ones > _WIDE_BITS


__all__ = ("HbaRule", "is_wide", "judge_certificate", "judge_listening", "judge_rules")
