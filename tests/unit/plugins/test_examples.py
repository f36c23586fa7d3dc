# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each task of an EXAMPLES block is named, and gives its module what that takes: judged by Ansible's own validator."""

from __future__ import annotations

import ast
import importlib
import os

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

PLUGINS = os.path.join(os.path.dirname(__file__), "..", "..", "..", "plugins")
OF_TASKS = {"name", "register", "failed_when", "changed_when", "delegate_to", "when", "vars", "no_log"}
RULES = ("mutually_exclusive", "required_together", "required_one_of", "required_if", "required_by")
# Stands for what a template would give.
STAND_INS = {"list": [], "dict": {}, "bool": True, "int": 1, "float": 1.0, "path": "/somewhere"}


def examples():
    """Yield the module, its short name and arguments, of each task in a module's examples."""
    folder = os.path.join(PLUGINS, "modules")
    for filename in sorted(name for name in os.listdir(folder) if name.startswith("servos_") and name.endswith(".py")):
        with open(os.path.join(folder, filename), encoding="utf-8") as stream:
            nodes = ast.parse(stream.read()).body
        texts = {node.targets[0].id: node.value for node in nodes if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
        for task in yaml.safe_load(ast.literal_eval(texts["EXAMPLES"])):
            yield filename[:-3], task


EXAMPLES = list(examples())
IDS = ["{}: {}".format(module, task.get("name")) for module, task in EXAMPLES]


class Made(Exception):
    """A module has made its AnsibleModule."""


def specification(name, monkeypatch):
    module = importlib.import_module("ansible_collections.servos.ops.plugins.modules." + name)
    found = {}

    def note(**given):
        found.update(given)
        raise Made

    monkeypatch.setattr(module, "AnsibleModule", note)
    with pytest.raises(Made):
        module.main()
    return found


def filled_in(value, option):
    """The value without templates; what they would give is of the option's type."""
    if isinstance(value, str) and "{{" in value:
        return STAND_INS.get(option.get("type", "str"), "text")
    within = option.get("options") or {}
    if isinstance(value, list):
        return [filled_in(item, {"type": option.get("elements", "raw"), "options": within}) for item in value]
    if isinstance(value, dict):
        return {name: filled_in(item, within.get(name, {})) for name, item in value.items()}
    return value


def test_there_are_examples():
    assert len(EXAMPLES) > 40
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize(("module", "task"), EXAMPLES, ids=IDS)
def test_a_module_takes_what_its_example_gives(module, task, monkeypatch):
    (action,) = set(task) - OF_TASKS
    assert action == "servos.ops." + module
    assert task["name"][0].isupper()
    given = specification(module, monkeypatch)
    options = given["argument_spec"]
    arguments = {name: filled_in(value, options.get(name, {})) for name, value in (task[action] or {}).items()}
    judged = ArgumentSpecValidator(options, **{rule: given.get(rule) for rule in RULES}).validate(arguments)
    assert judged.error_messages == []
