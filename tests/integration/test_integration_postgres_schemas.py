# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a PostgreSQL schema can hold besides plain tables: what fires, what copies, what refuses, and other encodings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
from installations import OLD, seal, unseal
from postgres_fixtures import assert_rotated, assert_untouched, cluster, make_site, new_key, rotate, site
from postgres_servers import SUPERUSER_PASSWORD, Cluster
from postgres_site import PostgresSite
from servers import write

STAMP = "CREATE FUNCTION stamped() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$"


def opened(site: PostgresSite, query: str) -> list[bytes | None]:
    return [unseal(text, new_key(site)) for (text,) in site.sql(query)]


def test_a_dry_run_says_which_triggers_fire_and_how_often(site: PostgresSite) -> None:
    site.sql(STAMP.format(body="NEW.updated_at = now()"))
    site.sql("CREATE TABLE audit (at timestamptz)")
    site.sql("CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (now()); RETURN NULL; END $$")
    site.sql("CREATE TRIGGER stamp BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION stamped()")
    site.sql("CREATE TRIGGER note AFTER UPDATE OF token ON accounts FOR EACH STATEMENT EXECUTE FUNCTION noted()")
    site.sql("CREATE TRIGGER quiet AFTER INSERT ON accounts FOR EACH ROW EXECUTE FUNCTION noted()")
    site.sql("CREATE TRIGGER elsewhere AFTER UPDATE ON events FOR EACH ROW EXECUTE FUNCTION noted()")
    dry = rotate(site, check=True)
    assert "rewriting accounts updates up to 10 rows" in dry.warnings
    assert "note (after each statement that sets token)" in dry.warnings
    assert "stamp (before each row)" in dry.warnings
    assert "touch (before each row that sets name)" in dry.warnings
    assert "quiet" not in dry.warnings
    assert "elsewhere" not in dry.warnings  # a table without sealed values
    assert site.sql("SELECT count(*) FROM audit") == [(0,)]
    before = site.sql("SELECT max(updated_at) FROM accounts")[0][0]
    assert not rotate(site).failed
    assert_rotated(site)
    assert site.sql("SELECT min(updated_at) > %s FROM accounts", before) == [(True,)]
    assert site.sql("SELECT count(*) BETWEEN 1 AND 10 FROM audit") == [(True,)]


def test_a_trigger_on_one_partition_that_keeps_old_values(site: PostgresSite) -> None:
    site.sql("CREATE TABLE parts (n int, v text) PARTITION BY RANGE (n)")
    site.sql("CREATE TABLE part0 PARTITION OF parts FOR VALUES FROM (0) TO (5)")
    site.sql("CREATE TABLE part1 PARTITION OF parts DEFAULT")
    for number in range(10):
        site.sql("INSERT INTO parts VALUES (%s, %s)", number, seal(b"part", OLD))
    site.sql("CREATE TABLE history (v text)")
    site.sql("CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO history VALUES (OLD.v); RETURN NEW; END $$")
    site.sql("CREATE TRIGGER keep AFTER UPDATE ON part1 FOR EACH ROW EXECUTE FUNCTION kept()")
    assert "keep (after each row)" in rotate(site, check=True).warnings
    assert_untouched(site, rotate(site), "history.v", "trigger")


@pytest.mark.parametrize("action", ["NOTHING", "INSERT INTO history VALUES (OLD.token)"], ids=["swallowed", "copied"])
def test_a_rule_that_writes_something_instead(site: PostgresSite, action: str) -> None:
    site.sql("CREATE TABLE history (v text)")
    site.sql(f"CREATE RULE other AS ON UPDATE TO accounts DO INSTEAD {action}")
    assert "other (rule, instead)" in rotate(site, check=True).warnings
    assert_untouched(site, rotate(site), "accounts", "rules")
    assert site.sql("SELECT count(*) FROM history") == [(0,)]


def test_a_materialized_view_is_named_before_and_after(site: PostgresSite) -> None:
    site.sql("CREATE SCHEMA shown")
    site.sql('CREATE MATERIALIZED VIEW shown."All Tokens" AS SELECT upper(name::text) AS name, token FROM tokens')
    dry = rotate(site, check=True)
    assert 'values of accounts stay under the old key in shown."All Tokens" until REFRESH MATERIALIZED VIEW' in dry.warnings
    done = rotate(site)
    assert not done.failed, done.msg
    assert "All Tokens" in done.warnings
    assert {unseal(text, OLD) is not None for (text,) in site.sql('SELECT token FROM shown."All Tokens"')} == {True}
    site.sql('REFRESH MATERIALIZED VIEW shown."All Tokens"')
    assert None not in opened(site, 'SELECT token FROM shown."All Tokens"')


CREATED = {
    "identity": "CREATE TABLE more (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)",
    "unique": "CREATE TABLE more (v text UNIQUE, id serial)",
    "generated": "CREATE TABLE more (id serial PRIMARY KEY, v text, size int GENERATED ALWAYS AS (length(v)) STORED)",
    "copied": "CREATE TABLE more (id serial PRIMARY KEY, v text, same text GENERATED ALWAYS AS (v) STORED)",
    "unlogged": "CREATE UNLOGGED TABLE more (id serial PRIMARY KEY, v text)",
    "excluded": "CREATE TABLE more (id serial, v text, EXCLUDE USING hash (v WITH =))",
    "partial": "CREATE TABLE more (id serial PRIMARY KEY, v text); CREATE UNIQUE INDEX ON more (left(v, 40)) WHERE id > 1",
    "upper": 'CREATE TABLE more (id serial PRIMARY KEY, v text); CREATE TABLE "MORE" (v text); CREATE TABLE "mo""re" (v text)',
}


@pytest.mark.parametrize("statements", CREATED.values(), ids=CREATED)
def test_tables_of_every_make(site: PostgresSite, statements: str) -> None:
    for statement in statements.split("; "):
        site.sql(statement)
    for number in range(3):
        site.sql("INSERT INTO more (v) VALUES (%s)", seal(b"more %d" % number, OLD))
    done = rotate(site)
    assert (done.failed, done["rewrapped"]) == (False, 23), done.msg
    assert set(opened(site, "SELECT v FROM more")) == {b"more 0", b"more 1", b"more 2"}
    assert_rotated(site)


def test_percent_signs_in_names(site: PostgresSite) -> None:
    """Which a driver may take for places of its arguments."""
    with site.connect() as connection:
        connection.execute('CREATE TABLE "100%s" ("k%b::text" int PRIMARY KEY, "a%% $1" text, "c%b::tid" text)')
        connection.execute(f"INSERT INTO \"100%s\" VALUES (7, '{seal(b'first', OLD)}', '{seal(b'lost', bytes(32))}')")
        connection.execute(f"INSERT INTO \"100%s\" VALUES (8, '{seal(b'second', OLD)}', '{seal(b'third', OLD)}')")
    assert_untouched(site, rotate(site), "100%s.c%b::tid of k%b::text=7")
    with site.connect() as connection:
        connection.execute('UPDATE "100%s" SET "c%b::tid" = NULL WHERE "k%b::text" = 7')
    done = rotate(site)
    assert not done.failed, done.msg
    with site.connect() as connection:
        rows = connection.execute('SELECT "a%% $1", "c%b::tid" FROM "100%s" ORDER BY 1 IS NULL, "k%b::text"').fetchall()
    assert [unseal(cell, new_key(site)) if cell else None for row in rows for cell in row] == [b"first", None, b"second", b"third"]


def test_a_role_for_which_backslashes_escape(make_site: Callable[..., PostgresSite], cluster: Cluster) -> None:
    """No schema is passed over for it."""
    site = make_site()
    with cluster.connect() as connection:
        connection.execute(f"ALTER ROLE {site.role} SET standard_conforming_strings = off")
    site.sql("CREATE SCHEMA pgdata")
    site.sql("CREATE TABLE pgdata.more (id int PRIMARY KEY, v text)")
    site.sql("INSERT INTO pgdata.more VALUES (1, %s)", seal(b"more", OLD))
    assert not site.run("servos_keyring", state="staged", rotation_id="t").failed
    assert not rotate(site).failed
    assert opened(site, "SELECT v FROM pgdata.more") == [b"more"]


def test_a_check_that_new_values_do_not_pass(site: PostgresSite) -> None:
    """As one that wants to know its values would have it."""
    first = site.sql("SELECT token FROM accounts WHERE id = 1")[0][0]
    site.sql(f"ALTER TABLE accounts ADD CONSTRAINT familiar CHECK (id <> 1 OR token = '{first}')")
    assert_untouched(site, rotate(site), "familiar")


def test_columns_that_the_profile_does_not_name_stop_the_run(site: PostgresSite) -> None:
    profile = {"fields": [{"table": "accounts", "column": "token", "codec": "aes256gcm_base64"}]}
    outcome = rotate(site, profile=profile, discover="fail")
    assert_untouched(site, outcome, "vault.Odd Name.doc")
    done = rotate(site, profile=profile, discover="include")
    assert (done.failed, done["rewrapped"]) == (False, 20), done.msg
    assert_rotated(site)


def test_a_draft_of_a_profile_names_what_is_there(site: PostgresSite) -> None:
    outcome = site.run("servos_key_info", app="custom", env_var="SERVOS_MASTER_KEY", discover=True)
    assert not outcome.failed, outcome.msg
    printed = json.dumps(outcome.result)
    assert [word for word in ("accounts", "token", "vault.Odd Name", "doc") if word not in printed] == [], printed


@pytest.fixture
def latin(cluster: Cluster) -> Iterator[Callable[[str], str]]:
    made = []

    def make(encoding: str) -> str:
        name = f"encoded_{encoding.lower()}"
        with cluster.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
        made.append(name)
        return name

    yield make
    for name in made:
        cluster.drop(name)


def test_a_database_in_latin1(site: PostgresSite, cluster: Cluster, latin: Callable[[str], str]) -> None:
    name = latin("LATIN1")
    with cluster.connect(name) as connection:
        connection.execute("CREATE TABLE people (id serial PRIMARY KEY, name text, v text)")
        for number in range(3):
            connection.execute("INSERT INTO people (name, v) VALUES (%s, %s)", (f"Zoë {number}", seal(b"latin", OLD)))
    write(site.password_file, f"{SUPERUSER_PASSWORD}\n")
    done = rotate(site, database=cluster.url(name))
    assert (done.failed, done["rewrapped"]) == (False, 3), done.msg
    with psycopg.connect(cluster.url(name), password=SUPERUSER_PASSWORD) as connection:
        rows = connection.execute("SELECT name, v FROM people ORDER BY id").fetchall()
    assert [(name, unseal(text, new_key(site))) for name, text in rows] == [(f"Zoë {n}", b"latin") for n in range(3)]


def test_a_database_whose_encoding_nobody_knows(site: PostgresSite, cluster: Cluster, latin: Callable[[str], str]) -> None:
    write(site.password_file, f"{SUPERUSER_PASSWORD}\n")
    assert_untouched(site, rotate(site, database=cluster.url(latin("SQL_ASCII"))), "SQL_ASCII", "UTF8")


__all__ = ("cluster", "make_site", "site")  # fixtures that are made elsewhere
