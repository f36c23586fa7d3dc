# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read a database and the text of a key, where no profile says yet what they are, and draft one."""

from __future__ import annotations

import os
import re
import typing as t

from .._errors import EnvFileError, FileError, KeyMissingError, ProfileError
from .._keys.envfile import EnvFile
from .._keys.keyring import key_file_text
from .._stores.urls import place_of
from .._system import files
from .drafting import draft_of
from .known_profiles import KNOWN_PROFILES
from .sampling import take_samples

_TAKEN_OVER = ("name", "env_var", "env_file", "service", "database", "state_dir")
_MOST_NAMED = 12
_KEY_LIKE = re.compile(r"key|secret|pass|token|salt|crypt", re.I)


def discover(
    options: t.Mapping[str, t.Any], register: t.Callable[[str], None], *, is_time_up: t.Callable[[], bool]
) -> dict[str, t.Any]:
    """Return the draft of a profile, as the module does.

    Args:
        options: those of the module; what is not given comes from C(profile), then from what is known of C(app).
        register: told each secret text as soon as it is known.

    Raises:
        ProfileError: nothing opens, or it is not said where database or key are.
    """
    known = {name: _given(options, name) for name in _TAKEN_OVER}
    if not known["database"]:
        raise ProfileError("discover needs a database to look into; name it (database)")
    key_text = _key_text(options, known)
    register(key_text)
    token_path, password_path = (options.get(f"database_{name}_file") or None for name in ("token", "password"))
    database = place_of(known["database"], token_path=token_path, password_path=password_path).open()
    if not known["name"]:
        known["name"] = _name_from(known["database"])
    tables, unread = database.read(lambda reader: take_samples(reader, is_time_up))
    draft = draft_of(tables, key_text, known=known, is_time_up=is_time_up, unread=unread)
    return dict(draft.as_result(), _warnings=list(draft.warnings))


def _given(options: t.Mapping[str, t.Any], name: str) -> t.Any:
    own = (options.get("profile") or {}).get(name)
    return options.get(name) or own or KNOWN_PROFILES[str(options.get("app") or "servos")].get(name)


def _key_text(options: t.Mapping[str, t.Any], known: t.Mapping[str, t.Any]) -> str:
    path = options.get("key_file")
    if path:
        text = key_file_text(files.read_file(path, limit_bytes=64 * 1024))
        if not text:
            raise KeyMissingError(f"{path} is empty; put the key into it (key_file)")
        return text
    env_file, env_var = known["env_file"], known["env_var"]
    if not env_file:
        raise KeyMissingError("discover needs the key; name the file that holds it (key_file), or env_file and env_var")
    try:
        content = EnvFile(files.read_file(env_file))
    except FileError as error:
        raise EnvFileError(f"{error}; name the env file of the service (env_file), or a file that holds the key (key_file)") from None
    if not env_var:
        names = ", ".join([name for name in content.names() if _KEY_LIKE.search(name)][:_MOST_NAMED])
        raise EnvFileError(
            f"{env_file} does not tell which variable holds the key (by the names it could be: {names or 'none'}); "
            "name it (env_var)"
        )
    text = content.value_of(env_var, duplicates=options.get("env_duplicates") or "fail", where=env_file)
    if not text:
        raise KeyMissingError(f"{env_var} in {env_file} is empty; put the key there")
    return text


def _name_from(url: str) -> str:
    stem = os.path.splitext(os.path.basename(url.split("?", 1)[0]))[0].lower()
    return re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")[:63] or "application"


__all__ = ("discover",)
