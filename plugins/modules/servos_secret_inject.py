#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_secret_inject
short_description: Start a container with secrets from a file that vanishes
version_added: 0.1.0
description:
  - Starts a container under Docker or Podman whose secrets come from an env file that is there for the engine's C(create)
    only, or from files in memory that are mounted into it.
  - A container that runs already with this image, these options and these secrets is left alone. One that differs is
    replaced. The old one is removed only when the new one has stayed up, and comes back if it does not.
  - Secrets appear in no argument list, log, diff or result. Whether they are the same is told by digests under a key that
    never leaves the host.
  - A container of this name that this module did not make is never touched.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._container
attributes:
  check_mode:
    support: full
    details: Nothing is pulled, so an image that is not on the host counts as changed.
  diff_mode:
    support: full
    details: Shows names of options and variables, never values.
  idempotent:
    support: partial
    details: A container that has ended is started again.
options:
  name:
    description:
      - Name of the container.
    type: str
    required: true
  state:
    description:
      - With V(started), the container runs. With V(absent), it is gone, with what was mounted into it.
    type: str
    choices:
      - started
      - absent
    default: started
  engine:
    description:
      - The engine whose command line is used.
    type: str
    choices:
      - docker
      - podman
    default: docker
  env:
    description:
      - The secrets, by the variable's name. Values are texts; quote what YAML would make something else of.
      - With O(delivery=env_file), a value with a line break, and a few others that an env file cannot carry, is handed over
        in the environment of the engine's command line; see RV(passed_by_environment).
    type: dict
  sealed:
    description:
      - More secrets, sealed by M(servos.ops.servos_secret_open) on the control host to the request O(request_id) of this one.
        A name may not be in O(env) too.
    type: str
  request_id:
    description:
      - RV(servos.ops.servos_secret_request#module:request_id) of the request that O(sealed) answers.
    type: str
  public_env:
    description:
      - Variables that are no secrets.
    type: dict
  allow_empty:
    description:
      - Let variables be empty. Without it an empty one is an error, since it mostly is a secret that was not found.
    type: bool
    default: false
  delivery:
    description:
      - With V(env_file), secrets are environment variables. The file is gone when the container starts, but the engine
        keeps the variables, and shows them to whoever may inspect the container.
      - With V(mount), each secret is a file in memory, mounted read-only into the container, and C(NAME_FILE) is its path
        there. Neither the engine nor the environment of a process holds it.
    type: str
    choices:
      - env_file
      - mount
    default: env_file
  secrets_dir:
    description:
      - Directory of the env files, of the key of the digests and of locks; C(0700).
    type: path
    default: /var/lib/servos/secrets
  mount_dir:
    description:
      - Directory of the mounted secrets on the host. It must lie on C(tmpfs) or C(ramfs).
    type: path
    default: /run/servos/secrets
  mount_target:
    description:
      - Directory of the mounted secrets in the container.
    type: str
    default: /run/secrets
  mount_mode:
    description:
      - Mode of the mounted files. On the host only the owner of O(mount_dir) reaches them, whatever their mode.
    type: str
    default: "0444"
  mount_uid:
    description:
      - Owner of the mounted files; without it, who runs this module.
    type: int
  mount_gid:
    description:
      - Group of the mounted files; without it, that of who runs this module.
    type: int
  settle:
    description:
      - Seconds that a started container must stay up, or have ended with exit code 0.
    type: float
    default: 1
  timeout:
    description:
      - Seconds that each command of the engine may take.
    type: float
    default: 120
  pull_timeout:
    description:
      - Seconds that pulling the image may take.
    type: float
    default: 600
"""

EXAMPLES = r"""
- name: Start a container with a secret
  servos.ops.servos_secret_inject:
    name: app
    image: registry.example.org/app:3
    env:
      DB_PASSWORD: "{{ vault_db_password }}"

- name: Mount secrets as files in memory, for an image that reads DB_PASSWORD_FILE
  servos.ops.servos_secret_inject:
    engine: podman
    name: app
    image: registry.example.org/app:3
    delivery: mount
    user: "1000"
    read_only: true
    cap_drop: [ALL]
    ports: ["127.0.0.1:8080:8080"]
    restart_policy: unless-stopped
    public_env:
      LOG_LEVEL: info
    env:
      DB_PASSWORD: "{{ vault_db_password }}"

- name: Remove the container and what was mounted into it
  servos.ops.servos_secret_inject:
    name: app
    state: absent
"""

RETURN = r"""
container:
  description: Name of the container.
  returned: success
  type: str
  sample: app
container_id:
  description: Its id; none where there is none, or would be another one.
  returned: success
  type: str
  sample: 19bcaf7e4d41cecb22d95dfc95860b6c799007f12fc78e6e85ff5e1e12793167
image_id:
  description: Id of its image, without the name of the digest; none where it would have to be pulled first.
  returned: success
  type: str
  sample: 32c5d89aab0ee68f8a5d1e9cb5e9e8a4d0b1d4f2c3f7a4a1e1a5f3a3d1f5c9b7
action:
  description: What was (in check mode, would be) done; C(created), C(replaced), C(started), C(unchanged), C(removed) or C(absent).
  returned: success
  type: str
  sample: replaced
reasons:
  description: Why.
  returned: success
  type: list
  elements: str
  sample: [other variables]
changed_options:
  description: Options that differ from those that the container was made with.
  returned: success
  type: list
  elements: str
  sample: []
changed_variables:
  description: Names of the variables that differ from those that the container was made with.
  returned: success
  type: list
  elements: str
  sample: [DB_PASSWORD]
passed_by_environment:
  description: Names of the variables that an env file cannot carry.
  returned: success
  type: list
  elements: str
  sample: [TLS_KEY]
env_file:
  description: The env file of this run and how long it was there; none where none was made.
  returned: success
  type: dict
  contains:
    path:
      description: Where it was.
      type: str
    lifetime_s:
      description: Seconds from just before it was made until just after it was removed.
      type: float
  sample: {path: /var/lib/servos/secrets/0b9f2a52-8d6e-4d4e-9d3f-3a4a3d0f9a11.env, lifetime_s: 0.052}
timings:
  description: Seconds that the engine's C(create) and C(start) took.
  returned: success
  type: dict
  sample: {create_s: 0.049, start_s: 0.27}
removed_leftovers:
  description: What runs that died had left and this one has removed (in check mode, the env files that it would remove).
  returned: success
  type: list
  elements: str
  sample: []
residue:
  description:
    - What is visible on the host after the start, as it was found there. Names of variables, never values.
    - None in check mode where the container would change.
  returned: success
  type: dict
  contains:
    env_file:
      description: Whether the env file is C(gone) or C(present).
      type: str
    secrets_dir_filesystem:
      description: Type of the file system on which it was.
      type: str
    swap_active:
      description: Whether memory may be written to a disk.
      type: bool
    inspect:
      description: Variables whose values the engine's C(inspect) shows.
      type: list
      elements: str
    process_environment:
      description: Variables whose values stand in the environment of the container's main process.
      type: list
      elements: str
    engine_state:
      description: Files of the engine that hold values, with the variables.
      type: dict
    mounted_files:
      description: Files that are mounted into the container.
      type: list
      elements: str
    mount_filesystem:
      description: Type of the file system on which they are.
      type: str
    unread:
      description:
        - Places that could not be read, so that nothing is known of them; C(engine_state) and C(process_environment) speak of the others.
        - Where none of the engine's own files is on this host, all the places where they were looked for.
      type: list
      elements: str
  sample:
    env_file: gone
    secrets_dir_filesystem: ext4
    swap_active: false
    inspect: [DB_PASSWORD]
    process_environment: [DB_PASSWORD]
    engine_state: {/var/lib/docker/containers/19bcaf/config.v2.json: [DB_PASSWORD]}
    mounted_files: []
    mount_filesystem: null
    unread: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.dependencies import require_cryptography
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import engine_runner, run_guarded
from ansible_collections.servos.ops.plugins.module_utils._ansible.masking import mask_texts
from ansible_collections.servos.ops.plugins.module_utils._errors import InjectionError, ServosError
from ansible_collections.servos.ops.plugins.module_utils._injection.engine import ENGINES
from ansible_collections.servos.ops.plugins.module_utils._injection.inject import inject, sweep_after_death
from ansible_collections.servos.ops.plugins.module_utils._injection.relay import open_variables, pretended_private_key, take_request
from ansible_collections.servos.ops.plugins.module_utils._injection.variables import texts_of
from ansible_collections.servos.ops.plugins.module_utils._injection.wanted import Wanted
from ansible_collections.servos.ops.plugins.module_utils._system.detached import DetachedError, run_detached

_SHORTEST_MASKED = 8


def container_options() -> dict[str, t.Any]:
    """Return the options of the doc fragment C(_container)."""
    texts = ("entrypoint", "image", "restart_policy", "user", "memory", "cpus", "working_dir", "hostname")
    lists = ("command", "ports", "volumes", "networks", "cap_drop", "cap_add", "tmpfs", "security_opt", "extra_args")
    return dict(
        {name: {"type": "str"} for name in texts},
        **{name: {"type": "list", "elements": "str"} for name in lists},
        pull={"type": "str", "choices": ["missing", "always", "never"], "default": "missing"},
        labels={"type": "dict"},
        read_only={"type": "bool", "default": False},
        init={"type": "bool", "default": False},
        stop_timeout={"type": "int"},
    )


def received(module: AnsibleModule) -> dict[str, str]:
    """Return the variables that another host has sealed to a request of this one."""
    sealed, request_id, secrets_dir = (module.params[name] for name in ("sealed", "request_id", "secrets_dir"))
    if sealed is None:
        return {}
    require_cryptography(module)
    private = pretended_private_key(secrets_dir, request_id) if module.check_mode else take_request(secrets_dir, request_id)
    if private is None:
        return {}  # check mode on a host that has no key of its own yet, so that everything counts as changed anyway
    variables = open_variables(private, request_id, sealed)
    mask_texts(module, [text for text in variables.values() if len(text) >= _SHORTEST_MASKED])
    return variables


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            container_options(),
            name={"type": "str", "required": True},
            state={"type": "str", "choices": ["started", "absent"], "default": "started"},
            engine={"type": "str", "choices": ["docker", "podman"], "default": "docker"},
            env={"type": "dict", "no_log": True},
            public_env={"type": "dict"},
            sealed={"type": "str"},
            request_id={"type": "str"},
            allow_empty={"type": "bool", "default": False},
            delivery={"type": "str", "choices": ["env_file", "mount"], "default": "env_file"},
            secrets_dir={"type": "path", "default": "/var/lib/servos/secrets", "no_log": False},
            mount_dir={"type": "path", "default": "/run/servos/secrets"},
            mount_target={"type": "str", "default": "/run/secrets"},
            mount_mode={"type": "str", "default": "0444"},
            mount_uid={"type": "int"},
            mount_gid={"type": "int"},
            settle={"type": "float", "default": 1},
            timeout={"type": "float", "default": 120},
            pull_timeout={"type": "float", "default": 600},
        ),
        required_if=[["state", "started", ["image"]]],
        required_together=[["sealed", "request_id"]],
        supports_check_mode=True,
    )
    params = module.params

    def spare_short_texts() -> None:
        # Ansible would take every "5" out of the result for a variable that is 5. Results hold no value in the first place.
        for text in [text for text in module.no_log_values if len(text) < _SHORTEST_MASKED]:
            module.no_log_values.discard(text)

    def work() -> dict[str, t.Any]:
        given, sealed = texts_of(params["env"] or {}, option="env"), received(module)
        twice = sorted(set(given) & set(sealed))
        if twice:
            raise InjectionError(f"env: {', '.join(twice)} comes sealed as well; give each variable once")
        variables = dict(sealed, **given)
        wanted = Wanted(params, variables, texts_of(params["public_env"] or {}, option="public_env"))
        engine = ENGINES[params["engine"]](
            engine_runner(module), name=params["name"], timeout_s=params["timeout"], pull_timeout_s=params["pull_timeout"], secrets=variables.values()
        )
        if module.check_mode:
            return inject(wanted, engine, write=False)
        try:
            return run_detached(lambda: inject(wanted, engine, write=True), expected=ServosError)
        except DetachedError:
            sweep_after_death(params["secrets_dir"])
            raise

    run_guarded(module, work, mask=spare_short_texts)


if __name__ == "__main__":
    main()
