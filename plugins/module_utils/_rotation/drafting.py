# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The first draft of a profile, from samples of a database and the text of a key.

Each place is guessed for itself; then the guesses are brought under one derivation, and every field of the draft is tried
once more in the way in which a rotation will read it, so that what the draft says is what was seen.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import KeyFormatError, ProfileError
from .._keys.material import parse_key
from .._sealing.aes_gcm import Cipher, Codec
from .._sealing.codecs import codec_name, codec_named
from .._sealing.guessing import Guess, Guesser
from .draft_text import as_yaml, flow
from .profile import build_profile
from .sampling import MOST_BYTES, TableSamples

Spec = t.Dict[str, t.Any]

_LEAST_PLAINTEXT = 16  # bytes, over all samples, before a form says anything
_HINT = re.compile(r"secret|token|passw|pass$|credential|key|cipher|crypt|sealed|private|config|settings", re.I)
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z", re.I)
_HASH = re.compile(r"\$(?:2[aby]?|argon2[a-z]*|scrypt|pbkdf2[a-z0-9-]*|[156])\$|pbkdf2_sha|\{?(?:ssha|bcrypt)\}?", re.I)
_DIGEST = re.compile(r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128})\Z", re.I)
_SIGNED = re.compile(r"ey[A-Za-z0-9_-]+\.ey[A-Za-z0-9_-]+\.")
_PUBLIC = re.compile(r"ssh-[a-z0-9]+ |ecdsa-|-----BEGIN ")

_NEVER = {"UUID", "hash of a password"}  # what is so plainly something else that no time goes into it


class Place(t.NamedTuple):
    """One place that was looked at: a column, a place in its JSON, or (C(columns) of more than one) a group of columns."""

    table: str
    columns: tuple[str, ...]
    path: str | None
    samples: list[t.Any]
    has_canary: bool = False

    def __str__(self) -> str:
        return f"{self.table}.{', '.join(self.columns)}" + (f" {self.path}" if self.path else "")


class Found(t.NamedTuple):
    """A place, and how its values are sealed."""

    place: Place
    guess: Guess


class Draft(t.NamedTuple):
    """C(profile) is ready to paste but for what C(warnings) ask to look at; the others say what was seen."""

    profile: Spec
    text: str
    fields: list[Spec]
    unopened: list[Spec]
    skipped: list[str]
    warnings: list[str]

    def as_result(self) -> Spec:
        """Return what the module returns."""
        return {
            "draft": self.profile, "draft_yaml": self.text, "draft_fields": self.fields, "draft_unopened": self.unopened,
            "draft_skipped": self.skipped,
        }


def draft_of(
    tables: t.Sequence[TableSamples], key_text: str, *, known: t.Mapping[str, t.Any], is_time_up: t.Callable[[], bool],
    unread: t.Sequence[str] = (),
) -> Draft:
    """Find the fields of a database and write them as a profile.

    Args:
        known: what is known of the profile beside its derivation and fields (name, env_var and the like).
        is_time_up: asked before each place.
        unread: tables for which there was no time.

    Raises:
        ProfileError: nothing opens.
    """
    found, unopened, skipped = _looked_at(tables, key_text, is_time_up)
    skipped = [*unread, *skipped]
    if not found:
        raise ProfileError(_nothing(unopened, skipped))
    derivation, found, apart = _under_one_derivation(found)
    derivation = _as_new_keys_are_written(derivation, found, key_text)
    names = {"env_var": "THE_VARIABLE_OF_THE_KEY", **{name: value for name, value in known.items() if value is not None}}
    profile: Spec = dict(names, derivation=derivation, fields=[_entry(each) for each in found])
    if any(each.place.has_canary and len(each.place.columns) == 1 and not each.place.path for each in found):
        profile["canary"] = {"row": "canary", "required": True}
    cipher = _cipher_of(profile, key_text)
    rows = [_seen(each, cipher) for each in found]
    warnings = _warnings(found, rows, unopened, skipped, apart)
    notes = {number: [f"WARNING: {row['note']}"] for number, row in enumerate(rows) if row["note"]}
    head = _head(profile, known, unopened, [*apart, *_skipped(skipped)])
    long = [f"{each.table.name}.{column}" for each in tables for column in each.too_long]
    if long:
        warnings.append(f"values over {MOST_BYTES // 1024} KiB were not looked at: {', '.join(long)}")
    return Draft(profile, as_yaml(profile, head=head, notes=notes), rows, unopened, skipped, warnings)


def _head(profile: Spec, known: t.Mapping[str, t.Any], unopened: t.Sequence[Spec], doubts: t.Sequence[str]) -> list[str]:
    head = ["A first draft, made from samples. What it names was seen to open; what it does not name may be sealed all the same."]
    if not known.get("env_var"):
        head.append(f"{profile['env_var']}: name the variable that the service reads its key from")
    head += [f"WARNING: {text}" for text in doubts]
    for row in unopened:
        place = f"{row['table']}.{row['column']}" + (f" {row['path']}" if row["path"] else "")
        head.append(f"opens under nothing that was tried: {place} ({row['looks_like']})")
    alike = {(row["table"], row["column"]) for row in unopened if not row["path"]}
    if alike:
        entries = [{"table": table, "column": column} for table, column in sorted(alike)]
        head.append(f"only if they are not sealed, and a run stops at them: ignore: {flow(entries)}")
    return head


def _looked_at(
    tables: t.Sequence[TableSamples], key_text: str, is_time_up: t.Callable[[], bool]
) -> tuple[list[Found], list[Spec], list[str]]:
    guesser = Guesser(key_text)
    found: list[Found] = []
    pending: list[Place] = []
    for samples in tables:
        grouped: set[str] = set()
        name = samples.table.name
        rows = samples.rows.values()
        for guess in guesser.rows(rows) if not is_time_up() else ():
            values = [tuple(row[column] for column in guess.columns) for row in rows if all(row[column] for column in guess.columns)]
            place = Place(name, guess.columns, None, values)
            if guess.is_proven or _says_enough(guess, values, key_text):
                found.append(Found(place, guess))
                grouped.update(guess.columns)
        alone = [(column, kept.values()) for column, kept in samples.cells.items() if column not in grouped]
        pending += [Place(name, (column,), None, values, column in samples.canaries) for column, values in alone]
        pending += [
            Place(name, (column,), path, kept.values())
            for (column, path), kept in samples.leaves.items() if column not in grouped
        ]
    # Whole cells before places in them, and what is called a secret before the rest, in case that time runs out.
    pending.sort(key=lambda place: (place.path is not None, _HINT.search(f"{place.columns[0]} {place.path or ''}") is None))
    unopened: list[Spec] = []
    skipped: list[str] = []
    whole = {(each.place.table, each.place.columns[0]) for each in found}
    for place in pending:
        if (place.table, place.columns[0]) in whole:
            continue
        if is_time_up():
            skipped.append(str(place))
            continue
        own = None if {_looks_like(sample) for sample in place.samples} <= _NEVER else _guessed(guesser, place, key_text)
        if own is None:
            unopened.append(_unopened(place))
            continue
        found.append(Found(place, own))
        if place.path is None:
            whole.add((place.table, place.columns[0]))
    in_json = {(each.place.table, each.place.columns[0]) for each in found if each.place.path}
    unopened = [row for row in unopened if row["path"] or (row["table"], row["column"]) not in in_json]
    found.sort(key=lambda each: (each.place.table, each.place.columns, each.place.path or ""))
    return found, unopened, sorted(skipped)


def _guessed(guesser: Guesser, place: Place, key_text: str) -> Guess | None:
    """Guess from all samples, and where they are of several looks, from those of each look."""
    by_look: dict[str, list[t.Any]] = {}
    for sample in place.samples:
        by_look.setdefault(_look_of(sample), []).append(sample)
    tried = [place.samples] if len(by_look) == 1 else [place.samples, *by_look.values()]
    for samples in tried:
        guess = guesser.cells(samples)
        if guess is None or (place.path and not guess.is_proven):
            continue
        if guess.is_proven or _says_enough(guess, samples, key_text):
            return guess._replace(tried=len(place.samples))
    return None


def _look_of(sample: t.Any) -> str:
    if isinstance(sample, bytes):
        return "bytes"
    return re.sub(r"[A-Za-z0-9+/=_]+", lambda run: "h" if re.match(r"[0-9a-f]+\Z", run.group()) else "x", sample)[:24]


def _says_enough(guess: Guess, samples: t.Sequence[t.Any], key_text: str) -> bool:
    """Whether plaintexts of the right form are long enough, all together, not to be chance."""
    codec: Codec = codec_named(codec_name(guess.codec))
    own = build_profile("custom", {"name": "x", "env_var": "X", "derivation": guess.derivation, "fields": []})
    cipher = Cipher(parse_key(key_text, derivation=own.derivation, where="the key").reveal_bytes())
    return sum(len(codec.open(cipher, sample) or b"") for sample in samples) >= _LEAST_PLAINTEXT


def _text_of(rule: Spec) -> str:
    """Return how the text of the key becomes bytes, before anything is derived; a prefix makes it another way."""
    return str(rule.get("prefix", "")) + str(rule.get("text", "base64" if rule["kdf"] == "raw" else "utf8"))


def _under_one_derivation(found: list[Found]) -> tuple[Spec, list[Found], list[str]]:
    """Bring guesses under the one derivation of a profile: the same for all, or the key's bytes, and a key for each codec."""
    rules = [each.guess.derivation for each in found]
    if all(rule == rules[0] for rule in rules):
        return dict(rules[0]), found, []
    weights: dict[str, int] = {}
    for each in found:
        text = _text_of(each.guess.derivation)
        weights[text] = weights.get(text, 0) + (100 if each.guess.is_proven else 1)
    text = max(weights, key=lambda name: weights[name])
    kept = [each for each in found if _text_of(each.guess.derivation) == text]
    apart = [
        f"{each.place} is sealed under the same key, but read as {_text_of(each.guess.derivation)} and not as {text}, which one profile "
        "cannot say; it is left out, and a rotation would leave it behind"
        for each in found if each not in kept
    ]
    sizes = [rule["bytes"] for rule in (each.guess.derivation for each in kept) if rule["kdf"] == "raw" and "bytes" in rule]
    prefix = kept[0].guess.derivation.get("prefix", "")
    base: Spec = dict({"kdf": "raw", "text": text[len(prefix) :]}, **({"bytes": sizes[0]} if sizes else {}))
    if prefix:
        base["prefix"] = prefix
    if all(each.guess.derivation == kept[0].guess.derivation for each in kept):
        return dict(kept[0].guess.derivation), kept, apart
    moved = []
    for each in kept:
        rule = {name: value for name, value in each.guess.derivation.items() if name not in ("text", "prefix")}
        codec = dict(each.guess.codec)
        if rule["kdf"] != "raw":
            codec["key"] = rule
        moved.append(Found(each.place, each.guess._replace(derivation=base, codec=codec)))
    return base, moved, apart


def _as_new_keys_are_written(rule: Spec, found: t.Sequence[Found], key_text: str) -> Spec:
    """Say in which alphabet a new key is written: as this one, and as Fernet's own keys are."""
    is_url = "-" in key_text or "_" in key_text or any(each.guess.codec.get("cipher") == "fernet" for each in found)
    if _text_of(rule) == "base64" and is_url and "+" not in key_text and "/" not in key_text:
        return dict(rule, text="base64url")
    return dict(rule)


def _entry(each: Found) -> Spec:
    entry: Spec = {"table": each.place.table}
    if len(each.place.columns) > 1:
        entry["columns"] = dict(zip(each.guess.codec["columns"], each.place.columns))
    else:
        entry["column"] = each.place.columns[0]
    if each.place.path:
        entry["path"] = each.place.path
    entry["codec"] = dict(each.guess.codec)
    return entry


def _cipher_of(profile: Spec, key_text: str) -> Cipher:
    built = build_profile("custom", profile)
    try:
        return Cipher(parse_key(key_text, derivation=built.derivation, where="the key").reveal_bytes())
    except KeyFormatError as error:
        raise ProfileError(f"the draft does not read its own key ({error}); this is a fault of servos.ops; report it") from None


def _seen(each: Found, cipher: Cipher) -> Spec:
    """Try a field as a rotation will, on all of its samples."""
    codec: Codec = codec_named(codec_name(each.guess.codec))
    tried = len(each.place.samples)
    opened = sum(1 for sample in each.place.samples if codec.open(cipher, sample) is not None)
    notes = []
    if not codec.is_authenticated:
        notes.append(
            f"a guess: this cipher does not authenticate, and {opened} samples came out in the form {each.guess.codec.get('oracle')!r}; "
            "look at what the application does before you rotate"
        )
    if opened < tried:
        notes.append(f"{opened} of {tried} samples open; the others are plain, or sealed in another way or under another key")
    return {
        "table": each.place.table, "column": each.place.columns[0], "columns": list(each.place.columns), "path": each.place.path,
        "codec": dict(each.guess.codec), "samples": tried, "opened": opened, "proven": codec.is_authenticated, "note": "; ".join(notes),
    }


def _unopened(place: Place) -> Spec:
    looks = [_looks_like(sample) for sample in place.samples]
    return {
        "table": place.table, "column": place.columns[0], "path": place.path, "samples": len(place.samples),
        "looks_like": looks[0] if len(set(looks)) == 1 else "of several looks",
    }


def _looks_like(sample: t.Any) -> str:
    if isinstance(sample, bytes):
        return "bytes"
    for pattern, name in (
        (_UUID, "UUID"), (_HASH, "hash of a password"), (_DIGEST, "digest or token in hex"), (_SIGNED, "signed token (JWT)"),
        (_PUBLIC, "key in a text form"),
    ):
        if pattern.match(sample):
            return name
    if re.search(r"\s|^https?:|^/", sample):
        return "text"
    return "text that could be sealed in a way that is not tried, or under another key"


def _skipped(skipped: t.Sequence[str]) -> list[str]:
    return [f"no time for {', '.join(skipped)}; raise discover_seconds"] if skipped else []


def _warnings(
    found: t.Sequence[Found], rows: t.Sequence[Spec], unopened: t.Sequence[Spec], skipped: t.Sequence[str], apart: t.Sequence[str]
) -> list[str]:
    warnings = [f"{each.place}: {row['note']}" for each, row in zip(found, rows) if row["note"]]
    odd = [f"{row['table']}.{row['column']}" for row in unopened if row["looks_like"].startswith(("text that", "bytes", "of several"))]
    if odd:
        warnings.append(f"{', '.join(sorted(dict.fromkeys(odd)))} could be sealed, and open under nothing that was tried")
    return [*warnings, *apart, *_skipped(skipped)]


def _nothing(unopened: t.Sequence[Spec], skipped: t.Sequence[str]) -> str:
    names = ", ".join(sorted({f"{row['table']}.{row['column']}" for row in unopened})) or "none"
    return (
        f"no value opens under this key in any way that is known here; columns whose values could be sealed: {names}"
        + (f"; no time for {', '.join(skipped)} (discover_seconds)" if skipped else "")
        + "; name the right key (env_file and env_var, or key_file) or database, or write the profile by hand (docs/profiles.md)"
    )


__all__ = ("Draft", "draft_of")
