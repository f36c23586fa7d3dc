# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A second key of the application's own, which it prefers to the one in the env file as long as it is there."""

from __future__ import annotations

import json
import os

from .._errors import EnvFileError, FileError
from .._system import files
from .installation import Installation


def refuse_rival(installation: Installation) -> None:
    """Refuse to write data that the application would try to open with another key than the env file's.

    Raises:
        EnvFileError: there is such a key, or it cannot be told.
    """
    rival = installation.profile.rival_key
    if rival is None:
        return
    name, member = rival
    path = os.path.join(os.path.dirname(installation.place().identity), name)
    if not os.path.lexists(path):
        return
    try:
        document = json.loads(files.read_file(path).decode("utf-8-sig"))
    except FileError as error:
        raise EnvFileError(f"{error}; nothing was changed") from None
    except (ValueError, RecursionError):
        return  # the application does not understand it either
    if isinstance(document, dict) and document.get(member):
        raise EnvFileError(
            f"{path} holds {member}, with which {installation.profile.app} opens its data at the next start whatever "
            f"{installation.env_var} says; nothing was changed; start it with {installation.env_var} and let it write its data once (in "
            "Node-RED: deploy a change), which removes that member, then run again"
        )


__all__ = ("refuse_rival",)
