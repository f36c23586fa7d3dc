# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that makes a key and then says it in every way that a module has; C(masked) is whether it registered it before."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import run_guarded
from ansible_collections.servos.ops.plugins.module_utils._ansible.masking import mask_keys
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import generate_key

try:
    from ansible.module_utils.secrets import mask_secrets
except ImportError:
    mask_secrets = None


def behave_as_2_22():
    """Where its API is, leave as ansible-core 2.22 does: what was registered is masked, and C(no_log_values) is not looked at."""
    inherited = AnsibleModule._return_formatted

    def return_formatted(module, *arguments):
        module.no_log_values.clear()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            inherited(module, *arguments)
        sys.stdout.write(mask_secrets(printed.getvalue()))

    AnsibleModule._return_formatted = return_formatted


def main():
    if mask_secrets is not None:
        behave_as_2_22()
    spec = {"way": {"type": "str"}, "masked": {"type": "bool"}, "path": {"type": "path"}}
    module = AnsibleModule(spec, supports_check_mode=True)
    way = module.params["way"]
    new_key = generate_key(encoding="hex" if way == "hex" else "base64", entropy=os.urandom)
    text = new_key.reveal_text()
    with open(os.open(module.params["path"], os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
        stream.write(text)
    if module.params["masked"]:
        mask_keys(module, [new_key])
    if way in ("result", "hex"):
        module.exit_json(changed=True, made=text, nested=[{"a text around it": f"<{text}>", "forms": list(new_key.forms())}])
    if way == "diff":
        module.exit_json(changed=True, diff={"before": "KEY=\n", "after": f"KEY={text}\n"})
    if way == "failure":
        module.fail_json(msg=f"cannot use {text}", facts={"made": text})
    if way == "exception":
        try:
            raise ValueError(text)
        except ValueError:
            module.fail_json(msg="cannot use it", exception=traceback.format_exc())

    def work():
        if way == "error of ours":
            raise ServosError(f"cannot use {text}", made=text)
        if way == "warning of an error":
            raise ServosError("cannot use it", _warnings=[f"{text} is left", text])
        if way == "warning":
            return {"changed": True, "_warnings": [f"the key {text} is new", text]}
        if way == "difference":
            return {"changed": True, "_before": {"key": "-"}, "_after": {"key": text}}
        raise ValueError(text)

    run_guarded(module, work)


if __name__ == "__main__":
    main()
