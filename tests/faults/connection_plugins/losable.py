# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""This machine as a managed host that can be lost: as long as a file is there, nothing reaches it."""

from __future__ import annotations

import os
import typing

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection.local import Connection as LocalConnection

DOCUMENTATION = r"""
name: losable
short_description: The local connection, until a file says that the host is lost
description:
  - Fails as an unreachable host does while there is the file lost_mark.
options:
  lost_mark:
    description: The file.
    vars:
      - name: losable_mark
extends_documentation_fragment:
  - connection_pipelining
"""


class Connection(LocalConnection):
    """The local connection, with a switch."""

    transport = "losable"

    def exec_command(self, *args: typing.Any, **kwargs: typing.Any) -> typing.Any:
        if os.path.exists(self.get_option("lost_mark")):
            raise AnsibleConnectionFailure("the host is lost")
        return super().exec_command(*args, **kwargs)
