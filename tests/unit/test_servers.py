"""The servers that the other tests stand on are real, empty for each test, and survive a kill."""

import shutil
import subprocess
import sys
import textwrap
import threading
import uuid

import kombu
import psutil
import pymysql
import pytest
import redis
import sqlalchemy as sa

from tests.servers import MariaDB, Postgres, RabbitMQ, Server, Valkey
from tests.servers.valkey import server_program
from tests.waiting import eventually


def test_postgres_lends_a_working_database(postgres_url: str) -> None:
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
        assert connection.scalar(sa.text("SHOW fsync")) == "on"
        assert connection.scalar(sa.text("SHOW synchronous_commit")) == "on"
        assert int(connection.scalar(sa.text("SHOW max_prepared_transactions"))) > 0
    engine.dispose()


def test_postgres_drops_a_database_with_a_prepared_transaction(postgres_server: Postgres) -> None:
    with postgres_server.database() as url:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            transaction = connection.begin_twophase(uuid.uuid4().hex)
            connection.execute(sa.text("CREATE TABLE t (n int)"))
            transaction.prepare()
            connection.invalidate()
        engine.dispose()
        assert postgres_server.execute("SELECT count(*) FROM pg_prepared_xacts") == [(1,)]
    assert postgres_server.execute("SELECT count(*) FROM pg_prepared_xacts") == [(0,)]
    name = sa.make_url(url).database
    databases = postgres_server.execute("SELECT datname FROM pg_database")
    assert (name,) not in databases


def test_postgres_keeps_what_was_committed_or_prepared_over_kill(own_postgres: Postgres) -> None:
    engine = sa.create_engine(own_postgres.url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (n int)"))
        connection.execute(sa.text("INSERT INTO t VALUES (42)"))
    with engine.connect() as connection:
        transaction = connection.begin_twophase("in-doubt")
        connection.execute(sa.text("INSERT INTO t VALUES (43)"))
        transaction.prepare()
        connection.invalidate()
    engine.dispose()
    before = own_postgres.pid
    own_postgres.kill()
    assert not own_postgres.running
    assert not psutil.pid_exists(before)
    own_postgres.restart()
    assert own_postgres.execute("SELECT n FROM t") == [(42,)]
    own_postgres.execute("COMMIT PREPARED 'in-doubt'")
    assert own_postgres.execute("SELECT n FROM t ORDER BY n") == [(42,), (43,)]


def test_redis_lends_an_empty_database(redis_server: Valkey) -> None:
    with redis_server.database() as first, redis.Redis.from_url(first) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        client.set("left", "behind")
    with redis_server.database() as second, redis.Redis.from_url(second) as client:
        assert first != second
        assert client.dbsize() == 0


def test_redis_keeps_its_data_over_kill(own_redis: Valkey) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.xadd("stream", {"n": 42})
    own_redis.kill()
    own_redis.restart()
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.xlen("stream") == 1


def test_rabbitmq_lends_an_empty_virtual_host(rabbitmq_url: str) -> None:
    with kombu.Connection(rabbitmq_url, transport_options={"confirm_publish": True}) as connection:
        queue = connection.SimpleQueue("letters")
        queue.put({"n": 42})
        message = queue.get(timeout=5)
        message.ack()
        queue.close()
        assert message.payload == {"n": 42}


def test_mariadb_lends_a_working_database(mariadb_url: str) -> None:
    engine = sa.create_engine(mariadb_url)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
        assert connection.execute(sa.text("XA RECOVER")).all() == []
    engine.dispose()


def test_mariadb_keeps_what_was_prepared_over_kill(own_mariadb: MariaDB) -> None:
    own_mariadb.execute("CREATE TABLE mysql.t (n int) ENGINE=InnoDB")
    session = pymysql.connect(host="127.0.0.1", port=own_mariadb.port, user="root")
    with session.cursor() as cursor:
        for statement in (
            "XA START 'in-doubt'",
            "INSERT INTO mysql.t VALUES (42)",
            "XA END 'in-doubt'",
            "XA PREPARE 'in-doubt'",
        ):
            cursor.execute(statement)
    own_mariadb.kill()
    session.close()
    own_mariadb.restart()
    assert len(own_mariadb.execute("XA RECOVER")) == 1
    own_mariadb.execute("XA COMMIT 'in-doubt'")
    assert own_mariadb.execute("SELECT n FROM mysql.t") == [(42,)]


def test_mariadb_drops_a_database_with_a_prepared_transaction(mariadb_server: MariaDB) -> None:
    with mariadb_server.database() as url:
        database = sa.make_url(url).database
        session = pymysql.connect(
            host="127.0.0.1", port=mariadb_server.port, user="root", database=database
        )
        with session.cursor() as cursor:
            for statement in ("CREATE TABLE t (n int)", "XA START 'x'", "INSERT INTO t VALUES (1)"):
                cursor.execute(statement)
            cursor.execute("XA END 'x'")
            cursor.execute("XA PREPARE 'x'")
    session.close()
    assert mariadb_server.execute("XA RECOVER") == []


def test_a_server_restarted_from_a_thread_outlives_that_thread(own_redis: Valkey) -> None:
    own_redis.kill()
    thread = threading.Thread(target=own_redis.restart)
    thread.start()
    thread.join()
    assert own_redis.running
    assert own_redis.ready()


def test_a_paused_server_does_not_answer_until_resumed(own_redis: Valkey) -> None:
    own_redis.pause()
    assert not own_redis.ready()
    own_redis.resume()
    assert eventually(own_redis.ready)


@pytest.mark.parametrize(
    ("kind", "program"),
    [
        (Postgres, "postgres"),
        (Valkey, server_program().name),
        (MariaDB, "mariadbd"),
        (RabbitMQ, "beam.smp"),
    ],
)
def test_a_server_dies_with_a_test_process_that_is_killed(kind: type[Server], program: str) -> None:
    script = f"""
        from tests.servers import {kind.__name__}
        server = {kind.__name__}()
        server.prepare()
        print(server.spawn(server.command()).pid, server.folder, flush=True)
        input()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid, folder = parent.stdout.readline().split()
    server = psutil.Process(int(pid))
    eventually(lambda: server.name() == program, what=f"{program} runs")
    parent.kill()
    parent.communicate()
    eventually(lambda: not server.is_running(), what=f"{program} is gone")
    shutil.rmtree(folder, ignore_errors=True)
