// Copyright (c) 2026, servos.ops contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Opens a credentials file with Node-RED's own code: argv is the folder of Node-RED, the file and the ids of nodes; the secret is read
// from standard input. Prints the credentials of these nodes, or the code of the error.
const fs = require('fs')
const path = require('path')
const [root, file, ...ids] = process.argv.slice(2)
const credentials = require(path.join(root, 'node_modules/@node-red/runtime/lib/nodes/credentials.js'))
const secret = fs.readFileSync(0, 'utf8')
const log = { _: (name) => name, debug() {}, warn() {}, info() {} }
const settings = { get: (name) => (name === 'credentialSecret' ? secret : undefined) }
credentials.init({ log, settings, storage: {} })
credentials.load(JSON.parse(fs.readFileSync(file, 'utf8'))).then(
  () => console.log(JSON.stringify(Object.fromEntries(ids.map((id) => [id, credentials.get(id) || null])))),
  (error) => console.log(JSON.stringify({ error: error.code || String(error) })),
)
