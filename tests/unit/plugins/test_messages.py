# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each message that the collection fails with says what to do next, and names only options that there are. Read, not run."""

from __future__ import annotations

import ast
import os
import re

import pytest
import yaml
from ansible_collections.servos.ops.plugins.module_utils._errors import ProfileError
from ansible_collections.servos.ops.plugins.module_utils._rotation.known_profiles import KNOWN_PROFILES
from ansible_collections.servos.ops.plugins.module_utils._rotation.profile import build_profile

PLUGINS = os.path.join(os.path.dirname(__file__), "..", "..", "..", "plugins")


def trees():
    found = {}
    for folder, unused_folders, names in os.walk(PLUGINS):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as stream:
                    found[os.path.relpath(path, PLUGINS).replace("module_utils/", "")] = ast.parse(stream.read())
    return dict(sorted(found.items()))


TREES = trees()
# A next step is a clause that begins with one of these, or a question.
VERB = re.compile(
    r"(?:add|allow|ask|bring|call|check|choose|compare|connect|convert|copy|correct|create|do|drop|empty|encode|end|"
    r"find|finish|fix|give|go|grant|have|install|keep|leave|let|list|lock|log in|look|lower|make|mend|mount|move|name|"
    r"open|pass|pin|point|put|quote|raise|read|remove|rename|repair|report|restart|restore|retire|rewrap|run|say|"
    r"scale|see|send|set|spell|start|state|stop|store|switch|take|trust|turn|unlock|unmount|update|upgrade|use|"
    r"verify|wait|write)\b"
)
CLAUSE = re.compile(r"(?:; |: |, | \()(?:and |or |then |first |but |so )?")
# What is put into a message and brings the next step along: another message, or the end of one, which is judged where it is made.
BRINGS_A_STEP = {
    "error",
    "reason",
    "reasons",
    "text",
    "hint",
    "told",
    "so_far",
    "what",
    "how",
    "file_error",
    "come_back",
    "_failure_text",
    "_go_back",
    "_nothing",
    "_way_past_a_denial",
}
# Their step is added by another, which is named.
FINISHED_BY = {
    "_apps/http_base.py": "broke after the request|did not answer within",  # the census says what became of it: _rotation/api_step
    "_apps/servos.py": "no JSON object|error in its body|^<[^<]*>$",  # the same
    "_agents/harden.py": "came up and is not as it must be",  # _put_back, which says what became of the drop-in
    "_rotation/window.py": "unexpected ",  # never shown: the real error is raised
}
# build_profile adds it to all of these, see the test below.
OF_THE_PROFILE = ("_rotation/profile.py", "_sealing/")


def family():
    names = {node.name for node in ast.walk(TREES["_errors.py"]) if isinstance(node, ast.ClassDef)}
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and any(getattr(base, "id", "") in names for base in node.bases):
                names.add(node.name)
    return names


def constants():
    return {
        target.id: node.value
        for tree in TREES.values()
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, (ast.Constant, ast.JoinedStr)) and not target.id.isdigit()
    }


FAMILY, CONSTANTS = family(), constants()


def rendered(node):
    """The text, with what is put in as its expression in angle brackets."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(map(rendered, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return rendered(node.left) + rendered(node.right)
    if isinstance(node, ast.IfExp):
        return rendered(node.body) + "; " + rendered(node.orelse)
    if isinstance(node, ast.BoolOp):
        return "; ".join(map(rendered, node.values))
    if isinstance(node, ast.FormattedValue):
        return rendered(node.value)
    if isinstance(node, ast.Name) and isinstance(CONSTANTS.get(node.id), (ast.Constant, ast.JoinedStr)):
        return rendered(CONSTANTS[node.id])
    return "<" + ast.dump(node, annotate_fields=False).replace(", ", ",") + ">"


def messages():
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in FAMILY and node.args:
                yield name, node.func.id, rendered(node.args[0])


MESSAGES = list(messages())


def says_what_to_do(text):
    first, *clauses = CLAUSE.split(text)
    if "?" in text or any(VERB.match(clause) for clause in clauses):
        return True
    put_in = [clause for clause in [first, *clauses] if re.fullmatch("(?:<[^<]*>)+", clause)] + re.findall("<[^<]*>$", text)
    return any(BRINGS_A_STEP & set(re.findall(r"'(\w+)'", expression)) for expression in put_in)


def is_finished_elsewhere(name, kind, text):
    if kind == "ProfileError" and name.startswith(OF_THE_PROFILE):
        return True
    return name in FINISHED_BY and re.search(FINISHED_BY[name], text) is not None


def test_there_are_messages():
    assert len(MESSAGES) > 600


@pytest.mark.parametrize("name", sorted({name for name, unused_kind, unused_text in MESSAGES}))
def test_each_message_says_what_to_do(name):
    mine = [(kind, text) for where, kind, text in MESSAGES if where == name]
    assert [text for kind, text in mine if not says_what_to_do(text) and not is_finished_elsewhere(name, kind, text)] == []


@pytest.mark.parametrize("name", FINISHED_BY)
def test_what_is_finished_elsewhere_is_still_there(name):
    mine = [text for where, unused_kind, text in MESSAGES if where == name]
    assert [word for word in FINISHED_BY[name].split("|") if not any(re.search(word, text) for text in mine)] == []


WHOLE = {"name": "x", "env_var": "X", "derivation": "raw32", "fields": []}
PROFILES = {
    "an option": {"nonsense": 1},
    "a field": {"fields": [{"table": "t"}]},
    "a codec": {"fields": [{"table": "t", "column": "c", "codec": {"cipher": "aes-256-cbc", "layout": ["ciphertext"], "mac": 3}}]},
    "a derivation": {"derivation": {"kdf": "pbkdf2"}},
}


@pytest.mark.parametrize("wrong", PROFILES.values(), ids=PROFILES)
def test_each_message_on_a_profile_says_what_to_do(wrong):
    with pytest.raises(ProfileError, match=r"; correct the profile$"):
        build_profile("custom", dict(WHOLE, **wrong))


def test_a_codec_is_named_by_its_field():
    with pytest.raises(ProfileError, match=r"^field of table t: "):
        build_profile("custom", dict(WHOLE, **PROFILES["a codec"]))


def documented(node):
    """Every name of an option, however deep."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("options", "suboptions"):
                yield from value
            yield from documented(value)


def options():
    found = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "").isupper() and isinstance(node.value, ast.Constant):
                try:
                    found.update(documented(yaml.safe_load(str(node.value.value))))
                except yaml.YAMLError:
                    continue
    return found


OPTIONS = options()
# An option by its place behind a semicolon's advice, "(env_file)", and with a value, "until=rewrapped".
NAMED_OPTION = re.compile(r"\((?:[a-z]+ of )?([a-z]+_[a-z_]+)\)|(?<!-)\b([a-z]+(?:_[a-z]+)*)=[a-z]+")
OTHERS = {"to_json", "key_retire_backups", "default_transaction_read_only", "memfd_create"}  # a filter, a role's, PostgreSQL's, Linux's


def test_options_are_found():
    assert {"env_file", "api_url", "database_token_file", "age_recipients", "until"} <= OPTIONS


# Named by whoever passes the message on (the host), or by words that are no option.
NAMED_ELSEWHERE = {"_hosts/kexinit.py", "_hosts/scan.py"}
THINGS = re.compile(r"/proc|the API URL|the vault file|\bpbkdf2\b")


@pytest.mark.parametrize("name", sorted({name for name, unused_kind, unused_text in MESSAGES} - NAMED_ELSEWHERE))
def test_each_message_names_a_thing(name):
    mine = [text for where, unused_kind, text in MESSAGES if where == name]
    assert [text for text in mine if "<" not in text and not OPTIONS & set(re.findall(r"[a-z_]+", text)) and not THINGS.search(text)] == []


@pytest.mark.parametrize("name", sorted({name for name, unused_kind, unused_text in MESSAGES}))
def test_each_option_that_is_named_is_there(name):
    found = {a or b for where, unused_kind, text in MESSAGES if where == name for a, b in NAMED_OPTION.findall(text)}
    assert sorted(found - OPTIONS - OTHERS - set(KNOWN_PROFILES["custom"])) == []


# What messages above are completed with: the name of the table, and the entries that another ends (_rotation/pika_outcome).
COMPLETIONS = {
    "_apps/pika_key.py": ("_MEANING", ("not_resealed", "vaults_not_resealed", "unreadable", "unclear")),
    "_stores/postgres_connection.py": ("_BEFORE_LOGIN", ()),
    "_stores/postgres_programs.py": ("_HINTS", ()),
}


@pytest.mark.parametrize("name", COMPLETIONS)
def test_each_completion_says_what_to_do(name):
    wanted, elsewhere = COMPLETIONS[name]
    (table,) = (node.value for node in TREES[name].body if isinstance(node, ast.Assign) and node.targets[0].id == wanted)
    pairs = zip(table.keys, table.values) if isinstance(table, ast.Dict) else (entry.elts for entry in table.elts)
    told = {rendered(sign): rendered(text) for sign, text in pairs}
    assert len(told) > 8
    assert [sign for sign, text in told.items() if sign not in elsewhere and not says_what_to_do("reason; " + text)] == []


def refusals():
    """Yield each message with which a role or a playbook fails."""
    for top in ("roles", "playbooks"):
        for folder, unused_folders, names in os.walk(os.path.join(PLUGINS, "..", top)):
            for name in sorted(name for name in names if name.endswith(".yml")):
                with open(os.path.join(folder, name), encoding="utf-8") as stream:
                    place = os.path.relpath(stream.name, os.path.join(PLUGINS, "..")).replace("/tasks", "")
                    yield from ((place, text) for text in failing(yaml.safe_load(stream)))


def failing(node):
    if isinstance(node, list):
        for item in node:
            yield from failing(item)
    elif isinstance(node, dict):
        for name, value in node.items():
            if name == "ansible.builtin.fail":
                yield value["msg"]
            elif name == "fail_msg":
                yield value
            else:
                yield from failing(value)


REFUSALS = sorted(refusals())
# What is put in: results of modules, whose messages are judged above, and lists of objections that the same file writes.
PUT_IN = re.compile(r"objections|next_step|\.error\b|\.msg\b|'mend'|'how'")


def test_there_are_refusals():
    assert len(REFUSALS) > 20


@pytest.mark.parametrize(("place", "text"), REFUSALS, ids=[place for place, unused_text in REFUSALS])
def test_each_refusal_of_a_role_or_playbook_says_what_to_do(place, text):
    clauses = re.split(r"(?:[.;:,'}] +|^)(?:and |or )?", text)
    says = any(VERB.match(clause.lower()) for clause in clauses)
    assert says or PUT_IN.search(text) or "servos.ops." in text
