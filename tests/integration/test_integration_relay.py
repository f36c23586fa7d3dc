# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the control host hands on opens for the node that asked, and for nobody who carries it."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from Cryptodome.Protocol import HPKE
from Cryptodome.Protocol.DH import import_x25519_private_key
from evidence import differences, leaks, snapshot_of
from installations import NEW, OLD, Servos, assert_refused, assert_same, b64, reference
from module_runs import ModuleRun, Outcome

SECRETS = {"DATABASE_URL": "postgres://app:relayed-secret-1@db/app", "PEM": "-----BEGIN\nrelayed-secret-2\n-----END\n"}
WEB = {"table": "services", "column": "env_vars", "row": {"name": "web"}, "all": True}


@pytest.fixture
def servos(quiet: Servos) -> Servos:
    variables = quiet.scratch / "variables.json"
    variables.write_text(json.dumps(SECRETS))
    key_file = quiet.key_file("enroll", b64(OLD))
    reference(
        "servos/schema.py", "put-service", "--database", quiet.database, "--key-file", key_file, "--name=web", "--variables-file", variables
    )
    variables.unlink()
    return quiet


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return tmp_path / "node" / "secrets"


def ask(node: Path, *, check: bool = False) -> Outcome:
    return ModuleRun("servos_secret_request", {"secrets_dir": str(node)}, check=check).wait()


def answer(servos: Servos, request: Outcome, entries: list[dict[str, Any]] | None = None, **options: Any) -> Outcome:
    outcome = servos.run(
        "servos_secret_open", request_id=request["request_id"], recipient=options.pop("recipient", request["recipient"]),
        from_service=[WEB] if entries is None else entries, service_manager=None, **options,
    )  # fmt: skip
    assert leaks(outcome.printed, SECRETS | {"a part": "relayed-secret"}) == []
    return outcome


def opened(node: Path, request: Outcome, sealed: str) -> dict[str, str]:
    """Open by another library what was sealed to the node."""
    private = (node / f"{request['request_id']}.request").read_bytes()
    message = base64.b64decode(sealed)
    opener = HPKE.new(
        receiver_key=import_x25519_private_key(private), aead_id=HPKE.AEAD.AES256_GCM, enc=message[:32],
        info=b"servos.ops secret relay v1\x00" + request["request_id"].encode(),
    )  # fmt: skip
    return json.loads(opener.unseal(message[32:]))


def test_it_opens_for_the_node_that_asked(servos: Servos, node: Path) -> None:
    request = ask(node)
    before = servos.snapshot(directory_times=True)
    outcome = answer(servos, request)
    assert outcome["variables"] == sorted(SECRETS)
    assert not outcome.changed
    assert opened(node, request, outcome["sealed"]) == SECRETS
    assert_same(before, servos.snapshot(directory_times=True))


def test_after_a_rotation(servos: Servos, node: Path) -> None:
    servos.rotate(new_key_file=str(servos.key_file("new", b64(NEW))), until="swapped")
    request = ask(node)
    assert opened(node, request, answer(servos, request)["sealed"]) == SECRETS


def test_the_request_is_the_nodes_alone(node: Path) -> None:
    request = ask(node)
    (path,) = node.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(node.stat().st_mode) == 0o700
    assert leaks(request.printed, {"private half": base64.b64encode(path.read_bytes()).decode()}) == []


def test_no_two_requests_are_alike(node: Path) -> None:
    first, second = ask(node), ask(node)
    assert first["request_id"] != second["request_id"]
    assert first["recipient"] != second["recipient"]


def test_check_mode_asks_and_writes_nothing(node: Path) -> None:
    node.mkdir(parents=True, mode=0o700)
    (node / "digest.key").write_bytes(b"n" * 32)
    (node / "digest.key").chmod(0o600)
    before = snapshot_of(node, directory_times=True)
    assert not ask(node, check=True).failed
    assert differences(before, snapshot_of(node, directory_times=True)) == []


def test_check_mode_on_a_new_node(node: Path) -> None:
    assert not ask(node, check=True).failed
    assert not node.exists()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722], ids=oct)
def test_a_directory_that_others_may_write(node: Path, mode: int) -> None:
    node.mkdir(parents=True)
    node.chmod(mode)
    assert_refused(ask(node), str(node))
    assert list(node.iterdir()) == []


def test_a_directory_that_is_a_link(node: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    node.parent.mkdir()
    node.symlink_to(tmp_path / "elsewhere")
    assert_refused(ask(node), str(node))
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([dict(WEB, row={"name": "nobody"})], ("0 rows of services", "name=nobody")),
        ([dict(WEB, table="nowhere")], ("no table nowhere",)),
        ([{"table": "services", "column": "name", "row": {"name": "web"}, "variable": "X"}], ("opens under no known key",)),
        ([], ("from_service",)),
    ],
    ids=["no row", "no table", "not sealed", "nothing asked for"],
)
def test_what_cannot_be_opened(servos: Servos, node: Path, entries: list[dict[str, Any]], words: tuple[str, ...]) -> None:
    assert_refused(answer(servos, ask(node), entries), *words)


def test_a_recipient_that_is_none(servos: Servos, node: Path) -> None:
    assert_refused(answer(servos, ask(node), recipient="AAAA"), "not a public key")
