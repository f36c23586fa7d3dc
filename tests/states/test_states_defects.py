# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the games, the mixtures and the stops are worth: each of these defects, put into the collection, is noticed."""

from __future__ import annotations

import itertools
import os

import pytest
from ansible_collections.servos.ops.plugins.module_utils._keys.keyring import Keyring
from ansible_collections.servos.ops.plugins.module_utils._rotation import counting, custody, observe, rewrap
from ansible_collections.servos.ops.plugins.module_utils._rotation.census import Census
from ansible_collections.servos.ops.plugins.module_utils._rotation.walk import Walk
from ansible_collections.servos.ops.plugins.module_utils._rotation.window import Window
from ansible_collections.servos.ops.plugins.module_utils._sealing.aes_gcm import RawCodec
from ansible_collections.servos.ops.plugins.module_utils._system import files
from calls import attempt
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Rotations
from starts import STARTS, begin
from test_states_mixtures import disagreements
from test_states_stops import CALLS, VALUES, every_stop, late_writers, one_stop
from world import KINDS, worlds


def the_env_file_is_swapped_before_its_old_key_is_kept(patch):
    swap = Window.swap

    def early(self, keys, target):
        self._run.installation.write_env_key(target)
        swap(self, keys, target)

    patch(Window, "swap", early)


def names_are_not_made_durable(patch):
    patch(files, "fsync_directory", lambda path: None)


def content_is_not_made_durable(patch):
    def write(path, content, *, prepare, last_look=lambda: None):
        descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, content)
        os.close(descriptor)
        os.replace(path + ".new", path)
        files.fsync_directory(os.path.dirname(path))

    patch(files, "_write", write)


def files_are_written_in_place(patch):
    def write(path, content, *, prepare, last_look=lambda: None):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, content)
        os.fsync(descriptor)
        os.close(descriptor)
        files.fsync_directory(os.path.dirname(path))

    patch(files, "_write", write)


def key_files_may_be_read_by_others(patch):
    write = Keyring.write

    def open_to_all(self, role, key):
        done = write(self, role, key)
        os.chmod(self.path_of(role), 0o644)
        return done

    patch(Keyring, "write", open_to_all)


def destroying_first(patch, name, role):
    """Let a part of custody begin by destroying the key of a role."""
    honest = getattr(custody, name)

    def early(installation, **options):
        installation.keyring.destroy(role)
        return honest(installation, **options)

    patch(custody, name, early)


def the_previous_key_goes_before_it_is_proven_useless(patch):
    destroying_first(patch, "retire", "previous")


def retiring_does_not_look_at_the_data(patch):
    patch(custody, "_refuse_retire", lambda seen, active, *, allow_empty: None)


def staging_replaces_a_staged_key(patch):
    destroying_first(patch, "stage", "staged")


def a_sealed_value_is_not_opened_again(patch):
    # What this check is for is a machine that computes wrongly, so it does.
    def renewer(self, source, target, nonce_of):
        def renew(stored):
            plaintext = self.open(source, stored)
            return None if plaintext is None else self.seal(target, plaintext[:-1] + b"?", nonce_of)

        return renew

    patch(RawCodec, "renewer", renewer)


def a_rollback_takes_the_key_back_and_not_the_data(patch):
    rewrap_all = Window._rewrap

    def only_forward(self, before, target):
        if not self._run.options.back:
            rewrap_all(self, before, target)

    patch(Window, "_rewrap", only_forward)
    patch(Walk, "_heal", lambda self, target: self.look())
    patch(Walk, "_verify", lambda self, after, target: None)


def a_place_in_json_is_left_out(patch):
    patch(rewrap, "replace_leaves", lambda text, replace: text)
    patch(Walk, "_verify", lambda self, after, target: None)


def hex_columns_are_not_seen(patch):
    patch(counting._Group, "count", lambda self, address, cells: None)
    patch(rewrap.Rewrapper, "of_group", lambda self, field: rewrap.Rewrite(field.columns, lambda address, cells: cells))


def foreign_values_are_passed_over(patch):
    patch(Census, "refuse_foreign", lambda self, known: None)


def nobody_looks_again_after_the_restart(patch):
    patch(Walk, "_heal", lambda self, target: self.look())
    patch(Walk, "_verify", lambda self, after, target: None)


def plain_text_is_tidied_up(patch):
    of_column = rewrap.Rewrapper.of_column

    def tidy(self, fields):
        done = of_column(self, fields)
        cell_function = done.cell_function

        def stripped(address, cell):
            return "a note" if cell == "just a note" else cell_function(address, cell)

        return rewrap.Rewrite(done.columns, lambda address, cells: (stripped(address, cells[0]),), stripped)

    patch(rewrap.Rewrapper, "of_column", tidy)


def a_result_shows_a_key(patch):
    as_result = observe.Observation.as_result

    def shown(self):
        return dict(as_result(self), env_text=self.keys.active.reveal_text())

    patch(observe.Observation, "as_result", shown)


def the_phase_is_guessed_from_the_env_file(patch):
    patch(observe, "phase_of", lambda sight: "activated" if sight.staged == sight.env and not sight.foreign else "settled")


def by_the_mixtures(make):
    cells = [("canary", "active"), *itertools.product(KINDS, ("active", "staged", "plain"))]
    cases = [("healed", {"files": ("staged",), "cells": cells}, {})]
    cases += [(kind, {"files": ("staged",), "cells": [*cells, (kind, "foreign")]}, {}) for kind in KINDS]
    return bool(disagreements(make, cases))


def by_a_plain_call(make):
    world = begin(make, STARTS[0], VALUES)
    for name in ("stage", "rotate", "retire"):
        attempt(world, lambda name=name: CALLS[name](world))
    return any(one_stop(make, start, "", None, then) for start in STARTS for then in ("rotate", "back", "retire"))


def by_a_stop(make):
    pairs = (("rotate", "back"), ("rotate", "rotate"))
    return any(one_stop(make, STARTS[1], name, stop, then) for name, then in pairs for stop in every_stop(make, STARTS[1], name, 2))


def by_a_late_writer(make):
    return bool(late_writers(make))


def by_a_game(make):
    run_state_machine_as_test(Rotations, settings=settings(max_examples=80, phases=[Phase.generate]))
    return False


def notices(instrument) -> bool:
    with worlds() as make:
        try:
            return instrument(make)
        except AssertionError:
            return True


FOUND = [
    (the_env_file_is_swapped_before_its_old_key_is_kept, by_a_stop),
    (names_are_not_made_durable, by_a_plain_call),
    (content_is_not_made_durable, by_a_plain_call),
    (files_are_written_in_place, by_a_stop),
    (key_files_may_be_read_by_others, by_a_plain_call),
    (the_previous_key_goes_before_it_is_proven_useless, by_a_plain_call),
    (the_previous_key_goes_before_it_is_proven_useless, by_a_game),
    (retiring_does_not_look_at_the_data, by_a_plain_call),
    (retiring_does_not_look_at_the_data, by_a_game),
    (staging_replaces_a_staged_key, by_a_game),
    (a_sealed_value_is_not_opened_again, by_the_mixtures),
    (a_rollback_takes_the_key_back_and_not_the_data, by_a_plain_call),
    (a_rollback_takes_the_key_back_and_not_the_data, by_a_game),
    (a_place_in_json_is_left_out, by_the_mixtures),
    (hex_columns_are_not_seen, by_the_mixtures),
    (foreign_values_are_passed_over, by_the_mixtures),
    (nobody_looks_again_after_the_restart, by_a_late_writer),
    (plain_text_is_tidied_up, by_the_mixtures),
    (a_result_shows_a_key, by_a_plain_call),
    (the_phase_is_guessed_from_the_env_file, by_a_game),
]


@pytest.mark.parametrize(("defect", "instrument"), FOUND, ids=lambda function: function.__name__)
def test_a_defect_is_noticed(monkeypatch, defect, instrument):
    defect(monkeypatch.setattr)
    assert notices(instrument)


@pytest.mark.parametrize("instrument", [by_the_mixtures, by_a_plain_call, by_a_late_writer], ids=lambda function: function.__name__)
def test_without_a_defect_nothing_is_noticed(instrument):
    assert not notices(instrument)
