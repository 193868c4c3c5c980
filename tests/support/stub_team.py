"""Stands for a search's chief and workers: `stub_team.py MODE <flags>`. No package is loaded, so it starts at once."""

import socket
import sys
import time

mode, flags = sys.argv[1], sys.argv[2:]
host, port = flags[flags.index("--chief") + 1].split(":")
if flags[flags.index("--role") + 1] == "chief":
    if mode == "refused":
        sys.exit(2)
    service = socket.create_server((host, int(port)))
    # It ends when the worker that has found it again says so.
    service.settimeout(60)
    while True:
        connection, _ = service.accept()
        with connection:
            if connection.recv(3) == b"end":
                sys.exit(0)
elif mode == "dies":
    print("a restart" if "--restarted" in flags else "the first start")
    sys.exit(7)
elif mode == "loses":
    # The first start loses its chief, the second finds it.
    with open(flags[flags.index("--starts") + 1], "a+") as starts:
        starts.seek(0)
        again = bool(starts.read())
        starts.write("x")
    if not again:
        sys.exit(3)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"end")
    time.sleep(1)
