# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The one table of codecs: a literal, so that static imports reach every one of them on a managed host."""

from __future__ import annotations

from .._errors import ProfileError
from .aes_gcm import Base64Codec, Codec, HexColumnsCodec, RawCodec

CODECS: dict[str, Codec] = {codec.name: codec for codec in (Base64Codec(), HexColumnsCodec(), RawCodec())}


def codec_named(name: str) -> Codec:
    """Return a codec by its name in a profile.

    Raises:
        ProfileError: there is none of that name.
    """
    try:
        return CODECS[name]
    except KeyError:
        raise ProfileError(f"there is no codec {name!r}; choose one of {', '.join(sorted(CODECS))}") from None


__all__ = ("CODECS", "codec_named")
