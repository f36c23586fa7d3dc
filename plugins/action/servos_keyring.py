# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of M(servos.ops.servos_keyring): the vault file, and lines on its progress. All else is the module's."""

from __future__ import annotations

import base64
import os
import typing as t

from ansible.module_utils.common.validation import check_type_dict
from ansible_collections.servos.ops.plugins.module_utils._errors import EscrowError, ServosError
from ansible_collections.servos.ops.plugins.module_utils._rotation.vault_escrow import open_on_controller
from ansible_collections.servos.ops.plugins.module_utils._sealing import hpke
from ansible_collections.servos.ops.plugins.module_utils._system.memory import keep_out_of_core_dumps
from ansible_collections.servos.ops.plugins.plugin_utils._vault_file import VaultFile
from ansible_collections.servos.ops.plugins.plugin_utils._watched_action import Result, WatchedAction

_MODULE = "servos.ops.servos_keyring"


class ActionModule(WatchedAction):
    """Run the module; where a vault file is asked for, write it from what the module sealed to us, and tell it so."""

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        escrow = self._escrow()
        if not escrow.get("vault_file") or self._task.args.get("state") not in ("staged", "escrowed"):
            result.update(self._execute_watched(_MODULE, task_vars))
            return result
        try:
            result.update(self._with_vault_file(escrow, task_vars))
        except ServosError as error:
            result.update(failed=True, msg=str(error), error=type(error).__name__)
        return result

    def _escrow(self) -> Result:
        given = self._task.args.get("escrow") or {}
        try:
            return dict(check_type_dict(given))
        except TypeError:
            return {}  # the module says what is wrong with it

    def _with_vault_file(self, escrow: Result, task_vars: t.Any) -> Result:
        if self._task.async_val:
            raise EscrowError(
                "escrow.vault_file does not go together with async, since the controller has to write it while the task runs; "
                "nothing was changed; leave out async, or seal to age_recipients"
            )
        target = VaultFile(self._loader._vault.secrets, str(escrow["vault_file"]), escrow.get("vault_id"))
        target.require_means()
        # It is in this process only, and gone with it, as is the key that it opens: Ansible runs each task in a fork of its own.
        keep_out_of_core_dumps()
        private = os.urandom(hpke.KEY_BYTES)
        recipient = base64.b64encode(hpke.public_key_of(private)).decode("ascii")
        done = self._module(dict(escrow, vault_recipient=recipient), task_vars)
        told: Result = done.get("escrow") or {}
        sealed = told.pop("sealed", None)
        if done.get("failed") or sealed is None or self._task.check_mode:
            return done
        try:
            receipt = target.put(open_on_controller(private, str(sealed)))
        except ServosError as error:
            return dict(done, failed=True, msg=str(error), error=type(error).__name__)
        known = [entry for entry in told["files"] if entry.get("kind") == "vault"]
        if any(entry.get("path") == receipt["path"] and entry.get("sha256") == receipt["sha256"] for entry in known):
            return done
        noted = self._module(dict(escrow, vault_receipt=receipt), task_vars)
        if noted.get("failed"):
            return dict(noted, changed=True)
        return dict(done, escrow=noted["escrow"], changed=True)

    def _module(self, escrow: Result, task_vars: t.Any) -> Result:
        arguments = dict(self._task.args, escrow=escrow)
        return self._execute_watched(_MODULE, task_vars, arguments)
