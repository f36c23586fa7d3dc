# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """Where a key is to lie, sealed, before it is used."""

    DOCUMENTATION = r"""
options:
  escrow:
    description:
      - To whom the key is sealed, before any data is under it. What was written is read back from its disk, opened and compared,
        and M(servos.ops.servos_key_rotate) refuses a staged key whose escrow was asked for and is not there.
      - Only with O(state=staged) and O(state=escrowed). The escrow of a rotation that is under way is completed.
      - See the guide C(docs/escrow.md) of the collection for the whole, and for how a key is restored by hand.
    type: dict
    suboptions:
      directory:
        description:
          - The directory on the managed host that the sealed files and their notes lie in. It is made C(0700), must not lie in
            O(state_dir), and nothing in it is ever removed by the collection. The default is C(/var/lib/APP/escrow).
        type: path
      age_recipients:
        description:
          - Recipients of age (C(age1...), of age or a plug-in of it, or SSH public keys), each of whom can open the key alone.
          - Needs the program C(age) on the managed host.
        type: list
        elements: str
      shares:
        description:
          - Splits the key into one share a recipient. So many of them as O(escrow.shares.threshold) says open it, fewer learn nothing.
          - Needs the program C(age) and the Python library PyCryptodome on the managed host. Each share is sealed to its holder before
            it is written.
        type: dict
        suboptions:
          threshold:
            description: How many shares open the key; at least 2.
            type: int
            required: true
          recipients:
            description: Recipients of age, one a holder.
            type: list
            elements: str
            required: true
      vault_file:
        description:
          - A file on the controller that the key is put into, encrypted with the play's vault secrets. The directory must be there.
          - C({fingerprint}) in it stands for the 16 hex digits of the key's fingerprint. A directory, with a slash at its end, gets
            a file of its own for each key. A relative path starts at the playbook's directory.
          - A file that holds another key is never overwritten.
          - On its way the key is sealed to a key pair that the controller makes for this one task and never writes down.
        type: str
      vault_id:
        description:
          - The vault id to encrypt O(escrow.vault_file) with. By default it is the one that C(ansible-vault encrypt) would take.
        type: str
      vault_recipient:
        description:
          - Set by the action plugin, not by you; the controller's public key for this one task.
        type: str
      vault_receipt:
        description:
          - Set by the action plugin, not by you; what the controller has written.
        type: dict
"""
