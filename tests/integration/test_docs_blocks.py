# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each block of the guides is run by a test or says why not; each command and each YAML in them is one that Ansible and we understand."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from guide_blocks import PAGES, ROOT, Block, blocks

BLOCKS = blocks()
COMMANDS = [block for block in BLOCKS if block.language in ("console", "sh", "bash")]
# What is not ours to understand, or a part of something, says so: not checked.
YAML = [(block, yaml.safe_load(block.text)) for block in BLOCKS if block.language == "yaml" and "not checked: " not in block.note]
VARIABLES = {
    name
    for pattern in ("roles/*/defaults/*.yml", "roles/*/vars/*.yml", "playbooks/**/*.yml", "plugins/*/*.py", "extensions/eda/**/*.yml")
    for path in ROOT.glob(pattern)
    for name in re.findall(r"\bservos_[a-z_]+\b", path.read_text(encoding="utf-8"))
}


@pytest.fixture(scope="session")
def documented() -> dict[str, dict[str, Any]]:
    """Return the options of each module, fragments included."""
    names = [f"servos.ops.{path.stem}" for path in sorted(ROOT.glob("plugins/modules/servos_*.py"))]
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--json", "-t", "module", *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return {name: told["doc"]["options"] for name, told in json.loads(done.stdout).items()}


# What a block says of itself


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_says_its_language(block: Block) -> None:
    assert block.language


def text_of(place: str) -> str:
    """Return what is written in a test's file and in the modules beside it that it imports, or in a scenario of molecule."""
    path = ROOT / place
    if path.is_dir():
        return "".join(inner.read_text(encoding="utf-8") for inner in sorted(path.rglob("*.yml")))
    text = path.read_text(encoding="utf-8")
    beside = [path.with_name(f"{name}.py") for name in re.findall(r"^from (\w+) import", text, re.M)]
    return text + "".join(inner.read_text(encoding="utf-8") for inner in beside if inner.is_file())


def plays(text: str, playbook: str) -> bool:
    return re.search(rf"servos\.ops\.{playbook}\b|\bplay(_shared)?\((\w+, )?[\"']{playbook}\b", text) is not None


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_a_block_of_commands_says_who_runs_it(block: Block) -> None:
    found = re.fullmatch(r"(run|played) by (.+)|not run: .+", block.note)
    assert found, f"{block} has no comment before it that says which test runs it, or why none does"
    named = [place.partition("::") for place in (found[2] or "").split(", ") if place]
    assert [place for place, unused_colon, name in named if not (ROOT / place).exists()] == []
    assert [name for place, unused_colon, name in named if name and f"def {name}(" not in text_of(place)] == []
    together = "".join(text_of(place) for place, unused_colon, unused_name in named)
    # What is run as it stands is read from the page; what is played is the same playbook with a test's own words.
    if found[1] == "run":
        assert Path(block.page).name in together or "blocks_run_by" in together
    if found[1] == "played" and "blocks_run_by" not in together:
        playbooks = re.findall(r"ansible-playbook .*?servos\.ops\.([a-z_]+)", block.text)
        assert [name for name in playbooks if not plays(together, name)] == []


# Names in prose

MODULES = {path.stem for path in ROOT.glob("plugins/modules/*.py")}
CONTENT = (
    MODULES
    | {
        path.stem
        for pattern in (
            "playbooks/*.yml",
            "roles/*",
            "plugins/filter/*.yml",
            "plugins/test/*.yml",
            "plugins/callback/*.py",
            "extensions/eda/*/*.yml",
        )
        for path in ROOT.glob(pattern)
    }
    | {path.stem for path in ROOT.glob("extensions/eda/plugins/event_source/*.py")}
)
# A role of PostgreSQL, a kind of secret at GitHub, a group of modules, a container's label, a namespace of signatures.
NAMES_OF_OTHERS = {"servos_ops", "servos_master_key", "servos.ops.servos", "servos.ops.injection", "servos.ops.release"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_names_what_there_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    variables = set(re.findall(r"(?<![\w./-])servos_[a-z_]+\b(?!\.)", text)) - MODULES - VARIABLES
    content = {name for name in re.findall(r"\bservos\.ops\.[a-z_]+", text) if name.split(".")[2] not in CONTENT}
    assert (variables | content) - NAMES_OF_OTHERS == set()


# Commands


def lines(text: str) -> Iterator[list[str]]:
    """Yield the words of each Ansible command of a block."""
    for line in text.replace("\\\n", " ").splitlines():
        if re.match(r"(\$ )?ansible(-playbook)? ", line):
            yield shlex.split(line.removeprefix("$ "), comments=True)


ANSIBLE = [pytest.param(words, id=f"{block} {number}") for block in COMMANDS for number, words in enumerate(lines(block.text))]


def values_of(words: list[str], *names: str) -> list[str]:
    return [after for word, after in zip(words, words[1:], strict=False) if word in names]


def names_in(extra: str) -> list[str]:
    """Return the names in what -e or -a is given: JSON, or name=value; those of a file stand in a block of their own."""
    if extra.startswith("@"):
        return []
    return list(json.loads(extra)) if extra.startswith("{") else [pair.partition("=")[0] for pair in shlex.split(extra)]


@pytest.mark.parametrize("words", ANSIBLE)
def test_a_command_names_what_there_is(words: list[str], documented: dict[str, dict[str, Any]]) -> None:
    for playbook in (word for word in words[1:] if re.fullmatch(r"servos\.ops\.[a-z_]+", word) and words[0] == "ansible-playbook"):
        assert (ROOT / "playbooks" / f"{playbook.split('.')[-1]}.yml").is_file()
    variables = [name for extra in values_of(words, "-e", "--extra-vars") for name in names_in(extra)]
    assert [name for name in variables if name not in VARIABLES] == []
    for module in values_of(words, "-m"):
        given = [name for extra in values_of(words, "-a") for name in names_in(extra)]
        assert [name for name in given if name not in documented[module]] == []


# YAML


def without_templates(value: Any) -> Any:
    """Leave out what only a play would know."""
    if isinstance(value, dict):
        return {name: without_templates(inner) for name, inner in value.items() if "{{" not in str(inner)}
    return value


def spec_of(options: dict[str, Any], *, is_complete: bool = True) -> dict[str, Any]:
    """Make what Ansible validates by of what the documentation says."""
    spec = {}
    for name, told in options.items():
        spec[name] = {word: told[word] for word in ("type", "elements", "choices", "aliases") if word in told}
        inner = told.get("suboptions") or told.get("options")
        spec[name] |= {"options": spec_of(inner)} if inner else {}
        spec[name] |= {"required": True} if is_complete and told.get("required") else {}
    return spec


def errors_of(spec: dict[str, Any], given: dict[str, Any]) -> list[str]:
    return list(ArgumentSpecValidator(spec).validate(given).error_messages)


def tasks_in(content: Any) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a list of plays or tasks."""
    for entry in content if isinstance(content, list) else []:
        if "hosts" in entry:
            yield from tasks_in(entry.get("tasks"))
        elif "import_playbook" not in entry:
            yield entry
            yield from tasks_in(entry.get("block"))


TASKS = [
    pytest.param(module, task[module], id=f"{block} {module.split('.')[-1]}")
    for block, content in YAML for task in tasks_in(content) for module in task if module.startswith("servos.ops.")
]  # fmt: skip


@pytest.mark.parametrize(("module", "given"), TASKS)
def test_a_task_has_options_of_its_module(module: str, given: dict[str, Any], documented: dict[str, dict[str, Any]]) -> None:
    assert [name for name in given if name not in documented[module]] == []
    plain = without_templates(given)
    assert errors_of(spec_of(documented[module], is_complete=plain == given), plain) == []


def test_plays_and_tasks_are_those_of_ansible(tmp_path: Path) -> None:
    lists = [(block, content) for block, content in YAML if isinstance(content, list)]
    assert len(lists) > 10
    names = []
    for number, (block, content) in enumerate(lists):
        is_playbook = any({"hosts", "import_playbook"} & set(entry) for entry in content)
        plays = content if is_playbook else [{"name": str(block), "hosts": "localhost", "gather_facts": False, "tasks": content}]
        names.append(f"{number}.yml")
        (tmp_path / names[-1]).write_text(yaml.safe_dump(plays, sort_keys=False))
    (tmp_path / "all.yml").write_text(yaml.safe_dump([{"import_playbook": name} for name in names]))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "--syntax-check", "-i", "localhost,", "all.yml"], cwd=tmp_path,
        env=os.environ | {"ANSIBLE_HOME": str(tmp_path / "ansible"), "NO_COLOR": "1"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def variables_in(content: Any) -> Iterator[tuple[str, Any]]:
    """Yield the variables of an inventory, of group_vars, or of a play."""
    for name, value in content.items() if isinstance(content, dict) else []:
        if isinstance(value, dict) and {"hosts", "children", "vars"} & set(value):
            yield from (value.get("vars") or {}).items()
            for host in (value.get("hosts") or {}).values():
                yield from (host or {}).items()
            yield from variables_in(value.get("children"))
        else:
            yield name, value


def specs_of_variables() -> dict[str, list[dict[str, Any]]]:
    """Return what the roles say of the variables that their own stand for: servos_x of role_x: "{{ servos_x | default(...) }}"."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in ROOT.glob("roles/*/defaults/main.yml"):
        said = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        told = yaml.safe_load((path.parents[1] / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]["main"][
            "options"
        ]
        for name, default in said.items():
            named = re.fullmatch(r"{{ (servos_\w+)(?: \| default\(.*\))? }}", str(default))
            if named and name in told:
                found.setdefault(named[1], []).append(told[name])
    return found


SPECS = specs_of_variables()
# A sealed value with its key is an example of a codec, and test_docs_profiles.py opens it.
SET = [
    pytest.param(name, value, id=f"{block} {name}")
    for block, content in YAML if not (isinstance(content, dict) and "stored" in content) for name, value in variables_in(content)
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), SET)
def test_a_variable_is_one_of_the_roles(name: str, value: Any, documented: dict[str, dict[str, Any]]) -> None:
    if name.startswith("ansible_"):
        return
    assert name in VARIABLES
    # The roles hand dictionaries on to the module's option of that name, which says what may be in one.
    handed_on = [options[name[7:]] for options in documented.values() if options.get(name[7:], {}).get("suboptions")]
    plain = without_templates({"it": value})
    assert [error for told in [*SPECS.get(name, []), *handed_on] for error in errors_of(spec_of({"it": told}), plain) if plain] == []
