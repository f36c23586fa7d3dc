# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Oracles and scenery for the unit tests; nothing here uses the code under test except to hand an installation over."""

from __future__ import annotations

import base64
import importlib.util
import os
import sqlite3
import subprocess
import sys

import pytest
import yaml
from Cryptodome.Cipher import AES
from hypothesis import HealthCheck, settings

# The same examples in every run, and no database of them in the checkout.
settings.register_profile(
    "servos", max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("servos")

# Tests read the collection's YAML as YAML; the tag is Ansible's, and says that a text is no template.
yaml.SafeLoader.add_constructor("!unsafe", yaml.SafeLoader.construct_scalar)

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# ansible-test imports a test as a part of the collection, and not from its folder; one of these is also used by those beside it.
sys.path.append(os.path.join(TESTS, "unit", "plugins", "module_utils", "_sealing"))


class Gcm:
    """AES-256-GCM of another library than the collection's, in the three stored layouts."""

    @staticmethod
    def _parts(key_bytes, plaintext, nonce):
        return AES.new(key_bytes, AES.MODE_GCM, nonce=nonce, mac_len=16).encrypt_and_digest(plaintext)

    def raw(self, key_bytes, plaintext, nonce=None):
        nonce = nonce or os.urandom(12)
        ciphertext, tag = self._parts(key_bytes, plaintext, nonce)
        return nonce + ciphertext + tag

    def text(self, key_bytes, plaintext, nonce=None):
        return base64.b64encode(self.raw(key_bytes, plaintext, nonce)).decode("ascii")

    def columns(self, key_bytes, plaintext, nonce=None):
        nonce = nonce or os.urandom(16)
        ciphertext, tag = self._parts(key_bytes, plaintext, nonce)
        return ciphertext.hex(), nonce.hex(), tag.hex()

    @staticmethod
    def open_raw(key_bytes, stored):
        cipher = AES.new(key_bytes, AES.MODE_GCM, nonce=stored[:12], mac_len=16)
        try:
            return cipher.decrypt_and_verify(stored[12:-16], stored[-16:])
        except ValueError:
            return None

    def open_text(self, key_bytes, stored):
        return self.open_raw(key_bytes, base64.b64decode(stored, validate=True))

    @staticmethod
    def open_columns(key_bytes, stored):
        ciphertext, nonce, tag = (bytes.fromhex(part) for part in stored)
        cipher = AES.new(key_bytes, AES.MODE_GCM, nonce=nonce, mac_len=16)
        try:
            return cipher.decrypt_and_verify(ciphertext, tag)
        except ValueError:
            return None


class Hpke:
    """HPKE (RFC 9180: X25519, HKDF-SHA256, AES-256-GCM) of another library than the collection's; the sender's key stands first."""

    def __init__(self):
        # Not at the top: on Python 3.8 it cannot be imported ('type' object is not subscriptable).
        from Cryptodome.Protocol import DH, HPKE

        self._of_private, self._of_public = DH.import_x25519_private_key, DH.import_x25519_public_key
        self._new, self._aead = HPKE.new, HPKE.AEAD.AES256_GCM

    def seal(self, public_bytes, plaintext, info):
        sealer = self._new(receiver_key=self._of_public(public_bytes), aead_id=self._aead, info=info or None)
        return sealer.enc + sealer.seal(plaintext)

    def open(self, private_bytes, sealed, info):
        key = self._of_private(private_bytes)
        return self._new(receiver_key=key, aead_id=self._aead, enc=sealed[:32], info=info or None).unseal(sealed[32:])


@pytest.fixture(scope="session")
def other_hpke():
    """Seal and open with pycryptodomex."""
    if sys.version_info < (3, 9):
        pytest.skip("pycryptodomex's HPKE needs Python 3.9")
    return Hpke()


@pytest.fixture(scope="session")
def gcm():
    """Seal and open with pycryptodomex."""
    return Gcm()


@pytest.fixture(scope="session")
def collection_root():
    """Where the collection that the tests import lies: the checkout, or what a user would install."""
    # Only here: pytest loads this file before the collection can be imported.
    from ansible_collections.servos.ops.plugins.module_utils import _errors

    return os.path.abspath(os.path.join(os.path.dirname(_errors.__file__), "..", ".."))


@pytest.fixture(scope="session")
def reference_env_loader():
    """The env file reader of the reference application; it shares no line with the collection."""
    path = os.path.join(TESTS, "reference_apps", "servos", "envfile.py")
    if not os.path.exists(path):
        pytest.skip("the reference applications are not here")
    spec = importlib.util.spec_from_file_location("servos_reference_envfile", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def make_database(tmp_path):
    """Make a SQLite database from a script and rows; returns its path."""

    def make(script, rows=(), name="app.db"):
        path = str(tmp_path / name)
        connection = sqlite3.connect(path)
        connection.executescript(script)
        for statement, values in rows:
            connection.execute(statement, values)
        connection.commit()
        connection.close()
        return path

    return make


@pytest.fixture
def dump():
    """Return every row of every table of a database, in its own order, as plain sqlite3 sees it, types included."""

    def of(path):
        connection = sqlite3.connect(path)
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found = {}
        for name in names:
            quoted = '"' + name.replace('"', '""') + '"'
            found[name] = connection.execute("SELECT * FROM " + quoted).fetchall()
        connection.close()
        return found

    return of


def run_command(argv):
    """Run a command as AnsibleModule.run_command does."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")


@pytest.fixture(scope="session")
def runner():
    """The runner that services are given."""
    return run_command


@pytest.fixture
def make_installation(tmp_path):
    """Return an Installation with an env file, a state directory and no service."""
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation

    def make(database, *, app="servos", env_text=None, key_bytes=b"\x01" * 32, staged=None, **options):
        variable = {"servos": "SERVOS_MASTER_KEY", "act": "ACT_MASTER_KEY", "provara": "PROVARA_MASTER_KEY"}[app]
        env_file = tmp_path / "app.env"
        if not env_file.exists():
            env_file.write_text(env_text or (variable + "=" + key_bytes.hex() + "\n"))
        options.setdefault("service_manager", "none")
        options.setdefault("state_dir", str(tmp_path / "state"))
        made = Installation(dict(options, app=app, database=database, env_file=str(env_file)), run=run_command)
        if staged is not None:
            made.keyring.write("staged", made.parse(staged.hex(), where="the test"))
        return made

    return make


@pytest.fixture
def spawn():
    """Run Python text as a child process that prints a line when it is ready; it is killed at the end of the test."""
    children = []

    def start(text, *arguments, **options):
        env = dict(os.environ, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
        child = subprocess.Popen(
            [sys.executable, "-c", text, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, **options
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
