"""Envelopes: what is sealed opens the same; nothing else opens."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import EnvelopeError, SettingsError
from orchestrator.transport.envelope import Envelopes
from tests.unit.transport.work_samples import answer, work

KEY, NEXT_KEY = b"k" * 32, b"n" * 32
signed = Envelopes([KEY])
plain = Envelopes()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values))
def test_what_is_sealed_opens_the_same(args: dict[str, Any]) -> None:
    sent = (work(args=args), work(args=[args]))

    for envelopes in (plain, signed):
        assert envelopes.open_work(envelopes.seal_work(sent)) == sent
        assert envelopes.open_work(envelopes.seal_work(sent).encode()) == sent


@given(json_values)
def test_answers_open_the_same(result: Any) -> None:
    sent = (answer(result=result),)

    assert signed.open_answers(signed.seal_answers(sent)) == sent


def test_an_envelope_is_json() -> None:
    sealed = json.loads(signed.seal_work([work(x=1)]))

    assert sealed["v"] == 1
    assert sealed["b"][0]["participant"] == "service.action"


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    sealed = bytearray(signed.seal_work([work(x="value")]).encode())
    index = data.draw(st.integers(0, len(sealed) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != sealed[index]))
    sealed[index] = byte

    with pytest.raises(EnvelopeError):
        signed.open_work(bytes(sealed))


SPOILED: dict[str, tuple[str, Callable[[str], Any]]] = {
    "another participant": (
        "forged",
        lambda sealed: sealed.replace("service.action", "service.refund"),
    ),
    "another key": ("forged", lambda _: Envelopes([NEXT_KEY]).seal_work([work()])),
    "answers named work": (
        "forged",
        lambda _: signed.seal_answers([answer()]).replace('"answers"', '"work"'),
    ),
    "answers": ("misplaced", lambda _: signed.seal_answers([answer()])),
    "no signature": ("unsigned", lambda _: plain.seal_work([work()])),
    "a later version": ("version", lambda sealed: sealed.replace('"v":1', '"v":7')),
    "cut short": ("malformed", lambda sealed: sealed[:-1]),
    "something after it": ("malformed", lambda sealed: sealed + "}"),
    "empty": ("malformed", lambda _: ""),
    "a list": ("malformed", lambda _: "[]"),
    "no UTF-8": ("malformed", lambda _: b"\xff\xfe"),
    "half a character": ("malformed", lambda _: "\ud800"),
    "very deep": ("malformed", lambda _: "[" * 100_000),
    "None": ("malformed", lambda _: None),
    "a dict": ("malformed", lambda _: {"v": 1}),
    "a number": ("malformed", lambda _: 1),
}


@pytest.mark.parametrize("how", SPOILED)
def test_what_is_wrong_is_named(how: str) -> None:
    reason, spoil = SPOILED[how]
    with pytest.raises(EnvelopeError) as caught:
        signed.open_work(spoil(signed.seal_work([work()])))

    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "body", ["1", "null", "{}", "[1]", "[{}]", '[{"run":1}]', "[" * 50_000 + "]" * 50_000]
)
def test_a_sound_envelope_with_an_unsound_body_is_malformed(body: str) -> None:
    with pytest.raises(EnvelopeError) as caught:
        plain.open_work(f'{{"v":1,"k":"work","s":"","b":{body}}}')

    assert caught.value.reason == "malformed"


def test_a_later_release_may_add_fields() -> None:
    sealed = json.loads(plain.seal_work([work()]))
    sealed["b"][0]["new"] = sealed["new"] = 1

    assert plain.open_work(json.dumps(sealed)) == (work(),)


def test_the_first_key_signs_and_each_is_accepted() -> None:
    old, both = Envelopes([KEY]), Envelopes([NEXT_KEY, KEY])

    assert both.open_work(old.seal_work([work()])) == (work(),)
    with pytest.raises(EnvelopeError, match="signature"):
        old.open_work(both.seal_work([work()]))


def test_without_a_key_a_signature_is_not_looked_at() -> None:
    assert plain.open_work(signed.seal_work([work()])) == (work(),)


def test_the_limit_counts_bytes_both_ways() -> None:
    sealed = plain.seal_work([work(text="ü" * 1000)])
    size = len(sealed.encode())

    assert Envelopes(limit_bytes=size).open_work(
        Envelopes(limit_bytes=size).seal_work([work(text="ü" * 1000)])
    )
    for attempt in (
        lambda: Envelopes(limit_bytes=size - 1).seal_work([work(text="ü" * 1000)]),
        lambda: Envelopes(limit_bytes=size - 1).open_work(sealed),
    ):
        with pytest.raises(EnvelopeError, match=f"the limit is {size - 1}") as caught:
            attempt()
        assert caught.value.reason == "oversized"


def test_what_is_not_json_cannot_be_sealed() -> None:
    for value in (object(), "\ud800", {1: object()}):
        with pytest.raises(EnvelopeError, match="JSON"):
            plain.seal_work([work(value=value)])


def test_a_short_key_is_refused_with_the_way_out() -> None:
    with pytest.raises(SettingsError, match="token_urlsafe"):
        Envelopes([b"password"])
