# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The house of DESIGN, section 4, held by its imports: arrows point down, the pure rooms are pure, nothing is found by name."""

from __future__ import annotations

import ast
import os
import sys

import pytest
import yaml

RANKS = {
    "action": 7,  # on the controller, as are the next three
    "callback": 7,
    "filter": 7,
    "test": 7,
    "plugin_utils": 6,
    "modules": 6,
    "_ansible": 5,
    "_audit": 4,  # looks at what the others know how to look at
    "_setup": 4,
    "_rotation": 3,
    "_agents": 3,
    "_hosts": 3,
    "_injection": 3,
    "_keys": 2,
    "_sealing": 2,
    "_stores": 2,
    "_apps": 2,
    "_system": 1,
    "_errors": 0,
    "doc_fragments": 0,
}
PURE = {
    "_audit/findings",
    "_audit/inspected",
    "_audit/reach",
    "_audit/rights",
    "_audit/spellings",
    "_errors",
    "_keys/material",
    "_keys/envfile",
    "_sealing/aes_gcm",
    "_sealing/age_file",
    "_sealing/codecs",
    "_sealing/hpke",
    "_sealing/ciphers",
    "_sealing/derivation",
    "_sealing/fernet",
    "_sealing/guessed_layouts",
    "_sealing/guessing",
    "_sealing/json_leaves",
    "_sealing/key_schedule",
    "_sealing/layout_codec",
    "_sealing/layouts",
    "_sealing/oracles",
    "_stores/database",
    "_stores/hrana_values",
    "_stores/json_document",
    "_stores/json_tables",
    "_stores/postgres_contents",
    "_system/addresses",
    "_system/descriptor_facts",
    "_stores/shapes",
    "_agents/capabilities",
    "_agents/credentials",
    "_agents/descriptors",
    "_agents/directives",
    "_agents/policy",
    "_agents/unit",
    "_hosts/endpoints",
    "_hosts/host_key",
    "_hosts/kexinit",
    "_hosts/known_hosts",
    "_hosts/pins",
    "_injection/plan",
    "_setup/places",
    "_setup/token_text",
    "_injection/variables",
    "_injection/wanted",
    "_rotation/profile",
    "_rotation/plan",
    "_rotation/known_profiles",
    "_rotation/draft_text",
    "_rotation/sampling",
    "_rotation/drafting",
    "_rotation/due",
    "_rotation/vault_escrow",
}
IMPURE = {
    "os",
    "time",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "sqlite3",
    "pathlib",
    "io",
    "tempfile",
    "shutil",
    "urllib",
    "http",
    "ssl",
    "uuid",
    "fcntl",
}
FOUND_BY_NAME = {"importlib", "pkgutil", "imp", "runpy", "pkg_resources"}
HERE = os.path.dirname(os.path.abspath(__file__))
PREFIX = "ansible_collections.servos.ops.plugins."


def _plugins():
    """The same tree as the collection that is imported, but known before anything is."""
    try:
        from ansible_collections.servos.ops.plugins.module_utils import _errors
    except ImportError:
        return os.path.abspath(os.path.join(HERE, "..", "..", "..", "plugins"))
    return os.path.abspath(os.path.join(os.path.dirname(_errors.__file__), ".."))


PLUGINS = _plugins()
SOURCES = {}
for directory, unused_directories, names in os.walk(PLUGINS):
    for filename in names:
        if filename.endswith(".py"):
            full = os.path.join(directory, filename)
            with open(full, encoding="utf-8") as source:
                SOURCES[os.path.relpath(full, PLUGINS)[:-3].replace(os.sep, "/")] = source.read()
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
each_file = pytest.mark.parametrize("name", sorted(TREES))


def place(name):
    """Return the room and, inside module_utils, the file's place: ('_keys', '_keys/material')."""
    parts = name.split("/")
    if parts[0] == "module_utils":
        return parts[1], "/".join(parts[1:])
    return parts[0], name


def dotted(name, node):
    """Return the absolute names that an import statement asks for."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parts = (PREFIX + name.replace("/", ".")).split(".")[: -node.level]
        base = ".".join(parts + ([node.module] if node.module else []))
    if node.module is None or base + "." in PREFIX + "module_utils." or is_room(base):
        return [base + "." + alias.name for alias in node.names]
    return [base]


def is_room(base):
    return base.startswith(PREFIX) and os.path.isdir(os.path.join(PLUGINS, *base[len(PREFIX) :].split(".")))


def imports(name):
    return [found for node in ast.walk(TREES[name]) if isinstance(node, (ast.Import, ast.ImportFrom)) for found in dotted(name, node)]


def ours(name):
    """Places inside the collection that a file imports, such as '_keys/material' or 'plugin_utils/_vault_file'."""
    found = [name[len(PREFIX) :].replace(".", "/") for name in imports(name) if name.startswith(PREFIX)]
    return [name[len("module_utils/") :] if name.startswith("module_utils/") else name for name in found]


def test_there_is_something_to_hold():
    assert len(TREES) > 30
    assert {place(name)[0] for name in TREES} <= set(RANKS)
    assert {place(name)[1] for name in TREES} >= PURE
    assert sum(len(ours(name)) for name in TREES) > 80


@each_file
def test_every_import_from_the_collection_is_there(name):
    there = {place(other)[1] for other in TREES if other.startswith(("module_utils/", "plugin_utils/"))}
    assert [found for found in ours(name) if found not in there and "/".join(found.split("/")[:2]) not in there] == []


@each_file
def test_arrows_point_down(name):
    room = place(name)[0]
    assert [found for found in ours(name) if found.split("/")[0] != room and RANKS[found.split("/")[0]] >= RANKS[room]] == []


@pytest.mark.parametrize("pure", sorted(PURE))
def test_pure_rooms_ask_the_world_nothing(pure):
    tree = TREES["module_utils/" + pure]
    roots = {found.split(".")[0] for found in imports("module_utils/" + pure)}
    assert roots & IMPURE == set()
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called & {"open", "print", "input", "eval", "exec", "compile", "__import__"} == set()
    asked = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert asked & {"now", "utcnow", "today", "urandom", "environ", "getenv"} == set()
    assert [found for found in ours("module_utils/" + pure) if "/".join(found.split("/")[:2]) not in PURE] == []


@each_file
def test_nothing_is_imported_by_name(name):
    assert {found.split(".")[0] for found in imports(name)} & FOUND_BY_NAME == set()
    called = {node.func.id for node in ast.walk(TREES[name]) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert called & {"__import__", "eval", "exec"} == set()


def guarded(tree):
    """Import statements that stand in a try which catches ImportError."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any(isinstance(h.type, ast.Name) and h.type.id == "ImportError" for h in node.handlers)
        for statement in node.body
        for inner in ast.walk(statement)
        if isinstance(inner, (ast.Import, ast.ImportFrom))
    }


def names_at_import_time(node):
    """Names that are read when a file is imported: outside function bodies, and not in postponed annotations."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns") or (
            field == "body" and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
                yield child.id
            if isinstance(child, ast.AST):
                yield from names_at_import_time(child)


@pytest.mark.skipif(not hasattr(sys, "stdlib_module_names"), reason="needs Python 3.10 to know what is not third-party")
@each_file
def test_third_party_imports_are_guarded_and_untouched_at_import_time(name):
    tree = TREES[name]
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Import, ast.ImportFrom)) or getattr(node, "level", 0):
            continue
        foreign = [
            f
            for f in dotted(name, node)
            if f.split(".")[0] not in sys.stdlib_module_names and f.split(".")[0] not in ("ansible", "ansible_collections")
        ]
        if not foreign:
            continue
        assert node in guarded(tree), foreign
        bound = {alias.asname or alias.name.split(".")[0] for alias in node.names}
        assert bound & set(names_at_import_time(tree)) == set(), foreign


@each_file
def test_only_one_room_knows_ansible(name):
    if place(name)[0] not in ("_ansible", "modules", "action", "callback", "filter", "test", "plugin_utils"):
        assert [found for found in imports(name) if found.split(".")[0] == "ansible"] == []
        assert "fail_json" not in {node.attr for node in ast.walk(TREES[name]) if isinstance(node, ast.Attribute)}


@each_file
def test_only_one_room_runs_and_forks(name):
    roots = {found.split(".")[0] for found in imports(name)}
    if place(name)[0] != "_system" and name != "plugin_utils/_watched_action":  # on the controller, beside the task
        assert roots & {"subprocess", "fcntl", "signal", "select", "multiprocessing", "threading"} == set()


@each_file
def test_python_3_8_reads_it(name):
    ast.parse(SOURCES[name], feature_version=(3, 8))
    assert any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in TREES[name].body)


@each_file
def test_nothing_of_a_debugger_is_left(name):
    assert [node.lineno for node in ast.walk(TREES[name]) if isinstance(node, ast.Assert)] == []
    called = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    assert [c.lineno for c in called if isinstance(c.func, ast.Name) and c.func.id in ("print", "breakpoint", "exit", "quit")] == []
    assert [
        c.lineno for c in called if isinstance(c.func, ast.Attribute) and c.func.attr == "exit" and isinstance(c.func.value, ast.Name)
    ] == []


@each_file
def test_names_say_what_a_room_is_for(name):
    assert [word for word in ("utils", "common", "helper", "manager", "misc") if word in place(name)[1].replace("plugin_utils/", "")] == []
    assert name.split("/")[-1].startswith("_") or place(name)[0] not in ("_errors", "doc_fragments")


MODULES = sorted(name.split("/")[1] for name in TREES if name.startswith("modules/") and not name.endswith("__init__"))


def constant(module, wanted):
    for node in TREES["modules/" + module].body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == wanted:
            return yaml.safe_load(ast.literal_eval(node.value))
    return None


# Those that take every option of an installation and its service: only they can have all of them by default.
OF_THE_GROUP = [
    module
    for module in MODULES
    if {"servos.ops._installation", "servos.ops._service"} <= set(constant(module, "DOCUMENTATION")["extends_documentation_fragment"])
]


def test_the_action_group_is_the_modules_on_an_installation():
    with open(os.path.join(PLUGINS, "..", "meta", "runtime.yml"), encoding="utf-8") as stream:
        group = yaml.safe_load(stream)["action_groups"]["servos"]
    assert group == OF_THE_GROUP
    assert len(group) > 3


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_whether_it_is_of_the_group(module):
    documentation = constant(module, "DOCUMENTATION")
    fragments = documentation["extends_documentation_fragment"]
    assert documentation["module"] == module
    assert "servos.ops._attributes" in fragments
    assert ("servos.ops._attributes.actiongroup_servos" in fragments) == (module in OF_THE_GROUP)
    assert [f for f in fragments if "doc_fragments/" + f.split(".")[2] not in TREES] == []
    assert {"check_mode", "diff_mode", "idempotent"} <= set(documentation["attributes"])
    assert all("servos.ops." + module in task for task in constant(module, "EXAMPLES"))
    assert constant(module, "RETURN")
