# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the collection writes is closed to other users. That no key leaves its place is shown by tests/leaks."""

from __future__ import annotations

from installations import Servos


def test_modes_keep_others_out(servos: Servos) -> None:
    servos.stage()
    servos.backup()
    servos.rotate()
    ours = [servos.state_dir, servos.backup_dir, *servos.state_dir.rglob("*"), *servos.backup_dir.rglob("*")]
    assert {str(path): oct(path.stat().st_mode & 0o077) for path in ours if path.stat().st_mode & 0o077} == {}
