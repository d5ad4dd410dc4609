"""Real servers for tests, each a child of the test process, on loopback, in a folder of its own."""

from tests.servers.base import Server, ServerFailedError, ServerMissingError
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.valkey import Valkey

__all__ = [
    "MariaDB",
    "Postgres",
    "RabbitMQ",
    "Server",
    "ServerFailedError",
    "ServerMissingError",
    "Valkey",
]
