# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Hosts as people write them, and the names under which ssh looks for their keys."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from .._errors import HostKeyError
from .host_key import parse_fingerprint

_SSH_PORT = 22
_MAX_NAME = 253
_MAX_SHOWN = 60
# What a name may hold. Commas, patterns, hashes and white space have a meaning in known_hosts; a leading minus has one for ssh.
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*)\Z")
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::([^:]*))?\Z")
_OPTIONS = ("aliases", "expected_fingerprint", "host", "port")


class Endpoint(t.NamedTuple):
    """One address on which an sshd is expected. C(names) are those that ssh will look for, at least one."""

    host: str
    port: int
    names: tuple[str, ...]
    expected: tuple[str, ...] = ()

    def __str__(self) -> str:
        return known_name(self.host, self.port) if self.port != _SSH_PORT else f"{self.host} port {self.port}"


def known_name(host: str, port: int) -> str:
    """Return the name under which known_hosts knows a host (sshd(8)): in brackets, unless its port is 22."""
    return host if port == _SSH_PORT else f"[{host}]:{port}"


def canonical_name(name: str) -> str:
    """Return the one known name of all those that spell the same address; any other name as it is."""
    bracketed = _BRACKETED.match(name)
    host = bracketed.group(1) if bracketed else name
    address = _address(host)
    if address is None:
        return name
    canonical = "%".join([str(address), *host.split("%")[1:]])
    return f"[{canonical}]:{bracketed.group(2)}" if bracketed else canonical


def parse_endpoints(hosts: t.Sequence[t.Any], *, port: int, expected: t.Sequence[str] | None) -> list[Endpoint]:
    """Read the option C(hosts); C(port) and C(expected) stand for what an entry leaves out.

    Raises:
        HostKeyError: there are none, or one is not a host; the text names the entry by its number and its option.
    """
    if not hosts:
        raise HostKeyError("hosts is empty, so there is nothing to do; name one host at least")
    endpoints = [_parse(entry, where=f"hosts, entry {number}{_shown(entry)}", port=port) for number, entry in enumerate(hosts, start=1)]
    if expected is not None:
        if len({(endpoint.host, endpoint.port) for endpoint in endpoints}) > 1:
            raise HostKeyError("expected_fingerprint is for one host, and hosts names several; give each its own in hosts")
        if any(endpoint.expected for endpoint in endpoints):
            raise HostKeyError("expected_fingerprint is given twice: as an option and in hosts; leave one of them out")
        fingerprints = _fingerprints(list(expected), where="the options")
        endpoints = [endpoint._replace(expected=fingerprints) for endpoint in endpoints]
    return endpoints


def _shown(entry: t.Any) -> str:
    """Return the host of an entry as an error shows it: nothing where it is no text that can be printed."""
    host = entry.get("host") if isinstance(entry, dict) else entry
    return f" ({host[:_MAX_SHOWN]})" if isinstance(host, str) and host.isascii() and host.isprintable() and host.strip() else ""


def _parse(entry: t.Any, *, where: str, port: int) -> Endpoint:
    options = {"host": entry} if isinstance(entry, str) else entry
    if not isinstance(options, dict):
        raise HostKeyError(f"{where}: neither a text nor a dictionary; write name, name:port, or a dictionary with host and port")
    unknown = sorted(str(name) for name in options if name not in _OPTIONS)
    if unknown:
        raise HostKeyError(f"{where}: there is no option {unknown[0]!r}; use {', '.join(_OPTIONS)}")
    host, own_port = _host_and_port(options.get("host"), where=where)
    if options.get("port") is not None:
        if own_port is not None:
            raise HostKeyError(f"{where}: the port is given twice, in host and in port; leave one of them out")
        own_port = _port(options["port"], where=where)
    chosen = _port(port, where="port") if own_port is None else own_port
    names = _names(host, chosen)
    aliases = options.get("aliases") or []
    if not isinstance(aliases, list):
        raise HostKeyError(f"{where}: aliases is not a list; write aliases: [name]")
    for alias in aliases:
        alias_host, alias_port = _host_and_port(alias, where=f"{where}, aliases")
        names += [name for name in _names(alias_host, chosen if alias_port is None else alias_port) if name not in names]
    expected = options.get("expected_fingerprint")
    fingerprints = () if expected is None or expected == [] else _fingerprints(expected, where=where)
    return Endpoint(host, chosen, tuple(names), fingerprints)


def _host_and_port(text: t.Any, *, where: str) -> tuple[str, int | None]:
    """Split C(name), C(name:port), C(1.2.3.4), C(::1) or C([::1]:2222); the port is None where there is none."""
    if not isinstance(text, str) or not text:
        raise HostKeyError(f"{where}: the host is empty or not a text; write a name or an address")
    bracketed = _BRACKETED.match(text)
    if bracketed:
        host, port_text = bracketed.group(1), bracketed.group(2)
    elif text.count(":") == 1:
        host, unused_colon, port_text = text.partition(":")
    else:
        host, port_text = text, None
    return _name(host, where=where), None if port_text is None else _port(port_text, where=where)


def _name(host: str, *, where: str) -> str:
    """Return a name in lower case, as ssh compares it, or an address as it was written."""
    if _address(host) is not None or (len(host) <= _MAX_NAME and _NAME.match(host) and not re.match(r"[0-9.]+\Z", host)):
        return host.lower()
    reason = "is longer than 253 characters" if len(host) > _MAX_NAME else "is neither a host name nor an IP address"
    raise HostKeyError(
        f"{where}: {host[:_MAX_SHOWN]!a} {reason}; write letters, digits, dots, minus and underscore (others in their xn-- form)"
    )


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    bare, percent, zone = host.partition("%")
    if percent and not (":" in bare and _NAME.match(zone)):  # only an IPv6 address has a zone
        return None
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        return None


def _names(host: str, port: int) -> list[str]:
    """Return the known name of a host, and that of the canonical form where an IPv6 address was written at length."""
    name = known_name(host, port)
    return list(dict.fromkeys([name, canonical_name(name)]))


def _port(value: t.Any, *, where: str) -> int:
    if isinstance(value, str) and re.match(r"[0-9]{1,5}\Z", value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise HostKeyError(f"{where}: the port is not a number from 1 to 65535; correct it")
    return value


def _fingerprints(value: t.Any, *, where: str) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise HostKeyError(f"{where}: expected_fingerprint is given and holds none; leave it out, or give one as OpenSSH prints it")
    try:
        return tuple(parse_fingerprint(text) for text in texts)
    except HostKeyError as error:
        raise HostKeyError(f"{where}: {error}") from None


__all__ = ("Endpoint", "canonical_name", "known_name", "parse_endpoints")
