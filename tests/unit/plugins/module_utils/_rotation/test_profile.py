# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Profiles: what is known of each application, what a user may override, and how each mistake is refused."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ProfileError
from ansible_collections.servos.ops.plugins.module_utils._rotation.profile import Field, as_profile_entry, build_profile

COLUMNS = {"ciphertext": "c", "nonce": "n", "tag": "t"}


@pytest.mark.parametrize(
    ("app", "env_var", "env_file", "service", "database", "state_dir"),
    [
        (
            "servos",
            "SERVOS_MASTER_KEY",
            "/etc/servos/servos.env",
            "servos",
            "sqlite:////var/lib/servos/servos.db",
            "/var/lib/servos/rotation",
        ),
        ("act", "ACT_MASTER_KEY", "/etc/act/act.env", "act", "sqlite:////var/lib/act/act.db", "/var/lib/act/rotation"),
        ("provara", "PROVARA_MASTER_KEY", None, None, None, "/var/lib/provara/rotation"),
        ("nodered", "NODE_RED_CREDENTIAL_SECRET", None, "nodered", None, "/var/lib/nodered/rotation"),
    ],
    ids=["servos", "act", "provara", "nodered"],
)
def test_places_are_those_that_the_pages_name(app, env_var, env_file, service, database, state_dir):
    profile = build_profile(app, None)
    assert (profile.app, profile.env_var, profile.env_file, profile.service) == (app, env_var, env_file, service)
    assert (profile.database, profile.state_dir) == (database, state_dir)


def test_node_red_has_one_field_that_nothing_authenticates_and_a_key_of_its_own_beside():
    profile = build_profile("nodered", None)
    assert [str(field) for field in profile.unauthenticated()] == [str(field) for field in profile.fields] == ["document.$"]
    assert profile.rival_key == (".config.runtime.json", "_credentialSecret")
    assert build_profile("nodered", {"rival_key": None}).rival_key is None


@pytest.mark.parametrize(
    "rival", [".config.runtime.json", {"file": "x"}, {"file": "../x", "member": "y"}, {"file": "x", "member": "y", "more": 1}], ids=repr
)
def test_a_rival_key_is_a_file_beside_the_database_and_a_member(rival):
    with pytest.raises(ProfileError, match="rival_key of the profile is a dictionary with file, a name beside the database, and member"):
        build_profile("nodered", {"rival_key": rival})


def test_servos_finds_its_fields_by_discovery_and_expects_a_canary():
    for app in ("servos", "act"):
        profile = build_profile(app, {})
        assert profile.fields == ()
        assert (profile.derivation, profile.canary_row, profile.canary_required) == ("raw32", "canary", False)
        assert profile.rotate_path == "/api/maintenance/rotate-key"


def test_provara_names_both_of_its_tables():
    profile = build_profile("provara", None)
    columns = ("encrypted_value", "iv", "auth_tag")
    assert [(f.table, f.columns, f.codec, f.optional) for f in profile.fields] == [
        ("api_keys", columns, "aes256gcm_hex_columns", False),
        ("context_connector_credentials", columns, "aes256gcm_hex_columns", True),
    ]
    assert (profile.derivation, profile.canary_row, profile.rotate_path) == ("hex_or_sha256", None, None)


@pytest.mark.parametrize(
    ("table", "column", "name"),
    [
        ("servers", "ssh_private_key", "server SSH private keys"),
        ("builders", "ssh_private_key", "builder SSH private keys"),
        ("servers", "ssh_passphrase", "SSH passphrases"),
        ("services", "env_vars", "service env vars"),
        ("environments", "env_vars", "environment-level env vars"),
        ("git_credentials", "token", "Git access tokens"),
        ("registries", "password", "registry credentials"),
        ("storage_providers", "secret", "storage provider secrets"),
        ("settings", "integrity_canary", "integrity canary"),
        ("SERVERS", "SSH_PRIVATE_KEY", "server SSH private keys"),
        ("notes", "body", None),
    ],
)
def test_every_class_of_the_pages_is_named_by_where_it_lies(table, column, name):
    assert build_profile("servos", None).class_of(table, column) == name


@pytest.mark.parametrize(
    ("option", "value", "attribute", "expected"),
    [
        ("env_var", "OTHER_KEY", "env_var", "OTHER_KEY"),
        ("env_file", "/srv/x.env", "env_file", "/srv/x.env"),
        ("service", None, "service", None),
        ("derivation", "hex_or_sha256", "derivation", "hex_or_sha256"),
        ("canary", None, "canary_row", None),
        ("canary", {"row": "probe", "required": True}, "canary_required", True),
        ("ignore", [{"table": "t", "column": "c"}], "ignore", (("t", "c"),)),
        ("rotate_path", "/r", "rotate_path", "/r"),
        ("fields", [{"table": "t", "column": "c"}], "fields", (Field("t", ("c",), "aes256gcm_base64"),)),
    ],
)
def test_one_option_is_overridden_and_the_others_stay(option, value, attribute, expected):
    profile, known = build_profile("servos", {option: value}), build_profile("servos", None)
    assert getattr(profile, attribute) == expected
    prefix = "canary" if option == "canary" else attribute
    assert [n for n in known._fields if not n.startswith(prefix) and getattr(profile, n) != getattr(known, n)] == []


def test_overriding_one_run_leaves_no_trace_in_the_next():
    build_profile("servos", {"fields": [{"table": "t", "column": "c"}], "env_var": "X"})
    assert build_profile("servos", None).fields == ()
    assert build_profile("servos", None).env_var == "SERVOS_MASTER_KEY"


FIELDS = [
    ({"table": "t", "column": "c"}, Field("t", ("c",), "aes256gcm_base64"), "t.c"),
    ({"table": "t", "column": "c", "codec": "aes256gcm_raw", "class": "x"}, Field("t", ("c",), "aes256gcm_raw", None, "x"), "t.c"),
    ({"table": "t", "column": "c", "path": "$.a[*].b"}, Field("t", ("c",), "aes256gcm_base64", "$.a[*].b"), "t.c $.a[*].b"),
    (
        {"table": "t", "columns": COLUMNS, "codec": "aes256gcm_hex_columns", "optional": True},
        Field("t", ("c", "n", "t"), "aes256gcm_hex_columns", None, None, True),
        "t.c",
    ),
]


@pytest.mark.parametrize(("entry", "field", "shown"), FIELDS, ids=["text", "blob", "path", "columns"])
def test_fields_are_read_shown_and_written_as_a_user_writes_them(entry, field, shown):
    (read,) = build_profile("servos", {"fields": [entry]}).fields
    assert read == field
    assert str(read) == shown
    again = build_profile("servos", {"fields": [as_profile_entry(read)]}).fields[0]
    assert (again.table, again.columns, again.codec, again.path) == (field.table, field.columns, field.codec, field.path)


ERRORS = [
    ("unknown-option", {"env_vra": "X"}, "no option 'env_vra'"),
    ("unknown-derivation", {"derivation": "md5"}, "derivation 'md5'"),
    ("bad-env-var", {"env_var": "A-B"}, "env_var 'A-B'"),
    ("env-var-with-line-end", {"env_var": "A\n"}, "env_var"),
    ("unknown-field-codec", {"fields": [{"table": "t", "column": "c", "codec": "rot13"}]}, "no codec 'rot13'"),
    ("field-is-text", {"fields": ["t.c"]}, "each entry of fields"),
    ("field-without-table", {"fields": [{"column": "c"}]}, "each entry of fields"),
    ("field-without-column", {"fields": [{"table": "t"}]}, "table t: codec aes256gcm_base64 needs column"),
    ("field-with-unknown-option", {"fields": [{"table": "t", "column": "c", "colour": 1}]}, "table t: no such option colour"),
    (
        "columns-missing",
        {"fields": [{"table": "t", "codec": "aes256gcm_hex_columns", "column": "c"}]},
        "needs columns with ciphertext, nonce, tag",
    ),
    ("columns-incomplete", {"fields": [{"table": "t", "codec": "aes256gcm_hex_columns", "columns": {"nonce": "n"}}]}, "needs columns"),
    ("path-in-columns", {"fields": [{"table": "t", "codec": "aes256gcm_hex_columns", "columns": COLUMNS, "path": "$.a"}]}, "single column"),
    ("ignore-is-text", {"ignore": ["t.c"]}, "each entry of ignore"),
    ("ignore-without-column", {"ignore": [{"table": "t"}]}, "each entry of ignore"),
    ("ignore-with-more", {"ignore": [{"table": "t", "column": "c", "x": 1}]}, "each entry of ignore"),
]
# Each of these ends in a TypeError, KeyError or AttributeError, and so in a traceback, or is taken for the text "None".
MALFORMED = [
    ("fields-is-null", {"fields": None}),
    ("ignore-is-null", {"ignore": None}),
    ("classes-is-null", {"classes": None}),
    ("class-without-name", {"classes": [{"table": "x"}]}),
    ("class-is-text", {"classes": ["x"]}),
    ("env-var-is-null", {"env_var": None}),
    ("canary-is-text", {"canary": "row"}),
    ("canary-is-true", {"canary": True}),
]


@pytest.mark.parametrize(("overrides", "said"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_each_mistake_is_named(overrides, said):
    with pytest.raises(ProfileError, match=said):
        build_profile("servos", overrides)


@pytest.mark.parametrize("overrides", [row[1] for row in MALFORMED], ids=[row[0] for row in MALFORMED])
def test_a_value_of_the_wrong_shape_is_a_profile_error(overrides):
    with pytest.raises(ProfileError):
        build_profile("servos", overrides)


def test_an_unknown_application_is_refused_with_the_known_ones():
    with pytest.raises(ProfileError, match=r"choose one of act, airflow, custom, nodered, provara, servos"):
        build_profile("pika-pika", None)


CUSTOM = {
    "name": "ledger", "env_var": "LEDGER_KEY", "derivation": {"kdf": "sha256"},
    "fields": [{"table": "accounts", "column": "token", "codec": {"cipher": "fernet"}}],
}


def test_an_application_that_is_not_known_is_what_its_profile_says():
    profile = build_profile("custom", CUSTOM)
    assert (profile.app, profile.env_var, profile.state_dir) == ("ledger", "LEDGER_KEY", "/var/lib/ledger/rotation")
    assert (profile.env_file, profile.service, profile.database, profile.rotate_path) == (None, None, None, None)
    assert [str(field) for field in profile.fields] == ["accounts.token"]


@pytest.mark.parametrize("name", sorted(CUSTOM))
def test_what_nothing_stands_in_for_is_missed_by_name(name):
    with pytest.raises(ProfileError, match=f"the profile custom lacks {name}; .*docs/profiles.md"):
        build_profile("custom", {own: value for own, value in CUSTOM.items() if own != name})


@pytest.mark.parametrize("name", ["Ledger", "../x", "", "a b", 5], ids=["capital", "path", "empty", "blank", "number"])
def test_a_name_is_fit_for_directories(name):
    with pytest.raises(ProfileError, match="name of the profile"):
        build_profile("custom", dict(CUSTOM, name=name))


def test_a_known_application_can_be_called_otherwise():
    profile = build_profile("servos", {"name": "servos-two", "state_dir": None})
    assert (profile.app, profile.state_dir) == ("servos-two", "/var/lib/servos-two/rotation")


CONFIGURATIONS = {
    "format": ({"config_format": "toml"}, "config_format 'toml' is not one of env, ini"),
    "no-section": ({"config_format": "ini"}, "config_section"),
    "separator-of-two": ({"key_list": ", "}, "key_list"),
    "separator-in-base64": ({"key_list": "="}, "key_list"),
    "separator-no-text": ({"key_list": ["a"]}, "key_list"),
    "line-break": ({"key_list": "\n"}, "key_list"),
    "process-var": ({"process_var": "no name"}, "process_var"),
    "rivals": ({"config_rivals": "_CMD"}, "config_rivals of the profile is a list"),
}


@pytest.mark.parametrize(("options", "words"), CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_a_wrong_configuration_is_refused(options, words):
    with pytest.raises(ProfileError, match=words):
        build_profile("servos", options)


def test_airflow_lists_keys_in_an_env_file():
    profile = build_profile("airflow", None)
    assert (profile.config_format, profile.env_var, profile.key_list) == ("env", "AIRFLOW__CORE__FERNET_KEY", ",")
    assert [str(field) for field in profile.fields if not field.optional] == ["connection.password", "connection.extra", "variable.val"]
    assert build_profile("servos", None).key_list is None
