# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The vault file on the controller: where it goes, what it refuses, and that a file of another key stays as it is."""

from __future__ import annotations

import os

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible_collections.servos.ops.plugins.module_utils._errors import EscrowError, FileError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import fingerprint_of
from ansible_collections.servos.ops.plugins.module_utils._rotation.vault_escrow import Handed
from ansible_collections.servos.ops.plugins.module_utils._system import files
from ansible_collections.servos.ops.plugins.plugin_utils import _vault_file
from ansible_collections.servos.ops.plugins.plugin_utils._vault_file import VaultFile

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
MARK, DIGITS = fingerprint_of(KEY), fingerprint_of(KEY)[3:]
DEV, PROD = ("dev", VaultSecret(b"the password of dev")), ("prod", VaultSecret(b"the password of prod"))


def handed(key_bytes=KEY):
    mark = fingerprint_of(key_bytes)
    return Handed(mark, "raw32", f'app: "servos"\nfingerprint: "{mark}"\nkey: "{key_bytes.hex()}"\n')


def file_at(target, *secrets, vault_id=None):
    return VaultFile(list(secrets or (DEV,)), str(target), vault_id)


def opened(path, secret=DEV):
    return yaml.safe_load(VaultLib([secret]).decrypt(path.read_bytes()))


@pytest.mark.parametrize(
    ("target", "name"),
    [("/", f"escrow-{DIGITS}.yml"), ("", f"escrow-{DIGITS}.yml"), ("/a-{fingerprint}.yml", f"a-{DIGITS}.yml"), ("/a.yml", "a.yml")],
    ids=["a slash at the end", "a directory", "a pattern", "a file"],
)
def test_where_it_goes(tmp_path, target, name):
    receipt = file_at(f"{tmp_path}{target}").put(handed())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert opened(tmp_path / name)["key"] == KEY.hex()
    assert oct((tmp_path / name).stat().st_mode)[-3:] == "600"
    assert (receipt["path"], receipt["fingerprint"], receipt["vault_id"]) == (str(tmp_path / name), MARK, "dev")


def test_the_same_key_again_changes_nothing(tmp_path):
    first = file_at(tmp_path).put(handed())
    (path,) = tmp_path.iterdir()
    before = (path.stat().st_ino, path.read_bytes())
    file_at(tmp_path).require_means()
    assert file_at(tmp_path).put(handed()) == first
    assert (path.stat().st_ino, path.read_bytes()) == before


def test_a_file_of_another_key_stays(tmp_path):
    path = tmp_path / "a.yml"
    file_at(path).put(handed(OTHER))
    before = path.read_bytes()
    with pytest.raises(EscrowError, match=r"holds mk:[0-9a-f]{16}, which is never overwritten.*\{fingerprint\}"):
        file_at(path).put(handed())
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [b"key: x\n", b"$ANSIBLE_VAULT;1.1;AES256\n" + b"3030303030\n" * 4, b"", VaultLib([PROD]).encrypt(b"key: 1\n", PROD[1])],
    ids=["plain", "damaged", "empty", "another password"],
)
def test_what_does_not_open_is_refused_in_advance_and_stays(tmp_path, content):
    path = tmp_path / "a.yml"
    path.write_bytes(content)
    with pytest.raises(EscrowError, match="never overwritten"):
        file_at(path).require_means()
    with pytest.raises(EscrowError, match="never overwritten"):
        file_at(path).put(handed())
    assert path.read_bytes() == content


def test_a_vault_without_a_key_in_it_stays(tmp_path):
    path = tmp_path / "a.yml"
    content = VaultLib([DEV]).encrypt(b"password: x\n", DEV[1])
    path.write_bytes(content)
    with pytest.raises(EscrowError, match="something that is no key"):
        file_at(path).put(handed())
    assert path.read_bytes() == content


def test_the_vault_id_is_written_into_the_file(tmp_path):
    file_at(tmp_path / "a.yml", DEV, PROD, vault_id="prod").put(handed())
    assert (tmp_path / "a.yml").read_text().splitlines()[0] == "$ANSIBLE_VAULT;1.2;AES256;prod"
    assert opened(tmp_path / "a.yml", PROD)["fingerprint"] == MARK


@pytest.mark.parametrize(
    ("secrets", "vault_id", "words"),
    [
        ((), None, "the play has none"),
        ((DEV, PROD), None, r"several vault ids \(dev, prod\)"),
        ((DEV,), "prod", "no secret for the vault id prod"),
    ],
    ids=["none", "several", "another"],
)
def test_a_secret_that_is_missing_is_named(tmp_path, secrets, vault_id, words):
    with pytest.raises(EscrowError, match=f"{words}.*nothing was changed"):
        VaultFile(secrets, str(tmp_path), vault_id).require_means()


@pytest.mark.parametrize(
    ("target", "words"),
    [("a.yml", "relative path"), ("{tmp}/gone/a.yml", "is not there on the controller"), ("{tmp}/{fingerprint}/a.yml", "in its directory")],
    ids=["relative", "no directory", "a pattern in the directory"],
)
def test_a_place_that_cannot_be_is_named(tmp_path, target, words):
    with pytest.raises(EscrowError, match=f"{words}.*nothing was changed"):
        file_at(target.replace("{tmp}", str(tmp_path))).require_means()
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(EscrowError, match="cannot be written on the controller"):
        file_at(tmp_path).require_means()


def test_what_the_disk_made_of_it_is_seen_and_removed(tmp_path, monkeypatch):
    write = files.write_private_file
    monkeypatch.setattr(files, "write_private_file", lambda path, content: write(path, content[:-20]))
    with pytest.raises(EscrowError, match="would not hold what was written"):
        file_at(tmp_path).put(handed())
    assert list(tmp_path.iterdir()) == []


def test_a_vault_that_seals_another_text_is_seen_and_its_file_removed(tmp_path, monkeypatch):
    class Lying(VaultLib):
        def encrypt(self, plaintext, secret=None, vault_id=None, salt=None):
            return VaultLib.encrypt(self, plaintext.replace(b"0", b"1"), secret, vault_id)

    monkeypatch.setattr(_vault_file, "VaultLib", Lying)
    with pytest.raises(EscrowError, match="would not hold what was written"):
        file_at(tmp_path).put(handed())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(path, content):
        raise FileError(f"cannot write {path}: no space left on its disk; make room and run again")

    monkeypatch.setattr(files, "write_private_file", full)
    with pytest.raises(FileError, match="no space"):
        file_at(tmp_path).put(handed())
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_writers_wins(tmp_path, monkeypatch):
    path, link = tmp_path / "a.yml", os.link

    def second(source, target):
        monkeypatch.setattr(os, "link", link)
        file_at(path).put(handed(OTHER))
        link(source, target)

    monkeypatch.setattr(os, "link", second)
    with pytest.raises(EscrowError):
        file_at(path).put(handed())
    assert opened(path)["key"] == OTHER.hex()
    assert [found.name for found in tmp_path.iterdir()] == ["a.yml"]
