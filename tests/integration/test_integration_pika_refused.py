# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything a Pika, or what stands before it, can answer instead of yes: what the modules say, and that no key is lost or astray."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from evidence import leaks
from gateways import crude, gateway
from module_runs import ModuleRun, Outcome
from pika_sites import LOCK, LOGIN, LOGOUT, ROTATE, UNLOCK, Make, PikaSite, asked, mark
from pikas import MANAGER, NEW, OLD, OTHER, PASSWORDS, PLAIN, SECRETS, TOTP, Pika, PikaCluster, write

STATES = ("initialized", "unlocked", "locked", "rotated")
INITIALIZE = "POST /api/v1/key/initialize"


def refused(site: PikaSite, outcome: Outcome, *words: str, staged: bool = False) -> None:
    """It failed in so many words, no rotation took place, and no secret is where it does not belong."""
    assert outcome.failed, outcome.result
    assert [word for word in words if word not in outcome.msg] == [], outcome.msg
    verdict = site.pika.judge()
    assert {verdict["verifier"], verdict["payload"], *verdict["vaults"].values()} <= {"old", "absent"}
    assert verdict["mismatches"] == []
    assert ("staged" in site.keyring()) is staged
    tidy(site)


def tidy(site: PikaSite) -> None:
    """No secret stood in a URL or went where it should not, and the files that are no key files hold none."""
    report = site.pika.report()
    assert (report["secrets_in_urls"], report["secrets_astray"]) == ([], [])
    secrets = {text: text for text in (*SECRETS, *site.keyring().values())}
    notes = [path for path in site.folder.rglob("*") if path.is_file() and path.suffix in (".json", ".lock", ".partial")]
    assert {str(path): leaks(path.read_bytes(), secrets) for path in notes if leaks(path.read_bytes(), secrets)} == {}
    assert not list(site.folder.rglob("*.partial"))


def is_recoverable(site: PikaSite) -> None:
    """The key that the server's disk is under lies in some key file of this host, whatever happened."""
    held = {**site.keyring(), "key file": site.key_text()}
    for name, text in {"old": OLD, "new": "no key", "other": "no key"}.items():
        write(site.pika.folder / f"{name}.key", text)
    found = []
    for name, text in held.items():
        write(site.pika.folder / "other.key", text)
        if site.pika.judge()["verifier"] in ("other", "old" if text == OLD else "other"):
            found.append(name)
    assert found, f"none of {sorted(held)} is the server's key"


def as_caller(site: PikaSite, who: str) -> dict[str, Any]:
    """Return the options of somebody else: an account, or the holder of an API token."""
    if who == "token":
        return {"token_file": str(site.pika.folder / "token")}
    return {"username": who, "password_file": str(site.pika.folder / f"{who}.password")}


def run_as(site: PikaSite, state: str, caller: dict[str, Any]) -> Outcome:
    """Run as somebody else; a rotation makes its key."""
    options = {name: value for name, value in site.options(state=state).items() if name not in ("username", "password_file")}
    if state == "rotated":
        options["rotation_id"] = "1"
    return site.heard(ModuleRun("servos_pika_key", {**options, **caller}).wait())


# -- the rows of the endpoints


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("content", ["", "\n"], ids=["empty", "line-end"])
def test_an_empty_key_is_never_sent(make_pika_site: Make, state: str, content: str) -> None:
    site = make_pika_site(unlock="" if state in ("initialized", "unlocked") else OLD, initialized=state != "initialized")
    write(site.key_file, content)
    outcome = site.run(state, **({"new_key_file": str(site.new_key_file)} if state == "rotated" else {}))
    assert outcome.failed and "empty" in outcome.msg and str(site.key_file) in outcome.msg
    assert {UNLOCK, ROTATE, INITIALIZE, LOCK}.isdisjoint(asked(site))


def test_an_empty_new_key_is_never_sent(pika_site: PikaSite) -> None:
    write(pika_site.new_key_file, "")
    refused(pika_site, pika_site.rotate(), "empty", str(pika_site.new_key_file))
    assert ROTATE not in asked(pika_site)


def test_a_server_that_got_its_key_in_the_meantime(make_pika_site: Make) -> None:
    site = make_pika_site()
    site.pika.set_faults(status_reply="uninitialized*2")
    outcome = site.run("initialized")
    refused(site, outcome, "it has a key already")
    assert outcome["pika_answer"] == "initialized" and asked(site).count(INITIALIZE) == 1


def test_a_server_that_got_its_key_and_was_locked_in_the_meantime(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="")
    # The gate keeps the question for the cluster from being answered as well.
    site.pika.set_faults(status_reply="uninitialized*2")
    refused(site, site.run("initialized"), "locked", "state=unlocked")


@pytest.mark.parametrize(
    ("state", "words"), [("unlocked", "state=initialized"), ("locked", "no key yet"), ("rotated", "state=initialized")]
)
def test_a_server_without_a_key(make_pika_site: Make, state: str, words: str) -> None:
    site = make_pika_site(unlock="", initialized=False)
    outcome = site.run(state, **({"rotation_id": "1"} if state == "rotated" else {}))
    refused(site, outcome, words)
    assert {UNLOCK, ROTATE, LOCK, LOGIN}.isdisjoint(asked(site))


def test_a_server_that_only_seems_to_have_a_key(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", initialized=False)
    site.pika.set_faults(status_reply="unlocked*9")
    outcome = site.rotate()
    refused(site, outcome, "state=initialized")
    assert outcome["pika_answer"] == "not_initialized" and ROTATE not in asked(site)


@pytest.mark.parametrize("state", ["unlocked", "rotated"])
def test_a_verifier_that_is_not_pikas(make_pika_site: Make, state: str) -> None:
    site = make_pika_site(unlock="")
    site.pika.stop()
    site.pika.damage("magic")
    site.pika.start()
    outcome = site.run(state, **({"rotation_id": "1", "unlock_first": True} if state == "rotated" else {}))
    assert outcome.failed and "damaged" in outcome.msg and outcome["pika_answer"] == "no_verifier"
    assert ROTATE not in asked(site) and "staged" not in site.keyring()


def test_the_key_of_this_host_is_not_the_servers(make_pika_site: Make) -> None:
    site = make_pika_site(key=OTHER)
    outcome = site.rotate()
    refused(site, outcome, mark(OTHER), mark(NEW))
    assert asked(site).count(UNLOCK) == 2 and ROTATE not in asked(site)


def test_the_new_key_is_the_one_in_force(pika_site: PikaSite) -> None:
    write(pika_site.new_key_file, f"{OLD}\n")
    outcome = pika_site.rotate()
    assert (outcome.failed, outcome.changed, outcome["rotated"]) == (False, False, False)
    assert ROTATE not in asked(pika_site)


@pytest.mark.parametrize("version", ["A", "B", "C"])
def test_secrets_that_the_server_cannot_read(make_pika_site: Make, version: str) -> None:
    site = make_pika_site(unlock="", version=version)
    site.pika.stop()
    site.pika.damage("payload")
    site.pika.start(unlock=OLD)
    outcome = site.rotate()
    assert outcome.failed and "cannot read its own secrets" in outcome.msg
    assert ROTATE not in asked(site) and site.pika.judge(with_manifest=False)["verifier"] == "old"
    assert "staged" not in site.keyring()


def test_a_key_that_is_too_large(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", body_limit=1000, key="k" * 2000)
    outcome = site.run("unlocked")
    refused(site, outcome, "413", "too large")
    assert outcome["pika_answer"] == "too_large"


def test_too_many_wrong_keys(make_pika_site: Make) -> None:
    site = make_pika_site(key=OTHER, sleep_scale=0.0001)
    assert {site.pika.unlock("wrong").status for unused in range(29)} == {403}
    site.pika.forget_requests()
    outcome = site.rotate()
    refused(site, outcome, "429", "run again in")
    assert outcome["pika_answer"] == "too_many" and asked(site).count(UNLOCK) == 2
    outcome = site.rotate()
    refused(site, outcome, "429", "run again in")
    assert asked(site).count(LOGIN) == 2


def test_the_server_makes_a_caller_wait_and_is_waited_for(make_pika_site: Make) -> None:
    site = make_pika_site(sleep_scale=0.1)
    assert {site.pika.unlock("wrong").status for unused in range(5)} == {403}
    outcome = site.rotate(timeout=15.5)
    assert not outcome.failed, outcome.msg
    assert site.pika.is_all_under("new") and asked(site).count(ROTATE) == 1


def test_settings_that_hold_secrets_before_there_is_a_key(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", initialized=False)
    site.pika.stop()
    site.pika.damage("plain-secrets")
    site.pika.start()
    outcome = site.run("initialized")
    assert outcome.failed and "secrets" in outcome.msg and "before" in outcome.msg, outcome.msg
    assert not site.pika.status()["initialized"] and site.key_text() == OLD


# -- who asks


@pytest.mark.campaign
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("who", [PLAIN, "token"])
def test_a_caller_without_the_capability(make_pika_site: Make, state: str, who: str) -> None:
    site = make_pika_site(unlock="" if state in ("initialized", "unlocked") else OLD, initialized=state != "initialized")
    outcome = run_as(site, state, as_caller(site, who))
    refused(site, outcome, "settings.manage", "username and password_file" if who == "token" else "another username")
    assert {UNLOCK, ROTATE, INITIALIZE, LOCK}.isdisjoint(asked(site))
    assert (asked(site)[-1] == LOGOUT) is (who == PLAIN)


@pytest.mark.parametrize("info_bearer", [None, "401"], ids=["info-200", "info-401"])
def test_a_token_that_the_server_does_not_know(make_pika_site: Make, info_bearer: str | None) -> None:
    site = make_pika_site()
    site.pika.set_faults(info_bearer=info_bearer)
    token = write(site.folder / "token", "pika_" + "0" * 64)
    outcome = run_as(site, "locked", {"token_file": str(token)})
    refused(site, outcome, "token")
    assert "base path" not in outcome.msg and "0" * 32 not in outcome.printed


def test_a_version_that_knows_no_tokens(make_pika_site: Make) -> None:
    site = make_pika_site(faults="tokens=cookie_only")
    outcome = run_as(site, "locked", as_caller(site, "token"))
    refused(site, outcome, "token", "username and password_file")


@pytest.mark.parametrize("state", STATES)
def test_an_account_with_a_second_factor(make_pika_site: Make, state: str) -> None:
    site = make_pika_site(unlock="" if state in ("initialized", "unlocked") else OLD, initialized=state != "initialized")
    outcome = run_as(site, state, as_caller(site, TOTP))
    refused(site, outcome, "TOTP", "without it")
    assert asked(site).count(LOGIN) == 1 and {UNLOCK, ROTATE, INITIALIZE, LOCK}.isdisjoint(asked(site))


def test_a_wrong_password_is_tried_once(make_pika_site: Make) -> None:
    site = make_pika_site()
    wrong = write(site.folder / "password", PASSWORDS[MANAGER])
    refused(site, site.rotate(password_file=str(wrong)), "401", "password_file")
    assert asked(site).count(LOGIN) == 1


@pytest.mark.parametrize("strategy", [None, "staff"], ids=["found", "named"])
def test_a_renamed_way_to_log_in_below_a_base_path(make_pika_site: Make, strategy: str | None) -> None:
    site = make_pika_site(unlock="", strategy="staff", cookie="session", base_path="/pika")
    outcome = site.run("unlocked", login_strategy=strategy)
    assert not outcome.failed, outcome.msg
    assert asked(site).count("POST /login/pass/staff") == 1 and LOGIN not in asked(site) and LOGOUT in asked(site)


def test_a_way_to_log_in_that_is_not_there(pika_site: PikaSite) -> None:
    refused(pika_site, pika_site.run("locked", login_strategy="ldap"), "login_strategy", "local")
    assert not [line for line in asked(pika_site) if line.startswith("POST")]


@pytest.mark.parametrize("reply", ["html", "no_cookie", "empty"])
def test_a_login_that_opens_no_session(make_pika_site: Make, reply: str) -> None:
    site = make_pika_site()
    site.pika.set_faults(login_reply=reply)
    refused(site, site.rotate(), "session")
    assert ROTATE not in asked(site)


# -- places where a key or a password must not go


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Pika]:
    """Another server, to which redirects and login URLs point."""
    pika = Pika(tmp_path / "trap", initialized=False, empty=True).start()
    yield pika
    pika.stop()


PATHS = {
    "status": "/api/v1/key/status", "login-info": "/login/info", "login": "/login/pass/local", "info": "/api/v1/info",
    "cluster": "/api/v1/cluster/status", "unlock": "/api/v1/key/unlock", "backup-info": "/api/v1/backup/info",
    "settings": "/api/v1/settings", "backup": "/api/v1/backup", "rotate": "/api/v1/key/rotate",
}  # fmt: skip


@pytest.mark.campaign
@pytest.mark.parametrize("status", [303, 307])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_a_redirect_is_not_followed(make_pika_site: Make, trap: Pika, path: str, status: int) -> None:
    site = make_pika_site()
    site.pika.set_faults(redirect_path=path, redirect_status=status, redirect_to=f"{trap.url}{path}")
    outcome = site.rotate(rotation_id="1")
    assert trap.report()["requests"] == {}
    if path == "/login/info":
        # It only names the ways in: the usual one is tried without it.
        assert not outcome.failed
        return
    refused(site, outcome, str(status))
    assert asked(site).count(ROTATE) == (path == "/api/v1/key/rotate")
    site.pika.set_faults(redirect_to=None)
    assert not site.rotate(rotation_id="1").failed


@pytest.mark.parametrize("status", [303, 307])
def test_a_redirect_to_the_page_of_the_same_server_carries_no_key(make_pika_site: Make, status: int) -> None:
    site = make_pika_site()
    site.pika.set_faults(redirect_to="/", redirect_status=status)
    refused(site, site.rotate(), str(status))
    assert "POST /" not in asked(site) and "GET /" not in asked(site)


def test_a_redirect_of_lock_and_logout(make_pika_site: Make, trap: Pika) -> None:
    site = make_pika_site()
    site.pika.set_faults(redirect_path="/api/v1/key/lock", redirect_to=f"{trap.url}/api/v1/key/lock")
    refused(site, site.run("locked"), "307")
    site.pika.set_faults(redirect_path="/logout", redirect_to=f"{trap.url}/logout")
    outcome = site.run("locked")
    assert not outcome.failed and "the session lasts until it expires" in outcome.warnings
    assert trap.report()["requests"] == {}


@pytest.mark.parametrize("form", ["{url}/login/pass/local", "//{netloc}/login/pass/local"], ids=["absolute", "without-scheme"])
def test_a_login_url_on_another_host_is_not_given_the_password(make_pika_site: Make, trap: Pika, form: str) -> None:
    site = make_pika_site()
    site.pika.set_faults(login_url=form.format(url=trap.url, netloc=trap.url.partition("//")[2]))
    refused(site, site.rotate(), "another host")
    assert trap.report()["requests"] == {} and not [line for line in asked(site) if line.startswith("POST")]


# -- answers of another kind


@pytest.mark.campaign
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("reply", ["html", "not_json", "text"])
def test_a_status_of_another_content_type(make_pika_site: Make, state: str, reply: str) -> None:
    site = make_pika_site(faults=f"status_reply={reply}")
    outcome = site.run(state, **({"rotation_id": "1"} if state == "rotated" else {}))
    refused(site, outcome, "no Pika")
    assert not [line for line in asked(site) if line.startswith("POST")]


def test_a_status_with_a_field_that_is_new(make_pika_site: Make) -> None:
    site = make_pika_site(faults="status_reply=extra")
    assert not site.rotate().failed and site.pika.is_all_under("new")


@pytest.mark.parametrize("reply", ["echo_400", "echo_500"])
def test_an_answer_that_quotes_the_keys(make_pika_site: Make, reply: str) -> None:
    site = make_pika_site(faults=f"rotate_reply={reply}*1")
    refused(site, site.rotate(), reply[-3:], staged=reply == "echo_500")
    assert asked(site).count(ROTATE) == 1
    assert not site.rotate().failed and site.pika.is_all_under("new")


@pytest.mark.campaign
@pytest.mark.parametrize("reply", ["303", "400", "401", "403", "404", "413", "429", "500", "502", "503"])
def test_a_key_that_was_sent_is_kept_until_the_disk_was_asked(make_pika_site: Make, reply: str) -> None:
    """Something before the server answers for it; the rotation was done all the same, to a key that exists nowhere else."""
    site = make_pika_site(faults=f"rotate_reply={reply}*1")
    site.rotate(rotation_id="1")
    assert asked(site).count(ROTATE) == 1
    is_recoverable(site)
    outcome = site.rotate(rotation_id="1")
    assert not outcome.failed, outcome.msg
    assert asked(site).count(ROTATE) == 1
    is_recoverable(site)
    assert site.info()["phase"] == "settled"
    assert site.pika.unlock(site.key_text()).status == 200 and site.pika.unlock(OLD).status == 403


def test_a_server_that_says_so_and_was_not_rotated(make_pika_site: Make) -> None:
    """What is put into files then would keep the server locked from its next start on."""
    site = make_pika_site(env_key=OLD, faults="rotate_reply=untrue*1")
    outcome = site.rotate(rotation_id="1")
    assert outcome.failed and "does not open it" in outcome.msg
    assert site.env_file is not None
    assert site.key_text() == OLD and f'"{OLD}"' in site.env_file.read_text()
    assert site.keyring().keys() == {"previous", "staged"}
    assert not site.rotate(rotation_id="1").failed
    assert site.pika.unlock(site.key_text()).status == 200 and site.pika.unlock(OLD).status == 403


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("nth", "manner"), [*((nth, "drop-after") for nth in range(1, 19)), *((nth, "503-before") for nth in range(2, 19, 4))]
)
def test_any_request_of_a_rotation_may_be_lost(make_pika_site: Make, nth: int, manner: str) -> None:
    """The same command again finishes, with the same key, and the server was asked for one rotation."""
    site = make_pika_site(vaults=0)
    with gateway(site.pika.port, nth=nth, manner=manner) as before:
        outcome = site.rotate(rotation_id="1", url=before.url)
        assert before.seen >= nth, f"a rotation has {before.seen} requests"
    assert "is locked" not in outcome.msg
    assert asked(site).count(ROTATE) <= 1
    is_recoverable(site)
    outcome = site.rotate(rotation_id="1")
    assert not outcome.failed, outcome.msg
    assert site.info()["phase"] == "settled" and asked(site).count(ROTATE) == 1
    is_recoverable(site)
    assert site.pika.unlock(OLD).status == 403
    tidy(site)


@pytest.mark.campaign
@pytest.mark.parametrize("nth", range(13, 18))
def test_any_request_of_a_recovery_may_be_lost(make_pika_site: Make, nth: int) -> None:
    """The settings could not be written, and what the run asks to put that right is lost as well."""
    site = make_pika_site(vaults=0, faults="fail_step=4*1")
    with gateway(site.pika.port, nth=nth, manner="drop-after") as before:
        assert site.rotate(rotation_id="1", url=before.url).failed
        assert before.seen >= nth, f"a rotation that fails so has {before.seen} requests"
    is_recoverable(site)
    outcome = site.rotate(rotation_id="1")
    assert not outcome.failed, outcome.msg
    assert site.info()["phase"] == "settled" and site.pika.unlock(OLD).status == 403
    is_recoverable(site)
    tidy(site)


@pytest.mark.campaign
@pytest.mark.parametrize("nth", range(1, 8))
@pytest.mark.parametrize(
    ("state", "goal"), [("unlocked", True), ("locked", False), ("initialized", True)], ids=["unlocked", "locked", "initialized"]
)
def test_any_request_of_the_other_states_may_be_lost(make_pika_site: Make, state: str, goal: bool, nth: int) -> None:
    site = make_pika_site(unlock=OLD if state == "locked" else "", initialized=state != "initialized")
    with gateway(site.pika.port, nth=nth, manner="drop-after") as before:
        site.run(state, url=before.url)
        assert before.seen >= nth
    again = site.run(state)
    assert not again.failed, again.msg
    assert site.pika.status() == {"initialized": True, "unlocked": goal}
    assert site.pika.judge(with_manifest=False)["verifier"] == "old"
    tidy(site)


def test_a_server_that_is_still_at_work_is_not_disturbed(make_pika_site: Make) -> None:
    """Between its swap of keys and its write it cannot read its own secrets. A lock and an unlock just then would mix the keys."""
    site = make_pika_site(vaults=0, faults="slow_rotate_ms=4000*1")
    with gateway(site.pika.port, path="/api/v1/key/rotate", manner="drop-during") as before:
        outcome = site.rotate(url=before.url)
    assert not outcome.failed, outcome.msg
    assert site.pika.is_all_under("new")
    assert LOCK not in asked(site) and asked(site).count(ROTATE) == 1


def test_a_server_that_somebody_locked_meanwhile_stays_locked(make_pika_site: Make) -> None:
    site = make_pika_site(faults="rotate_reply=locked*1")
    outcome = site.rotate(rotation_id="1")
    refused(site, outcome, "503", "locked")
    assert (outcome["pika_answer"], asked(site).count(UNLOCK)) == ("locked", 1)
    assert not site.pika.status()["unlocked"]
    # It was sent, and another server behind the same address may have taken it.
    assert list(site.keyring()) == [f"kept-{kept_mark(site)[3:]}", "previous"]
    assert site.rotate(rotation_id="1").failed
    assert not site.rotate(rotation_id="1", unlock_first=True).failed


def kept_mark(site: PikaSite) -> str:
    """Return the fingerprint of the one key that is kept."""
    (text,) = [text for role, text in site.keyring().items() if role.startswith("kept-")]
    return mark(text)


def test_two_runs_at_once_rotate_once(pika_site: PikaSite) -> None:
    runs = [pika_site.begin("rotated", rotation_id="1") for unused in range(2)]
    outcomes = [pika_site.heard(run.wait()) for run in runs]
    assert asked(pika_site).count(ROTATE) == 1
    assert sum(outcome.changed for outcome in outcomes if not outcome.failed) == 1
    is_recoverable(pika_site)


@pytest.mark.parametrize("store", ["session_store=down", "limiter_store=down"])
def test_a_store_of_the_server_that_is_down(make_pika_site: Make, store: str) -> None:
    site = make_pika_site()
    name, unused, value = store.partition("=")
    site.pika.set_faults(**{name: value})
    refused(site, site.rotate(), "503")
    assert ROTATE not in asked(site)
    site.pika.set_faults(**{name: None})
    assert not site.rotate().failed


JSON_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STRANGE = {
    "nested": JSON_REPLY + b"Content-Length: 200000\r\n\r\n" + b"[" * 200000,
    "big-number": JSON_REPLY + b'\r\n{"initialized":' + b"1" * 6000 + b"}",
    "no-http": b"SSH-2.0-OpenSSH\r\n",
    "nothing": b"",
    "many-headers": JSON_REPLY + b"X: y\r\n" * 300 + b"\r\n{}",
    "negative-length": JSON_REPLY + b"Content-Length: -5\r\n\r\n{}",
    "bad-chunk": JSON_REPLY + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "latin": JSON_REPLY + b"X-\xff: \xe9\r\n\r\n{\xff}",
    "503": b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
}


@pytest.mark.parametrize("reply", STRANGE.values(), ids=STRANGE)
def test_what_answers_is_no_pika(pika_site: PikaSite, reply: bytes) -> None:
    with crude(reply) as url:
        outcome = pika_site.rotate(url=url)
    refused(pika_site, outcome, url)
    assert "unexpected" not in outcome.msg
    assert sum(words in outcome.msg for words in ("this is no Pika", "broke", "not ready")) == 1


def test_a_certificate_that_nobody_vouches_for_is_sent_nothing(make_pika_site: Make) -> None:
    site = make_pika_site(tls=True)
    refused(site, site.rotate(ca_file=None), "CERTIFICATE_VERIFY_FAILED", "ca_file")
    assert asked(site) == []


def test_a_url_with_a_password_in_it_is_refused(pika_site: PikaSite) -> None:
    url = pika_site.pika.url.replace("//", "//somebody:hunter2-hunter2@")
    outcome = pika_site.rotate(url=url)
    refused(pika_site, outcome, "password", "take it out")
    assert asked(pika_site) == [] and "hunter2" not in outcome.msg


def test_a_key_that_an_env_file_cannot_hold_is_refused_before_anything_is_asked(make_pika_site: Make) -> None:
    site = make_pika_site(env_key=OLD)
    refused(site, site.rotate(), "PIKA_ENCRYPTION_PASSWORD")
    assert not [line for line in asked(site) if line.startswith("POST")]


def test_the_key_of_a_server_that_is_down_is_configured(make_pika_site: Make) -> None:
    site = make_pika_site(env_key="old")
    site.pika.stop()
    assert site.env_file is not None
    outcome = site.run("configured", new_key_file=str(write(site.folder / "given.key", "the-new-key\n")))
    assert not outcome.failed, outcome.msg
    assert (outcome.changed, outcome["server"], outcome["restart_due"]) == (True, "unknown", True)
    assert 'PIKA_ENCRYPTION_PASSWORD="the-new-key"' in site.env_file.read_text() and site.key_text() == "the-new-key"


def test_a_server_that_somebody_else_rotated_in_the_meantime(make_pika_site: Make) -> None:
    site = make_pika_site(faults="fail_step=4*1")
    assert site.rotate().failed
    assert site.pika.rotate(OLD, OTHER).status == 200
    outcome = site.rotate()
    assert outcome.failed and mark(NEW) in outcome.msg and mark(OLD) in outcome.msg
    assert site.keyring() == {"previous": OLD, "staged": NEW}
    # The way out that the message names: find its key, and put it into the key file.
    write(site.key_file, f"{OTHER}\n")
    outcome = site.rotate()
    assert not outcome.failed, outcome.msg
    assert site.pika.is_all_under("new") and outcome["old_key"] == mark(OTHER)
    assert site.keyring() == {"previous": OTHER, f"kept-{mark(OLD)[3:]}": OLD}


# -- backups that are none


@pytest.mark.campaign
@pytest.mark.parametrize(
    "fault", ["reply=html", "reply=bad_magic", "reply=drop", "reply=longer", "reply=endless", "reply=empty", "reply=500", "truncate=60"]
)
def test_a_backup_that_is_none_keeps_the_server_from_being_asked(make_pika_site: Make, fault: str) -> None:
    site = make_pika_site(faults=f"backup_{fault}*1")
    outcome = site.rotate(rotation_id="1")
    refused(site, outcome, "nothing was rotated")
    assert ROTATE not in asked(site) and list(site.backup_dir.iterdir()) == []
    assert not site.rotate(rotation_id="1").failed
    (backup,) = site.backups()
    assert site.pika.judge(backup=backup)["ok"]


@pytest.mark.parametrize("days", ["nan", "inf", "1e300", "-1"])
def test_a_retention_that_is_no_number_of_days(pika_site: PikaSite, days: str) -> None:
    refused(pika_site, pika_site.rotate(retention_days=float(days)), "retention_days")
    assert asked(pika_site) == []


def test_a_place_for_backups_that_cannot_be_written(pika_site: PikaSite) -> None:
    refused(pika_site, pika_site.rotate(backup_dir="/proc/backups"), "/proc/backups")
    assert ROTATE not in asked(pika_site)


# -- connections that break


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("state", "path"), [("unlocked", UNLOCK), ("locked", LOCK), ("initialized", INITIALIZE), ("unlocked", LOGIN), ("locked", LOGOUT)],
    ids=["unlock", "lock", "initialize", "login", "logout"],
)  # fmt: skip
def test_a_connection_that_breaks(make_pika_site: Make, state: str, path: str, moment: str) -> None:
    site = make_pika_site(unlock=OLD if state == "locked" else "", initialized=state != "initialized")
    site.pika.set_faults(drop=f"{moment}*1", drop_path=path.partition(" ")[2])
    first = site.run(state)
    if path in (LOGOUT, INITIALIZE):
        # A logout that is lost is only warned of; an initialization that was lost is seen from the status.
        assert first.failed is (path == INITIALIZE and moment == "before")
    else:
        assert first.failed and "broke" in first.msg
    assert asked(site).count(path) == 1
    again = site.run(state)
    assert not again.failed, again.msg
    assert site.pika.status() == {"initialized": True, "unlocked": state != "locked"}
    tidy(site)


@pytest.mark.campaign
@pytest.mark.parametrize("step", ["1", "2", "4", "5"])
@pytest.mark.parametrize("version", ["B", "C"])
def test_a_failure_at_each_step_loses_no_key(make_pika_site: Make, version: str, step: str) -> None:
    site = make_pika_site(faults=f"fail_step={step}*1", version=version)
    first = site.rotate(rotation_id="1")
    assert asked(site).count(ROTATE) == 1
    is_recoverable(site)
    tidy(site)
    if (version, step) == ("C", "5"):
        # No rotation mends this: the backup has to be restored, which the message says.
        (backup,) = site.backups()
        assert first.failed and str(backup) in first.msg and site.pika.judge(backup=backup)["verifier"] == "old"
        return
    assert first.failed is (step != "5")
    assert not site.rotate(rotation_id="1").failed
    is_recoverable(site)
    assert site.pika.unlock(site.key_text()).status == 200


@pytest.mark.campaign
@pytest.mark.parametrize("point", ["before", "2", "3", "4", "5", "after"])
def test_a_server_that_dies_at_each_step_loses_no_key(make_pika_site: Make, point: str) -> None:
    site = make_pika_site(faults=f"die_step={point}*1")
    assert site.rotate(rotation_id="1").failed
    site.pika.wait_ended()
    is_recoverable(site)
    site.pika.start()
    outcome = site.rotate(rotation_id="1")
    assert not outcome.failed, outcome.msg
    is_recoverable(site)
    if point in ("4", "5", "after"):
        # Nothing that the server says tells that vault keys were left behind.
        assert "open a vault" in outcome.warnings


# -- clusters


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., PikaCluster]]:
    made: list[PikaCluster] = []

    def make(*, unlock: str = OLD, **options: Any) -> PikaCluster:
        made.append(PikaCluster(tmp_path / f"cluster{len(made)}", **options))
        return made[-1].start(unlock=unlock)

    yield make
    for cluster in made:
        cluster.stop()


MakeCluster = Callable[..., PikaCluster]


def rotations(cluster: PikaCluster) -> int:
    return sum(node.count(ROTATE) for node in cluster.nodes)


def test_a_follower_is_refused_and_the_leader_does_it(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    (follower,) = cluster.followers
    site = PikaSite(tmp_path / "follower", follower)
    refused(site, site.rotate(), "follower", "leader")
    refused(site, site.run("locked"), "follower", "leader")
    assert rotations(cluster) == 0 and cluster.leader.status()["unlocked"]
    assert site.info()["cluster"]["role"] == "follower"
    leading = PikaSite(tmp_path / "leader", cluster.leader)
    outcome = leading.rotate()
    assert not outcome.failed, outcome.msg
    assert leading.pika.is_all_under("new") and follower.is_all_under("new") and rotations(cluster) == 1
    assert leading.info()["cluster"]["nodes"]


@pytest.mark.parametrize("state", ["locked", "unlocked", "rotated"])
def test_a_follower_that_has_the_old_key_in_memory_does_not_reach_its_leader(
    make_cluster: MakeCluster, tmp_path: Path, state: str
) -> None:
    cluster = make_cluster()
    (follower,) = cluster.followers
    assert cluster.leader.rotate().status == 200
    assert follower.send("GET", "/api/v1/key/status").status == 500
    for node in cluster.nodes:
        node.forget_requests()
    site = PikaSite(tmp_path / "follower", follower, key=NEW)
    outcome = site.run(state, **({"rotation_id": "1"} if state == "rotated" else {}))
    assert outcome.failed and "follower" in outcome.msg, outcome.msg
    assert [node.count(path) for node in cluster.nodes for path in (LOCK, UNLOCK, ROTATE)] == [0] * 6
    assert cluster.leader.status() == {"initialized": True, "unlocked": True}


def test_a_locked_follower_is_not_called_unlocked(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    (follower,) = cluster.followers
    follower.restart()
    cluster.wait_leader()
    site = PikaSite(tmp_path / "follower", follower)
    outcome = site.run("unlocked")
    refused(site, outcome, "follower", "PIKA_ENCRYPTION_PASSWORD")
    refused(site, site.rotate(unlock_first=True), "leads")
    assert rotations(cluster) == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [({"quorum": "lost"}, "leader"), ({"leader": "none"}, "leader")],
    ids=["no-quorum", "no-leader"],
)  # fmt: skip
def test_a_leader_that_cannot_write(make_cluster: MakeCluster, tmp_path: Path, fault: dict[str, str], words: str) -> None:
    cluster = make_cluster()
    leader = cluster.leader
    site = PikaSite(tmp_path / "leader", leader)
    leader.set_faults(**fault)
    outcome = site.rotate()
    leader.set_faults(**dict.fromkeys(fault))
    refused(site, outcome, words)
    assert rotations(cluster) == 0


def test_a_cluster_whose_majority_is_gone(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster(size=3)
    leader = cluster.leader
    site = PikaSite(tmp_path / "leader", leader)
    for follower in cluster.followers:
        follower.stop()
    leader.wait_until(lambda report: not report["has_quorum"])
    outcome = site.rotate()
    refused(site, outcome, "leader")
    assert leader.count(ROTATE) == 0


def test_a_follower_whose_leader_does_not_answer(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    (follower,) = cluster.followers
    follower.set_faults(leader="unreachable")
    site = PikaSite(tmp_path / "follower", follower)
    refused(site, site.rotate(), "502")
