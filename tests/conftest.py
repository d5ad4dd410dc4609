"""Fixtures for every test: real servers, started once a session when first asked for.

`postgres_url`, `redis_url`, `rabbitmq_url`, `mariadb_url`: an empty corner of the session's server.
`own_postgres`, `own_redis`, `own_rabbitmq`, `own_mariadb`: a server of the test's own, to kill.

A server that this machine lacks skips the test; in CI, or with SAGA_REQUIRE_SERVERS=1, it fails it,
and so does any other skip there: a test that did not run must not look like one that passed.
"""

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from tests.servers import MariaDB, Postgres, RabbitMQ, Server, ServerMissingError, Valkey
from tests.servers.lending import Lender, borrowed

S = TypeVar("S", bound=Server)
LENDER = "lender"
LENDING = pytest.StashKey[Lender]()

# A shell that starts the tests in the background has them ignore SIGINT, and with them every process they start; some
# of those are stopped by SIGINT, as a person would.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """The session's PostgreSQL; shared, so no test may stop it."""
    with _running(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Valkey]:
    """The session's Valkey; shared, so no test may stop it."""
    with _running(Valkey) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server(request: pytest.FixtureRequest) -> Iterator[RabbitMQ]:
    """The run's RabbitMQ; shared, with other processes too, so no test may stop it."""
    workerinput = getattr(request.config, "workerinput", None)
    if workerinput is None:
        with _running(RabbitMQ) as server:
            yield server
        return
    try:
        yield borrowed(*workerinput[LENDER])
    except ServerMissingError as missing:
        pytest.skip(f"needs a server: {missing}")


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaDB]:
    """The session's MariaDB; shared, so no test may stop it."""
    with _running(MariaDB) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> Iterator[str]:
    """SQLAlchemy URL of an empty PostgreSQL database."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: Valkey) -> Iterator[str]:
    """URL of an empty Valkey database."""
    with redis_server.database() as url:
        yield url


@pytest.fixture
def rabbitmq_url(rabbitmq_server: RabbitMQ) -> Iterator[str]:
    """AMQP URL of an empty RabbitMQ virtual host."""
    with rabbitmq_server.vhost() as url:
        yield url


@pytest.fixture
def mariadb_url(mariadb_server: MariaDB) -> Iterator[str]:
    """SQLAlchemy URL of an empty MariaDB database."""
    with mariadb_server.database() as url:
        yield url


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that this test may kill and restart."""
    with _running(Postgres) as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[Valkey]:
    """A Valkey that this test may kill and restart."""
    with _running(Valkey) as server:
        yield server


@pytest.fixture(scope="module")
def own_rabbitmq() -> Iterator[RabbitMQ]:
    """A RabbitMQ that the tests of a file may kill, if they start it again: it takes ten seconds."""
    with _running(RabbitMQ) as server:
        yield server


@pytest.fixture
def own_mariadb() -> Iterator[MariaDB]:
    """A MariaDB that this test may kill and restart."""
    with _running(MariaDB) as server:
        yield server


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process that tests where to borrow servers; called in the one that leads."""
    lender = node.config.stash.get(LENDING, None)
    if lender is None:
        lender = node.config.stash[LENDING] = Lender()
        node.config.add_cleanup(lender.close)
    node.workerinput[LENDER] = (lender.address, lender.key)


@contextmanager
def _running(kind: type[S]) -> Iterator[S]:
    try:
        server = kind.launch()
    except ServerMissingError as missing:
        pytest.skip(f"needs a server: {missing}")
    try:
        yield server
    finally:
        server.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failed one where nothing may be skipped."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _nothing_may_be_skipped():
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a skipped module into a failed one where nothing may be skipped."""
    report = yield
    if report.skipped and _nothing_may_be_skipped():
        _fail(report)
    return report


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.outcome = "failed"
    report.longrepr = f"skipped where nothing may be: {report.longrepr}"


def _nothing_may_be_skipped() -> bool:
    return os.environ.get("CI") == "true" or os.environ.get("SAGA_REQUIRE_SERVERS") == "1"
