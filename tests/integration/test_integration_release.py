# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release of a scratch copy: made as the maintainer makes it, and checked by the command that docs/releasing.md gives to users."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = "97.0.1"
MESSAGE = "scratch - a change that only this copy knows."


def run(folder: Path, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in a copy, by nobody's git configuration and no agent."""
    told = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "SSH_"))}
    told |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    return subprocess.run(argv, cwd=folder, env=told, capture_output=True, text=True, timeout=180, check=check)


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "--quiet", "--message", "x")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signer") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=20)
    return path


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory, key: Path) -> Path:
    """A repository with the files of this one, in which the key may sign."""
    folder = tmp_path_factory.mktemp("release") / "checkout"
    folder.mkdir()
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30)
    names = b"\0".join(name for name in listed.stdout.split(b"\0") if name and (ROOT / os.fsdecode(name)).exists())
    subprocess.run(["xargs", "-0", "cp", "--parents", "-t", str(folder)], cwd=ROOT, input=names, check=True, timeout=60)
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    with (folder / ".ci" / "allowed_signers").open("a") as signers:
        signers.write(f'releases@servos.ops namespaces="servos.ops.release" {public}\n')
    (folder / "changelogs" / "fragments" / "scratch.yml").write_text(f"---\nminor_changes:\n  - {MESSAGE}\n")
    run(folder, "git", "init", "--quiet")
    commit(folder)
    return folder


def with_changes(checkout: Path, key: Path) -> list[str]:
    (checkout / "README.md").write_text("changed\n")
    return [VERSION, str(key)]


def by_a_stranger(checkout: Path, key: Path) -> list[str]:
    stranger = checkout.parent / "stranger"
    run(checkout, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger))
    return [VERSION, str(stranger)]


REFUSED = {
    "with changes": (with_changes, "the checkout has changes"),
    "by a stranger": (by_a_stranger, "is not in .ci/allowed_signers"),
    "without a key": (lambda checkout, key: [VERSION], "name an SSH key"),
    "without a version": (lambda checkout, key: ["", str(key)], "is no version"),
}


@pytest.mark.parametrize(("prepare", "words"), REFUSED.values(), ids=REFUSED)
def test_a_release_is_refused_before_anything_is_written(checkout: Path, key: Path, prepare, words: str) -> None:
    argv = prepare(checkout, key)
    before = run(checkout, "git", "status", "--porcelain").stdout
    done = run(checkout, ".ci/release", *argv, check=False)
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr
    assert run(checkout, "git", "status", "--porcelain").stdout == before
    assert not (checkout / ".work").exists()
    run(checkout, "git", "restore", ".")


def documented_check() -> str:
    text = (ROOT / "docs" / "releasing.md").read_text()
    (command,) = re.findall(r"^(ssh-keygen -Y verify .*?)\nansible-galaxy", text, re.M | re.S)
    return str(command).replace("VERSION", VERSION)


def test_a_release_is_made_and_checked_by_a_user(checkout: Path, key: Path, tmp_path: Path) -> None:
    done = run(checkout, ".ci/release", VERSION, str(key), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert MESSAGE in (checkout / "CHANGELOG.rst").read_text()
    assert not (checkout / "changelogs" / "fragments" / "scratch.yml").exists()
    tarball = checkout / ".work" / "release" / f"servos-ops-{VERSION}.tar.gz"
    with tarfile.open(tarball) as opened:
        manifest, changelog = (opened.extractfile(name) for name in ("MANIFEST.json", "CHANGELOG.rst"))
        assert manifest is not None
        assert changelog is not None
        assert json.load(manifest)["collection_info"]["version"] == VERSION
        assert MESSAGE in changelog.read().decode()

    user = tmp_path / "user"
    user.mkdir()
    for path in (tarball, Path(f"{tarball}.sig"), checkout / ".ci" / "allowed_signers"):
        shutil.copy(path, user)
    good = run(user, "bash", "-c", documented_check(), check=False)
    assert (good.returncode, 'Good "servos.ops.release" signature' in good.stdout) == (0, True), good.stderr
    with (user / tarball.name).open("r+b") as other:
        other.seek(1000)
        byte = other.read(1)
        other.seek(1000)
        other.write(bytes([byte[0] ^ 1]))
    assert run(user, "bash", "-c", documented_check(), check=False).returncode != 0

    commit(checkout)
    again = run(checkout, ".ci/release", VERSION, str(key), check=False)
    assert (again.returncode, "was released before" in again.stderr) == (1, True)
