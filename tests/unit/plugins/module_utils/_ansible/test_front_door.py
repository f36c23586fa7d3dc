# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The front door: every way out is exit_json or fail_json, and no key that can be known passes it unmasked."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._ansible import acting, dependencies, front_door, leaving, masking
from ansible_collections.servos.ops.plugins.module_utils._errors import (
    ApiError,
    ForeignValueError,
    KeyFormatError,
    ServosError,
    UnknownOutcomeError,
)
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key

ACTIVE, STAGED, GIVEN = "a1" * 32, "b2" * 32, "c3" * 32


class Left(Exception):
    """What a module does instead of returning."""


class Module:
    """What the front door needs of AnsibleModule, with the set of masked values in the open."""

    def __init__(self, params):
        self.params, self.no_log_values, self.warnings = params, set(), []

    def exit_json(self, **result):
        raise Left("exit", result, set(self.no_log_values))

    def fail_json(self, **result):
        raise Left("fail", result, set(self.no_log_values))

    def warn(self, text):
        self.warnings.append(text)

    def run_command(self, argv, **options):
        raise OSError


@pytest.fixture(autouse=True)
def before_2_22(monkeypatch):
    monkeypatch.setattr(masking, "register_secrets", None)


@pytest.fixture(autouse=True)
def protected(monkeypatch):
    """Whether the process was made undumpable, which would last; here it is only noted."""
    noted = []
    monkeypatch.setattr(leaving, "keep_out_of_core_dumps", lambda: noted.append(True))
    return noted


@pytest.fixture
def module(tmp_path):
    (tmp_path / "app.env").write_text("SERVOS_MASTER_KEY=" + ACTIVE + "\n")
    params = {
        "app": "servos",
        "env_file": str(tmp_path / "app.env"),
        "state_dir": str(tmp_path / "state"),
        "database": "/no/such.db",
        "service_manager": "none",
    }
    return Module(dict(params, new_key=None, new_key_file=None))


def leave(module, work):
    with pytest.raises(Left) as caught:
        front_door.run_module(module, work)
    return caught.value.args


def forms(text):
    return set(parse_key(text, derivation="raw32", where="x").forms())


@pytest.mark.parametrize("error", [ServosError, ApiError, UnknownOutcomeError, ForeignValueError], ids=lambda e: e.__name__)
def test_our_errors_are_failures_with_their_name(module, error):
    def work(installation):
        raise error("what, where and what next")

    way, result, unused = leave(module, work)
    assert (way, result) == ("fail", {"msg": "what, where and what next", "error": error.__name__})


@pytest.mark.parametrize("detached", [False, True], ids=["here", "in-the-detached-process"])
def test_a_fault_of_ours_is_shown_by_its_place_and_never_by_its_text(module, detached):
    def fail():
        raise ValueError("".join(["SEC", "RET"]))

    def work(installation):
        return acting.run_acting(installation, fail, purpose="x") if detached else fail()

    way, result, unused = leave(module, work)
    assert way == "fail"
    assert "a fault of servos.ops" in result["msg"]
    assert "in fail" in result["exception"]
    assert "ValueError" in result["exception"]
    assert "SECRET" not in str(result)


def test_a_wrong_profile_is_a_failure_too(module):
    module.params["profile"] = {"nonsense": 1}
    way, result, unused = leave(module, lambda installation: {})
    assert (way, result["error"]) == ("fail", "ProfileError")


@pytest.mark.parametrize("fails", [False, True], ids=["exit", "fail"])
def test_the_active_key_and_one_that_was_made_meanwhile_are_masked(module, fails):
    def work(installation):
        installation.keyring.write("staged", parse_key(STAGED, derivation="raw32", where="x"))
        if fails:
            raise ServosError("x")
        return {"changed": True}

    masked = leave(module, work)[2]
    assert masked >= forms(ACTIVE) | forms(STAGED)


def test_an_env_file_that_cannot_be_read_does_not_hide_the_error_of_the_work(module, tmp_path):
    (tmp_path / "app.env").unlink()

    def work(installation):
        raise KeyFormatError("the real reason")

    assert leave(module, work)[1]["msg"] == "the real reason"


def test_warnings_and_diff_are_taken_out_of_the_result(module):
    census = [
        {"table": "t", "column": "c", "path": "$.k", "active": 2, "staged": 0, "empty": 1, "foreign": 0},
        {"table": "u", "column": "d"},
    ]
    result = {"changed": True, "_before": {"phase": "staged", "env_key": None, "census": census}, "_after": {}, "_warnings": ["look"]}
    way, left, unused = leave(module, lambda installation: result)
    assert way == "exit"
    assert left == {
        "changed": True,
        "diff": {"before": "phase: staged\nenv_key: -\nt.c $.k: active 2, empty 1\nu.d: nothing\n", "after": ""},
    }
    assert module.warnings == ["look"]


def test_without_a_before_and_after_there_is_no_diff(module):
    assert leave(module, lambda installation: {"changed": False})[1] == {"changed": False}


@pytest.mark.parametrize("way", ["new_key", "new_key_file"])
def test_a_given_key_is_read_and_masked_before_anything_can_fail(module, tmp_path, way):
    (tmp_path / "new.key").write_text(GIVEN + "\n")
    module.params[way] = GIVEN if way == "new_key" else str(tmp_path / "new.key")

    def work(installation):
        assert front_door.given_key(module, installation, "new_key").reveal_text() == GIVEN
        raise ServosError("x")

    assert leave(module, work)[2] >= forms(GIVEN)


def test_a_given_text_that_is_no_key_is_refused_by_the_name_of_its_option(module):
    module.params["new_key"] = GIVEN[:-1]
    way, result, unused = leave(module, lambda installation: front_door.given_key(module, installation, "new_key"))
    assert (way, result["error"]) == ("fail", "KeyFormatError")
    assert "the option new_key" in result["msg"]
    assert GIVEN[:8] not in result["msg"]


def test_no_key_given_is_none(module):
    def work(installation):
        assert front_door.given_key(module, installation, "new_key") is None
        return {"changed": False}

    assert leave(module, work)[0] == "exit"


def test_acting_takes_the_lock_and_leaves_no_directory_where_nothing_was_done(module, tmp_path):
    def work(installation):
        return acting.run_acting(installation, lambda: {"locked": (tmp_path / "state" / "lock").exists()}, purpose="test")

    assert leave(module, work)[1] == {"locked": True}
    assert not (tmp_path / "state").exists()


def test_acting_under_a_held_lock_is_refused(module, tmp_path):
    from ansible_collections.servos.ops.plugins.module_utils._system.locks import exclusive_lock

    (tmp_path / "state").mkdir(mode=0o700)
    with exclusive_lock(str(tmp_path / "state" / "lock"), purpose="the other run"):
        way, result, _how = leave(
            module, lambda installation: acting.run_acting(installation, lambda: {"changed": True}, purpose="test")
        )
    assert (way, result["error"]) == ("fail", "HeldLockError")
    assert "the other run" in result["msg"]


def test_the_new_api_is_used_where_there_is_one(monkeypatch, module):
    registered = []
    monkeypatch.setattr(masking, "register_secrets", registered.extend)
    masking.mask_keys(module, [None, parse_key(GIVEN, derivation="raw32", where="x")])
    assert set(registered) == forms(GIVEN)
    assert module.no_log_values == set()


def test_a_missing_library_is_ansibles_own_message(monkeypatch, module):
    dependencies.require_cryptography(module)
    monkeypatch.setattr(dependencies, "CRYPTOGRAPHY_IMPORT_ERROR", "Traceback: no module named cryptography")
    way, result, unused = leave(module, lambda installation: pytest.fail("the work was begun"))
    assert way == "fail"
    assert "cryptography >= " + dependencies.MINIMUM_CRYPTOGRAPHY in result["msg"]
    assert result["exception"] == "Traceback: no module named cryptography"


def test_the_minimum_version_is_the_one_that_is_documented(collection_root):
    with open(collection_root + "/plugins/doc_fragments/_installation.py", encoding="utf-8") as stream:
        assert "cryptography >= " + dependencies.MINIMUM_CRYPTOGRAPHY in stream.read()


def test_no_key_is_read_before_the_process_is_kept_out_of_core_dumps(module, protected, monkeypatch):
    seen = []
    monkeypatch.setattr(front_door, "installation_of", lambda unused_module: seen.append(list(protected)))
    with pytest.raises(Left):
        front_door.run_module(module, lambda unused_installation: {})
    assert seen == [[True]]


@pytest.mark.parametrize("fails", [False, True], ids=["exit", "fail"])
def test_a_warning_is_masked_too(module, fails):
    """ansible-core 2.19 to 2.21 pass warnings by what masks a result."""
    warnings = ["before " + ACTIVE + " after, and " + ACTIVE.upper(), ACTIVE]

    def work(installation):
        if fails:
            raise ServosError("x", _warnings=warnings)
        return {"_warnings": warnings}

    leave(module, work)
    assert module.warnings == ["before ******** after, and ********", "********"]


@pytest.mark.parametrize("fails", [False, True], ids=["exit", "fail"])
def test_a_name_that_is_no_utf8_leaves_as_text_and_a_secret_in_it_masked(module, fails):
    name = "/tmp/\udcff{{ 7 * 7 }} " + ACTIVE
    module.no_log_values.add(ACTIVE)

    def work(installation):
        if fails:
            raise ApiError(name, places=[name])
        return {"places": [{name: (name, 1, None)}], "_warnings": [name]}

    left, result, unused = leave(module, work)
    shown = "/tmp/\\udcff{{ 7 * 7 }} ********"
    assert left == ("fail" if fails else "exit")
    assert result["places"] == ([shown] if fails else [{shown: [shown, 1, None]}])
    assert (result.get("msg"), module.warnings) == ((shown, []) if fails else (None, [shown]))
