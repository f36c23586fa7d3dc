# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of an escrow; what it writes is tried by whole plays in tests/integration."""

from __future__ import annotations

from types import SimpleNamespace

from ansible_collections.servos.ops.plugins.action import servos_keyring


def test_the_controllers_process_is_kept_out_of_core_dumps_before_it_can_open_a_key(monkeypatch):
    protected, seen = [], []
    monkeypatch.setattr(servos_keyring, "keep_out_of_core_dumps", lambda: protected.append(True))
    monkeypatch.setattr(servos_keyring, "VaultFile", lambda *unused: SimpleNamespace(require_means=lambda: None))
    action = object.__new__(servos_keyring.ActionModule)
    action._task = SimpleNamespace(async_val=0, args={}, check_mode=False)
    action._loader = SimpleNamespace(_vault=SimpleNamespace(secrets=[]))

    def module(unused_escrow, unused_task_vars):
        seen.append(list(protected))
        return {"failed": True}

    monkeypatch.setattr(action, "_module", module)
    action._with_vault_file({"vault_file": "/never/written"}, {})
    assert seen == [[True]]
