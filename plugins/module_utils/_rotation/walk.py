# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Walk down the table of phases, as far as asked: rewrap, swap the env file, restart, look again. Or back up it.

Nothing is remembered between runs: what to do follows from what is seen, so the same call finishes what a killed run
began. If the service does not come up on the new key, everything is brought back under the old one before we fail.
"""

from __future__ import annotations

import typing as t

from .._errors import KeyMissingError, ProfileError, ServiceError, StoreError
from .._keys.material import MasterKey
from .._system import files
from .api_step import require_api, rotate_by_api
from .data_step import require_pace, rewrap_data
from .installation import Installation
from .observe import Keys, Observation, observe
from .rivals import refuse_rival
from .run import Run, WalkOptions, remember_scrub, scrub_is_due
from .window import Window


class Walk:
    """One run over one installation."""

    def __init__(self, installation: Installation, options: WalkOptions, *, keys: Keys | None) -> None:
        self._run = Run(installation, options)
        self._window = Window(self._run)
        self._given = keys

    @property
    def did(self) -> dict[str, t.Any]:
        """What was done, as the module returns it."""
        return self._run.did

    @property
    def warnings(self) -> list[str]:
        """What deserves a look."""
        return self._run.warnings

    def look(self, keys: Keys | None = None) -> Observation:
        """Observe, with the keys that were given if any were."""
        return observe(self._run.installation, keys=keys if keys is not None else self._given)

    def check(self, before: Observation) -> MasterKey:
        """Refuse what cannot end well; return the key that all data is to be under. Writes nothing."""
        installation, options = self._run.installation, self._run.options
        before.require_usable(
            discover=options.discover, allow_empty=options.allow_empty, canary_required=installation.profile.canary_required
        )
        self._refuse_third_key(before)
        target = self._target(before.keys)
        if self._given is not None and options.until != "rewrapped":
            raise ProfileError("with old_key or old_key_file there is no env file to swap: set until=rewrapped")
        if options.until != "rewrapped" and before.keys.active is None:
            raise KeyMissingError(
                "until says more than rewrapped, and there is no env file to swap; "
                "name it (env_file), or set until=rewrapped"
            )
        if options.online:
            self._require_online()
        if options.method == "api" and not options.back and self._needs_rewrap(before, target):
            require_api(self._run)
        self._check_means(self.needs(before, target), before.keys.active, target)
        return target

    def _require_online(self) -> None:
        """Refuse to rewrap beside a service that could not read what was rewrapped.

        Raises:
            ProfileError: saying what is missing.
        """
        installation, options = self._run.installation, self._run.options
        if not installation.profile.key_list:
            raise ProfileError(
                f"the profile {installation.profile.app} knows one key at a time: a service that runs during the rewrap could not read "
                "what was rewrapped; nothing was changed; leave online out, or name the separator of its list of keys (key_list)"
            )
        if options.back or options.until != "activated" or options.method != "database" or installation.service() is None:
            raise ProfileError(
                "online needs a service, method=database, direction=forward and until=activated; nothing was changed; leave it out to go "
                "back, or where the service is not ours to restart"
            )

    def _refuse_third_key(self, before: Observation) -> None:
        """An env file that holds neither the staged nor the previous key was changed by somebody else: no way leads on from it."""
        keys = before.keys
        active, known = keys.active, [key for key in (keys.staged, keys.previous, keys.withdrawn) if key is not None]
        if active is None or keys.previous is None or active in known or before.sight.sealed.get(active.fingerprint):
            return
        names = " or ".join(f"{keys.role_of(key.fingerprint)} key {key.fingerprint}" for key in known)
        raise KeyMissingError(
            f"the env file holds {active.fingerprint}, which opens no value and is not the {names}: it was changed by hand, or by "
            f"another tool; nothing was changed; put one of those keys back into it (they are in {self._run.installation.state_dir})"
        )

    def _check_means(self, steps: t.Sequence[str], active: MasterKey | None, target: MasterKey) -> None:
        """Refuse now what would fail in the window: no room, a file that cannot be swapped, a service that is not well."""
        installation, options = self._run.installation, self._run.options
        if "rewrap" in steps:
            refuse_rival(installation)
            require_pace(installation.database(), options.pace)
            installation.database().require_room(scrub=options.scrub)
        if "swap" in steps and not options.back:
            kept = installation.keyring.read("previous")
            if kept is not None and kept != active:
                raise KeyMissingError(
                    f"the previous key {kept.fingerprint} of the last rotation is still kept in {installation.state_dir}; "
                    "nothing was changed; retire it first (playbook servos.ops.retire), then rotate again"
                )
        if "swap" in steps:
            files.require_replaceable(str(installation.env_file))
            installation.configuration.require_swappable_list()
            if options.back:
                installation.configuration.require_returnable(target)
        service = installation.service() if steps and options.health_url else None
        if service is not None and service.main_pid() is not None and not self._run.is_ready():
            if options.back:
                # A service that is not well is a reason to go back, not to stay; and its health cannot prove the way back then.
                self._run.leave_health_out()
                return
            raise ServiceError(
                f"{options.health_url} does not answer 200 although {service.name} runs, so nothing would show that it has come up; "
                "nothing was changed; correct health_url, or leave it out"
            )

    def _target(self, keys: Keys) -> MasterKey:
        target = self._origin(keys) if self._run.options.back else keys.target
        if self._run.options.back and keys.staged is None and keys.withdrawn not in (None, keys.active):
            target = keys.active  # it was taken back before
        if target is None:
            what = "the previous key was retired" if self._run.options.back else "no key is staged"
            raise KeyMissingError(
                f"{what}: there is nothing to go {'back' if self._run.options.back else 'on'} to; "
                "see servos_key_info for where things stand"
            )
        return target

    @staticmethod
    def _origin(keys: Keys) -> MasterKey | None:
        """Return the key that was active before the rotation."""
        return keys.previous if keys.active == keys.staged or keys.staged is None else keys.active

    @staticmethod
    def _needs_rewrap(seen: Observation, target: MasterKey) -> bool:
        return seen.sight.count_elsewhere(target.fingerprint) > 0

    def needs(self, before: Observation, target: MasterKey) -> list[str]:
        """List the steps that are left: rewrap, swap, scrub, restart, withdraw, narrow (the list of keys to the one in force)."""
        sight, until = before.sight, self._run.options.until
        steps = ["rewrap"] if self._needs_rewrap(before, target) else []
        if until != "rewrapped" and sight.env != target.fingerprint:
            steps.append("swap")
        # A run may have been killed between stop and start, so a stopped service is started as long as a key is kept.
        pending = bool(steps) or not sight.is_retired
        on_target = sight.process == target.fingerprint
        if steps[:1] != ["rewrap"] and self._run.options.scrub and scrub_is_due(self._run.installation):
            steps.append("scrub")
        if until == "activated" and sight.process_seen and not on_target and (pending or sight.process is not None):
            steps.append("restart")
        if self._run.options.back and until == "activated" and before.keys.staged is not None:
            steps.append("withdraw")
        stays_beside = self._run.options.online and self._run.installation.configuration.stands_before_others(target)
        if stays_beside or (self._run.options.online and {"swap", "rewrap"} & set(steps)):
            steps.append("narrow")
        return steps

    def act(self, before: Observation, target: MasterKey, steps: t.Sequence[str]) -> Observation:
        """Do the steps, and return what is seen afterwards.

        Raises:
            ServosError: with what was undone, or where things stand.
        """
        options = self._run.options
        if "rewrap" in steps and self._can_heal(before, target):
            after = self._heal(target)
            self._run.did.update(rewrapped=self._run.did["healed"], healed=0)  # it is this run's own task
            self._scrub_if_due()
        elif {"rewrap", "swap", "restart"} & set(steps):
            by_api = "rewrap" in steps and options.method == "api" and not options.back and before.phase == "staged"
            if by_api:
                before = rotate_by_api(self._run, before, target, self.look)
            origin = before.keys.staged if options.back else self._origin(before.keys)
            self._window.pass_through(before, target, origin, steps, is_rotated=by_api, is_online=options.online)
            after = self._heal(target)
            if options.online:
                self._run.did.update(rewrapped=self._run.did["healed"], healed=0)
                self._scrub_if_due()
        else:
            self._scrub_if_due()
            after = before
        if "withdraw" in steps:
            self._run.installation.keyring.withdraw_staged()
            after = self.look()
        self._verify(after, target)
        if "narrow" in steps:  # nothing needs the keys behind it any more; the process drops them when it is started next
            self._run.installation.configuration.leave_alone(target)
            after = self.look()
        return after

    def _can_heal(self, before: Observation, target: MasterKey) -> bool:
        """Tell whether env file and process are on the target: then what somebody else sealed is no reason to stop the service."""
        sight = before.sight
        return sight.process_seen and sight.process == sight.env == target.fingerprint and self._run.options.until == "activated"

    def _heal(self, target: MasterKey) -> Observation:
        """Look again for values that a process with the old key sealed in the meantime, and bring them over."""
        after = self.look()
        for unused_turn in range(3):
            if after.census is None or not self._needs_rewrap(after, target):
                break
            after.census.refuse_foreign(after.keys.described())
            was_due = scrub_is_due(self._run.installation)
            done = rewrap_data(
                self._run.installation, keys=after.keys, target=target, census=after.census,
                include_new_fields=True, lock_timeout_s=self._run.options.lock_timeout_s,
                overwrite_freed=self._run.options.scrub, before_commit=self._run.note_scrub, pace=self._run.options.pace,
            )
            self._run.did["healed"] += done.rewrapped
            if self._run.options.scrub and self._empty_log() and not was_due:
                remember_scrub(self._run.installation, is_due=False)
            after = self.look()
        return after

    def _scrub_if_due(self) -> None:
        if self._run.options.scrub and scrub_is_due(self._run.installation):
            self._window.scrub()

    def _empty_log(self) -> bool:
        """The service runs again, so its log may be in use; what it holds then goes with its next checkpoint."""
        try:
            cleaned = self._run.installation.database().empty_log(lock_timeout_s=self._run.options.lock_timeout_s)
        except StoreError as error:
            cleaned = {"wal_bytes": None}
            self._run.warnings.append(f"values that were brought over late may still stand in the write-ahead log: {error}")
        self._run.note_cleaned({"wal_bytes": cleaned["wal_bytes"], "warning": cleaned.get("warning")})
        return bool(cleaned["wal_bytes"] == 0) or "warning" in cleaned

    def _verify(self, after: Observation, target: MasterKey) -> None:
        """Hold what is seen against what was asked for; an act that only seems to have worked is an error."""
        sight, until = after.sight, self._run.options.until
        elsewhere = sight.count_elsewhere(target.fingerprint)
        if elsewhere or sight.foreign:
            raise StoreError(
                f"after the run {elsewhere} values are under another key than {target.fingerprint} and {sight.foreign} under none: "
                f"some process still seals with the old key{_named(after)}; stop it, then run again"
            )
        if until != "rewrapped" and sight.env != target.fingerprint:
            raise StoreError(f"the env file holds {sight.env} and not {target.fingerprint} after the swap: does something else write it?")
        if until == "activated" and sight.process_seen and sight.process != target.fingerprint:
            raise ServiceError(
                f"the service runs on {sight.process or 'no key'} and not on {target.fingerprint} after its restart; "
                "see where it reads its key from"
            )


def _named(seen: Observation) -> str:
    forgotten = ", ".join(str(holder) for holder in seen.forgotten())
    return f" ({forgotten})" if forgotten else ", and none on this host was started with it"


__all__ = ("Walk",)
