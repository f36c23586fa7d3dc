# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever goes wrong between us and a libSQL server: nothing is half-written, and the same command finishes it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installations import assert_refused, write
from libsql_servers import TOKEN, LibsqlProvara
from provara_installation import OLD_TEXT, seal_columns

# The requests of one rotation of the fixture, from 1; a test below holds them to that.
FIRST, BEGIN, UPDATES, COMMIT, LOOKS_AGAIN, REQUESTS = 1, 10, (17, 19), 24, 25, 33
each_request = pytest.mark.parametrize("number", range(1, REQUESTS + 1))


@pytest.fixture(scope="module")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibsqlProvara]:
    made = LibsqlProvara(tmp_path_factory.mktemp("faults") / "libsql", options=("--transaction", "0.2"))
    yield made
    made.tear_down()


@pytest.fixture
def provara(shared: LibsqlProvara) -> LibsqlProvara:
    shared.reset()
    return shared


def assert_finished_by_the_same_command(provara: LibsqlProvara) -> None:
    provara.fault()
    again = provara.rotate()
    assert not again.failed, again.msg
    assert provara.is_rotated()


def test_the_requests_of_a_rotation_are_those_that_are_broken_below(provara: LibsqlProvara) -> None:
    assert provara.rotate()["rewrapped"] == 132
    asked = provara.asked()
    updates = tuple(number for number, words in enumerate(asked, start=1) if "UPDATE" in words)
    begins = [number for number, words in enumerate(asked, start=1) if "BEGIN" in words]
    assert (begins, updates) == ([FIRST, BEGIN, LOOKS_AGAIN], UPDATES)
    assert (asked.index("RELEASE COMMIT") + 1, len(asked)) == (COMMIT, REQUESTS)


@pytest.mark.campaign
@pytest.mark.parametrize("moment", ["drop_before", "drop_after"])
@each_request
def test_a_connection_that_drops_once(provara: LibsqlProvara, number: int, moment: str) -> None:
    provara.fault(fault=moment, at=number)
    done = provara.rotate()
    if done.failed:
        assert done.msg.count("run the same command again") == 1
        assert BEGIN <= number <= COMMIT, "reading is tried again"
    assert_finished_by_the_same_command(provara)


@pytest.mark.campaign
@pytest.mark.parametrize("moment", ["drop_before", "drop_after"])
@pytest.mark.parametrize("number", [FIRST, BEGIN, *UPDATES, COMMIT, LOOKS_AGAIN])
def test_a_server_that_stays_away_from_then_on(provara: LibsqlProvara, number: int, moment: str) -> None:
    provara.fault(fault=moment, since=number)
    assert_refused(provara.rotate(), "run the same command again")
    provara.fault()
    assert provara.is_rotated() == (number > COMMIT or (number == COMMIT and moment == "drop_after"))
    assert_finished_by_the_same_command(provara)


def test_a_commit_whose_answer_is_lost_is_seen_and_not_repeated(provara: LibsqlProvara) -> None:
    provara.fault(fault="drop_after", at=COMMIT)
    done = provara.rotate()
    assert (done.failed, done["rewrapped"]) == (False, 132), done.msg
    assert sum("COMMIT" in words for words in provara.asked()) == 1
    assert provara.is_rotated()


def test_a_commit_that_never_arrived_is_seen_too(provara: LibsqlProvara) -> None:
    provara.fault(fault="drop_before", at=COMMIT)
    assert_refused(provara.rotate(), "the commit did not happen", "nothing was changed", "run the same command again")
    assert not provara.is_rotated()


def test_a_commit_that_nobody_can_see_is_said_to_be_unknown(provara: LibsqlProvara) -> None:
    provara.fault(fault="drop_after", since=COMMIT)
    assert_refused(provara.rotate(), "cannot be seen now", "either all values", "run the same command again, which looks first")


# What is no answer, and what is said of it.
ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "page of HTML": ({"fault": "html"}, "text/html"),
    "JSON of another type": ({"fault": "content_type"}, "text/plain"),
    "JSON that ends in the middle": ({"fault": "truncated"}, "not whole"),
    "reply that ends in the middle": ({"fault": "short"}, "in the middle"),
    "fewer results": ({"fault": "fewer_results"}, "not one to what was asked"),
    "JSON that is no reply": ({"fault": "garbage"}, "not Hrana's JSON"),
    "redirect": ({"fault": "redirect"}, "no redirect is followed"),
    "another host": ({"fault": "base_url", "base_url": "https://elsewhere.example"}, "not given the token"),
    "another port": ({"fault": "base_url", "base_url": "http://127.0.0.1:9"}, "not given the token"),
    "no address": ({"fault": "base_url", "base_url": 7}, "not given the token"),
    "not found": ({"fault": "status", "status": 404}, "correct the URL (database)"),
    "forbidden": ({"fault": "status", "status": 403}, "database_token_file"),
    "too large": ({"fault": "status", "status": 413}, "answered 413"),
    "too many": ({"fault": "status", "status": 429}, "answered 429"),
    "fault of the server": ({"fault": "status", "status": 500}, "answered 500"),
    "not there now": ({"fault": "status", "status": 503}, "answered 503"),
}


@pytest.mark.campaign
@pytest.mark.parametrize("since", [FIRST, UPDATES[1]], ids=["at first", "while writing"])
@pytest.mark.parametrize(("wish", "words"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_answer_is_refused(provara: LibsqlProvara, wish: dict[str, Any], words: str, since: int) -> None:
    provara.fault(since=since, **wish)
    done = provara.rotate()
    assert_refused(done, words, "nothing was changed")
    assert "elsewhere.example" not in done.msg
    provara.fault()
    assert not provara.is_rotated()


@pytest.mark.parametrize("wish", [wish for wish, unused in ANSWERS.values()], ids=ANSWERS)
def test_a_commit_that_is_not_answered_properly_is_looked_at(provara: LibsqlProvara, wish: dict[str, Any]) -> None:
    provara.fault(at=COMMIT, **wish)
    done = provara.rotate()
    provara.fault()
    is_rotated = provara.is_rotated()
    # A status is answered by the reference server after it has acted, so a refusal (4xx) is a lie that the next run sees through.
    assert done.failed == (400 <= wish.get("status", 0) < 500), done.msg
    assert is_rotated
    assert_finished_by_the_same_command(provara)


def test_a_server_that_ends_the_connection_after_each_answer_is_spoken_to_on_a_new_one(provara: LibsqlProvara) -> None:
    provara.fault(fault="goodbye")
    done = provara.rotate()
    assert not done.failed, done.msg
    assert (done["rewrapped"], provara.is_rotated()) == (132, True)


def test_a_transaction_on_such_a_server_is_let_go_of_at_once(provara: LibsqlProvara) -> None:
    provara.fault(fault="goodbye")
    assert not provara.rotate(check=True).failed
    assert provara.asked()[-1] == "ROLLBACK"


def test_a_row_that_no_reply_can_hold_is_said_to_be_too_large_and_its_column_can_be_left_out(provara: LibsqlProvara) -> None:
    provara.sql("CREATE TABLE files (id INTEGER PRIMARY KEY, body BLOB)")
    try:
        provara.sql("INSERT INTO files VALUES (1, zeroblob(30000000))")
        assert_refused(provara.rotate(), "too large", "ignore of the profile", "nothing was changed")
        assert provara.rotate(profile={"ignore": [{"table": "files", "column": "body"}]})["rewrapped"] == 132
    finally:
        provara.sql("DROP TABLE files")


def test_a_path_of_the_same_server_is_followed(provara: LibsqlProvara) -> None:
    provara.fault(fault="base_url", base_url=f"{provara.url}/sticky")
    done = provara.rotate()
    assert not done.failed, done.msg
    assert provara.is_rotated()


@pytest.mark.campaign
@pytest.mark.parametrize("number", [BEGIN + 1, *UPDATES, UPDATES[1] + 1, COMMIT])
@pytest.mark.parametrize("fault", ["expire", "rob"])
def test_a_transaction_that_the_server_lets_go_of_changes_nothing(provara: LibsqlProvara, fault: str, number: int) -> None:
    provara.fault(fault=fault, at=number)
    assert_refused(provara.rotate(), "nothing was changed", "run the same command again")
    provara.fault()
    assert not provara.is_rotated()
    assert_finished_by_the_same_command(provara)


def test_a_server_without_transactions_is_refused_before_a_row_is_written(provara: LibsqlProvara) -> None:
    provara.fault(without_transactions=True)
    assert_refused(provara.rotate(), "does not keep transactions across requests", "nothing was changed")
    provara.fault()
    assert not provara.is_rotated()


@pytest.mark.parametrize(("fault", "words"), [
    ("lying_count", "was changed by somebody else during the run"),
    ("lost_write", "does not return what was written"),
], ids=["affected no row", "wrote nothing"])  # fmt: skip
def test_a_server_that_lies_is_found_out(provara: LibsqlProvara, fault: str, words: str) -> None:
    provara.fault(fault=fault, at=UPDATES[0])
    assert_refused(provara.rotate(), words, "nothing was changed")
    provara.fault()
    assert not provara.is_rotated()


@pytest.mark.parametrize("number", [UPDATES[0], UPDATES[1]], ids=["first table", "second table"])
def test_a_row_that_somebody_edits_during_the_run_is_not_lost(provara: LibsqlProvara, number: int) -> None:
    table = ("api_keys", "context_connector_credentials")[UPDATES.index(number)]
    cells = seal_columns(b"edited", OLD_TEXT)
    sets = ", ".join(f"{name} = '{cell}'" for name, cell in zip(("encrypted_value", "iv", "auth_tag"), cells, strict=True))
    edit = f"UPDATE {table} SET {sets} WHERE id = (SELECT max(id) FROM {table})"
    provara.fault(fault="edit", at=number, sql=edit)
    assert_refused(provara.rotate(), "changed by somebody else", table, "nothing was changed by us", "run the same command again")
    provara.fault()
    assert not provara.is_rotated()  # the edit went with the transaction that it was made in
    provara.fault(forget=True)
    provara.sql(edit)
    assert provara.rotate()["rewrapped"] == 132


@pytest.mark.parametrize("since", [FIRST, BEGIN, UPDATES[1], COMMIT])
def test_a_token_that_expires(provara: LibsqlProvara, since: int) -> None:
    provara.fault(fault="status", status=401, since=since)
    done = provara.rotate()
    assert_refused(done, "401", "may have expired", "database_token_file", "nothing was changed")
    assert TOKEN not in done.printed
    assert_finished_by_the_same_command(provara)


def test_a_token_that_is_another_ones(provara: LibsqlProvara) -> None:
    other = write(provara.folder / "other", "some-other-token\n")
    assert_refused(provara.rotate(database_token_file=str(other)), "401", "database_token_file")
    assert_refused(provara.rotate(database_token_file=None), "401", "asks for a token", "database_token_file")


TOKEN_FILES = {"missing": None, "empty": "\n", "two lines": "a\nb", "not ASCII": "tokén"}


@pytest.mark.parametrize("text", TOKEN_FILES.values(), ids=TOKEN_FILES)
def test_a_token_file_that_holds_no_token(provara: LibsqlProvara, text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "token"
    if text is not None:
        write(path, text)
    done = provara.rotate(database_token_file=str(path))
    assert_refused(done, "database_token_file")
    assert provara.asked() == []


def test_a_token_in_the_url_is_refused_and_not_repeated(provara: LibsqlProvara) -> None:
    done = provara.rotate(database=f"{provara.url}?authToken=se-cret-in-url")
    assert_refused(done, "database_token_file", "nothing was sent")
    assert "se-cret-in-url" not in done.msg


def test_a_server_that_is_not_there(provara: LibsqlProvara) -> None:
    assert_refused(provara.rotate(database="libsql://127.0.0.1:9?tls=0"), "no connection to the database libsql://127.0.0.1:9")


def test_a_server_behind_tls(template: Path, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not here")
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    provara = LibsqlProvara(tmp_path / "libsql", options=("--certificate", str(certificate), "--private-key", str(key)))
    try:
        url = f"libsql://localhost:{provara.port}"
        assert_refused(provara.rotate(database=url), "TLS connection", "nothing was sent")
        assert_refused(provara.rotate(database=f"libsql://127.0.0.1:{provara.port}", authority=certificate), "TLS connection")
        assert provara.rotate(database=url, authority=certificate)["rewrapped"] == 132
        assert provara.is_rotated()
    finally:
        provara.tear_down()


def test_a_server_in_clear_on_another_host_is_refused(provara: LibsqlProvara) -> None:
    assert_refused(provara.rotate(database="http://192.0.2.1:8080"), "plain HTTP", "nothing was sent")


@pytest.mark.parametrize("moment", ["drop_before", "drop_after"])
@pytest.mark.parametrize("number", [11, 14, 16, 18])
def test_a_restore_that_breaks_off_is_all_or_nothing(provara: LibsqlProvara, number: int, moment: str) -> None:
    made = provara.backup()
    assert not made.failed, made.msg
    assert provara.rotate()["rewrapped"] == 132
    provara.fault(fault=moment, at=number)
    done = provara.backup(state="restored", path=made["backup"]["path"])
    provara.fault()
    assert provara.is_rotated() == done.failed, done.msg
    if done.failed:
        assert not provara.backup(state="restored", path=made["backup"]["path"]).failed
        assert not provara.is_rotated()
