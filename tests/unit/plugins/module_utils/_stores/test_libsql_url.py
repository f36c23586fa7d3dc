# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""URLs of libSQL servers: what each means, how it is named, and what is refused before anything is sent."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import StoreError
from ansible_collections.servos.ops.plugins.module_utils._stores.libsql_url import server_of
from ansible_collections.servos.ops.plugins.module_utils._stores.urls import form_of, place_of

MEANT = {
    "libsql://db.turso.io": (True, "db.turso.io", 443, "", "libsql://db.turso.io"),
    "libsql://db.turso.io:8443/": (True, "db.turso.io", 8443, "", "libsql://db.turso.io:8443"),
    "libsql://db.turso.io?tls=1": (True, "db.turso.io", 443, "", "libsql://db.turso.io"),
    "https://db.turso.io/one": (True, "db.turso.io", 443, "/one", "libsql://db.turso.io/one"),
    "wss://DB.turso.io": (True, "db.turso.io", 443, "", "libsql://db.turso.io"),
    "libsql://127.0.0.1:8080?tls=0": (False, "127.0.0.1", 8080, "", "libsql://127.0.0.1:8080"),
    "http://localhost:8080": (False, "localhost", 8080, "", "libsql://localhost:8080"),
    "ws://[::1]:8080": (False, "::1", 8080, "", "libsql://[::1]:8080"),
}


@pytest.mark.parametrize("url", MEANT, ids=MEANT)
def test_what_a_url_means(url):
    server = server_of(url)
    assert (*server, server.name) == MEANT[url]
    assert place_of(url).identity == server.name


REFUSED = {
    "libsql://db.turso.io?authToken=se-cret": "database_token_file",
    "libsql://db.turso.io?token=se-cret": "database_token_file",
    "https://db.turso.io/?jwt=se-cret": "database_token_file",
    "https://user:se-cret@db.turso.io": "database_token_file",
    "https://se-cret@db.turso.io": "database_token_file",
    "http://db.turso.io": "plain HTTP",
    "ws://192.0.2.7:80": "plain HTTP",
    "libsql://db.turso.io?tls=0": "plain HTTP",
    "https://db.turso.io?tls=0": "query",
    "libsql://db.turso.io?tls=maybe": "query",
    "libsql://db.turso.io?other=se-cret": "query",
    "libsql://": "malformed",
    "libsql://db.turso.io:port": "malformed",
    "libsql://db.turso.io/#se-cret": "malformed",
    "libsql://db turso.io": "malformed",
}


@pytest.mark.parametrize("url", REFUSED, ids=REFUSED)
def test_what_is_refused(url):
    with pytest.raises(StoreError, match=REFUSED[url]) as caught:
        place_of(url)
    assert "se-cret" not in str(caught.value)


@pytest.mark.parametrize(("name", "suffix"), [("/b/servos-1.db", ".db"), ("/b/servos-1.db.json", None), ("/b/db", None)])
def test_the_form_of_a_snapshot_is_told_by_its_name(name, suffix):
    form = form_of(name)
    assert (form.suffix if form is not None else None) == suffix
