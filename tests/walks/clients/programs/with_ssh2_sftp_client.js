// One errand with ssh2-sftp-client:  HOST PORT USER KEY KNOWN_HOSTS, and on stdin ["upload", LOCAL, REMOTE] or the like.
'use strict'

const fs = require('fs')
const Client = require('ssh2-sftp-client')

const [host, port, username, key, knownHosts] = process.argv.slice(2)
const known = Buffer.from(fs.readFileSync(knownHosts, 'utf8').split(' ')[2], 'base64')
const sftp = new Client()

const errands = {
  upload: (local, remote) => sftp.put(local, remote),
  download: (remote, local) => sftp.get(remote, local),
  resume_upload: async (local, remote) => {
    const start = (await sftp.stat(remote)).size
    await sftp.put(fs.createReadStream(local, { start }), remote, { writeStreamOptions: { flags: 'r+', start } })
  },
  resume_download: async (remote, local) => {
    const start = fs.statSync(local).size
    await sftp.get(remote, fs.createWriteStream(local, { flags: 'a' }), { readStreamOptions: { start } })
  },
  upload_tree: (local, remote) => sftp.uploadDir(local, remote),
  download_tree: (remote, local) => sftp.downloadDir(remote, local),
  rename: (old, now) => sftp.rename(old, now),
  names: async (remote) => console.log(JSON.stringify((await sftp.list(remote)).map((entry) => entry.name)))
}

async function main () {
  const [errand, ...words] = JSON.parse(fs.readFileSync(0, 'utf8'))
  await sftp.connect({
    host, port: Number(port), username, privateKey: fs.readFileSync(key), hostVerifier: (shown) => shown.equals(known)
  })
  try {
    await errands[errand](...words)
  } finally {
    await sftp.end()
  }
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
