"""A server with nothing behind it: reads a request in one piece and answers 204. `python bare.py PORT`."""

import select
import socket
import sys

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    open_now: dict[int, socket.socket] = {}
    while True:
        for handle, _ in epoll.poll():
            connection = open_now.get(handle)
            if connection is None:
                accepted, _ = listener.accept()
                open_now[accepted.fileno()] = accepted
                epoll.register(accepted, select.EPOLLIN)
            elif connection.recv(65536):
                connection.send(ANSWER)
            else:
                del open_now[handle]
                connection.close()


if __name__ == "__main__":
    main()
