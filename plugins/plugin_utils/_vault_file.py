# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The vault file on the controller: written once, in one step, read back and opened; a file of another key is never touched."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import socket
import typing as t

from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, match_encrypt_secret
from ansible_collections.servos.ops.plugins.module_utils._errors import EscrowError, ServosError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.vault_escrow import Handed, key_text_in
from ansible_collections.servos.ops.plugins.module_utils._sealing.derivation import derivation_of
from ansible_collections.servos.ops.plugins.module_utils._system import files
from ansible_collections.servos.ops.plugins.module_utils._system.read_back import read_from_disk

PLACEHOLDER = "{fingerprint}"
_LIMIT_BYTES = 1024 * 1024


class VaultFile:
    """Where a key goes on the controller.

    Args:
        secrets: the vault secrets of the play, pairs of vault id and secret.
        target: the option O(escrow.vault_file).
        vault_id: the vault id to encrypt with, or None for Ansible's own choice.
    """

    def __init__(self, secrets: t.Sequence[tuple[str, t.Any]] | None, target: str, vault_id: str | None) -> None:
        self._secrets = list(secrets or ())
        self._target = os.path.expanduser(target)
        self._vault_id = vault_id or constants.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")

    def require_means(self) -> None:
        """Refuse, before a key is made, what would fail after it. Writes nothing.

        Raises:
            EscrowError: no vault secret, no directory, or a file that these secrets do not open.
        """
        self._secret()
        if not os.path.isabs(self._target):
            raise EscrowError(
                "escrow.vault_file is a relative path, which a playbook of a collection would take for one of its own; nothing was "
                "changed; write for example '{{ inventory_dir }}/escrow/'"
            )
        directory = os.path.dirname(self._path_for("mk:0"))
        if PLACEHOLDER in os.path.dirname(self._target):
            raise EscrowError(f"escrow.vault_file has {PLACEHOLDER} in its directory; put it into the file's name; nothing was changed")
        if not os.path.isdir(directory):
            raise EscrowError(f"{directory}, for escrow.vault_file, is not there on the controller; nothing was changed; make it")
        if not os.access(directory, os.W_OK):
            raise EscrowError(
                f"{directory} cannot be written on the controller by uid {os.geteuid()}; nothing was changed; "
                "correct its mode or owner"
            )
        path = self._path_for("mk:0")
        if os.path.lexists(path):
            self._opened(files.read_file(path, limit_bytes=_LIMIT_BYTES), path)

    def put(self, handed: Handed) -> dict[str, t.Any]:
        """Write the key's document, unless it is there already; return what the note says of it.

        Raises:
            EscrowError: there is a file of another key, or what was written does not open to the key.
        """
        path = self._path_for(handed.fingerprint)
        vault_id, secret = self._secret()
        if not os.path.lexists(path):
            try:
                sealed = VaultLib(self._secrets).encrypt(handed.document.encode("ascii"), secret, vault_id=vault_id)
            except AnsibleError as error:
                raise EscrowError(f"Ansible did not encrypt {path}: {error}; no data was touched; see to that, then run again") from None
            self._write_new(path, sealed, handed.document)
        content = read_from_disk(path, limit_bytes=_LIMIT_BYTES)
        found = self._fingerprint_in(self._opened(content, path), handed.derivation, path)
        if found != handed.fingerprint:
            raise EscrowError(
                f"{path} on the controller holds {found or 'something that is no key'}, which is never overwritten, and not "
                f"{handed.fingerprint}; no data was touched; put {PLACEHOLDER} into escrow.vault_file, or name a directory, and run again"
            )
        return {
            "fingerprint": handed.fingerprint, "path": path, "host": socket.gethostname(), "vault_id": vault_id,
            "sha256": hashlib.sha256(content).hexdigest(),
        }

    def _path_for(self, mark: str) -> str:
        digits = mark.partition(":")[2]
        if self._target.endswith(os.sep) or os.path.isdir(self._target):
            return os.path.join(self._target, f"escrow-{digits}.yml")
        return self._target.replace(PLACEHOLDER, digits)

    def _secret(self) -> tuple[str, t.Any]:
        """Return vault id and secret to encrypt with, by the rules of C(ansible-vault encrypt)."""
        if not self._secrets:
            raise EscrowError(
                "escrow.vault_file needs a vault secret, and the play has none; nothing was changed; give one (--vault-id, "
                "--vault-password-file or ANSIBLE_VAULT_PASSWORD_FILE)"
            )
        names = sorted({name for name, unused_secret in self._secrets})
        if len(names) > 1 and not self._vault_id:
            raise EscrowError(f"the play has several vault ids ({', '.join(names)}); nothing was changed; choose one (escrow.vault_id)")
        try:
            chosen: tuple[str, t.Any] = match_encrypt_secret(self._secrets, encrypt_vault_id=self._vault_id)
        except AnsibleError:
            raise EscrowError(
                f"the play has no secret for the vault id {self._vault_id}, only for {', '.join(names)}; nothing was changed; give it "
                "(--vault-id), or choose another (escrow.vault_id)"
            ) from None
        return chosen

    def _opened(self, content: bytes, path: str) -> bytes:
        try:
            opened: bytes = VaultLib(self._secrets).decrypt(content)
        except AnsibleError:  # its text may name the file's content
            raise EscrowError(
                f"{path} on the controller does not open under the play's vault secrets, and is never overwritten; no data was touched; "
                f"put {PLACEHOLDER} into escrow.vault_file, or move that file away"
            ) from None
        return opened

    def _write_new(self, path: str, sealed: bytes, document: str) -> None:
        """Write a file, 0600, that is there whole, on disk and opening to the document, or not at all; never over another."""
        directory, name = os.path.split(path)
        temporary = os.path.join(directory, f".{name}.{os.urandom(4).hex()}.servos-ops-new")
        try:
            files.write_private_file(temporary, sealed)
            if not self._holds(temporary, document):
                raise EscrowError(f"{path} on the controller would not hold what was written; no data was touched; is its disk sound?")
            os.link(temporary, path)
            files.fsync_directory(directory)
        except FileExistsError:
            pass  # another host's task was first; what it wrote is looked at like any other file
        except OSError as error:
            raise files.file_error("write", path, error) from None
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _holds(self, path: str, document: str) -> bool:
        with contextlib.suppress(ServosError):
            opened = self._opened(read_from_disk(path, limit_bytes=_LIMIT_BYTES), path)
            return hmac.compare_digest(opened, document.encode("ascii"))
        return False

    @staticmethod
    def _fingerprint_in(document: bytes, derivation: t.Any, path: str) -> str | None:
        """Return the fingerprint of the key in a document, from the key itself, or None where there is none."""
        text = key_text_in(document)
        with contextlib.suppress(ServosError):
            rule = derivation_of(derivation) if isinstance(derivation, dict) else derivation
            return parse_key(text, derivation=rule, where=path).fingerprint if text else None
        return None


__all__ = ("PLACEHOLDER", "VaultFile")
