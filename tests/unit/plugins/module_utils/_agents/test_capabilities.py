# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of capabilities against the kernel's numbers, which setpriv(1) and capabilities(7) know by themselves."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._agents.capabilities import NAMES, names_of, wanted_capabilities
from ansible_collections.servos.ops.plugins.module_utils._errors import AgentError


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        ("0000000000000000", []),
        ("0000000000000001", ["CAP_CHOWN"]),
        # What systemd gives for these three, as a kernel printed it.
        ("0000008000005000", ["CAP_NET_ADMIN", "CAP_IPC_LOCK", "CAP_BPF"]),
        ("0000000000200000", ["CAP_SYS_ADMIN"]),
        # What Docker gives a container by default.
        (
            "00000000a80425fb",
            [
                "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
                "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SETFCAP",
            ],
        ),
        ("0000010000000000", ["CAP_CHECKPOINT_RESTORE"]),
        ("0000020000000000", ["CAP_41"]),
    ],
    ids=["none", "first", "agent", "admin", "container", "last", "newer than we"],
)  # fmt: skip
def test_a_mask_has_names(mask, names):
    assert names_of(int(mask, 16)) == names


def test_all_that_linux_6_knows_are_named():
    assert len(NAMES) == 41
    assert names_of(0x1FFFFFFFFFF) == list(NAMES)


@pytest.mark.parametrize("texts", [["CAP_BPF", "CAP_NET_ADMIN"], ["net_admin", "bpf"], ["Cap_Net_Admin", " BPF ", "CAP_BPF"]])
def test_a_name_is_understood_however_it_is_written(texts):
    assert wanted_capabilities(texts) == ["CAP_NET_ADMIN", "CAP_BPF"]


@pytest.mark.parametrize("text", ["CAP_NETADMIN", "", "ALL", "12", "CAP_NET_ADMIN CAP_BPF"])
def test_what_is_no_capability_is_refused(text):
    with pytest.raises(AgentError, match="there is no capability"):
        wanted_capabilities(["CAP_BPF", text])
