// Copyright (c) 2026, servos.ops contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// What differs from Node-RED's own settings.js: where it listens, and that the secret comes from the environment.
module.exports = {
  uiHost: '127.0.0.1',
  uiPort: Number(process.env.TEST_PORT),
  flowFile: 'flows.json',
  telemetry: { enabled: false, updateNotification: false },
  functionExternalModules: false,
  logging: { console: { level: 'info', metrics: false, audit: false } },
}
// Absent, not undefined: Node-RED makes a secret of its own then.
if (process.env.NODE_RED_CREDENTIAL_SECRET) {
  module.exports.credentialSecret = process.env.NODE_RED_CREDENTIAL_SECRET
}
