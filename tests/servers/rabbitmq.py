"""RabbitMQ from the machine's packages, as a node of its own: name, ports, cookie and data.

Its name server (epmd) is a child of ours too; the usual one is a daemon that outlives everything.
"""

import base64
import http.client
import json
import shutil
import subprocess
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from tests.servers.base import Server, ServerMissingError, answers, free_port, program
from tests.waiting import eventually

CONFIG = """\
listeners.tcp.default = 127.0.0.1:{port}
distribution.listener.interface = 127.0.0.1
distribution.listener.port_range.min = {distribution_port}
distribution.listener.port_range.max = {distribution_port}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management_port}
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = warning
log.file = false
"""


class RabbitMQ(Server):
    """A RabbitMQ node; user and password are `guest`."""

    name = "rabbitmq"

    def __init__(self) -> None:
        super().__init__()
        self.management_port = free_port()
        self._epmd_port = free_port()
        self._distribution_port = free_port()
        self._epmd: subprocess.Popen[bytes] | None = None

    @classmethod
    def at(cls, port: int, management_port: int) -> Self:
        """A node that another process has started."""
        found = cls.__new__(cls)
        found.port, found.management_port = port, management_port
        return found

    @property
    def url(self) -> str:
        return self.vhost_url("/")

    def vhost_url(self, vhost: str) -> str:
        """Return the AMQP URL of a virtual host of this node."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{urllib.parse.quote(vhost, safe='')}"

    def prepare(self) -> None:
        self.folder.joinpath("rabbitmq.conf").write_text(
            CONFIG.format(
                port=self.port,
                management_port=self.management_port,
                distribution_port=self._distribution_port,
            )
        )
        self.folder.joinpath("enabled_plugins").write_text("[rabbitmq_management].\n")
        self.folder.joinpath("environment").write_text("")

    def command(self) -> Sequence[str | Path]:
        return [_server()]

    def environment(self) -> Mapping[str, str]:
        folder = str(self.folder)
        return {
            "HOME": folder,  # where the Erlang cookie is made
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/environment",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_NODENAME": f"saga-{self.port}@localhost",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            # Schedulers that do not spin when idle: everything else here shares two cores.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false +S 2:2 +sbwt none",
            # The start script becomes the node instead of its parent: signals reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def start(self) -> None:
        if self._epmd is None or self._epmd.poll() is not None:
            _server()
            port = str(self._epmd_port)
            self._epmd = self.spawn([program("epmd"), "-port", port, "-address", "127.0.0.1"])
            eventually(lambda: answers(self._epmd_port), what="epmd is up")
        super().start()

    def close(self) -> None:
        super().close()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()

    def ready(self) -> bool:
        try:
            return answers(self.port) and self.manage("GET", "/api/overview") is not None
        except (OSError, http.client.HTTPException, PermissionError):
            return False

    def manage(self, method: str, path: str, body: object = None) -> object:
        """Call the node's management API, e.g. `manage("GET", "/api/queues")`."""
        token = base64.b64encode(b"guest:guest").decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.management_port, timeout=10)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, body=payload, headers=headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise http.client.HTTPException(f"{method} {path}: {response.status} {text!r}")
        return json.loads(text) if text else None

    @contextmanager
    def vhost(self) -> Iterator[str]:
        """Lend the URL of a new, empty virtual host."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.manage("PUT", f"/api/vhosts/{name}")
        self.manage(
            "PUT",
            f"/api/permissions/{name}/guest",
            {"configure": ".*", "write": ".*", "read": ".*"},
        )
        try:
            yield self.vhost_url(name)
        finally:
            self.manage("DELETE", f"/api/vhosts/{name}")


def _server() -> Path:
    """Return the real start script: the one on PATH insists on the machine's own account."""
    program("rabbitmq-server")
    scripts = sorted(Path("/usr/lib/rabbitmq").glob("**/bin/rabbitmq-server"))
    found = scripts[0] if scripts else shutil.which("rabbitmq-server")
    if found is None:
        raise ServerMissingError("rabbitmq-server is not installed on this machine")
    return Path(found)
