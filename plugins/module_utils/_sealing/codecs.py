# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The one table of codecs: a literal, so that static imports reach every one of them on a managed host.

A profile may also describe one as a dictionary; then its name is that dictionary as JSON.
"""

from __future__ import annotations

import functools
import json
import typing as t

from .._errors import ProfileError
from .aes_gcm import Base64Codec, Codec, HexColumnsCodec, RawCodec
from .layout_codec import codec_of, name_of

BUILT_IN = ("aes256gcm_base64", "aes256gcm_raw")  # of one part, and tried on every column
CODECS: dict[str, Codec] = {codec.name: codec for codec in (Base64Codec(), HexColumnsCodec(), RawCodec())}


def codec_name(given: t.Any) -> str:
    """Return the name of what a profile gives as codec: a name, or a dictionary."""
    return name_of(given) if isinstance(given, dict) else str(given)


def as_given(name: str) -> t.Any:
    """Return what a profile gives for a codec of that name."""
    return json.loads(name) if name.startswith("{") else name


@functools.lru_cache(maxsize=None)
def codec_named(name: str) -> Codec:
    """Return a codec by its name.

    Raises:
        ProfileError: there is none of that name, or its dictionary is wrong.
    """
    if name.startswith("{"):
        return codec_of(json.loads(name))
    try:
        return CODECS[name]
    except KeyError:
        known = ", ".join(sorted(CODECS))
        raise ProfileError(f"there is no codec {name!r}; choose one of {known}, or describe it as a dictionary") from None


__all__ = ("BUILT_IN", "CODECS", "as_given", "codec_name", "codec_named")
