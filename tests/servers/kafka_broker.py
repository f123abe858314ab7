"""A real Kafka broker for tests, from Maven Central, on free loopback ports.

The jars are fetched once into the repository's `.cache/kafka`; a broker is up 2 to 3 seconds after its start. Plain on
`bootstrap`; on `sasl` the users alice (PLAIN) and bob (SCRAM), with the passwords alice-secret and bob-secret; on `tls`
whoever has a certificate of the authority in `PEM`, which is of X.509 version 1, as the one of ApsaraMQ is, and the
broker's certificate is for another name than its address.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

RECIPE = Path(__file__).parent / "kafka"
PEM = RECIPE / "pem"
CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
START = 60.0
"""Seconds that a broker may take on a busy machine."""
LOGGING = """
appender.o.type=Console
appender.o.name=o
appender.o.layout.type=PatternLayout
appender.o.layout.pattern=%d %p %c{1} %m%n
rootLogger.level=warn
rootLogger.appenderRef.o.ref=o
"""


def missing() -> str:
    """Say what keeps a broker from running here; empty when nothing does."""
    lacking = [name for name in ("java", "mvn") if shutil.which(name) is None]
    return f"a Kafka broker needs {' and '.join(lacking)}" if lacking else ""


def jars() -> Path:
    """Return the folder of Kafka's jars, fetching them at the first call on a machine."""
    folder = CACHE / "jars"
    if not folder.exists():
        fresh = CACHE / f"jars.{uuid.uuid4().hex}"  # then renamed: another run may be fetching too
        command = ["mvn", "-q", "-B", "-f", f"{RECIPE}/pom.xml", "dependency:copy-dependencies"]
        subprocess.run([*command, f"-DoutputDirectory={fresh}"], check=True, timeout=600)
        try:
            fresh.rename(folder)
        except OSError:
            shutil.rmtree(fresh)
    return folder


class Broker:
    """One broker with its own folder; it keeps its log over `stop` and `start`."""

    def __init__(self, home: Path) -> None:
        port, sasl, tls, ctrl = _free_ports(4)
        self.bootstrap = f"127.0.0.1:{port}"
        self.sasl = f"127.0.0.1:{sasl}"
        self.tls = f"127.0.0.1:{tls}"
        self._port = port
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        template = (RECIPE / "server.properties.in").read_text()
        self._settings = home / "server.properties"
        self._settings.write_text(template.format(port=port, sasl=sasl, tls=tls, ctrl=ctrl, home=home, pem=PEM))
        (home / "log4j2.properties").write_text(LOGGING)

    def format(self) -> None:
        """Make the folder of the log, with the SCRAM user."""
        cluster = base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        users = ["--add-scram", "SCRAM-SHA-512=[name=bob,password=bob-secret]"]
        tool = self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._settings), *users)
        subprocess.run(tool, check=True, stdout=subprocess.DEVNULL, timeout=START)

    def start(self) -> None:
        """Return when the broker listens."""
        with (self._home / "broker.log").open("ab") as log:
            command = self._java("kafka.Kafka", str(self._settings))
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("no broker: " + (self._home / "broker.log").read_text()[-2000:])
            time.sleep(0.05)

    def stop(self) -> None:
        """Kill it with SIGKILL, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it answer nothing, with its connections open."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End `freeze`."""
        self._signal(signal.SIGCONT)

    def _java(self, *args: str) -> list[str]:
        options = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        logging = f"-Dlog4j2.configurationFile={self._home}/log4j2.properties"
        return ["java", *options, logging, "-cp", f"{jars()}/*", *args]

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0


@contextmanager
def running_broker(home: Path) -> Generator[Broker]:
    """Run a broker for as long as the block; `home` is an empty folder."""
    with ExitStack() as stack:
        broker = Broker(home)
        broker.format()
        stack.callback(broker.stop)
        broker.start()
        yield broker


def _free_ports(count: int) -> list[int]:
    """Find ports; KRaft wants them in its settings, so that port 0 will not do."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
