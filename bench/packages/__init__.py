"""What packages for idempotency keys do when a process is killed, and this project beside them.

    make compare

`docs/compared.md` shows what it prints, and explains it.
"""
