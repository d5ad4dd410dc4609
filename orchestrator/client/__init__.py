"""Launch runs, wait for them, look at them, repair them: from Python, synchronously or with asyncio."""

from orchestrator.client.asynchronous import AsyncClient, AsyncRun
from orchestrator.client.client import Client
from orchestrator.client.options import ClientOptions
from orchestrator.client.run import Run

__all__ = ["AsyncClient", "AsyncRun", "Client", "ClientOptions", "Run"]
