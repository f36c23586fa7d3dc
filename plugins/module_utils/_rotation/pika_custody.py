# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Where the key of a Pika lies on this host, and how another one takes its place.

=====================  ==========================================================================================
key_file               the text of the key in force, for unlocking; a rotation replaces what is in it
config_env_file        an env file with PIKA_ENCRYPTION_PASSWORD, which the server reads at its start, likewise
staged.key             the key of a rotation under way, in the state directory, until both of the above hold it
previous.key           the key before the one in force; its backups open with it
kept-FINGERPRINT.key   keys before that one, and what else was replaced; removed by hand, when no backup needs them any more
=====================  ==========================================================================================
"""

from __future__ import annotations

import os
import typing as t

from .._errors import EnvFileError, FileError, KeyFormatError, KeyMissingError
from .._keys.envfile import EnvFile, require_plain
from .._keys.keyring import Keyring, key_file_text
from .._keys.material import MasterKey, generate_key, parse_key
from .._system import files

DERIVATION = "sha256"
_SHORT = 16
_KEPT = "kept-"
_LIMIT_BYTES = 64 * 1024


class PikaCustody:
    """The key files of one Pika on this host. Reading has no effects."""

    def __init__(
        self, *, key_file: str | None, env_file: str | None, env_var: str, env_duplicates: str, state_dir: str
    ) -> None:
        self.key_file, self.env_file, self.env_var = key_file, env_file, env_var
        self._duplicates = env_duplicates
        self.state_dir = state_dir
        self.keyring = Keyring(state_dir, derivation=DERIVATION)

    def clear_leftovers(self) -> None:
        """Destroy what a killed run left of files that it was writing."""
        self.keyring.clear_leftovers()
        for name in os.listdir(self.state_dir):
            if name.startswith(f".{_KEPT}"):
                files.clear_leftover_of(self.keyring.path_of(name[1:].partition(".")[0]))
        for path in filter(None, (self.key_file, self.env_file)):
            files.clear_leftover_of(path)

    def file_key(self) -> MasterKey | None:
        """Return the key in key_file, or None where there is no such file, or none is named."""
        return read_key_file(self.key_file) if self.key_file and os.path.lexists(self.key_file) else None

    def env_key(self) -> MasterKey | None:
        """Return the key in the env file, or None where the file does not set it, or none is named."""
        if not self.env_file:
            return None
        env = EnvFile(files.read_file(self.env_file))
        if not env.sets(self.env_var):
            return None
        where = f"{self.env_file}, {self.env_var}"
        return parse_text(env.value_of(self.env_var, duplicates=self._duplicates, where=self.env_file), where=where)

    def held(self) -> dict[str, MasterKey]:
        """Return the keys that this host would unlock with, by where they lie.

        Raises:
            KeyMissingError: there is none.
        """
        found = {self.key_file or "": self.file_key(), f"{self.env_file}, {self.env_var}": self.env_key()}
        held = {where: key for where, key in found.items() if key is not None}
        if not held:
            places = [place for place in (self.key_file, f"{self.env_var} in {self.env_file}" if self.env_file else None) if place]
            raise KeyMissingError(
                f"the server key is not on this host: there is no {' and no '.join(places)}; put it there" if places
                else "the server key is not on this host: neither key_file nor config_env_file is given; name one of them"
            )  # fmt: skip
        return held

    def in_force(self) -> MasterKey:
        """Return the one key that this host holds to be in force.

        Raises:
            KeyMissingError: there is none.
            KeyFormatError: there are two.
        """
        held = self.held()
        first = next(iter(held.values()))
        if any(key != first for key in held.values()):
            shown = " and ".join(f"{where} holds {key.fingerprint}" for where, key in held.items())
            raise KeyFormatError(f"{shown}, and no rotation is under way here; correct the one that is wrong")
        return first

    def require_writable(self, key: MasterKey | None) -> None:
        """Refuse, before anything is done, a key that could not be put in force here; None is one that is made here.

        Raises:
            EnvFileError: readers of env files disagree on its characters.
            FileError: a file cannot be replaced, or made, or has another purpose as well.
        """
        if key is not None and self.env_key() not in (None, key):
            require_plain(self.env_var, key.reveal_text())
        self._require_a_place_of_its_own()
        for path in filter(None, (self.key_file, self.env_file)):
            if os.path.lexists(path):
                files.require_replaceable(path)
            elif not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
                raise FileError(
                    f"there is no {path}, and it cannot be made there; nothing was changed; make its directory, or name another file"
                )

    def _require_a_place_of_its_own(self) -> None:
        if self.key_file is None:
            return
        place = os.path.realpath(self.key_file)
        if self.env_file and place == os.path.realpath(self.env_file):
            raise FileError(
                f"{self.key_file} is key_file and config_env_file at once, and the key alone would stand in it; nothing was changed; name "
                "the env file as config_env_file only"
            )
        if os.path.dirname(place) == os.path.realpath(self.state_dir):
            raise FileError(
                f"{self.key_file} lies in the state directory, where the keys before the one in force are kept; nothing was changed; name "
                "a key_file outside of it"
            )

    def put_in_force(self, key: MasterKey, *, write: bool) -> list[str]:
        """Let the env file and the key file hold a key. Returns which of them did not.

        What they held is kept, if nothing else in the state directory holds it: a backup may need it.
        """
        changed = []
        if write:
            self._keep_replaced(key)
        if self.env_file and self.env_key() is not None and self.env_key() != key:
            changed.append(self.env_file)
            if write:
                content = files.read_file(self.env_file)
                replaced = EnvFile(content).replaced(
                    self.env_var, key.reveal_text(), duplicates=self._duplicates, where=self.env_file
                )
                files.replace_file_content(self.env_file, replaced)
                if self.env_key() != key:
                    raise EnvFileError(f"{self.env_file} does not read back as it was written; see {self.env_var} in it")
        if self.key_file and self.file_key() != key:
            changed.append(self.key_file)
            if write:
                self.write_key_file(key)
        return changed

    def _keep_replaced(self, key: MasterKey) -> None:
        kept = [key, self.keyring.read("staged"), self.keyring.read("previous")]
        for replaced in (self.file_key(), self.env_key()):
            if replaced is not None and replaced not in kept:
                self.keyring.write(_KEPT + replaced.fingerprint[3:], replaced)

    def write_key_file(self, key: MasterKey) -> None:
        """Write key_file and come back only when it is on disk; a new one is 0600. One without a line end gets none.

        A key that ends in a carriage return gets none either: a reader would take both off.
        """
        path, content = t.cast("str", self.key_file), key.reveal_text().encode("utf-8")
        is_new = not os.path.lexists(path)
        ends_line = is_new or content.endswith(b"\n") or files.read_file(path, limit_bytes=_LIMIT_BYTES).endswith(b"\n")
        if ends_line and not content.endswith(b"\r"):
            content += b"\n"
        if is_new:
            files.write_private_file(path, content)
        else:
            files.replace_file_content(path, content)
        if self.file_key() != key:
            raise FileError(f"{path} does not hold what was written to it; is its disk sound?")

    def keep_previous(self, key: MasterKey) -> None:
        """Make the key that is about to be replaced durable; the one before it gets a name of its own, and is never destroyed."""
        earlier = self.keyring.read("previous")
        if earlier is not None and earlier != key:
            files.rename_file(self.keyring.path_of("previous"), self.keyring.path_of(_KEPT + earlier.fingerprint[3:]))
        self.keyring.write("previous", key)

    def keep_staged(self, key: MasterKey) -> None:
        """Let the staged key be none of a rotation under way, and be kept all the same."""
        files.rename_file(self.keyring.path_of("staged"), self.keyring.path_of(_KEPT + key.fingerprint[3:]))

    def kept(self) -> list[str]:
        """List the fingerprints of the keys before the previous one."""
        names = os.listdir(self.state_dir) if os.path.isdir(self.state_dir) else []
        return sorted(f"mk:{name[len(_KEPT) : -len('.key')]}" for name in names if name.startswith(_KEPT) and name.endswith(".key"))

    def marks(self) -> dict[str, t.Any]:
        """Return every key by its fingerprint, for results and diffs."""
        found = {
            "key_file_key": self.file_key(), "env_key": self.env_key(),
            "staged_key": self.keyring.read("staged"), "previous_key": self.keyring.read("previous"),
        }  # fmt: skip
        return {name: key.fingerprint if key is not None else None for name, key in found.items()}

    def all_keys(self) -> list[MasterKey]:
        """Return every key that can be read now."""
        found = [self.file_key(), self.env_key(), self.keyring.read("staged"), self.keyring.read("previous")]
        return [key for key in found if key is not None]


def read_key_file(path: str) -> MasterKey:
    """Read a key file: any text, byte by byte, but for one line end at its end.

    Raises:
        FileError: it cannot be read.
        KeyFormatError: it is empty, or no UTF-8.
    """
    return parse_text(key_file_text(files.read_file(path, limit_bytes=_LIMIT_BYTES)), where=path)


def parse_text(text: str, *, where: str) -> MasterKey:
    """Read a key from its text.

    Raises:
        KeyFormatError: it is empty, or no UTF-8, which JSON could not carry.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise KeyFormatError(f"{where} is no UTF-8, so it cannot be sent as it is; give a text") from None
    return parse_key(text, derivation=DERIVATION, where=where)


def make_key(entropy: t.Callable[[int], bytes]) -> MasterKey:
    """Make a key: 32 random bytes, as the text of their Base64."""
    text = generate_key(encoding="base64", entropy=entropy).reveal_text()
    return parse_key(text, derivation=DERIVATION, where="a new key")


def doubts(key: MasterKey) -> list[str]:
    """Say what is lawful but probably a mistake. Pika hashes a key once, so a short one is soon guessed."""
    text, found = key.reveal_text(), []
    if text != text.strip():
        found.append(f"the key {key.fingerprint} has white space at an edge, which is part of it")
    if len(text) < _SHORT:
        found.append(f"the key {key.fingerprint} has fewer than {_SHORT} characters, and Pika hashes it once only, with SHA-256")
    return found


__all__ = ("DERIVATION", "PikaCustody", "doubts", "make_key", "parse_text", "read_key_file")
