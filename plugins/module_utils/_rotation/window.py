# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The window in which the service does not answer: from its stop to its start on the new key.

Whatever goes wrong before the commit, the service is started as it was. Whatever goes wrong after it, or where nobody knows
whether it happened, data, env file and process are brought back under the key that they were under.
"""

from __future__ import annotations

import time
import typing as t

from .._errors import ServiceError, ServosError, StoreError, UnknownCommitError
from .._keys.material import MasterKey
from .._system.services import Service
from .data_step import rewrap_data
from .observe import Keys, Observation
from .run import Run, remember_scrub


class Window:
    """The steps between stop and start of one run."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._env_before: bytes | None = None
        self._may_be_partly_committed = False

    def pass_through(
        self, before: Observation, target: MasterKey, origin: MasterKey | None, steps: t.Sequence[str], *, is_rotated: bool,
        is_online: bool = False,
    ) -> None:
        """Stop, rewrap, swap, scrub and start, as far as the run is asked to.

        Args:
            before: what was seen last; its census says which fields there are.
            origin: the key to bring everything back to if the service does not come up.
            is_rotated: whether the application itself has brought its data under the target already; then the env file is
                swapped first, so that whoever starts the service meanwhile starts it on the right key.
            is_online: whether the service is to read both keys from now on, and the data is rewrapped while it runs.

        Raises:
            ServosError: with what was undone, or where things stand.
        """
        run, options = self._run, self._run.options
        service = run.installation.service()
        was_running = service is not None and service.main_pid() is not None
        opened, is_committed = time.monotonic(), is_rotated
        try:
            if is_rotated:
                run.note_scrub()
            if is_rotated and "swap" in steps:
                self.swap(before.keys, target)
            if is_online and "swap" in steps:
                self._put_before(before.keys, target)
            if service is not None:
                run.installation.progress.begin("stop")
                service.stop(options.stop_timeout_s)
            if not is_online:
                self._rewrap(before, target)
                is_committed = True
                if "swap" in steps:
                    self.swap(before.keys, target)
                if options.scrub:
                    self.scrub()
            if service is not None and options.until == "activated":
                self.start(service, target)
                run.did["window_s"] = round(time.monotonic() - opened, 3)
        except BaseException as error:  # a fault of ours must not leave the service down either
            known = error if isinstance(error, ServosError) else ServosError(f"unexpected {type(error).__name__}")
            if is_online and service is not None:
                told = self._undone(known, service, before, origin)
            elif not is_committed and not self._may_be_partly_committed and not isinstance(error, UnknownCommitError):
                told = self._started_again(known, service if was_running else None)
            elif service is not None and options.until == "activated":
                told = self._undone(known, service, before, origin)
            else:
                raise
            if isinstance(error, ServosError):
                raise told from None
            raise

    def start(self, service: Service, target: MasterKey) -> None:
        """Start the service on the target; in the other encoding if that was asked for and helps.

        Raises:
            ServiceError: it does not come up.
        """
        try:
            self._run.start(service)
        except ServiceError as error:
            if self._started_in_other_encoding(service, target):
                return
            if not target.is_rewritable or self._run.options.reencode_on_failed_start:
                raise
            other = "hex" if target.encoding == "base64" else "base64"
            raise ServiceError(
                f"{error}; if this version reads keys in {other} only, set reencode_on_failed_start=true"
            ) from None

    def _rewrap(self, before: Observation, target: MasterKey) -> None:
        census = before.census
        if census is None:
            raise StoreError("the data was not looked at; this is a fault of servos.ops: report it")
        options = self._run.options
        done = rewrap_data(
            self._run.installation, keys=before.keys, target=target, census=census,
            include_new_fields=options.discover == "include" or not self._run.installation.profile.fields,
            lock_timeout_s=options.lock_timeout_s, before_commit=self._before_commit, pace=options.pace,
        )
        self._run.did["rewrapped"] += done.rewrapped
        self._run.did["duration_s"] = round(self._run.did["duration_s"] + done.duration_s, 3)
        if self._run.did["duration_s"]:
            self._run.did["values_per_s"] = int(self._run.did["rewrapped"] / self._run.did["duration_s"])

    def _before_commit(self) -> None:
        self._run.note_scrub()
        # Of what fails in a later batch the earlier ones stay.
        self._may_be_partly_committed = self._run.options.batch_size > 0

    def swap(self, keys: Keys, target: MasterKey) -> None:
        """Put the target in force; the key it replaces is durable in the keyring before."""
        keyring = self._run.installation.keyring
        if keys.active is not None and keys.active not in (target, keys.staged if self._run.options.back else None):
            keyring.write("withdrawn" if self._run.options.back else "previous", keys.active)
        if self._env_before is None:
            self._env_before = self._run.installation.env_content()
        self._run.installation.write_env_key(target, is_returning=self._run.options.back)

    def _put_before(self, keys: Keys, target: MasterKey) -> None:
        """The target seals from the next start on, and what is under the keys behind it still opens."""
        if keys.active is not None and keys.active != target:
            self._run.installation.keyring.write("previous", keys.active)
        if self._env_before is None:
            self._env_before = self._run.installation.env_content()
        self._run.installation.configuration.put_before(target)

    def scrub(self) -> None:
        """Old ciphertext in free pages endangers no value, so a failure here does not undo a rotation; it stays due."""
        self._run.installation.progress.begin("scrub")
        try:
            self._run.note_cleaned(self._run.installation.database().scrub(lock_timeout_s=self._run.options.lock_timeout_s))
        except StoreError as error:
            self._run.did["scrub"] = {"vacuumed": False}
            self._run.warnings.append(
                f"the data is rotated, but free pages may still hold values under the old key: {error}; the next run tries again"
            )
            self._run.note_scrub()
            return
        remember_scrub(self._run.installation, is_due=False)

    def _started_again(self, error: ServosError, service: Service | None) -> ServosError:
        """The transaction changed nothing: start the service as it was, and say so."""
        if service is None:
            return error
        try:
            self._run.start(service)
        except ServosError as second:
            return type(error)(f"{error}; the service {service.name} was stopped and did not start again: {second}")
        return type(error)(f"{error}; the service {service.name} was started again on its old key")

    def _started_in_other_encoding(self, service: Service, target: MasterKey) -> bool:
        """Opt-in: the same 32 bytes in the other encoding change no data, and some versions read only one."""
        if not self._run.options.reencode_on_failed_start or not target.is_rewritable:
            return False
        from_encoding, to_encoding = target.encoding, "hex" if target.encoding == "base64" else "base64"
        try:
            service.stop(self._run.options.stop_timeout_s)
            self._run.installation.write_env_key(target.in_encoding(to_encoding))
            self._run.start(service)
        except ServosError:
            return False
        self._run.warnings.append(f"the service did not start on the key in {from_encoding}, but does on the same key in {to_encoding}")
        return True

    def _undone(self, error: ServosError, service: Service, before: Observation, origin: MasterKey | None) -> ServosError:
        """Bring data, env file and process back under the key that they were under."""
        if origin is None:
            return type(error)(f"{error}; the key from before is not kept any more, so nothing was undone")
        keyring = self._run.installation.keyring
        try:
            service.stop(self._run.options.stop_timeout_s)
            if before.census is None:
                raise StoreError("the data was not looked at; this is a fault of servos.ops: report it")
            done = rewrap_data(
                self._run.installation, keys=before.keys, target=origin, census=before.census, include_new_fields=True,
                lock_timeout_s=self._run.options.lock_timeout_s, before_commit=self._run.note_scrub, pace=self._run.options.pace,
            )
            installation = self._run.installation
            if self._env_before is not None and installation.env_content() != self._env_before:
                installation.write_env_content(self._env_before)
            if installation.env_key() != origin:  # as it was written it is known to work; the keyring may have it in the other encoding
                installation.write_env_key(origin, is_returning=True)
            self._run.start(service)
        except ServosError as second:
            return type(error)(
                f"{error}; bringing everything back failed as well: {second}; both keys are in {keyring.state_dir}: "
                "mend the cause and run again, nothing is lost"
            )
        return type(error)(
            f"{error}; so {done.rewrapped} values were rewrapped back, the env file was put back, and the service runs on "
            f"{origin.fingerprint} again; the other key is kept in {keyring.state_dir}: mend the cause, then run again"
        )


__all__ = ("Window",)
