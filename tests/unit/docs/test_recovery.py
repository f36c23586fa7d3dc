# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/recovery.md against the sources: each message that a rotation, its undoing or a restore can end in has a row, and no row is stale.

The sources are read and not run: a message is what stands in the call that makes an error, with gaps for what is put in. A row is
what the page shows of a message, with three dots for gaps.
"""

from __future__ import annotations

import ast
import re
import typing as t
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "recovery.md").read_text(encoding="utf-8")
ESCROW = (ROOT / "docs" / "escrow.md").read_text(encoding="utf-8")  # has the rows of what it is about
STARTS = (
    "modules/servos_key_rotate", "modules/servos_keyring", "modules/servos_backup", "modules/servos_key_info", "modules/servos_key_share",
    "action/servos_keyring",
)  # fmt: skip
ROLES = (
    "database_backup", "env_swap", "key_retire", "key_rotate", "key_share", "rotation_rehearse", "rotation_rollback", "rotation_verify",
    "service_restart",
)  # fmt: skip
# Of these the page says by their kind what to do: there is one for each entry of a profile, and it says what the entry may be.
BY_KIND = {"ProfileError"}
GAP = "\0"
OF_A_ROLE = "a role"
SHORTEST = 6  # letters that a message, or a row, must have to be told from others


class Message(t.NamedTuple):
    """One call that makes an error."""

    kind: str
    text: str
    where: str


def imported(path: Path) -> t.Iterator[Path]:
    """Yield the files of the collection that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.level or (node.module or "").startswith("ansible_collections.servos.ops.")):
            continue
        parts = (node.module or "").split(".") if node.module else []
        folder = path.parents[node.level - 1].joinpath(*parts) if node.level else ROOT.joinpath(*parts[3:])
        for found in (folder.with_suffix(".py"), *(folder / (alias.name + ".py") for alias in node.names)):
            if found.is_file():
                yield found


def reached() -> t.List[Path]:
    """Return the files that the modules are made of."""
    seen: t.Set[Path] = set()
    ahead = [ROOT / "plugins" / (name + ".py") for name in STARTS]
    while ahead:
        path = ahead.pop()
        if path not in seen:
            seen.add(path)
            ahead += imported(path)
    return sorted(seen)


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in reached()}
KINDS = {
    node.name for node in ast.walk(TREES[ROOT / "plugins" / "module_utils" / "_errors.py"]) if isinstance(node, ast.ClassDef)
}  # fmt: skip


def constants_of(tree: ast.Module) -> t.Dict[str, ast.expr]:
    """Return what stands behind the names that a file gives to texts."""
    named = [(target.id, node.value) for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
             if isinstance(target, ast.Name)]  # fmt: skip
    return {name: value for name, value in named if isinstance(value, (ast.Constant, ast.JoinedStr))}


SHARED = {name: value for tree in TREES.values() for name, value in constants_of(tree).items() if not name.startswith("_")}


def text_of(node: ast.AST, names: t.Dict[str, ast.expr]) -> str:
    """Return what stands in an expression, with gaps for what is put in when it runs."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part, names) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return text_of(node.value, names) if isinstance(node.value, ast.Name) else GAP
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text_of(node.left, names) + text_of(node.right, names)
    if isinstance(node, ast.Name) and node.id in names:
        return text_of(names[node.id], names)
    return GAP


def kind_of(call: ast.Call) -> str:
    """Return the kind of error that a call makes: by its name, or of the kind that another one had."""
    if isinstance(call.func, ast.Name) and call.func.id in KINDS:
        return call.func.id
    is_same_kind = isinstance(call.func, ast.Call) and isinstance(call.func.func, ast.Name) and call.func.func.id == "type"
    return "ServosError" if is_same_kind else ""


def is_told_apart(text: str) -> bool:
    """Tell whether a text says something of its own, and does not only hand on another one."""
    return len(re.sub(r"\W", "", re.sub("[Nn]othing was changed", "", text))) >= SHORTEST


def messages_of_modules() -> t.Iterator[Message]:
    """Yield every message of the modules. One that is all gap hands on another one."""
    for path, tree in TREES.items():
        names = dict(SHARED, **constants_of(tree))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            said = [word.value for word in node.keywords if word.arg == "msg" and getattr(node.func, "attr", "") == "fail_json"]
            if node.args and kind_of(node):
                said.append(node.args[0])
            for text in (text_of(part, names) for part in said):
                if is_told_apart(text):
                    yield Message(kind_of(node), text, f"{path.parent.name}/{path.name}:{node.lineno}")


def words_in(text: str) -> str:
    """Return what a template of a role says: its text, and the texts within its expressions; gaps for the rest."""

    def within(expression: t.Match[str]) -> str:
        return GAP.join(said for said in re.findall(r"'([^']*)'", expression[0]) if len(said) >= SHORTEST) or GAP

    return re.sub(r"{{.*?}}", within, text)


def messages_of_roles() -> t.Iterator[Message]:
    """Yield what the tasks of roles, and of the play before them, say when they fail."""

    def tasks(content: t.Any) -> t.Iterator[t.Dict[str, t.Any]]:
        for task in content or []:
            yield task
            for part in ("block", "rescue", "always"):
                yield from tasks(task.get(part))

    def said_in(content: t.Any, where: str) -> t.Iterator[Message]:
        for task in tasks(content):
            said = task.get("ansible.builtin.assert", {}).get("fail_msg") or task.get("ansible.builtin.fail", {}).get("msg")
            if said and is_told_apart(words_in(said)):
                yield Message(OF_A_ROLE, words_in(said), f"{where}: {task['name']}")

    for role in ROLES:
        for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml")):
            yield from said_in(yaml.safe_load(path.read_text(encoding="utf-8")), f"roles/{role}/{path.name}")
    # The play that all playbooks begin with.
    for play in yaml.safe_load((ROOT / "playbooks" / "plays" / "reached.yml").read_text(encoding="utf-8")):
        yield from said_in(play["tasks"], "playbooks/plays/reached.yml")


def variables_of_roles() -> t.Iterator[Message]:
    """Yield the variables from which some of these are put together; docs/fleets.md has rows for them."""
    for role in ROLES:
        for path in (ROOT / "roles" / role / "vars").glob("main.yml"):
            yield Message(OF_A_ROLE, re.sub(r"' ~ .*? ~ '", GAP, re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))), str(path))


MESSAGES = list(messages_of_modules()) + list(messages_of_roles())
SPOKEN = MESSAGES + list(variables_of_roles())


def rows_below(header: str, page: str = PAGE) -> t.List[str]:
    """Return the first cells of all tables with a header."""
    tables = re.findall(rf"^\| {header} \|.*\n\|[- |]+\n((?:\|.*\n)+)", page, re.M)
    return [row.split(" | ")[0][2:] for table in tables for row in table.splitlines()]


def patterns(row: str) -> t.List[str]:
    """Return each message that a row shows; several are separated by a comma outside of the code."""
    return re.findall(r"`([^`]+)`", row)


def fits(pattern: str, message: Message) -> bool:
    """Tell whether a message begins as a row shows it, with anything where three dots stand. What a role says begins with a template."""
    begin = "" if message.kind == OF_A_ROLE else "^"
    expression = begin + ".*".join(re.escape(piece) for piece in pattern.split("..."))
    return re.search(expression, re.sub(r"\s+", " ", message.text)) is not None


SHOWN = [pattern for row in rows_below("message") + rows_below("message", ESCROW) for pattern in patterns(row)]
ENDS = [pattern for row in rows_below("the message ends with") for pattern in patterns(row)]


def test_the_sources_are_found() -> None:
    assert len(MESSAGES) > 300
    assert {"_rotation", "_stores", "_keys", "_system", "_apps"} <= {message.where.split("/")[0] for message in MESSAGES}


@pytest.mark.parametrize("kind", sorted({message.kind for message in MESSAGES} - {OF_A_ROLE, ""}))
def test_each_kind_of_error_has_a_row(kind: str) -> None:
    assert rows_below("kind").count(f"`{kind}`") == 1


@pytest.mark.parametrize("message", [pytest.param(message, id=message.where) for message in MESSAGES if message.kind not in BY_KIND])
def test_each_message_has_a_row(message: Message) -> None:
    assert any(fits(pattern, message) for pattern in SHOWN), (
        "docs/recovery.md has no row for: " + message.text.replace(GAP, "...") + " (a row shows it with ... for what is put in)"
    )


@pytest.mark.parametrize("pattern", SHOWN)
def test_each_row_is_a_message(pattern: str) -> None:
    assert is_told_apart(pattern), "this would be taken for other messages as well"
    assert any(fits(pattern, message) for message in SPOKEN), "no source says this any more"


@pytest.mark.parametrize("name", ["recovery", "rotation"])
def test_each_phase_has_a_row(name: str) -> None:
    plan = TREES[ROOT / "plugins" / "module_utils" / "_rotation" / "plan.py"]
    (phases,) = [
        ast.literal_eval(node.value)
        for node in plan.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PHASES"
    ]
    page = (ROOT / "docs" / (name + ".md")).read_text(encoding="utf-8")
    assert rows_below("phase", page) == [f"`{phase}`" for phase in phases]


@pytest.mark.parametrize("pattern", ENDS)
def test_each_end_is_that_of_a_message(pattern: str) -> None:
    assert any(fits("..." + pattern, message) for message in SPOKEN), "no message ends so any more"
