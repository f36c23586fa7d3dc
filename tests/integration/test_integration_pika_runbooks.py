# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The procedures of docs/pika.md, step by step: handover, a backup that is restored, a key that nobody has, a key for another host."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from module_runs import ModuleRun
from pika_sites import Make, PikaSite, asked, mark
from pikas import ADMIN, NEW, OLD, OTHER, Pika, write

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "pika.md"


def commands_of(section: str) -> str:
    """Return the shell commands of a section of the guide, without those that run a playbook."""
    text = GUIDE.read_text(encoding="utf-8").partition(f"### {section}\n")[2].partition("\n### ")[0]
    (block,) = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return "".join(line + "\n" for line in block.splitlines() if "ansible-playbook" not in line)


def restore(site: PikaSite, backup: Path) -> None:
    """Run the guide's commands, with this test's places in them."""
    script = commands_of("Restore a backup")
    for there, here in {
        "automation\"": f'{ADMIN}"', "/etc/pika/automation.password": str(site.pika.folder / f"{ADMIN}.password"),
        "/var/lib/pika/tls.crt": str(site.pika.state / "tls.crt"), "https://localhost:8080": site.pika.url, "BACKUP": str(backup),
    }.items():  # fmt: skip
        assert there in script
        script = script.replace(there, here)
    done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "database wiped and backup restored successfully" in done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_a_backup_is_restored_and_unlocked_with_the_key_of_its_time(make_pika_site: Make) -> None:
    site = make_pika_site(tls=True)
    assert not site.rotate().failed
    (backup,) = site.backups()
    restore(site, backup)
    assert site.pika.send("GET", "/api/v1/key/status").status == 500
    unlocked = site.run("unlocked")
    assert unlocked["unlocked_with"] == mark(OLD)
    assert "correct key_file" in unlocked.warnings
    assert site.pika.is_all_under("old")
    followed = site.run("configured", new_key_file=str(site.state_dir / "previous.key"))
    assert followed["key_file_key"] == mark(OLD)
    assert not site.run("unlocked").changed
    assert not site.rotate(rotation_id="again").failed
    assert site.pika.judge()["verifier"] == "none"  # a third key, that no file of the judge has
    assert site.pika.unlock(site.key_text()).status == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
def test_a_half_done_rotation_is_taken_back_and_done_again(make_pika_site: Make) -> None:
    site = make_pika_site(tls=True, faults="fail_step=5*1")
    assert site.rotate()["pika_answer"] == "vaults_not_resealed"
    (backup,) = site.backups()
    restore(site, backup)
    assert site.run("unlocked")["unlocked_with"] == mark(OLD)
    assert not site.rotate().failed
    assert site.pika.is_all_under("new")
    assert site.keyring() == {"previous": OLD}


def test_a_handover(make_pika_site: Make, tmp_path: Path) -> None:
    site = make_pika_site()
    theirs = write(tmp_path / "next.key", f"{NEW}\n")
    handed = site.rotate(new_key_file=str(theirs))
    assert (handed["old_key"], handed["new_key"]) == (mark(OLD), mark(NEW))
    assert site.run("locked").changed
    proof = site.run("unlocked", key_file=str(theirs))
    assert (proof["unlocked_with"], "is not the server's key" in proof.warnings) == (mark(NEW), False)
    theirs.unlink()
    after = site.rotate(rotation_id="after-handover")
    assert after["old_key"] == mark(NEW)
    assert site.pika.unlock(NEW).status == 403


def test_a_key_that_nobody_has(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", key=OTHER)
    assert site.run("unlocked").failed
    site.pika.stop()
    site.pika.state.rename(site.pika.folder / "moved-away")
    site.pika.start()
    body = b'{"username": "operator", "password": "operator-password-of-the-tests"}'
    made = site.pika.send("POST", "/login/register/local", body, {"Content-Type": "application/json"})
    assert made.status == 200
    site.key_file.unlink()
    shutil.rmtree(site.state_dir, ignore_errors=True)
    assert site.run("initialized").changed
    assert site.pika.status() == {"initialized": True, "unlocked": True}


# -- the key for another host


def test_the_key_travels_sealed_to_the_host_that_asked(make_pika_site: Make, tmp_path: Path) -> None:
    leader = make_pika_site()
    follower = PikaSite(tmp_path / "follower", leader.pika, key=OTHER, env_key=OTHER)
    secrets_dir = str(tmp_path / "secrets")
    asking = ModuleRun("servos_secret_request", {"secrets_dir": secrets_dir}).wait()
    write(leader.key_file, "a-key=for/env+files\n")
    sealed = leader.run("configured", seal_for={"request_id": asking["request_id"], "recipient": asking["recipient"]})
    answer = {"request_id": asking["request_id"], "ciphertext": sealed["sealed"], "secrets_dir": secrets_dir}
    taken = follower.run("configured", sealed=answer)
    assert (taken.changed, taken["env_key"], taken["key_file_key"], taken["restart_due"]) == (
        True, mark("a-key=for/env+files"), mark("a-key=for/env+files"), True,
    )  # fmt: skip
    assert follower.run("configured", sealed=answer).failed, "a request is answered once"
    assert "POST /api/v1/key/unlock" not in asked(leader)


def test_a_host_whose_env_file_does_not_set_the_key_is_refused(pika_site: PikaSite) -> None:
    pika_site.env_file = write(pika_site.folder / "empty.env", "OTHER=1\n")
    outcome = pika_site.run("configured")
    assert outcome.failed
    assert "does not set PIKA_ENCRYPTION_PASSWORD" in outcome.msg


@pytest.mark.parametrize("key", ["a key with spaces", "dollar$", 'quote"'], ids=["space", "dollar", "quote"])
def test_a_key_that_an_env_file_cannot_hold_is_refused_before_anything_is_done(make_pika_site: Make, key: str) -> None:
    site = make_pika_site(env_key=OLD)
    write(site.new_key_file, f"{key}\n")
    outcome = site.rotate()
    assert outcome.failed
    assert "nothing was changed" in outcome.msg
    assert site.pika.is_all_under("old")
    assert site.keyring() == {}


def test_two_keys_in_force_are_none(make_pika_site: Make) -> None:
    site = make_pika_site(env_key=OTHER)
    outcome = site.rotate(rotation_id="1")
    assert outcome.failed
    assert mark(OTHER) in outcome.msg
    assert mark(OLD) in outcome.msg
    assert asked(site) == ["GET /api/v1/key/status"]


def test_two_runs_at_a_time_are_one(make_pika_site: Make) -> None:
    site = make_pika_site(faults="slow_rotate_ms=1500")
    first = site.begin("rotated", new_key_file=str(site.new_key_file))
    wait_for(site.pika, "POST /api/v1/key/rotate")
    second = site.rotate()
    assert second.failed
    assert "another run is at work" in second.msg
    assert not site.heard(first.wait()).failed
    assert site.pika.is_all_under("new")


def wait_for(pika: Pika, request: str) -> None:
    """Come back when the server has been asked for something; the test's own bound is that of the module's end."""
    for unused in range(2000):
        if request in pika.report()["log"]:
            return
    raise AssertionError("it was not asked")
