# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Walk down the table of phases, as far as asked: rewrap, swap the env file, restart, look again. Or back up it.

Nothing is remembered between runs: what to do follows from what is seen, so the same call finishes what a killed run
began. If the service does not come up on the new key, everything is brought back under the old one before we fail.
"""

from __future__ import annotations

import time
import typing as t

from .._apps.probe import run_probe
from .._apps.servos import post_rotation
from .._errors import ApiError, KeyMissingError, ProfileError, ServiceError, ServosError, StoreError, UnknownOutcomeError
from .._keys.keyring import key_file_text
from .._keys.material import MasterKey
from .._system import files
from .._system.services import Service, wait_until_settled
from .data_step import rewrap_data
from .installation import Installation
from .observe import Keys, Observation, observe

UNTIL = ("rewrapped", "swapped", "activated")


class WalkOptions(t.NamedTuple):
    """How to walk; the names and units are those of the options of M(servos.ops.servos_key_rotate)."""

    until: str = "activated"
    method: str = "database"
    back: bool = False
    discover: str = "fail"
    allow_empty: bool = False
    scrub: bool = True
    lock_timeout_s: float = 30.0
    stop_timeout_s: float = 90.0
    start_timeout_s: float = 60.0
    settle_s: float = 1.0
    health_url: str | None = None
    reencode_on_failed_start: bool = False
    api_url: str | None = None
    api_token_file: str | None = None
    api_timeout_s: float = 300.0
    api_ca_file: str | None = None


class Walk:
    """One run over one installation. C(did) holds what was done, as returned by the module."""

    def __init__(self, installation: Installation, options: WalkOptions, *, keys: Keys | None) -> None:
        self._installation = installation
        self._options = options
        self._given = keys
        self.did: dict[str, t.Any] = {"rewrapped": 0, "healed": 0, "duration_s": 0.0, "values_per_s": 0, "window_s": None}
        self.warnings: list[str] = []

    def look(self, keys: Keys | None = None) -> Observation:
        """Observe, with the keys that were given if any were."""
        return observe(self._installation, keys=keys if keys is not None else self._given)

    def check(self, before: Observation) -> MasterKey:
        """Refuse what cannot end well; return the key that all data is to be under. Writes nothing."""
        installation, options = self._installation, self._options
        before.require_usable(
            discover=options.discover, allow_empty=options.allow_empty, canary_required=installation.profile.canary_required
        )
        target = self._target(before.keys)
        if self._given is not None and options.until != "rewrapped":
            raise ProfileError("with old_key or old_key_file there is no env file to swap: set until=rewrapped")
        if options.until != "rewrapped" and before.keys.active is None:
            raise KeyMissingError("until says more than rewrapped, which needs an env file (env_file)")
        if options.method == "api" and not options.back and self._needs_rewrap(before, target):
            self._check_api()
        self._check_means(self.needs(before, target))
        return target

    def _check_means(self, steps: t.Sequence[str]) -> None:
        """Refuse now what would fail in the window: no room, a file that cannot be swapped, a service that is not well."""
        installation, options = self._installation, self._options
        if "rewrap" in steps:
            installation.database().require_room(scrub=options.scrub)
        if "swap" in steps:
            files.require_replaceable(str(installation.env_file))
        service = installation.service() if steps and options.health_url else None
        if service is not None and service.main_pid() is not None and not self._is_ready():
            raise ServiceError(
                f"{options.health_url} does not answer 200 although {service.name} runs, so nothing would show that it has come up; "
                "nothing was changed; correct health_url, or leave it out"
            )

    def _target(self, keys: Keys) -> MasterKey:
        target = self._origin(keys) if self._options.back else keys.target
        if self._options.back and keys.staged is None and keys.withdrawn is not None:
            target = keys.active  # it was taken back before
        if target is None:
            what = "the previous key was retired" if self._options.back else "no key is staged"
            raise KeyMissingError(f"{what}: there is nothing to go {'back' if self._options.back else 'on'} to")
        return target

    @staticmethod
    def _origin(keys: Keys) -> MasterKey | None:
        """Return the key that was active before the rotation."""
        return keys.previous if keys.active == keys.staged or keys.staged is None else keys.active

    def _check_api(self) -> None:
        options = self._options
        if not options.api_url or not options.api_token_file:
            raise ApiError("method=api needs api_url and api_token_file; nothing was changed")
        if not self._installation.profile.rotate_path:
            raise ApiError(f"the profile {self._installation.profile.app} has no rotation endpoint; use method=database")
        files.read_file(options.api_token_file, limit_bytes=64 * 1024)

    @staticmethod
    def _needs_rewrap(seen: Observation, target: MasterKey) -> bool:
        return seen.sight.count_elsewhere(target.fingerprint) > 0

    def needs(self, before: Observation, target: MasterKey) -> list[str]:
        """List the steps that are left, in order: rewrap, swap, restart, withdraw."""
        sight, until = before.sight, self._options.until
        steps = ["rewrap"] if self._needs_rewrap(before, target) else []
        if until != "rewrapped" and sight.env != target.fingerprint:
            steps.append("swap")
        pending = bool(steps) or before.keys.staged is not None
        on_target = sight.process == target.fingerprint
        if until == "activated" and sight.process_seen and not on_target and (pending or sight.process is not None):
            steps.append("restart")
        if self._options.back and until == "activated" and before.keys.staged is not None:
            steps.append("withdraw")
        return steps

    def act(self, before: Observation, target: MasterKey, steps: t.Sequence[str]) -> Observation:
        """Do the steps, and return what is seen afterwards.

        Raises:
            ServosError: with what was undone, or where things stand.
        """
        keys = before.keys
        if "rewrap" in steps and self._options.method == "api" and not self._options.back and before.phase == "staged":
            before = self._rotate_by_api(before, target)
            if self._options.until != "rewrapped":
                self._swap(keys, target)
        if {"rewrap", "swap", "restart"} & set(steps):
            self._window(before, target, steps)
            after = self._heal(target)
        else:
            after = before
        if "withdraw" in steps:
            self._installation.keyring.withdraw_staged()
            after = self.look()
        self._verify(after, target)
        return after

    # The API method

    def _rotate_by_api(self, before: Observation, target: MasterKey) -> Observation:
        """One POST; whatever it answers, the census says what happened."""
        options, active = self._options, before.keys.active
        service = self._installation.service()
        if service is not None and service.main_pid() is None:
            self._start(service)
        if active is None:
            raise KeyMissingError("method=api needs the active key in the env file")
        token = key_file_text(files.read_file(str(options.api_token_file), limit_bytes=64 * 1024)).strip()
        doubt: UnknownOutcomeError | None = None
        started = time.monotonic()
        try:
            post_rotation(
                str(options.api_url), path=str(self._installation.profile.rotate_path), token=token,
                old_text=active.reveal_text(), new_text=target.reveal_text(), encoding=active.encoding,
                timeout_s=options.api_timeout_s, ca_path=options.api_ca_file,
            )
        except UnknownOutcomeError as error:
            doubt = error
        self.did["duration_s"] = round(time.monotonic() - started, 3)
        after = self.look()
        if after.census is not None:
            after.census.refuse_foreign(after.keys.described())
        moved = after.sight.sealed.get(target.fingerprint, 0)
        if not moved and before.sight.sealed:
            why = str(doubt) if doubt is not None else "the API says that it has rotated"
            raise ApiError(f"{why}; but every value still opens under {active.fingerprint}: nothing was changed; it is safe to run again")
        if doubt is not None:
            self.warnings.append(f"{doubt}; the census shows that it has rotated")
        self.did["rewrapped"] += moved
        left = after.sight.count_elsewhere(target.fingerprint)
        if left:
            self.warnings.append(f"the API left {left} values under the old key; they are rewrapped in the database")
        return after

    # The window in which the service does not answer

    def _window(self, before: Observation, target: MasterKey, steps: t.Sequence[str]) -> None:
        options, service = self._options, self._installation.service()
        was_running = service is not None and service.main_pid() is not None
        opened = time.monotonic()
        origin = self._origin(before.keys) if not options.back else before.keys.staged
        try:
            if service is not None:
                service.stop(options.stop_timeout_s)
            self._rewrap(before, target)
        except ServosError as error:
            raise self._started_again(error, service if was_running else None) from None
        except BaseException:
            # A fault of ours must not leave the service down either.
            self._started_again(ServosError(""), service if was_running else None)
            raise
        try:
            if "swap" in steps:
                self._swap(before.keys, target)
            if options.scrub:
                self._scrub()
            if service is not None and options.until == "activated":
                self._start(service)
                self.did["window_s"] = round(time.monotonic() - opened, 3)
        except ServosError as error:
            if service is None or options.until != "activated":
                raise
            if isinstance(error, ServiceError) and self._started_in_other_encoding(service, target):
                return
            raise self._undone(error, service, before, origin) from None
        except BaseException:
            if service is not None and options.until == "activated":
                self._undone(ServosError(""), service, before, origin)
            raise

    def _rewrap(self, before: Observation, target: MasterKey) -> None:
        census = before.census
        if census is None:
            raise StoreError("the data was not looked at")
        options = self._options
        done = rewrap_data(
            self._installation, keys=before.keys, target=target, census=census,
            include_new_fields=options.discover == "include" or not self._installation.profile.fields,
            lock_timeout_s=options.lock_timeout_s,
        )
        self.did["rewrapped"] += done.rewrapped
        self.did["duration_s"] = round(self.did["duration_s"] + done.duration_s, 3)
        if self.did["duration_s"]:
            self.did["values_per_s"] = int(self.did["rewrapped"] / self.did["duration_s"])

    def _swap(self, keys: Keys, target: MasterKey) -> None:
        """Put the target in force; the key it replaces is durable in the keyring before."""
        keyring = self._installation.keyring
        if not self._options.back and keys.active is not None and keys.active != target:
            keyring.write("previous", keys.active)
        self._installation.write_env_key(target)

    def _scrub(self) -> None:
        """Old ciphertext in free pages endangers no value, so a failure here does not undo a rotation."""
        try:
            self.did["scrub"] = self._installation.database().scrub(lock_timeout_s=self._options.lock_timeout_s)
        except StoreError as error:
            self.did["scrub"] = {"vacuumed": False}
            self.warnings.append(f"the data is rotated, but free pages may still hold values under the old key: {error}")

    def _start(self, service: Service) -> None:
        options = self._options
        service.start(options.start_timeout_s)
        wait_until_settled(service, is_ready=self._is_ready, settle_s=options.settle_s, timeout_s=options.start_timeout_s)

    def _is_ready(self) -> bool:
        url = self._options.health_url
        if not url:
            return True
        probe = {"name": "health", "url": url, "status": 200, "forbid": (), "html": True, "ca_file": self._options.api_ca_file}
        return bool(run_probe(probe, token=None, timeout_s=5)["ok"])

    # When it goes wrong

    def _started_again(self, error: ServosError, service: Service | None) -> ServosError:
        """The transaction changed nothing: start the service as it was, and say so."""
        if service is None:
            return error
        try:
            self._start(service)
        except ServosError as second:
            return type(error)(f"{error}; the service {service.name} was stopped and did not start again: {second}")
        return type(error)(f"{error}; the service {service.name} was started again on its old key")

    def _started_in_other_encoding(self, service: Service, target: MasterKey) -> bool:
        """Opt-in: the same 32 bytes in the other encoding change no data, and some versions read only one."""
        if not self._options.reencode_on_failed_start or target.encoding == "passphrase":
            return False
        from_encoding, to_encoding = target.encoding, "hex" if target.encoding == "base64" else "base64"
        try:
            service.stop(self._options.stop_timeout_s)
            self._installation.write_env_key(target.in_encoding(to_encoding))
            self._start(service)
        except ServosError:
            return False
        self.warnings.append(f"the service did not start on the key in {from_encoding}, but does on the same key in {to_encoding}")
        return True

    def _undone(self, error: ServosError, service: Service, before: Observation, origin: MasterKey | None) -> ServosError:
        """Bring data, env file and process back under the key that they were under."""
        if origin is None:
            return type(error)(f"{error}; the key from before is not kept any more, so nothing was undone")
        keyring = self._installation.keyring
        try:
            service.stop(self._options.stop_timeout_s)
            if before.census is None:
                raise StoreError("the data was not looked at")
            done = rewrap_data(
                self._installation, keys=before.keys, target=origin, census=before.census, include_new_fields=True,
                lock_timeout_s=self._options.lock_timeout_s,
            )
            self._installation.write_env_key(origin)
            self._start(service)
        except ServosError as second:
            return type(error)(
                f"{error}; bringing everything back failed as well: {second}; both keys are in {keyring.state_dir}: "
                "mend the cause and run again, nothing is lost"
            )
        return type(error)(
            f"{error}; so {done.rewrapped} values were rewrapped back, the env file was put back, and the service runs on "
            f"{origin.fingerprint} again; the other key is kept in {keyring.state_dir}: mend the cause, then run again"
        )

    # After the window

    def _heal(self, target: MasterKey) -> Observation:
        """Look again for values that a process with the old key sealed in the meantime, and bring them over."""
        after = self.look()
        for unused_turn in range(3):
            if after.census is None or not self._needs_rewrap(after, target):
                break
            after.census.refuse_foreign(after.keys.described())
            done = rewrap_data(
                self._installation, keys=after.keys, target=target, census=after.census,
                include_new_fields=True, lock_timeout_s=self._options.lock_timeout_s,
            )
            self.did["healed"] += done.rewrapped
            after = self.look()
        return after

    def _verify(self, after: Observation, target: MasterKey) -> None:
        """Hold what is seen against what was asked for; an act that only seems to have worked is an error."""
        sight, until = after.sight, self._options.until
        elsewhere = sight.count_elsewhere(target.fingerprint)
        if elsewhere or sight.foreign:
            raise StoreError(
                f"after the run {elsewhere} values are under another key than {target.fingerprint} and {sight.foreign} under none: "
                "some process still seals with the old key; find and stop it, then run again"
            )
        if until != "rewrapped" and sight.env != target.fingerprint:
            raise StoreError(f"the env file holds {sight.env} and not {target.fingerprint} after the swap: does something else write it?")
        if until == "activated" and sight.process_seen and sight.process != target.fingerprint:
            raise ServiceError(f"the service runs on {sight.process or 'no key'} and not on {target.fingerprint} after its restart")


__all__ = ("UNTIL", "Walk", "WalkOptions")
