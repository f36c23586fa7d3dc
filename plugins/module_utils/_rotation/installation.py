# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""One installation of an application on this host: its profile, and where its four things are.

Those are the data, the env file, the running process and the operator's keys.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._errors import EnvFileError, FileError, KeyFormatError, KeyMissingError, ProfileError, ServiceError
from .._keys.key_list import KeptList, split_keys
from .._keys.keyring import ROLES, Keyring, key_file_text
from .._keys.material import MasterKey, parse_key
from .._stores.database import Database, Place
from .._stores.postgres_programs import Runner as ProgramRunner
from .._stores.urls import form_of, open_snapshot, place_of
from .._system import files
from .._system.compose import ComposeService
from .._system.processes import hides_environment, process_variable, started_at
from .._system.progress import Progress
from .._system.service_group import ServiceGroup, main_pids
from .._system.services import CommandService, Runner, Service, SystemdService
from .configuration import Configuration
from .profile import Profile, build_profile

# Stands for the key of a process that may have read its file before that was last written.
UNKNOWN = "mk:unknown"


class Installation:
    """What the options of a module say about an installation, checked and filled up from the profile.

    C(options) are the options of the doc fragment C(_installation) by name; an empty text means not given. C(run) runs the
    commands that a service manager needs, C(run_program) the client programs of a database. C(progress) is told what is done.
    """

    def __init__(
        self, options: t.Mapping[str, t.Any], *, run: Runner, run_program: ProgramRunner | None = None, progress: Progress | None = None
    ) -> None:
        self._run = run
        self._run_program = run_program
        self.progress = progress or Progress()
        overrides = dict(options.get("profile") or {})
        if options.get("env_var"):
            overrides["env_var"] = options["env_var"]
        self.profile: Profile = build_profile(options.get("app") or "servos", overrides)
        self.env_file: str | None = options.get("env_file") or self.profile.env_file
        self.env_var: str = self.profile.env_var
        self._is_ini = self.profile.config_format == "ini"
        self.process_var: str = (self.profile.process_var if self._is_ini else None) or self.env_var
        self.key_encoding: str = options.get("key_encoding") or "auto"
        self.database_url: str | None = options.get("database") or self.profile.database
        self.database_token_file: str | None = options.get("database_token_file") or None
        self.database_password_file: str | None = options.get("database_password_file") or None
        self.state_dir: str = options.get("state_dir") or self.profile.state_dir
        self.keyring = Keyring(self.state_dir, derivation=self.profile.derivation)
        self.kept_list = KeptList(self.state_dir)
        self.configuration = Configuration(
            self.profile, path=self.env_file, variable=self.env_var, duplicates=options.get("env_duplicates") or "fail",
            encoding=self.key_encoding, kept_list=self.kept_list,
        )
        self._manager: str = options.get("service_manager") or "systemd"
        self._service_name: str | None = options.get("service") or self.profile.service
        self._service_commands: t.Mapping[str, t.Any] = options.get("service_commands") or {}
        self._service_compose: t.Mapping[str, t.Any] = options.get("service_compose") or {}
        self._service: Service | None = None
        self.is_process_dated = False

    def place(self) -> Place:
        """Return where the database is, or should be."""
        if not self.database_url:
            raise ProfileError(f"the profile {self.profile.app} has no database of its own; name one (database)")
        return place_of(
            self.database_url, token_path=self.database_token_file, password_path=self.database_password_file, run=self._run_program
        )

    def database(self) -> Database:
        """Return the store.

        Raises:
            StoreError: it is not there, or not what it should be.
        """
        return self.place().open()

    def snapshot(self, path: str) -> Database:
        """Return a snapshot to read; one that only a server can read is read by that of this database."""
        form = form_of(path)
        own = self.place().form if form is not None and self.database_url else None
        return own.open(path) if own is not None and form is not None and own.suffix == form.suffix else open_snapshot(path)

    def service(self) -> Service | None:
        """Return the service, or None where none is described (service_manager=none, or a profile without one).

        Raises:
            ServiceError: it is not known on this host, or its commands are missing.
        """
        if self._manager == "none" or (self._manager == "systemd" and not self._service_name):
            return None
        if self._service is None:
            self._service = self._build_service()
        return self._service

    def _build_service(self) -> Service:
        if self._manager == "systemd":
            units: list[Service] = [SystemdService(name, self._run) for name in str(self._service_name).split()]
            return units[0] if len(units) == 1 else ServiceGroup(units, self._run)
        if self._manager == "compose":
            return self._build_compose_service()
        commands = self._service_commands
        if not commands.get("stop") or not commands.get("start"):
            raise ServiceError("service_manager=command lacks commands; give service_commands with stop and start")
        if not commands.get("pid_file") and not commands.get("pid"):
            raise ServiceError("service_manager=command cannot see the process's key; give service_commands with pid_file or pid")
        return CommandService(
            self._service_name or "", self._run, stop=commands["stop"], start=commands["start"],
            pid_file=commands.get("pid_file"), pid_command=commands.get("pid"),
        )

    def _build_compose_service(self) -> Service:
        compose = self._service_compose
        directory, named = compose.get("project_directory"), list(compose.get("files") or ())
        if not self._service_name:
            raise ServiceError("service_manager=compose knows no service; give its name in the Compose file (service)")
        if not directory and (not named or not os.path.isabs(named[0])):
            raise ServiceError(
                "service_manager=compose knows no project; "
                "give service_compose with project_directory, or with files by absolute paths"
            )
        return ComposeService(
            self._service_name, self._run, directory=directory or os.path.dirname(named[0]), files=named,
            project_name=compose.get("project_name"), command=compose.get("command"),
        )

    def parse(self, text: str, *, where: str) -> MasterKey:
        """Read a key by this application's rule."""
        return parse_key(text, derivation=self.profile.derivation, where=where)

    def env_content(self) -> bytes:
        """Return the bytes of the env file."""
        return self.configuration.content()

    def env_key(self) -> MasterKey:
        """Return the active key: the one in force in the env file."""
        return self.configuration.keys()[0]

    def write_env_key(self, key: MasterKey, *, is_returning: bool = False) -> None:
        """Put a key in force in the env file."""
        self.configuration.write(key, is_returning=is_returning)

    def write_env_content(self, content: bytes) -> None:
        """Replace the env file's bytes in one step; owner, mode and context stay."""
        self.configuration.write_content(content)

    def clear_leftovers(self) -> None:
        """Destroy what a killed run left half-written of keys, record and env file; for who holds the installation's lock."""
        with contextlib.suppress(FileError):  # whoever writes that file next meets the same obstacle, and says so
            self.keyring.clear_leftovers()
            self.kept_list.clear_leftovers()
            if self.env_file:
                files.clear_leftover_of(str(self.env_file))

    def key_from_file(self, path: str) -> MasterKey:
        """Return the key in a key file on this host."""
        return self.parse(key_file_text(files.read_file(path, limit_bytes=64 * 1024)), where=path)

    def process_key(self) -> tuple[str | None, int | None]:
        """Return fingerprint and process id of the running service; (None, None) while it, or one of several, is stopped.

        A process without the variable, or with a text that is no key, has a fingerprint that says so and equals none. Of several
        services one that does not run on the active key counts. C(is_process_dated) then says whether any key was judged by the
        process's start.
        """
        service, self.is_process_dated = self.service(), False
        seen = [(self._key_of(pid), pid) for pid in (main_pids(service) if service is not None else [])]
        if not seen or any(mark is None for mark, unused_pid in seen):
            return None, None
        if len(seen) == 1:
            return seen[0]
        active = self.env_key().fingerprint
        return next(((mark, pid) for mark, pid in seen if mark != active), seen[0])

    def _key_of(self, pid: int) -> str | None:
        try:
            if self._is_ini:
                self._refuse_override(pid)
                return self._key_by_start_of(pid)
            text = process_variable(pid, self.env_var)
            if text is None and hides_environment(pid):
                return self._key_by_start_of(pid)
        except ProcessLookupError:
            return None
        except PermissionError:
            raise KeyMissingError(
                f"the environment of process {pid} may not be read; run as root (become: true), or set service_manager=none"
            ) from None
        if not text:
            return "mk:unset"
        try:
            return self.parse(split_keys(text, self.profile.key_list, where="the process")[0], where="the process").fingerprint
        except KeyFormatError:
            return "mk:malformed"

    def _refuse_override(self, pid: int) -> None:
        """Refuse a process whose environment overrides the file.

        Raises:
            EnvFileError: naming the variable.
        """
        name = self.profile.process_var
        for variable in [name + ending for ending in ("", *self.profile.config_rivals)] if name else []:
            if process_variable(pid, variable) is not None:
                raise EnvFileError(
                    f"process {pid} of the service was started with {variable}, which overrides {self.env_var} in {self.env_file}: a key "
                    f"that is swapped there would not be the one in force; nothing was changed; name the file that sets {variable} "
                    f"(env_file, env_var, config_format: env), or take {variable} out and restart the service"
                )

    def _key_by_start_of(self, pid: int) -> str | None:
        """A process that reads its key from the file shows none, nor does one that hides its environment.

        What can be seen is whether it is older than what the file holds.
        """
        self.is_process_dated = True
        born = started_at(pid)
        if born is None:
            return None
        # While no key is kept that it could have read before, another line of the file has changed.
        is_under_way = any(os.path.lexists(self.keyring.path_of(role)) for role in ROLES)
        if is_under_way and born < os.stat(str(self.env_file)).st_mtime:
            return UNKNOWN
        return self.env_key().fingerprint


__all__ = ("UNKNOWN", "Installation")
