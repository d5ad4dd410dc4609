"""What a type checker must reject: each ignored error must be there, or mypy complains of the comment."""

from decimal import Decimal

from orchestrator import Retry, saga, wait_for, when
from orchestrator.testing import Sagas
from tests.typing.right import Order, Receipt, charge, dispatch, place_order, quote, reserve, weigh


@saga(version=1)
def wrong(order: Order) -> str:
    """One mistake a line."""
    reserve(order.quantity)  # type: ignore[arg-type]
    reserve(order.sku, order.sku)  # type: ignore[arg-type]
    reserve()  # type: ignore[call-arg]
    reserve(sku=order.sku, amount=1)  # type: ignore[call-arg]
    reserve.pivot(5)  # type: ignore[arg-type]
    reserve.options(timeout=5)(5)  # type: ignore[arg-type]
    reserve.options(timeout="5")  # type: ignore[arg-type]
    reserve.options(retries=Retry())  # type: ignore[call-arg]
    reserve.map(order.quantity)  # type: ignore[arg-type]
    charge(order.customer, order.total * 1.5)  # type: ignore[operator]
    quote(reserve(order.sku).size)  # type: ignore[attr-defined]
    dispatch(quote(1.0).weight)  # type: ignore[attr-defined]
    weigh(5)  # type: ignore[arg-type]
    wait_for("approval", Receipt).total  # type: ignore[attr-defined] # noqa: B018 - it is the mistake
    with when(order.sku):  # type: ignore[arg-type]
        quote(1.0)
    return reserve(order.sku)  # type: ignore[return-value]


def launched() -> None:
    """Mistakes outside a saga."""
    place_order.encode_input("x")  # type: ignore[arg-type]
    place_order.encode_input(Order("c", "a", 1, Decimal(1), []), comment="x")  # type: ignore[call-arg]
    place_order.on_completed(place_order)  # type: ignore[type-var]


def tested(sagas: Sagas) -> None:
    """Mistakes in a test."""
    sagas.when(charge).returns(5)  # type: ignore[arg-type]
    sagas.when(charge).does(len)  # type: ignore[arg-type]
    sagas.when(place_order)  # type: ignore[arg-type]
    sagas.when("charge")  # type: ignore[arg-type]
    sagas.when(charge).fails(times="2")  # type: ignore[arg-type]
    sagas.when_undoing(charge).refuses()  # type: ignore[attr-defined]
    sagas.run(place_order, "x")  # type: ignore[arg-type]
    sagas.run(weigh, "a").result.size  # type: ignore[attr-defined] # noqa: B018 - it is the mistake
