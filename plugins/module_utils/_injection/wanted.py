# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The container that is wanted, from a module's options. Pure."""

from __future__ import annotations

import json
import re
import typing as t

from .._errors import InjectionError
from .variables import check_name, check_values, digest_of

NEW, OLD = ".servos-ops-new", ".servos-ops-old"
LABEL_NAME, LABEL_OPTIONS, LABEL_SECRETS, LABEL_MOUNT = (
    "servos.ops.injection",
    "servos.ops.options",
    "servos.ops.secrets",
    "servos.ops.mount",
)
_CONTAINER_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}")
_RESTART = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]+)?")
_TAKEN_ARGUMENTS = re.compile(r"--(env|env-file|name|rm|cidfile|pull|label-file|replace)(=.*)?|--label=servos\.ops\..*", re.DOTALL)

# Option of the module, option of the engine. Docker and Podman agree on all of them.
_VALUES = {
    "entrypoint": "--entrypoint",
    "restart_policy": "--restart",
    "user": "--user",
    "memory": "--memory",
    "cpus": "--cpus",
    "working_dir": "--workdir",
    "hostname": "--hostname",
    "stop_timeout": "--stop-timeout",
}
_LISTS = {
    "ports": "--publish",
    "volumes": "--volume",
    "cap_drop": "--cap-drop",
    "cap_add": "--cap-add",
    "tmpfs": "--tmpfs",
    "security_opt": "--security-opt",
}
_SWITCHES = {"read_only": "--read-only", "init": "--init"}
_ENDLESS = 1_000_000
_OTHERS = ("command", "networks", "labels", "extra_args")
_OF_MOUNTS = ("mount_dir", "mount_target", "mount_mode", "mount_uid", "mount_gid")


class Wanted:
    """One container as the options describe it. C(variables) are secrets, C(public) are not."""

    def __init__(self, params: t.Mapping[str, t.Any], variables: t.Mapping[str, str], public: t.Mapping[str, str]) -> None:
        """Check everything that can be checked without looking at the host.

        Raises:
            InjectionError: naming the option or the variable.
        """
        self.name: str = params["name"]
        self.image: str = params.get("image") or ""
        self.delivery: str = params["delivery"]
        self.variables, self.public = dict(variables), dict(public)
        self.params = params
        if not _CONTAINER_NAME.fullmatch(self.name) or self.name.endswith((NEW, OLD)):
            raise InjectionError(
                f"name: {self.name!a} is no container's name; "
                f"use letters, digits, '_', '.' and '-', at least two, not ending in {NEW} or {OLD}"
            )
        self._check_limits()
        if params["state"] == "started":
            self._check()

    @property
    def is_mounted(self) -> bool:
        """Whether the secrets go by files that are mounted into the container."""
        return self.delivery == "mount"

    @property
    def options(self) -> dict[str, t.Any]:
        """Return the options that make the container what it is; a change of one replaces it."""
        names = [*_VALUES, *_LISTS, *_SWITCHES, *_OTHERS, "delivery"] + (list(_OF_MOUNTS) if self.is_mounted else [])
        found = {name: self.params.get(name) for name in names}
        return {name: value for name, value in found.items() if value is not None and value is not False and value != []}

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that the container gets as such."""
        if not self.is_mounted:
            return dict(self.public, **self.variables)
        target = self.params["mount_target"]
        return dict(self.public, **{f"{name}_FILE": f"{target}/{name}" for name in self.variables})

    def digests(self, key_bytes: bytes) -> tuple[dict[str, str], dict[str, str]]:
        """Return the digests of the options and of the variables."""
        options = {
            name: digest_of(key_bytes, "option", self.name, name, json.dumps(value, sort_keys=True)) for name, value in self.options.items()
        }
        secrets = {name: digest_of(key_bytes, "secret", self.name, name, value) for name, value in self.variables.items()}
        public = {name: digest_of(key_bytes, "public", self.name, name, value) for name, value in self.public.items()}
        return options, dict(public, **secrets)

    def arguments(self) -> list[str]:
        """Return what the engine's C(create) gets for the options, but networks, name, variables and labels of ours.

        Every value stands behind the C(=) of its option, so that none can be taken for another option.
        """
        words = []
        for name, option in _VALUES.items():
            if self.params.get(name) is not None:
                words.append(f"{option}={self.params[name]}")
        for name, option in _LISTS.items():
            words += [f"{option}={value}" for value in self.params.get(name) or ()]
        words += [option for name, option in _SWITCHES.items() if self.params.get(name)]
        words += [f"--label={name}={value}" for name, value in (self.params.get("labels") or {}).items()]
        return words + list(self.params.get("extra_args") or ())

    @property
    def command(self) -> list[str]:
        """Return the words that follow the image."""
        return list(self.params.get("command") or ())

    @property
    def networks(self) -> list[str]:
        """Return the networks, the first one first."""
        return list(self.params.get("networks") or ())

    def _check_limits(self) -> None:
        for name, least in (("timeout", 0.1), ("pull_timeout", 0.1), ("settle", 0)):
            if not least <= self.params[name] < _ENDLESS:
                raise InjectionError(f"{name}: out of range; give a number of seconds, {least} at least and less than {_ENDLESS}")
        if re.search(r'[,"\n\r]', self.params["secrets_dir"]):
            raise InjectionError("secrets_dir: a comma, a quote or a line end is in it, which the engine would read; name a path without")

    def _check(self) -> None:
        if not self.image or self.image.startswith("-") or any(char.isspace() for char in self.image):
            raise InjectionError(
                f"image: {self.image!a} is no image's name; "
                "name it as the engine does, for example registry.example/app:1.2"
            )
        for given, option in ((self.variables, "env"), (self.public, "public_env")):
            for name in given:
                check_name(name, option=option)
        allow_empty = self.params["allow_empty"]
        check_values(self.variables, option="env", allow_empty=allow_empty, by_file=self.is_mounted)
        check_values(self.public, option="public_env", allow_empty=allow_empty)
        twice = sorted(set(self.variables) & set(self.public))
        if self.is_mounted:
            twice += sorted({f"{name}_FILE" for name in self.variables} & set(self.public))
        if twice:
            raise InjectionError(f"public_env: {', '.join(twice)} is given by env already; give each variable once")
        self._check_options()

    def _check_options(self) -> None:
        params = self.params
        if params.get("restart_policy") is not None and not _RESTART.fullmatch(params["restart_policy"]):
            raise InjectionError("restart_policy: none that an engine knows; use no, on-failure, on-failure:N, always or unless-stopped")
        for name, value in (params.get("labels") or {}).items():
            if value is None:
                raise InjectionError(f"labels: {name!a} has no value; give it one, or an empty text")
            if not name or name.startswith("servos.ops.") or "=" in name:
                raise InjectionError(
                    f"labels: {name!a} cannot be set, since labels of servos.ops.* are this module's own, and a name has no '='; "
                    "name it otherwise"
                )
        for word in params.get("extra_args") or ():
            if not word.startswith("--") or word == "--":
                raise InjectionError(f"extra_args: {word.partition('=')[0]!a} is no long option; write each in one word, --option=value")
            if _TAKEN_ARGUMENTS.fullmatch(word):
                raise InjectionError(f"extra_args: {word.partition('=')[0]} is set by this module; use its own option, if it has one")
        for name in self.networks:
            if not name or name.startswith("-"):
                raise InjectionError(f"networks: {name!a} is no network's name; name one of the engine's")
        if self.is_mounted:
            for name in ("mount_dir", "mount_target"):
                if not params[name].startswith("/") or re.search(r'[,"\n\r]', params[name]):
                    raise InjectionError(f"{name}: relative, or with a comma, a quote or a line end; give an absolute path without them")
            if not re.fullmatch(r"0?[0-7]{3}", params["mount_mode"]):
                raise InjectionError('mount_mode: no file mode; give three octal digits, in quotes, such as "0444"')


__all__ = ("LABEL_MOUNT", "LABEL_NAME", "LABEL_OPTIONS", "LABEL_SECRETS", "NEW", "OLD", "Wanted")
