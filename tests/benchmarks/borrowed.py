# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the measurements borrow from the other tests: their sshd, and the installation of the demo."""

from __future__ import annotations

import importlib.util
import sys
import typing as t

from measure import HERE


def borrow(place: str) -> t.Any:
    """Load a file below tests, which may import its neighbours."""
    path = HERE.parent / place
    spec = importlib.util.spec_from_file_location(f"servos_{path.stem}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise SystemExit(f"tests/{place} is not there")
    sys.path.append(str(path.parent))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
