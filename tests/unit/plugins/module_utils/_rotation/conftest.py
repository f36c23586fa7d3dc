# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scenery for the rotation tests: four keys, a store in memory, and a view of a database that says who sealed what."""

from __future__ import annotations

import base64
import binascii
import json

import pytest

KEYS = {"A": b"\xaa" * 32, "S": b"\x5e" * 32, "P": b"\x99" * 32, "X": b"\x66" * 32}


@pytest.fixture(scope="session")
def mark():
    """Return the fingerprint of one of the four keys: A active, S staged, P previous, X lost."""
    from ansible_collections.servos.ops.plugins.module_utils._keys.material import fingerprint_of

    return lambda name: fingerprint_of(KEYS[name])


@pytest.fixture(scope="session")
def sealed(gcm):
    """Seal a text under one of the four keys with the other library."""
    return lambda name, text: gcm.text(KEYS[name], text.encode("utf-8"))


@pytest.fixture(scope="session")
def blob(gcm):
    """The same as the bytes of a blob."""
    return lambda name, text: gcm.raw(KEYS[name], text.encode("utf-8"))


@pytest.fixture(scope="session")
def columns(gcm):
    """The same as three columns of hex."""
    return lambda name, text: gcm.columns(KEYS[name], text.encode("utf-8"))


class Reveal:
    """Turns what is stored into what it says: each sealed value becomes (layout, name of its key, plaintext)."""

    def __init__(self, gcm):
        self.gcm = gcm

    def raw(self, stored):
        for name, key_bytes in KEYS.items():
            plaintext = self.gcm.open_raw(key_bytes, stored) if len(stored) >= 28 else None
            if plaintext is not None:
                return name, plaintext
        return None

    def cell(self, cell):
        if isinstance(cell, bytes) and self.raw(cell):
            return ("blob", *self.raw(cell))
        if isinstance(cell, (bytes, str)) and len(cell) >= 40:
            try:
                found = self.raw(base64.b64decode(cell, validate=True))
            except (ValueError, binascii.Error):
                found = None
            if found:
                return ("text in a blob" if isinstance(cell, bytes) else "text", *found)
        if isinstance(cell, str) and cell[:1] in ("{", "["):
            try:
                return "json", self.node(json.loads(cell, object_pairs_hook=lambda pairs: ("object", pairs)))
            except ValueError:
                pass
        return type(cell).__name__, cell

    def node(self, node):
        if isinstance(node, str):
            return self.cell(node)
        if isinstance(node, (tuple, list)):
            return [self.node(child) for child in node]
        return node

    def rows(self, tables):
        return {table: [[self.cell(cell) for cell in row] for row in rows] for table, rows in tables.items()}

    def columns(self, stored):
        for name, key_bytes in KEYS.items():
            try:
                plaintext = self.gcm.open_columns(key_bytes, stored)
            except (TypeError, ValueError):
                return None
            if plaintext is not None:
                return name, plaintext
        return None


@pytest.fixture(scope="session")
def reveal(gcm):
    return Reveal(gcm)


@pytest.fixture(scope="session")
def moved():
    """What a revealed database must be after a rewrap: the same, with every value under S."""

    def move(node):
        if isinstance(node, tuple) and len(node) == 3 and node[1] in KEYS and isinstance(node[2], bytes):
            return node[0], "S", node[2]
        if isinstance(node, dict):
            return {name: move(child) for name, child in node.items()}
        return type(node)(move(child) for child in node) if isinstance(node, (list, tuple)) else node

    return move


class MemoryStore:
    """Tables as dictionaries: name -> (columns, key columns, {address: row})."""

    def __init__(self, tables):
        from ansible_collections.servos.ops.plugins.module_utils._stores.shapes import Table

        self.content = {name: (columns, key, dict(rows)) for name, (columns, key, rows) in tables.items()}
        self.shapes = [Table(name, tuple(columns), tuple(key), "rowid", ()) for name, (columns, key, unused) in tables.items()]

    def tables(self):
        return self.shapes

    def rows(self, table, columns):
        names, unused, rows = self.content[table.name]
        for address, row in sorted(rows.items()):
            yield (address,), tuple(row[names.index(column)] for column in columns)

    def long_columns(self, table, columns, *, text_bytes, blob_bytes):
        return set(columns)

    def key_of(self, table, address):
        names, key, rows = self.content[table.name]
        return ", ".join("%s=%s" % (column, rows[address[0]][names.index(column)]) for column in key)  # noqa: UP031

    def rewrite(self, table, rewrites, *, in_python, progress):
        names, unused, rows = self.content[table.name]
        changed = {}
        for address, row in rows.items():
            new = list(row)
            for rewrite in rewrites:
                positions = [names.index(column) for column in rewrite.columns]
                cells = rewrite.function(address, tuple(row[position] for position in positions))
                for position, cell in zip(positions, cells):
                    new[position] = cell
            changed[address] = tuple(new)
            progress(1)
        rows.update(changed)  # as a transaction: nothing is seen of it if a function raised


@pytest.fixture(scope="session")
def memory():
    return MemoryStore


@pytest.fixture(scope="session")
def ciphers(mark):
    from ansible_collections.servos.ops.plugins.module_utils._sealing.aes_gcm import Cipher

    return lambda names: {mark(name): Cipher(KEYS[name]) for name in names}


class Rotation:
    """One database with its env file on A and S staged, looked at and rewrapped as the collection does."""

    def __init__(self, make_installation):
        self._make = make_installation

    def installation(self, database, profile=None, app="servos", previous=False, **options):
        from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key

        made = self._make(database, app=app, profile=profile, key_bytes=KEYS["A"], staged=KEYS["S"], **options)
        if previous and made.keyring.read("previous") is None:
            made.keyring.write("previous", parse_key(KEYS["P"].hex(), derivation="raw32", where="x"))
        return made

    def look(self, database, profile=None, **options):
        from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import observe

        return observe(self.installation(database, profile, **options))

    def rewrap(self, database, profile=None, include_new_fields=True, census=None, **options):
        from ansible_collections.servos.ops.plugins.module_utils._rotation.data_step import rewrap_data
        from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import read_keys

        installation = self.installation(database, profile, **options)
        keys = read_keys(installation)
        if census is None:
            census = self.look(database, profile, **options).census
        return rewrap_data(
            installation, keys=keys, target=keys.staged, census=census, include_new_fields=include_new_fields, lock_timeout_s=2
        )


@pytest.fixture
def rotation(make_installation):
    return Rotation(make_installation)
