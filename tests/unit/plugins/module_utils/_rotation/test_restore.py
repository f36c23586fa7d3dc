# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of the service while a backup is put back."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServiceError, StoreError
from ansible_collections.servos.ops.plugins.module_utils._rotation import backups, restore
from ansible_collections.servos.ops.plugins.module_utils._system.services import Service

A, S = b"\xaa" * 32, b"\x5e" * 32
NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
LATER = NOW + datetime.timedelta(hours=1)
SCRIPT = "CREATE TABLE t (id INTEGER PRIMARY KEY, c)"
INSERT = "INSERT INTO t VALUES (?, ?)"


class ToldService(Service):
    """Runs or not as it is told, and keeps what it was told."""

    def __init__(self, *, is_up):
        super().__init__("model", None)
        self.is_running = is_up
        self.is_slow = False
        self.told = []

    def main_pid(self):
        return 4194304 + len(self.told) if self.is_running else None  # above what Linux gives out

    def _stop(self, timeout_s):
        self.told.append("stop")
        self.is_running = self.is_slow

    def _start(self, timeout_s):
        self.told.append("start")
        self.is_running = True


@pytest.fixture
def kept(make_installation, make_database, sealed, tmp_path):
    """An installation with a backup; the function gives it a service."""
    installation = make_installation(make_database(SCRIPT, [(INSERT, (1, sealed("A", "value")))]), key_bytes=A)
    folder = str(tmp_path / "backups")
    backups.keep_backups(installation, backup_dir=folder, retention_days=30, allow_empty=False, now=NOW, write=True)

    def with_service(is_up):
        service = ToldService(is_up=is_up)
        installation._manager, installation._service = "command", service
        return installation, folder, service

    return with_service


def put_back(installation, folder):
    return restore.restore_backup(
        installation, backup_dir=folder, path=None, target=None, stop_timeout_s=1, start_timeout_s=5, retention_days=30, now=LATER,
        write=True,
    )


def test_it_is_stopped_and_started_again(kept):
    installation, folder, service = kept(is_up=True)
    result = put_back(installation, folder)
    assert (result["started"], service.told[0], service.told[-1], service.is_running) == (True, "stop", "start", True)


def test_it_stays_down_where_the_env_file_has_another_key_than_the_data(kept, mark):
    installation, folder, service = kept(is_up=True)
    installation.keyring.write("previous", installation.parse(A.hex(), where="the test"))
    installation.write_env_key(installation.parse(S.hex(), where="the test"))
    result = put_back(installation, folder)
    assert (result["started"], service.is_running, "start" in service.told) == (False, False, False)
    assert "run servos_key_rotate to bring it over" in result["_warnings"][-1]


ERRORS = [StoreError("no space"), ValueError("a fault of ours"), KeyboardInterrupt()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("is_up", [True, False], ids=["ran", "was stopped"])
def test_whatever_fails_it_is_left_as_it_was(kept, monkeypatch, is_up, error):
    def fail(*arguments, **options):
        raise error

    installation, folder, service = kept(is_up=is_up)
    monkeypatch.setattr(restore, "loss_of", fail)
    with pytest.raises(type(error)):
        put_back(installation, folder)
    assert service.is_running == is_up


def test_it_is_started_again_where_it_did_not_stop_in_time(kept):
    installation, folder, service = kept(is_up=True)
    service.is_slow = True
    with pytest.raises(ServiceError, match="did not stop within 1 s"):
        put_back(installation, folder)
    assert service.told == ["stop", "start"]
