# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installation in which each thing is wrong once, and what the audit says to it."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import BOX, LASTING, EngineUnderTest
from evidence import leaks
from installations import OTHER, Servos, seal, wait_until
from module_runs import ModuleRun, Outcome
from playbook_runs import environment_of, inventory_of, play
from provara_installation import Provara


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user of the host may enter."""
    folder = Path(tempfile.mkdtemp(prefix="servos-public-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def audited(servos: Servos, public: Path, **options: Any) -> Outcome:
    told = {
        "backup_dir": str(servos.backup_dir), "search": [str(public)], "engines": [], "secrets_dir": str(servos.folder / "secrets"),
        **options,
    }  # fmt: skip
    outcome = servos.run("servos_audit", **told)
    assert not outcome.failed, outcome.msg
    assert not outcome.changed
    return outcome


def found(outcome: Outcome) -> dict[str, str]:
    return {finding["id"]: finding["severity"] for finding in outcome["findings"]}


def rotated(servos: Servos) -> None:
    """Bring it into the state in which nothing is to be found but the previous key."""
    for outcome in (servos.stage(), servos.backup(), servos.rotate(until="activated")):
        assert not outcome.failed, outcome.msg
    servos.database.chmod(0o600)


def test_a_sound_installation_has_only_its_previous_key_left(servos: Servos, public: Path) -> None:
    rotated(servos)
    outcome = audited(servos, public)
    assert found(outcome) == {"previous_key_kept": "low"}
    looked_at = {check["id"]: check["outcome"] for check in outcome["checks"]}
    assert looked_at.pop("previous_key_kept") in ("passed", "failed")
    assert [looked_at.pop("api_plain_http"), looked_at.pop("leftover_file")] == ["skipped", "passed"]
    assert set(looked_at.values()) == {"passed"}
    assert len(looked_at) >= 14


def world_readable(servos: Servos, public: Path) -> dict[str, Any]:
    servos.env_file.chmod(0o644)
    return {}


def open_folder(servos: Servos, public: Path) -> dict[str, Any]:
    servos.folder.chmod(0o777)
    return {}


def somebodys(servos: Servos, public: Path) -> dict[str, Any]:
    os.chown(servos.env_file, 65534, 0)
    return {}


def open_state(servos: Servos, public: Path) -> dict[str, Any]:
    servos.state_dir.chmod(0o755)
    return {}


def open_database(servos: Servos, public: Path) -> dict[str, Any]:
    servos.database.chmod(0o644)
    return {}


def foreign_value(servos: Servos, public: Path) -> dict[str, Any]:
    servos.sql("UPDATE servers SET ssh_private_key = ? WHERE id = (SELECT min(id) FROM servers)", seal(b"x", OTHER))
    return {}


def lost_backup(servos: Servos, public: Path) -> dict[str, Any]:
    for name in ("previous.key",):
        (servos.state_dir / name).unlink()
    return {}


def open_backup(servos: Servos, public: Path) -> dict[str, Any]:
    next(servos.backup_dir.glob("*.db")).chmod(0o640)
    return {}


def partial_backup(servos: Servos, public: Path) -> dict[str, Any]:
    (servos.backup_dir / ".servos.partial").write_text("half")
    return {}


def no_backup(servos: Servos, public: Path) -> dict[str, Any]:
    shutil.rmtree(servos.backup_dir)
    return {}


def key_in_a_history(servos: Servos, public: Path) -> dict[str, Any]:
    (public / ".bash_history").write_text(f"export KEY={servos.env_text()}\n")
    return {}


def old_key_in_a_packed_log(servos: Servos, public: Path) -> dict[str, Any]:
    with gzip.open(public / "syslog.1.gz", "wt") as stream:
        stream.write("x" * 3_000_000 + f" key {servos.old_text} ")
    return {}


def old(servos: Servos, public: Path) -> dict[str, Any]:
    return {"max_age": 0}


def access_list(servos: Servos, public: Path) -> dict[str, Any]:
    """Let the user 65534 read it beside its mode: acl(5) as the kernel keeps it, linux/posix_acl_xattr.h."""
    entries = [(0x01, 6, 0xFFFFFFFF), (0x02, 4, 65534), (0x04, 0, 0xFFFFFFFF), (0x10, 4, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF)]
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(servos.env_file, "system.posix_acl_access", content)
    return {}


def old_backup(servos: Servos, public: Path) -> dict[str, Any]:
    (note,) = servos.backup_dir.glob("*.json")
    note.write_text(note.read_text().replace('"expires_at": "20', '"expires_at": "19'))
    return {}


def other_key_in_the_process(servos: Servos, public: Path) -> dict[str, Any]:
    servos.edit_env(rf"^{servos.env_var}=.*$", f"{servos.env_var}={servos.old_text}")
    return {}


def undeclared(servos: Servos, public: Path) -> dict[str, Any]:
    return {"profile": {"fields": [{"table": "servers", "column": "ssh_private_key"}]}}


def killed_injection(servos: Servos, public: Path) -> dict[str, Any]:
    folder = servos.folder / "secrets"
    folder.mkdir(mode=0o700)
    (folder / "6f1f3a2e-1c2b-4c5d-8e9f-0a1b2c3d4e5f.env").write_text("TOKEN=left")
    return {}


def api_that_is_none(servos: Servos, public: Path) -> dict[str, Any]:
    return {"api_url": "servos.example:443"}


def api_at_no_port(servos: Servos, public: Path) -> dict[str, Any]:
    return {"api_url": "https://servos.example:notaport/"}


def api_in_clear(servos: Servos, public: Path) -> dict[str, Any]:
    return {"api_url": "http://servos.example"}


def api_without_tls(servos: Servos, public: Path) -> dict[str, Any]:
    return {"api_url": servos.url.replace("http:", "https:")}


def no_database(servos: Servos, public: Path) -> dict[str, Any]:
    return {"database": f"sqlite:///{servos.folder / 'none.db'}"}


PLANTED: dict[str, tuple[Callable[[Servos, Path], dict[str, Any]], str, str]] = {
    "world-readable": (world_readable, "env_file_mode", "critical"),
    "open folder": (open_folder, "env_file_folder", "high"),
    "somebody's": (somebodys, "env_file_owner", "high"),
    "state directory": (open_state, "state_dir_mode", "critical"),
    "database": (open_database, "database_file_mode", "high"),
    "foreign": (foreign_value, "values_foreign", "high"),
    "lost key of a backup": (lost_backup, "backup_unreadable", "high"),
    "open backup": (open_backup, "backup_mode", "high"),
    "partial backup": (partial_backup, "leftover_file", "medium"),
    "no backup": (no_backup, "backup_missing", "medium"),
    "history": (key_in_a_history, "key_in_file", "critical"),
    "packed log": (old_key_in_a_packed_log, "key_in_file", "critical"),
    "old": (old, "key_old", "medium"),
    "access list": (access_list, "env_file_mode", "high"),
    "old backup": (old_backup, "backup_expired", "low"),
    "other key in the process": (other_key_in_the_process, "process_key_differs", "high"),
    "values under another key": (other_key_in_the_process, "values_elsewhere", "high"),
    "undeclared": (undeclared, "values_undeclared", "medium"),
    "killed injection": (killed_injection, "leftover_file", "high"),
    "no URL": (api_that_is_none, "could_not_look", "high"),
    "no port": (api_at_no_port, "could_not_look", "high"),
    "clear": (api_in_clear, "api_plain_http", "high"),
    "no TLS": (api_without_tls, "api_certificate", "high"),
    "no database": (no_database, "could_not_look", "high"),
}


@pytest.mark.parametrize(("plant", "kind", "severity"), PLANTED.values(), ids=PLANTED)
def test_each_thing_that_is_wrong_is_found(
    servos: Servos, public: Path, plant: Callable[..., dict[str, Any]], kind: str, severity: str
) -> None:
    rotated(servos)
    outcome = audited(servos, public, **plant(servos, public))
    assert found(outcome).get(kind) == severity, outcome["findings"]
    (finding,) = [one for one in outcome["findings"] if one["id"] == kind][:1]
    assert finding["evidence"]
    assert finding["mend"]


def linked_env_file(servos: Servos) -> dict[str, Any]:
    """Name the env file by a link in a folder of somebody's."""
    folder = servos.folder / "somebodys"
    folder.mkdir()
    (folder / "env").symlink_to(servos.env_file)
    os.chown(folder, 65534, 65534)
    return {"env_file": str(folder / "env")}


def env_file_below_an_open_folder(servos: Servos) -> dict[str, Any]:
    folder = servos.folder / "open" / "closed"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o777)
    shutil.copy2(servos.env_file, folder / "env")
    return {"env_file": str(folder / "env")}


def state_of_somebody(servos: Servos) -> dict[str, Any]:
    os.chown(servos.state_dir, 65534, 0)
    return {}


def state_below_somebodys_folder(servos: Servos) -> dict[str, Any]:
    folder = servos.folder / "his"
    (folder / "rotation").mkdir(parents=True)
    shutil.copytree(servos.state_dir, folder / "rotation", dirs_exist_ok=True, copy_function=shutil.copy2)
    (folder / "rotation").chmod(0o700)
    os.chown(folder, 65534, 65534)
    return {"state_dir": str(folder / "rotation")}


def backup_without_note(servos: Servos) -> dict[str, Any]:
    copy = servos.backup_dir / "servos-20200101T000000.000000Z.db"
    shutil.copyfile(next(servos.backup_dir.glob("*.db")), copy)
    copy.chmod(0o600)
    return {}


def torn_backup(servos: Servos) -> dict[str, Any]:
    os.truncate(next(servos.backup_dir.glob("*.db")), 4096)
    return {}


def rotten_backup(servos: Servos) -> dict[str, Any]:
    with next(servos.backup_dir.glob("*.db")).open("r+b") as stream:
        stream.seek(5000)
        (byte,) = stream.read(1)
        stream.seek(5000)
        stream.write(bytes([byte ^ 1]))
    return {}


def damaged_note(servos: Servos) -> dict[str, Any]:
    (path,) = servos.backup_dir.glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "keys": [1]}))
    return {}


def open_backup_dir(servos: Servos) -> dict[str, Any]:
    servos.backup_dir.chmod(0o777)
    return {}


def database_with_nothing_in_it(servos: Servos) -> dict[str, Any]:
    other = servos.folder / "other.db"
    with sqlite3.connect(servos.database) as connection, sqlite3.connect(other) as empty:
        schema = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'").fetchall()
        empty.executescript(";".join(sql for (sql,) in schema))
    other.chmod(0o600)
    return {"database": f"sqlite:///{other}", "service_manager": "none", "backup_dir": ""}


# Where one thing is planted, that alone is found; each is then put back.
QUIETLY_WRONG: dict[str, tuple[Callable[[Servos], dict[str, Any]], dict[str, str]]] = {
    "linked env file": (linked_env_file, {"env_file_folder": "high"}),
    "open folder above": (env_file_below_an_open_folder, {"env_file_folder": "high"}),
    "somebody's state": (state_of_somebody, {"state_dir_mode": "high"}),
    "state below somebody's folder": (state_below_somebodys_folder, {"state_dir_mode": "high"}),
    "no note": (backup_without_note, {"backup_unreadable": "high"}),
    "rotten": (rotten_backup, {"backup_unreadable": "high", "backup_missing": "medium"}),
    "torn": (torn_backup, {"backup_unreadable": "high", "backup_missing": "medium"}),
    "damaged note": (damaged_note, {"backup_unreadable": "high", "backup_missing": "medium"}),
    "open backups": (open_backup_dir, {"backup_mode": "high"}),
    "empty database": (database_with_nothing_in_it, {"could_not_look": "high"}),
}


def test_what_is_wrong_and_easily_passed_over_is_found(servos: Servos, public: Path) -> None:
    rotated(servos)
    kept = servos.scratch / "kept"
    shutil.copytree(servos.backup_dir, kept, copy_function=shutil.copy2)

    def seen(plant: Callable[[Servos], dict[str, Any]]) -> dict[str, str]:
        outcome = found(audited(servos, public, **plant(servos)))
        os.chown(servos.state_dir, 0, 0)
        shutil.rmtree(servos.backup_dir)
        shutil.copytree(kept, servos.backup_dir, copy_function=shutil.copy2)
        return {kind: severity for kind, severity in outcome.items() if kind != "previous_key_kept"}

    assert {name: seen(plant) for name, (plant, unused) in QUIETLY_WRONG.items()} == {
        name: expected for name, (unused, expected) in QUIETLY_WRONG.items()
    }


def test_a_forgotten_process_and_one_that_tells_the_key_where_no_service_is_described(servos: Servos, public: Path) -> None:
    rotated(servos)
    telling = [sys.executable, "-c", "import time; time.sleep(60)", f"--key={servos.env_text()}"]
    with subprocess.Popen(["sleep", "60"], env={servos.env_var: servos.old_text}) as left, subprocess.Popen(telling) as told:
        wait_until(lambda: Path(f"/proc/{left.pid}/comm").read_text() == "sleep\n")
        wait_until(lambda: b"--key=" in Path(f"/proc/{told.pid}/cmdline").read_bytes())
        outcome = audited(servos, public, service_manager="none")
        left.kill()
        told.kill()
    assert found(outcome).get("process_forgotten") == "medium"
    assert found(outcome).get("key_in_arguments") == "critical"
    (subject,) = [one["subject"] for one in outcome["findings"] if one["id"] == "key_in_arguments"]
    assert subject.startswith(f"process {told.pid} (")
    assert leaks(outcome.printed, servos.secrets()) == []


def test_a_doubtful_key(provara: Provara, tmp_path: Path) -> None:
    (tmp_path / "provara.env").write_text("PROVARA_MASTER_KEY=hunter2\n")
    told = {"app": "provara", "database": f"sqlite:///{provara.database}", "state_dir": str(provara.state_dir), "service_manager": "none"}
    outcome = ModuleRun("servos_audit", {**told, "env_file": str(tmp_path / "provara.env"), "search": [], "engines": []}).wait()
    assert found(outcome).get("key_doubtful") == "medium", outcome.printed


def test_a_forgotten_process(servos: Servos, public: Path) -> None:
    rotated(servos)
    with subprocess.Popen(["sleep", "60"], env={servos.env_var: servos.old_text}) as left:
        wait_until(lambda: Path(f"/proc/{left.pid}/comm").read_text() == "sleep\n")
        outcome = found(audited(servos, public))
        left.kill()
    assert outcome.get("process_forgotten") == "medium"


def test_what_is_observed_is_returned_and_what_cannot_be_is_skipped(servos: Servos, public: Path) -> None:
    rotated(servos)
    outcome = audited(servos, public)
    assert (outcome["key_encoding"], outcome["backups"][0]["opens_with"]) == ("base64", ["previous"])
    assert sum(row["active"] for row in outcome["census"]) == 61
    assert 0 <= outcome["key_age_days"] < 1
    blind = audited(servos, public, **no_database(servos, public))
    skipped = {check["id"] for check in blind["checks"] if check["outcome"] == "skipped"}
    assert {"values_foreign", "key_in_file", "backup_missing", "process_key_differs", "secret_in_inspect"} <= skipped
    assert "census" not in blind.result


def test_a_url_is_shown_without_what_could_be_secret_in_it(servos: Servos, public: Path) -> None:
    rotated(servos)
    outcome = audited(servos, public, api_url="http://admin:hunter2hunter2@servos.example/path?token=hunter3hunter3")
    assert "http://servos.example" in [finding["subject"] for finding in outcome["findings"]]
    assert [word for word in ("hunter2", "hunter3", "/path") if word in json.dumps(outcome["findings"] + outcome["checks"])] == []
    assert [word for word in ("hunter2", "hunter3") if word in outcome.printed] == []
    assert "api_plain_http" not in found(audited(servos, public, api_url="http://[::1]:8080"))


def test_a_search_that_ends_before_its_end_says_so(servos: Servos, public: Path) -> None:
    rotated(servos)
    (public / "long").write_bytes(b"x" * 1_000_001 + servos.env_text().encode())
    outcome = audited(servos, public, search_megabytes=1)
    looked_at = [check["outcome"] for check in outcome["checks"] if check["id"] == "key_in_file"]
    assert looked_at == ["skipped"]
    assert found(audited(servos, public, search_megabytes=2))["key_in_file"] == "critical"


def test_what_containers_show(engine: EngineUnderTest, servos: Servos, public: Path) -> None:
    rotated(servos)
    shows = {"SERVOS_MASTER_KEY": servos.env_text(), "API_TOKEN": "tok-secret", "DATABASE": "postgres://u:tok-secret@h/d", "MODE": "fast",
             "TOKEN_FILE": "/run/secrets/token", "EMPTY_TOKEN": ""}  # fmt: skip
    name = f"servos-audit-{os.getpid()}-{engine.command}"
    words = [f"--env={variable}={value}" for variable, value in shows.items()]
    engine.run("create", f"--name={name}", *words, BOX, *LASTING)
    try:
        outcome = audited(servos, public, engines=[engine.command])
        node = audited(servos, public, engines=[engine.command], scope="node", database="sqlite:////nowhere")
    finally:
        engine.run("rm", "--force", name)
    where = f"{engine.command} container {name}"
    seen = {finding["id"]: finding for finding in outcome["findings"] if finding["subject"] == where}
    assert {kind: finding["severity"] for kind, finding in seen.items()} == {"key_in_inspect": "medium", "secret_in_inspect": "low"}
    assert seen["key_in_inspect"]["evidence"] == f"inspect shows the active key {outcome['env_key']}"
    assert seen["secret_in_inspect"]["evidence"] == "inspect shows the values of API_TOKEN, DATABASE, SERVOS_MASTER_KEY"
    assert [finding["id"] for finding in node["findings"] if finding["subject"] == where] == ["secret_in_inspect"]
    assert "tok-secret" not in outcome.printed + node.printed


def test_the_playbook_reports_and_fails_on_what_is_severe(servos: Servos, public: Path) -> None:
    rotated(servos)
    reports = servos.scratch / "reports"
    told: dict[str, Any] = {
        "servos_audit_search": [str(public)], "servos_report_dir": str(reports), "servos_setup_token_file": str(servos.folder / "setup"),
        "servos_audit_host_keys": False, "servos_audit_engines": [], "servos_setup_token_container": "",
    }  # fmt: skip
    sound = play(servos, "audit", **told)
    assert sound.code == 0, sound.text[-2000:]
    servos.env_file.chmod(0o644)
    bad = play(servos, "audit", **told)
    assert bad.code == 2
    assert "every user of the host may read it (mode 0644)" in bad.text
    assert play(servos, "audit", **told, servos_audit_fail_on="none").code == 0
    misspelt = play(servos, "audit", **told, servos_audit_fail_on="hgih")
    assert (misspelt.code, "servos_audit_fail_on is hgih; say critical, high" in misspelt.text) == (2, True), misspelt.text
    servos.env_file.chmod(0o600)
    (servos.folder / "setup").write_text("3f9c2b7e-51aa-4c0d-9e66-0d5b1a7c8e42")
    lying = play(servos, "audit", **told)
    assert (lying.code, "a setup token lies there" in lying.text, "3f9c2b7e" in lying.text) == (2, True, False)
    record = json.loads(max(reports.glob("*.json"), key=lambda path: path.stat().st_mtime_ns).read_text())
    assert [finding["id"] for finding in record["findings"]] == ["setup_token_left", "previous_key_kept"]
    assert record["hosts"][0]["facts"]["key_encoding"] == "base64"
    first, second = (json.loads(path.read_text()) for path in sorted(reports.glob("*.json"))[:2])
    assert [(one["kind"], one["outcome"], [found["id"] for found in one["findings"]]) for one in (first, second)] == [
        ("audit", "passed", ["previous_key_kept"]), ("audit", "failed", ["env_file_mode", "previous_key_kept"]),
    ]  # fmt: skip


def test_an_inventory_without_control_hosts_passes_no_audit(tmp_path: Path) -> None:
    node = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (tmp_path / "inventory.json").write_text(json.dumps({"servos_nodes": {"hosts": {"node1": node}}}))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(tmp_path / "inventory.json"), "servos.ops.audit"],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"ANSIBLE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-500:]
    assert "no control host was looked at: the inventory has none in servos_control" in done.stdout


def test_a_host_that_does_not_answer_is_a_finding_and_the_others_go_on(servos: Servos, public: Path, tmp_path: Path) -> None:
    rotated(servos)
    inventory = inventory_of(
        servos, servos_report_dir=str(tmp_path / "reports"), servos_audit_search=[str(public)], servos_audit_engines=[],
        servos_known_hosts=str(tmp_path / "known_hosts"), servos_setup_token_container="",
        servos_setup_token_file=str(servos.folder / "setup"),
    )
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-F none"}
    inventory["servos_control"]["hosts"]["away"] = away
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(tmp_path / "inventory.json"), "servos.ops.audit"], capture_output=True, text=True, timeout=120,
        check=False, env=environment_of(servos),
    )
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-500:]
    assert "away: it could not be looked at." in done.stdout
    (report,) = (tmp_path / "reports").glob("*.json")
    record = json.loads(report.read_text())
    assert [(one["host"], one["id"]) for one in record["findings"]] == [
        ("away", "unreachable"), ("localhost", "host_keys"), ("control", "previous_key_kept"),
    ]  # fmt: skip
    assert "localhost: 127.0.0.1 1 refuses the connection" in done.stdout
    assert leaks(done.stdout + report.read_text(), servos.secrets()) == []


def test_what_keeps_the_audit_from_looking_is_said(servos: Servos, tmp_path: Path) -> None:
    rotated(servos)
    inventory = inventory_of(
        servos, servos_audit_search=[], servos_audit_engines=[], servos_known_hosts=str(tmp_path / "known_hosts"),
        servos_setup_token_container="", servos_setup_token_file="",
    )
    inventory["servos_nodes"] = {"hosts": {"away": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory))
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "paramiko.py").write_text("raise ImportError('a Python without it')")
    done = subprocess.run(
        ["ansible-playbook", "-i", str(tmp_path / "inventory.json"), "servos.ops.audit"], capture_output=True, text=True, timeout=120,
        check=False, env=environment_of(servos, PYTHONPATH=str(tmp_path / "without")),
    )
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-500:]
    assert "localhost: it could not be looked at. Failed to import the required Python library (paramiko" in done.stdout


def test_what_others_cannot_read_is_not_searched(servos: Servos, public: Path) -> None:
    rotated(servos)
    for name, mode in (("private", 0o600), ("folder", 0o700)):
        path = public / name
        if name == "folder":
            path.mkdir()
            (path / "file").write_text(servos.env_text())
        else:
            path.write_text(servos.env_text())
        path.chmod(mode)
    (public / "link").symlink_to(servos.env_file)
    assert "key_in_file" not in found(audited(servos, public))


def test_a_stopped_service_and_a_rotation_that_is_not_finished(servos: Servos, public: Path) -> None:
    assert not servos.stage().failed
    done = found(audited(servos, public))
    assert done["rotation_unfinished"] == "high"
    assert done["key_age_unknown"] == "low"


def test_nothing_is_written(servos: Servos, public: Path) -> None:
    rotated(servos)

    def state() -> list[tuple[str, int, int]]:
        paths = [path for path in servos.folder.rglob("*") if path.is_file()]
        kept = [path for path in paths if not path.name.endswith(("-wal", "-shm", "log"))]
        return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in kept)

    before = state()
    audited(servos, public)
    assert state() == before
    with sqlite3.connect(servos.database) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
