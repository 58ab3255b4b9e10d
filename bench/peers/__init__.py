"""How fast we are beside others: one driver, four contestants, the same files and the same client.

    python -m bench.peers            a short form, under five minutes
    python -m bench.peers --full     medians of five

Each contestant is a server of its own on a free loopback port: ours as in production (state on disk, sealing to age,
durable CLOSE, history), OpenSSH's sshd with internal-sftp, `rclone serve sftp` over a `crypt` remote, and asyncssh's
own SFTPServer.  The client is OpenSSH's sftp.  They take turns within each round, and each figure is a median over the
rounds.  The clock runs from the command to its answer, after log-in: what log-in costs is a row of its own.

accounts.py     CPU seconds and memory of a whole tree of processes
contestants.py  how each is started and ended, and how a file is offered there
client.py       OpenSSH's sftp, held open
works.py        what is done, one after the other
report.py       the table, bench/results/, and the part of the README
"""
