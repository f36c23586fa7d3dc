# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What the modules for Pika do around their one call: options, the server, the login, and where keys lie."""

from __future__ import annotations

import contextlib
import typing as t

from .._apps.pika_session import SHORTEST_TIMEOUT_S, Pika
from .._errors import ApiError, FileError, ServosError
from .._keys.keyring import key_file_text
from .._rotation.pika_custody import PikaCustody
from .._rotation.pika_run import PikaLogin, PikaRun
from .._system.files import read_file
from .acting import now
from .leaving import Result, run_guarded
from .masking import mask_keys, mask_texts

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_LIMIT_BYTES = 64 * 1024


def pika_options() -> dict[str, t.Any]:
    """Return the options of the doc fragment C(_pika): one server, a login, and where its key lies on this host."""
    return {
        "url": {"type": "str", "required": True},
        "ca_file": {"type": "path"},
        "validate_certs": {"type": "bool", "default": True},
        "username": {"type": "str"},
        "password_file": {"type": "path", "no_log": False},
        "login_strategy": {"type": "str"},
        "token_file": {"type": "path", "no_log": False},
        "timeout": {"type": "float", "default": 35},
        "key_file": {"type": "path"},
        "config_env_file": {"type": "path"},
        "config_env_var": {"type": "str", "default": "PIKA_ENCRYPTION_PASSWORD"},
        "config_env_duplicates": {"type": "str", "choices": ["fail", "last_wins"], "default": "fail"},
        "state_dir": {"type": "path", "default": "/var/lib/servos/pika"},
        "backup_dir": {"type": "path", "default": "/var/lib/servos/pika-backups"},
    }


def pika_rules() -> dict[str, t.Any]:
    """Return which of those options belong together."""
    return {
        "required_together": [["username", "password_file"]],
        "mutually_exclusive": [["username", "token_file"]],
    }


def run_on_pika(module: AnsibleModule, work: t.Callable[[PikaRun], Result]) -> None:
    """Run the work of a module on a Pika, and leave through exit_json or fail_json; never return."""
    seen: list[PikaRun] = []

    def on_pika() -> Result:
        seen.append(_run_of(module))
        _mask(module, seen[0])
        result = work(seen[0])
        if not module.params["validate_certs"]:
            result["_warnings"] = [
                *result.get("_warnings", ()), f"whoever answers at {seen[0].pika.url} is sent password and keys: validate_certs is false"
            ]  # fmt: skip
        return result

    run_guarded(module, on_pika, mask=lambda: _mask(module, *seen))


def _run_of(module: AnsibleModule) -> PikaRun:
    params = module.params
    if not SHORTEST_TIMEOUT_S < params["timeout"] <= 3600:
        raise ApiError(
            f"timeout is not a number of seconds above {SHORTEST_TIMEOUT_S} and up to 3600; the server itself waits for that long after "
            "wrong keys; correct timeout"
        )
    pika = Pika(params["url"], timeout_s=params["timeout"], ca_path=params["ca_file"], verify=params["validate_certs"])
    custody = PikaCustody(
        key_file=params["key_file"], env_file=params["config_env_file"], env_var=params["config_env_var"],
        env_duplicates=params["config_env_duplicates"], state_dir=params["state_dir"],
    )  # fmt: skip
    return PikaRun(pika, _login_of(module), custody, write=not module.check_mode, now=now())


def _login_of(module: AnsibleModule) -> PikaLogin | None:
    params = module.params
    if params["token_file"]:
        words = read_file(params["token_file"], limit_bytes=_LIMIT_BYTES).decode("ascii", "replace").split()
        if not words:
            raise FileError(f"{params['token_file']} is empty; put an API token into it (token_file)")
        mask_texts(module, [words[0]])
        return PikaLogin(None, None, None, words[0])
    if not params["username"]:
        return None
    password = key_file_text(read_file(params["password_file"], limit_bytes=_LIMIT_BYTES))
    if not password:
        raise FileError(f"{params['password_file']} is empty; put the password of {params['username']} into it (password_file)")
    mask_texts(module, [password])
    return PikaLogin(params["username"], password, params["login_strategy"], None)


def _mask(module: AnsibleModule, *runs: PikaRun) -> None:
    """Register whatever keys can be read now; what cannot be read cannot be printed either."""
    for run in runs:
        with contextlib.suppress(ServosError):
            mask_keys(module, run.custody.all_keys())


__all__ = ("pika_options", "pika_rules", "run_on_pika")
