# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""An application as data: where its key lives, and which columns hold values that are sealed under it. Pure."""

from __future__ import annotations

import re
import typing as t

from .._errors import ProfileError
from .._keys.material import DERIVATIONS, KEY_SIZE_BYTES, Rule
from .._sealing.aes_gcm import Codec
from .._sealing.codecs import BUILT_IN, as_given, codec_name, codec_named
from .._sealing.derivation import derivation_of
from .known_profiles import KNOWN_PROFILES

CONFIG_FORMATS = ("env", "ini")
# What a key in hex or Base64 may hold cannot part two of them; % and $ have meanings of their own in configurations.
_SEPARATOR = re.compile(r"[^A-Za-z0-9+/=_%$~\x00-\x1f-]\Z")
NEEDED = ("name", "env_var", "derivation", "fields")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Field(t.NamedTuple):
    """A column, a group of columns, or one place inside the JSON of a column, that holds sealed values.

    C(columns) are in the order of the codec's parts. C(path) is a JSON path such as C($.token), or None.
    """

    table: str
    columns: tuple[str, ...]
    codec: str
    path: str | None = None
    class_name: str | None = None
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.table}.{self.columns[0]}" + (f" {self.path}" if self.path else "")


class Profile(t.NamedTuple):
    """One application. C(fields) is empty where all fields are to be found by discovery.

    C(env_var) is an option of C(config_section) where C(config_format) is V(ini). C(config_rivals) are endings of its name under
    which the configuration may say where else the key comes from; C(process_var) is the variable of a process that
    would override such a file; C(key_list) separates several keys in the value, the first of which is active.
    C(rival_key) is a JSON file beside the database, and the member of it that holds a key which the application prefers.
    """

    app: str
    env_var: str
    env_file: str | None
    service: str | None
    database: str | None
    state_dir: str
    derivation: Rule
    derivation_spec: str | dict[str, t.Any]
    fields: tuple[Field, ...]
    ignore: tuple[tuple[str, str], ...]
    classes: tuple[tuple[str, str, str], ...]
    canary_row: str | None
    canary_required: bool
    rotate_path: str | None
    config_format: str
    config_section: str | None
    config_rivals: tuple[str, ...]
    process_var: str | None
    key_list: str | None
    rival_key: tuple[str, str] | None

    def searched_codecs(self) -> tuple[Codec, ...]:
        """Return the codecs of one part that are tried on every column: the built-in ones, and those that the fields name.

        One that does not authenticate proves nothing where nobody said that it is at home, so it is not among them.
        """
        names = dict.fromkeys([*BUILT_IN, *(field.codec for field in self.fields)])
        found = (codec_named(name) for name in names)
        return tuple(codec for codec in found if len(codec.parts) == 1 and codec.is_authenticated)

    def unauthenticated(self) -> list[Field]:
        """Return the fields in which only the form of a plaintext tells the right key from a wrong one."""
        return [field for field in self.fields if not codec_named(field.codec).is_authenticated]

    def class_of(self, table: str, column: str) -> str | None:
        """Name the class of secrets that a column holds, if its name tells."""
        for name, table_pattern, column_pattern in self.classes:
            if re.search(table_pattern, table, re.I) and re.search(column_pattern, column, re.I):
                return name
        return None


def build_profile(app: str, overrides: t.Mapping[str, t.Any] | None) -> Profile:
    """Combine a known profile with what the user gives, option by option.

    Raises:
        ProfileError: an unknown application, option, codec or derivation, or a malformed field.
    """
    if app not in KNOWN_PROFILES:
        raise ProfileError(f"there is no profile {app!r}; choose one of {', '.join(sorted(KNOWN_PROFILES))} (app)")
    try:
        return _checked(app, dict(KNOWN_PROFILES[app]), overrides or {})
    except ProfileError as error:
        raise ProfileError(f"{error}; correct the profile") from None


def _checked(app: str, merged: dict[str, t.Any], overrides: t.Mapping[str, t.Any]) -> Profile:
    for name, value in overrides.items():
        if name not in merged:
            raise ProfileError(f"a profile has no option {name!r}; it has {', '.join(sorted(merged))}")
        merged[name] = value
    _require_whole(app, merged)
    derivation = merged["derivation"]
    if not isinstance(derivation, dict) and derivation not in DERIVATIONS:
        raise ProfileError(f"derivation {derivation!r} is not one of {', '.join(DERIVATIONS)}, nor a dictionary with kdf")
    if not isinstance(merged["env_var"], str) or not _ENV_NAME.match(merged["env_var"]):
        raise ProfileError(f"env_var {merged['env_var']!r} is not the name of an environment variable")
    _require_configuration(merged)
    for name, kind in (("fields", list), ("ignore", list), ("classes", list), ("config_rivals", list), ("canary", (dict, type(None)))):
        if not isinstance(merged[name], kind):
            raise ProfileError(f"{name} of the profile is a {'list' if kind is list else 'dictionary'}, not {type(merged[name]).__name__}")
    fields = tuple(_field(entry) for entry in merged["fields"])
    rule = derivation_of(derivation) if isinstance(derivation, dict) else derivation
    _require_key_sizes(fields, KEY_SIZE_BYTES if isinstance(rule, str) else rule.size_bytes)
    canary = merged["canary"] or {}
    return Profile(
        app=str(merged["name"]),
        env_var=str(merged["env_var"]),
        env_file=merged["env_file"],
        service=merged["service"],
        database=merged["database"],
        state_dir=str(merged["state_dir"] or f"/var/lib/{merged['name']}/rotation"),
        derivation=rule,
        derivation_spec=derivation,
        fields=fields,
        ignore=tuple(_ignored(entry) for entry in merged["ignore"]),
        classes=tuple(_class(entry) for entry in merged["classes"]),
        canary_row=canary.get("row"),
        canary_required=bool(canary.get("required", False)),
        rotate_path=merged["rotate_path"],
        config_format=merged["config_format"],
        config_section=merged["config_section"],
        config_rivals=tuple(map(str, merged["config_rivals"])),
        process_var=merged["process_var"],
        key_list=merged["key_list"] or None,
        rival_key=_rival(merged["rival_key"]),
    )


def _require_configuration(merged: t.Mapping[str, t.Any]) -> None:
    if merged["config_format"] not in CONFIG_FORMATS:
        raise ProfileError(f"config_format {merged['config_format']!r} is not one of {', '.join(CONFIG_FORMATS)}")
    if merged["config_format"] == "ini" and not merged["config_section"]:
        raise ProfileError("config_format ini needs the section in which env_var stands (config_section)")
    separator = merged["key_list"]
    if separator and (not isinstance(separator, str) or not _SEPARATOR.match(separator)):
        raise ProfileError("key_list of the profile is the one character that separates keys, such as ',', and none that a key may hold")
    if merged["process_var"] and not (isinstance(merged["process_var"], str) and _ENV_NAME.match(merged["process_var"])):
        raise ProfileError(f"process_var {merged['process_var']!r} is not the name of an environment variable")


def _require_whole(app: str, merged: t.Mapping[str, t.Any]) -> None:
    """Refuse a profile that lacks what nothing can stand in for, and a name that could not be part of a path."""
    missing = [name for name in NEEDED if merged[name] is None]
    if missing:
        raise ProfileError(f"the profile {app} lacks {', '.join(missing)}; say it in profile (docs/profiles.md shows how)")
    if not isinstance(merged["name"], str) or not _NAME.match(merged["name"]):
        raise ProfileError("name of the profile is of small letters, digits, - and _, since directories and backups are called by it")


def _field(entry: t.Any) -> Field:
    if not isinstance(entry, dict) or not entry.get("table"):
        raise ProfileError("each entry of fields is a dictionary with at least table, column (or columns) and codec")
    known = {"table", "column", "columns", "codec", "path", "class", "optional"}
    unknown = set(entry) - known
    if unknown:
        raise ProfileError(f"field of table {entry['table']}: no such option {', '.join(sorted(unknown))}")
    try:
        codec = codec_named(codec_name(entry.get("codec", "aes256gcm_base64")))
    except ProfileError as error:
        raise ProfileError(f"field of table {entry['table']}: {error}") from None
    if len(codec.parts) == 1:
        if not entry.get("column"):
            raise ProfileError(f"field of table {entry['table']}: codec {codec.name} needs column")
        columns: tuple[str, ...] = (str(entry["column"]),)
    else:
        named = entry.get("columns")
        if not isinstance(named, dict) or set(named) != set(codec.parts):
            raise ProfileError(f"field of table {entry['table']}: codec {codec.name} needs columns with {', '.join(codec.parts)}")
        columns = tuple(str(named[part]) for part in codec.parts)
        if entry.get("path"):
            raise ProfileError(f"field of table {entry['table']}: a path goes with a single column only")
    if entry.get("path") and not codec.is_authenticated:
        raise ProfileError(
            f"field of table {entry['table']}: a place in JSON is found by what opens there, and this codec does not authenticate"
        )
    return Field(
        str(entry["table"]), columns, codec.name, entry.get("path"), entry.get("class"), bool(entry.get("optional", False))
    )


def _require_key_sizes(fields: t.Sequence[Field], size_bytes: int | None) -> None:
    """Refuse a key that a codec cannot take: it would open nothing, and look like a wrong one."""
    for field in fields:
        codec = codec_named(field.codec)
        wanted, needed = codec.key_bytes_wanted(), codec.key_bytes_needed()
        if wanted is None and needed > max(size_bytes or 1, 1):
            raise ProfileError(
                f"field {field}: its codec uses {needed} bytes of the key, and derivation of the profile gives "
                f"{size_bytes or 'any number of'} bytes; correct derivation (bytes), or slice in the codec"
            )
        if wanted is not None and wanted != size_bytes:
            raise ProfileError(
                f"field {field}: its codec takes a key of {wanted} bytes, and derivation of the profile gives "
                f"{size_bytes or 'any number of'} bytes; correct derivation, or say key in the codec"
            )


def _class(entry: t.Any) -> tuple[str, str, str]:
    if not isinstance(entry, dict) or not entry.get("name"):
        raise ProfileError("each entry of classes is a dictionary with name, and the patterns table and column")
    return str(entry["name"]), str(entry.get("table", "")), str(entry.get("column", ""))


def _rival(entry: t.Any) -> tuple[str, str] | None:
    if entry is None:
        return None
    if not isinstance(entry, dict) or set(entry) != {"file", "member"} or "/" in str(entry["file"]):
        raise ProfileError("rival_key of the profile is a dictionary with file, a name beside the database, and member")
    return str(entry["file"]), str(entry["member"])


def _ignored(entry: t.Any) -> tuple[str, str]:
    if not isinstance(entry, dict) or set(entry) != {"table", "column"}:
        raise ProfileError("each entry of ignore is a dictionary with table and column")
    return str(entry["table"]), str(entry["column"])


def as_profile_entry(field: Field) -> dict[str, t.Any]:
    """Write a field as the user would in C(fields) of a profile."""
    parts = codec_named(field.codec).parts
    entry: dict[str, t.Any] = {"table": field.table, "codec": as_given(field.codec)}
    if len(parts) == 1:
        entry["column"] = field.columns[0]
    else:
        entry["columns"] = dict(zip(parts, field.columns))
    if field.path:
        entry["path"] = field.path
    return entry


__all__ = ("CONFIG_FORMATS", "NEEDED", "Field", "Profile", "as_profile_entry", "build_profile")
