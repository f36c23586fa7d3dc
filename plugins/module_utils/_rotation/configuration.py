# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The file in which the key in force stands: an env file or an INI file, with one key in it or a list of them."""

from __future__ import annotations

from .._errors import EnvFileError, FileError
from .._keys.envfile import EnvFile, require_plain
from .._keys.inifile import IniFile, require_plain_option
from .._keys.key_list import KeptList, split_keys
from .._keys.material import MasterKey, parse_key
from .._system import files
from .profile import Profile


class Configuration:
    """One file and one variable of it. C(kept_list) is where a list of keys goes that a swap takes out."""

    def __init__(
        self, profile: Profile, *, path: str | None, variable: str, duplicates: str, encoding: str, kept_list: KeptList
    ) -> None:
        self.path = path
        self._profile = profile
        self._variable = variable
        self._duplicates = duplicates
        self._encoding = encoding
        self._separator = profile.key_list
        self._kept_list = kept_list

    def content(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            EnvFileError: none is named, or it cannot be read.
        """
        if not self.path:
            raise EnvFileError(f"the profile {self._profile.app} has no env file of its own; name one (env_file)")
        try:
            return files.read_file(self.path)
        except FileError as error:
            raise EnvFileError(f"{error}; nothing was changed; name the env file of the service (env_file)") from None

    def _read(self, content: bytes) -> EnvFile | IniFile:
        if self._profile.config_format == "ini":
            return IniFile(content, str(self._profile.config_section))
        return EnvFile(content)

    def _text_in(self, content: bytes) -> str:
        """Return the value in force, which is a key or a list of them."""
        read = self._read(content)
        for ending in self._profile.config_rivals:
            rival = self._variable + (ending if self._variable.isupper() else ending.lower())
            if read.sets(rival):
                raise EnvFileError(
                    f"{self.path} sets {rival}: a key that comes from elsewhere cannot be swapped in this file; nothing was changed; "
                    f"write the key itself as {self._variable}, and take {rival} out"
                )
        return read.value_of(self._variable, duplicates=self._duplicates, where=str(self.path))

    def keys(self) -> list[MasterKey]:
        """Return the keys in force: the active one, and those that a list names after it."""
        where = f"{self._variable} in {self.path}"
        texts = split_keys(self._text_in(self.content()), self._separator, where=where)
        return [parse_key(text, derivation=self._profile.derivation, encoding=self._encoding, where=where) for text in texts]

    def dropped_keys(self) -> list[MasterKey]:
        """Return the keys of the list that a swap took out, until it is retired."""
        text, where = self._kept_list.read(), self._kept_list.path
        texts = split_keys(text, self._separator, where=where) if text is not None else []
        return [parse_key(one, derivation=self._profile.derivation, where=where) for one in texts]

    def require_writable(self, key: MasterKey) -> None:
        """Refuse a key that the file cannot hold as it is written.

        Raises:
            EnvFileError: naming the variable.
        """
        text = key.reveal_text()
        (require_plain_option if self._profile.config_format == "ini" else require_plain)(self._variable, text)
        if self._is_list(text):
            raise EnvFileError(
                f"the new value of {self._variable} has the separator of its list of keys ({self._separator}), so it would be read as "
                "several; nothing was changed; give one key"
            )

    def require_swappable_list(self) -> None:
        """Refuse to go on where the list in the file could not be kept.

        Raises:
            FileError: another one is kept already.
        """
        text = self._text_in(self.content())
        if self._is_list(text):
            self._kept_list.require_place_for(text)

    def _is_list(self, text: str) -> bool:
        return self._separator is not None and self._separator in text

    def require_returnable(self, key: MasterKey) -> None:
        """Refuse to take back a key that cannot stand in the file again, such as one whose quotes somebody has taken away.

        Raises:
            EnvFileError: naming the variable.
        """
        self._changed(self.content(), self._text_of(key), is_returning=True)

    def write(self, key: MasterKey, *, is_returning: bool = False) -> None:
        """Put a key in force; every other byte, owner, mode and context stay.

        A list that it replaces is kept before; a key that stood at the head of a list that is kept goes back with that list.

        Args:
            is_returning: the key stood here before.
        """
        content, after = self.content(), self._text_of(key)
        before = self._text_in(content)
        behind = self._from(key, before) if is_returning else None
        if behind is not None:  # another key was put before it, and goes
            self.write_content(self._changed(content, behind, is_returning=True))
            return
        changed = self._changed(content, after, is_returning=is_returning)
        if after != before and self._is_list(before):
            self._kept_list.keep(before)
        if changed != content:
            self.write_content(changed)

    def put_before(self, key: MasterKey) -> None:
        """Put a key in force before those that are there, so that the service reads what is sealed under any of them.

        Raises:
            EnvFileError: the application reads one key only.
        """
        content = self.content()
        before = self._text_in(content)
        texts = split_keys(before, self._separator, where=f"{self._variable} in {self.path}")
        if self._separator is None:
            raise EnvFileError(f"{self._variable} in {self.path} is one key and no list; nothing was changed; leave online out")
        if key.reveal_text() not in texts:
            after = self._separator.join([key.reveal_text(), *texts])
            self.write_content(self._changed(content, after, is_returning=False))

    def stands_before_others(self, key: MasterKey) -> bool:
        """Tell whether a key is in force at the head of a list."""
        keys = self.keys()
        return len(keys) > 1 and keys[0] == key

    def leave_alone(self, key: MasterKey) -> None:
        """Take out of the list whatever stands behind a key; of more than one such key the list is kept.

        Raises:
            FileError: another list is kept already.
        """
        content = self.content()
        unused_first, *others = split_keys(self._text_in(content), self._separator, where=f"{self._variable} in {self.path}")
        if len(others) > 1:
            self._kept_list.keep((self._separator or "").join(others))
        self.write_content(self._changed(content, key.reveal_text(), is_returning=False))

    def _from(self, key: MasterKey, before: str) -> str | None:
        """Return the end of a list from a key on that does not stand first; None where it does not stand there."""
        texts = split_keys(before, self._separator, where=f"{self._variable} in {self.path}")
        text = key.reveal_text()
        return (self._separator or "").join(texts[texts.index(text) :]) if text in texts[1:] else None

    def _text_of(self, key: MasterKey) -> str:
        """Return what stands in the file when a key is in force."""
        dropped = self.dropped_keys()
        texts = [one.reveal_text() for one in dropped] if dropped and dropped[0] == key else [key.reveal_text()]
        return (self._separator or "").join(texts)

    def _changed(self, content: bytes, after: str, *, is_returning: bool) -> bytes:
        read = self._read(content)
        return read.replaced(
            self._variable, after, duplicates=self._duplicates, where=str(self.path), is_returning=is_returning
        )

    def write_content(self, content: bytes) -> None:
        """Replace the bytes of the file in one step; owner, mode and context stay."""
        files.replace_file_content(str(self.path), content)


__all__ = ("Configuration",)
