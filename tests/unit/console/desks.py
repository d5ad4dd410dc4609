"""A console over a journal in memory; its coordinator takes turns whenever an action waits for it."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from msgspec.structs import replace
from starlette.testclient import TestClient

from orchestrator.client import Client, ClientOptions
from orchestrator.console import ConsoleOptions, Role, Token, console
from orchestrator.console.access import digest
from orchestrator.definition.plan import Plan, Sequence, Wait
from orchestrator.definition.saga import Saga
from orchestrator.transport.messages import Answer, Work
from tests.unit.cli.stage import Stage
from tests.unit.coordinator.scripted import answer, plan_of, request
from tests.unit.kernel.scenario import branch, group, plan

SECRETS = {role: f"secret of the {role}" for role in Role}
TOKENS = tuple(Token(f"the {role}", digest(secret), role) for role, secret in SECRETS.items())
NARROW = Token("narrow", digest("narrow"), Role.OPERATOR, sagas=("shop",))
PEER = ("127.0.0.1", 50_000)


class Desks(Stage):
    """A stage with a console on it."""

    def __init__(self, sagas: dict[str, Saga[..., Any]] | None = None) -> None:
        super().__init__()
        self.sagas = sagas or {}
        self.options = ConsoleOptions(
            tokens=(*TOKENS, NARROW), mutations_per_min=1_000, look_every_s=0.01
        )

    def app(self, **options: Any) -> FastAPI:
        """The console, with these of its options."""

        def clients(actor: str) -> Client:
            known = ClientOptions(actor, two_people=self.two_people)
            return Client(self.store, self.sagas, options=known, clock=self.now)

        chosen = replace(self.options, **options)
        return console(self.store, clients, self.sagas, chosen, self.now, self.sleep)

    def http(self, who: Role | str | None = Role.OPERATOR, **options: Any) -> TestClient:
        """A program with this role's token, or another's."""
        secret = SECRETS[who] if isinstance(who, Role) else who
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return TestClient(
            self.app(**options),
            base_url="http://localhost",
            headers=headers,
            client=PEER,
            follow_redirects=False,
        )

    def browser(self, who: Role | str = Role.OPERATOR, **options: Any) -> TestClient:
        """A browser that has signed in."""
        made = self.http(None, **options)
        secret = SECRETS[who] if isinstance(who, Role) else who
        assert made.post("/login", data={"token": secret}).status_code == 303
        return made

    def parked(self, run_id: str = "cccc3333") -> str:
        """A run past its pivot's first failure: charge is parked and can be retried, skipped or resolved."""
        made = plan_of("charge", "mail", attempts=1)
        steps = (replace(made.body.nodes[0], pivot=True), made.body.nodes[1])
        self.transport.handler = lambda work: answer(work, "unregistered")
        self._launch(replace(made, body=Sequence(steps)), run_id)
        return run_id

    def waiting(self, run_id: str = "dddd4444") -> str:
        """A run that has reserved something and waits for a signal."""
        self.mend()
        made = plan_of("reserve", saga="waits")
        nodes = (*made.body.nodes, Wait("approval", "approval"))
        self._launch(replace(made, body=Sequence(nodes)), run_id)
        return run_id

    def astray(self, run_id: str = "eeee5555") -> str:
        """A run one branch of whose group was told to commit and is rolled back."""

        def handler(work: Work) -> Answer:
            if work.kind == "prepare":
                return answer(work, vote="prepared", result=work.step)
            if work.kind == "commit" and work.step == "credit":
                return answer(work, "heuristic_rollback")
            return answer(work)

        self.transport.handler = handler
        self._launch(plan(group(branch("debit"), branch("credit"))), run_id)
        assert self.store.find(run_id).parked == ("credit",)
        return run_id

    def _launch(self, what: Plan, run_id: str) -> None:
        self.store.launch([request(what, run_id, at=self.clock)])
        if self.coordinator is None:
            self.start()
        self.turns(12)


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the last form of a page."""
    form = page.rpartition("<form")[2]
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form)
    return {name: value.replace("&#34;", '"').replace("&amp;", "&") for name, value in found}
