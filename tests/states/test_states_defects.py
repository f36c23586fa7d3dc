# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The games, the mixtures and the stops are worth something: each of these defects, put into the collection, is noticed."""

from __future__ import annotations

import functools

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from ansible_collections.servos.ops.plugins.module_utils._keys.keyring import Keyring
from ansible_collections.servos.ops.plugins.module_utils._rotation import census, custody, observe, rewrap, walk, window
from ansible_collections.servos.ops.plugins.module_utils._sealing import aes_gcm
from ansible_collections.servos.ops.plugins.module_utils._system import files
from disk import DISKS
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Rotations
from starts import STARTS
from test_states_mixtures import CONTENTS, disagreements, subsets
from test_states_stops import one_stop
from world import KINDS, ROLES, worlds

DEFECTS = {}


def defect(function):
    DEFECTS[function.__name__] = function
    return function
