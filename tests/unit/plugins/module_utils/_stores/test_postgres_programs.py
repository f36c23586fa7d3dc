# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told to the client programs, and what is told of their errors."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import StoreBusyError
from ansible_collections.servos.ops.plugins.module_utils._stores.postgres_programs import PostgresPrograms, refusal
from ansible_collections.servos.ops.plugins.module_utils._stores.postgres_url import address_of, url_with


def test_the_password_lies_in_a_private_file_of_no_disk(tmp_path):
    password = tmp_path / "password"
    password.write_text("a:b\\c\n")
    seen = {}

    def run(argv, descriptors):
        seen["argv"] = argv
        (descriptor,) = descriptors
        facts = os.fstat(descriptor)
        seen["kind"] = (stat.S_ISREG(facts.st_mode), stat.S_IMODE(facts.st_mode), facts.st_nlink)
        seen["content"] = os.pread(descriptor, 100, 0)
        return 0, "", ""

    address = address_of("postgresql://act@localhost/act")
    PostgresPrograms(address, str(password), run).call("pg_dump", "--format=custom", url=address.url)
    assert seen["kind"] == (True, 0o600, 0)
    assert seen["content"] == b"*:*:*:*:a\\:b\\\\c\n"
    assert seen["argv"][:3] == ["pg_dump", "--format=custom", "--no-password"]
    assert "a:b" not in " ".join(seen["argv"])


@pytest.mark.parametrize(
    ("errors", "shown", "hidden"),
    [
        ("pg_restore: error: COPY failed for table t: ERROR:  invalid input syntax for type uuid: \"s3cret\"\n"
         "CONTEXT:  COPY t, line 1: s3cret", "invalid input syntax for type uuid", "s3cret"),
        ("pg_dump: last built-in OID\npg_dump: error: query failed: ERROR:  permission denied for table closed", "SELECT", "OID"),
        ("pg_dump: error: could not write to output file: No space left on device", "the disk of /backups", "built-in"),
        ("pg_restore: error: x: ERROR:  could not extend file: No space left on device", "the server has no space", "/backups"),
        ("", "without a word", "error"),
    ],
    ids=["a row is quoted", "no privilege", "our disk", "the server's disk", "nothing said"],
)  # fmt: skip
def test_errors_are_said_without_rows(errors, shown, hidden):
    said = str(refusal("the dump", errors, room_on="/backups"))
    assert shown in said
    assert hidden not in said


def test_a_lock_is_another_kind_of_error():
    assert isinstance(refusal("the dump", "pg_dump: error: query failed: ERROR:  canceling statement due to lock timeout"), StoreBusyError)


@pytest.mark.parametrize(
    ("url", "other"),
    [
        ("postgresql://u@h:1,i:2/act?sslmode=require", "postgresql://u@h:1,i:2/scratch%20one?sslmode=require"),
        ("postgresql://u@/act?host=/run/postgresql", "postgresql://u@/scratch%20one?host=/run/postgresql"),
        ("postgresql:///?service=act&dbname=act", "postgresql:///scratch%20one?service=act"),
        ("postgresql://[::1]:5432/act", "postgresql://[::1]:5432/scratch%20one"),
    ],
)
def test_another_database_of_the_same_server(url, other):
    assert url_with(url, database="scratch one").replace("%2F", "/") == other


def test_an_option_replaces_the_one_that_was_there():
    assert url_with("postgresql://h/act?application_name=a+b&x=1", application_name="servos.ops") == (
        "postgresql://h/act?application_name=servos.ops&x=1"
    )
