# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Provara's gateway shows of its rows, held against the data: every answer that it can give, and every lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installations import assert_refused, write
from provara_gateway import NEW, OLD, SECRET, ServedProvara

Make = Callable[..., ServedProvara]


def listed(provara: ServedProvara, **overrides: Any) -> dict[str, Any]:
    outcome = provara.info(listing=provara.listing(**overrides))
    assert not outcome.failed, outcome.msg
    found: dict[str, Any] = outcome["listing"]
    return found


def assert_reason(found: dict[str, Any], *words: str) -> None:
    assert found["ok"] is False
    missing = [word for word in words if word not in found["reason"]]
    assert not missing, f"{missing} not in: {found['reason']}"


def test_a_gateway_that_reads_everything_is_right(served: ServedProvara) -> None:
    told = {"ok": True, "reason": "", "rows": 2, "listed": 2, "matching": 2, "unseen": 0, "failures": []}
    assert listed(served) == told


VALUES = {
    "one character": "x", "four": "abcd", "umlauts": "schl\u00fcssel-\u00e4\u00f6",
    "four bytes": "ab\U0001f511c", "half a pair": "\U0001f511cde",
    "lines": '{\n"a": "b"\n}', "long": "0123456789abcdef" * 200, "blank": "a b  ", "bullets": "\u2022" * 8,
}  # fmt: skip


@pytest.mark.parametrize("faults", ["", "mask_stripped"])
def test_values_of_every_kind_are_right(make_served: Make, faults: str) -> None:
    provara = make_served(values=VALUES, faults=faults)
    provara.start()
    assert listed(provara)["matching"] == len(VALUES)


def test_nothing_of_a_value_is_returned(make_served: Make) -> None:
    provara = make_served(values={"A": "value-QZ7K", "B": "value-XW9J"}, faults="lie=another_ending")
    provara.start()
    outcome = provara.info()
    assert outcome["listing"]["ok"] is False
    assert [end for end in ("QZ7", "XW9J", "\u2022") if end in outcome.printed] == []


LIES = {
    "decrypt_error": ["1 of 2", "OPENAI_API_KEY cannot be opened", "decrypt error"],
    "another_ending": ["1 of 2", "OPENAI_API_KEY is shown with another ending"],
    "another_name": ["1 of 2", "OPENAI_API_KEY is listed under another name"],
    "left_out": ["1 of 2", "OPENAI_API_KEY is not listed"],
    "twice": ["1 of 2", "OPENAI_API_KEY is listed twice"],
    "invented": ["1 of 2", "invented is listed and not in the data"],
    "no_list": ["answered 200", "no list of keys"],
    "no_value": ["answered 200", "no id, name and masked value"],
    "nothing": ["2 of 2", "is not listed"],
}


@pytest.mark.campaign
@pytest.mark.parametrize(("lie", "words"), LIES.items(), ids=LIES)
def test_a_listing_that_is_not_right_is_a_failure_in_spite_of_its_200(make_served: Make, lie: str, words: list[str]) -> None:
    provara = make_served(faults=f"lie={lie}")
    provara.start()
    assert_reason(listed(provara), *words)


ANSWERS = {
    "redirect": ["answered 307", "redirect", "not followed"],
    "html": ["answered 200 with text/html", "not the gateway"],
    "text": ["answered 200 with text/plain"],
    "broken": ["answered 200", "no list of keys in JSON"],
    "truncated": ["in the middle of the answer"],
    "status=500": ["answered 500", "expected 200"],
    "status=204": ["answered 204", "expected 200"],
}


@pytest.mark.campaign
@pytest.mark.parametrize(("fault", "words"), ANSWERS.items(), ids=ANSWERS)
def test_what_is_no_listing_is_a_failure(make_served: Make, fault: str, words: list[str]) -> None:
    provara = make_served(faults=fault)
    provara.start()
    found = listed(provara)
    assert_reason(found, *words)
    assert (found["rows"], found["listed"]) == (2, None)


def test_a_slow_gateway_is_waited_for_as_long_as_told(make_served: Make) -> None:
    provara = make_served(faults="slow_ms=1500")
    provara.start()
    assert_reason(listed(provara, timeout=0.2), "did not answer within 0.2 s")
    assert listed(provara, timeout=20)["ok"]


def test_a_gateway_that_does_not_run_is_a_failure(make_served: Make) -> None:
    assert_reason(listed(make_served()), "no connection", "nothing was sent")


# Each row of the gateway's table of answers


def test_get_api_keys_with_another_master_key_is_a_failure_of_every_row(make_served: Make) -> None:
    provara = make_served()
    provara.set_environ(key_text=NEW)
    provara.start()
    provara.set_environ(key_text=OLD)
    found = listed(provara)
    assert_reason(found, "2 of 2", "decrypt error", "another key")
    assert [failure["name"] for failure in found["failures"]] == ["OPENAI_API_KEY", "MISTRAL_API_KEY"]
    assert json.loads(provara.call("GET", "/health")[1])["status"] == "ok"
    assert json.loads(provara.call("GET", "/v1/api-keys/status")[1]) == {"configured": True}


def test_get_api_keys_without_a_master_key_says_503(make_served: Make) -> None:
    provara = make_served()
    provara.set_environ()
    provara.start()
    provara.set_environ(key_text=OLD)
    assert_reason(listed(provara), "answered 503", "without PROVARA_MASTER_KEY")


@pytest.mark.parametrize("admin_key", ["wrong", None], ids=["wrong", "missing"])
def test_admin_key_refused_says_401_and_is_tried_once(served: ServedProvara, admin_key: str | None) -> None:
    path = write(served.scratch / "admin_key", admin_key) if admin_key else None
    found = [listed(served, admin_key_file=str(path) if path else None) for unused in range(4)]
    assert_reason(found[0], "answered 401", "admin_key_file", "not tried again")
    assert served.call("GET", "/v1/api-keys")[0] == 200, "the fifth failure locks out, and only four runs were made"


def test_locked_out_says_429_and_for_how_long_and_the_right_key_is_refused_too(served: ServedProvara) -> None:
    wrong = str(write(served.scratch / "admin_key", "wrong"))
    reasons = [listed(served, admin_key_file=wrong)["reason"] for unused in range(5)]
    assert all("answered 401" in reason for reason in reasons)
    assert_reason(listed(served), "answered 429", "for 60 s the right admin key is refused too", "not tried again")


def test_a_gateway_without_an_admin_secret_needs_no_key(make_served: Make) -> None:
    provara = make_served(admin_secret="")
    provara.start()
    assert listed(provara, admin_key_file=None)["ok"]


UNUSABLE = {"two lines": "one\ntwo", "empty": "\n", "not ASCII": "schl\u00fcssel"}


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE)
def test_a_file_without_an_admin_key_is_named_and_nothing_is_sent(served: ServedProvara, text: str) -> None:
    path = write(served.scratch / "admin_key", text)
    assert_reason(listed(served, admin_key_file=str(path)), str(path), "nothing was sent")


def test_a_missing_file_is_named(served: ServedProvara) -> None:
    assert_reason(listed(served, admin_key_file=str(served.scratch / "none")), str(served.scratch / "none"))


def test_plain_http_to_another_host_is_refused(served: ServedProvara) -> None:
    assert_reason(listed(served, url="http://192.0.2.1:4000"), "plain HTTP to another host", "https")


# Several tenants: no session shows all rows


@pytest.fixture
def tenants(make_served: Make) -> ServedProvara:
    provara = make_served(values={})
    for name, tenant in (("A", "one"), ("B", "one"), ("C", "two")):
        provara.add(name, f"value-{name}", "--tenant", tenant)
    provara.add("D", "value-D")
    sessions = {"owner1": {"tenant": "one", "role": "owner"}, "viewer1": {"tenant": "one", "role": "viewer"},
                "admin3": {"tenant": "three", "role": "admin"}}  # fmt: skip
    provara.set_environ(
        key_text=OLD, mode="multi_tenant", sessions_file=str(write(provara.scratch / "sessions", json.dumps(sessions)))
    )
    return provara


def session(provara: ServedProvara, text: str) -> dict[str, Any]:
    path: Path = write(provara.scratch / "cookie", text + "\n")
    return listed(provara, admin_key_file=None, session_cookie_file=str(path))


@pytest.mark.parametrize("text", ["owner1", "provara_session=owner1"], ids=["value", "cookie"])
def test_multi_tenant_every_row_of_the_tenant_must_be_right_and_the_others_are_counted(tenants: ServedProvara, text: str) -> None:
    tenants.start()
    assert session(tenants, text) == {"ok": True, "reason": "", "rows": 4, "listed": 2, "matching": 2, "unseen": 2, "failures": []}


def test_multi_tenant_a_row_of_the_tenant_that_is_left_out_is_a_failure(tenants: ServedProvara) -> None:
    write(tenants.env_file, tenants.env_file.read_text() + "PROVARA_FAULTS=lie=left_out\n")
    tenants.start()
    assert_reason(session(tenants, "owner1"), "A is not listed")


REFUSED_SESSIONS = {
    "viewer1": ["answered 403", "neither admin nor owner"],
    "unknown": ["answered 401", "log in again"],
    "admin3": ["shows no row", "proves nothing"],
    "a b": ["no session", "nothing was sent"],
}


@pytest.mark.parametrize(("text", "words"), REFUSED_SESSIONS.items(), ids=REFUSED_SESSIONS)
def test_multi_tenant_a_session_that_shows_nothing_proves_nothing(tenants: ServedProvara, text: str, words: list[str]) -> None:
    tenants.start()
    assert_reason(session(tenants, text), *words)


def test_multi_tenant_the_admin_key_does_not_count(tenants: ServedProvara) -> None:
    tenants.start()
    assert_reason(listed(tenants), "answered 401")


# The data


def test_an_empty_table_proves_nothing(make_served: Make) -> None:
    provara = make_served(values={})
    provara.start()
    found = listed(provara)
    assert_reason(found, "no row", "proves nothing")
    assert (found["rows"], found["listed"]) == (0, 0)


def test_a_row_that_no_key_here_opens_is_a_failure_although_the_gateway_shows_it(served: ServedProvara) -> None:
    served.set_environ(key_text=NEW)
    assert_reason(listed(served), "2 of 2", "opens under no known key")


def test_the_second_table_is_not_what_the_listing_proves(served: ServedProvara) -> None:
    served.sql("UPDATE context_connector_credentials SET auth_tag = ?", "0" * 32)
    outcome = served.info()
    assert outcome["listing"]["ok"]
    assert outcome["phase"] == "foreign"
    assert outcome["census"][1]["foreign"] == 1


def test_other_applications_have_no_listing(served: ServedProvara) -> None:
    outcome = served.run("servos_key_info", listing=served.listing(), app="servos", env_var="PROVARA_MASTER_KEY", census=False)
    assert_refused(outcome, "servos does not list api_keys", "probes")


def test_the_secret_is_not_shown(served: ServedProvara) -> None:
    assert SECRET not in served.info().printed
