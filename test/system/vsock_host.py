#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vsock_host.py - the host's side of vsock_test: `serve PATH` collects all that one program sends and sends it back when that has ended;
`hold PATH` says what ends each connection that has sent something; `call PATH PORT BYTES` connects to the guest's port and has a pattern echoed; exit status 3: the guest refused."""
import socket
import sys
import threading


def serve(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        connection, _ = listener.accept()
        everything = b""
        while part := connection.recv(65536):
            everything += part
        connection.sendall(everything)
        connection.close()
    print(len(everything))


def hold(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            with listener.accept()[0] as connection:
                if connection.recv(1):
                    print("more" if connection.recv(1) else "end", flush=True)


def call(path, port, count):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        connection.sendall(b"CONNECT %d\n" % port)
        line = b""
        while not line.endswith(b"\n"):
            part = connection.recv(1)
            if not part:
                return 3
            line += part
        if not line.startswith(b"OK "):
            return 1
        pattern = bytes(i * 7 // 3 & 255 for i in range(count))
        sender = threading.Thread(target=lambda: (connection.sendall(pattern), connection.shutdown(socket.SHUT_WR)))
        sender.start()
        back = b""
        while part := connection.recv(65536):
            back += part
        sender.join()
        return 0 if back == pattern else 1


if sys.argv[1] == "serve":
    serve(sys.argv[2])
elif sys.argv[1] == "hold":
    hold(sys.argv[2])
else:
    sys.exit(call(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
