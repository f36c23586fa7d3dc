# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Look at an installation: its keys by fingerprint, its process, and the census of its data. Changes nothing."""

from __future__ import annotations

import typing as t

from .._errors import ForeignValueError, KeyFormatError, StoreError, UndeclaredFieldError
from .._keys.material import MasterKey, doubts_about
from .._sealing.aes_gcm import Cipher
from .._sealing.codecs import as_given
from .census import Census, Reader, take_census
from .holders import Holder, Holders, find_holders
from .installation import UNKNOWN, Installation
from .plan import NEXT_STEPS, Sight, phase_of
from .profile import Field, as_profile_entry

_KEY_ROLES = ("active", "staged", "previous", "withdrawn")
_LISTED = "listed"


class Keys:
    """The keys that are known for an installation, by role; the same bytes under two roles are one key.

    C(listed) keys stand in the configuration after the active one; C(dropped) ones did so before a swap, and are kept.
    """

    def __init__(
        self, *, active: MasterKey | None, staged: MasterKey | None, previous: MasterKey | None, withdrawn: MasterKey | None,
        listed: t.Sequence[MasterKey] = (), dropped: t.Sequence[MasterKey] = (),
    ) -> None:
        self.active = active
        self.staged = staged
        # A run that was undone leaves the active key in the previous one's place as well.
        self.previous = None if previous == active else previous
        self.withdrawn = withdrawn
        self.listed = tuple(key for key in listed if key != active)
        configured = [key for key in (active, *listed) if key is not None]
        self.dropped = tuple(key for key in dropped if key not in configured)

    @property
    def target(self) -> MasterKey | None:
        """The key that all data is to be under."""
        return self.staged or self.active

    def by_fingerprint(self) -> dict[str, MasterKey]:
        """Return each distinct key once, the active one first."""
        return {key.fingerprint: key for key in self._in_order()}

    def _in_order(self) -> list[MasterKey]:
        ranked = (self.active, self.staged, self.previous, self.withdrawn, *self.listed, *self.dropped)
        return [key for key in ranked if key is not None]

    def ciphers(self) -> dict[str, Cipher]:
        """Return a cipher for each distinct key, the active one's first."""
        return {mark: Cipher(key.reveal_bytes()) for mark, key in self.by_fingerprint().items()}

    def role_of(self, mark: str) -> str:
        """Name the first role that a fingerprint has."""
        for role in _KEY_ROLES:
            key = getattr(self, role)
            if key is not None and key.fingerprint == mark:
                return role
        return _LISTED if mark in [key.fingerprint for key in (*self.listed, *self.dropped)] else "foreign"

    def listed_marks(self) -> list[str]:
        """Return the fingerprints of the keys that are known from a list and from nowhere else."""
        return [mark for mark in self.by_fingerprint() if self.role_of(mark) == _LISTED]

    def described(self) -> list[str]:
        """Name every key for an error message."""
        return [f"the {self.role_of(mark)} key {mark}" for mark in self.by_fingerprint()]


def read_keys(installation: Installation) -> Keys:
    """Read the env file and the keyring."""
    active, *listed = installation.configuration.keys()
    return Keys(
        active=active,
        listed=listed,
        dropped=installation.configuration.dropped_keys(),
        staged=installation.keyring.read("staged"),
        previous=installation.keyring.read("previous"),
        withdrawn=installation.keyring.read("withdrawn"),
    )


class Observation:
    """Everything that was seen at one moment. C(census) is None where it was not asked for."""

    def __init__(
        self, *, keys: Keys, process: str | None, pid: int | None, process_seen: bool, holders: Holders, census: Census | None,
        unproven: t.Sequence[Field] = (), is_process_dated: bool = False,
    ) -> None:
        self.keys = keys
        self.process = process
        self.pid = pid
        self.process_seen = process_seen
        self.holders = holders
        self.census = census
        self._unproven = unproven
        self._is_process_dated = is_process_dated

    @property
    def sight(self) -> Sight:
        """The same as fingerprints and counts."""
        keys = self.keys

        def mark(key: MasterKey | None) -> str | None:
            return key.fingerprint if key is not None else None

        return Sight(
            env=mark(keys.active), staged=mark(keys.staged), previous=mark(keys.previous), withdrawn=mark(keys.withdrawn),
            process=self.process, process_seen=self.process_seen,
            sealed=self.census.sealed if self.census is not None else {},
            foreign=self.census.foreign if self.census is not None else 0,
        )

    @property
    def phase(self) -> str | None:
        """The phase; None without a census, since nothing is known about the data then."""
        return phase_of(self.sight) if self.census is not None else None

    def forgotten(self) -> list[Holder]:
        """Return the processes, other than the service's main one, that run with a key that is not in force (any more)."""
        marks = {mark for mark in self.keys.by_fingerprint() if mark != self.sight.env}
        return [holder for holder in self.holders.of(marks) if holder.pid != self.pid]

    def warnings_of_forgotten(self) -> list[str]:
        """Say which processes are left behind once the service runs on the key in force; until then they may be the service's own."""
        if self.process != self.sight.env:
            return []
        return [
            f"{holder} still runs with the {self.keys.role_of(holder.mark)} key {holder.mark}, and only that key opens what it seals: "
            "stop or restart it, then run again"
            for holder in self.forgotten()
        ]

    def warnings(self) -> list[str]:
        """Say what is lawful but deserves a look."""
        found = []
        for role in _KEY_ROLES:
            key = getattr(self.keys, role)
            found += [f"the {role} key {key.fingerprint} {doubt}" for doubt in (doubts_about(key) if key is not None else [])]
        if self._unproven:
            found.append(
                f"what lies in {', '.join(map(str, self._unproven))} is encrypted without authentication: a wrong key is told from the "
                "right one only by the form of what comes out, and a value that was tampered with is not noticed"
            )
        if self.census is not None:
            if self.census.canary_expected and self.census.canary is None:
                found.append("no integrity canary was found among the sealed values; the database may never have been initialized")
            if self.census.sealed and self.census.strangers:
                places = ", ".join(f"{stranger.unopened} in {stranger.field}" for stranger in self.census.strangers[:5])
                found.append(f"values look sealed and open under no known key, in columns where nothing opens: {places}")
            found += self.census.side_effects()
        return found

    def require_usable(self, *, discover: str, allow_empty: bool, canary_required: bool) -> Census:
        """Refuse to go on where going on could lose a value. Returns the census.

        Raises:
            ForeignValueError: a value opens under no known key.
            UndeclaredFieldError: a sealed column that the profile does not name, and C(discover) is V(fail).
            StoreError: nothing sealed was found, or the canary is missing and required.
        """
        census = self.census
        if census is None:
            raise StoreError("the data was not looked at; this is a fault of servos.ops: report it")
        try:
            census.refuse_foreign(self.keys.described())
            census.refuse_wrong_key(self.keys.described())
        except ForeignValueError as error:
            raise ForeignValueError(f"{error}{self._hint_at_process()}") from None
        if census.undeclared and discover == "fail":
            lines = ", ".join(str(as_profile_entry(field)) for field in census.undeclared)
            names = ", ".join(str(field) for field in census.undeclared)
            raise UndeclaredFieldError(
                f"{names} holds values that open under a known key, but the profile does not name it; nothing was changed; "
                f"add to fields of the profile: {lines}, or set discover=include"
            )
        if not census.sealed and not allow_empty:
            raise StoreError(
                "no value in the database opens under any known key, and none looks sealed where one should be: "
                "this is probably the wrong database; nothing was changed; name the right one, or set allow_empty=true"
            )
        if census.canary is None and canary_required:
            raise StoreError(
                "the integrity canary was not found; nothing was changed; "
                "the database may be damaged: do not initialize it anew, restore a backup"
            )
        return census

    def _hint_at_process(self) -> str:
        """A process that still holds another key tells that somebody changed the env file without a rotation."""
        sight = self.sight
        if sight.process is None or sight.process in (UNKNOWN, sight.env, sight.staged, sight.previous, sight.withdrawn):
            return ""
        return (
            f" (the running service, process {self.pid}, holds {sight.process}, which is neither: the env file was probably edited "
            "by hand; put that key back into it)"
        )

    def as_result(self) -> dict[str, t.Any]:
        """Return fingerprints, phase and counts, as every module returns them."""
        sight = self.sight
        shown: dict[str, t.Any] = {
            "phase": self.phase,
            "next_step": NEXT_STEPS[self.phase] if self.phase else None,
            "env_key": sight.env,
            "process_key": sight.process,
            "process_seen": self.process_seen,
            "process_evidence": None if sight.process is None else "start" if self._is_process_dated else "environment",
            "staged_key": sight.staged,
            "previous_key": sight.previous,
            "withdrawn_key": sight.withdrawn,
            "listed_keys": self.keys.listed_marks(),
            "processes": [
                {"pid": holder.pid, "name": holder.name, "key": holder.mark, "role": self.keys.role_of(holder.mark)}
                for holder in self.holders.found
            ],
            "processes_unread": self.holders.unread,
        }
        if self.census is not None:
            shown["census"] = census_rows(self.census, self.keys)
            shown["sealed_values"] = sum(self.census.sealed.values())
            shown["undeclared"] = [as_profile_entry(field) for field in self.census.undeclared]
            shown["canary"] = self.keys.role_of(self.census.canary) if self.census.canary else None
        return shown


def census_rows(census: Census, keys: Keys) -> list[dict[str, t.Any]]:
    """Return one dictionary of counts a field."""
    rows = []
    for counted in census.fields:
        row: dict[str, t.Any] = {
            "table": counted.field.table,
            "column": counted.field.columns[0],
            "columns": list(counted.field.columns),
            "path": counted.field.path,
            "class": counted.field.class_name,
            "codec": as_given(counted.field.codec),
        }
        row.update(dict.fromkeys((*_KEY_ROLES, _LISTED), 0), empty=counted.empty, plain=counted.plain, foreign=counted.unopened)
        for mark, count in counted.sealed.items():
            role = keys.role_of(mark)
            row[role] = row.get(role, 0) + count
        rows.append(row)
    return rows


def observe(
    installation: Installation, *, keys: Keys | None = None, with_census: bool = True, reader: Reader | None = None
) -> Observation:
    """Look at everything once.

    Args:
        keys: where they are given and not read from env file and keyring.
        reader: an open reader to take the census through, such as a running transaction.
    """
    known = keys if keys is not None else read_keys(installation)
    if not known.by_fingerprint():
        raise KeyFormatError("no key is known here; name the env file or key file that holds it (env_file, env_var)")
    service = installation.service()
    process, pid = installation.process_key() if service is not None else (None, None)
    # Without a service too: whoever runs the application without one runs it all the same.
    holders = find_holders(known.by_fingerprint().values(), installation.process_var, separator=installation.profile.key_list)
    census = None
    if with_census:
        if reader is not None:
            census = take_census(reader, installation.profile, known.ciphers(), progress=installation.progress)
        else:
            census = installation.database().read(
                lambda opened: take_census(opened, installation.profile, known.ciphers(), progress=installation.progress)
            )
    return Observation(
        keys=known, process=process, pid=pid, process_seen=service is not None, holders=holders, census=census,
        unproven=installation.profile.unauthenticated(), is_process_dated=installation.is_process_dated,
    )


__all__ = ("Keys", "Observation", "census_rows", "observe", "read_keys")
