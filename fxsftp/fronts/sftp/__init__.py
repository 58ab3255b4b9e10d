"""The SFTP front: SSH is spoken by asyncssh, SFTP by us."""
