# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What a container engine shows of secrets to whoever may ask it: names of variables, never values. Pure.

That a variable is a secret is told by its name, by a password in a URL, or by the label of who injected it.
"""

from __future__ import annotations

import json
import re
import typing as t

from .._injection.wanted import LABEL_MOUNT, LABEL_SECRETS
from .findings import Ledger

_MOST_NAMED = 10
_SECRET_NAME = re.compile(
    r".*(PASSWORDS?|PASSWD|PASSPHRASE|SECRETS?|TOKENS?|CREDENTIALS?|(API|MASTER|PRIVATE|SECRET|ACCESS|ENCRYPTION|SIGNING)_?KEYS?)"
    r"|(.*_)?(PWD|PASS|PAT|AUTH|KEYS?|SECRET_KEY_BASE|(PASSWORD|SECRET|TOKEN)_(VALUE|STRING|BASE64|B64))"
)
_NO_SECRET_NAME = re.compile(
    r"PWD|OLDPWD|(.*_)?(PUBLIC|GPG|PGP|SSH_HOST|CACHE|SORT|PRIMARY|FOREIGN)_KEYS?|(.*_)?(MAX|MIN|NUM|STOP|EOS|PAD)_(.*_)?TOKENS?"
)
_PASSWORD = re.compile(r"PASS|PWD")  # which may be a number
_NO_SECRET = re.compile(r"true|false|yes|no|on|off|none|null|[0-9]{1,6}", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]*:[^/?#\s@]+@")


def secret_variables(shown: t.Mapping[str, t.Any], image_environment: t.Container[str]) -> list[str]:
    """Return the names of the variables with secrets that C(inspect) shows of a container.

    Args:
        shown: what the engine's C(container inspect) says of one container.
        image_environment: the variables (C(NAME=value)) that the image itself sets; everybody has those.
    """
    config = shown.get("Config") or {}
    given = _injected(config.get("Labels") or {})
    lines = [str(line) for line in config.get("Env") or []]
    names = {line.partition("=")[0] for line in lines if line not in image_environment and _is_secret(line, given)}
    return sorted(names)


def judge_container(
    ledger: Ledger, where: str, shown: t.Mapping[str, t.Any], *,
    image_environment: t.Container[str], keys: t.Mapping[str, t.Sequence[bytes]],
) -> None:
    """Enter what the engine shows of one container; C(keys) are the forms of each known key, by how it may be named."""
    text = json.dumps(shown, ensure_ascii=False).encode("utf-8", "surrogateescape")
    held = [name for name, forms in keys.items() if any(form in text for form in forms)]
    if keys:
        ledger.held("key_in_inspect", where, f"inspect shows {', '.join(held)}" if held else None)
    names = secret_variables(shown, image_environment)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    ledger.held("secret_in_inspect", where, f"inspect shows the values of {', '.join(names[:_MOST_NAMED])}{more}" if names else None)


def _injected(labels: t.Mapping[str, t.Any]) -> set[str]:
    """Return the variables that we injected by an env file; those that are mounted are in files that inspect does not show."""
    if LABEL_MOUNT in labels:
        return set()
    try:
        names = json.loads(labels.get(LABEL_SECRETS) or "{}")
    except ValueError:
        return set()
    return set(names) if isinstance(names, dict) else set()


def _is_secret(line: str, given: t.Container[str]) -> bool:
    name, unused_sign, value = line.partition("=")
    if not value:
        return False
    by_name = _SECRET_NAME.fullmatch(name.upper()) and not _NO_SECRET_NAME.fullmatch(name.upper())
    by_name = by_name and not (_NO_SECRET.fullmatch(value) and not _PASSWORD.search(name.upper()))
    return bool(name in given or by_name or _PASSWORD_IN_URL.match(value))


__all__ = ("judge_container", "secret_variables")
