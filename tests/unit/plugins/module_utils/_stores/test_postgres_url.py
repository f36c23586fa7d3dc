# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The URL of a PostgreSQL database: what is named where, and what is refused."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import StoreError
from ansible_collections.servos.ops.plugins.module_utils._stores.postgres_url import address_of


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://act@db.example:5433/act?sslmode=verify-full", "postgresql://db.example:5433/act"),
        ("postgres://db.example/act?sslmode=verify-ca&sslrootcert=/etc/ca.pem", "postgresql://db.example/act"),
        ("postgresql://act@/act?host=/run/postgresql", "postgresql:///act?host=/run/postgresql"),
        ("postgresql://act@a:1,b:2/act", "postgresql://a:1,b:2/act"),
        ("postgresql://act@[::1]:5432/act", "postgresql://[::1]:5432/act"),
        ("postgresql:///?service=act", "postgresql:///?service=act"),
        ("postgresql://act@h/act?options=-csearch_path%3Dact", "postgresql://h/act"),
    ],
)
def test_name_is_without_user_and_options(url, name):
    assert address_of(url).name == name


@pytest.mark.parametrize(
    ("url", "asks"),
    [
        ("postgresql://act@db.example/act", True),
        ("postgresql://act@localhost,db.example/act", True),
        ("postgresql://act@10.0.0.7/act", True),
        ("postgresql:///act?host=db.example", True),
        ("postgresql://act@db.example/act?sslmode=disable", False),
        ("postgresql://act@db.example/act?sslmode=verify-full", False),
        ("postgresql://act@localhost/act", False),
        ("postgresql://act@127.0.0.1:5432,[::1]:5433/act", False),
        ("postgresql:///act", False),
        ("postgresql:///act?host=/run/postgresql", False),
        ("postgresql:///?service=act", False),
    ],
)
def test_tls_is_asked_for_where_the_url_says_nothing_and_something_leaves_the_host(url, asks):
    assert ("sslmode=require" in address_of(url).url) == asks


def test_options_survive():
    url = "postgresql://act@localhost/act?options=-csearch_path%3Dact%20-cwork_mem%3D64MB&application_name=a+b"
    assert address_of(url).url == url.replace("a+b", "a%2Bb")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://act:hunter2@h/act",
        "postgresql://act@h/act?password=hunter2",
        "postgresql://act@h/act?sslkey=/k&sslpassword=hunter2",
        "postgresql://act:hun@ter2@h/act",
        "postgresql://act:hun/ter2@h/act",
        "postgresql://act:hun/x?y=ter2@h/act",
        "postgresql://act:12/34ter2@h/act",
    ],
)
def test_a_password_is_refused_and_not_repeated(url):
    with pytest.raises(StoreError, match="database_password_file") as caught:
        address_of(url)
    assert "ter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://act@h", "postgresql://h/", "postgresql:act", "postgresql://h/a b", "postgresql://h/a#b", "postgresql://h/a?x"],
)
def test_malformed(url):
    with pytest.raises(StoreError, match="write postgresql:"):
        address_of(url)
