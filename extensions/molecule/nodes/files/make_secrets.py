# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes a login key for each node and variables for a service, and has the reference application seal them.

Runs on the control host. What stays on its disk is the public halves, and in /root/judge/secrets.json what the judge has to
search for: the variables, the passphrases, and of each private key one line that no other key has.

    make_secrets.py --schema S --database D --key-file K NAME=KIND=HOST ...
"""

import argparse
import json
import os
import secrets
import subprocess
import sys

OWN = "/root/judge"
LOGINS = OWN + "/logins"
# Of the Base64 body of each kind of OpenSSH private key: the line that the private number stands in.
TELLING_LINE = {"ed25519": 3, "rsa": 20, "ecdsa": 5}
BITS = {"ed25519": [], "rsa": ["-b", "3072"], "ecdsa": ["-b", "256"]}


def write_private(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def make_login(name, kind):
    """Only the RSA key has a passphrase. It goes to ssh-keygen by standard input: nothing may show in an argument list."""
    passphrase = secrets.token_urlsafe(24) if kind == "rsa" else ""
    path = os.path.join(LOGINS, name)
    asked = ["setsid", "ssh-keygen", "-q", "-t", kind, *BITS[kind], "-C", name, "-f", path]
    subprocess.run(asked, check=True, input=f"{passphrase}\n{passphrase}\n", text=True, stdout=subprocess.DEVNULL)
    with open(path, encoding="ascii") as stream:
        body = stream.read().split("\n")[1:]
    return path, passphrase, body[TELLING_LINE[kind]]


def make_variables():
    """What variables of a service look like: an address with a password in it, awkward signs, several lines."""
    return {
        "DATABASE_URL": f"postgresql://web:{secrets.token_urlsafe(18)}@db/web?sslmode=require",
        "SMTP_PASSWORD": f"$HOME `x` 'single' \"double\" # = Zürich {secrets.token_urlsafe(18)} ",
        "CERTIFICATE": f"BEGIN\n{secrets.token_urlsafe(40)}\nEND\n",
    }


def main(words):
    parser = argparse.ArgumentParser(description=__doc__)
    for option in ("--schema", "--database", "--key-file"):
        parser.add_argument(option, required=True)
    parser.add_argument("servers", nargs="+", metavar="NAME=KIND=HOST")
    arguments = parser.parse_args(words)

    def schema(command, *more):
        common = ["--database", arguments.database, "--key-file", arguments.key_file]
        subprocess.run([sys.executable, arguments.schema, command, *common, *more], check=True, stdin=subprocess.DEVNULL)

    os.mkdir(LOGINS, 0o700)
    searched = {}
    for server in arguments.servers:
        name, kind, host = server.split("=")
        path, passphrase, searched["login key of " + name] = make_login(name, kind)
        more = ["--name", name, "--host", host, "--private-key-file", path]
        if passphrase:
            searched["passphrase of " + name] = passphrase
            write_private(path + ".passphrase", passphrase + "\n")
            more += ["--passphrase-file", path + ".passphrase"]
        schema("enroll", *more)
        os.unlink(path)
        if passphrase:
            os.unlink(path + ".passphrase")
    variables = make_variables()
    write_private(OWN + "/variables.json", json.dumps(variables))
    schema("put-service", "--name", "web", "--variables-file", OWN + "/variables.json")
    searched["value of the crash test"] = "crash-" + secrets.token_urlsafe(18)
    write_private(OWN + "/secrets.json", json.dumps({**searched, **variables}))


if __name__ == "__main__":
    main(sys.argv[1:])
