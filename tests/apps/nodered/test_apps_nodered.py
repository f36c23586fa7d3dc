# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node-RED reads its credentials back after a rotation of ours, with its own code; and what it does where the secret is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable

from node_red import CREDENTIALS, NodeRed

UNPROVEN = "encrypted without authentication"
LOST = {"error": "credentials_load_failed"}


def test_a_rotation_is_read_back_by_node_red(nodered: NodeRed) -> None:
    old = nodered.secret()
    before = nodered.file.stat()
    assert nodered.opened(old) == CREDENTIALS
    done = nodered.play("rotate")
    assert done.code == 0, done.text
    assert "Rewrapped 1 values" in done.text
    new = nodered.secret()
    assert new != old
    assert nodered.opened(new) == CREDENTIALS
    assert nodered.opened(old) == LOST
    assert "Failed to decrypt" not in nodered.said(), "it never ran between data and env file"
    assert nodered.call("/probe") == (200, "welcome")
    after = nodered.file.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)

    again = nodered.play("rotate")
    assert again.code == 0 and again.stats["changed"] == 0, again.text
    assert UNPROVEN in done.text and UNPROVEN in again.text

    # What is deployed now is under the new secret as well.
    changed = CREDENTIALS | {"broker": {"user": "other", "password": "other-password"}}
    nodered.deploy(credentials={"broker": changed["broker"]})
    assert nodered.opened(new) == changed
    assert old not in done.text + again.text and new not in done.text + again.text


def test_a_rotation_is_taken_back(nodered: NodeRed) -> None:
    old = nodered.secret()
    assert nodered.play("rotate").code == 0
    done = nodered.play("rollback")
    assert done.code == 0, done.text
    assert nodered.secret() == old
    assert nodered.opened(old) == CREDENTIALS
    assert "Failed to decrypt" not in nodered.said()
    assert nodered.call("/probe") == (200, "welcome")


def test_a_rehearsal_and_a_dry_run_change_nothing(nodered: NodeRed) -> None:
    content, pid = nodered.file.read_bytes(), nodered.pid_file.read_text()
    rehearsed = nodered.play("rehearse")
    assert rehearsed.code == 0 and "Rehearsed on" in rehearsed.text, rehearsed.text
    checked = nodered.play("rotate", "--check")
    assert checked.code == 0 and "Would rewrap 1 values" in checked.text, checked.text
    assert (nodered.file.read_bytes(), nodered.pid_file.read_text()) == (content, pid)


def test_the_file_that_node_red_keeps_beside_is_named(nodered: NodeRed) -> None:
    nodered.deploy(credentials={"broker": {"user": "other", "password": "other-password"}})
    assert nodered.backup.exists(), "Node-RED keeps what the file held before"
    done = nodered.play("rotate")
    assert done.code == 0 and str(nodered.backup) in done.text, done.text


# What goes wrong in Node-RED, and why our order avoids it


def test_under_the_old_secret_node_red_runs_without_credentials_and_the_next_deploy_erases_them(nodered: NodeRed) -> None:
    old = nodered.secret()
    assert nodered.play("rotate").code == 0
    rotated, new = nodered.file.read_bytes(), nodered.secret()
    nodered.stop()
    nodered.write_env(old)
    mark = len(nodered.said().encode())
    nodered.start()
    assert "Failed to decrypt credentials" in nodered.said(mark)
    assert nodered.call("/probe")[1] == "who are you?"
    assert nodered.file.read_bytes() == rotated, "a start alone writes nothing"

    nodered.deploy(label="another")
    assert nodered.opened(old) == dict.fromkeys(CREDENTIALS), "they are gone"
    assert nodered.opened(new, nodered.backup) == CREDENTIALS, "but for the copy of the last content"
    # Two bytes are left, which the staged and the active key are not mistaken for.
    assert nodered.play("rotate", "--check").text.count(old) == 0

    # As docs/nodered.md tells: a backup of ours comes back, and then the rotation is finished.
    restored = nodered.play_task("servos_backup", state="restored", backup_dir=str(nodered.backup_dir))
    assert restored.code == 0, restored.text
    assert nodered.opened(old) == CREDENTIALS
    nodered.wait_for_probe("welcome")
    assert nodered.play("rotate").code == 0
    assert nodered.opened(nodered.secret()) == CREDENTIALS and nodered.secret() == new
    nodered.wait_for_probe("welcome")


def test_a_secret_that_node_red_made_itself_is_not_mistaken(make_nodered: Callable[..., NodeRed]) -> None:
    nodered = make_nodered(None)
    nodered.start()
    nodered.deploy(credentials=CREDENTIALS)
    runtime = nodered.user_dir / ".config.runtime.json"
    own = json.loads(runtime.read_text())["_credentialSecret"]
    assert nodered.opened(own) == CREDENTIALS

    refused = nodered.play("rotate")
    assert refused.code != 0 and "NODE_RED_CREDENTIAL_SECRET" in refused.text, refused.text

    # As docs/nodered.md tells: the secret moves to the env file, and a deploy removes it from where it was.
    nodered.stop()
    nodered.write_env(own)
    nodered.start()
    assert "_credentialSecret" in json.loads(runtime.read_text())
    before = nodered.file.read_bytes()
    too_early = nodered.play("rotate")
    assert too_early.code != 0 and "_credentialSecret" in too_early.text and "deploy" in too_early.text, too_early.text
    assert nodered.file.read_bytes() == before
    nodered.deploy(label="moved")
    assert "_credentialSecret" not in json.loads(runtime.read_text())
    done = nodered.play("rotate")
    assert done.code == 0, done.text
    assert nodered.opened(nodered.secret()) == CREDENTIALS
    assert nodered.call("/probe") == (200, "welcome")
