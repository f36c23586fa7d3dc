# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that must be refused, wherever they stand: one error that names the place, nothing changed, no key shown."""

from __future__ import annotations

import base64

import pytest
from installations import NEW, OLD, OTHER, Servos, assert_refused, assert_same, b64, fingerprint

FORMAT = "give 64 hex digits or 44 characters of Base64"
MALFORMED = {
    "empty": ("", ["is empty"]),
    "a line end alone": ("\n", ["is empty"]),
    "a word": ("correct-horse-battery", ["21 characters", FORMAT]),
    "16 bytes of Base64": (b64(NEW[:16]), ["Base64 of 16 bytes", FORMAT]),
    "63 hex digits": (NEW.hex()[:63], ["63 hex digits", FORMAT]),
    "65 hex digits": (NEW.hex() + "0", ["65 hex digits", FORMAT]),
    "66 hex digits": (NEW.hex() + "00", ["66 hex digits", FORMAT]),
    "Base64 of the hex text": (b64(NEW.hex().encode()), ["Base64 of 64 bytes", FORMAT]),
    "hex read as Base64 and written again (C1)": (b64(base64.b64decode(NEW.hex()) + b"\0"), ["Base64 of 49 bytes", FORMAT]),
    "a space before": (" " + b64(NEW), ["white space", "remove it"]),
    "two line ends": (b64(NEW) + "\n\n", ["white space", "remove it"]),
    "two keys": (b64(NEW) + "\n" + b64(OTHER), [FORMAT]),
    "not UTF-8": ("k\udcffy" * 15, [FORMAT]),
}
MODULES = {"staging": ("servos_keyring", {"state": "staged", "rotation_id": "one"}), "rotating": ("servos_key_rotate", {})}
each_malformed = pytest.mark.parametrize(("text", "words"), MALFORMED.values(), ids=MALFORMED)
each_module = pytest.mark.parametrize(("module", "options"), MODULES.values(), ids=MODULES)


@each_module
@each_malformed
def test_a_malformed_new_key_file_is_refused(quiet: Servos, module: str, options: dict, text: str, words: list[str]) -> None:
    path = quiet.scratch / "new.key"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    before = quiet.snapshot()
    assert_refused(quiet.run(module, new_key_file=str(path), **options), str(path), *words)
    assert_same(before, quiet.snapshot())


@each_module
@pytest.mark.parametrize("text", [NEW.hex()[:63], b64(NEW[:16]), "no key at all"], ids=["63 hex digits", "16 bytes", "words"])
def test_a_malformed_new_key_is_refused(quiet: Servos, module: str, options: dict, text: str) -> None:
    quiet.key_file("never-shown", text)
    before = quiet.snapshot()
    assert_refused(quiet.run(module, new_key=text, **options), "option new_key", FORMAT)
    assert_same(before, quiet.snapshot())


ON_ONE_LINE = {name: case for name, case in MALFORMED.items() if "\n" not in case[0]}


@pytest.mark.parametrize(("text", "words"), ON_ONE_LINE.values(), ids=ON_ONE_LINE)
def test_a_malformed_key_in_the_env_file_is_refused(quiet: Servos, text: str, words: list[str]) -> None:
    quiet.env_file.write_bytes(quiet.env_file.read_bytes().replace(b64(OLD).encode(), text.encode("utf-8", "surrogateescape")))
    (quiet.scratch / "never-shown.key").write_bytes(text.encode("utf-8", "surrogateescape"))
    before = quiet.snapshot()
    for outcome in (quiet.info(), quiet.stage(), quiet.rotate(), quiet.backup()):
        assert_refused(outcome, "SERVOS_MASTER_KEY", str(quiet.env_file), *words)
    assert_same(before, quiet.snapshot())


def test_the_hex_text_of_the_key_in_base64_is_another_key_and_named_as_such(quiet: Servos) -> None:
    """C1: 64 hex digits are well-formed Base64, of 48 bytes. They are read as hex, and the encoding asked for is not guessed."""
    quiet.edit_env(r"^SERVOS_MASTER_KEY=.*$", f"SERVOS_MASTER_KEY={OLD.hex()}")
    before = quiet.snapshot()
    outcome = quiet.stage(key_encoding="base64")
    assert_refused(outcome, "SERVOS_MASTER_KEY", str(quiet.env_file), "key_encoding", "48 bytes", "hex")
    assert_same(before, quiet.snapshot())
    assert quiet.stage(check=True).changed


@each_module
@pytest.mark.parametrize(("how", "word"), [("missing", "no such file"), ("directory", "not a regular file")])
def test_a_new_key_file_that_cannot_be_read_is_refused(quiet: Servos, module: str, options: dict, how: str, word: str) -> None:
    path = quiet.scratch / "new.key"
    if how == "directory":
        path.mkdir()
    before = quiet.snapshot()
    assert_refused(quiet.run(module, new_key_file=str(path), **options), str(path), word)
    assert_same(before, quiet.snapshot())


SAME = {"hex": OLD.hex(), "HEX": OLD.hex().upper(), "base64": b64(OLD), "unpadded": b64(OLD).rstrip("="),
        "base64url": base64.urlsafe_b64encode(OLD).decode()}  # fmt: skip


@each_module
@pytest.mark.parametrize("env_text", [b64(OLD), OLD.hex()], ids=["env in base64", "env in hex"])
@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_the_active_key_is_no_new_key_however_it_is_written(
    quiet: Servos, module: str, options: dict, text: str, env_text: str
) -> None:
    quiet.edit_env(r"^SERVOS_MASTER_KEY=.*$", f"SERVOS_MASTER_KEY={env_text}")
    before = quiet.snapshot()
    outcome = quiet.run(module, new_key_file=str(quiet.key_file("new", text)), **options)
    assert_refused(outcome, "the new key is the active key", fingerprint(OLD), "nothing was changed", "give another one")
    assert_same(before, quiet.snapshot())


def test_the_active_key_given_without_an_id_is_refused_too(quiet: Servos) -> None:
    before = quiet.snapshot()
    outcome = quiet.stage(new_key_file=str(quiet.key_file("new", OLD.hex())))
    assert_refused(outcome, "the new key is the active key", fingerprint(OLD), "written as hex")
    assert_same(before, quiet.snapshot())


@each_module
def test_a_key_and_a_key_file_exclude_each_other(quiet: Servos, module: str, options: dict) -> None:
    path, before = quiet.key_file("new", b64(NEW)), quiet.snapshot()
    outcome = quiet.run(module, new_key=b64(NEW), new_key_file=str(path), **options)
    assert_refused(outcome, "mutually exclusive", "new_key", "new_key_file")
    assert_same(before, quiet.snapshot())


@each_module
@pytest.mark.parametrize("has_run", [False, True], ids=["staged", "rewrapped"])
def test_another_key_than_the_staged_one_is_refused(quiet: Servos, module: str, options: dict, has_run: bool) -> None:
    quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))), rotation_id="one")
    if has_run:
        quiet.rotate(until="rewrapped")
    before = quiet.snapshot()
    outcome = quiet.run(module, new_key_file=str(quiet.key_file("other", b64(OTHER))), **options)
    assert_refused(outcome, fingerprint(NEW), fingerprint(OTHER), "staged", "finish or roll back")
    assert_same(before, quiet.snapshot())


@each_module
def test_the_staged_key_given_again_is_the_staged_key(quiet: Servos, module: str, options: dict) -> None:
    quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))), rotation_id="one")
    outcome = quiet.run(module, new_key_file=str(quiet.key_file("again", NEW.hex())), **options)
    assert not outcome.failed, outcome.msg
    assert outcome["staged_key"] == fingerprint(NEW)


def test_a_damaged_staged_key_is_refused_and_never_overwritten(quiet: Servos) -> None:
    quiet.stage()
    staged = quiet.state_dir / "staged.key"
    staged.write_text("half a k")
    before = quiet.snapshot()
    for outcome in (quiet.stage(), quiet.rotate(), quiet.info(), quiet.retire()):
        assert_refused(outcome, str(staged), FORMAT)
    assert_same(before, quiet.snapshot())


@pytest.mark.parametrize("key", [OTHER, NEW], ids=["unknown", "the new one"])
def test_a_wrong_old_key_is_refused(quiet: Servos, key: bytes) -> None:
    old, new = quiet.key_file("old", b64(key)), quiet.key_file("new", b64(NEW if key is OTHER else OTHER))
    before = quiet.snapshot()
    outcome = quiet.rotate(old_key_file=str(old), new_key_file=str(new), until="rewrapped", env_file=None)
    assert_refused(outcome, fingerprint(key), "not the key of this database", "nothing was changed", "old_key_file")
    assert_same(before, quiet.snapshot())


@pytest.mark.parametrize("until", ["activated", "swapped"])
@pytest.mark.parametrize("option", ["old_key", "old_key_file"])
def test_a_given_old_key_leaves_no_env_file_to_swap(quiet: Servos, option: str, until: str) -> None:
    old = b64(OLD) if option == "old_key" else str(quiet.key_file("old", b64(OLD)))
    new = quiet.key_file("new", b64(NEW))
    before = quiet.snapshot()
    outcome = quiet.rotate(**{option: old}, new_key_file=str(new), until=until)
    assert_refused(outcome, "old_key", "no env file to swap", "until=rewrapped")
    assert_same(before, quiet.snapshot())


def test_a_given_old_key_rotates_data_that_has_no_env_file(quiet: Servos) -> None:
    quiet.env_file.unlink()
    old, new = quiet.key_file("old", OLD.hex()), quiet.key_file("new", b64(NEW))
    outcome = quiet.rotate(old_key_file=str(old), new_key_file=str(new), until="rewrapped", env_file=None)
    assert outcome["rewrapped"] == 61
    quiet.assert_all_under(b64(NEW), b64(OLD))
