# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks as a user runs them: by the API, and the errors that end a run early. The whole life of a key is in test_docs_guides.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from installations import OLD, Servos, assert_same, b64, seal, write
from playbook_runs import play


def test_the_api_is_used_where_it_is_named_and_the_key_retired_with_its_backups(servos: Servos) -> None:
    done = play(servos, "rotate", "-e", "servos_rotation_id=one", servos_api_url=servos.url, servos_api_token_file=str(servos.token_file))
    assert done.code == 0, done.text
    assert servos.log.read_text().count("rotation committed") == 1
    assert servos.process_key_text() == servos.env_text()
    servos.assert_all_under(servos.env_text(), b64(OLD))
    assert len(list(servos.backup_dir.glob("*.db"))) == 1
    retired = play(servos, "retire")
    assert retired.code == 0, retired.text
    assert list(servos.state_dir.glob("*.key")) == []
    assert list(servos.backup_dir.iterdir()) == []


def test_nothing_begins_without_a_way_to_prove_the_end(servos: Servos) -> None:
    before = servos.snapshot()
    done = play(servos, "rotate", "-e", "servos_rotation_id=one", servos_probes=[])
    assert (done.code, done.stats["changed"]) == (2, 0)
    assert "servos_probes" in done.text
    assert "servos_verify_application" in done.text
    assert_same(before, servos.snapshot())


def test_an_error_is_one_and_is_shown_in_full(servos: Servos) -> None:
    servos.sql("UPDATE servers SET ssh_private_key = ? WHERE id = 1", seal(b"elsewhere", b"\1" * 32))
    before = servos.snapshot()
    done = play(servos, "rotate", "-e", "servos_rotation_id=one")
    assert (done.code, done.stats["failed"], done.stats["changed"]) == (2, 1, 0)
    assert "servers.ssh_private_key of id=1" in done.text
    assert "Traceback" not in done.text
    assert "censored" not in done.text
    assert_same(before, servos.snapshot())


def test_a_probe_that_reads_wrongly_fails_the_play_and_keeps_the_previous_key(servos: Servos) -> None:
    probe = {"name": "a value that is not there", "url": f"{servos.url}/api/servers/9999/reveal", "token_file": str(servos.token_file)}
    done = play(servos, "rotate", "-e", "servos_rotation_id=one", servos_probes=[probe])
    assert done.code == 2
    assert "a value that is not there: answered 404, expected 200" in done.text
    assert (servos.state_dir / "previous.key").read_text() == b64(OLD)
    assert play(servos, "retire", servos_probes=[probe]).code == 2
    assert (servos.state_dir / "previous.key").exists()


@pytest.mark.parametrize(
    ("name", "argv", "said"),
    [
        ("rotate", ("--limit", "elsewhere", "--check"), "servos_control matches no host that --limit elsewhere leaves of the inventory"),
        ("retire", ("-e", '{"servos_hosts": ["nobody", "none"]}'), "nobody:none matches no host of the inventory"),
        ("audit", ("--limit", "elsewhere"), "servos_control:servos_nodes matches no host that"),
        ("hostkeys", ("--limit", "elsewhere"), "servos_nodes:servos_control matches no host that"),
        ("alert", ("--limit", "elsewhere", "-e", "servos_alert_kind=told"), "localhost matches no host that"),
    ],
    ids=["by a limit", "by names", "several groups", "pins", "the controller"],
)
def test_a_run_that_reaches_nobody_is_no_success(servos: Servos, name: str, argv: tuple[str, ...], said: str) -> None:
    elsewhere = write(servos.scratch / "elsewhere.json", json.dumps({"others": {"hosts": {"elsewhere": {"ansible_host": "192.0.2.1"}}}}))
    before = servos.snapshot()
    done = play(servos, name, "-i", str(elsewhere), *argv)
    assert (done.code, said in done.text) == (2, True), done.text
    assert_same(before, servos.snapshot())


def test_who_is_reached_by_a_limit_is_counted_for_what_was_done_alone(servos: Servos) -> None:
    elsewhere = write(servos.scratch / "elsewhere.json", json.dumps({"others": {"hosts": {"elsewhere": {"ansible_host": "192.0.2.1"}}}}))
    done = play(servos, "rotate", "-i", str(elsewhere), "-e", "servos_rotation_id=one", "--check")
    assert done.code == 0, done.text
    assert "elsewhere" not in done.text.partition("PLAY RECAP")[2]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"servos_probes": []}, "Set servos_probes"),
        ({"servos_health_url": "http://127.0.0.1:9/"}, "http://127.0.0.1:9/ does not answer 200"),
    ],
    ids=["nothing to prove it by", "a service that is not well"],
)
def test_what_would_stop_the_rotation_stops_the_rehearsal_too(servos: Servos, variables: dict[str, Any], said: str) -> None:
    for step in (("rotate", "-e", "servos_rotation_id=one"), ("rehearse",)):
        done = play(servos, *step, **variables)
        assert (done.code, said in done.text) == (2, True), done.text
