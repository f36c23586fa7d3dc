# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks/awx_setup.yml sends by awx.awx's own modules: judged by what has arrived."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from awx_api import Awx
from setup_runs import PINS, ROOT, TOKEN, Played, set_up

NEEDED = ["servos_awx_inventory", "servos_awx_machine_credential", "servos_awx_image", "servos_awx_known_hosts"]
Made = tuple[Awx, list[Played], list[int]]
PLAYBOOKS = {
    "plan": "rotate", "rehearse": "rehearse", "rotate": "rotate", "roll back": "rollback", "retire": "retire", "audit": "audit",
}  # fmt: skip


def template(made: Made, name: str) -> dict[str, Any]:
    return made[0].all("job_templates")[f"servos.ops: {name}"]


def test_everything_is_made_and_the_second_run_sends_nothing(made: Made) -> None:
    awx, runs, counts = made
    assert (runs[0].code, runs[0].stats["failed"]) == (0, 0), runs[0].text
    assert (runs[1].code, runs[1].stats["changed"]) == (0, 0), runs[1].text
    assert counts[0] == counts[1] > 40
    assert awx.refused == []


def test_check_mode_says_what_differs_and_sends_nothing(made: Made) -> None:
    checked, counts = made[1][2], made[2]
    assert (checked.code, checked.stats["changed"], counts[2]) == (0, 1, counts[1]), checked.text


def test_another_value_changes_what_it_stands_for_and_nothing_else(made: Made) -> None:
    awx, runs, counts = made
    assert (runs[3].code, runs[3].stats["changed"]) == (0, 1), runs[3].text
    assert [(sent.method, sent.body["extra_data"]) for sent in awx.sent[counts[2] : counts[3]]] == [("PATCH", {"servos_key_max_age": 90})]


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_each_job_template_runs_a_playbook_that_is_there_with_both_credentials(made: Made, name: str) -> None:
    found = template(made, name)
    assert found["playbook"] == f"playbooks/{PLAYBOOKS[name]}.yml"
    assert (ROOT / found["playbook"]).is_file()
    assert found["job_type"] == ("check" if name == "plan" else "run")
    assert made[0].joined("job_templates", found["name"], "credentials") == ["servos login", "servos.ops: host keys"]
    assert found["allow_simultaneous"] is False
    assert json.loads(found["extra_vars"]) == {"ansible_pipelining": True}


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_a_survey_asks_for_nothing_secret_and_for_variables_that_the_roles_have(made: Made, name: str) -> None:
    asked = made[0].survey("job_templates", f"servos.ops: {name}")
    read = "".join(path.read_text() for path in [*ROOT.glob("roles/*/defaults/main.yml"), *ROOT.glob("playbooks/*.yml")])
    for question in asked:
        assert question["type"] in ("text", "integer", "multiplechoice"), question
        assert re.search(rf"\b{question['variable']}\b", read), question
        assert not question["required"] and "default" not in question, "what is not answered stays as the inventory has it"
        assert not re.search("pass|secret|token|key_file|new_key", question["variable"]), question


@pytest.mark.parametrize("name", ["plan", "rotate"])
def test_what_the_workflow_is_asked_is_what_its_jobs_are_asked(made: Made, name: str) -> None:
    assert made[0].survey("workflow_job_templates", "servos.ops: rotate with approval") == made[0].survey(
        "job_templates", f"servos.ops: {name}"
    )


def test_nothing_is_rotated_before_it_was_rehearsed_and_approved(made: Made) -> None:
    awx = made[0]
    nodes = awx.all("workflow_job_template_nodes")
    follows = {name: awx.joined("workflow_job_template_nodes", name, "success_nodes") for name in nodes}
    assert follows == {"plan": ["rehearse"], "rehearse": ["approve"], "approve": ["rotate"], "rotate": []}
    assert awx.joined("workflow_job_template_nodes", "rehearse", "failure_nodes") == []
    approvals = {thing["id"]: thing for thing in awx.all("workflow_approval_templates").values()}
    assert approvals[nodes["approve"]["unified_job_template"]]["timeout"] == 172800
    for name in ("plan", "rehearse", "rotate"):
        assert nodes[name]["unified_job_template"] == template(made, name)["id"]


def test_the_schedules_start_the_workflow_and_the_audit(made: Made) -> None:
    awx = made[0]
    found = {name: thing["unified_job_template"] for name, thing in awx.all("schedules").items()}
    assert found == {
        "servos.ops: rotate what is due": awx.all("workflow_job_templates")["servos.ops: rotate with approval"]["id"],
        "servos.ops: audit": template(made, "audit")["id"],
    }


def test_who_is_to_know_is_told_of_failures_and_approvals(made: Made) -> None:
    awx = made[0]
    for part in ("error", "success", "approvals"):
        found = awx.joined("workflow_job_templates", "servos.ops: rotate with approval", f"notification_templates_{part}")
        assert found == ["servos.ops"]
    assert awx.joined("job_templates", "servos.ops: audit", "notification_templates_error") == ["servos.ops"]


def test_the_type_of_credential_has_files_only_and_extra_variables_that_name_them(made: Made) -> None:
    awx = made[0]
    found = awx.all("credential_types")["servos.ops: host keys"]
    assert "env" not in found["injectors"]
    ids = {field["id"] for field in found["inputs"]["fields"]}
    for value in found["injectors"]["extra_vars"].values():
        assert not ids & set(re.findall(r"{{\s*(\w+)\s*}}", value)), "the content of a field stands in extra variables"
    assert awx.all("credentials")["servos.ops: host keys"]["inputs"] == {"known_hosts": PINS}


def test_no_request_holds_a_secret_or_the_token(made: Made) -> None:
    text = json.dumps(made[0].sent)
    assert TOKEN not in text
    assert "PRIVATE KEY" not in text
    # A key would be 64 digits of hex or 44 of Base64; the pins are longer.
    assert re.findall(r"(?<![\w+/])(?:[0-9a-fA-F]{64}|[A-Za-z0-9+/]{43}=)(?![\w+/=])", text) == []


def test_the_documentation_names_each_variable(made: Made) -> None:
    told = (ROOT / "docs" / "awx.md").read_text()
    used = set(re.findall(r"\bservos_awx_\w+", "".join(path.read_text() for path in ROOT.glob("playbooks/**/awx_setup.yml"))))
    assert {name for name in used if f"`{name}`" not in told} - {"servos_awx_"} == set()


def test_the_file_that_the_documentation_shows_has_what_only_the_user_can_name() -> None:
    shown = re.search(r"```yaml\n(servos_awx_.*?)```", (ROOT / "docs" / "awx.md").read_text(), re.S)
    assert shown and list(yaml.safe_load(shown[1])) == NEEDED


@pytest.mark.parametrize("name", NEEDED)
def test_what_only_the_user_can_name_is_asked_for(tmp_path: Path, name: str) -> None:
    with Awx(TOKEN) as awx:
        done = set_up(awx, tmp_path / "run", **{name: None})
        assert (done.code, awx.sent) == (2, [])
    assert f"{name} is not set, so nothing was sent; set what docs/awx.md says of it" in " ".join(done.text.split())


def test_without_awx_awx_it_says_what_to_install(tmp_path: Path) -> None:
    with Awx(TOKEN) as awx:
        done = set_up(awx, tmp_path / "run", program=Path(shutil.which("ansible-playbook") or ""))
        assert (done.code, awx.sent) == (2, [])
    assert "see that awx.awx is installed (ansible-galaxy collection install awx.awx)" in " ".join(done.text.split())


def test_a_token_that_is_not_taken_ends_it_before_anything_is_sent(tmp_path: Path) -> None:
    with Awx("another token") as awx:
        done = set_up(awx, tmp_path / "run")
        assert (done.code, awx.sent) == (2, [])
    assert "that CONTROLLER_HOST and CONTROLLER_OAUTH_TOKEN are right" in " ".join(done.text.split())


UNKNOWN = {
    "servos_awx_organization": ("elsewhere", "organizations"),
    "servos_awx_inventory": ("elsewhere", "inventories"),
    "servos_awx_machine_credential": ("elsewhere", "credentials"),
    "servos_awx_more_credentials": (["servos login", "elsewhere"], "credentials"),
    "servos_awx_image_credential": ("elsewhere", "credentials"),
    "servos_awx_project_credential": ("elsewhere", "credentials"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_name_that_awx_does_not_know_is_named_before_anything_is_sent(tmp_path: Path, name: str) -> None:
    value, kind = UNKNOWN[name]
    with Awx(TOKEN) as awx:
        done = set_up(awx, tmp_path / "run", **{name: value})
        assert (done.code, awx.sent) == (2, [])
    assert (
        f"None of the {kind} that this token sees in AWX is called 'elsewhere' ({name}), so nothing was sent; make it, or correct the name"
        in " ".join(done.text.split())
    )


def test_two_of_one_name_are_told_apart_by_number(tmp_path: Path) -> None:
    with Awx(TOKEN) as awx:
        other = awx.add("inventories", name="platform", organization=awx.all("organizations")["Default"]["id"])
        refused = set_up(awx, tmp_path / "run")
        assert (refused.code, awx.sent) == (2, [])
        assert "More than one of the inventories" in refused.text and "give the number" in " ".join(refused.text.split())
        done = set_up(awx, tmp_path / "run", servos_awx_inventory=str(other))
        assert done.code == 0, done.text
        assert awx.all("job_templates")["servos.ops: rotate"]["inventory"] == other


AMISS: dict[str, list[Any]] = {
    "servos_awx_known_hosts": ["/nonexistent/known_hosts", "known_hosts", "/dev/null", "PRIVATE", "TEXT"],
    "servos_awx_more_credentials": ["vault"],
    "servos_awx_notification": ["slack", {"type": "slack"}, {"type": "slack", "configuration": "text"}],
    "servos_awx_approval_timeout": ["two days", -1],
    "servos_awx_key_max_age": ["a year", 3651],
    "servos_awx_rotation_rrule": ["monthly", "DTSTART:20260105T020000Z RRULE:FREQ=MONTHLY"],
    "servos_awx_audit_rrule": ["daily"],
    "servos_awx_schedules_enabled": ["perhaps"],
}
WRITTEN = {
    "PRIVATE": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    "TEXT": "hosts\n",
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in AMISS.items() for value in values], ids=str)
def test_what_awx_would_refuse_in_the_middle_is_refused_before_anything_is_sent(tmp_path: Path, name: str, value: Any) -> None:
    if str(value) in WRITTEN:
        (tmp_path / value).write_text(WRITTEN[value])
        value = str(tmp_path / value)
    with Awx(TOKEN) as awx:
        done = set_up(awx, tmp_path / "run", **{name: value})
        assert (done.code, awx.sent) == (2, [])
    text = " ".join(done.text.split())
    assert re.search(rf"{name} [a-z ]+[^;]*; ?.*nothing was sent; correct what docs/awx.md says of it", text), done.text
    assert "PRIVATE KEY" not in text


def test_check_mode_says_so_where_nothing_has_been_made(tmp_path: Path) -> None:
    with Awx(TOKEN) as awx:
        done = set_up(awx, tmp_path / "run", "--check")
        assert (done.code, done.stats["changed"], awx.sent) == (0, 1, []), done.text
    assert "Not everything has been made yet" in done.text


def test_the_stand_in_refuses_what_awx_refuses() -> None:
    kept = yaml.safe_load((ROOT / "playbooks" / "vars" / "awx_setup.yml").read_text().replace("!unsafe", "!!str"))["awx_credential_type"]
    with Awx(TOKEN) as awx:
        code, unused = awx.serve(
            "POST", "/api/v2/credential_types/", f"Bearer {TOKEN}",
            json.dumps(kept | {"kind": "cloud", "injectors": kept["injectors"] | {"env": {"ANSIBLE_SSH_ARGS": "-v"}}}).encode(),
        )  # fmt: skip
        assert code == 400
        assert awx.serve("GET", "/api/v2/organizations/", "Bearer other", b"")[0] == 401
