# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the event source are loaded from their paths, as the source does it; no loader of collections knows them."""

from __future__ import annotations

import importlib.util
import os

import pytest


@pytest.fixture(scope="session")
def part(collection_root):
    """Return a function that loads a file of extensions/eda/receiver."""

    def load(name):
        path = os.path.join(collection_root, "extensions", "eda", "receiver", name + ".py")
        spec = importlib.util.spec_from_file_location("servos_ops_test_" + name, path)
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        return loaded

    return load
