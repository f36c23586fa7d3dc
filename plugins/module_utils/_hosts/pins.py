# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Trust on first use: what a host presents against what is pinned, and what follows. Decides, and edits the text; no I/O."""

from __future__ import annotations

import typing as t

from .._errors import HostKeyError
from .endpoints import Endpoint, canonical_name
from .host_key import HostKey
from .known_hosts import Entry, KnownHosts, comment_of, hashed

Facts = t.Dict[str, t.Any]


class Policy(t.NamedTuple):
    """What is asked for every host.

    C(stamp) is the present moment, as pins show it. C(salts) gives 20 random bytes a call, for names that are hashed.
    """

    state: str
    key_types: tuple[str, ...]
    hash_names: bool
    stamp: str
    by: str
    salts: t.Callable[[], bytes]


def settle(pins: KnownHosts, endpoint: Endpoint, presented: t.Sequence[HostKey], policy: Policy) -> Facts:
    """Hold one host against its pins, and edit them as the state asks. Return the facts of its result.

    A host that is refused leaves the pins as they are, and has an C(error).
    """
    facts: Facts = {"presented_keys": [key.shown() for key in presented], "unpinned_types": [], "error": None}
    try:
        if policy.state == "absent":
            facts["status"] = "removed" if _take_off(pins, endpoint) else "absent"
        else:
            _refuse_revoked(pins, endpoint, presented)
            facts["status"] = _SETTLERS[policy.state](pins, endpoint, presented, policy, facts)
    except HostKeyError as error:
        facts.update(error.facts, error=str(error))
    facts.update(pins_shown(pins, endpoint))
    return facts


def pins_shown(pins: KnownHosts, endpoint: Endpoint) -> Facts:
    """Return what is pinned to a host, and since when and by whom, as results show it."""
    entries = _entries(pins, endpoint)
    dated = sorted(entry.pinned_at for entry in entries if entry.pinned_at)
    return {
        "pinned": [key.shown() for key in dict.fromkeys(entry.key for entry in entries)],
        "pinned_at": dated[0] if dated else None,
        "pinned_by": next((entry.pinned_by for entry in entries if dated and entry.pinned_at == dated[0]), None),
    }


def _entries(pins: KnownHosts, endpoint: Endpoint) -> list[Entry]:
    return list(dict.fromkeys(entry for name in endpoint.names for entry in pins.pins(name)))


def _pinned(pins: KnownHosts, endpoint: Endpoint, presented: t.Sequence[HostKey], policy: Policy, facts: Facts) -> str:
    if not _entries(pins, endpoint):
        _record(pins, endpoint.names, _expected_of(presented, endpoint), policy)
        return "pinned"
    known = _compare(pins, endpoint, presented, policy, facts)
    unnamed = [name for name in endpoint.names if not pins.pins(name)]
    _record(pins, unnamed, known, policy)
    return "pinned" if unnamed else "unchanged"


def _verified(pins: KnownHosts, endpoint: Endpoint, presented: t.Sequence[HostKey], policy: Policy, facts: Facts) -> str:
    pinned = {canonical_name(name) for name in endpoint.names if pins.pins(name)}
    for name in endpoint.names:
        if canonical_name(name) not in pinned:
            raise _refusal("unpinned", f"no key is pinned to {name}; compare its fingerprint out of band, then pin it (state=pinned)")
    _compare(pins, endpoint, presented, policy, facts)
    return "unchanged"


def _reset(pins: KnownHosts, endpoint: Endpoint, presented: t.Sequence[HostKey], policy: Policy, facts: Facts) -> str:
    wanted = _expected_of(presented, endpoint)
    facts["unpinned_types"] = sorted({key.key_type for key in presented} - {key.key_type for key in wanted})
    if all({entry.key for entry in pins.pins(name)} == set(wanted) for name in endpoint.names):
        return "unchanged"
    _take_off(pins, endpoint)
    _record(pins, endpoint.names, wanted, policy)
    return "reset"


_SETTLERS = {"pinned": _pinned, "verified": _verified, "reset": _reset}


def _refusal(status: str, text: str) -> HostKeyError:
    """Make the error of one host; nothing was edited for it."""
    return HostKeyError(text, status=status)


def _refuse_revoked(pins: KnownHosts, endpoint: Endpoint, presented: t.Sequence[HostKey]) -> None:
    for name in endpoint.names:
        revoked = pins.revoked(name)
        for key in presented:
            if key.blob_b64 in revoked:
                raise _refusal("revoked", f"its key {key} is @revoked; do not trust what answers there: give the host new keys, then reset")


def _expected_of(presented: t.Sequence[HostKey], endpoint: Endpoint) -> list[HostKey]:
    """Return the presented keys that may be pinned: all, or those whose fingerprints are expected."""
    if not endpoint.expected:
        return list(presented)
    chosen = [key for key in presented if key.fingerprint in endpoint.expected]
    if not chosen:
        raise _refusal(
            "unexpected",
            f"it presents {_listed(presented)}, and expected is {', '.join(endpoint.expected)}; nothing was pinned; look at the "
            "fingerprint on the host itself (ssh-keygen -lf), and if that is the expected one, somebody else answers in its place",
        )
    return chosen


def _compare(
    pins: KnownHosts, endpoint: Endpoint, presented: t.Sequence[HostKey], policy: Policy, facts: Facts
) -> list[HostKey]:
    """Return the presented keys that are pinned, and note the types that are not.

    A type that is not pinned is not added while another matches: whoever sits in the middle of one connection could plant it.
    """
    known: list[HostKey] = []
    for name in endpoint.names:
        entries = pins.pins(name)
        if not entries:
            continue
        asked = [entry for entry in entries if entry.key.family in policy.key_types]
        if not asked:
            raise _refusal(
                "unexpected",
                f"pinned is {_listed_entries(entries)}, and key_types asks for {', '.join(policy.key_types)} only, so there is "
                "nothing to compare; add the type to key_types, or learn the keys anew (state=reset)",
            )
        pinned_types = {entry.key.key_type for entry in asked}
        pinned_keys = {entry.key for entry in asked}
        if any(key.key_type in pinned_types and key not in pinned_keys for key in presented) or not pinned_keys & set(presented):
            raise _refusal("changed", _changed_text(name, endpoint, entries, presented))
        strange = [entry for entry in entries if endpoint.expected and entry.key.fingerprint not in endpoint.expected]
        if strange:
            raise _refusal(
                "unexpected",
                f"pinned is {_listed_entries(strange)}, and expected is {', '.join(endpoint.expected)}; nothing was changed; if the "
                "expected fingerprint is right, learn its keys anew (state=reset with expected_fingerprint)",
            )
        known += [key for key in presented if key in pinned_keys and key not in known]
        facts["unpinned_types"] = sorted(
            set(facts["unpinned_types"]) | {key.key_type for key in presented if key.key_type not in pinned_types}
        )
    return known


def _changed_text(name: str, endpoint: Endpoint, entries: t.Sequence[Entry], presented: t.Sequence[HostKey]) -> str:
    since = "; ".join(
        dict.fromkeys(
            f"pinned {entry.pinned_at} by {entry.pinned_by}" if entry.pinned_at else "pinned by hand, ssh or another tool"
            for entry in entries
        )
    )
    return (
        f"the host key of {endpoint.host} port {endpoint.port} HAS CHANGED: pinned to {name} is {_listed_entries(entries)} ({since}), "
        f"presented is {_listed(presented)}. Either the server was rebuilt or its keys were made anew, or somebody answers in its "
        "place. Nothing was changed. Compare the fingerprint out of band (on the host: ssh-keygen -lf "
        "/etc/ssh/ssh_host_ed25519_key.pub); if it is the presented one, run again with state=reset and expected_fingerprint"
    )


def _take_off(pins: KnownHosts, endpoint: Endpoint) -> bool:
    """Take the names of a host off the lines that pin it. Returns whether there was one."""
    by_pattern = [entry for name in endpoint.names for entry in pins.pins(name) if entry.covers_by_pattern(name)]
    if by_pattern:
        raise _refusal(
            "unexpected",
            f"it is pinned by a pattern in line {by_pattern[0].number}, which stands for other hosts too; nothing was changed; "
            "edit that line by hand",
        )
    taken = False
    for name in endpoint.names:
        for entry in pins.pins(name):
            pins.take_off(entry, name)
            taken = True
    return taken


def _record(pins: KnownHosts, names: t.Sequence[str], keys: t.Sequence[HostKey], policy: Policy) -> None:
    if not names:
        return
    comment = comment_of(stamp=policy.stamp, by=policy.by)
    for key in keys:
        if policy.hash_names:
            for name in names:
                pins.add([hashed(name, policy.salts())], key, comment=comment)
        else:
            pins.add(names, key, comment=comment)


def _listed(keys: t.Iterable[HostKey]) -> str:
    return ", ".join(map(str, keys))


def _listed_entries(entries: t.Iterable[Entry]) -> str:
    return _listed(dict.fromkeys(entry.key for entry in entries))


__all__ = ("Facts", "Policy", "pins_shown", "settle")
